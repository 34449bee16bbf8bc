//! The keys of `ichord.yaml` as people write them. Every value that can be faulty by itself is [`Checked`],
//! so that one reading reports all of them.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use document::{Checked, TextOr};
use hardware::{LocalBoot, MacAddr, SwitchPort, SystemUuid};
use ipnet::Ipv4Net;
use serde::{
    Deserialize, Deserializer,
    de::{self, IntoDeserializer, SeqAccess, Visitor},
};

use crate::handover::wire as handover;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct File {
    pub site: Checked<String>,
    pub talconfig: Checked<String>,
    pub secrets: Checked<String>,
    pub network: Checked<Vec<Checked<Network>>>,
    pub switches: Checked<Vec<Checked<Switch>>>,
    pub ignore: Checked<OneOrMore<MacPrefix>>,
    pub relays: Checked<Vec<Checked<Relay>>>,
    pub machines: Checked<BTreeMap<String, Checked<Machine>>>,
    pub trust: Checked<Trust>,
    pub deploy: Checked<Deploy>,
    pub replace: Checked<Replace>,
    pub replacements_per_day: Checked<u8>,
    pub images: Checked<String>,
    pub kernel_args: Checked<Vec<String>>,
    pub local_boot: Checked<BTreeMap<String, Checked<LocalBoot>>>,
    pub https: Checked<Https>,
    pub handover: Checked<Vec<Checked<TextOr<handover::Step>>>>,
    pub snapshots: Checked<Snapshots>,
    pub timing: Checked<Timing>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Network {
    pub interface: String,
    pub subnet: Ipv4Net,
    #[serde(default)]
    pub dhcp: Checked<Dhcp>,
    #[serde(default)]
    pub relayed: Checked<bool>,
    #[serde(default)]
    pub pool: Checked<Pool>,
    #[serde(default)]
    pub pool_for: Checked<PoolFor>,
    #[serde(default)]
    pub router_advertisement: Checked<bool>,
    #[serde(default)]
    pub tftp: Checked<TftpPorts>,
    #[serde(default)]
    pub announce: Checked<bool>,
    #[serde(default)]
    pub gateway: Checked<Ipv4Addr>,
    #[serde(default)]
    pub dns: Checked<Vec<Checked<Ipv4Addr>>>,
    #[serde(default)]
    pub ntp: Checked<Vec<Checked<Ipv4Addr>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Dhcp {
    Proxy,
    Authoritative,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PoolFor {
    Netboot,
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TftpPorts {
    OwnPorts,
    SinglePort,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Switch {
    pub name: String,
    #[serde(default)]
    pub bridge: Option<String>,
    #[serde(default)]
    pub ports: BTreeMap<String, String>,
    #[serde(default)]
    pub also: Checked<OneOrMore<String>>,
    #[serde(default)]
    pub aliases: Checked<BTreeMap<String, OneOrMore<String>>>,
    #[serde(default)]
    pub snmp: Checked<Snmp>,
}

/// How the switch's own tables are read.
#[derive(Debug, Deserialize)]
pub(crate) struct Snmp {
    pub address: Agent,
    pub community: String,
}

/// Who vouches for the boot server.
#[derive(Debug, Deserialize)]
pub(crate) struct Https {
    pub certificate: String,
    pub key: String,
    #[serde(default)]
    pub ipxe: Checked<bool>,
}

/// Who is believed about the ports of its clients, and how it writes them (DHCP option 82).
#[derive(Debug, Deserialize)]
pub(crate) struct Relay {
    pub address: Ipv4Addr,
    pub circuit: String,
    #[serde(default)]
    pub remote: Checked<String>,
    #[serde(default)]
    pub from: Checked<Vec<Checked<Ipv4Addr>>>,
    #[serde(default)]
    pub switch: Checked<String>,
    #[serde(default)]
    pub port: Checked<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Machine {
    pub port: Checked<OneOrMore<SwitchPort>>,
    pub mac: Checked<OneOrMore<MacAddr>>,
    pub uuid: Checked<SystemUuid>,
    pub serial: Checked<String>,
    pub local_boot: Checked<LocalBoot>,
    pub bmc: Checked<OneOrMore<MacAddr>>,
    pub power: Checked<TextOr<Power>>,
}

/// How a machine is switched.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Power {
    pub redfish: Checked<Redfish>,
    pub hook: Checked<Vec<String>>,
    pub within: Checked<Span>,
}

/// A service processor, and who we are there.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Redfish {
    pub address: String,
    pub username: String,
    pub password: String,
    #[serde(default)]
    pub system: Checked<String>,
    #[serde(default)]
    pub certificate: Checked<String>,
    #[serde(default)]
    pub network_boot: Checked<NetworkBoot>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NetworkBoot {
    Pxe,
    Http,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Trust {
    Attested,
    Machine,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Deploy {
    Ask,
    Auto,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Replace {
    Ask,
    SamePort,
}

/// Copies of etcd's data.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Snapshots {
    pub every: Checked<Span>,
    pub keep: Checked<u16>,
    pub copy: Checked<OneOrMore<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Timing {
    pub observe: Checked<Span>,
    pub watch: Checked<Span>,
    pub bootstrap_grace: Checked<Span>,
    pub apply_grace: Checked<Span>,
    pub retry: Checked<Span>,
    pub permit: Checked<Span>,
    pub replace_after: Checked<Span>,
    pub listen: Checked<Span>,
}

/// One value, or a list of them.
#[derive(Debug)]
pub(crate) struct OneOrMore<T>(pub Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMoreVisitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMoreVisitor<T> {
            type Value = OneOrMore<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one value or a list")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                T::deserialize(text.into_deserializer()).map(|one| OneOrMore(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = access.next_element()? {
                    all.push(one);
                }
                Ok(OneOrMore(all))
            }
        }

        deserializer.deserialize_any(OneOrMoreVisitor(std::marker::PhantomData))
    }
}

/// A MAC address, or the first octets of many: `52:54:00`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MacPrefix(pub Vec<u8>);

impl FromStr for MacPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(mac) = text.parse::<MacAddr>() {
            return Ok(Self(mac.0.to_vec()));
        }
        let octet = |part: &str| {
            let octet =
                u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2 && !part.starts_with('+'));
            octet.ok_or_else(|| {
                format!("`{text}` is no MAC address, nor the first octets of one such as 52:54:00")
            })
        };
        let octets: Vec<u8> = text.split([':', '-']).map(octet).collect::<Result<_, _>>()?;
        match octets.len() {
            2..=5 => Ok(Self(octets)),
            _ => Err(format!(
                "`{text}` would be too many addresses; write two octets or more, such as 52:54:00"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for MacPrefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// `172.29.51.100-172.29.51.199`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pool {
    pub first: Ipv4Addr,
    pub last: Ipv4Addr,
}

impl FromStr for Pool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("`{text}` is not a range of addresses such as 172.29.51.100-172.29.51.199");
        let (first, last) = text.split_once('-').ok_or_else(error)?;
        let address = |text: &str| text.trim().parse::<Ipv4Addr>().map_err(|_| error());
        let pool = Self { first: address(first)?, last: address(last)? };
        if pool.first > pool.last {
            return Err(format!("`{text}` ends before it begins"));
        }
        Ok(pool)
    }
}

impl<'de> Deserialize<'de> for Pool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Where an SNMP agent answers: `10.0.0.2`, or `10.0.0.2:1161`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agent(pub SocketAddr);

impl FromStr for Agent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        /// SNMP's own
        const PORT: u16 = 161;
        let address = text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT)));
        address.map(Self).map_err(|_| format!("`{text}` is not an address such as 10.0.0.2, or 10.0.0.2:161"))
    }
}

