//! One piece of evidence about one machine: who said what, when, and for how long it holds.
//!
//! `serve` makes these from frames and the forwarding table, the reconciler from boot questions and
//! maintenance mode; the table ages them and `decide` weighs them.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use hardware::{ChassisId, MacAddr, PortId, SystemUuid};
use serde::{Deserialize, Serialize};

/// How a machine is known: everything it has been called so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Marks {
    /// hardware addresses of its network interfaces
    pub macs: BTreeSet<MacAddr>,
    /// SMBIOS system UUID
    pub uuid: Option<SystemUuid>,
    /// SMBIOS system serial number; many boards share one, so it never joins two sightings
    pub serial: Option<String>,
}

impl Marks {
    /// A machine of which nothing is known but one interface.
    pub fn of_mac(mac: MacAddr) -> Self {
        Self { macs: BTreeSet::from([mac]), ..Self::default() }
    }

    /// The UUID if it tells one machine from another.
    pub fn distinctive_uuid(&self) -> Option<SystemUuid> {
        self.uuid.filter(|uuid| uuid.is_distinctive())
    }

    /// Whether both are surely one machine: a common MAC address or the same distinctive UUID.
    pub fn is_same_machine(&self, other: &Self) -> bool {
        !self.macs.is_disjoint(&other.macs)
            || self.distinctive_uuid().is_some_and(|uuid| other.distinctive_uuid() == Some(uuid))
    }

    /// Adds what `other` knows; what is known already stays.
    pub fn absorb(&mut self, other: &Self) {
        self.macs.extend(&other.macs);
        if self.distinctive_uuid().is_none() {
            self.uuid = other.uuid.or(self.uuid);
        }
        if self.serial.is_none() {
            self.serial.clone_from(&other.serial);
        }
    }

    /// Whether nothing at all is known.
    pub fn is_empty(&self) -> bool {
        self.macs.is_empty() && self.uuid.is_none() && self.serial.is_none()
    }
}

impl fmt::Display for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.macs.iter().map(MacAddr::to_string).collect();
        parts.extend(self.uuid.map(|uuid| format!("uuid {uuid}")));
        parts.extend(self.serial.as_ref().map(|serial| format!("serial {serial:?}")));
        if parts.is_empty() { f.write_str("an unknown machine") } else { f.write_str(&parts.join(", ")) }
    }
}

/// Where a sighting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// iPXE's variables in the boot URL, LLDP neighbours among them
    Ipxe,
    /// the forwarding table of a bridge on the daemon's host
    ForwardingTable,
    /// LLDP that the daemon heard on one of its own ports
    Lldp,
    /// DHCP; with option 82 the relay or switch names the port
    Dhcp,
    /// the machine's own account over the maintenance API
    Maintenance,
    /// the switch's own tables, asked for by SNMP
    SwitchTable,
    /// the machine's own account from the discovery image, LLDP neighbours among it
    Discovery,
    /// the account of the system that is installed, which proves by its certificate to be the node
    Installed,
}

impl Source {
    /// How long evidence of this source holds when it does not say so itself.
    ///
    /// What is repeated while it is true (table, LLDP) ends soon after it stops; what is said once per
    /// boot must last from the boot question to the machine's maintenance mode.
    pub const fn lifetime(self) -> Duration {
        const MINUTE: u64 = 60;
        match self {
            // the interval is refreshed every few seconds; a bridge itself forgets after 300 s
            // and a switch, which is asked every few minutes at least, forgets after as long
            Self::ForwardingTable | Self::SwitchTable => Duration::from_secs(5 * MINUTE),
            // 802.1AB-2016 §9.2.5.22: the usual TTL, used only when a frame's own is unknown
            Self::Lldp => Duration::from_secs(2 * MINUTE),
            Self::Ipxe | Self::Dhcp | Self::Maintenance | Self::Discovery | Self::Installed => {
                Duration::from_secs(15 * MINUTE)
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipxe => "iPXE",
            Self::ForwardingTable => "forwarding table",
            Self::Lldp => "LLDP",
            Self::Dhcp => "DHCP",
            Self::Maintenance => "maintenance mode",
            Self::SwitchTable => "SNMP",
            Self::Discovery => "discovery image",
            Self::Installed => "installed system",
        })
    }
}

/// Who vouches for the port in a sighting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attestor {
    /// a relay or switch that the operator trusts (option 82)
    Switch,
    /// the daemon saw it on its own port
    Daemon,
    /// only the machine itself says so
    Machine,
}

impl fmt::Display for Attestor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Switch => "the switch vouches",
            Self::Daemon => "the daemon saw it",
            Self::Machine => "only the machine says so",
        })
    }
}

