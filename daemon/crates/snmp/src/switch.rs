//! Which address is on which port: BRIDGE-MIB and Q-BRIDGE-MIB, the names of IF-MIB, the neighbours of LLDP-MIB.
//!
//! A forwarding table names bridge ports, those have an ifIndex, and that has the names; LLDP has port numbers of its own,
//! with names beside them. A port with many addresses leads to another switch and says nothing about a machine.

use std::collections::{BTreeMap, BTreeSet};

use hardware::MacAddr;

use crate::{
    ber::Oid,
    message::{Binding, Value},
};

/// SNMPv2-MIB sysName
const SYSTEM_NAME: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 5];
/// IF-MIB ifDescr, ifOperStatus, ifName, ifAlias: by ifIndex
const DESCRIPTION: &[u32] = &[1, 3, 6, 1, 2, 1, 2, 2, 1, 2];
const STATUS: &[u32] = &[1, 3, 6, 1, 2, 1, 2, 2, 1, 8];
const NAME: &[u32] = &[1, 3, 6, 1, 2, 1, 31, 1, 1, 1, 1];
const ALIAS: &[u32] = &[1, 3, 6, 1, 2, 1, 31, 1, 1, 1, 18];
/// BRIDGE-MIB dot1dBasePortIfIndex, by bridge port
const PORT_INDEX: &[u32] = &[1, 3, 6, 1, 2, 1, 17, 1, 4, 1, 2];
/// BRIDGE-MIB dot1dTpFdbPort, by address
const FORWARDING: &[u32] = &[1, 3, 6, 1, 2, 1, 17, 4, 3, 1, 2];
/// Q-BRIDGE-MIB dot1qTpFdbPort, by filtering database and address
const FORWARDING_BY_VLAN: &[u32] = &[1, 3, 6, 1, 2, 1, 17, 7, 1, 2, 2, 1, 2];
/// LLDP-MIB lldpLocPortId and lldpLocPortDesc, by LLDP's port number
const LOCAL_ID: &[u32] = &[1, 0, 8802, 1, 1, 2, 1, 3, 7, 1, 3];
const LOCAL_DESCRIPTION: &[u32] = &[1, 0, 8802, 1, 1, 2, 1, 3, 7, 1, 4];
/// LLDP-MIB lldpRemChassisIdSubtype, lldpRemChassisId, lldpRemPortIdSubtype, lldpRemPortId, lldpRemSysCapEnabled: by
/// time, LLDP's port number, and number
const REMOTE_CHASSIS_KIND: &[u32] = &[1, 0, 8802, 1, 1, 2, 1, 4, 1, 1, 4];
const REMOTE_CHASSIS: &[u32] = &[1, 0, 8802, 1, 1, 2, 1, 4, 1, 1, 5];
const REMOTE_PORT_KIND: &[u32] = &[1, 0, 8802, 1, 1, 2, 1, 4, 1, 1, 6];
const REMOTE_PORT: &[u32] = &[1, 0, 8802, 1, 1, 2, 1, 4, 1, 1, 7];
const REMOTE_DOES: &[u32] = &[1, 0, 8802, 1, 1, 2, 1, 4, 1, 1, 12];

/// Everything that is asked for.
const ALL: [&[u32]; 15] = [
    SYSTEM_NAME,
    DESCRIPTION,
    STATUS,
    NAME,
    ALIAS,
    PORT_INDEX,
    FORWARDING,
    FORWARDING_BY_VLAN,
    LOCAL_ID,
    LOCAL_DESCRIPTION,
    REMOTE_CHASSIS_KIND,
    REMOTE_CHASSIS,
    REMOTE_PORT_KIND,
    REMOTE_PORT,
    REMOTE_DOES,
];

/// More addresses than this behind one port are another switch's.
const CROWD: usize = 16;

/// Chassis id and port id that are MAC addresses (LldpChassisIdSubtype 4, LldpPortIdSubtype 3).
const CHASSIS_IS_MAC: i64 = 4;
const PORT_IS_MAC: i64 = 3;
/// Bit 2 of LldpSystemCapabilitiesMap, which counts from the highest: a bridge.
const BRIDGES: u8 = 0x20;
/// ifOperStatus down, lowerLayerDown
const DOWN: [i64; 2] = [2, 7];

/// Which table told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Located {
    /// a frame from the address came in on the port
    Forwarding,
    /// the machine announces itself there
    Lldp,
}

/// An address on a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seen {
    /// of the machine's interface
    pub mac: MacAddr,
    /// what the switch calls the port
    pub port: String,
    /// what else it is called there: by its operator, or by its driver
    pub description: Option<String>,
    /// which table
    pub by: Located,
}

/// The tables as they were read.
#[derive(Debug, Clone, Default)]
pub struct Tables(BTreeMap<Oid, Value>);

impl Tables {
    /// The names of the tables to walk.
    pub fn roots() -> impl Iterator<Item = Oid> {
        ALL.into_iter().map(Oid::from)
    }

    /// Takes in rows.
    pub fn extend(&mut self, rows: Vec<Binding>) {
        self.0.extend(rows.into_iter().map(|row| (row.name, row.value)));
    }

