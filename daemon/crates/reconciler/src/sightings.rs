//! Evidence in memory, and what it says about one machine.

use std::net::IpAddr;

use boot::{LldpReport, discovery::Report};
use hardware::{ChassisId, Disk, Inventory, Link, MacAddr, PortId};
use identity::{Decision, Marks, Port, Sighting, Sightings, Slots, Source, overview, testimony, unseen};
use lifecycle::{Core, Event, Identity, Machine, NodeName, NodeState, Time};
use talos_api::LldpNeighbor;

use crate::{BootQuestion, Explained, Met, Ports, displaced::Displacements};

/// IEEE 802.1AB table 8-2: a chassis is known by a MAC address, or in a way of its own.
const CHASSIS_MAC: u8 = 4;
const CHASSIS_LOCAL: u8 = 7;
/// IEEE 802.1AB table 8-3: a port is known by its interface name.
const PORT_NAME: u8 = 5;

/// The table of sightings beside the slots they are weighed against.
#[derive(Debug)]
pub(crate) struct Evidence {
    slots: Slots,
    sightings: Sightings,
    displaced: Displacements,
}

impl Evidence {
    pub(crate) fn new(slots: Slots) -> Self {
        Self { slots, sightings: Sightings::default(), displaced: Displacements::default() }
    }

    /// Another site is in force; whoever holds a slot and is seen now is weighed against it.
    pub(crate) fn replace_slots(&mut self, slots: Slots, core: &Core, now: Time) -> Vec<Event> {
        self.slots = slots;
        self.displaced.follow(&self.slots, &self.sightings, now);
        let seen = self.sightings.machines(now.0);
        let holds = |marks: &&Marks| core.holder_of(&machine(marks)).is_some();
        let mut events = Vec::new();
        for marks in seen.iter().filter(holds) {
            let (machine, identity) = self.identify(marks, now);
            self.look_for(&machine, core, now);
            events.push(Event::Identified { machine, identity });
        }
        events
    }

    /// Evidence about this machine came: where it is may be another place than before.
    pub(crate) fn look_for(&mut self, seen: &Machine, core: &Core, now: Time) {
        if let Some(held) = core.holder_of(seen) {
            let Machine { macs, uuid, serial } = seen.clone();
            self.displaced.look(&self.slots, &self.sightings, &held, &Marks { macs, uuid, serial }, now);
        }
    }

    /// What people have not been told of places that the site file does not know.
    pub(crate) fn news(&mut self, core: &Core, site: &str, now: Time) -> Vec<Event> {
        self.displaced.news(&self.slots, &self.sightings, core, site, now)
    }

    /// The core that was told is another one now.
    pub(crate) fn say_again(&mut self) {
        self.displaced.say_again();
    }

    /// Takes in what a boot question says, and answers which slot the machine is.
    pub(crate) fn of_question(&mut self, question: &BootQuestion, now: Time) -> (Machine, Identity) {
        for report in &question.lldp {
            let Some(port) = port(report) else { continue };
            self.record(sighting(question, now).on(Some(report.nic), port), now);
        }
        self.record(sighting(question, now), now);
        self.identify(&question.machine, now)
    }

    /// Takes in what a machine found out about itself, and answers which slot it is.
    pub(crate) fn of_report(&mut self, from: IpAddr, report: &Report, now: Time) -> (Machine, Identity) {
        let Inventory { uuid, serial, links, disks } = &report.inventory;
        let macs = links.iter().map(|link| link.mac).collect();
        let machine = Marks { macs, uuid: *uuid, serial: serial.clone() };
        let sighting =
            |raw: String| Sighting { raw, ..Sighting::new(Source::Discovery, machine.clone(), now.0) };
        self.record(sighting(format!("from {from}: {}", made_of(links, disks))), now);
        for heard in &report.neighbours {
            let Some(port) = port(heard) else { continue };
            let raw = heard.chassis.as_ref().map(|chassis| {
                format!("chassis {chassis} (subtype {}), port subtype {}", chassis.subtype, port.id.subtype)
            });
            self.record(sighting(raw.unwrap_or_default()).on(Some(heard.nic), port), now);
        }
        self.identify(&machine, now)
    }

