//! A machine under watch: one connection, what does not change over it, and a copy of the rest that the machine's own
//! watches keep up to date. Its task ends with the connection, and with the session.
//!
//! What the API has no watch for is asked at every look: etcd's members and status. What services do is told by events,
//! because the resources name only those that run; their list is asked again when an event said that it is another one.

use std::{
    future::pending,
    net::IpAddr,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream::BoxStream};
use hardware::Inventory;
use lifecycle::{NodeName, Observation, Watch};
use talos_api::{
    CallError, Client, DISCOVERED_VOLUMES, Event, Fingerprint, Happening, Kind, LLDP_NEIGHBORS, LldpNeighbor,
    Mirror, Service, Tail, Volume,
    observe::{self, INVENTORY, MACHINE_STATUSES, NODE_ADDRESSES},
};
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use super::{
    Tiding,
    look::{Account, LOOK, LookError, configured, contents},
    talos::{Cluster, machine_api},
};

/// A change seldom comes alone: those that come within so long are told as one.
const QUIET: Duration = Duration::from_millis(20);

/// After so long a machine is looked at anew from the first handshake on: its certificate, who has its address.
const LIFE: Duration = Duration::from_secs(300);

/// Events that happened while their stream began are not in it, unless the last seconds are asked for.
const OVERLAP: Duration = Duration::from_secs(2);

/// Who is watched.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whom {
    /// a machine in maintenance mode, with this key
    Waiting(Fingerprint),
    /// one of ours
    Configured,
}

/// One machine, in one boot.
pub(super) struct Session {
    whom: Whom,
    address: IpAddr,
    client: Client,
    boot_id: String,
    contents: talos_api::Contents,
    services: Mutex<Vec<Service>>,
    shared: Arc<Shared>,
    task: AbortHandle,
}

/// What the task and its session both know.
struct Shared {
    address: IpAddr,
    /// whose slot it is
    node: Mutex<Option<NodeName>>,
    /// the list of services is another one now
    stale: AtomicBool,
    ended: AtomicBool,
    tell: mpsc::Sender<Tiding>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    /// Connects, and waits for all that the machine tells at the beginning.
    pub(super) async fn open(
        cluster: &Cluster,
        address: IpAddr,
        whom: Whom,
        tell: mpsc::Sender<Tiding>,
    ) -> Result<Self, LookError> {
        let peer = machine_api(address);
        let client = match &whom {
            // the key that is pinned is of this boot only, so that whoever shows it after a loss is the same
            Whom::Waiting(fingerprint) => Client::maintenance(peer, fingerprint).await?,
            Whom::Configured => Client::configured_once(peer, &cluster.credentials()).await?,
        };
        let client = client.with_deadline(LOOK);
        let boot_id = client.boot_id().await?.ok_or(LookError::NoBoot(address))?;
        let mut kinds = vec![MACHINE_STATUSES];
        kinds.extend(INVENTORY);
        let events = match &whom {
            Whom::Waiting(_) => {
                kinds.extend([DISCOVERED_VOLUMES, LLDP_NEIGHBORS]);
                None
            }
            Whom::Configured => {
                kinds.push(NODE_ADDRESSES);
                Some(client.events(Tail::Within(OVERLAP)).await?)
            }
        };
        let mirror = client.mirror(&kinds).await?;
        let shared = Arc::new(Shared {
            address,
            node: Mutex::default(),
            stale: AtomicBool::new(true),
            ended: AtomicBool::new(false),
            tell,
        });
        let contents = mirror.contents();
        let task = tokio::spawn(keep(mirror, events, Arc::clone(&shared))).abort_handle();
        Ok(Self { whom, address, client, boot_id, contents, services: Mutex::default(), shared, task })
    }

    /// Whether nothing comes from it any more.
    pub(super) fn has_ended(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
    }

    /// From now on it is told whose machine it is.
    pub(super) async fn belongs_to(&self, node: &NodeName) {
        let is_news = self.shared.node().replace(node.clone()).as_ref() != Some(node);
        if is_news {
            self.shared.say(Watch::Began).await;
        }
    }

    /// What there is to see of it now. It is always asked for something whose failure counts, so that a machine which only
    /// seems to be there is found out: that etcd does not answer says nothing about its machine.
    pub(super) async fn look(&self, cluster: &Cluster) -> Result<Observation, LookError> {
        self.client.machine_status().await?;
        let observation = match &self.whom {
            Whom::Waiting(fingerprint) => Observation::Maintenance {
                address: self.address,
                fingerprint: fingerprint.to_string(),
                boot_id: self.boot_id.clone(),
                inventory: self.inventory()?,
                contents: contents(&self.volumes()?),
            },
            Whom::Configured => {
                let account = Account {
                    boot_id: self.boot_id.clone(),
                    inventory: self.inventory()?,
                    stage: self.read(MACHINE_STATUSES, observe::machine_status)?.stage,
                    services: self.services().await?,
                    addresses: self.read(NODE_ADDRESSES, observe::addresses)?,
                };
                configured(cluster, &self.client, self.address, account).await
            }
        };
        if self.has_ended() { Err(LookError::Ended(self.address)) } else { Ok(observation) }
    }

