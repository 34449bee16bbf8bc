//! The machine's own state, as named resources that can be read and watched (talos.md §6.5). Every reply carries
//! the value as YAML too; that form survives new fields and needs no protocol files of its own.

use std::{collections::BTreeMap, time::SystemTime};

use futures_util::{
    TryStreamExt as _,
    stream::{self, BoxStream},
};
use serde::de::DeserializeOwned;
use tonic::Code;

use crate::{CallError, Client, client::until_error, proto::cosi::resource as wire};

/// A type of resource and the namespace it lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// `runtime`, `network`, `hardware` …
    pub namespace: &'static str,
    /// `MachineStatuses.runtime.talos.dev`
    pub name: &'static str,
}

/// A value in the machine's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// names it within its kind
    pub id: String,
    /// grows with every change
    pub version: String,
    /// by the machine's clock; the same for as long as the resource exists
    pub created: Option<SystemTime>,
    /// on its way out
    pub tearing_down: bool,
    /// free names and values
    pub labels: BTreeMap<String, String>,
    /// the value
    pub yaml: String,
}

impl Resource {
    /// The value as a type; fields that the type does not name are skipped.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_saphyr::from_str(&self.yaml).map_err(|error| format!("{}: {error}", self.id))
    }
}

/// What a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// there at the beginning of the watch, or new
    Created(Resource),
    /// changed
    Updated(Resource),
    /// gone; its last value
    Destroyed(Resource),
    /// everything that was there at the beginning has been told
    Bootstrapped,
}

impl Client {
    /// One resource; `None` when there is none. `PermissionDenied` for a kind that this Talos does not know or
    /// that our role may not see.
    pub async fn get(&self, kind: Kind, id: &str) -> Result<Option<Resource>, CallError> {
        let mut state = self.state();
        let request = wire::GetRequest {
            namespace: kind.namespace.to_owned(),
            r#type: kind.name.to_owned(),
            id: id.to_owned(),
            options: None,
        };
        match self.unary("Get", state.get(request)).await {
            Ok(reply) => Ok(reply.resource.map(Resource::from)),
            Err(error) if error.code() == Code::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every resource of a kind.
    pub async fn list(&self, kind: Kind) -> Result<Vec<Resource>, CallError> {
        let mut state = self.state();
        let request = wire::ListRequest {
            namespace: kind.namespace.to_owned(),
            r#type: kind.name.to_owned(),
            options: None,
        };
        let replies = self.collected("List", state.list(request)).await?;
        Ok(replies.into_iter().filter_map(|reply| reply.resource).map(Resource::from).collect())
    }

    /// Every resource of a kind, then [`Change::Bootstrapped`], then every change, until the machine goes down or
    /// the stream is dropped. An error is the last item.
    pub async fn watch(
        &self,
        kind: Kind,
    ) -> Result<BoxStream<'static, Result<Change, CallError>>, CallError> {
        const CALL: &str = "Watch";
        let mut state = self.state();
        let request = wire::WatchRequest {
            namespace: kind.namespace.to_owned(),
            r#type: kind.name.to_owned(),
            id: None,
            options: Some(wire::WatchOptions { bootstrap_contents: true, ..Default::default() }),
            api_version: 1,
        };
        let replies = self.opened(CALL, state.watch(request)).await?;
        let client = self.clone();
        let changes = replies.map_ok(|reply| stream::iter(reply.event.into_iter().map(Ok))).try_flatten();
        Ok(until_error(changes.try_filter_map(move |event| {
            let change = change(event).map_err(|reason| client.unusable(CALL, reason));
            std::future::ready(change)
        })))
    }
}

fn change(event: wire::Event) -> Result<Option<Change>, String> {
    // A type of event from a later Talos is not taken for the first one of today.
    let Ok(kind) = wire::EventType::try_from(event.event_type) else { return Ok(None) };
    let resource = event.resource.map(Resource::from);
    Ok(match kind {
        wire::EventType::Created => resource.map(Change::Created),
        wire::EventType::Updated => resource.map(Change::Updated),
        wire::EventType::Destroyed => resource.map(Change::Destroyed),
        wire::EventType::Bootstrapped => Some(Change::Bootstrapped),
        wire::EventType::Errored => return Err(event.error.unwrap_or_else(|| "the watch failed".to_owned())),
        wire::EventType::Noop => None,
    })
}

impl From<wire::Resource> for Resource {
    fn from(resource: wire::Resource) -> Self {
        let metadata = resource.metadata.unwrap_or_default();
        Self {
            id: metadata.id,
            version: metadata.version,
            created: metadata.created.and_then(|created| created.try_into().ok()),
            tearing_down: metadata.phase == "tearingDown",
            labels: metadata.labels.into_iter().collect(),
            yaml: resource.spec.unwrap_or_default().yaml_spec,
        }
    }
}
