//! The sightings that still count, found by machine and by port.
//!
//! Lives in memory only: after a restart everything is seen again. The reconciler records what it is sent and
//! forgets what has ended; `decide` and `ichord explain` read it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hardware::{MacAddr, SwitchPort, SystemUuid};

use crate::{Attestor, Ignored, Marks, Port, PortName, Sighting, Slots, Source};

/// The most sightings that are kept, far above any real site (a few per machine): who floods the network with
/// made-up addresses must not fill the memory.
const CAPACITY: usize = 65_536;

/// What a new sighting meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// something not known before: worth a decision
    New,
    /// known already, now for longer
    Refreshed,
    /// the source saw the machine's interface elsewhere before: worth a decision
    Moved,
    /// earlier evidence no longer holds: worth a decision
    Withdrawn,
    /// nothing changed: it withdraws what was not there, is older than what is known, or names nobody
    Nothing,
    /// the table is full; the sighting was dropped
    Full,
}

/// The table. See the module's head.
#[derive(Debug, Clone, Default)]
pub struct Sightings {
    entries: BTreeMap<u64, Entry>,
    next: u64,
    /// first millisecond at which it no longer holds, and number
    by_end: BTreeSet<(u64, u64)>,
    by_mac: HashMap<MacAddr, BTreeSet<u64>>,
    by_uuid: HashMap<SystemUuid, BTreeSet<u64>>,
    by_serial: HashMap<String, BTreeSet<u64>>,
    by_port: HashMap<PortName, BTreeSet<u64>>,
}

#[derive(Debug, Clone)]
struct Entry {
    sighting: Sighting,
    ports: Vec<PortName>,
}

impl Sightings {
    /// Takes in a sighting. A newer one of the same source about the same interface replaces the older; on
    /// another port it moves it.
    pub fn record(&mut self, mut sighting: Sighting) -> Recorded {
        sighting.machine.macs.extend(sighting.nic);
        // no interface has these, though firmware has been seen to report them
        sighting.machine.macs.retain(|mac| !mac.is_multicast() && *mac != MacAddr([0; 6]));
        if sighting.machine.is_empty() {
            return match &sighting.port {
                Some(port) if sighting.lifetime.is_zero() => self.empty_port(port, sighting.at),
                _ => Recorded::Nothing,
            };
        }
        let mut older = Vec::new();
        let (mut moved, mut refreshed) = (false, false);
        for id in self.of_machine(&sighting.machine) {
            let Some(known) = self.get(id) else { continue };
            if known.source != sighting.source || !is_same_subject(known, &sighting) {
                continue;
            }
            match relation(known, &sighting) {
                Relation::Same if known.at > sighting.at => return Recorded::Nothing,
                Relation::Same => refreshed = true,
                Relation::MovedFrom => moved = true,
                Relation::Beside => continue,
            }
            older.push(id);
        }
        older.extend(self.outdated_by(&sighting));
        for id in &older {
            self.remove(*id);
        }
        if sighting.lifetime.is_zero() {
            return if older.is_empty() { Recorded::Nothing } else { Recorded::Withdrawn };
        }
        if self.entries.len() >= CAPACITY && self.forget(sighting.at) == 0 {
            return Recorded::Full;
        }
        self.insert(sighting);
        match (moved, refreshed) {
            (true, _) => Recorded::Moved,
            (false, true) => Recorded::Refreshed,
            (false, false) => Recorded::New,
        }
    }

    /// Drops what no longer holds, and says how many that were.
    pub fn forget(&mut self, now: u64) -> usize {
        let mut forgotten = 0;
        while let Some(&(end, id)) = self.by_end.first()
            && end <= now
        {
            self.remove(id);
            forgotten += 1;
        }
        forgotten
    }

    /// Everything in the table about a machine, the newest first; what no longer holds is among it until it
    /// is forgotten.
    pub fn about(&self, machine: &Marks) -> Vec<&Sighting> {
        let mut found = self.sightings(&self.cluster(machine, None, &Ignored::default()).ids);
        found.sort_by_key(|sighting| std::cmp::Reverse(sighting.at));
        found
    }

    /// Everything that holds about a port of the operator's, the newest first.
    pub fn on_port(&self, slots: &Slots, port: &SwitchPort, now: u64) -> Vec<&Sighting> {
        let mut found = self.sightings(&self.ids_on_port(slots, port, now));
        found.sort_by_key(|sighting| std::cmp::Reverse(sighting.at));
        found
    }

