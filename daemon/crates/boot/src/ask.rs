//! What iPXE says about its machine when it asks what to boot: the query of `/boot/ask`.
//!
//! Every field comes from outside and may lie. Nothing here is believed; it is only brought into form
//! for `identity`, and whatever does not parse is left out or refused with a sentence.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hardware::{Architecture, ChassisId, MacAddr, PortId, SystemUuid};
use lldp::Capabilities;
use serde::{Deserialize, Serialize};

use crate::script::MOST_CARDS;

/// The longest value of an LLDP TLV (802.1AB-2016 §8.4.2: nine bits of length).
const LONGEST_TLV: usize = 511;
/// Longer texts are no serial number, no platform; SMBIOS strings are 64 octets where anybody counts.
const LONGEST_TEXT: usize = 255;

/// What a machine itself heard from the switch that one of its cards is plugged into.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LldpReport {
    /// the card that heard it
    pub nic: MacAddr,
    /// Chassis ID TLV
    pub chassis: Option<ChassisId>,
    /// Port ID TLV
    pub port: Option<PortId>,
    /// System Name TLV
    pub system_name: Option<String>,
    /// Port Description TLV
    pub port_description: Option<String>,
    /// whether the sender says that it bridges or routes; `None` when it says nothing about itself
    pub forwards: Option<bool>,
    /// where the sender can be managed
    pub management: Option<IpAddr>,
}

/// The question as it came, in form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// the interface iPXE boots from
    pub mac: MacAddr,
    /// SMBIOS UUID; left out when it names nobody (all zeros and the like)
    pub uuid: Option<SystemUuid>,
    /// SMBIOS serial number
    pub serial: Option<String>,
    /// `efi` or `pcbios`
    pub platform: Option<String>,
    /// what its kernel must be built for; a 32-bit iPXE runs on 64-bit machines, too
    pub architecture: Architecture,
    /// SMBIOS manufacturer and product: `Apple Inc. Macmini8,1`
    pub model: Option<String>,
    /// how often this boot has asked before; 0 the first time
    pub attempt: u32,
    /// LLDP neighbours of every card; none from a BIOS build, which has no LLDP
    pub lldp: Vec<LldpReport>,
}

/// The query is not one that our entry script makes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// without a hardware address nobody asks
    #[error(
        "the boot question names no machine: mac is missing or is not a MAC address such as 64-4b-f0-00-00-03"
    )]
    NoMac,
    /// several hardware addresses, or several UUIDs: which of them would it be?
    #[error("the boot question gives {0} twice")]
    Twice(&'static str),
}

impl Ask {
    /// Reads the decoded pairs of a query string. Unknown names are ignored.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, AskError> {
        let mut fields = Fields::default();
        for (name, value) in pairs {
            fields.take(name, value)?;
        }
        let mac: MacAddr = fields.mac.and_then(|text| text.parse().ok()).ok_or(AskError::NoMac)?;
        if mac.is_multicast() {
            return Err(AskError::NoMac);
        }
        let uuid = fields.uuid.and_then(|text| text.parse::<SystemUuid>().ok());
        Ok(Self {
            mac,
            uuid: uuid.filter(|uuid| uuid.is_distinctive()),
            serial: fields.serial.and_then(hex_text),
            platform: fields.platform.and_then(text),
            architecture: match fields.arch {
                Some("arm64") => Architecture::Arm64,
                _ => Architecture::Amd64,
            },
            model: model(fields.manufacturer.and_then(hex_text), fields.product.and_then(hex_text)),
            attempt: fields.attempt.and_then(|text| text.parse().ok()).unwrap_or(0),
            lldp: fields.lldp.into_iter().filter_map(report).collect(),
        })
    }
}

#[derive(Default)]
struct Fields<'a> {
    mac: Option<&'a str>,
    uuid: Option<&'a str>,
    serial: Option<&'a str>,
    platform: Option<&'a str>,
    arch: Option<&'a str>,
    manufacturer: Option<&'a str>,
    product: Option<&'a str>,
    attempt: Option<&'a str>,
    lldp: Vec<&'a str>,
}

