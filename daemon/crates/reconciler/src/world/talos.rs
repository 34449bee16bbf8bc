//! The real machines: probed, asked, given their config, bootstrapped; and the API server behind them.

use std::{
    future::pending,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use handover::Step;
use lifecycle::{
    ApplyOutcome, BootstrapOutcome, Effect, EtcdMember, EtcdObservation, Event, NodeName, Observation, Stage,
};
use site::Site;
use talos_api::{
    ApplyMode, CallError, Client, ConnectError, Credentials, Fingerprint, PORT, Peer, ProbeError, probe,
};
use talos_config::{pki::PkiError, secrets::SecretsBundle};
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{sleep, timeout},
};
use tonic::Code;

use super::{Met, World, step::run_step};

/// For one look: connecting, the handshake, and each question.
const LOOK: Duration = Duration::from_secs(3);

/// A machine on a local network that has not taken a connection by then is asked for by ARP, and every so often
/// again; a lost packet of a connection's begin is repeated after a second, and finds the machine then.
const ELSEWHERE: Duration = Duration::from_millis(400);

/// How long the network is asked who has the virtual address.
const VIRTUAL_ADDRESS: Duration = Duration::from_secs(2);

/// The cluster as effects need it: the site in force, its secrets, and a client certificate from them.
pub struct Cluster {
    /// what nodes are to be
    pub site: Arc<Site>,
    /// every key of the cluster
    pub secrets: SecretsBundle,
    /// the hand-over's objects
    pub steps: Vec<Step>,
    credentials: Credentials,
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
    /// Issues a fresh administrator certificate from the bundle; it lives as long as this value.
    pub fn new(site: Arc<Site>, secrets: SecretsBundle, steps: Vec<Step>) -> Result<Self, CredentialsError> {
        let admin = secrets.talos_admin(unix_seconds())?;
        let credentials =
            Credentials::from_pem(&secrets.os.certificate, &admin.certificate, admin.key.expose())?;
        Ok(Self { site, secrets, steps, credentials })
    }
}

/// Seconds since the Unix epoch, for certificates.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Carries effects out on real machines.
pub struct Talos {
    cluster: watch::Receiver<Arc<Cluster>>,
}

impl Talos {
    /// Reads the cluster anew for each effect, so that a reload takes hold at once.
    pub fn new(cluster: watch::Receiver<Arc<Cluster>>) -> Self {
        Self { cluster }
    }
}

impl World for Talos {
    async fn carry_out(self: Arc<Self>, effect: Effect) -> Event {
        let cluster = Arc::clone(&self.cluster.borrow());
        match effect {
            // the reconciler answers these itself
            Effect::AnswerBoot { .. } => Event::Tick,
            Effect::Observe { node, ticket, candidates } => {
                let observation = observe(&cluster, &candidates).await;
                tracing::debug!(%node, ?observation, "looked");
                Event::Observed { node, ticket, observation }
            }
            Effect::Apply { node, ticket, address, fingerprint } => {
                let outcome = apply(&cluster, &node, address, &fingerprint).await;
                tracing::info!(%node, %address, ?outcome, "pushed the config");
                Event::Applied { node, ticket, outcome }
            }
            Effect::ProbeVirtualAddress { ticket, address } => {
                let owner = owner(&cluster, address).await;
                Event::VirtualAddressProbed { ticket, owner }
            }
            Effect::Bootstrap { ticket, node, address } => {
                let outcome = bootstrap(&cluster, address).await;
                tracing::info!(%node, %address, ?outcome, "called Bootstrap");
                Event::BootstrapAnswered { ticket, outcome }
            }
            Effect::RunStep { ticket, step } => {
                let outcome = run_step(&cluster, &step).await;
                Event::StepEnded { ticket, step, outcome }
            }
        }
    }

    async fn meet(self: Arc<Self>, addresses: Vec<IpAddr>) -> Option<Met> {
        let cluster = Arc::clone(&self.cluster.borrow());
        for address in addresses {
            let found = probe(machine_api(address), cluster.credentials.authority(), LOOK).await;
            let Ok(Peer::Maintenance { fingerprint }) = found else { continue };
            let Ok(Observation::Maintenance { inventory, .. }) = waiting(address, &fingerprint).await else {
                continue;
            };
            match net::neighbour::mac_of(address).await {
                Ok(card) => return Some(Met { address, card, inventory }),
                Err(error) => tracing::warn!(%address, %error, "the neighbour table cannot be read"),
            }
        }
        None
    }
}

fn machine_api(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, PORT)
}

/// Looks at each address in turn until one tells something.
async fn observe(cluster: &Cluster, candidates: &[IpAddr]) -> Observation {
    let mut silence = Vec::new();
    for &address in candidates {
        let found = match first_word(cluster, address).await {
            Ok(Peer::Foreign { subject }) => Ok(Observation::Foreign { address, subject }),
            Ok(Peer::Maintenance { fingerprint }) => waiting(address, &fingerprint).await,
            Ok(Peer::Ours) => configured(cluster, address).await,
            Err(error) => Err(error.into()),
        };
        match found {
            Ok(observation) => return observation,
            Err(error) => silence.push(error.to_string()),
        }
    }
    Observation::Silent { detail: silence.join("; ") }
}