    /// The switch's own name.
    pub fn system_name(&self) -> Option<String> {
        self.rows(SYSTEM_NAME).next().and_then(|(_, value)| text(value))
    }

    /// The names of the ports without a link.
    pub fn down(&self) -> BTreeSet<String> {
        let down =
            self.rows(STATUS).filter(|(_, status)| matches!(status, Value::Integer(is) if DOWN.contains(is)));
        down.filter_map(|(index, _)| Some(self.interface(*index.first()?)?.0)).collect()
    }

    /// Every address on a port that leads to no other switch.
    pub fn seen(&self) -> BTreeSet<Seen> {
        let mut by_port: BTreeMap<(String, Option<String>), BTreeSet<MacAddr>> = BTreeMap::new();
        let flat = self.rows(FORWARDING);
        // a filtering database stands before the address
        let by_vlan = self.rows(FORWARDING_BY_VLAN).filter_map(|(index, port)| Some((index.get(1..)?, port)));
        for (index, port) in flat.chain(by_vlan) {
            let (Some(mac), Value::Integer(port)) = (mac_of_index(index), port) else { continue };
            let Some(interface) = u32::try_from(*port).ok().and_then(|port| self.of_bridge_port(port)) else {
                continue;
            };
            by_port.entry(interface).or_default().insert(mac);
        }
        let mut seen = BTreeSet::new();
        for ((port, description), macs) in by_port.into_iter().filter(|(_, macs)| macs.len() <= CROWD) {
            for mac in macs {
                seen.insert(Seen {
                    mac,
                    port: port.clone(),
                    description: description.clone(),
                    by: Located::Forwarding,
                });
            }
        }
        seen.extend(self.announced());
        seen
    }

    /// The machines that announce themselves by LLDP; a bridge is no machine.
    fn announced(&self) -> Vec<Seen> {
        let mut all = Vec::new();
        let ids = [
            (REMOTE_CHASSIS, REMOTE_CHASSIS_KIND, CHASSIS_IS_MAC),
            (REMOTE_PORT, REMOTE_PORT_KIND, PORT_IS_MAC),
        ];
        for (ids, kinds, is_mac) in ids {
            for (index, id) in self.rows(ids) {
                let Value::Bytes(id) = id else { continue };
                let is_mac = self.at(kinds, index) == Some(&Value::Integer(is_mac));
                let Some(mac) = <[u8; 6]>::try_from(id.as_slice()).ok().filter(|_| is_mac) else { continue };
                let does = self.at(REMOTE_DOES, index);
                if matches!(does, Some(Value::Bytes(bits)) if bits.first().is_some_and(|bits| bits & BRIDGES != 0))
                {
                    continue;
                }
                let [_, local, _] = *index else { continue };
                let name = self.at(LOCAL_ID, &[local]).and_then(text);
                let description = self.at(LOCAL_DESCRIPTION, &[local]).and_then(text);
                let Some(port) = name.clone().or_else(|| description.clone()) else { continue };
                all.push(Seen { mac: MacAddr(mac), port, description, by: Located::Lldp });
            }
        }
        all
    }

    /// Name and further name of a bridge's port. Where a switch has no BRIDGE-MIB ports, its numbers are ifIndexes.
    fn of_bridge_port(&self, port: u32) -> Option<(String, Option<String>)> {
        match self.at(PORT_INDEX, &[port]) {
            Some(Value::Integer(index)) => self.interface(u32::try_from(*index).ok()?),
            _ if self.rows(PORT_INDEX).next().is_none() => self.interface(port),
            // port 0 is the switch itself, or unknown
            _ => None,
        }
    }

    /// ifName, or ifDescr where there is none; and what else there is.
    fn interface(&self, index: u32) -> Option<(String, Option<String>)> {
        let of = |table| self.at(table, &[index]).and_then(text);
        let (name, description, alias) = (of(NAME), of(DESCRIPTION), of(ALIAS));
        let port = name.or_else(|| description.clone())?;
        let further = [description, alias].into_iter().flatten().find(|further| *further != port);
        Some((port, further))
    }

    fn rows(&self, table: &[u32]) -> impl Iterator<Item = (&[u32], &Value)> {
        let root = Oid::from(table);
        let from = root.clone();
        self.0
            .range(from..)
            .map_while(move |(name, value)| Some((name.0.strip_prefix(root.0.as_slice())?, value)))
    }

    fn at(&self, table: &[u32], index: &[u32]) -> Option<&Value> {
        self.0.get(&Oid([table, index].concat()))
    }
}

fn mac_of_index(index: &[u32]) -> Option<MacAddr> {
    let parts: [u32; 6] = index.try_into().ok()?;
    let mut mac = [0; 6];
    for (octet, part) in mac.iter_mut().zip(parts) {
        *octet = u8::try_from(part).ok()?;
    }
    Some(MacAddr(mac)).filter(|mac| !mac.is_multicast())
}