    /// Every machine that is seen now, each with all it is known by.
    pub fn machines(&self, now: u64) -> Vec<Marks> {
        let mut done = BTreeSet::new();
        let mut machines = Vec::new();
        for (id, entry) in &self.entries {
            if entry.sighting.holds(now) && !done.contains(id) {
                let cluster = self.cluster(&entry.sighting.machine, Some(now), &Ignored::default());
                done.extend(cluster.ids);
                machines.push(cluster.marks);
            }
        }
        machines
    }

    /// Whether nothing is known at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many sightings are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Everything that is surely the same machine, followed from sighting to sighting: what holds at `now`,
    /// or everything. An address that is no machine's joins nothing: several machines may tell it.
    pub(crate) fn cluster(&self, machine: &Marks, now: Option<u64>, ignored: &Ignored) -> Cluster {
        let joined = |machine: &Marks| {
            let macs = machine.macs.iter().filter(|mac| !ignored.has(**mac)).copied().collect();
            self.of_machine(&Marks { macs, uuid: machine.uuid, serial: None })
        };
        let mut cluster = Cluster { marks: machine.clone(), ids: BTreeSet::new(), uuids: BTreeSet::new() };
        cluster.uuids.extend(machine.distinctive_uuid());
        let mut open: Vec<u64> = joined(machine).into_iter().collect();
        while let Some(id) = open.pop() {
            let Some(sighting) = self.get(id) else { continue };
            if now.is_some_and(|now| !sighting.holds(now)) || !cluster.ids.insert(id) {
                continue;
            }
            open.extend(joined(&sighting.machine));
            cluster.marks.absorb(&sighting.machine);
            cluster.uuids.extend(sighting.machine.distinctive_uuid());
        }
        cluster
    }

    /// The sightings with these numbers.
    pub(crate) fn sightings(&self, ids: &BTreeSet<u64>) -> Vec<&Sighting> {
        ids.iter().filter_map(|id| self.get(*id)).collect()
    }

    /// The sighting with this number.
    pub(crate) fn get(&self, id: u64) -> Option<&Sighting> {
        self.entries.get(&id).map(|entry| &entry.sighting)
    }

    /// Sightings that hold and whose port is the operator's.
    pub(crate) fn ids_on_port(&self, slots: &Slots, port: &SwitchPort, now: u64) -> BTreeSet<u64> {
        let names = slots.names_of(port);
        let ids = names.iter().filter_map(|name| self.by_port.get(name)).flatten().copied();
        let is_there = |id: &u64| {
            self.get(*id).is_some_and(|sighting| {
                sighting.holds(now)
                    && sighting.port.as_ref().is_some_and(|seen| slots.is_on(seen, &port.switch))
            })
        };
        ids.filter(is_there).collect()
    }

    /// Everything that holds, in the order it was recorded.
    pub(crate) fn held(&self, now: u64) -> impl Iterator<Item = &Sighting> {
        self.entries.values().map(|entry| &entry.sighting).filter(move |sighting| sighting.holds(now))
    }

    /// Sightings that hold and name one of these addresses, the UUID or the serial number.
    pub(crate) fn ids_of(
        &self,
        macs: &BTreeSet<MacAddr>,
        uuid: Option<SystemUuid>,
        serial: Option<&str>,
        now: u64,
    ) -> BTreeSet<u64> {
        let by_mac = macs.iter().filter_map(|mac| self.by_mac.get(mac));
        let by_uuid = uuid.and_then(|uuid| self.by_uuid.get(&uuid));
        let by_serial = serial.and_then(|serial| self.by_serial.get(serial));
        let holds = |id: &u64| self.get(*id).is_some_and(|sighting| sighting.holds(now));
        by_mac.chain(by_uuid).chain(by_serial).flatten().copied().filter(holds).collect()
    }

    /// Sightings that share an address or a distinctive UUID with the machine.
    fn of_machine(&self, machine: &Marks) -> BTreeSet<u64> {
        let by_mac = machine.macs.iter().filter_map(|mac| self.by_mac.get(mac));
        let by_uuid = machine.distinctive_uuid().and_then(|uuid| self.by_uuid.get(&uuid));
        by_mac.chain(by_uuid).flatten().copied().collect()
    }

