//! How a machine is switched on and off. A password is a secret and stands in a file or a reference.

use std::{collections::BTreeMap, fmt, path::Path, time::Duration};

use document::{Document, Findings, Place, TextOr};
use zeroize::Zeroizing;

use crate::{
    load::{ELSEWHERE, Files},
    model::Site,
    wire,
};

/// What a range's lines are filled with.
const NODE: &str = "{node}";
/// How long a hook may take where the site does not say it.
const WITHIN: Duration = Duration::from_secs(60);
/// HTTPS's own.
const PORT: u16 = 443;

/// How a machine is switched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Power {
    /// its service processor
    Redfish(Redfish),
    /// a packet on its wire, which can only switch it on
    WakeOnLan,
    /// a program and its arguments, without a shell
    Hook {
        /// the program first
        command: Vec<String>,
        /// how long it may take
        within: Duration,
    },
}

/// A service processor.
#[derive(Clone, PartialEq, Eq)]
pub struct Redfish {
    /// a name or an address
    pub host: String,
    /// of HTTPS
    pub port: u16,
    /// which of its systems
    pub system: Option<String>,
    /// who we are there
    pub username: String,
    /// SHA-256 of its certificate; otherwise the first one that is seen counts
    pub certificate: Option<[u8; 32]>,
    /// whether it boots from the network by HTTP instead of PXE
    pub http_boot: bool,
    /// where the password is
    pub(crate) reference: String,
    pub(crate) password: Zeroizing<String>,
}

impl Redfish {
    /// The password itself.
    pub fn expose(&self) -> &Zeroizing<String> {
        &self.password
    }
}

impl fmt::Debug for Redfish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redfish({}:{}, password in {})", self.host, self.port, self.reference)
    }
}

/// What each line under `machines` says of power, by its key.
pub(crate) fn powers(
    machines: &BTreeMap<String, Option<TextOr<wire::Power>>>,
    place: Place<'_>,
    findings: &mut Findings,
) -> BTreeMap<String, Power> {
    let mut powers = BTreeMap::new();
    for (key, power) in machines {
        let Some(power) = power else { continue };
        let here = place.key(key).key("power");
        match convert(power, key, here, findings) {
            Ok(power) => {
                powers.insert(key.clone(), power);
            }
            Err(Some(message)) => findings.push(here.error("power", message).fix(FIX)),
            Err(None) => {}
        }
    }
    powers
}

const FIX: &str = "write `power: wake-on-lan`, `power: { redfish: { address, username, password } }` or \
                   `power: { hook: [PROGRAM, ARGUMENT] }`";

/// `None` where the fault was reported as what it is.
fn convert(
    power: &TextOr<wire::Power>,
    key: &str,
    place: Place<'_>,
    findings: &mut Findings,
) -> Result<Power, Option<String>> {
    let wire::Power { redfish, hook, within } = match power {
        TextOr::Text(word) if word == "wake-on-lan" => return Ok(Power::WakeOnLan),
        TextOr::Text(word) => return Err(Some(format!("`{word}` is no way to switch a machine"))),
        TextOr::Whole(power) => power,
    };
    let written = |key: &str| place.node().is_some_and(|node| node.entry(key).is_some());
    match (&redfish.0, &hook.0) {
        (None, None) if written("redfish") || written("hook") => Err(None),
        (None, None) => Err(Some("nothing says how the machine is switched".to_owned())),
        (Some(_), Some(_)) => Err(Some("a machine is switched in one way, and here are two".to_owned())),
        (None, Some(command)) if command.iter().all(|part| part.is_empty()) => {
            Err(Some("the hook names no program".to_owned()))
        }
        (None, Some(command)) => {
            let within = within.0.map_or(WITHIN, |span| span.0);
            Ok(Power::Hook { command: command.clone(), within })
        }
        (Some(redfish), None) => {
            let place = place.key("redfish");
            match self::redfish(redfish, key) {
                Ok(redfish) => Ok(Power::Redfish(redfish)),
                Err((key, message, fix)) => {
                    findings.push(place.key(key).error("power", message).fix(fix));
                    Err(None)
                }
            }
        }
    }
}