impl<'a> Fields<'a> {
    fn take(&mut self, name: &str, value: &'a str) -> Result<(), AskError> {
        let (field, name) = match name {
            "mac" => (&mut self.mac, "mac"),
            "uuid" => (&mut self.uuid, "uuid"),
            "serial" => (&mut self.serial, "serial"),
            "platform" => (&mut self.platform, "platform"),
            "arch" => (&mut self.arch, "arch"),
            "manufacturer" => (&mut self.manufacturer, "manufacturer"),
            "product" => (&mut self.product, "product"),
            "attempt" => (&mut self.attempt, "attempt"),
            "lldp" => {
                // one a card; who sends more makes them up
                if self.lldp.len() < MOST_CARDS {
                    self.lldp.push(value);
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        match field.replace(value) {
            Some(_) => Err(AskError::Twice(name)),
            None => Ok(()),
        }
    }
}

/// The card's address, then the TLVs in the order in which [`crate::script::entry`] asks for them. What is broken is
/// left out; without a port or a switch it says nothing.
fn report(value: &str) -> Option<LldpReport> {
    let mut parts = value.split(',');
    let nic: MacAddr = parts.next()?.parse().ok()?;
    let mut next = || parts.next().unwrap_or_default();
    let report = LldpReport {
        nic,
        chassis: identifier(next()).map(|(subtype, id)| ChassisId { subtype, id }),
        port: identifier(next()).map(|(subtype, id)| PortId { subtype, id }),
        port_description: hex_text(next()),
        system_name: hex_text(next()),
        forwards: octets(next()).and_then(|octets| forwards(&octets)),
        management: octets(next()).and_then(|octets| management(&octets)),
    };
    let heard = report.chassis.is_some() || report.port.is_some() || report.system_name.is_some();
    (heard && !nic.is_multicast()).then_some(report)
}

/// System Capabilities TLV: what the sender can do, then what of it is switched on.
fn forwards(octets: &[u8]) -> Option<bool> {
    let &[supported_high, supported_low, high, low] = octets else { return None };
    let supported = u16::from_be_bytes([supported_high, supported_low]);
    Some(Capabilities { supported, enabled: u16::from_be_bytes([high, low]) }.forwards())
}

/// Management Address TLV: the length of family and address, the IANA family number, the address; what follows says
/// which interface of the switch has it.
fn management(octets: &[u8]) -> Option<IpAddr> {
    let (&length, rest) = octets.split_first()?;
    match rest.get(..usize::from(length))? {
        [1, address @ ..] => Some(Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?).into()),
        [2, address @ ..] => Some(Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).into()),
        _ => None,
    }
}

fn model(manufacturer: Option<String>, product: Option<String>) -> Option<String> {
    match (manufacturer, product) {
        (Some(manufacturer), Some(product)) => Some(format!("{manufacturer} {product}")),
        (one, other) => one.or(other),
    }
}

/// A text as a person may read it: trimmed, not empty, without control characters.
fn text(value: &str) -> Option<String> {
    let value = value.trim();
    let fits = !value.is_empty() && value.len() <= LONGEST_TEXT && !value.chars().any(char::is_control);
    fits.then(|| value.to_owned())
}

/// The octets of a setting in iPXE's `hexraw`; an absent setting is an empty text.
fn octets(value: &str) -> Option<Vec<u8>> {
    if value.is_empty() || value.len() > 2 * LONGEST_TLV {
        return None;
    }
    hex::decode(value).ok()
}

/// A Chassis ID or Port ID TLV: the subtype octet, then 1 to 255 octets (802.1AB-2016 §8.5.2, §8.5.3).
fn identifier(value: &str) -> Option<(u8, Vec<u8>)> {
    let octets = octets(value)?;
    let (&subtype, id) = octets.split_first()?;
    (1..=255).contains(&id.len()).then(|| (subtype, id.to_vec()))
}

fn hex_text(value: &str) -> Option<String> {
    text(std::str::from_utf8(&octets(value)?).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_ovmf_with_trixies_snponly_says() {
        let ask = Ask::from_pairs([
            ("mac", "52-54-00-77-00-02"),
            ("uuid", "00112233-4455-6677-8899-aabbccddee02"),
            ("serial", "433032205826595a"),
            ("platform", "efi"),
            ("arch", "arm64"),
            ("attempt", "0"),
            ("manufacturer", "51454d55"),
            ("product", "5374616e64617264205043"),
            ("lldp", "52-54-00-77-00-02,04feffffffff01,0574617032,,737731,00140014,0501c0a8000202000000010"),
            (
                "lldp",
                "52-54-00-77-00-03,04feffffffff02,0574617033,6c656167,737732,00800080,0501c0a800020200000001",
            ),
        ])
        .unwrap();
        assert_eq!(ask.mac, MacAddr([0x52, 0x54, 0, 0x77, 0, 2]));
        assert_eq!(ask.serial.as_deref(), Some("C02 X&YZ"));
        assert_eq!((ask.model.as_deref(), ask.architecture), (Some("QEMU Standard PC"), Architecture::Arm64));
        let [report, other] = ask.lldp.as_slice() else { panic!("two neighbours: {:?}", ask.lldp) };
        assert_eq!(report.nic, ask.mac);
        assert_eq!(report.port, Some(PortId { subtype: 5, id: b"tap2".to_vec() }));
        assert_eq!(report.chassis.as_ref().map(ToString::to_string).as_deref(), Some("fe:ff:ff:ff:ff:01"));
        assert_eq!((report.system_name.as_deref(), &report.port_description), (Some("sw1"), &None));
        assert_eq!((report.forwards, report.management), (Some(true), None), "half an octet is no address");
        assert_eq!(
            (other.nic, other.port_description.as_deref()),
            (MacAddr([0x52, 0x54, 0, 0x77, 0, 3]), Some("leag"))
        );
        assert_eq!((other.forwards, other.management), (Some(false), Some(IpAddr::from([192, 168, 0, 2]))));
    }

    #[test]
    fn a_bios_machine_says_less() {
        let ask = Ask::from_pairs([
            ("mac", "52-54-00-77-00-01"),
            ("uuid", "00000000-0000-0000-0000-000000000000"),
            ("serial", ""),
            ("platform", "pcbios"),
            ("attempt", "3"),
        ])
        .unwrap();
        assert_eq!((ask.uuid, ask.serial, ask.attempt), (None, None, 3));
        assert_eq!(ask.architecture, Architecture::Amd64);
        assert!(ask.lldp.is_empty());
    }

    #[test]
    fn who_does_not_say_who_it_is_gets_no_answer() {
        assert_eq!(Ask::from_pairs([("uuid", "x")]), Err(AskError::NoMac));
        assert_eq!(Ask::from_pairs([("mac", "01-00-5e-00-00-01")]), Err(AskError::NoMac));
        let twice = [("mac", "52-54-00-77-00-01"), ("mac", "52-54-00-77-00-02")];
        assert_eq!(Ask::from_pairs(twice), Err(AskError::Twice("mac")));
    }

    #[test]
    fn a_broken_tlv_is_left_out_and_the_rest_is_kept() {
        for bad in ["05", "5", "zz74", &"05".repeat(600)] {
            let heard = format!("52-54-00-77-00-01,,{bad},,737731");
            let ask = Ask::from_pairs([("mac", "52-54-00-77-00-01"), ("lldp", &heard)]).unwrap();
            assert_eq!(ask.lldp[0].port, None, "{bad}");
            assert_eq!(ask.lldp[0].system_name.as_deref(), Some("sw1"));
        }
        for nothing in [
            "",
            ",",
            "52-54-00-77-00-01",
            "52-54-00-77-00-01,,,,,,",
            "x,,0574617032",
            "01-00-5e-00-00-01,,0574617032",
        ] {
            let ask = Ask::from_pairs([("mac", "52-54-00-77-00-01"), ("lldp", nothing)]).unwrap();
            assert!(ask.lldp.is_empty(), "{nothing}");
        }
    }

    #[test]
    fn no_machine_has_more_cards_than_the_script_asks() {
        let heard = ("lldp", "52-54-00-77-00-01,,0574617032");
        let pairs = [("mac", "52-54-00-77-00-01")].into_iter().chain([heard; 50]);
        assert_eq!(Ask::from_pairs(pairs).unwrap().lldp.len(), MOST_CARDS);
    }

    #[test]
    fn addresses_of_both_families_are_read_and_nothing_else() {
        assert_eq!(management(&[5, 1, 10, 0, 0, 1, 2]), Some(IpAddr::from([10, 0, 0, 1])));
        let six = [vec![17, 2], vec![0xfd; 16], vec![2, 0, 0, 0, 1, 0]].concat();
        assert_eq!(management(&six), Some(IpAddr::from([0xfd; 16])));
        for other in [&[][..], &[5, 1, 10, 0, 0], &[4, 1, 10, 0, 0], &[7, 6, 2, 0, 0, 0, 0, 1], &[0]] {
            assert_eq!(management(other), None, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn any_query_is_read_without_a_panic(pairs: Vec<(String, String)>, port in "(52-54-00-77-00-01,)?.{0,40}") {
            let mut query: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            query.push(("lldp", &port));
            query.push(("mac", "52-54-00-77-00-01"));
            prop_assert!(Ask::from_pairs(query).is_ok());
        }
    }
}
