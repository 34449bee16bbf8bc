//! `machines:` becomes slots. One line may describe many: `mini01..03: { port: sw1/Eth1/1..3 }`.

use std::collections::BTreeMap;

use document::{Checked, Findings, Place};
use hardware::SwitchPort;
use identity::{Ignored, Pattern, PatternError, Relay, Slot, Template};

use crate::wire;

/// The longest range: a rack, not a data centre by a slip of the finger.
const LONGEST: u64 = 512;

/// Makes the slots; beside them, under which key each is written. Addresses of management controllers are ignored
/// wherever they are seen.
pub(crate) fn slots(
    machines: Checked<BTreeMap<String, Checked<wire::Machine>>>,
    place: Place<'_>,
    ignored: &mut Ignored,
    findings: &mut Findings,
) -> (Vec<Slot>, BTreeMap<String, String>) {
    let mut slots: Vec<Slot> = Vec::new();
    let mut keys: BTreeMap<String, String> = BTreeMap::new();
    for (key, machine) in machines.0.unwrap_or_default() {
        let Some(machine) = machine.0 else { continue };
        let here = place.key(&key);
        let list = |list: Option<Vec<_>>| list.unwrap_or_default();
        ignored.macs.extend(machine.bmc.0.map(|macs| macs.0).into_iter().flatten());
        let slot = Slot {
            name: key.clone(),
            ports: list(machine.port.0.map(|ports| ports.0)),
            macs: machine.mac.0.map(|macs| macs.0).into_iter().flatten().collect(),
            uuid: machine.uuid.0,
            serial: machine.serial.0,
        };
        one(&slot, here, findings);
        let expanded = match expand(&slot) {
            Ok(expanded) => expanded,
            Err(Fault { message, fix }) => {
                findings.push(place.name(&key).error("slot-range", message).fix(fix));
                // its nodes are written, whatever is wrong with them
                range(&key).ok().flatten().map(|names| names.all()).unwrap_or_default().into_iter().for_each(
                    |name| {
                        keys.insert(name, key.clone());
                    },
                );
                continue;
            }
        };
        for slot in expanded {
            if let Some(other) = keys.insert(slot.name.clone(), key.clone()) {
                let message = format!("`{}` is described by `{other}` already", slot.name);
                findings.push(place.name(&key).error("slot-twice", message).fix("describe each node once"));
                continue;
            }
            slots.push(slot);
        }
    }
    (slots, keys)
}

/// What is wrong with one entry by itself.
fn one(slot: &Slot, place: Place<'_>, findings: &mut Findings) {
    // a faulty value was reported already
    if place.node().is_none_or(|node| node.entries().is_empty()) {
        let finding = place.error("slot-empty", format!("nothing says which machine is `{}`", slot.name));
        findings.push(finding.fix("add `port: SWITCH/PORT`, or `mac:`, `uuid:`, `serial:`"));
    }
    for mac in slot.macs.iter().filter(|mac| mac.is_multicast()) {
        findings.push(
            place.key("mac").error("slot-mac", format!("{mac} is a group address, not that of an interface")),
        );
    }
    if let Some(uuid) = slot.uuid.filter(|uuid| !uuid.is_distinctive()) {
        let finding = place.key("uuid").error("slot-uuid", format!("{uuid} is a value many boards share"));
        findings.push(finding.fix("tell the machine by its port or MAC address"));
    }
    if slot.serial.is_some() && slot.ports.is_empty() && slot.macs.is_empty() && slot.uuid.is_none() {
        let finding =
            place.key("serial").warning("slot-serial", "a serial number alone: boards often share one");
        findings.push(finding.fix("add `port:` or `mac:`"));
    }
}