    /// Takes in a sighting, and answers which slot its machine is.
    pub(crate) fn of_sighting(&mut self, sighting: Sighting, now: Time) -> (Machine, Identity) {
        let sighting = self.slots.read_relay(sighting);
        let machine = sighting.machine.clone();
        self.record(sighting, now);
        self.identify(&machine, now)
    }

    /// Takes in what a machine in maintenance mode says of itself, and answers which slot it is. Anybody can say to be
    /// another machine; only its card answers for it, or behind a router the one that was given the address.
    pub(crate) fn of_meeting(
        &mut self,
        mac: MacAddr,
        met: &Met,
        now: Time,
    ) -> Result<(Machine, Identity), String> {
        let Met { address, card, inventory, neighbors } = met;
        let macs = inventory.links.iter().map(|link| link.mac).collect();
        let marks = Marks { macs, uuid: inventory.uuid, serial: inventory.serial.clone() };
        let card = card.unwrap_or(mac);
        if !marks.macs.contains(&card) {
            return Err(format!(
                "{address} is {card}, which is no card of the machine that answers there ({marks})"
            ));
        }
        let raw = format!("its own account at {address}");
        let sighting = Sighting { raw, ..Sighting::new(Source::Maintenance, marks.clone(), now.0) };
        self.record(sighting, now);
        for neighbor in neighbors {
            let Some(link) = inventory.links.iter().find(|link| link.name == neighbor.link) else { continue };
            let raw = format!(
                "its own account at {address}: {} hears chassis {}, port {}, system {:?}",
                neighbor.link, neighbor.chassis_id, neighbor.port_id, neighbor.system_name
            );
            let sighting = Sighting { raw, ..Sighting::new(Source::Maintenance, marks.clone(), now.0) };
            self.record(sighting.on(Some(link.mac), heard(neighbor)), now);
        }
        Ok(self.identify(&marks, now))
    }

    /// Every port, for people.
    pub(crate) fn ports(&self, site: &str, now: Time) -> Ports {
        let rows = overview(&self.slots, &self.sightings, now.0);
        let unseen = unseen(&self.slots, &rows).into_iter().map(str::to_owned).collect();
        let told = self.displaced.told(&self.slots, &self.sightings, site, now);
        Ports { at: now.0, rows, unseen, told, displaced: self.displaced.places() }
    }

    /// Every machine that somebody may mean, each with what was seen of it and what follows from that.
    pub(crate) fn explain(&self, meant: &str, core: &Core, now: Time) -> Vec<Explained> {
        self.meant(meant, core, now).into_iter().map(|marks| self.explained(&marks, core, now)).collect()
    }

    fn explained(&self, marks: &Marks, core: &Core, now: Time) -> Explained {
        let decision = identity::decide(&self.slots, &self.sightings, marks, now.0);
        let (verdict, evidence) = match decision {
            Decision::Identified { slot, attested: true, evidence, .. } => {
                (format!("it is {slot}"), evidence)
            }
            Decision::Identified { slot, evidence, .. } => {
                (format!("it is {slot}, as nobody but itself says"), evidence)
            }
            Decision::Unknown { reason } => (format!("nothing says what it is: {reason}"), Vec::new()),
            Decision::Refused { reason, evidence } => (format!("it is given nothing: {reason}"), evidence),
        };
        let holds = core.holder_of(&machine(marks));
        let seen = testimony(&self.sightings, marks, now.0);
        Explained { machine: marks.clone(), holds, verdict, evidence, seen }
    }

