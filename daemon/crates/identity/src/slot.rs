//! What the operator wrote about where a node's machine is, and about switches.
//!
//! `site` makes these from the site file; [`Slots`] finds them by whatever may name one, `decide` compares them
//! with what is seen.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hardware::{MacAddr, SwitchPort, SystemUuid};

use crate::{Attestor, Marks, Port, PortName, Relay, Sighting};

/// A place for a node as the operator wrote it: its name and how its machine is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slot {
    /// the talconfig hostname
    pub name: String,
    /// switch ports; several when the machine has several links
    pub ports: Vec<SwitchPort>,
    /// interfaces of the one machine that belongs here; one of them is enough
    pub macs: BTreeSet<MacAddr>,
    /// SMBIOS system UUID
    pub uuid: Option<SystemUuid>,
    /// SMBIOS system serial number
    pub serial: Option<String>,
}

/// What the operator says of a switch beyond its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SwitchNames {
    /// as ports are written: `sw1` in `sw1/Eth1/1`
    pub name: String,
    /// what it is called by whoever speaks of it: system name, chassis MAC, management address, option 82's id
    pub also: Vec<String>,
    /// port as the operator writes it → what it is called on the wire: a MAC, an ifIndex, another spelling
    pub ports: BTreeMap<String, Vec<String>>,
}

/// Addresses that are no machine's: management controllers and virtual machines behind a machine's port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignored {
    /// single addresses
    pub macs: BTreeSet<MacAddr>,
    /// the first octets of a maker's or hypervisor's addresses
    pub prefixes: Vec<Vec<u8>>,
}

impl Ignored {
    /// Whether the address is one of these.
    pub fn has(&self, mac: MacAddr) -> bool {
        self.macs.contains(&mac) || self.prefixes.iter().any(|prefix| mac.0.starts_with(prefix))
    }
}

/// The operator's slots, each found by whatever may name it.
#[derive(Debug, Clone, Default)]
pub struct Slots {
    all: Vec<Slot>,
    switches: Vec<SwitchNames>,
    by_name: HashMap<String, usize>,
    ignored: Ignored,
    relays: Vec<Relay>,
    /// under every name that a port may have on the wire: slot and port in it
    by_port: HashMap<PortName, Vec<(usize, usize)>>,
    by_mac: HashMap<MacAddr, Vec<usize>>,
    by_uuid: HashMap<SystemUuid, Vec<usize>>,
    by_serial: HashMap<String, Vec<usize>>,
    /// switches that some slot is on
    named: BTreeSet<String>,
}

impl Slots {
    /// Without anything about switches.
    pub fn plain(all: Vec<Slot>) -> Self {
        Self::new(all, Vec::new(), Ignored::default())
    }

    /// All that the site file says.
    pub fn new(all: Vec<Slot>, switches: Vec<SwitchNames>, ignored: Ignored) -> Self {
        let by_name = switches.iter().enumerate().map(|(at, switch)| (switch.name.clone(), at)).collect();
        let mut slots = Self { all, switches, by_name, ignored, ..Self::default() };
        for (index, slot) in slots.all.iter().enumerate() {
            for (place, port) in slot.ports.iter().enumerate() {
                slots.named.insert(port.switch.clone());
                for name in names_of(&slots.switches, port) {
                    slots.by_port.entry(name).or_default().push((index, place));
                }
            }
            for mac in &slot.macs {
                slots.by_mac.entry(*mac).or_default().push(index);
            }
            if let Some(uuid) = slot.uuid {
                slots.by_uuid.entry(uuid).or_default().push(index);
            }
            if let Some(serial) = &slot.serial {
                slots.by_serial.entry(serial.clone()).or_default().push(index);
            }
        }
        slots
    }

    /// With the relays that are believed.
    #[must_use]
    pub fn with_relays(self, relays: Vec<Relay>) -> Self {
        Self { relays, ..self }
    }

    /// The sighting with the port that a relay of the site file names; of any other relay it stays as it is.
    pub fn read_relay(&self, sighting: Sighting) -> Sighting {
        let Some(forwarded) = &sighting.forwarded else { return sighting };
        let mut of_it = self.relays.iter().filter(|relay| relay.is_of(forwarded));
        let port =
            of_it.find_map(|relay| relay.port(forwarded.circuit.as_deref(), forwarded.remote.as_deref()));
        let Some(port) = port else { return sighting };
        let nic = sighting.machine.macs.first().copied();
        Sighting { attestor: Attestor::Switch, ..sighting.on(nic, port) }
    }

    /// Every slot, in the operator's order.
    pub fn all(&self) -> &[Slot] {
        &self.all
    }

    /// Addresses that are no machine's.
    pub fn ignored(&self) -> &Ignored {
        &self.ignored
    }

    /// The slot of this name.
    pub fn slot(&self, name: &str) -> Option<&Slot> {
        self.all.iter().find(|slot| slot.name == name)
    }

