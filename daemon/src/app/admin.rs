//! What stands behind the admin socket.

use std::{path::PathBuf, sync::Arc};

use api::{Backend, Deploy, Deployed, Event, Refusal, Reloaded, Status};
use futures_util::{Stream, stream};
use lifecycle::NodeName;
use reconciler::{Cluster, Handle};
use store::Store;
use tokio::sync::{Mutex, watch};

use super::{
    folder::{Loaded, load},
    state::{State, describe},
};

/// The daemon, as its operators see it.
pub(crate) struct Admin {
    directory: PathBuf,
    handle: Handle,
    cluster: watch::Sender<Arc<Cluster>>,
    state: State,
    /// why the site in force is not the one on disk; also lets one reload at a time pass
    fault: Mutex<Option<String>>,
}

impl Admin {
    pub(crate) fn new(
        directory: PathBuf,
        fault: Option<String>,
        handle: Handle,
        cluster: watch::Sender<Arc<Cluster>>,
        state: State,
    ) -> Self {
        Self { directory, handle, cluster, state, fault: Mutex::new(fault) }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.state.store
    }

    /// Reads the site again; with faults nothing changes.
    pub(crate) async fn reread(&self) -> Result<Reloaded, Refusal> {
        let mut fault = self.fault.lock().await;
        let Loaded { site, secrets, findings, copy } = match load(&self.directory) {
            Ok(loaded) => loaded,
            Err(error) => {
                let text = describe(&error);
                *fault = Some(text.clone());
                return Err(Refusal(format!("the files have faults; the site in force stays\n{text}")));
            }
        };
        let old = Arc::clone(&self.cluster.borrow());
        if secrets.cluster_id != old.secrets.cluster_id {
            return Err(Refusal("the secrets are of another cluster; the site in force stays".into()));
        }
        if site.networks() != old.site.networks() || site.switches() != old.site.switches() {
            return Err(Refusal(
                "networks and switches are opened at the start: restart the daemon to change them".into(),
            ));
        }
        let refused = |error: &dyn std::fmt::Display| Refusal(format!("the site in force stays: {error}"));
        let site = Arc::new(site);
        let cluster = Cluster::new(Arc::clone(&site), secrets).map_err(|error| refused(&error))?;
        self.state.keep(&copy).await.map_err(|error| refused(&error))?;
        self.cluster.send_replace(Arc::new(cluster));
        self.handle.reload(site).await.map_err(|error| refused(&error))?;
        *fault = None;
        let warnings = findings.iter().map(ToString::to_string).collect();
        Ok(Reloaded { site: self.directory.clone(), warnings })
    }
}

impl Backend for Admin {
    async fn status(&self) -> Status {
        let view = self.handle.published().borrow().view.clone();
        let site = self.cluster.borrow().site.name().to_owned();
        let site_fault = self.fault.lock().await.clone();
        Status { site, version: env!("CARGO_PKG_VERSION").to_owned(), site_fault, view }
    }

    async fn deploy(&self, request: Deploy) -> Result<Deployed, Refusal> {
        let nodes = self.handle.deploy(request.node.map(NodeName), request.by).await;
        let nodes = nodes.map_err(|error| Refusal(error.to_string()))?;
        Ok(Deployed { nodes: nodes.into_iter().map(|node| node.0).collect() })
    }

    async fn reload(&self) -> Result<Reloaded, Refusal> {
        self.reread().await
    }

    fn events(&self, from: u64, follow: bool) -> impl Stream<Item = Event> + Send + 'static {
        let store = self.state.store.clone();
        stream::unfold((store, from), move |(store, next)| async move {
            let record = if follow {
                journal::follow(&store, next).next().await
            } else {
                let lines = store.log_from(next, 1).await;
                match lines.map(|mut lines| lines.pop()) {
                    Ok(Some(line)) => journal::Record::try_from(line),
                    Ok(None) => return None,
                    Err(error) => Err(error.into()),
                }
            };
            match record {
                Ok(record) => {
                    let after = record.sequence + 1;
                    Some((event(record), (store, after)))
                }
                Err(error) => {
                    tracing::error!(%error, "the journal cannot be read on");
                    None
                }
            }
        })
    }
}

fn event(record: journal::Record) -> Event {
    let journal::Entry { at, subject, what, evidence } = record.entry;
    Event { sequence: record.sequence, at, subject, what, evidence }
}
