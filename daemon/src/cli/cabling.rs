//! `ichord ports --verify`: the cabling of a running cluster, as its own machines hear it.
//!
//! Every configured machine is asked to record one LLDP frame on each card with a link. What its switch says there must
//! lead to the slot that it holds. Needs no daemon; nothing is changed.

use std::{net::SocketAddr, path::Path, time::Duration};

use identity::{
    Decision, Marks, Port, Sighting, Sightings, Slots, Source, Whereabouts, changes, decide, whereabouts,
};
use talos_api::{Client, Credentials, PORT};
use tokio::task::JoinSet;

use super::{
    Failure,
    credentials::{loaded, now},
    print,
};

/// A switch speaks every 30 s.
const LISTEN: Duration = Duration::from_secs(35);

/// What one machine hears.
struct Heard {
    node: String,
    marks: Marks,
    sightings: Vec<Sighting>,
}

pub(crate) async fn verify(site: &Path) -> Result<(), Failure> {
    let loaded = loaded(site)?;
    let admin = loaded.secrets.talos_admin(now())?;
    let credentials =
        Credentials::from_pem(&loaded.secrets.os.certificate, &admin.certificate, admin.key.expose())?;
    let slots = loaded.site.slots();
    let mut asked = JoinSet::new();
    for (name, node) in loaded.site.plan().nodes {
        let (address, credentials) = (SocketAddr::new(node.address, PORT), credentials.clone());
        asked.spawn(async move { (name.0.clone(), listen(name.0, address, &credentials).await) });
    }
    let (mut lines, mut all_well) = (Vec::new(), true);
    let (mut all, mut answered) = (Sightings::default(), Vec::new());
    while let Some(ended) = asked.join_next().await {
        let (node, heard) = ended?;
        let (well, verdict) = match heard {
            Ok(heard) => {
                let judged = judge(&slots, &heard);
                for sighting in heard.sightings {
                    all.record(sighting);
                }
                answered.push((heard.node, heard.marks));
                judged
            }
            Err(error) => (false, format!("cannot be asked: {error:#}")),
        };
        all_well &= well;
        lines.push(format!("{} {node}: {verdict}\n", if well { "ok   " } else { "WRONG" }));
    }
    lines.sort_by_key(|line| line.get(5..).map(str::to_owned));
    let at = now() * 1000;
    let elsewhere = |(node, marks): &(String, Marks)| match whereabouts(&slots, &all, node, marks, at) {
        Whereabouts::Elsewhere(displaced) => Some(displaced),
        Whereabouts::Here | Whereabouts::Untold => None,
    };
    let displaced: Vec<_> = answered.iter().filter_map(elsewhere).collect();
    let folder = site.display().to_string();
    lines.extend(
        changes(&slots, &all, &displaced, at)
            .iter()
            .map(|change| format!("! {}\n", change.in_words(&folder))),
    );
    print(&lines.concat())?;
    if all_well { Ok(()) } else { Err(Failure::Differs) }
}

async fn listen(node: String, address: SocketAddr, credentials: &Credentials) -> anyhow::Result<Heard> {
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
        let sighting =
            Sighting::new(Source::Maintenance, marks.clone(), now() * 1000).on(Some(link.mac), port);
        sightings.push(Sighting { raw, ..sighting });
    }
    Ok(Heard { node, marks, sightings })
}

/// Whether the machine is where its slot says, and in words.
fn judge(slots: &Slots, heard: &Heard) -> (bool, String) {
    let mut table = Sightings::default();
    for sighting in &heard.sightings {
        table.record(sighting.clone());
    }
    let ports: Vec<String> = heard.sightings.iter().map(|sighting| sighting.raw.clone()).collect();
    let has_port = slots.slot(&heard.node).is_some_and(|slot| !slot.ports.is_empty());
    match decide(slots, &table, &heard.marks, now() * 1000) {
        _ if ports.is_empty() => (!has_port, format!("no switch was heard within {} s", LISTEN.as_secs())),
        Decision::Identified { slot, .. } if slot == heard.node => (true, ports.join("; ")),
        Decision::Identified { slot, .. } => {
            (false, format!("it is plugged into the port of {slot}: {}", ports.join("; ")))
        }
        // known by an address, wherever it is plugged in
        Decision::Unknown { .. } if !has_port => (true, ports.join("; ")),
        Decision::Unknown { reason } => (false, format!("{reason}: {}", ports.join("; "))),
        Decision::Refused { reason, evidence } => (false, format!("{reason}: {}", evidence.join("; "))),
    }
}
