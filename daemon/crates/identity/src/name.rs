//! Port names in normal form, so that `Eth1/1`, `Ethernet1/1` and `et1/1` are one port.
//!
//! Every vendor shortens names in its own way and LLDP carries whichever form the switch likes. Two names are
//! the same port only when their whole normal forms are equal: `1/1` is never part of `1/11`.

use std::fmt;

use hardware::MacAddr;
use serde::{Deserialize, Serialize};

/// A port's name in normal form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortName(String);

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What stands before the numbers, by the short forms of IOS, NX-OS, EOS, IOS XR, Comware and Junos.
const KINDS: [(&str, &[&str]); 11] = [
    ("ethernet", &["et", "ethernet"]),
    ("fastethernet", &["fa", "fas", "fastethernet"]),
    ("gigabitethernet", &["gi", "ge", "gig", "gige", "gigabitethernet"]),
    ("twogigabitethernet", &["tw", "twogigabitethernet"]),
    ("fivegigabitethernet", &["fi", "fivegigabitethernet"]),
    (
        "tengigabitethernet",
        &["te", "ten", "tengig", "tengige", "tengigabitethernet", "xge", "xgigabitethernet"],
    ),
    ("twentyfivegigabitethernet", &["twe", "tf", "twentyfivegige", "twentyfivegigabitethernet"]),
    ("fortygigabitethernet", &["fo", "fortygige", "fortygigabitethernet"]),
    ("hundredgigabitethernet", &["hu", "hun", "hundredgige", "hundredgigabitethernet"]),
    ("fourhundredgigabitethernet", &["fh", "fou", "fourhundredgige", "fourhundredgigabitethernet"]),
    ("management", &["ma", "management"]),
];

/// Short forms that mean Ethernet only before a slash or colon: a lone `eth0` is a Linux interface, on SONiC
/// even beside a front port `Ethernet0`.
const ETHERNET_OF_A_SLOT: [&str; 2] = ["e", "eth"];

impl PortName {
    /// The normal form of a name as a switch or a person writes it.
    pub fn normal(name: &str) -> Self {
        let name = name.to_lowercase();
        // SONiC and others add the panel's number: Eth1/1(Port1)
        let name = name.split('(').next().unwrap_or_default();
        let name: String = name.chars().filter(|c| !c.is_whitespace()).collect();
        if let Ok(mac) = name.parse::<MacAddr>() {
            return Self(mac.to_string());
        }
        // twice, so that a separator hides no bridge and a bridge no separator: what comes out is in normal form
        let name = joined_kind(&name);
        let name = without_leading_zeros(&joined_kind(without_bridge(&name)));
        let name = without_unit(&name);
        let (head, numbers) = name.split_at(numbers_at(name));
        let in_slot = numbers.contains(['/', ':']);
        let kind = match KINDS.iter().find(|(_, forms)| forms.contains(&head)) {
            Some((kind, _)) if !numbers.is_empty() => kind,
            None if in_slot && ETHERNET_OF_A_SLOT.contains(&head) => "ethernet",
            _ => head,
        };
        let name = format!("{kind}{numbers}");
        Self(name.parse::<MacAddr>().map_or(name, |mac| mac.to_string()))
    }
}

/// Where a name's numbers begin: its length, when it has none.
fn numbers_at(name: &str) -> usize {
    name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len())
}

/// With the words before the numbers written as one: Ten-GigabitEthernet1/0/1, ge-0/0/1.
fn joined_kind(name: &str) -> String {
    let (head, numbers) = name.split_at(numbers_at(name));
    head.chars().filter(|c| !matches!(c, '-' | '_')).chain(numbers.chars()).collect()
}

/// Without the logical unit 0 that Junos puts behind the physical port.
fn without_unit(name: &str) -> &str {
    let is_port =
        |name: &&str| name.starts_with(char::is_alphabetic) && name.ends_with(|c: char| c.is_ascii_digit());
    let mut name = name;
    while let Some(port) = name.strip_suffix(".0").filter(is_port) {
        name = port;
    }
    name
}

/// Without the bridge that RouterOS puts before the port: `bridge/ether2`.
fn without_bridge(name: &str) -> &str {
    match name.rsplit_once('/') {
        Some((_, port)) if port.starts_with(char::is_alphabetic) => port,
        _ => name,
    }
}

