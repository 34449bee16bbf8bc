//! DHCP option 82 as a switch port (RFC 3046): each relay writes it in a way of its own, told by a pattern.
//!
//! `serve` hands in what a relay added; only relays of the site file are believed. A pattern is text
//! (`{switch}:{port}`) or octets (`hex: 00 04 {vlan:2} {slot:1} {port:1}`); what it finds fills the port's name.

use std::{collections::BTreeMap, net::Ipv4Addr, str::FromStr};

use hardware::{ChassisId, MacAddr};

use crate::{Forwarded, Port};

/// A relay, or a switch that only adds option 82, as the site file describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// its address in relayed packets (giaddr); unspecified for switches that only snoop
    pub address: Ipv4Addr,
    /// what its circuit id looks like
    pub circuit: Pattern,
    /// what its remote id looks like; `None`: whatever it is
    pub remote: Option<Pattern>,
    /// further addresses that its packets come from
    pub from: Vec<Ipv4Addr>,
    /// the switch, where neither id names it
    pub switch: Option<String>,
    /// the port's name, made of what was found: `Gi1/{slot}/{port}`
    pub port: Template,
}

impl Relay {
    /// Whether this relay sent it: anybody can write an address into a packet, so it must come from there, too. A
    /// switch that only adds the option sends none of its own.
    pub fn is_of(&self, forwarded: &Forwarded) -> bool {
        let known = |address| address == self.address || self.from.contains(&address);
        forwarded.relay == self.address && (self.address.is_unspecified() || known(forwarded.from))
    }

    /// The port that the two ids name; `None` when they do not look as described.
    pub fn port(&self, circuit: Option<&[u8]>, remote: Option<&[u8]>) -> Option<Port> {
        let mut found = self.circuit.find(circuit?)?;
        if let Some(pattern) = &self.remote {
            for (name, value) in pattern.find(remote?)? {
                // the same name in both must be the same thing
                if found.insert(name, value.clone()).is_some_and(|other| other != value) {
                    return None;
                }
            }
        }
        let name = self.port.fill(&found)?;
        let switch = found.get("switch").or(self.switch.as_ref())?;
        let mut port = Port::local(switch, &name);
        if let Ok(MacAddr(octets)) = switch.parse() {
            port.chassis = Some(ChassisId { subtype: 4, id: octets.to_vec() });
        }
        Some(port)
    }
}

/// What an id looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Part>,
    /// text, of which trailing zeros are no part
    is_text: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Octets(Vec<u8>),
    /// any text, up to what follows; `*` is thrown away
    Text(String),
    /// a number of so many octets
    Number(String, usize),
    /// six octets
    Mac(String),
}

/// A pattern or a port's name that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

fn wrong<T>(message: String) -> Result<T, PatternError> {
    Err(PatternError(message))
}

impl Pattern {
    /// The names of what it finds.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(name) | Part::Number(name, _) | Part::Mac(name) => {
                Some(name.as_str()).filter(|it| *it != "*")
            }
            Part::Octets(_) => None,
        })
    }

    /// What an id says; `None` when it does not look like this.
    pub fn find(&self, id: &[u8]) -> Option<BTreeMap<String, String>> {
        let mut rest = id;
        if self.is_text {
            while let Some(shorter) = rest.strip_suffix(b"\0") {
                rest = shorter;
            }
        }
        let mut found = BTreeMap::new();
        let mut put = |name: &str, value: String| match name {
            "*" => true,
            // the same name twice must be the same thing
            _ => found.insert(name.to_owned(), value.clone()).is_none_or(|other| other == value),
        };
        let mut parts = self.parts.iter().peekable();
        while let Some(part) = parts.next() {
            let fits = match part {
                Part::Octets(octets) => {
                    rest = rest.strip_prefix(octets.as_slice())?;
                    true
                }
                Part::Text(name) => {
                    let end = match parts.peek() {
                        Some(Part::Octets(next)) => find(rest, next)?,
                        _ => rest.len(),
                    };
                    let (value, after) = rest.split_at_checked(end)?;
                    rest = after;
                    let value = std::str::from_utf8(value).ok()?.trim();
                    !value.is_empty() && !value.contains(char::is_control) && put(name, value.to_owned())
                }
                Part::Number(name, octets) => {
                    let (value, after) = rest.split_at_checked(*octets)?;
                    rest = after;
                    put(name, value.iter().fold(0_u64, |sum, octet| sum << 8 | u64::from(*octet)).to_string())
                }
                Part::Mac(name) => {
                    let (value, after) = rest.split_first_chunk::<6>()?;
                    rest = after;
                    put(name, MacAddr(*value).to_string())
                }
            };
            if !fits {
                return None;
            }
        }
        rest.is_empty().then_some(found)
    }
}

