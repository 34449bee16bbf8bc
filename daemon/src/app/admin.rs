//! What stands behind the admin socket.

use std::{path::PathBuf, sync::Arc};

use api::{
    Backend, ClaimOrder, Complaint, Conversation, Deploy, Deployed, Event, Explain, Explained, Ordered,
    Ports, Recover, Refusal, Reloaded, Said, SnapshotTaken, Status, TakeOver, TakenOver,
};
use futures_util::{Stream, stream};
use hardware::MacAddr;
use lifecycle::{Assertion, NodeName, Order};
use reconciler::{Cluster, Handle, OrderError};
use serve::{counters::Counters, trace::Trace};
use store::Store;
use tokio::sync::{Mutex, watch};

use super::{
    fault::sentence,
    folder::{Loaded, load},
    snapshots::Snapshots,
    sockets::{Settings, catalogue},
    state::State,
};

/// The cluster's last state.
pub(super) const HANDED_OVER: &str = "handed over";

/// The daemon, as its operators see it.
pub(crate) struct Admin {
    folders: Folders,
    handle: Handle,
    cluster: watch::Sender<Arc<Cluster>>,
    settings: Settings,
    state: State,
    seen: Seen,
    /// why the site in force is not the one on disk
    fault: watch::Sender<Option<String>>,
    /// one at a time
    reloading: Mutex<()>,
}

/// What the sockets noticed.
pub(crate) struct Seen {
    pub(crate) counters: Arc<Counters>,
    pub(crate) trace: Arc<Trace>,
    pub(crate) snapshots: Arc<Snapshots>,
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
        seen: Seen,
    ) -> Self {
        let fault = watch::Sender::new(fault);
        Self { folders, handle, cluster, settings, state, seen, fault, reloading: Mutex::new(()) }
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
        self.handle.judge(&site).await?;
        let site = Arc::new(site);
        let (of, state) = (Arc::clone(&site), self.folders.state.clone());
        let catalogue = tokio::task::spawn_blocking(move || catalogue(&of, &state)).await??;
        let cluster = Cluster::new(Arc::clone(&site), secrets, steps)?;
        let mut cluster = cluster
            .with_bundles(self.folders.state.clone())
            .with_snapshots(self.folders.state.join("snapshots"));
        cluster.pins.clone_from(&old.pins);
        self.state.keep(&copy).await?;
        self.cluster.send_replace(Arc::new(cluster));
        self.settings.follow(&site, catalogue);
        self.handle.reload(site).await?;
        let warnings = findings.iter().map(ToString::to_string).collect();
        Ok(Reloaded { site: self.folders.site.clone(), warnings })
    }
}

impl Admin {
    /// What came of switching a node's machine, which is under way.
    async fn switched(&self, node: &NodeName) -> Result<String, Refusal> {
        let mut published = self.handle.published();
        let ended = published.wait_for(|now| {
            now.view.nodes.get(node).and_then(|node| node.power.as_ref()).is_none_or(|power| !power.running)
        });
        let ended = ended.await.map_err(|_| Refusal("the daemon is shutting down".to_owned()))?;
        let power = ended.view.nodes.get(node).and_then(|node| node.power.clone()).unwrap_or_default();
        let said = power.said.unwrap_or_default();
        if power.failed { Err(Refusal(said)) } else { Ok(said) }
    }
}

impl Backend for Admin {
    async fn status(&self) -> Status {
        let view = self.handle.published().borrow().view.clone();
        let site = self.cluster.borrow().site.name().to_owned();
        let site_fault = self.fault.borrow().clone();
        let last = self.cluster.borrow().last_snapshot();
        let snapshots = api::Snapshots { last, fault: self.seen.snapshots.fault() };
        Status { site, version: env!("CARGO_PKG_VERSION").to_owned(), site_fault, snapshots, view }
    }

    async fn deploy(&self, request: Deploy) -> Result<Deployed, Refusal> {
        let nodes = self.handle.deploy(request.node.map(NodeName), request.by).await;
        let nodes = nodes.map_err(|error| Refusal(error.to_string()))?;
        Ok(Deployed { nodes: nodes.into_iter().map(|node| node.0).collect() })
    }

    async fn ports(&self) -> Result<Ports, Refusal> {
        let seen = self.handle.ports().await.map_err(|error| Refusal(error.to_string()))?;
        let told = seen.told.into_iter().map(|told| told.what).collect();
        Ok(Ports { at: seen.at, ports: seen.rows, unseen: seen.unseen, told, displaced: seen.displaced })
    }

    async fn explain(&self, request: Explain) -> Result<Vec<Explained>, Refusal> {
        let found = self.handle.explain(request.machine).await;
        let found = found.map_err(|error| Refusal(error.to_string()))?;
        Ok(found.into_iter().map(explained).collect())
    }

    async fn order(&self, request: ClaimOrder) -> Result<Ordered, Refusal> {
        let switched = match &request.order {
            Order::Power { node, .. } => Some(node.clone()),
            _ => None,
        };
        let done = self.handle.order(request.order, request.by).await;
        let done = done.map_err(|error| Refusal(error.to_string()))?;
        match switched {
            Some(node) => self.switched(&node).await.map(|said| Ordered { done: format!("{done}: {said}") }),
            None => Ok(Ordered { done }),
        }
    }