    /// Slots one of whose ports this is, each once, with the port as it is written.
    pub(crate) fn at(&self, port: &Port) -> Vec<(usize, &SwitchPort)> {
        let mut found: Vec<(usize, &SwitchPort)> = Vec::new();
        for name in port.names() {
            for &(index, place) in self.by_port.get(&name).into_iter().flatten() {
                let Some(written) = self.all.get(index).and_then(|slot| slot.ports.get(place)) else {
                    continue;
                };
                if self.is_on(port, &written.switch) && found.iter().all(|(other, _)| *other != index) {
                    found.push((index, written));
                }
            }
        }
        found.sort_by_key(|(index, _)| *index);
        found
    }

    /// The operator's slot and port that this is, where it is one slot's.
    pub fn of_port(&self, port: &Port) -> Option<(&Slot, &SwitchPort)> {
        match self.at(port).as_slice() {
            [(index, written)] => Some((self.all.get(*index)?, written)),
            _ => None,
        }
    }

    /// Slots that a machine may fit by its own marks.
    pub(crate) fn marked(&self, marks: &Marks) -> BTreeSet<usize> {
        let by_mac = marks.macs.iter().filter_map(|mac| self.by_mac.get(mac));
        let by_uuid = marks.distinctive_uuid().and_then(|uuid| self.by_uuid.get(&uuid));
        let by_serial = marks.serial.as_ref().and_then(|serial| self.by_serial.get(serial));
        by_mac.chain(by_uuid).chain(by_serial).flatten().copied().collect()
    }

    /// Whether a port is on the switch that the operator calls so.
    pub(crate) fn is_on(&self, port: &Port, switch: &str) -> bool {
        port.is_on(switch)
            || self.switch(switch).is_some_and(|known| known.also.iter().any(|name| port.is_on(name)))
    }

    /// Whether the site file speaks of the switch of this port.
    pub(crate) fn knows_switch_of(&self, port: &Port) -> bool {
        self.switches.iter().map(|switch| &switch.name).chain(&self.named).any(|name| self.is_on(port, name))
    }

    /// Whether the site file calls a switch so.
    pub(crate) fn knows_switch(&self, name: &str) -> bool {
        self.named.contains(name) || self.by_name.contains_key(name)
    }

    /// Whether two sources mean the same switch, though each may call it by another name.
    pub(crate) fn is_same_switch(&self, a: &Port, b: &Port) -> bool {
        a.is_on_same_switch(b)
            || self.switches.iter().any(|known| self.is_on(a, &known.name) && self.is_on(b, &known.name))
    }

    /// Whether two sources mean the same port, though each may call it by another name.
    pub(crate) fn is_same_port(&self, a: &Port, b: &Port) -> bool {
        if !self.is_same_switch(a, b) {
            return false;
        }
        let (names, others) = (a.names(), b.names());
        if names.iter().any(|name| others.contains(name)) {
            return true;
        }
        let on_both = self.switches.iter().filter(|known| self.is_on(a, &known.name));
        on_both.flat_map(|known| &known.ports).any(|(port, wire)| {
            let all: Vec<PortName> = spellings(port, wire).collect();
            names.iter().any(|name| all.contains(name)) && others.iter().any(|name| all.contains(name))
        })
    }

    /// A port as the operator would write it: with the switch's and the port's name of the site file where it has
    /// them.
    pub fn written(&self, port: &Port) -> Option<SwitchPort> {
        if let Some((_, written)) = self.of_port(port) {
            return Some(written.clone());
        }
        let known = self.switches.iter().find(|known| self.is_on(port, &known.name));
        let named = || self.named.iter().find(|name| port.is_on(name)).cloned();
        let switch = match known {
            Some(known) => known.name.clone(),
            None => named()
                .or_else(|| port.switch.clone())
                .or_else(|| port.chassis.as_ref().map(ToString::to_string))?,
        };
        let names = port.names();
        let aliased = known.and_then(|known| {
            known.ports.iter().find(|(name, wire)| spellings(name, wire).any(|name| names.contains(&name)))
        });
        let name = match aliased {
            Some((name, _)) => name.clone(),
            None => port.best_name(),
        };
        (!switch.is_empty() && !switch.contains('/')).then_some(SwitchPort { switch, port: name })
    }

    /// Under which names a port of the operator's may be seen.
    pub(crate) fn names_of(&self, port: &SwitchPort) -> Vec<PortName> {
        names_of(&self.switches, port)
    }

    fn switch(&self, name: &str) -> Option<&SwitchNames> {
        self.by_name.get(name).and_then(|at| self.switches.get(*at))
    }
}

fn names_of(switches: &[SwitchNames], port: &SwitchPort) -> Vec<PortName> {
    let own = PortName::normal(&port.port);
    let mut names = vec![own.clone()];
    let known = switches.iter().filter(|switch| switch.name == port.switch);
    for (name, wire) in known.flat_map(|switch| &switch.ports) {
        if PortName::normal(name) == own {
            names.extend(wire.iter().map(|name| PortName::normal(name)).filter(|name| *name != own));
        }
    }
    names
}

fn spellings<'a>(port: &'a str, wire: &'a [String]) -> impl Iterator<Item = PortName> + 'a {
    std::iter::once(port).chain(wire.iter().map(String::as_str)).map(PortName::normal)
}
