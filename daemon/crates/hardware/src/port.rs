//! Switch ports: the operator's name for one, and the identifiers LLDP puts on the wire.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A port as the operator writes it: `sw1/Eth1/1`, the switch's name up to the first slash, then the
/// port's own name. Comparing names of different spelling is the work of `identity`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SwitchPort {
    /// the switch's system name
    pub switch: String,
    /// the port's name on that switch
    pub port: String,
}

impl fmt::Display for SwitchPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.switch, self.port)
    }
}

/// The text does not name a switch port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a switch port: expected SWITCH/PORT such as sw1/Eth1/1")]
pub struct SwitchPortError(pub String);

impl FromStr for SwitchPort {
    type Err = SwitchPortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((switch, port)) if !switch.is_empty() && !port.is_empty() => {
                Ok(Self { switch: switch.to_owned(), port: port.to_owned() })
            }
            _ => Err(SwitchPortError(text.to_owned())),
        }
    }
}

impl Serialize for SwitchPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SwitchPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The value of an LLDP Chassis ID TLV: the subtype is part of the identifier (802.1AB-2016 §8.5.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChassisId {
    /// 1 component, 2 ifAlias, 3 port component, 4 MAC, 5 network address, 6 ifName, 7 local
    pub subtype: u8,
    /// 1 to 255 octets, as they came
    pub id: Vec<u8>,
}

/// The value of an LLDP Port ID TLV (802.1AB-2016 §8.5.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortId {
    /// 1 ifAlias, 2 port component, 3 MAC, 4 network address, 5 ifName, 6 agent circuit id, 7 local
    pub subtype: u8,
    /// 1 to 255 octets, as they came
    pub id: Vec<u8>,
}

impl fmt::Display for ChassisId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.subtype == 4, self.subtype == 5, &self.id)
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.subtype == 3, self.subtype == 4, &self.id)
    }
}

/// Shows an identifier the way a switch's own console would: addresses as addresses, text as text,
/// anything else in hexadecimal.
fn show(f: &mut fmt::Formatter<'_>, is_mac: bool, is_network: bool, id: &[u8]) -> fmt::Result {
    if is_mac && let Ok(bytes) = <[u8; 6]>::try_from(id) {
        return fmt::Display::fmt(&crate::MacAddr(bytes), f);
    }
    if is_network {
        // one octet of IANA address family number, then the address
        match id {
            [1, a, b, c, d] => return write!(f, "{a}.{b}.{c}.{d}"),
            [2, rest @ ..] => {
                if let Ok(bytes) = <[u8; 16]>::try_from(rest) {
                    return write!(f, "{}", std::net::Ipv6Addr::from(bytes));
                }
            }
            _ => {}
        }
    }
    match std::str::from_utf8(id) {
        Ok(text) if !text.is_empty() && !text.chars().any(char::is_control) => f.write_str(text),
        _ => id.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_slash_ends_the_switch() {
        let port: SwitchPort = "sw1/Eth1/1".parse().unwrap();
        assert_eq!((port.switch.as_str(), port.port.as_str()), ("sw1", "Eth1/1"));
        assert_eq!(port.to_string(), "sw1/Eth1/1");
        for text in ["", "sw1", "/Eth1", "sw1/"] {
            assert!(text.parse::<SwitchPort>().is_err(), "{text}");
        }
    }

    #[test]
    fn identifiers_are_shown_by_their_subtype() {
        let mac = vec![0x02, 0, 0, 0, 0, 1];
        assert_eq!(ChassisId { subtype: 4, id: mac.clone() }.to_string(), "02:00:00:00:00:01");
        assert_eq!(PortId { subtype: 3, id: mac.clone() }.to_string(), "02:00:00:00:00:01");
        assert_eq!(PortId { subtype: 7, id: mac }.to_string(), "020000000001");
        assert_eq!(PortId { subtype: 5, id: b"tap2".to_vec() }.to_string(), "tap2");
        assert_eq!(ChassisId { subtype: 5, id: vec![1, 10, 0, 0, 1] }.to_string(), "10.0.0.1");
    }
}