impl<'de> Deserialize<'de> for Agent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// `500ms`, `2s`, `5m`, `24h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("`{text}` is not a duration such as 500ms, 2s, 5m or 24h");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
        let (number, unit) = text.split_at(digits);
        let number: u32 = number.parse().map_err(|_| error())?;
        let unit = match unit.trim() {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(60 * 60),
            _ => return Err(error()),
        };
        match unit.checked_mul(number) {
            Some(span) if !span.is_zero() => Ok(Self(span)),
            _ => Err(format!("`{text}` must be longer than nothing")),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, expected) in [("500ms", 500), ("2s", 2_000), ("5m", 300_000), ("24h", 86_400_000)] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(expected))), "{text}");
        }
        for text in ["", "2", "s", "0s", "-1s", "2 days", "99999999999s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_by_their_first_octets() {
        assert_eq!("52:54:00".parse(), Ok(MacPrefix(vec![0x52, 0x54, 0])));
        assert_eq!("52-54".parse(), Ok(MacPrefix(vec![0x52, 0x54])));
        assert_eq!("64:4b:f0:00:00:03".parse(), Ok(MacPrefix(vec![0x64, 0x4b, 0xf0, 0, 0, 3])));
        for text in ["", "52", "52:5", "52:54:zz", "52:+4:00", "52:54:00:00:00:00:00"] {
            assert!(text.parse::<MacPrefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_agent_has_its_own_port_unless_another_is_written() {
        for (text, expected) in [
            ("10.0.0.2", "10.0.0.2:161"),
            ("10.0.0.2:1161", "10.0.0.2:1161"),
            ("fd00::2", "[fd00::2]:161"),
            ("[fd00::2]:1161", "[fd00::2]:1161"),
        ] {
            assert_eq!(text.parse(), Ok(Agent(expected.parse().unwrap())), "{text}");
        }
        for text in ["", "sw1", "10.0.0.2:", "10.0.0.2:x", "10.0.0"] {
            assert!(text.parse::<Agent>().is_err(), "{text}");
        }
    }

    #[test]
    fn pools_go_upwards() {
        let pool: Pool = "10.0.0.1 - 10.0.0.9".parse().unwrap();
        assert_eq!((pool.first, pool.last), ([10, 0, 0, 1].into(), [10, 0, 0, 9].into()));
        for text in ["", "10.0.0.1", "10.0.0.9-10.0.0.1", "10.0.0.1-x"] {
            assert!(text.parse::<Pool>().is_err(), "{text}");
        }
    }
}