/// Who answers at the address. A machine that took it over from another one is where the kernel does not send to yet.
async fn first_word(cluster: &Cluster, address: IpAddr) -> Result<Peer, ProbeError> {
    let local = |v4| cluster.site.networks().iter().find(move |network| network.subnet.contains(&v4));
    let asking = async {
        let IpAddr::V4(v4) = address else { return pending().await };
        let Some(network) = local(v4) else { return pending().await };
        loop {
            sleep(ELSEWHERE).await;
            if let Err(error) = net::arp::ask(&network.interface, v4).await {
                tracing::debug!(%address, %error, "the segment was not asked for it");
            }
        }
    };
    tokio::select! {
        found = probe(machine_api(address), cluster.credentials.authority(), LOOK) => found,
        never = asking => never,
    }
}

/// A look that showed nothing to decide on.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Call(#[from] CallError),
    /// without it one boot cannot be told from the next
    #[error("{0} answers, but does not tell its boot yet")]
    NoBoot(IpAddr),
}

async fn waiting(address: IpAddr, fingerprint: &Fingerprint) -> Result<Observation, LookError> {
    let client = Client::maintenance(machine_api(address), fingerprint).await?.with_deadline(LOOK);
    let boot_id = client.boot_id().await?.ok_or(LookError::NoBoot(address))?;
    let inventory = client.inventory().await?;
    Ok(Observation::Maintenance { address, fingerprint: fingerprint.to_string(), boot_id, inventory })
}

async fn configured(cluster: &Cluster, address: IpAddr) -> Result<Observation, LookError> {
    let client = Client::configured(machine_api(address), &cluster.credentials).await?.with_deadline(LOOK);
    let boot_id = client.boot_id().await?.ok_or(LookError::NoBoot(address))?;
    let inventory = client.inventory().await?;
    let stage = match client.machine_status().await?.stage {
        talos_api::Stage::Running => Stage::Running,
        _ => Stage::Other,
    };
    let etcd = etcd(&client).await?;
    Ok(Observation::Configured { address, boot_id, stage, inventory, etcd })
}

/// Members are proof that etcd has data; a service that still prepares is proof that it has none.
async fn etcd(client: &Client) -> Result<EtcdObservation, CallError> {
    let services = client.services().await?;
    let Some(service) = services.into_iter().find(|service| service.id == "etcd") else {
        return Ok(EtcdObservation::None);
    };
    match (client.etcd_members(true).await, service.state.as_str()) {
        (Ok(members), _) => {
            let member = |member: talos_api::EtcdMember| EtcdMember {
                name: member.hostname,
                id: format!("{:016x}", member.id),
                learner: member.learner,
            };
            Ok(EtcdObservation::Members(members.into_iter().map(member).collect()))
        }
        (Err(_), "Preparing" | "Waiting") => Ok(EtcdObservation::Waiting),
        (Err(error), state) => Ok(EtcdObservation::Unknown { reason: format!("etcd is {state}: {error}") }),
    }
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
    // AUTO is the one mode that every version takes in maintenance (talos.md §6.3)
    match client.apply_configuration(&yaml, ApplyMode::Auto, false).await {
        Ok(_) => ApplyOutcome::Accepted,
        Err(error) => match error.code() {
            // "already in progress", "already applied and node is rebooting"
            Code::FailedPrecondition => ApplyOutcome::Accepted,
            Code::InvalidArgument | Code::PermissionDenied | Code::Unimplemented => {
                ApplyOutcome::Refused { reason: error.to_string() }
            }
            _ => ApplyOutcome::Unknown { reason: error.to_string() },
        },
    }
}

async fn bootstrap(cluster: &Cluster, address: IpAddr) -> BootstrapOutcome {
    let client = match Client::configured(machine_api(address), &cluster.credentials).await {
        Ok(client) => client,
        // without a connection nothing was asked
        Err(error) => return BootstrapOutcome::NotYet { reason: error.to_string() },
    };
    match client.bootstrap().await {
        Ok(()) => BootstrapOutcome::Accepted,
        Err(error) if error.is_already_exists() => BootstrapOutcome::Accepted,
        Err(error) => match error.code() {
            Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::Unimplemented
            | Code::InvalidArgument => BootstrapOutcome::NotYet { reason: error.to_string() },
            _ => BootstrapOutcome::Unknown { reason: error.to_string() },
        },
    }
}

/// Who answers for the virtual address: to ARP on each of the site's networks, or on the API server's port.
async fn owner(cluster: &Cluster, address: IpAddr) -> Option<String> {
    if let IpAddr::V4(v4) = address {
        for network in cluster.site.networks().iter().filter(|network| network.subnet.contains(&v4)) {
            match net::arp::probe(&network.interface, v4, VIRTUAL_ADDRESS).await {
                Ok(Some(mac)) => {
                    return Some(format!("{mac} answers for {address} on {}", network.interface));
                }
                Ok(None) => {}
                // not knowing counts as an answer
                Err(error) => return Some(format!("cannot tell: {error}")),
            }
        }
    }
    let port = SocketAddr::new(address, 6443);
    match timeout(VIRTUAL_ADDRESS, TcpStream::connect(port)).await {
        Ok(Ok(_)) => Some(format!("{port} takes connections")),
        Ok(Err(_)) | Err(_) => None,
    }
}