/// Relays that are believed; one whose patterns make no sense is reported and left out.
pub(crate) fn relays(
    list: Checked<Vec<Checked<wire::Relay>>>,
    place: Place<'_>,
    findings: &mut Findings,
) -> Vec<Relay> {
    let mut relays = Vec::new();
    for (index, wire) in list.0.unwrap_or_default().into_iter().enumerate() {
        let Some(wire) = wire.0 else { continue };
        let place = place.item(index);
        let mut wrong = |key: &str, error: PatternError| {
            findings.push(place.key(key).error("relay-pattern", error.to_string()));
        };
        let circuit = wire.circuit.parse::<Pattern>().map_err(|error| wrong("circuit", error)).ok();
        let remote =
            wire.remote.0.map(|text| text.parse::<Pattern>().map_err(|error| wrong("remote", error)).ok());
        let port =
            wire.port.0.map(|text| text.parse::<Template>().map_err(|error| wrong("port", error)).ok());
        let (Some(circuit), true, Some(port)) =
            (circuit, remote != Some(None), port.unwrap_or_else(|| Some(Template::default())))
        else {
            continue;
        };
        let remote = remote.flatten();
        let told: Vec<&str> = circuit.names().chain(remote.iter().flat_map(Pattern::names)).collect();
        if let Some(missing) = port.names().find(|name| !told.contains(name)) {
            let message =
                format!("nothing in `circuit` or `remote` tells `{{{missing}}}` of the port's name");
            findings.push(place.key("port").error("relay-pattern", message));
        }
        if wire.switch.0.is_none() && !told.contains(&"switch") {
            let finding = place.error("relay-switch", "nothing tells on which switch the port is");
            findings.push(finding.fix("add `switch: NAME`, or find `{switch}` in `circuit` or `remote`"));
        }
        let from = wire.from.0.unwrap_or_default().into_iter().filter_map(|address| address.0).collect();
        relays.push(Relay { address: wire.address, circuit, remote, from, switch: wire.switch.0, port });
    }
    relays
}

/// A range that cannot be.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    message: String,
    fix: String,
}

fn fault<T>(message: impl Into<String>, fix: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { message: message.into(), fix: fix.into() })
}

/// The slots that one entry describes: itself, or those of its range.
fn expand(slot: &Slot) -> Result<Vec<Slot>, Fault> {
    let Some(names) = range(&slot.name)? else {
        for port in &slot.ports {
            if range(&port.port)?.is_some() {
                return fault(
                    format!("`{}` is one node, {port} are several ports", slot.name),
                    "write a list for a node with several cables: [sw1/Eth1/1, sw2/Eth1/1]; or several nodes: \
                     mini01..03",
                );
            }
        }
        return Ok(vec![slot.clone()]);
    };
    if !slot.macs.is_empty() || slot.uuid.is_some() || slot.serial.is_some() {
        return fault(
            format!(
                "`{}` are several nodes, and a MAC address, UUID or serial number is one machine's",
                slot.name
            ),
            "of a range only `port` can be told; write an entry for each node",
        );
    }
    let names = names.all();
    let mut slots: Vec<Slot> =
        names.iter().map(|name| Slot { name: name.clone(), ..Slot::default() }).collect();
    for port in &slot.ports {
        let Some(ports) = range(&port.port)? else {
            return fault(
                format!("`{}` are {} nodes and cannot share the port {port}", slot.name, names.len()),
                format!("write a range of ports, such as {}/{}..{}", port.switch, port.port, names.len()),
            );
        };
        let ports = ports.all();
        if ports.len() != names.len() {
            return fault(
                format!("`{}` are {} nodes, {port} are {} ports", slot.name, names.len(), ports.len()),
                "bring the two ranges to the same length",
            );
        }
        for (slot, name) in slots.iter_mut().zip(ports) {
            slot.ports.push(SwitchPort { switch: port.switch.clone(), port: name });
        }
    }
    Ok(slots)
}

/// `mini01..03`, `Eth1/1..3`, `Ethernet0..8+4`, `swp1..4s0`.
#[derive(Debug, PartialEq, Eq)]
struct Range<'a> {
    before: &'a str,
    first: u64,
    last: u64,
    step: u64,
    /// digits at least, so that 08 is followed by 09 and 10
    width: usize,
    after: &'a str,
}

