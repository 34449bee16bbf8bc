//! What iPXE says about its machine when it asks what to boot: the query of `/boot/ask`.
//!
//! Every field comes from outside and may lie. Nothing here is believed; it is only brought into form
//! for `identity`, and whatever does not parse is left out or refused with a sentence.

use hardware::{ChassisId, MacAddr, PortId, SystemUuid};
use serde::{Deserialize, Serialize};

/// The longest value of an LLDP TLV (802.1AB-2016 §8.4.2: nine bits of length).
const LONGEST_TLV: usize = 511;
/// Longer texts are no serial number, no platform; SMBIOS strings are 64 octets where anybody counts.
const LONGEST_TEXT: usize = 255;

/// What a machine's own iPXE heard from the switch it is plugged into.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LldpReport {
    /// Chassis ID TLV
    pub chassis: Option<ChassisId>,
    /// Port ID TLV
    pub port: Option<PortId>,
    /// System Name TLV
    pub system_name: Option<String>,
    /// Port Description TLV
    pub port_description: Option<String>,
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
    /// SMBIOS manufacturer and product: `Apple Inc. Macmini8,1`
    pub model: Option<String>,
    /// how often this boot has asked before; 0 the first time
    pub attempt: u32,
    /// LLDP neighbours; none from a BIOS build, which has no LLDP
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
        let report = LldpReport {
            chassis: fields.chassis.and_then(identifier).map(|(subtype, id)| ChassisId { subtype, id }),
            port: fields.port.and_then(identifier).map(|(subtype, id)| PortId { subtype, id }),
            system_name: fields.system.and_then(hex_text),
            port_description: fields.description.and_then(hex_text),
        };
        let heard = report.chassis.is_some() || report.port.is_some() || report.system_name.is_some();
        let uuid = fields.uuid.and_then(|text| text.parse::<SystemUuid>().ok());
        Ok(Self {
            mac,
            uuid: uuid.filter(|uuid| uuid.is_distinctive()),
            serial: fields.serial.and_then(hex_text),
            platform: fields.platform.and_then(text),
            model: model(fields.manufacturer.and_then(hex_text), fields.product.and_then(hex_text)),
            attempt: fields.attempt.and_then(|text| text.parse().ok()).unwrap_or(0),
            lldp: if heard { vec![report] } else { Vec::new() },
        })
    }
}

#[derive(Default)]
struct Fields<'a> {
    mac: Option<&'a str>,
    uuid: Option<&'a str>,
    serial: Option<&'a str>,
    platform: Option<&'a str>,
    manufacturer: Option<&'a str>,
    product: Option<&'a str>,
    attempt: Option<&'a str>,
    chassis: Option<&'a str>,
    port: Option<&'a str>,
    system: Option<&'a str>,
    description: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn take(&mut self, name: &str, value: &'a str) -> Result<(), AskError> {
        let (field, name) = match name {
            "mac" => (&mut self.mac, "mac"),
            "uuid" => (&mut self.uuid, "uuid"),
            "serial" => (&mut self.serial, "serial"),
            "platform" => (&mut self.platform, "platform"),
            "manufacturer" => (&mut self.manufacturer, "manufacturer"),
            "product" => (&mut self.product, "product"),
            "attempt" => (&mut self.attempt, "attempt"),
            "lldp-chassis" => (&mut self.chassis, "lldp-chassis"),
            "lldp-port" => (&mut self.port, "lldp-port"),
            "lldp-system" => (&mut self.system, "lldp-system"),
            "lldp-description" => (&mut self.description, "lldp-description"),
            _ => return Ok(()),
        };
        match field.replace(value) {
            Some(_) => Err(AskError::Twice(name)),
            None => Ok(()),
        }
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
            ("attempt", "0"),
            ("manufacturer", "51454d55"),
            ("product", "5374616e64617264205043"),
            ("lldp-chassis", "04feffffffff01"),
            ("lldp-port", "0574617032"),
            ("lldp-system", "737731"),
            ("lldp-description", ""),
        ])
        .unwrap();
        assert_eq!(ask.mac, MacAddr([0x52, 0x54, 0, 0x77, 0, 2]));
        assert_eq!(ask.serial.as_deref(), Some("C02 X&YZ"));
        assert_eq!(ask.model.as_deref(), Some("QEMU Standard PC"));
        let [report] = ask.lldp.as_slice() else { panic!("one neighbour: {:?}", ask.lldp) };
        assert_eq!(report.port, Some(PortId { subtype: 5, id: b"tap2".to_vec() }));
        assert_eq!(report.chassis.as_ref().map(ToString::to_string).as_deref(), Some("fe:ff:ff:ff:ff:01"));
        assert_eq!((report.system_name.as_deref(), &report.port_description), (Some("sw1"), &None));
    }

    #[test]
    fn a_bios_machine_says_less() {
        let ask = Ask::from_pairs([
            ("mac", "52-54-00-77-00-01"),
            ("uuid", "00000000-0000-0000-0000-000000000000"),
            ("serial", ""),
            ("platform", "pcbios"),
            ("attempt", "3"),
            ("lldp-chassis", ""),
            ("lldp-port", ""),
            ("lldp-system", ""),
        ])
        .unwrap();
        assert_eq!((ask.uuid, ask.serial, ask.attempt), (None, None, 3));
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
            let pairs = [("mac", "52-54-00-77-00-01"), ("lldp-port", bad), ("lldp-system", "737731")];
            let ask = Ask::from_pairs(pairs).unwrap();
            assert_eq!(ask.lldp[0].port, None, "{bad}");
            assert_eq!(ask.lldp[0].system_name.as_deref(), Some("sw1"));
        }
    }

    proptest! {
        #[test]
        fn any_query_is_read_without_a_panic(pairs: Vec<(String, String)>, port in ".{0,40}") {
            let mut query: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            query.push(("lldp-port", &port));
            query.push(("mac", "52-54-00-77-00-01"));
            prop_assert!(Ask::from_pairs(query).is_ok());
        }
    }
}