fn redfish(wire: &wire::Redfish, key: &str) -> Result<Redfish, (&'static str, String, &'static str)> {
    let address = &wire.address;
    let wrong = |message: String| ("address", message, "write it as https://HOST or https://HOST:PORT");
    let rest = address.strip_prefix("https://");
    let rest = rest.ok_or_else(|| wrong(format!("`{address}` is no address of HTTPS")))?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match (rest.strip_prefix('['), rest.rsplit_once(':')) {
        (Some(bracketed), _) => match bracketed.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => return Err(wrong(format!("`{address}` has half a bracket"))),
        },
        (None, Some((host, port))) => (host, Some(port)),
        (None, None) => (rest, None),
    };
    let port = match port {
        Some(port) => port.parse().map_err(|_| wrong(format!("`{port}` is no port")))?,
        None => PORT,
    };
    let is_fine = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    if host.is_empty() || !host.replace(NODE, "node").chars().all(is_fine) {
        return Err(wrong(format!("`{address}` names no host")));
    }
    if key.contains("..") && !host.contains(NODE) {
        let message = format!("`{key}` are several machines, and {host} is the service processor of one");
        return Err(("address", message, "put {node} where the node's name stands: https://{node}-bmc"));
    }
    let certificate = match &wire.certificate.0 {
        Some(text) => Some(digest(text).ok_or_else(|| {
            let message = format!("`{text}` is no SHA-256 of a certificate");
            (
                "certificate",
                message,
                "it has 64 hexadecimal digits; `openssl x509 -fingerprint -sha256` shows them",
            )
        })?),
        None => None,
    };
    Ok(Redfish {
        host: host.to_owned(),
        port,
        system: wire.system.0.clone(),
        username: wire.username.clone(),
        certificate,
        http_boot: wire.network_boot.0 == Some(wire::NetworkBoot::Http),
        reference: wire.password.clone(),
        password: Zeroizing::default(),
    })
}

/// With or without colons between the octets.
fn digest(text: &str) -> Option<[u8; 32]> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut octets = [0; 32];
    for (at, octet) in octets.iter_mut().enumerate() {
        *octet = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(octets)
}

/// Reads the passwords, and gives every slot its own way of being switched.
pub(crate) fn passwords(
    site: &mut Site,
    document: &Document,
    directory: &Path,
    files: &dyn Files,
    findings: &mut Findings,
) {
    let root = document.place().key("machines");
    for (key, power) in &mut site.power {
        let Power::Redfish(redfish) = power else { continue };
        let reference = &redfish.reference;
        let path = match ELSEWHERE.iter().any(|prefix| reference.starts_with(prefix)) {
            true => reference.into(),
            false => directory.join(reference),
        };
        let message = match files.read(&path).map(Zeroizing::new) {
            Ok(text) if !text.trim().is_empty() => {
                redfish.password = Zeroizing::new(text.trim().to_owned());
                continue;
            }
            Ok(_) => format!("the password in `{reference}` is empty"),
            Err(error) => format!("the password in `{reference}` cannot be read: {error}"),
        };
        let finding = root.key(key).key("power").key("redfish").key("password");
        let finding = finding.error("power-password", message);
        findings.push(finding.fix("name a file beside this one that holds it, `op://VAULT/ITEM/FIELD`, `env:NAME` or `credential:NAME`"));
    }
}

impl Site {
    /// How a node's machine is switched; by hand where the site says nothing.
    pub fn power(&self, node: &str) -> Option<Power> {
        let mut power = self.power.get(self.key_of(node))?.clone();
        if let Power::Redfish(redfish) = &mut power {
            redfish.host = redfish.host.replace(NODE, node);
        }
        Some(power)
    }

    /// Where a person finds a node's machine: its switch ports, or what else tells it.
    pub fn place(&self, node: &str) -> String {
        let Some(slot) = self.slots.iter().find(|slot| slot.name == node) else { return String::new() };
        let all = |list: Vec<String>| (!list.is_empty()).then(|| list.join(" and "));
        let ports = all(slot.ports.iter().map(|port| format!("port {port}")).collect());
        let macs = || all(slot.macs.iter().map(|mac| format!("card {mac}")).collect());
        let uuid = || slot.uuid.map(|uuid| format!("UUID {uuid}"));
        let serial = || slot.serial.as_ref().map(|serial| format!("serial number {serial}"));
        ports.or_else(macs).or_else(uuid).or_else(serial).unwrap_or_default()
    }
}