impl Range<'_> {
    fn all(&self) -> Vec<String> {
        let step = usize::try_from(self.step).unwrap_or(usize::MAX);
        let numbers = (self.first..=self.last).step_by(step);
        numbers
            .map(|number| format!("{}{number:0width$}{}", self.before, self.after, width = self.width))
            .collect()
    }
}

/// The range in a name; `None` when it is a plain one.
fn range(text: &str) -> Result<Option<Range<'_>>, Fault> {
    const SHAPE: &str = "write a range as FIRST..LAST: mini01..03, Eth1/1..3, or with a step: Ethernet0..8+4";
    if text.contains(['[', ']']) {
        return fault(format!("`{text}` has brackets"), SHAPE);
    }
    let Some((head, tail)) = text.split_once("..") else { return Ok(None) };
    let is_digit = |c: char| c.is_ascii_digit();
    let before = head.trim_end_matches(is_digit);
    let first = head.get(before.len()..).unwrap_or_default();
    let after = tail.trim_start_matches(is_digit);
    let last = tail.get(..tail.len() - after.len()).unwrap_or_default();
    let (step, after) = match after.strip_prefix('+') {
        Some(rest) => {
            let after = rest.trim_start_matches(is_digit);
            (rest.get(..rest.len() - after.len()).unwrap_or_default(), after)
        }
        None => ("1", after),
    };
    let number = |text: &str| text.parse::<u64>().ok();
    let (Some(low), Some(high), Some(step)) = (number(first), number(last), number(step)) else {
        return fault(format!("`{text}` is not a range"), SHAPE);
    };
    if after.contains("..") {
        return fault(format!("`{text}` has two ranges"), "write an entry for each value of one of them");
    }
    if step == 0 || high < low {
        return fault(format!("`{text}` ends before it begins"), SHAPE);
    }
    if (high - low) / step >= LONGEST {
        return fault(format!("`{text}` is longer than {LONGEST}"), "write shorter ranges");
    }
    // 1..10 counts as people do; 01..10 keeps its zeros
    let width = if first.len() > 1 && first.starts_with('0') { first.len() } else { 0 };
    Ok(Some(Range { before, first: low, last: high, step, width, after }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        range(text).unwrap().unwrap().all()
    }

    #[test]
    fn ranges_count_as_people_do() {
        assert_eq!(all("mini01..03"), ["mini01", "mini02", "mini03"]);
        assert_eq!(all("mini08..10"), ["mini08", "mini09", "mini10"]);
        assert_eq!(all("mini8..10"), ["mini8", "mini9", "mini10"]);
        assert_eq!(all("Eth1/1..3"), ["Eth1/1", "Eth1/2", "Eth1/3"]);
        assert_eq!(all("Ethernet0..8+4"), ["Ethernet0", "Ethernet4", "Ethernet8"]);
        assert_eq!(all("Ethernet0..9+4"), ["Ethernet0", "Ethernet4", "Ethernet8"]);
        assert_eq!(all("swp1..2s0"), ["swp1s0", "swp2s0"]);
        assert_eq!(all("ge-0/0/7..7"), ["ge-0/0/7"]);
        assert_eq!(all("Port 1..2"), ["Port 1", "Port 2"]);
        assert_eq!(range("Eth1/1"), Ok(None));
        assert_eq!(all("n1..512").len(), 512);
    }

    #[test]
    fn what_is_no_range_says_so() {
        for (text, words) in [
            ("mini[01-03]", "has brackets"),
            ("mini..03", "not a range"),
            ("mini01..", "not a range"),
            ("mini03..01", "ends before it begins"),
            ("Ethernet0..8+0", "ends before it begins"),
            ("Ethernet0..8+", "not a range"),
            ("r1..2n1..4", "two ranges"),
            ("n1..513", "longer than 512"),
            ("n1..99999999999999999999", "not a range"),
        ] {
            let fault = range(text).unwrap_err();
            assert!(fault.message.contains(words), "{text}: {fault:?}");
        }
    }
}
