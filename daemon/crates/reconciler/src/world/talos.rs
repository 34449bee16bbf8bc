//! The real machines: probed, asked, given their config, bootstrapped; and the API server behind them.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use handover::Step;
use lifecycle::{ApplyOutcome, BootstrapOutcome, Effect, Event, NodeName, Observation};
use power::Pins;
use site::Site;
use talos_api::{ApplyMode, CallError, Client, Credentials, Fingerprint, PORT, Peer, probe};
use talos_config::{pki::PkiError, secrets::SecretsBundle};
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tonic::Code;

use super::{
    Met, Tiding, World,
    admin::Admin,
    boot::{begun, of_boot},
    depart::depart,
    power::switch,
    recover::recover,
    sessions::Sessions,
    step::{look_at_step, run_step},
};

/// How long the network is asked who has the virtual address.
const VIRTUAL_ADDRESS: Duration = Duration::from_secs(2);

/// How long a node that no machine is known to be is given to answer, meanwhile.
const SOUGHT: Duration = Duration::from_secs(2);

/// The cluster as effects need it: the site in force, its secrets, and a client certificate from them.
pub struct Cluster {
    /// what nodes are to be
    pub site: Arc<Site>,
    /// every key of the cluster
    pub secrets: SecretsBundle,
    /// the hand-over's objects
    pub steps: Vec<Step>,
    /// where it is written down what a step that stopped has seen; nowhere without it
    pub bundles: Option<PathBuf>,
    /// where snapshots of etcd are kept; none are without it
    pub snapshots: Option<PathBuf>,
    /// the certificates of service processors; none is trusted without it
    pub pins: Option<Arc<Pins>>,
    admin: Admin,
}

