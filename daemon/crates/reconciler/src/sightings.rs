//! Evidence in memory, and what it says about one machine.

use identity::{Decision, Marks, Port, Sighting, Sightings, Slot, Source};
use lifecycle::{Identity, Machine, NodeName, Time};

use crate::BootQuestion;

/// The table of sightings beside the slots they are weighed against.
#[derive(Debug)]
pub(crate) struct Evidence {
    slots: Vec<Slot>,
    sightings: Sightings,
}

impl Evidence {
    pub(crate) fn new(slots: Vec<Slot>) -> Self {
        Self { slots, sightings: Sightings::default() }
    }

    pub(crate) fn replace_slots(&mut self, slots: Vec<Slot>) {
        self.slots = slots;
    }

    /// Takes in what a boot question says, and answers which slot the machine is.
    pub(crate) fn of_question(&mut self, question: &BootQuestion, now: Time) -> (Machine, Identity) {
        for report in &question.lldp {
            let Some(id) = report.port.clone() else { continue };
            let port = Port {
                switch: report.system_name.clone(),
                chassis: report.chassis.clone(),
                id,
                description: report.port_description.clone(),
            };
            self.record(sighting(question, Some(port), now), now);
        }
        self.record(sighting(question, None, now), now);
        self.identify(&question.machine, now)
    }

    /// Takes in a sighting, and answers which slot its machine is.
    pub(crate) fn of_sighting(&mut self, sighting: Sighting, now: Time) -> (Machine, Identity) {
        let machine = sighting.machine.clone();
        self.record(sighting, now);
        self.identify(&machine, now)
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
        let machine = Machine { macs: marks.macs.clone(), uuid: marks.uuid, serial: marks.serial.clone() };
        (machine, identity)
    }
}

fn sighting(question: &BootQuestion, port: Option<Port>, now: Time) -> Sighting {
    let raw = format!("boot question from {}", question.from);
    let sighting = Sighting { raw, ..Sighting::new(Source::Ipxe, question.machine.clone(), now.0) };
    match port {
        // iPXE's script reports the interface it boots from
        Some(port) => sighting.on(question.machine.macs.first().copied(), port),
        None => sighting,
    }
}