    /// What its cards hear of switches.
    pub(super) fn neighbors(&self) -> Result<Vec<LldpNeighbor>, LookError> {
        self.read(LLDP_NEIGHBORS, LldpNeighbor::of_links)
    }

    fn inventory(&self) -> Result<Inventory, LookError> {
        let [system, links, disks] = INVENTORY.map(|kind| self.contents.of(kind));
        observe::inventory(&system, &links, &disks).map_err(|reason| self.unreadable(reason))
    }

    fn volumes(&self) -> Result<Vec<Volume>, LookError> {
        self.read(DISCOVERED_VOLUMES, |all| all.iter().map(Volume::from_resource).collect())
    }

    fn read<T>(
        &self,
        kind: Kind,
        read: impl FnOnce(&[talos_api::Resource]) -> Result<T, String>,
    ) -> Result<T, LookError> {
        read(&self.contents.of(kind)).map_err(|reason| self.unreadable(reason))
    }

    fn unreadable(&self, reason: String) -> LookError {
        LookError::Unreadable { address: self.address, reason }
    }

    /// The list of services. While etcd is on its way it is asked at every look: that etcd has no data yet is too much to be
    /// believed from before.
    async fn services(&self) -> Result<Vec<Service>, CallError> {
        let known = self.services.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let etcd = known.iter().find(|service| service.id == "etcd");
        let on_its_way = etcd.is_some_and(|etcd| etcd.state != "Running");
        if !self.shared.stale.swap(false, Ordering::AcqRel) && !on_its_way {
            return Ok(known);
        }
        match self.client.services().await {
            Ok(services) => {
                self.services.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&services);
                Ok(services)
            }
            Err(error) => {
                self.shared.stale.store(true, Ordering::Release);
                Err(error)
            }
        }
    }
}

impl Shared {
    fn node(&self) -> std::sync::MutexGuard<'_, Option<NodeName>> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn say(&self, watch: Watch) {
        let node = self.node().clone();
        // whoever listens may be gone: the daemon stops
        self.tell.send(Tiding { address: self.address, node, watch }).await.ok();
    }

    /// Whether an event says something that the copy does not.
    fn take(&self, event: &Event) -> bool {
        let of_a_service = matches!(event.happening, Happening::Service(_));
        if of_a_service {
            self.stale.store(true, Ordering::Release);
        }
        of_a_service
    }
}

/// Takes in what the machine tells, and passes on that it did.
async fn keep(
    mut mirror: Mirror,
    mut events: Option<BoxStream<'static, Result<Event, CallError>>>,
    shared: Arc<Shared>,
) {
    // machines that were watched at the same moment are not all looked at anew at the same moment
    let spread = shared.address.to_string().bytes().map(u32::from).sum::<u32>() % 60;
    let mut end = pin!(sleep(LIFE + Duration::from_secs(1) * spread));
    let reason = loop {
        let told = tokio::select! {
            told = next(&mut mirror, &mut events, &shared) => told,
            () = &mut end => break "it is looked at anew".to_owned(),
        };
        if let Err(error) = told {
            break error.to_string();
        }
        let until = Instant::now() + QUIET;
        let more =
            timeout_at(until, async { while next(&mut mirror, &mut events, &shared).await.is_ok() {} });
        // an error shows again with the next thing that is waited for, and the pause is over then, too
        if more.await.is_ok() {
            sleep_until(until).await;
            break "a stream ended".to_owned();
        }
        shared.say(Watch::Changed).await;
    };
    tracing::debug!(address = %shared.address, reason, "the watch ends");
    shared.ended.store(true, Ordering::Release);
    shared.say(Watch::Ended).await;
}

/// Waits for something new.
async fn next(
    mirror: &mut Mirror,
    events: &mut Option<BoxStream<'static, Result<Event, CallError>>>,
    shared: &Shared,
) -> Result<(), LookError> {
    loop {
        let event = async {
            match events {
                Some(events) => events.next().await,
                None => pending().await,
            }
        };
        tokio::select! {
            changed = mirror.changed() => return Ok(changed.map(|_| ())?),
            event = event => match event {
                Some(Ok(event)) if shared.take(&event) => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err(LookError::Ended(shared.address)),
            },
        }
    }
}