/// Text that says something.
fn text(value: &Value) -> Option<String> {
    let Value::Bytes(bytes) = value else { return None };
    let text = String::from_utf8_lossy(bytes).trim_matches(['\0', ' ', '\n', '\r', '\t']).to_owned();
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(rows: &[(&[u32], &[u32], Value)]) -> Tables {
        let mut tables = Tables::default();
        let rows = rows.iter().map(|(table, index, value)| Binding {
            name: Oid([*table, *index].concat()),
            value: value.clone(),
        });
        tables.extend(rows.collect());
        tables
    }

    fn words(text: &str) -> Value {
        Value::Bytes(text.as_bytes().to_vec())
    }

    const MAC: [u32; 6] = [0x64, 0x4b, 0xf0, 0, 0, 3];
    const MACHINE: MacAddr = MacAddr([0x64, 0x4b, 0xf0, 0, 0, 3]);

    fn seen(port: &str, description: Option<&str>, by: Located) -> Seen {
        Seen { mac: MACHINE, port: port.to_owned(), description: description.map(str::to_owned), by }
    }

    #[test]
    fn an_address_is_followed_to_the_name_of_its_port() {
        let names: &[(&[u32], &[u32], Value)] = &[
            (SYSTEM_NAME, &[0], words("sw1.example.com")),
            (PORT_INDEX, &[7], Value::Integer(10_007)),
            (DESCRIPTION, &[10_007], words("GigabitEthernet1/0/7")),
            (NAME, &[10_007], words("Gi1/0/7")),
            (ALIAS, &[10_007], words("mini03")),
        ];
        let by_vlan = [&[10][..], &MAC].concat();
        for told in [(FORWARDING, &MAC[..]), (FORWARDING_BY_VLAN, by_vlan.as_slice())] {
            let all = tables(&[names, &[(told.0, told.1, Value::Integer(7))]].concat());
            let expected = seen("Gi1/0/7", Some("GigabitEthernet1/0/7"), Located::Forwarding);
            assert_eq!(all.seen().into_iter().collect::<Vec<_>>(), [expected]);
            assert_eq!(all.system_name().as_deref(), Some("sw1.example.com"));
        }
        // the switch's own addresses are on port 0
        assert!(tables(&[names, &[(FORWARDING, &MAC, Value::Integer(0))]].concat()).seen().is_empty());
    }

    #[test]
    fn a_switch_without_numbers_for_its_ports_counts_by_interface() {
        let all = tables(&[(DESCRIPTION, &[3], words("ge-0/0/3")), (FORWARDING, &MAC, Value::Integer(3))]);
        assert_eq!(all.seen().into_iter().collect::<Vec<_>>(), [seen("ge-0/0/3", None, Located::Forwarding)]);
    }

    #[test]
    fn a_port_with_a_crowd_behind_it_names_nobody() {
        let mut rows = vec![(NAME.to_vec(), vec![1], words("Eth1/1"))];
        for number in 0..=u32::try_from(CROWD).unwrap() {
            rows.push((FORWARDING.to_vec(), vec![2, 0, 0, 0, 0, number], Value::Integer(1)));
        }
        let of = |rows: &[(Vec<u32>, Vec<u32>, Value)]| {
            let rows: Vec<(&[u32], &[u32], Value)> =
                rows.iter().map(|(table, index, value)| (&table[..], &index[..], value.clone())).collect();
            tables(&rows).seen().len()
        };
        assert_eq!(of(&rows), 0);
        rows.pop();
        assert_eq!(of(&rows), CROWD);
    }

    #[test]
    fn a_machine_that_announces_itself_is_on_the_port_that_heard_it() {
        let mac = Value::Bytes(MACHINE.0.to_vec());
        let local: &[(&[u32], &[u32], Value)] =
            &[(LOCAL_ID, &[4], words("Ethernet1/4")), (LOCAL_DESCRIPTION, &[4], words("rack 7"))];
        let as_chassis: &[(&[u32], &[u32], Value)] = &[
            (REMOTE_CHASSIS_KIND, &[0, 4, 1], Value::Integer(4)),
            (REMOTE_CHASSIS, &[0, 4, 1], mac.clone()),
        ];
        let as_port: &[(&[u32], &[u32], Value)] =
            &[(REMOTE_PORT_KIND, &[0, 4, 1], Value::Integer(3)), (REMOTE_PORT, &[0, 4, 1], mac)];
        for told in [as_chassis, as_port] {
            let all = tables(&[local, told].concat());
            let expected = seen("Ethernet1/4", Some("rack 7"), Located::Lldp);
            assert_eq!(all.seen().into_iter().collect::<Vec<_>>(), [expected]);
            // another switch is no machine
            let bridge: &[(&[u32], &[u32], Value)] =
                &[(REMOTE_DOES, &[0, 4, 1], Value::Bytes(vec![0x28, 0]))];
            assert!(tables(&[local, told, bridge].concat()).seen().is_empty());
        }
    }

    #[test]
    fn ports_without_a_link_are_told() {
        let all = tables(&[
            (NAME, &[1], words("Eth1/1")),
            (NAME, &[2], words("Eth1/2")),
            (STATUS, &[1], Value::Integer(1)),
            (STATUS, &[2], Value::Integer(2)),
        ]);
        assert_eq!(all.down().into_iter().collect::<Vec<_>>(), ["Eth1/2"]);
    }
}
