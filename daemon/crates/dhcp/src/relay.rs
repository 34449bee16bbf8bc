//! What a relay says about where a request came from (RFC 3046, option 82).
//!
//! The octets are kept as they came: they are given back verbatim, stored with the lease, and whoever
//! knows the switch reads its port from them.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use dhcproto::v4::OptionCode;

use crate::wire::Packet;

/// The sub-option that names the port (RFC 3046 §3.1).
pub const CIRCUIT_ID: u8 = 1;
/// The sub-option that names the switch (RFC 3046 §3.2).
pub const REMOTE_ID: u8 = 2;
/// The sub-option with the client's network, when giaddr is another (RFC 3527).
const LINK_SELECTION: u8 = 5;
/// The sub-option with the server identifier that clients shall see (RFC 5107).
const SERVER_OVERRIDE: u8 = 11;

/// Where a request came from, as whoever forwarded it says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Relayed {
    /// the relay's address on the client's network; unspecified when a switch only added option 82
    pub giaddr: Ipv4Addr,
    /// the value of option 82, as it came
    pub information: Vec<u8>,
}

impl Relayed {
    /// Reads it off a request; `None` when nobody forwarded it.
    pub fn of(packet: &Packet) -> Option<Self> {
        let information = packet.options.raw(OptionCode::RelayAgentInformation).unwrap_or_default();
        let forwarded = !packet.giaddr.is_unspecified() || !information.is_empty();
        forwarded.then(|| Self { giaddr: packet.giaddr, information: information.to_vec() })
    }

    /// The first sub-option with this code; what runs over the end is left out.
    pub fn sub_option(&self, code: u8) -> Option<&[u8]> {
        let mut rest = self.information.as_slice();
        while let [have, length, tail @ ..] = rest {
            let (value, after) = tail.split_at_checked(usize::from(*length))?;
            if *have == code {
                return Some(value);
            }
            rest = after;
        }
        None
    }

    /// The network whose addresses the client needs: link selection, else giaddr. Both are only
    /// believed of a relay, which has an address.
    pub fn network(&self) -> Option<Ipv4Addr> {
        if self.giaddr.is_unspecified() {
            return None;
        }
        Some(self.address(LINK_SELECTION).unwrap_or(self.giaddr))
    }

    /// The server identifier that the relay wants in our answers, so that renewals pass it, too.
    pub fn server_override(&self) -> Option<Ipv4Addr> {
        self.address(SERVER_OVERRIDE).filter(|_| !self.giaddr.is_unspecified())
    }

    fn address(&self, code: u8) -> Option<Ipv4Addr> {
        let octets: [u8; 4] = self.sub_option(code)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets)).filter(|address| !address.is_unspecified())
    }
}

/// As it is stored: `10.8.0.1 0103657468`.
impl fmt::Display for Relayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.giaddr)?;
        self.information.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// Not a relay's address and its information.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a relay's address and the hexadecimal octets of its information")]
pub struct RelayedError;

impl FromStr for Relayed {
    type Err = RelayedError;

    fn from_str(text: &str) -> Result<Self, RelayedError> {
        let (giaddr, digits) = text.split_once(' ').ok_or(RelayedError)?;
        let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
        let octets = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
        let information: Option<Vec<u8>> = octets.collect();
        match (giaddr.parse(), information, rest) {
            (Ok(giaddr), Some(information), []) => Ok(Self { giaddr, information }),
            _ => Err(RelayedError),
        }
    }
}

#[cfg(test)]
mod tests {
    use hardware::MacAddr;

    use super::*;

    fn relayed(giaddr: [u8; 4], information: &[u8]) -> Option<Relayed> {
        let mut packet = Packet::request(MacAddr([2, 0, 0, 0, 0, 1]), 1);
        packet.giaddr = giaddr.into();
        if !information.is_empty() {
            packet.options.set_raw(OptionCode::RelayAgentInformation, information);
        }
        Relayed::of(&packet)
    }

    #[test]
    fn sub_options_are_found_and_kept_as_they_came() {
        let octets = [1, 3, b'e', b't', b'h', 2, 1, 9, 5, 4, 10, 9, 0, 0, 11, 4, 10, 9, 0, 1];
        let relayed = relayed([10, 8, 0, 1], &octets).unwrap();
        assert_eq!(relayed.information, octets);
        assert_eq!(relayed.sub_option(CIRCUIT_ID), Some(b"eth".as_slice()));
        assert_eq!(relayed.sub_option(REMOTE_ID), Some([9].as_slice()));
        assert_eq!(relayed.network(), Some(Ipv4Addr::new(10, 9, 0, 0)));
        assert_eq!(relayed.server_override(), Some(Ipv4Addr::new(10, 9, 0, 1)));
    }

    #[test]
    fn it_is_stored_as_text() {
        let relayed = relayed([10, 8, 0, 1], &[1, 2, 0xfe, 0]).unwrap();
        assert_eq!(relayed.to_string(), "10.8.0.1 0102fe00");
        assert_eq!(relayed.to_string().parse(), Ok(relayed));
        for text in ["", "10.8.0.1", "10.8.0.1 0", "10.8.0.1 0g", "10.8.0 01"] {
            assert_eq!(text.parse::<Relayed>(), Err(RelayedError), "{text}");
        }
    }

    #[test]
    fn without_a_relay_nobody_chooses_the_network() {
        assert_eq!(relayed([0; 4], &[]), None);
        let by_switch = relayed([0; 4], &[5, 4, 10, 9, 0, 0, 11, 4, 10, 9, 0, 1]).unwrap();
        assert_eq!((by_switch.network(), by_switch.server_override()), (None, None));
        let plain = relayed([10, 8, 0, 1], &[]).unwrap();
        assert_eq!((plain.network(), plain.server_override()), (Some([10, 8, 0, 1].into()), None));
    }

    #[test]
    fn a_sub_option_that_runs_over_the_end_is_none() {
        for octets in [&[1][..], &[1, 3, b'e'], &[5, 4, 10, 9], &[5, 3, 1, 2, 3]] {
            let relayed = relayed([10, 8, 0, 1], octets).unwrap();
            assert_eq!(relayed.sub_option(CIRCUIT_ID), None, "{octets:?}");
            assert_eq!(relayed.network(), Some([10, 8, 0, 1].into()), "{octets:?}");
        }
    }
}
