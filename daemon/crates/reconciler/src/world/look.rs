//! One look at a machine: who answers, and what it tells about itself.

use std::{collections::BTreeMap, future::pending, net::IpAddr, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hardware::Inventory;
use lifecycle::{Content, EtcdHealth, EtcdMember, EtcdObservation, Observation, Stage};
use talos_api::{
    CallError, Client, ConnectError, Fingerprint, LldpNeighbor, Peer, ProbeError, Service, Volume, probe,
};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::talos::{Cluster, machine_api};

/// For one look: connecting, the handshake, and each question.
pub(super) const LOOK: Duration = Duration::from_secs(3);

/// A machine on a local network that has not taken a connection by then is asked for by ARP, and every so often
/// again.
const ELSEWHERE: Duration = Duration::from_millis(400);

/// An address that somebody left takes as long as a look may take to be silent; when another one has answered, the ones
/// that count more are waited for no longer than this.
const GRACE: Duration = Duration::from_millis(400);

/// A machine that refuses connections is about to open its API, and one that is silent is about to be there: so often it is
/// tried again, as long as a look may take.
const AGAIN: Duration = Duration::from_millis(50);

/// A machine that is there has answered a first connection by then.
const THERE: Duration = Duration::from_millis(100);

/// What was heard of an address; `None` while it is not known.
type Word = Option<Result<Peer, ProbeError>>;

/// Who answers at the addresses, all asked at once, until nobody can come before the one who counts most.
pub(super) async fn first_words(cluster: &Cluster, addresses: &[IpAddr]) -> Vec<(IpAddr, Word)> {
    let end = Instant::now() + LOOK;
    let ask = |index: usize, address: IpAddr, pause: Duration| async move {
        sleep(pause).await;
        (index, timeout_at(end, first_word(cluster, address)).await.ok())
    };
    let numbered = || addresses.iter().copied().enumerate();
    let mut asked: FuturesUnordered<_> =
        numbered().map(|(index, address)| ask(index, address, Duration::ZERO)).collect();
    let mut words: Vec<(IpAddr, Word)> = addresses.iter().map(|&address| (address, None)).collect();
    let mut until = None;
    loop {
        let next = match until {
            None => asked.next().await,
            Some(until) => timeout_at(until, asked.next()).await.unwrap_or_default(),
        };
        let Some((index, word)) = next else { return words };
        let is_refused = matches!(word, Some(Err(ProbeError::Refused { .. })));
        let Some((address, heard)) = words.get_mut(index) else { return words };
        let address = *address;
        match word {
            Some(word) => *heard = Some(word),
            // what was heard of it before says more
            None => {
                let silent = ProbeError::TimedOut { address: machine_api(address), within: LOOK };
                heard.get_or_insert(Err(silent));
            }
        }
        if is_refused && Instant::now() + AGAIN < end {
            asked.push(ask(index, address, AGAIN));
        }
        let answered = words.iter().position(|(_, word)| matches!(word, Some(Ok(_))));
        if let Some(best) = answered {
            if words.iter().take(best).all(|(_, word)| word.is_some()) {
                return words;
            }
            until.get_or_insert_with(|| Instant::now() + GRACE);
        }
    }
}

/// Who answers at the address. A machine that took it over from another one is where the kernel does not send to yet.
pub(super) async fn first_word(cluster: &Cluster, address: IpAddr) -> Result<Peer, ProbeError> {
    // a connection that is not taken at once costs nothing but itself, so that one is under way when the machine opens
    let comes_up = async {
        sleep(THERE).await;
        loop {
            match timeout(AGAIN, TcpStream::connect(machine_api(address))).await {
                Ok(Ok(_)) => {
                    return probe(machine_api(address), cluster.credentials().authority(), LOOK).await;
                }
                Ok(Err(_)) => sleep(AGAIN).await,
                Err(_) => {}
            }
        }
    };
    let asking = async {
        loop {
            ask_elsewhere(cluster, address).await;
        }
    };
    tokio::select! {
        found = tries(cluster, address) => found,
        found = comes_up => found,
        never = asking => never,
    }
}

/// The same of a stranger. Most are printers and phones and there may be many of them, so that the network is not
/// troubled more than the question is worth; who waits there is knocked at again.
pub(super) async fn knock(cluster: &Cluster, address: IpAddr) -> Result<Peer, ProbeError> {
    let asking = async {
        ask_elsewhere(cluster, address).await;
        pending().await
    };
    tokio::select! {
        found = tries(cluster, address) => found,
        never = asking => never,
    }
}

/// One that comes up meanwhile answers a new connection sooner than the repeated begin of one it did not hear.
async fn tries(cluster: &Cluster, address: IpAddr) -> Result<Peer, ProbeError> {
    let tries = (0..LOOK.as_secs()).map(|after| async move {
        sleep(Duration::from_secs(after)).await;
        probe(machine_api(address), cluster.credentials().authority(), LOOK).await
    });
    let first = tries.collect::<FuturesUnordered<_>>().next().await;
    first.unwrap_or_else(|| Err(ProbeError::TimedOut { address: machine_api(address), within: LOOK }))
}

/// Once it is late, asks the segment who has the address.
async fn ask_elsewhere(cluster: &Cluster, address: IpAddr) {
    sleep(ELSEWHERE).await;
    let IpAddr::V4(v4) = address else { return };
    let local = cluster.site.networks().iter().find(|network| network.subnet.contains(&v4));
    let Some(network) = local else { return };
    if let Err(error) = net::arp::ask(&network.interface, v4).await {
        tracing::debug!(%address, %error, "the segment was not asked for it");
    }
}

/// A look that showed nothing to decide on.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookError {
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Call(#[from] CallError),
    /// the streams that told of the machine have ended
    #[error("the connection to {0} has ended")]
    Ended(IpAddr),
    /// a resource that is not what it should be
    #[error("{address} tells what cannot be read: {reason}")]
    Unreadable {
        /// whom we asked
        address: IpAddr,
        /// what is wrong with it
        reason: String,
    },
    /// a configured machine that holds no slot
    #[error("{0} is a node of ours and waits for nothing")]
    NotAsked(IpAddr),
    /// without it one boot cannot be told from the next
    #[error("{0} answers, but does not tell its boot yet")]
    NoBoot(IpAddr),
}

pub(super) async fn waiting(address: IpAddr, fingerprint: &Fingerprint) -> Result<Observation, LookError> {
    let client = Client::maintenance(machine_api(address), fingerprint).await?.with_deadline(LOOK);
    let boot_id = client.boot_id().await?.ok_or(LookError::NoBoot(address))?;
    let inventory = client.inventory().await?;
    let contents = contents(&client.volumes().await?);
    let fingerprint = fingerprint.to_string();
    Ok(Observation::Maintenance { address, fingerprint, boot_id, inventory, contents })
}

/// What its cards hear of switches. A machine that does not tell is the same as one that hears nothing.
pub(super) async fn neighbors(address: IpAddr, fingerprint: &Fingerprint) -> Vec<LldpNeighbor> {
    let asked = async {
        let client = Client::maintenance(machine_api(address), fingerprint).await?.with_deadline(LOOK);
        Ok::<_, LookError>(client.lldp_neighbors().await?)
    };
    asked.await.unwrap_or_else(|error| {
        tracing::debug!(%address, %error, "the machine does not tell what its cards hear");
        Vec::new()
    })
}

/// What is on each disk that is not blank.
pub(super) fn contents(volumes: &[Volume]) -> Vec<Content> {
    let mut disks: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut talos = Vec::new();
    for volume in volumes {
        let partition = !volume.parent.is_empty();
        let disk = if partition { format!("/dev/{}", volume.parent) } else { volume.dev_path.clone() };
        let words = [volume.name.as_str(), volume.partition_label.as_str()];
        let found: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        if partition || !found.is_empty() {
            if volume.partition_label == "META" {
                talos.push(disk.clone());
            }
            disks.entry(disk).or_default().push(found.join(" "));
        }
    }
    let content = |(disk, found): (String, Vec<String>)| {
        let named: Vec<String> = found.into_iter().filter(|words| !words.is_empty()).collect();
        let what = if named.is_empty() { "partitions".to_owned() } else { named.join(", ") };
        Content { talos: talos.contains(&disk), disk, what }
    };
    disks.into_iter().map(content).collect()
}

/// What a configured machine tells of itself, etcd left out.
pub(super) struct Account {
    pub(super) boot_id: String,
    pub(super) inventory: Inventory,
    pub(super) stage: talos_api::Stage,
    pub(super) services: Vec<Service>,
    pub(super) addresses: Vec<IpAddr>,
}

/// A configured machine, asked for everything.
pub(super) async fn plainly(cluster: &Cluster, address: IpAddr) -> Result<Observation, LookError> {
    let client =
        Client::configured_once(machine_api(address), &cluster.credentials()).await?.with_deadline(LOOK);
    let account = Account {
        boot_id: client.boot_id().await?.ok_or(LookError::NoBoot(address))?,
        inventory: client.inventory().await?,
        stage: client.machine_status().await?.stage,
        services: client.services().await?,
        addresses: client.addresses().await?,
    };
    Ok(configured(cluster, &client, address, account).await)
}

/// The rest is asked now. Nothing in the API tells when etcd's members or what they follow change, and who votes decides
/// too much to be old.
pub(super) async fn configured(
    cluster: &Cluster,
    client: &Client,
    address: IpAddr,
    account: Account,
) -> Observation {
    let Account { boot_id, inventory, stage, services, addresses } = account;
    let etcd = etcd(client, &services).await;
    let stage = match stage {
        talos_api::Stage::Running => Stage::Running,
        _ => Stage::Other,
    };
    let holds_virtual_address =
        cluster.site.virtual_address().is_some_and(|shared| addresses.contains(&shared));
    let unwell = services.iter().filter_map(unwell).collect();
    Observation::Configured { address, boot_id, stage, inventory, etcd, holds_virtual_address, unwell }
}

/// What is wrong with a service, if anything is; one that ran once and is done is well.
fn unwell(service: &Service) -> Option<String> {
    let done = matches!(service.state.as_str(), "Finished" | "Skipped");
    (!service.is_up() && !done).then(|| match service.message.as_str() {
        "" => format!("{} is {}", service.id, service.state),
        message => format!("{} is {}: {message}", service.id, service.state),
    })
}

/// Members are proof that etcd has data; a service that still prepares is proof that it has none.
async fn etcd(client: &Client, services: &[Service]) -> EtcdObservation {
    let Some(service) = services.iter().find(|service| service.id == "etcd") else {
        return EtcdObservation::None;
    };
    let members = match client.etcd_members(true).await {
        // etcd answers nothing of the kind while it has no vote; Talos then asks the other control planes
        Err(_) if service.state == "Running" => client.etcd_members(false).await,
        told => told,
    };
    match (members, service.state.as_str()) {
        (Ok(members), _) => {
            let member = |member: talos_api::EtcdMember| EtcdMember {
                name: member.hostname,
                id: format!("{:016x}", member.id),
                learner: member.learner,
            };
            let members = members.into_iter().map(member).collect();
            let health = match client.etcd_status().await {
                Ok(status) => EtcdHealth {
                    leader: (status.leader != 0).then(|| format!("{:016x}", status.leader)),
                    term: status.raft_term,
                    errors: status.errors,
                },
                Err(error) => EtcdHealth { errors: vec![error.to_string()], ..EtcdHealth::default() },
            };
            EtcdObservation::Members { members, health }
        }
        (Err(_), "Preparing" | "Waiting") => EtcdObservation::Waiting,
        (Err(error), state) => EtcdObservation::Unknown { reason: format!("etcd is {state}: {error}") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(parent: &str, dev_path: &str, name: &str, label: &str) -> Volume {
        Volume {
            kind: if parent.is_empty() { "disk" } else { "partition" }.into(),
            dev_path: dev_path.into(),
            parent: parent.into(),
            name: name.into(),
            partition_label: label.into(),
        }
    }

    #[test]
    fn a_disk_is_blank_or_named_with_what_is_on_it() {
        let found = contents(&[
            volume("", "/dev/sda", "", ""),
            volume("", "/dev/sdb", "gpt", ""),
            volume("sdb", "/dev/sdb1", "", "META"),
            volume("sdb", "/dev/sdb2", "xfs", "STATE"),
            volume("", "/dev/sdc", "ext4", ""),
        ]);
        let told: Vec<(&str, &str, bool)> = found
            .iter()
            .map(|content| (content.disk.as_str(), content.what.as_str(), content.talos))
            .collect();
        assert_eq!(told, [("/dev/sdb", "gpt, META, xfs STATE", true), ("/dev/sdc", "ext4", false)]);
    }

    #[test]
    fn a_service_that_waits_is_named_with_what_it_says() {
        let service = |state: &str, healthy| Service {
            id: "ext-lldpd".into(),
            state: state.into(),
            healthy,
            message: "Waiting for extension service config".into(),
        };
        assert!(
            unwell(&service("Waiting", None)).is_some_and(|words| words.contains("ext-lldpd is Waiting"))
        );
        assert!(unwell(&service("Running", Some(false))).is_some());
        assert_eq!(unwell(&service("Running", None)), None);
        assert_eq!(unwell(&service("Finished", None)), None);
    }
}
