//! The LLDP data unit: its TLVs, read as 802.1AB-2016 §9.2.7.7 says and written in the order of §8.2.
//!
//! Identifiers keep their subtype and bytes; text becomes UTF-8 with what is not replaced; what is not known
//! here is kept raw.
//!
//! ```text
//!  0                   1
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5
//! +-------------+-----------------+----------------- - -
//! |  type (7)   |   length (9)    |  value (0–511 octets)
//! +-------------+-----------------+----------------- - -
//! ```

use std::net::IpAddr;

use hardware::{ChassisId, PortId};

use crate::frame::ParseError;

const END: u8 = 0;
const CHASSIS_ID: u8 = 1;
const PORT_ID: u8 = 2;
const TIME_TO_LIVE: u8 = 3;
const PORT_DESCRIPTION: u8 = 4;
const SYSTEM_NAME: u8 = 5;
const SYSTEM_DESCRIPTION: u8 = 6;
const SYSTEM_CAPABILITIES: u8 = 7;
const MANAGEMENT_ADDRESS: u8 = 8;
const ORGANIZATION: u8 = 127;

/// The longest value a TLV header can say.
const LONGEST: usize = 511;

/// What one station says of itself on one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// who sends
    pub chassis: ChassisId,
    /// from which port
    pub port: PortId,
    /// seconds for which it holds; 0 withdraws it at once (§8.5.4)
    pub ttl: u16,
    /// the port's description
    pub port_description: Option<String>,
    /// the system's name
    pub system_name: Option<String>,
    /// what the system is: model and software
    pub system_description: Option<String>,
    /// what the system can do
    pub capabilities: Option<Capabilities>,
    /// where the system can be managed
    pub management: Vec<ManagementAddress>,
    /// TLVs of organizations (802.1, 802.3, MED, vendors), as they came
    pub organizations: Vec<Organization>,
    /// TLVs that are not understood, types and values as they came
    pub other: Vec<(u8, Vec<u8>)>,
}

/// System Capabilities TLV (§8.5.8), bit by bit as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// what it could do
    pub supported: u16,
    /// what it does
    pub enabled: u16,
}

impl Capabilities {
    /// MAC bridge (table 8-4)
    pub const BRIDGE: u16 = 1 << 2;
    /// WLAN access point
    pub const ACCESS_POINT: u16 = 1 << 3;
    /// Router
    pub const ROUTER: u16 = 1 << 4;
    /// Station only
    pub const STATION: u16 = 1 << 7;

    /// Whether it passes on what others send, as switches, access points and routers do: its port is one that somebody
    /// else is plugged into.
    pub fn forwards(self) -> bool {
        self.enabled & (Self::BRIDGE | Self::ACCESS_POINT | Self::ROUTER) != 0
    }

    /// Whether all of these are in use.
    pub fn does(self, capabilities: u16) -> bool {
        self.enabled & capabilities == capabilities
    }
}

/// Management Address TLV (§8.5.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagementAddress {
    /// IANA address family: 1 IPv4, 2 IPv6, 6 MAC
    pub family: u8,
    /// 1 to 31 octets
    pub address: Vec<u8>,
    /// how the interface is numbered: 1 unknown, 2 ifIndex, 3 system port number
    pub interface_kind: u8,
    /// the interface's number
    pub interface: u32,
    /// object identifier, up to 128 octets of its encoding
    pub object: Vec<u8>,
}

impl ManagementAddress {
    /// The address, if it is one of IP.
    pub fn ip(&self) -> Option<IpAddr> {
        match self.family {
            1 => <[u8; 4]>::try_from(self.address.as_slice()).ok().map(IpAddr::from),
            2 => <[u8; 16]>::try_from(self.address.as_slice()).ok().map(IpAddr::from),
            _ => None,
        }
    }
}

/// Organizationally Specific TLV (§8.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// whose
    pub oui: [u8; 3],
    /// which of theirs
    pub subtype: u8,
    /// up to 507 octets
    pub value: Vec<u8>,
}