/// Where one run of octets begins in another; of several the last, so that a name may have the separator in it.
fn find(octets: &[u8], wanted: &[u8]) -> Option<usize> {
    octets.windows(wanted.len().max(1)).rposition(|window| window == wanted)
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (octets, is_text) = match text.strip_prefix("hex:") {
            Some(octets) => (octets, false),
            None => (text, true),
        };
        let mut parts: Vec<Part> = Vec::new();
        let mut rest = octets;
        while !rest.is_empty() {
            let (literal, field) = match rest.split_once('{') {
                Some((literal, after)) => {
                    let (field, after) = after
                        .split_once('}')
                        .ok_or_else(|| PatternError(format!("`{text}` has a `{{` without its `}}`")))?;
                    rest = after;
                    (literal, Some(field))
                }
                None => (std::mem::take(&mut rest), None),
            };
            let literal = if is_text { literal.as_bytes().to_vec() } else { hex(literal, text)? };
            if !literal.is_empty() {
                parts.push(Part::Octets(literal));
            }
            let Some(field) = field else { continue };
            let part = match (is_text, field.split_once(':')) {
                (true, None) => Part::Text(field.to_owned()),
                (false, Some((name, "mac"))) => Part::Mac(name.to_owned()),
                (false, Some((name, "text"))) => Part::Text(name.to_owned()),
                (false, Some((name, width))) if matches!(width, "1" | "2" | "4") => {
                    Part::Number(name.to_owned(), width.parse().unwrap_or(1))
                }
                (true, Some(_)) => {
                    return wrong(format!("`{{{field}}}` is for `hex:`; in text write `{{port}}`"));
                }
                (false, _) => {
                    return wrong(format!(
                        "`{{{field}}}` does not say how long it is; write `{{port:1}}`, `{{vlan:2}}`, `{{switch:mac}}` or `{{port:text}}`"
                    ));
                }
            };
            let name = match &part {
                Part::Text(name) | Part::Number(name, _) | Part::Mac(name) => name,
                Part::Octets(_) => continue,
            };
            if name != "*" && (name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase())) {
                return wrong(format!(
                    "`{{{field}}}` is no name; use lower-case letters, or `{{*}}` for whatever it is"
                ));
            }
            if matches!((&part, parts.last()), (Part::Text(_), Some(Part::Text(_)))) {
                return wrong(format!(
                    "`{text}` does not say where `{{{field}}}` begins: put something between the two"
                ));
            }
            parts.push(part);
        }
        if parts.is_empty() {
            return wrong("an empty pattern finds nothing".to_owned());
        }
        Ok(Self { parts, is_text })
    }
}

fn hex(digits: &str, text: &str) -> Result<Vec<u8>, PatternError> {
    let digits: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let octet = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2 && !pair.contains('+'));
        pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())
    };
    let octets: Option<Vec<u8>> = digits.chunks(2).map(octet).collect();
    octets.ok_or_else(|| PatternError(format!("`{text}` is not made of octets such as 00 0a ff")))
}