    async fn take_over(&self, request: TakeOver) -> Result<TakenOver, Refusal> {
        let refusal = |error: &dyn std::fmt::Display| Refusal(error.to_string());
        let leases = self.store().leases().await.map_err(|error| refusal(&error))?;
        let leased: Vec<std::net::IpAddr> = leases.iter().map(|row| row.address).collect();
        let cluster = Arc::clone(&self.cluster.borrow());
        let survey = cluster.survey(&leased).await;
        let found = survey.iter().map(|(name, sighted)| (name.clone(), sighted.describe())).collect();
        let order = Order::TakeOver { found: survey };
        let answer = match request.only_look {
            true => self.handle.weigh(order).await,
            false => self.handle.order(order, request.by).await,
        };
        match answer {
            Ok(done) => Ok(TakenOver { found, done: Some(done), refused: None }),
            Err(OrderError::Refused(reason)) => Ok(TakenOver { found, done: None, refused: Some(reason) }),
            Err(error) => Err(refusal(&error)),
        }
    }

    async fn snapshot(&self) -> Result<SnapshotTaken, Refusal> {
        let cluster = Arc::clone(&self.cluster.borrow());
        let kept = cluster.snapshot().await.map_err(Refusal)?;
        let not_copied = super::snapshots::copy(&cluster.site.snapshots().copy, &kept.path).await.err();
        Ok(SnapshotTaken { path: kept.path, size: kept.size, from: kept.from, not_copied })
    }

    async fn recover(&self, request: Recover) -> Result<Ordered, Refusal> {
        let node = NodeName(request.node);
        let disks_lost = request.disks_lost;
        let order = |snapshot: String| Order::Recover { node: node.clone(), snapshot, disks_lost };
        let kept = request.snapshot.or_else(|| self.cluster.borrow().newest_snapshot());
        let Some(snapshot) = kept else {
            // nobody shall look for a snapshot where nothing is recovered from one
            let weighed = self.handle.weigh(order("a snapshot".to_owned())).await;
            weighed.map_err(|error| Refusal(error.to_string()))?;
            return Err(Refusal("no snapshot of etcd is kept here: name one with --from".to_owned()));
        };
        let order = order(snapshot.display().to_string());
        // before anything is given up for it; what stands against it otherwise is said first
        self.handle.weigh(order.clone()).await.map_err(|error| Refusal(error.to_string()))?;
        let cluster = Arc::clone(&self.cluster.borrow());
        cluster.snapshot_opens(&snapshot).await.map_err(Refusal)?;
        let done = self.handle.order(order, request.by).await;
        done.map(|done| Ordered { done }).map_err(|error| Refusal(error.to_string()))
    }

    async fn reload(&self) -> Result<Reloaded, Refusal> {
        self.reread().await
    }

    fn malformed(&self) {
        self.seen.counters.add("admin", "malformed");
    }

    async fn trace(&self, mac: MacAddr) -> Result<Conversation, Refusal> {
        let said = self.seen.trace.conversation(mac).ok_or_else(|| {
            Refusal(format!(
                "{mac} has said nothing since ichord started: is it switched on, is this the address of the card that \
                 boots, and do its packets arrive here (`tcpdump -eni INTERFACE ether host {mac}`)?"
            ))
        })?;
        let node = self.handle.published().borrow().boot.known.get(&mac).map(|known| known.node.clone());
        let lines = said.lines.into_iter().map(|line| Said {
            at: line.at,
            last: line.last,
            times: line.times,
            layer: line.layer.name().to_owned(),
            what: line.what,
        });
        Ok(Conversation { mac, node, address: said.address, lines: lines.collect() })
    }

    async fn doctor(&self) -> Vec<Complaint> {
        let now = now();
        let complaints = self.seen.trace.complaints(now).into_iter();
        let convert = |complaint: serve::trace::Complaint| Complaint {
            kind: complaint.kind,
            what: complaint.what,
            since: complaint.since,
            last: complaint.last,
            times: complaint.times,
        };
        let cluster = Arc::clone(&self.cluster.borrow());
        let ending = cluster.ending_certificates().await.into_iter().map(|what| Complaint {
            kind: "certificate".to_owned(),
            what,
            since: now,
            last: now,
            times: 1,
        });
        let kept = self.seen.snapshots.complaint();
        // who is going down has nothing more to tell
        let moved = self.handle.ports().await.map(|seen| seen.told).unwrap_or_default();
        let moved = moved.into_iter().map(|told| Complaint {
            kind: if told.switch { "switch" } else { "cable" }.to_owned(),
            what: told.what,
            since: told.since,
            last: now,
            times: 1,
        });
        complaints.map(convert).chain(ending).chain(kept).chain(moved).collect()
    }

    async fn health(&self) -> Vec<Assertion> {
        let handed_over = self.handle.published().borrow().view.cluster.state == HANDED_OVER;
        let cluster = Arc::clone(&self.cluster.borrow());
        cluster.health(handed_over).await
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

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn explained(found: reconciler::Explained) -> Explained {
    let reconciler::Explained { machine, holds, verdict, evidence, seen } = found;
    Explained { machine, holds, verdict, evidence, seen }
}

fn event(record: journal::Record) -> Event {
    let journal::Entry { at, subject, what, evidence } = record.entry;
    Event { sequence: record.sequence, at, subject, what, evidence }
}
