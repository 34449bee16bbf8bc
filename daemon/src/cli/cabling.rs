//! `ichord ports --verify`: the cabling of a running cluster, as its own machines hear it.
//!
//! Every configured machine is asked to record one LLDP frame on each card with a link. What its switch says there must
//! lead to the slot that it holds. Needs no daemon; nothing is changed.

use std::{net::SocketAddr, path::Path};

use identity::{Decision, Marks, Sightings, Slots, Whereabouts, changes, decide, whereabouts};
use talos_api::{Credentials, PORT};
use tokio::task::JoinSet;

use super::{
    Failure,
    credentials::{loaded, now},
    print,
};
use crate::app::cabling::{Heard, LISTEN, listen};

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