/// A switch port as a source named it, before it is compared with the operator's names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Port {
    /// the switch's system name
    pub switch: Option<String>,
    /// the switch's chassis id
    pub chassis: Option<ChassisId>,
    /// the port's id with its LLDP subtype; a name that did not come by LLDP has subtype 5 (ifName)
    pub id: PortId,
    /// the port's description; some switches put the name here and a number or MAC into the id
    pub description: Option<String>,
    /// where the switch can be managed
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub management: Vec<IpAddr>,
    /// whether the sender says that it bridges or routes; a phone, a server and a management controller do not
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwards: Option<bool>,
}

impl Port {
    /// A port of which only its id is known, with its LLDP subtype.
    pub fn of_id(id: PortId) -> Self {
        Self { switch: None, chassis: None, id, description: None, management: Vec::new(), forwards: None }
    }

    /// A port of a switch that runs on the daemon's own host, by the names of the site file.
    pub fn local(switch: &str, name: &str) -> Self {
        let id = PortId { subtype: 5, id: name.as_bytes().to_vec() };
        Self { switch: Some(switch.to_owned()), ..Self::of_id(id) }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.switch, &self.chassis) {
            (Some(switch), _) => write!(f, "{switch}/{}", self.id)?,
            (None, Some(chassis)) => write!(f, "{chassis}/{}", self.id)?,
            (None, None) => write!(f, "an unnamed switch/{}", self.id)?,
        }
        match &self.description {
            Some(text) if *text != self.id.to_string() => write!(f, " ({text})"),
            _ => Ok(()),
        }
    }
}

/// What a relay or a snooping switch added to a machine's DHCP (option 82), not yet read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarded {
    /// the relay's address in the packet; unspecified when a switch only added the option
    pub relay: Ipv4Addr,
    /// the address that the packet came from
    pub from: Ipv4Addr,
    /// sub-option 1
    pub circuit: Option<Vec<u8>>,
    /// sub-option 2
    pub remote: Option<Vec<u8>>,
}

/// One piece of evidence about a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// what the source calls the machine; empty only in [`Sighting::port_emptied`]
    pub machine: Marks,
    /// the interface of the machine that hangs on the port, where the source tells
    pub nic: Option<MacAddr>,
    /// where it is; `None` when the source knows the machine but not its port
    pub port: Option<Port>,
    /// where this comes from
    pub source: Source,
    /// who vouches for the port
    pub attestor: Attestor,
    /// when it was seen, in milliseconds since the Unix epoch
    pub at: u64,
    /// how long it holds from then on; zero withdraws what the source said before
    pub lifetime: Duration,
    /// what was on the wire, for people
    pub raw: String,
    /// option 82, which a relay of the site file makes a port
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<Forwarded>,
}

impl Sighting {
    /// A sighting that holds as long as its source's do. Who vouches follows from the source: the daemon
    /// for its own table and ports, the machine for what it says itself; DHCP starts as the machine's word,
    /// and the caller says [`Attestor::Switch`] when a trusted relay put option 82 in.
    pub fn new(source: Source, machine: Marks, at: u64) -> Self {
        let attestor = match source {
            Source::ForwardingTable | Source::Lldp => Attestor::Daemon,
            Source::SwitchTable => Attestor::Switch,
            Source::Ipxe | Source::Dhcp | Source::Maintenance | Source::Discovery | Source::Installed => {
                Attestor::Machine
            }
        };
        let lifetime = source.lifetime();
        let (raw, forwarded) = (String::new(), None);
        Self { machine, nic: None, port: None, source, attestor, at, lifetime, raw, forwarded }
    }

    /// The port lost its link: whoever was there has been unplugged or switched off, so that no source's
    /// older evidence about this port holds any more.
    pub fn port_emptied(port: Port, at: u64) -> Self {
        Self {
            port: Some(port),
            lifetime: Duration::ZERO,
            ..Self::new(Source::ForwardingTable, Marks::default(), at)
        }
    }

    /// With the port and, where known, the machine's interface on it.
    #[must_use]
    pub fn on(mut self, nic: Option<MacAddr>, port: Port) -> Self {
        self.nic = nic;
        self.port = Some(port);
        self
    }

    /// The first millisecond at which it no longer holds.
    pub fn ends(&self) -> u64 {
        self.at.saturating_add(u64::try_from(self.lifetime.as_millis()).unwrap_or(u64::MAX))
    }

    /// Whether it still counts.
    pub fn holds(&self, now: u64) -> bool {
        now < self.ends()
    }
}
