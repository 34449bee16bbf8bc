//! One look at a machine: who answers, and what it tells about itself.

use std::{collections::BTreeMap, future::pending, net::IpAddr, time::Duration};

use lifecycle::{Content, EtcdHealth, EtcdMember, EtcdObservation, Observation, Stage};
use talos_api::{
    CallError, Client, ConnectError, Fingerprint, LldpNeighbor, Peer, ProbeError, Service, Volume, probe,
};
use tokio::time::sleep;

use super::talos::{Cluster, machine_api};

/// For one look: connecting, the handshake, and each question.
pub(super) const LOOK: Duration = Duration::from_secs(3);

/// A machine on a local network that has not taken a connection by then is asked for by ARP, and every so often
/// again; a lost packet of a connection's begin is repeated after a second, and finds the machine then.
const ELSEWHERE: Duration = Duration::from_millis(400);

/// Looks at each address in turn until one tells something.
pub(super) async fn observe(cluster: &Cluster, candidates: &[IpAddr]) -> Observation {
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
pub(super) enum LookError {
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
fn contents(volumes: &[Volume]) -> Vec<Content> {
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

async fn configured(cluster: &Cluster, address: IpAddr) -> Result<Observation, LookError> {
    let client = Client::configured(machine_api(address), &cluster.credentials).await?.with_deadline(LOOK);
    let boot_id = client.boot_id().await?.ok_or(LookError::NoBoot(address))?;
    let inventory = client.inventory().await?;
    let stage = match client.machine_status().await?.stage {
        talos_api::Stage::Running => Stage::Running,
        _ => Stage::Other,
    };
    let services = client.services().await?;
    let etcd = etcd(&client, &services).await?;
    let holds_virtual_address = match cluster.site.virtual_address() {
        Some(shared) => client.addresses().await?.contains(&shared),
        None => false,
    };
    let unwell = services.iter().filter_map(unwell).collect();
    Ok(Observation::Configured { address, boot_id, stage, inventory, etcd, holds_virtual_address, unwell })
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
async fn etcd(client: &Client, services: &[Service]) -> Result<EtcdObservation, CallError> {
    let Some(service) = services.iter().find(|service| service.id == "etcd") else {
        return Ok(EtcdObservation::None);
    };
    match (client.etcd_members(true).await, service.state.as_str()) {
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
            Ok(EtcdObservation::Members { members, health })
        }
        (Err(_), "Preparing" | "Waiting") => Ok(EtcdObservation::Waiting),
        (Err(error), state) => Ok(EtcdObservation::Unknown { reason: format!("etcd is {state}: {error}") }),
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