    /// What was said in the name of a machine that has proven meanwhile to be the node, about the same interface.
    fn outdated_by(&self, new: &Sighting) -> Vec<u64> {
        if new.source != Source::Installed || new.nic.is_none() || new.port.is_none() {
            return Vec::new();
        }
        let is_outdated = |id: &u64| {
            self.get(*id).is_some_and(|known| {
                known.attestor == Attestor::Machine
                    && known.source != Source::Installed
                    && (known.nic, known.port.is_some()) == (new.nic, true)
                    && known.at <= new.at
            })
        };
        self.of_machine(&new.machine).into_iter().filter(is_outdated).collect()
    }

    fn empty_port(&mut self, port: &Port, at: u64) -> Recorded {
        let names = port.names();
        let there = names.iter().filter_map(|name| self.by_port.get(name)).flatten().copied();
        let gone: BTreeSet<u64> = there
            .filter(|id| {
                self.get(*id).is_some_and(|known| {
                    known.at <= at && known.port.as_ref().is_some_and(|seen| seen.is_on_same_switch(port))
                })
            })
            .collect();
        for id in &gone {
            self.remove(*id);
        }
        if gone.is_empty() { Recorded::Nothing } else { Recorded::Withdrawn }
    }

    fn insert(&mut self, sighting: Sighting) {
        let id = self.next;
        self.next += 1;
        let ports = sighting.port.as_ref().map(Port::names).unwrap_or_default();
        for mac in &sighting.machine.macs {
            self.by_mac.entry(*mac).or_default().insert(id);
        }
        if let Some(uuid) = sighting.machine.distinctive_uuid() {
            self.by_uuid.entry(uuid).or_default().insert(id);
        }
        if let Some(serial) = &sighting.machine.serial {
            self.by_serial.entry(serial.clone()).or_default().insert(id);
        }
        for name in &ports {
            self.by_port.entry(name.clone()).or_default().insert(id);
        }
        self.by_end.insert((sighting.ends(), id));
        self.entries.insert(id, Entry { sighting, ports });
    }

    fn remove(&mut self, id: u64) {
        let Some(Entry { sighting, ports }) = self.entries.remove(&id) else { return };
        self.by_end.remove(&(sighting.ends(), id));
        for mac in &sighting.machine.macs {
            take_out(&mut self.by_mac, mac, id);
        }
        if let Some(uuid) = sighting.machine.distinctive_uuid() {
            take_out(&mut self.by_uuid, &uuid, id);
        }
        if let Some(serial) = &sighting.machine.serial {
            take_out(&mut self.by_serial, serial, id);
        }
        for name in &ports {
            take_out(&mut self.by_port, name, id);
        }
    }
}

/// One machine as all sightings about it together describe it.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// everything it is known by
    pub(crate) marks: Marks,
    /// the sightings
    pub(crate) ids: BTreeSet<u64>,
    /// every distinctive UUID; more than one means that two machines share an address
    pub(crate) uuids: BTreeSet<SystemUuid>,
}

fn take_out<K: std::hash::Hash + Eq>(index: &mut HashMap<K, BTreeSet<u64>>, key: &K, id: u64) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

/// Whether both speak of the same interface, or of the same machine where no interface is told.
fn is_same_subject(known: &Sighting, new: &Sighting) -> bool {
    match (known.nic, new.nic) {
        (Some(known), Some(new)) => known == new,
        (None, None) => known.machine.is_same_machine(&new.machine) && !are_two(&known.machine, &new.machine),
        _ => false,
    }
}

/// Two machines that tell a common address, such as that of a hypervisor's bridge, beside addresses of their own:
/// the word of one is not the other's newer word.
fn are_two(known: &Marks, new: &Marks) -> bool {
    let uuids = known.distinctive_uuid().zip(new.distinctive_uuid());
    known.macs != new.macs && uuids.is_some_and(|(known, new)| known != new)
}

enum Relation {
    Same,
    MovedFrom,
    Beside,
}