    fn meant(&self, meant: &str, core: &Core, now: Time) -> Vec<Marks> {
        let seen = self.sightings.machines(now.0);
        let whole =
            |marks: Marks| seen.iter().find(|it| it.is_same_machine(&marks)).cloned().unwrap_or(marks);
        if let Ok(mac) = meant.parse() {
            return vec![whole(Marks::of_mac(mac))];
        }
        if let Ok(uuid) = meant.parse() {
            return vec![whole(Marks { uuid: Some(uuid), ..Marks::default() })];
        }
        let mut found: Vec<Marks> =
            seen.iter().filter(|marks| marks.serial.as_deref() == Some(meant)).cloned().collect();
        if let Some(claim) = core.node(&NodeName(meant.to_owned())).and_then(NodeState::claim) {
            let Machine { macs, uuid, serial } = claim.machine.clone();
            found.push(whole(Marks { macs, uuid, serial }));
        }
        let ports = self.slots.slot(meant).map(|slot| slot.ports.as_slice()).unwrap_or_default();
        let there = ports.iter().flat_map(|port| self.sightings.on_port(&self.slots, port, now.0));
        for marks in there.map(|sighting| whole(sighting.machine.clone())) {
            if !found.iter().any(|known| known.is_same_machine(&marks)) {
                found.push(marks);
            }
        }
        found
    }

    fn record(&mut self, sighting: Sighting, now: Time) {
        self.sightings.forget(now.0);
        self.sightings.record(sighting);
    }

    fn identify(&self, marks: &Marks, now: Time) -> (Machine, Identity) {
        let identity = match identity::decide(&self.slots, &self.sightings, marks, now.0) {
            Decision::Identified { slot, port, attested, evidence } => {
                Identity::Slot { node: NodeName(slot), port, attested, evidence }
            }
            Decision::Unknown { reason } => Identity::Unknown { reason },
            Decision::Refused { reason, evidence } => {
                Identity::Refused { reason: [vec![reason], evidence].concat().join("; ") }
            }
        };
        (machine(marks), identity)
    }
}

/// The port that a neighbour is. Talos leaves the subtypes out: a chassis that looks like a MAC address is one, a port is
/// called by its name.
fn heard(neighbor: &LldpNeighbor) -> Port {
    let mac = neighbor.chassis_id.parse::<MacAddr>();
    let chassis = mac.map_or_else(
        |_| ChassisId { subtype: CHASSIS_LOCAL, id: neighbor.chassis_id.as_bytes().to_vec() },
        |mac| ChassisId { subtype: CHASSIS_MAC, id: mac.0.to_vec() },
    );
    let id = PortId { subtype: PORT_NAME, id: neighbor.port_id.as_bytes().to_vec() };
    let said = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    Port {
        switch: said(&neighbor.system_name),
        chassis: Some(chassis).filter(|chassis| !chassis.id.is_empty()),
        description: said(&neighbor.port_description),
        management: neighbor.management.clone(),
        ..Port::of_id(id)
    }
}

fn machine(marks: &Marks) -> Machine {
    Machine { macs: marks.macs.clone(), uuid: marks.uuid, serial: marks.serial.clone() }
}

/// The switch port that a machine heard of.
fn port(heard: &LldpReport) -> Option<Port> {
    Some(Port {
        switch: heard.system_name.clone(),
        chassis: heard.chassis.clone(),
        description: heard.port_description.clone(),
        management: heard.management.into_iter().collect(),
        forwards: heard.forwards,
        ..Port::of_id(heard.port.clone()?)
    })
}

/// Cards and disks, for people.
fn made_of(links: &[Link], disks: &[Disk]) -> String {
    let card =
        |link: &Link| format!("{} {}{}", link.name, link.mac, if link.up { "" } else { " without link" });
    let disk = |disk: &Disk| {
        let gigabytes = disk.size / 1_000_000_000;
        format!("{} {gigabytes} GB {} {}", disk.dev_path, disk.model, disk.serial).trim_end().to_owned()
    };
    let disks = disks.iter().filter(|disk| !disk.cdrom).map(disk);
    links.iter().map(card).chain(disks).collect::<Vec<_>>().join(", ")
}

fn sighting(question: &BootQuestion, now: Time) -> Sighting {
    let raw = format!("boot question from {}", question.from);
    Sighting { raw, ..Sighting::new(Source::Ipxe, question.machine.clone(), now.0) }
}
