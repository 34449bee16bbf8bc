//! `networkInterfaces` of a node: Talos's older form of network configuration (talos.md appendix A).
//!
//! Read from talconfig.yaml, written as they are for contracts before 1.12, and turned into documents by
//! `network` from 1.12 on. What can hold a password has no `Debug`.

use hardware::MacAddr;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A network interface (`machine.network.interfaces`).
#[derive(Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Device {
    /// kernel name
    #[serde(skip_serializing_if = "String::is_empty")]
    pub interface: String,
    /// picks the link by what it is
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_selector: Option<DeviceSelector>,
    /// addresses with their prefix length
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// deprecated form of one address
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cidr: String,
    /// static routes
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// several links as one
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bond: Option<Bond>,
    /// a bridge
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<Bridge>,
    /// the bridge this link is part of
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge_port: Option<Value>,
    /// VLANs on it
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<Vlan>,
    /// bytes
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// whether addresses come by DHCP
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<bool>,
    /// leave the link alone
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore: Option<bool>,
    /// a dummy interface
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dummy: Option<bool>,
    /// options of the DHCP client
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dhcp_options: Option<DhcpOptions>,
    /// a WireGuard interface
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wireguard: Option<Wireguard>,
    /// the shared address of the control planes
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip: Option<Vip>,
}

/// What a link must be like; globs with `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceSelector {
    /// `/pci0000:00/…`
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bus_path: String,
    /// current hardware address
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hardware_addr: String,
    /// burnt-in hardware address
    #[serde(skip_serializing_if = "String::is_empty")]
    pub permanent_addr: String,
    /// vendor and device
    #[serde(rename = "pciID", skip_serializing_if = "String::is_empty")]
    pub pci_id: String,
    /// kernel driver
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// a real one, or not
    #[serde(skip_serializing_if = "Option::is_none")]
    pub physical: Option<bool>,
}

impl DeviceSelector {
    /// The one hardware address it asks for, if that is not a pattern.
    pub fn mac(&self) -> Option<MacAddr> {
        [&self.permanent_addr, &self.hardware_addr].into_iter().find_map(|address| address.parse().ok())
    }
}

/// A static route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Route {
    /// destination; empty or a zero prefix is the default route
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// next hop
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// preferred source address
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// lower wins
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
    /// bytes
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

/// A VLAN on a device.
#[derive(Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Vlan {
    /// addresses with their prefix length
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// static routes
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// whether addresses come by DHCP
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<bool>,
    /// 1 to 4094
    pub vlan_id: u16,
    /// bytes
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// the shared address of the control planes
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip: Option<Vip>,
    /// options of the DHCP client
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dhcp_options: Option<DhcpOptions>,
}

/// Options of the DHCP client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DhcpOptions {
    /// lower wins
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route_metric: Option<u32>,
    /// on unless false
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<bool>,
    /// off unless true
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<bool>,
    /// hexadecimal
    #[serde(skip_serializing_if = "String::is_empty")]
    pub duidv6: String,
}

/// A shared address.
#[derive(Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Vip {
    /// without prefix length
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// a cloud's way; handed on as it is
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equinix_metal: Option<Value>,
    /// a cloud's way; handed on as it is
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hcloud: Option<Value>,
}

/// Several links as one. The tuning keys are the kernel's (Documentation/networking/bonding).
#[derive(Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)] // said above
pub struct Bond {
    /// its links
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// or selectors for them
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_selectors: Vec<DeviceSelector>,
    /// `802.3ad`, `active-backup` …
    pub mode: String,
    #[serde(rename = "arpIPTarget", skip_serializing_if = "Vec::is_empty")]
    pub arp_ip_target: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xmit_hash_policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lacp_rate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ad_actor_system: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arp_validate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arp_all_targets: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary_reselect: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_over_mac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ad_select: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub miimon: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updelay: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downdelay: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arp_interval: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resend_igmp: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_links: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lp_interval: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_per_slave: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_peer_notif: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tlb_dynamic_lb: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all_slaves_active: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_carrier: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ad_actor_sys_prio: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ad_user_port_key: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_notify_delay: Option<u32>,
}

/// A bridge.
#[derive(Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Bridge {
    /// its ports
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// `{enabled}`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stp: Option<BridgeStp>,
    /// `{vlanFiltering}`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<BridgeVlan>,
}

/// The spanning tree of a bridge.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct BridgeStp {
    /// on or off
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// VLANs in a bridge.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BridgeVlan {
    /// on or off
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan_filtering: Option<bool>,
}

/// A WireGuard interface with its private key.
#[derive(Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Wireguard {
    /// base64
    #[serde(skip_serializing_if = "String::is_empty")]
    pub private_key: String,
    /// UDP
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_port: Option<u16>,
    /// of outgoing packets
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firewall_mark: Option<u32>,
    /// the other ends
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<WireguardPeer>,
}

/// The other end of a WireGuard tunnel.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WireguardPeer {
    /// base64
    #[serde(skip_serializing_if = "String::is_empty")]
    pub public_key: String,
    /// `address:port`
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// a Go duration
    #[serde(skip_serializing_if = "String::is_empty")]
    pub persistent_keepalive_interval: String,
    /// prefixes behind it
    #[serde(rename = "allowedIPs", skip_serializing_if = "Vec::is_empty")]
    pub allowed_ips: Vec<String>,
}
