//! What a machine tells about itself, kept up to date by its own watches (talos.md §6.5): after the opening nothing is asked
//! any more. A copy is of one boot; a watch that ends ends it, and whoever needs it opens another.
//!
//! A watch that was lost begins anew with everything there is instead of going on at a bookmark: the bookmarks of a machine
//! that booted are worth nothing, and all of this is a few resources.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{
    StreamExt as _,
    stream::{BoxStream, SelectAll, select_all},
};
use tonic::Code;

use crate::{CallError, Change, Client, Kind, Resource};

/// Told about a kind; `None` when its watch has ended.
type News = (Kind, Option<Result<Change, CallError>>);

/// The watches, to be driven by [`Mirror::changed`].
pub struct Mirror {
    client: Client,
    news: SelectAll<BoxStream<'static, News>>,
    contents: Contents,
}

/// The copy, as it is now; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Contents(Arc<Mutex<BTreeMap<Kind, BTreeMap<String, Resource>>>>);

impl Contents {
    /// Every resource of a kind, by id; none of a kind that this Talos does not know.
    pub fn of(&self, kind: Kind) -> Vec<Resource> {
        self.all().get(&kind).map(|by_id| by_id.values().cloned().collect()).unwrap_or_default()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Kind, BTreeMap<String, Resource>>> {
        // each change is one operation: nothing can be half-done in there
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the copy is another one now. Talos writes a resource again when nothing of its value has changed.
    fn take(&self, kind: Kind, change: Change) -> bool {
        let mut all = self.all();
        let by_id = all.entry(kind).or_default();
        match change {
            Change::Created(resource) | Change::Updated(resource) => {
                let before = by_id.insert(resource.id.clone(), resource.clone());
                before.is_none_or(|before| before.yaml != resource.yaml)
            }
            Change::Destroyed(resource) => by_id.remove(&resource.id).is_some(),
            Change::Bootstrapped => false,
        }
    }
}

impl Client {
    /// Watches these kinds, and comes back when all that is there has been told. A kind that this Talos does not know has
    /// no resources.
    pub async fn mirror(&self, kinds: &[Kind]) -> Result<Mirror, CallError> {
        let mut watches = Vec::new();
        for &kind in kinds {
            match self.watch(kind).await {
                Ok(changes) => {
                    let end = futures_util::stream::once(std::future::ready((kind, None)));
                    let news = changes.map(move |change| (kind, Some(change)));
                    watches.push(news.chain(end).boxed());
                }
                // the type is not known there
                Err(error) if error.code() == Code::PermissionDenied => {}
                Err(error) => return Err(error),
            }
        }
        let mut told = watches.len();
        let (client, news) = (self.clone(), select_all(watches));
        let mut mirror = Mirror { client, news, contents: Contents::default() };
        let begin = async {
            while told > 0 {
                if mirror.next().await?.1 == Change::Bootstrapped {
                    told -= 1;
                }
            }
            Ok(())
        };
        self.in_time("Watch", begin).await?;
        Ok(mirror)
    }
}

impl Mirror {
    /// The copy.
    pub fn contents(&self) -> Contents {
        self.contents.clone()
    }

    /// Waits for the next change and takes it in. An error when a watch ends; the copy is of no use then. Nothing is lost
    /// when this is dropped before its end.
    pub async fn changed(&mut self) -> Result<Kind, CallError> {
        loop {
            let (kind, _, is_news) = self.next_news().await?;
            if is_news {
                return Ok(kind);
            }
        }
    }

    async fn next(&mut self) -> Result<(Kind, Change), CallError> {
        let (kind, change, _) = self.next_news().await?;
        Ok((kind, change))
    }

    async fn next_news(&mut self) -> Result<(Kind, Change, bool), CallError> {
        match self.news.next().await {
            Some((kind, Some(Ok(change)))) => {
                let is_news = self.contents.take(kind, change.clone());
                Ok((kind, change, is_news))
            }
            Some((_, Some(Err(error)))) => Err(error),
            Some((kind, None)) => {
                Err(self.client.unusable("Watch", format!("the watch of {} ended", kind.name)))
            }
            None => std::future::pending().await,
        }
    }
}