/// A port's name with places to fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(String);

impl Template {
    /// Names a template asks for.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
    }

    fn fill(&self, found: &BTreeMap<String, String>) -> Option<String> {
        let mut pieces = self.0.split('{');
        let mut text = pieces.next()?.to_owned();
        for piece in pieces {
            let (name, rest) = piece.split_once('}')?;
            text += found.get(name)?;
            text += rest;
        }
        Some(text)
    }
}

impl Default for Template {
    fn default() -> Self {
        Self("{port}".to_owned())
    }
}

impl FromStr for Template {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let well_formed = text.split('{').skip(1).all(|piece| piece.contains('}'));
        match well_formed && text.contains('{') {
            true => Ok(Self(text.to_owned())),
            false => wrong(format!(
                "`{text}` is the same port whatever was found; write for example `Gi1/{{slot}}/{{port}}`"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn relay(circuit: &str, remote: Option<&str>, switch: Option<&str>, port: &str) -> Relay {
        Relay {
            address: Ipv4Addr::new(10, 0, 0, 1),
            from: vec![Ipv4Addr::new(10, 9, 0, 1)],
            circuit: circuit.parse().unwrap(),
            remote: remote.map(|text| text.parse().unwrap()),
            switch: switch.map(str::to_owned),
            port: port.parse().unwrap(),
        }
    }

    #[test]
    fn each_vendor_s_way_of_writing_it() {
        let cisco = relay(
            "hex: 00 04 {vlan:2} {slot:1} {port:1}",
            Some("hex: 00 06 {switch:mac}"),
            None,
            "Gi1/{slot}/{port}",
        );
        let cisco_name =
            relay("hex: 01 {*:1} {port:text}", Some("hex: 01 {*:1} {switch:text}"), None, "{port}");
        let juniper = relay("{switch}:{port}", None, None, "{port}");
        let plain = relay("{port}", None, Some("sw1"), "{port}");
        let arista = relay("{port}:{vlan}", None, Some("leaf1"), "{port}");
        let dlink = relay("hex: {*:1} {*:1} {vlan:2} {*:1} {port:1}", None, Some("acc"), "Port {port}");
        type Case<'a> = (&'a Relay, &'a [u8], &'a [u8], Option<&'a str>);
        let cases: [Case<'_>; 14] = [
            (
                &cisco,
                &[0, 4, 0, 100, 0, 11],
                &[0, 6, 0, 0x1c, 0x73, 0, 0, 1],
                Some("00:1c:73:00:00:01/Gi1/0/11"),
            ),
            (&cisco, &[0, 4, 0, 100, 0, 11], &[0, 6, 0, 0x1c, 0x73, 0, 0], None),
            (&cisco, &[0, 4, 0, 100, 0, 11, 0], &[0, 6, 0, 0x1c, 0x73, 0, 0, 1], None),
            (&cisco, b"Gi1/0/11", &[0, 6, 0, 0x1c, 0x73, 0, 0, 1], None),
            (&cisco, &[0, 4, 0, 100, 0, 11], &[], None),
            (&cisco_name, b"\x01\x08Gi1/0/11", b"\x01\x04core", Some("core/Gi1/0/11")),
            (&juniper, b"qfx:ge-0/0/4.0", b"", Some("qfx/ge-0/0/4.0")),
            (&juniper, b"qfx", b"", None),
            (&plain, b"Eth1/1\0\0", b"anything", Some("sw1/Eth1/1")),
            (&plain, b"", b"", None),
            (&plain, b"Eth\x001", b"", None),
            (&arista, b"Ethernet3:100", b"", Some("leaf1/Ethernet3")),
            (&arista, b"Ethernet3/1:1:100", b"", Some("leaf1/Ethernet3/1:1")),
            (&dlink, &[0, 4, 0, 1, 0, 7], b"", Some("acc/Port 7")),
        ];
        for (relay, circuit, remote, expected) in cases {
            let port = relay.port(Some(circuit), Some(remote)).map(|port| port.to_string());
            assert_eq!(port.as_deref(), expected, "{circuit:?} {remote:?}");
        }
        assert_eq!(plain.port(None, None), None);
        let both = relay("{switch}/{port}", Some("{switch}"), None, "{port}");
        assert!(both.port(Some(b"sw1/p1"), Some(b"sw1")).is_some());
        assert_eq!(both.port(Some(b"sw1/p1"), Some(b"sw2")), None, "the two do not agree");
    }

    #[test]
    fn a_switch_that_calls_itself_by_its_mac_is_found_by_it() {
        let cisco = relay(
            "hex: 00 04 {vlan:2} {slot:1} {port:1}",
            Some("hex: 00 06 {switch:mac}"),
            None,
            "Gi1/{slot}/{port}",
        );
        let port = cisco.port(Some(&[0, 4, 0, 1, 0, 3]), Some(&[0, 6, 0, 0x1c, 0x73, 0, 0, 1])).unwrap();
        assert!(port.is(&"001c.7300.0001/Gi1/0/3".parse().unwrap()));
    }

    #[test]
    fn only_what_comes_from_the_relay_is_of_it() {
        let relay = relay("{port}", None, Some("sw1"), "{port}");
        let sent = |relay: [u8; 4], from: [u8; 4]| Forwarded {
            relay: relay.into(),
            from: from.into(),
            circuit: None,
            remote: None,
        };
        assert!(
            relay.is_of(&sent([10, 0, 0, 1], [10, 0, 0, 1]))
                && relay.is_of(&sent([10, 0, 0, 1], [10, 9, 0, 1]))
        );
        assert!(
            !relay.is_of(&sent([10, 0, 0, 1], [10, 0, 0, 66])),
            "a machine that writes the relay's address"
        );
        assert!(
            !relay.is_of(&sent([10, 0, 0, 2], [10, 0, 0, 1])) && !relay.is_of(&sent([0; 4], [10, 0, 0, 1]))
        );
        let snooping = Relay { address: Ipv4Addr::UNSPECIFIED, from: Vec::new(), ..relay };
        assert!(
            snooping.is_of(&sent([0; 4], [0; 4])) && !snooping.is_of(&sent([10, 0, 0, 1], [10, 0, 0, 1]))
        );
    }

    #[test]
    fn a_pattern_that_makes_no_sense_says_why() {
        for (text, words) in [
            ("", "finds nothing"),
            ("hex:", "finds nothing"),
            ("{port", "without its"),
            ("{switch}{port}", "where `{port}` begins"),
            ("{port:1}", "is for `hex:`"),
            ("hex: 00 {port}", "how long it is"),
            ("hex: 00 {port:3}", "how long it is"),
            ("hex: 0 {port:1}", "not made of octets"),
            ("hex: zz {port:1}", "not made of octets"),
            ("{Port}", "no name"),
            ("{}", "no name"),
        ] {
            let error = text.parse::<Pattern>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!("Gi1/0/1".parse::<Template>().is_err() && "Gi{".parse::<Template>().is_err());
        let names: Vec<_> =
            "Gi{slot}/{port}".parse::<Template>().unwrap().names().map(str::to_owned).collect();
        assert_eq!(names, ["slot", "port"]);
    }

    proptest! {
        #[test]
        fn whatever_a_relay_sends(circuit: Vec<u8>, remote: Vec<u8>, pattern in "(hex:)?[{}a-z0-9: *]{0,20}") {
            if let Ok(circuit_pattern) = pattern.parse::<Pattern>() {
                circuit_pattern.find(&circuit);
            }
            let both = relay("{switch}/{port}", Some("hex: {*:1} {*:text}"), None, "{port}");
            both.port(Some(&circuit), Some(&remote));
        }
    }
}