fn without_leading_zeros(numbers: &str) -> String {
    let mut result = String::with_capacity(numbers.len());
    let mut characters = numbers.chars().peekable();
    let mut in_number = false;
    while let Some(character) = characters.next() {
        let leading_zero =
            character == '0' && !in_number && characters.peek().is_some_and(char::is_ascii_digit);
        in_number = character.is_ascii_digit() && !leading_zero;
        if !leading_zero {
            result.push(character);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same(a: &str, b: &str) -> bool {
        PortName::normal(a) == PortName::normal(b)
    }

    #[test]
    fn spellings_of_one_port() {
        let groups: [&[&str]; 21] = [
            // NX-OS, EOS, Onyx, Dell OS10, SONiC's alias
            &[
                "Eth1/1",
                "Ethernet1/1",
                "et1/1",
                "E1/1",
                "ethernet 1/1",
                "ETH1/1",
                " Eth1/1 ",
                "Eth1/01",
                "Eth1/1(Port1)",
            ],
            &["Ethernet1", "Et1", "et1"],
            &["ethernet1/1/1", "Eth 1/1/1", "Ethernet1/1/1"],
            &["ethernet1/1/1:2", "Eth1/1/1:2"],
            // IOS, IOS XE, IOS XR
            &["Gi1/0/11", "GigabitEthernet1/0/11", "GigE1/0/11", "GE1/0/11"],
            &["Te1/1/1", "TenGigabitEthernet1/1/1", "TenGigE1/1/1"],
            &["Twe1/0/1", "TwentyFiveGigE1/0/1", "TwentyFiveGigabitEthernet1/0/1"],
            &["Fo1/1/1", "FortyGigabitEthernet1/1/1", "FortyGigE1/1/1"],
            &["Hu1/0/49", "HundredGigE1/0/49", "HundredGigabitEthernet1/0/49"],
            &["FH0/0/0/1", "FourHundredGigE0/0/0/1"],
            &["Tw1/0/1", "TwoGigabitEthernet1/0/1"],
            &["Fa0/1", "FastEthernet0/1"],
            // Comware
            &["Ten-GigabitEthernet1/0/1", "XGE1/0/1"],
            // Junos
            &["ge-0/0/43.0", "ge-0/0/43"],
            &["xe-0/0/1", "xe-0/0/1.0"],
            &["et-0/0/1:0", "et-0/0/1:0.0"],
            // SONiC
            &["Ethernet0", "ethernet0"],
            // UniFi
            &["Port 1", "port1", "Port  1"],
            // RouterOS
            &["bridge/ether2", "ether2", "bridge1/ether2"],
            &["bridge/sfp-sfpplus1", "sfp-sfpplus1"],
            // switches that announce a MAC
            &["36:8a:70:68:02:2f", "36-8A-70-68-02-2F", "368a.7068.022f"],
        ];
        for group in groups {
            for name in group {
                assert!(same(group[0], name), "{} and {name}", group[0]);
            }
        }
        // and no two groups are one port
        for (index, group) in groups.iter().enumerate() {
            for other in &groups[index + 1..] {
                assert!(!same(group[0], other[0]), "{} and {}", group[0], other[0]);
            }
        }
    }

    #[test]
    fn different_ports_stay_different() {
        for (a, b) in [
            ("1/1", "1/11"),
            ("1/1", "11/1"),
            ("Eth1/1", "Eth1/11"),
            ("Eth1/1", "Eth11/1"),
            ("Eth1/1", "Eth1/1/1"),
            ("Eth1/10", "Eth1/1"),
            ("Eth1/1", "Eth1/1:1"),
            ("Eth1/1:1", "Eth1/1:2"),
            ("Gi1/0/1", "Te1/0/1"),
            ("Te1/0/1", "Twe1/0/1"),
            ("Tw1/0/1", "Twe1/0/1"),
            ("Fo1/0/1", "FH1/0/1"),
            ("ge-0/0/1", "xe-0/0/1"),
            ("ge-0/0/1.0", "ge-0/0/1.10"),
            // SONiC: the management interface and the first front port
            ("eth0", "Ethernet0"),
            ("eth0.100", "eth0"),
            ("swp1s0", "swp1s1"),
            ("swp1", "swp1s0"),
            ("swp1", "swp10"),
            ("Port 1", "Port 11"),
            ("ether1", "ether10"),
            ("tap1", "tap2"),
            ("36:8a:70:68:02:2f", "36:8a:70:68:02:2e"),
            // which kind of port a bare number means, only the switch knows
            ("1/1", "Eth1/1"),
            ("10", "100"),
        ] {
            assert!(!same(a, b), "{a} and {b}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_normal_form_that_stays(text in "\\PC{0,40}") {
            let once = PortName::normal(&text);
            prop_assert_eq!(PortName::normal(&once.0), once);
        }

        /// What the rules themselves look at, in any order: found `/_A0`, `1/ a` and `a1.00` each to have a
        /// normal form whose own normal form was another.
        #[test]
        fn a_normal_form_stays_whatever_is_mixed(text in "[-_/.:( 012aAeEtT]{0,12}") {
            let once = PortName::normal(&text);
            prop_assert_eq!(PortName::normal(&once.0), once);
        }

        #[test]
        fn other_numbers_are_another_port(
            kind in prop::sample::select(vec!["Eth", "Ethernet", "Gi", "Te", "swp", "ge-", "Port ", "", "et-"]),
            a in prop::collection::vec(0u16..200, 2..4),
            b in prop::collection::vec(0u16..200, 2..4),
        ) {
            let name = |numbers: &[u16]| {
                let parts: Vec<String> = numbers.iter().map(u16::to_string).collect();
                format!("{kind}{}", parts.join("/"))
            };
            prop_assert_eq!(same(&name(&a), &name(&b)), a == b);
        }
    }
}
