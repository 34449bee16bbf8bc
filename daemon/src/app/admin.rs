//! What stands behind the admin socket.

use std::{path::PathBuf, sync::Arc};

use api::{Backend, Deploy, Deployed, Event, Refusal, Reloaded, Status};
use futures_util::{Stream, stream};
use lifecycle::NodeName;
use reconciler::{Cluster, Handle};
use serve::counters::Counters;
use store::Store;
use tokio::sync::{Mutex, watch};

use super::{
    fault::sentence,
    folder::{Loaded, load},
    sockets::{Settings, catalogue},
    state::State,
};

/// The daemon, as its operators see it.
pub(crate) struct Admin {
    folders: Folders,
    handle: Handle,
    cluster: watch::Sender<Arc<Cluster>>,
    settings: Settings,
    state: State,
    counters: Arc<Counters>,
    /// why the site in force is not the one on disk
    fault: watch::Sender<Option<String>>,
    /// one at a time
    reloading: Mutex<()>,
}

/// Where the daemon reads and keeps things.
pub(crate) struct Folders {
    pub(crate) site: PathBuf,
    pub(crate) state: PathBuf,
}

impl Admin {
    pub(crate) fn new(
        folders: Folders,
        fault: Option<String>,
        handle: Handle,
        cluster: watch::Sender<Arc<Cluster>>,
        settings: Settings,
        state: State,
        counters: Arc<Counters>,
    ) -> Self {
        let fault = watch::Sender::new(fault);
        Self { folders, handle, cluster, settings, state, counters, fault, reloading: Mutex::new(()) }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.state.store
    }

    /// Reads the site again; with faults nothing changes, and `status` says so.
    pub(crate) async fn reread(&self) -> Result<Reloaded, Refusal> {
        let _alone = self.reloading.lock().await;
        let result = self.accept().await;
        let fault = result.as_ref().err().map(sentence);
        match &fault {
            Some(fault) => tracing::error!("the site in force stays\n{fault}"),
            None => tracing::info!("the site was read again and is in force"),
        }
        self.fault.send_replace(fault);
        result.map_err(|error| Refusal(format!("the site in force stays\n{}", sentence(&error))))
    }

    async fn accept(&self) -> anyhow::Result<Reloaded> {
        let Loaded { site, secrets, steps, findings, copy } = load(&self.folders.site)?;
        let old = Arc::clone(&self.cluster.borrow());
        anyhow::ensure!(
            secrets.cluster_id == old.secrets.cluster_id,
            "{} is of another cluster: bring the former file back",
            site.secrets().display()
        );
        anyhow::ensure!(
            Settings::fit(&old.site, &site),
            "interfaces, subnets, `dhcp` and switches are opened at the start: restart the daemon to change them"
        );
        let site = Arc::new(site);
        let (of, state) = (Arc::clone(&site), self.folders.state.clone());
        let catalogue = tokio::task::spawn_blocking(move || catalogue(&of, &state)).await??;
        let cluster = Cluster::new(Arc::clone(&site), secrets, steps)?;
        self.state.keep(&copy).await?;
        self.cluster.send_replace(Arc::new(cluster));
        self.settings.follow(&site, catalogue);
        self.handle.reload(site).await?;
        let warnings = findings.iter().map(ToString::to_string).collect();
        Ok(Reloaded { site: self.folders.site.clone(), warnings })
    }
}

impl Backend for Admin {
    async fn status(&self) -> Status {
        let view = self.handle.published().borrow().view.clone();
        let site = self.cluster.borrow().site.name().to_owned();
        let site_fault = self.fault.borrow().clone();
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

    fn malformed(&self) {
        self.counters.add("admin", "malformed");
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