impl Announcement {
    /// The least that can be said.
    pub fn new(chassis: ChassisId, port: PortId, ttl: u16) -> Self {
        Self {
            chassis,
            port,
            ttl,
            port_description: None,
            system_name: None,
            system_description: None,
            capabilities: None,
            management: Vec::new(),
            organizations: Vec::new(),
            other: Vec::new(),
        }
    }

    /// Reads a data unit. The three mandatory TLVs must come first, each once; of others that should come
    /// once the first counts; a known TLV with a value too short for its type is kept raw.
    pub(crate) fn parse(unit: &[u8]) -> Result<Self, ParseError> {
        let mut tlvs = Tlvs(unit);
        let (subtype, id) = identifier(tlvs.mandatory(CHASSIS_ID)?).ok_or(ParseError::ChassisId)?;
        let chassis = ChassisId { subtype, id };
        let (subtype, id) = identifier(tlvs.mandatory(PORT_ID)?).ok_or(ParseError::PortId)?;
        let port = PortId { subtype, id };
        let ttl = tlvs.mandatory(TIME_TO_LIVE)?.first_chunk().ok_or(ParseError::TimeToLive)?;
        let mut result = Self::new(chassis, port, u16::from_be_bytes(*ttl));
        while let Some((kind, value)) = tlvs.next()? {
            match kind {
                CHASSIS_ID | PORT_ID | TIME_TO_LIVE => return Err(ParseError::Order { kind }),
                _ if result.take(kind, value).is_none() => result.other.push((kind, value.to_vec())),
                _ => {}
            }
        }
        Ok(result)
    }

    /// Takes an optional TLV in; `None` when it is not understood.
    fn take(&mut self, kind: u8, value: &[u8]) -> Option<()> {
        match kind {
            PORT_DESCRIPTION => first(&mut self.port_description, line(value)),
            SYSTEM_NAME => first(&mut self.system_name, line(value)),
            SYSTEM_DESCRIPTION => first(&mut self.system_description, text(value)),
            SYSTEM_CAPABILITIES => {
                let [a, b, c, d] = *value.first_chunk()?;
                let capabilities = Capabilities {
                    supported: u16::from_be_bytes([a, b]),
                    enabled: u16::from_be_bytes([c, d]),
                };
                first(&mut self.capabilities, capabilities);
            }
            MANAGEMENT_ADDRESS => self.management.push(management(value)?),
            ORGANIZATION => {
                let ([a, b, c, subtype], value) = value.split_first_chunk()?;
                let organization =
                    Organization { oui: [*a, *b, *c], subtype: *subtype, value: value.to_vec() };
                self.organizations.push(organization);
            }
            _ => return None,
        }
        Some(())
    }

    /// Writes the data unit with its end marker. Values longer than the standard allows are cut.
    pub(crate) fn write(&self, unit: &mut Vec<u8>) {
        push(unit, CHASSIS_ID, &[&[self.chassis.subtype], cut(&self.chassis.id, 255)]);
        push(unit, PORT_ID, &[&[self.port.subtype], cut(&self.port.id, 255)]);
        push(unit, TIME_TO_LIVE, &[&self.ttl.to_be_bytes()]);
        let texts = [
            (PORT_DESCRIPTION, &self.port_description),
            (SYSTEM_NAME, &self.system_name),
            (SYSTEM_DESCRIPTION, &self.system_description),
        ];
        for (kind, text) in texts {
            if let Some(text) = text {
                push(unit, kind, &[cut_text(text, 255).as_bytes()]);
            }
        }
        if let Some(Capabilities { supported, enabled }) = self.capabilities {
            push(unit, SYSTEM_CAPABILITIES, &[&supported.to_be_bytes(), &enabled.to_be_bytes()]);
        }
        for management in &self.management {
            let address = cut(&management.address, 31);
            let object = cut(&management.object, 128);
            push(
                unit,
                MANAGEMENT_ADDRESS,
                &[
                    &[octets(address.len() + 1), management.family],
                    address,
                    &[management.interface_kind],
                    &management.interface.to_be_bytes(),
                    &[octets(object.len())],
                    object,
                ],
            );
        }
        for organization in &self.organizations {
            push(
                unit,
                ORGANIZATION,
                &[&organization.oui, &[organization.subtype], cut(&organization.value, 507)],
            );
        }
        for (kind, value) in &self.other {
            push(unit, *kind, &[cut(value, LONGEST)]);
        }
        push(unit, END, &[]);
    }
}

