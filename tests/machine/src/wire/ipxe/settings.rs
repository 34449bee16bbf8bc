//! iPXE's settings: what `${…}` finds, and the forms it can be shown in.

use std::{collections::BTreeMap, net::Ipv4Addr};

use hardware::{MacAddr, SystemUuid};
use ipnet::IpNet;

/// The switch's last LLDP frame: the TLVs by type, each with its index among those of the type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Neighbour(BTreeMap<(u8, usize), Vec<u8>>);

impl Neighbour {
    /// Reads the TLVs of an LLDP frame behind its Ethernet header (802.1AB-2016 §8.4); none when they are
    /// not well formed.
    pub fn read(mut pdu: &[u8]) -> Option<Self> {
        let mut neighbour = Self::default();
        loop {
            let (head, rest) = pdu.split_first_chunk::<2>()?;
            let head = u16::from_be_bytes(*head);
            let kind = u8::try_from(head >> 9).ok()?;
            let (value, rest) = rest.split_at_checked(usize::from(head & 0x1ff))?;
            if kind == 0 {
                return Some(neighbour);
            }
            let index = neighbour.0.keys().filter(|(other, _)| *other == kind).count();
            neighbour.0.insert((kind, index), value.to_vec());
            pdu = rest;
        }
    }

    /// A value by `[prefix bytes.]type.index.offset.length`; a length of 0 means the rest. A prefix picks
    /// among the TLVs of the type that begin with it; the offset counts from the value's start.
    fn value(&self, name: &str) -> Option<Vec<u8>> {
        let numbers: Vec<usize> = name.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        let split = numbers.len().checked_sub(4)?;
        let (prefix, [kind, index, offset, length]) = numbers.split_at_checked(split)? else {
            return None;
        };
        let prefix: Vec<u8> = prefix.iter().map(|&byte| u8::try_from(byte).ok()).collect::<Option<_>>()?;
        let kind = u8::try_from(*kind).ok()?;
        let of_kind = self.0.iter().filter(|((other, _), _)| *other == kind).map(|(_, value)| value);
        let value = of_kind.filter(|value| value.starts_with(&prefix)).nth(*index)?;
        let rest = value.get(*offset..)?;
        let end = if *length == 0 { rest.len() } else { *length };
        rest.get(..end).map(<[u8]>::to_vec)
    }
}

/// The machine's settings and the script's variables.
#[derive(Debug, Clone)]
pub struct Settings {
    /// of the interface that boots
    pub mac: MacAddr,
    /// SMBIOS
    pub uuid: SystemUuid,
    /// SMBIOS
    pub serial: String,
    /// `efi` or `pcbios`
    pub platform: &'static str,
    /// the interface's neighbour; only UEFI builds of iPXE listen
    pub neighbour: Option<Neighbour>,
    /// the address that the interface has, with its gateway
    pub lease: Option<(IpNet, Option<Ipv4Addr>)>,
    variables: BTreeMap<String, String>,
}

impl Settings {
    /// Before any script.
    pub fn new(mac: MacAddr, uuid: SystemUuid, serial: &str, platform: &'static str) -> Self {
        let (neighbour, lease) = (None, None);
        Self { mac, uuid, serial: serial.to_owned(), platform, neighbour, lease, variables: BTreeMap::new() }
    }

    pub(super) fn set(&mut self, name: String, value: String) {
        self.variables.insert(name, value);
    }

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Replaces every `${…}`; what is not set becomes nothing.
    pub(super) fn expand(&self, text: &str) -> String {
        let mut expanded = text.to_owned();
        // the innermost first, as iPXE does, and a bound on what refers to itself
        for _ in 0..64 {
            let Some(start) = expanded.rfind("${") else {
                break;
            };
            let Some(length) = expanded.get(start..).and_then(|rest| rest.find('}')) else {
                break;
            };
            let name = expanded.get(start + 2..start + length).unwrap_or_default();
            let value = self.value(name);
            expanded.replace_range(start..=start + length, &value);
        }
        expanded
    }

    fn leased(&self, of: impl Fn(&(IpNet, Option<Ipv4Addr>)) -> Option<String>) -> Vec<u8> {
        self.lease.as_ref().and_then(of).unwrap_or_default().into_bytes()
    }

    fn value(&self, expression: &str) -> String {
        let (name, form) = match expression.split_once(':') {
            Some((name, form)) => (name, Some(form)),
            None => (expression, None),
        };
        let (bytes, own_form) = match name {
            "uuid" => (self.uuid.to_string().into_bytes(), "string"),
            "serial" => (self.serial.clone().into_bytes(), "string"),
            "platform" => (self.platform.as_bytes().to_vec(), "string"),
            "buildarch" => (b"x86_64".to_vec(), "string"),
            "netX/ip" => (self.leased(|(address, _)| Some(address.addr().to_string())), "string"),
            "netX/netmask" => (self.leased(|(address, _)| Some(address.netmask().to_string())), "string"),
            "netX/gateway" => (self.leased(|(_, gateway)| Some(gateway.as_ref()?.to_string())), "string"),
            "net0/mac" | "netX/mac" | "mac" => (self.mac.0.to_vec(), "hex"),
            name => match name.split_once(".lldp/") {
                Some(("net0" | "netX", path)) => {
                    let value = self.neighbour.as_ref().and_then(|neighbour| neighbour.value(path));
                    (value.unwrap_or_default(), "hexraw")
                }
                _ => (self.variable(name).unwrap_or_default().as_bytes().to_vec(), "string"),
            },
        };
        show(&bytes, form.unwrap_or(own_form))
    }
}

fn show(bytes: &[u8], form: &str) -> String {
    let separated = |separator: &str| {
        let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        pairs.join(separator)
    };
    match form {
        "hex" => separated(":"),
        "hexhyp" => separated("-"),
        "hexraw" => separated(""),
        "uristring" => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            let encode =
                |&byte: &u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
            bytes.iter().map(encode).collect()
        }
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}