/// The secrets bundle does not make a working client.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// no certificate can be issued from it
    #[error("the secrets bundle cannot issue a client certificate: {0}")]
    Issue(#[from] PkiError),
    /// what was issued cannot be used
    #[error("the secrets bundle's certificate authority cannot be used: {0}")]
    Use(#[from] talos_api::CredentialsError),
}

impl Cluster {
    /// Issues a fresh administrator certificate from the bundle, which is renewed in time.
    pub fn new(site: Arc<Site>, secrets: SecretsBundle, steps: Vec<Step>) -> Result<Self, CredentialsError> {
        let admin = Admin::issue(&secrets, unix_seconds())?;
        Ok(Self { site, secrets, steps, bundles: None, snapshots: None, pins: None, admin })
    }

    /// What opens our machines now.
    pub(super) fn credentials(&self) -> Credentials {
        self.admin.credentials(&self.secrets, unix_seconds())
    }
}

impl Cluster {
    /// The same, with a folder for what steps that stopped have seen.
    #[must_use]
    pub fn with_bundles(self, folder: PathBuf) -> Self {
        Self { bundles: Some(folder), ..self }
    }

    /// The same, with what is known of service processors' certificates.
    #[must_use]
    pub fn with_pins(self, pins: Arc<Pins>) -> Self {
        Self { pins: Some(pins), ..self }
    }

    /// The same, with a folder for snapshots of etcd.
    #[must_use]
    pub fn with_snapshots(self, folder: PathBuf) -> Self {
        Self { snapshots: Some(folder), ..self }
    }
}

/// Seconds since the Unix epoch, for certificates.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Tidings waiting for a turn. Machines wait when it is full.
const TIDINGS: usize = 1024;

/// Carries effects out on real machines.
pub struct Talos {
    cluster: watch::Receiver<Arc<Cluster>>,
    sessions: Sessions,
    tidings: Mutex<Option<mpsc::Receiver<Tiding>>>,
}

impl Talos {
    /// Reads the cluster anew for each effect, so that a reload takes hold at once.
    pub fn new(cluster: watch::Receiver<Arc<Cluster>>) -> Self {
        let (tell, told) = mpsc::channel(TIDINGS);
        Self { cluster, sessions: Sessions::new(tell), tidings: Mutex::new(Some(told)) }
    }
}

impl World for Talos {
    async fn carry_out(self: Arc<Self>, effect: Effect) -> Event {
        let cluster = Arc::clone(&self.cluster.borrow());
        match effect {
            // the reconciler answers these itself
            Effect::AnswerBoot { .. } => Event::Tick,
            Effect::Observe { node, ticket, candidates } => {
                let observation = self.sessions.observe(&cluster, &node, &candidates).await;
                tracing::debug!(%node, ?observation, "looked");
                Event::Observed { node, ticket, observation }
            }
            Effect::Apply { node, ticket, address, fingerprint } => {
                let outcome = apply(&cluster, &node, address, &fingerprint).await;
                tracing::info!(%node, %address, ?outcome, "pushed the config");
                Event::Applied { node, ticket, outcome }
            }
            Effect::SeekCluster { ticket, virtual_address, nodes } => {
                tracing::info!(?virtual_address, ?nodes, "asks whether a cluster exists");
                let owned = async {
                    match virtual_address {
                        Some(address) => owner(&cluster, address).await,
                        None => None,
                    }
                };
                let (owner, nodes) = tokio::join!(owned, ours(&cluster, nodes));
                Event::ClusterSought { ticket, owner, nodes }
            }
            Effect::Bootstrap { ticket, node, address, boot_id } => {
                let outcome = bootstrap(&cluster, address, &boot_id).await;
                tracing::info!(%node, %address, ?outcome, "called Bootstrap");
                Event::BootstrapAnswered { ticket, outcome }
            }
            Effect::Recover { ticket, node, address, boot_id, snapshot } => {
                let outcome = recover(&cluster, address, &boot_id, &snapshot).await;
                tracing::info!(%node, %address, snapshot, ?outcome, "recovered etcd");
                Event::Recovered { ticket, outcome }
            }
            Effect::LookAround { ticket, nodes } => {
                let nodes = ours(&cluster, nodes).await;
                tracing::info!(?nodes, "looked for nodes that run already");
                Event::LookedAround { ticket, nodes: Some(nodes) }
            }
            Effect::RunStep { ticket, step, only_look } => {
                let outcome = match only_look {
                    true => look_at_step(&cluster, &step).await,
                    false => run_step(&cluster, &step).await,
                };
                Event::StepEnded { ticket, step, outcome }
            }
            Effect::Power { node, ticket, action, network_boot, macs } => {
                let outcome = switch(&cluster, &node, action, network_boot, macs).await;
                tracing::info!(%node, ?action, ?outcome, "its power");
                Event::Powered { node, ticket, outcome }
            }
            Effect::Depart { node, ticket, task } => {
                let outcome = depart(&cluster, &node, &task).await;
                tracing::info!(%node, ?task, ?outcome, "a step of its departure");
                Event::Departed { node, ticket, outcome }
            }
        }
    }

    async fn meet(self: Arc<Self>, addresses: Vec<IpAddr>) -> Option<Met> {
        let cluster = Arc::clone(&self.cluster.borrow());
        for address in addresses {
            let met = self.sessions.meet(&cluster, address).await;
            let Some((Observation::Maintenance { inventory, .. }, neighbors)) = met else { continue };
            match net::neighbour::mac_of(address).await {
                Ok(card) => return Some(Met { address, card, inventory, neighbors }),
                Err(error) => tracing::warn!(%address, %error, "the neighbour table cannot be read"),
            }
        }
        None
    }

    fn tidings(&self) -> Option<mpsc::Receiver<Tiding>> {
        self.tidings.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

pub(super) fn machine_api(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, PORT)
}

async fn apply(cluster: &Cluster, node: &NodeName, address: IpAddr, fingerprint: &str) -> ApplyOutcome {
    let config = match cluster.site.machine_config(&node.0, &cluster.secrets) {
        Ok(config) => config,
        Err(error) => return ApplyOutcome::Refused { reason: format!("the config cannot be made: {error}") },
    };
    let yaml = match config.to_yaml() {
        Ok(yaml) => yaml,
        Err(error) => {
            return ApplyOutcome::Refused { reason: format!("the config cannot be written: {error}") };
        }
    };
    let pinned: Fingerprint = match fingerprint.parse() {
        Ok(fingerprint) => fingerprint,
        Err(error) => return ApplyOutcome::Unknown { reason: format!("{error}") },
    };
    let client = match Client::maintenance(machine_api(address), &pinned).await {
        Ok(client) => client,
        Err(error) => return ApplyOutcome::Unknown { reason: error.to_string() },
    };
    // AUTO is the one mode that every version takes in maintenance (talos.md §6.3); asked dry, the machine judges
    // the config without keeping anything of it
    if let Err(error) = client.apply_configuration(&yaml, ApplyMode::Auto, true).await {
        return outcome(&error);
    }
    match client.apply_configuration(&yaml, ApplyMode::Auto, false).await {
        Ok(_) => ApplyOutcome::Accepted,
        Err(error) => outcome(&error),
    }
}

fn outcome(error: &CallError) -> ApplyOutcome {
    match error.code() {
        // "already in progress", "already applied and node is rebooting"
        Code::FailedPrecondition => ApplyOutcome::Accepted,
        Code::InvalidArgument | Code::PermissionDenied | Code::Unimplemented => {
            ApplyOutcome::Refused { reason: error.to_string() }
        }
        _ => ApplyOutcome::Unknown { reason: error.to_string() },
    }
}

async fn bootstrap(cluster: &Cluster, address: IpAddr, boot_id: &str) -> BootstrapOutcome {
    match of_boot(cluster, address, boot_id).await {
        Ok(client) => begun(client.bootstrap().await),
        Err(reason) => BootstrapOutcome::NotYet { reason },
    }
}

/// Those of the addresses where a machine answers with our CA.
async fn ours(cluster: &Arc<Cluster>, addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut asking = JoinSet::new();
    for address in addresses {
        let cluster = Arc::clone(cluster);
        asking.spawn(async move {
            let found = probe(machine_api(address), cluster.credentials().authority(), SOUGHT).await;
            matches!(found, Ok(Peer::Ours)).then_some(address)
        });
    }
    asking.join_all().await.into_iter().flatten().collect()
}

/// Who answers for the virtual address: to ARP on each of the site's networks, or on the API server's port. Both are asked
/// at once: everybody waits for the bootstrap meanwhile. No machine can be asked instead: that nobody has it must be shown.
async fn owner(cluster: &Cluster, address: IpAddr) -> Option<String> {
    let (segment, port) = tokio::join!(owner_on_segment(cluster, address), owner_of_port(address));
    segment.or(port)
}

async fn owner_on_segment(cluster: &Cluster, address: IpAddr) -> Option<String> {
    let IpAddr::V4(v4) = address else { return None };
    for network in cluster.site.networks().iter().filter(|network| network.subnet.contains(&v4)) {
        match net::arp::probe(&network.interface, v4, VIRTUAL_ADDRESS).await {
            Ok(Some(mac)) => return Some(format!("{mac} answers for {address} on {}", network.interface)),
            Ok(None) => {}
            // not knowing counts as an answer
            Err(error) => return Some(format!("cannot tell: {error}")),
        }
    }
    None
}

async fn owner_of_port(address: IpAddr) -> Option<String> {
    let port = SocketAddr::new(address, 6443);
    match timeout(VIRTUAL_ADDRESS, TcpStream::connect(port)).await {
        Ok(Ok(_)) => Some(format!("{port} takes connections")),
        Ok(Err(_)) | Err(_) => None,
    }
}