/// The TLVs that are left.
struct Tlvs<'a>(&'a [u8]);

impl<'a> Tlvs<'a> {
    /// The next TLV; `None` at the end marker, or where a station left it out (allowed since 802.1AB-2016).
    fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, ParseError> {
        let (head, rest) = match self.0 {
            [] => return Ok(None),
            [a, b, rest @ ..] => (u16::from_be_bytes([*a, *b]), rest),
            [_] => return Err(ParseError::Length { kind: END }),
        };
        let [kind, _] = (head >> 1).to_be_bytes();
        if kind == END {
            // what follows is padding to the shortest Ethernet frame
            self.0 = &[];
            return Ok(None);
        }
        let (value, rest) =
            rest.split_at_checked(usize::from(head & 0x1ff)).ok_or(ParseError::Length { kind })?;
        self.0 = rest;
        Ok(Some((kind, value)))
    }

    fn mandatory(&mut self, wanted: u8) -> Result<&'a [u8], ParseError> {
        match self.next()? {
            Some((kind, value)) if kind == wanted => Ok(value),
            _ => Err(ParseError::Order { kind: wanted }),
        }
    }
}

/// Subtype and 1 to 255 octets.
fn identifier(value: &[u8]) -> Option<(u8, Vec<u8>)> {
    match value {
        [subtype, id @ ..] if (1..=255).contains(&id.len()) => Some((*subtype, id.to_vec())),
        _ => None,
    }
}

fn management(value: &[u8]) -> Option<ManagementAddress> {
    let (length, rest) = value.split_first()?;
    let (address, rest) = rest.split_at_checked(usize::from(*length))?;
    let (family, address) = address.split_first()?;
    let ([interface_kind, a, b, c, d], rest) = rest.split_first_chunk()?;
    // the length of the object identifier is mandatory, but it costs nothing to do without
    let object = match rest.split_first() {
        Some((length, rest)) => rest.get(..usize::from(*length))?,
        None => &[],
    };
    (1..=31).contains(&address.len()).then(|| ManagementAddress {
        family: *family,
        address: address.to_vec(),
        interface_kind: *interface_kind,
        interface: u32::from_be_bytes([*a, *b, *c, *d]),
        object: object.to_vec(),
    })
}

/// Text of several lines; some stations end it with zeros.
fn text(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let shown = |c: char| {
        if c.is_control() && !matches!(c, '\n' | '\r' | '\t') { char::REPLACEMENT_CHARACTER } else { c }
    };
    text.trim_end_matches('\0').chars().map(shown).collect()
}

/// A name: nothing in it may move a terminal's cursor.
fn line(value: &[u8]) -> String {
    text(value).chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn first<T>(place: &mut Option<T>, value: T) {
    place.get_or_insert(value);
}

fn push(unit: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let length = parts.iter().map(|part| part.len()).sum::<usize>().min(LONGEST);
    let head = u16::from(kind & 0x7f) << 9 | u16::try_from(length).unwrap_or_default();
    unit.extend(head.to_be_bytes());
    unit.extend(parts.iter().copied().flatten().take(length));
}

fn cut(value: &[u8], longest: usize) -> &[u8] {
    value.get(..longest).unwrap_or(value)
}

/// Cut between characters, so that what is left is still text.
fn cut_text(text: &str, longest: usize) -> &str {
    let end = (0..=longest).rev().find(|end| text.is_char_boundary(*end));
    end.and_then(|end| text.get(..end)).filter(|_| text.len() > longest).unwrap_or(text)
}

/// A length that was cut to less than 256 before.
fn octets(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}