/// What a new sighting says about an older one of the same source and interface.
fn relation(known: &Sighting, new: &Sighting) -> Relation {
    match (&known.port, &new.port) {
        (Some(known), Some(new)) if known.is_same(new) => Relation::Same,
        // told in the same breath: neighbours flooded by an unmanaged switch, or several interfaces
        (Some(_), Some(_)) if known.at >= new.at => Relation::Beside,
        // an address is in the table of every bridge on the way, each with its own port
        (Some(there), Some(here))
            if matches!(new.source, Source::ForwardingTable | Source::SwitchTable)
                && !there.is_on_same_switch(here) =>
        {
            Relation::Beside
        }
        // a withdrawal is about the port it names
        (Some(_), Some(_)) if new.lifetime.is_zero() => Relation::Beside,
        (Some(_), Some(_)) => Relation::MovedFrom,
        // nothing was heard this time; what was heard before ages by itself
        (Some(_), None) => Relation::Beside,
        (None, _) => Relation::Same,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: u64 = 1000;

    fn mac(number: u8) -> MacAddr {
        MacAddr([0x64, 0x4b, 0xf0, 0, 0, number])
    }

    fn seen(source: Source, number: u8, port: &str, at: u64) -> Sighting {
        let (switch, name) = port.split_once('/').unwrap();
        Sighting::new(source, Marks::of_mac(mac(number)), at).on(Some(mac(number)), Port::local(switch, name))
    }

    fn ports(table: &Sightings, number: u8) -> Vec<String> {
        let about = table.about(&Marks::of_mac(mac(number)));
        about.iter().filter_map(|sighting| sighting.port.as_ref()).map(Port::to_string).collect()
    }

    #[test]
    fn recording_tells_what_is_worth_a_decision() {
        use Source::{ForwardingTable, Ipxe, Lldp};
        let gone = |sighting| Sighting { lifetime: Duration::ZERO, ..sighting };
        let mut table = Sightings::default();
        for (sighting, expected) in [
            (seen(ForwardingTable, 1, "sw1/Eth1/1", 10), Recorded::New),
            (seen(ForwardingTable, 1, "sw1/Ethernet1/1", 20), Recorded::Refreshed),
            // out of order
            (seen(ForwardingTable, 1, "sw1/Eth1/1", 15), Recorded::Nothing),
            (seen(Lldp, 1, "sw1/Eth1/1", 20), Recorded::New),
            (seen(ForwardingTable, 1, "sw1/Eth1/2", 30), Recorded::Moved),
            // a good-bye for where it is no longer
            (gone(seen(ForwardingTable, 1, "sw1/Eth1/1", 40)), Recorded::Nothing),
            (gone(seen(ForwardingTable, 1, "sw1/Eth1/2", 40)), Recorded::Withdrawn),
            (gone(seen(ForwardingTable, 1, "sw1/Eth1/2", 50)), Recorded::Nothing),
            // LLDP heard it elsewhere; another source is not touched
            (seen(Lldp, 1, "sw2/Eth1/9", 60), Recorded::Moved),
            (Sighting::new(Ipxe, Marks::of_mac(mac(1)), 70), Recorded::New),
            (seen(Ipxe, 2, "sw1/Eth1/2", 70), Recorded::New),
            (Sighting::port_emptied(Port::local("sw1", "Eth1/9"), 80), Recorded::Nothing),
            (Sighting::port_emptied(Port::local("sw1", "Ethernet1/2"), 80), Recorded::Withdrawn),
            (Sighting::new(Ipxe, Marks::default(), 90), Recorded::Nothing),
        ] {
            let text = format!("{sighting:?}");
            assert_eq!(table.record(sighting), expected, "{text}");
        }
        assert_eq!(ports(&table, 1), ["sw2/Eth1/9"]);
        assert_eq!(ports(&table, 2), [""; 0]);
    }

    #[test]
    fn who_proves_to_be_the_node_knows_better_than_what_was_said_in_its_name_before() {
        let mut table = Sightings::default();
        table.record(seen(Source::Ipxe, 1, "sw1/Eth1/1", 10));
        table.record(seen(Source::Discovery, 1, "sw1/Eth1/1", 20));
        table.record(seen(Source::SwitchTable, 1, "sw1/Eth1/1", 30));
        table.record(seen(Source::Ipxe, 2, "sw1/Eth1/2", 30));
        table.record(seen(Source::Installed, 1, "leaf1/Eth1/1", 40));
        // the switch's word stays: whoever vouches is not outdone by the machine
        assert_eq!(ports(&table, 1), ["leaf1/Eth1/1", "sw1/Eth1/1"]);
        assert_eq!(ports(&table, 2), ["sw1/Eth1/2"]);
        // what is said later does not go away by it
        table.record(seen(Source::Ipxe, 2, "sw1/Eth1/3", 50));
        table.record(seen(Source::Installed, 2, "sw1/Eth1/2", 45));
        assert_eq!(ports(&table, 2), ["sw1/Eth1/3", "sw1/Eth1/2"]);
    }

    #[test]
    fn an_address_is_in_the_table_of_every_bridge_on_the_way() {
        let mut table = Sightings::default();
        table.record(seen(Source::ForwardingTable, 1, "sw1/Eth1/1", 10));
        assert_eq!(table.record(seen(Source::ForwardingTable, 1, "br0/uplink", 20)), Recorded::New);
        assert_eq!(ports(&table, 1), ["br0/uplink", "sw1/Eth1/1"]);
    }

    #[test]
    fn a_common_address_does_not_make_one_machine_s_word_the_other_s() {
        let told = |macs: [u8; 2], uuid: u8, at| {
            let macs = macs.into_iter().map(mac).collect();
            Sighting::new(Source::Ipxe, Marks { macs, uuid: Some(SystemUuid([uuid; 16])), serial: None }, at)
        };
        let mut table = Sightings::default();
        for (sighting, expected) in [
            (told([1, 9], 1, 10), Recorded::New),
            (told([2, 9], 2, 20), Recorded::New),
            (told([1, 9], 1, 30), Recorded::Refreshed),
            (told([1, 3], 1, 40), Recorded::Refreshed),
            // the same interfaces on another board
            (told([2, 9], 7, 50), Recorded::Refreshed),
        ] {
            let text = format!("{sighting:?}");
            assert_eq!(table.record(sighting), expected, "{text}");
        }
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn an_emptied_port_keeps_what_was_seen_since() {
        let mut table = Sightings::default();
        table.record(seen(Source::Ipxe, 1, "sw1/Eth1/1", 10));
        table.record(seen(Source::ForwardingTable, 2, "sw1/Eth1/1", 30));
        table.record(seen(Source::Ipxe, 3, "sw1/Eth1/11", 10));
        table.record(seen(Source::Ipxe, 4, "sw2/Eth1/1", 10));
        table.record(Sighting::port_emptied(Port::local("sw1", "Eth1/1"), 20));
        assert_eq!((1..=4).map(|number| ports(&table, number).len()).collect::<Vec<_>>(), [0, 1, 1, 1]);
        let slots = Slots::default();
        assert_eq!(table.on_port(&slots, &"sw1/et1/1".parse().unwrap(), 40).len(), 1);
    }

    #[test]
    fn what_has_ended_is_forgotten_with_every_way_to_find_it() {
        let mut table = Sightings::default();
        let mut sighting = seen(Source::Lldp, 1, "sw1/Eth1/1", 0);
        sighting.machine.uuid = Some(SystemUuid([7; 16]));
        sighting.machine.serial = Some("S1".to_owned());
        table.record(sighting);
        assert_eq!((table.forget(119 * SECOND), table.len()), (0, 1));
        assert_eq!((table.forget(120 * SECOND), table.len()), (1, 0));
        let indexes = [table.by_mac.len(), table.by_uuid.len(), table.by_serial.len(), table.by_port.len()];
        assert_eq!((indexes, table.by_end.len()), ([0; 4], 0));
    }

    #[test]
    fn machines_are_told_apart_and_joined() {
        let mut table = Sightings::default();
        table.record(seen(Source::ForwardingTable, 1, "sw1/Eth1/1", 10));
        table.record(seen(Source::ForwardingTable, 2, "sw1/Eth1/2", 10));
        table.record(seen(Source::ForwardingTable, 3, "sw1/Eth1/3", 10));
        assert_eq!(table.machines(20).len(), 3);
        let both =
            Marks { macs: BTreeSet::from([mac(1), mac(2)]), uuid: Some(SystemUuid([7; 16])), serial: None };
        table.record(Sighting::new(Source::Maintenance, both.clone(), 20));
        assert_eq!(table.machines(20), [both, Marks::of_mac(mac(3))]);
        assert_eq!(ports(&table, 1), ["sw1/Eth1/1", "sw1/Eth1/2"]);
    }

    #[test]
    fn a_flood_does_not_fill_the_memory() {
        let mut table = Sightings::default();
        let made_up = |number: u32, at| {
            let [a, b, c, d] = number.to_be_bytes();
            Sighting::new(Source::Ipxe, Marks::of_mac(MacAddr([2, 1, a, b, c, d])), at)
        };
        let capacity = u32::try_from(CAPACITY).unwrap();
        for number in 0..capacity {
            assert_eq!(table.record(made_up(number, 0)), Recorded::New);
        }
        assert_eq!(table.record(made_up(capacity, SECOND)), Recorded::Full);
        assert_eq!(table.record(made_up(3, SECOND)), Recorded::Refreshed);
        // room again when the flood has aged
        assert_eq!(table.record(made_up(capacity, 900 * SECOND)), Recorded::New);
        assert_eq!(table.len(), 2);
    }
}
