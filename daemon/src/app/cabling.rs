//! Which switch ports the machines of a running cluster hear: each is asked to record one LLDP frame on each card with a link.
//!
//! Who is installed boots its own disk, and its firmware says nothing more; where no relay, forwarding table or switch tells its
//! port, it is asked now and then. It is only its own word.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{StreamExt as _, stream};
use hardware::MacAddr;
use identity::{Attestor, Marks, Port, Sighting, Source};
use reconciler::{AskError, Cluster, Handle};
use site::Site;
use talos_api::{Client, Credentials, PORT};
use tokio::{sync::watch, task::JoinSet, time::sleep};

/// A switch speaks every 30 s.
pub(crate) const LISTEN: Duration = Duration::from_secs(35);

/// Machines that are asked at a time: each costs a connection for as long as a switch is silent.
const AT_A_TIME: usize = 16;

/// Between two rounds at least, whatever the site says.
const PAUSE: Duration = Duration::from_secs(1);

/// What one machine hears.
pub(crate) struct Heard {
    pub(crate) node: String,
    pub(crate) marks: Marks,
    pub(crate) sightings: Vec<Sighting>,
}

/// Asks one machine.
pub(crate) async fn listen(
    node: String,
    address: SocketAddr,
    credentials: &Credentials,
) -> anyhow::Result<Heard> {
    let client = Client::configured(address, credentials).await?;
    let inventory = client.inventory().await?;
    let marks = Marks {
        macs: inventory.links.iter().map(|link| link.mac).collect(),
        uuid: inventory.uuid,
        serial: inventory.serial,
    };
    let mut cards = JoinSet::new();
    for link in inventory.links.into_iter().filter(|link| link.up) {
        let (client, own) = (client.clone(), marks.macs.clone());
        cards.spawn(async move {
            // the machine's own voice is recorded, too
            let of_others =
                |frame: &[u8]| lldp::Frame::parse(frame).is_ok_and(|frame| !own.contains(&frame.source));
            let frame = client.captured_frame(&link.name, lldp::ETHERTYPE, LISTEN, of_others).await?;
            Ok::<_, talos_api::CallError>((link, frame))
        });
    }
    let mut sightings = Vec::new();
    while let Some(ended) = cards.join_next().await {
        let (link, Some(frame)) = ended?? else { continue };
        let said = lldp::Frame::parse(&frame)?.announcement;
        let raw = format!("{} hears chassis {}, port {}", link.name, said.chassis, said.port);
        let port = Port {
            switch: said.system_name,
            chassis: Some(said.chassis),
            description: said.port_description,
            management: said.management.iter().filter_map(lldp::ManagementAddress::ip).collect(),
            forwards: said.capabilities.map(lldp::Capabilities::forwards),
            ..Port::of_id(said.port)
        };
        let sighting = Sighting::new(Source::Installed, marks.clone(), now()).on(Some(link.mac), port);
        sightings.push(Sighting { raw, ..sighting });
    }
    Ok(Heard { node, marks, sightings })
}

/// Asks those of whom nothing else tells the port, again and again; ends with the reconciler.
pub(crate) async fn ask_around(cluster: watch::Receiver<Arc<Cluster>>, handle: Handle) {
    loop {
        let every = cluster.borrow().site.listen();
        sleep(every.max(PAUSE)).await;
        let cluster = Arc::clone(&cluster.borrow());
        let Ok(nodes) = untold(&cluster.site, &handle).await else { return };
        let credentials = match credentials(&cluster) {
            Ok(credentials) => credentials,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "nodes cannot be asked for their switch ports");
                continue;
            }
        };
        let asked = stream::iter(nodes).map(|(node, address)| {
            let credentials = credentials.clone();
            async move { (node.clone(), listen(node, SocketAddr::new(address, PORT), &credentials).await) }
        });
        let mut asked = std::pin::pin!(asked.buffer_unordered(AT_A_TIME));
        while let Some((node, heard)) = asked.next().await {
            let heard = match heard {
                Ok(heard) => heard,
                // it is looked at anyway, and asked again
                Err(error) => {
                    tracing::debug!(node, error = format!("{error:#}"), "it does not tell what it hears");
                    continue;
                }
            };
            for sighting in heard.sightings {
                if handle.sight(sighting).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Installed nodes that belong into a port, and of which nobody but themselves says in which one they are.
async fn untold(site: &Site, handle: &Handle) -> Result<Vec<(String, IpAddr)>, AskError> {
    let told: BTreeSet<MacAddr> = (handle.ports().await?.rows.iter())
        .flat_map(|row| &row.machines)
        .filter(|there| there.words.iter().any(|word| word.attestor != Attestor::Machine))
        .flat_map(|there| there.machine.macs.iter().copied())
        .collect();
    let slots = site.slots();
    let published = handle.published();
    let view = &published.borrow().view;
    let asked = view.nodes.iter().filter(|(name, node)| {
        matches!(node.state.as_str(), "configured" | "member" | "ready")
            && slots.slot(&name.0).is_some_and(|slot| !slot.ports.is_empty())
            && !node.macs.iter().any(|mac| told.contains(mac))
    });
    Ok(asked.map(|(name, node)| (name.0.clone(), node.address)).collect())
}

fn credentials(cluster: &Cluster) -> anyhow::Result<Credentials> {
    let admin = cluster.secrets.talos_admin(now() / 1000)?;
    let authority = &cluster.secrets.os.certificate;
    Ok(Credentials::from_pem(authority, &admin.certificate, admin.key.expose())?)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
