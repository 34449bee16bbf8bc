//! Comparing a port as a source named it with the one the operator wrote, or another source's.

use std::net::IpAddr;

use hardware::{ChassisId, MacAddr, SwitchPort};

use crate::{Port, PortName};

/// Chassis ID subtype "MAC address" (802.1AB-2016 table 8-2).
const CHASSIS_MAC: u8 = 4;

impl Port {
    /// Whether this is the port the operator wrote: its switch by system name or chassis id, its name by port
    /// id or port description.
    pub fn is(&self, written: &SwitchPort) -> bool {
        self.is_on(&written.switch) && self.names().contains(&PortName::normal(&written.port))
    }

    /// Whether the operator's name of a switch means the switch of this port.
    pub fn is_on(&self, written: &str) -> bool {
        self.switch.as_deref().is_some_and(|name| is_same_name(written, name))
            || self.chassis.as_ref().is_some_and(|chassis| is_chassis(written, chassis))
            || !self.management.is_empty()
                && written.trim().parse().is_ok_and(|address| self.management.contains(&address))
    }

    /// Whether both are on one switch.
    pub fn is_on_same_switch(&self, other: &Self) -> bool {
        let names = self.switch.as_deref().zip(other.switch.as_deref());
        names.is_some_and(|(a, b)| is_same_name(a, b))
            || self.chassis.is_some() && self.chassis == other.chassis
    }

    /// The name that tells a person most: some switches put a MAC or an ifIndex into the id and the name into the
    /// description.
    pub fn best_name(&self) -> String {
        let id = self.id.to_string();
        let is_number = id.bytes().all(|byte| byte.is_ascii_digit()) || id.parse::<MacAddr>().is_ok();
        let described = self.description.as_deref().map(str::trim);
        let is_name = |text: &&str| {
            !text.is_empty()
                && !text.contains(char::is_whitespace)
                && text.contains(|c: char| c.is_ascii_digit())
        };
        match described.filter(|text| is_number && is_name(text)) {
            Some(text) => text.strip_suffix(".0").unwrap_or(text).to_owned(),
            None => id,
        }
    }

    /// Whether both are the same port of the same switch.
    pub fn is_same(&self, other: &Self) -> bool {
        let names = self.names();
        self.is_on_same_switch(other) && other.names().iter().any(|name| names.contains(name))
    }

    /// The names by which it may be called, in normal form: its id and, if there is one, its description.
    pub fn names(&self) -> Vec<PortName> {
        let mut names = vec![PortName::normal(&self.id.to_string())];
        if let Some(text) = self.description.as_deref().filter(|text| !text.trim().is_empty()) {
            let name = PortName::normal(text);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// Host names: case does not count, and a name without a domain is the same host as one with it.
fn is_same_name(a: &str, b: &str) -> bool {
    let (a, b) = (a.trim(), b.trim());
    if a.is_empty() || b.is_empty() {
        return false;
    }
    if a.eq_ignore_ascii_case(b) {
        return true;
    }
    let is_address = |name: &str| name.parse::<IpAddr>().is_ok();
    if is_address(a) || is_address(b) {
        return false;
    }
    match (a.split_once('.'), b.split_once('.')) {
        (Some((host, _)), None) => host.eq_ignore_ascii_case(b),
        (None, Some((host, _))) => host.eq_ignore_ascii_case(a),
        _ => false,
    }
}

/// A chassis by its MAC in any spelling, or by its id as text.
fn is_chassis(written: &str, chassis: &ChassisId) -> bool {
    let mac = <[u8; 6]>::try_from(chassis.id.as_slice()).ok().filter(|_| chassis.subtype == CHASSIS_MAC);
    match (written.trim().parse::<MacAddr>(), mac) {
        (Ok(written), Some(mac)) => written == MacAddr(mac),
        _ => chassis.to_string().eq_ignore_ascii_case(written.trim()),
    }
}

#[cfg(test)]
mod tests {
    use hardware::PortId;

    use super::*;

    const CHASSIS: &str = "36:8a:70:68:02:2f";

    fn port(switch: Option<&str>, subtype: u8, id: &str, description: Option<&str>) -> Port {
        Port {
            switch: switch.map(str::to_owned),
            chassis: Some(ChassisId { subtype: 4, id: vec![0x36, 0x8a, 0x70, 0x68, 0x02, 0x2f] }),
            description: description.map(str::to_owned),
            ..Port::of_id(PortId { subtype, id: id.as_bytes().to_vec() })
        }
    }

    #[test]
    fn each_vendor_s_announcement_is_the_port_the_operator_wrote() {
        for (announced, written) in [
            // lldpd, EOS, NX-OS: ifName
            (port(Some("sw1"), 5, "tap2", Some("tap2")), "sw1/tap2"),
            (port(Some("leaf1"), 5, "Ethernet1", None), "leaf1/Et1"),
            (port(Some("leaf1.example.com"), 5, "Ethernet1/1", Some("to rack 4")), "leaf1/Eth1/1"),
            // IOS uses 5 or 7, both with the name
            (port(Some("CORE"), 5, "Gi1/0/11", Some("GigabitEthernet1/0/11")), "core/GigabitEthernet1/0/11"),
            (port(Some("core"), 7, "Gi1/0/11", None), "core/Gi1/0/11"),
            // Junos: an ifIndex, with the name in the description
            (port(Some("qfx"), 7, "513", Some("ge-1/0/43.0")), "qfx/ge-1/0/43"),
            // SONiC: name or alias in either field
            (port(Some("tor"), 7, "Ethernet0", Some("Eth1/1(Port1)")), "tor/Eth1/1"),
            (port(Some("tor"), 7, "Eth1/1(Port1)", Some("Ethernet0")), "tor/Ethernet0"),
            // UniFi, RouterOS, BNT, Cumulus, Dell OS10
            (port(Some("USW-24"), 7, "Port 7", Some("Port 7")), "usw-24/Port 7"),
            (port(Some("crs"), 5, "bridge/ether2", None), "crs/ether2"),
            (port(Some("bnt"), 7, "18", Some("18")), "bnt/18"),
            (port(Some("cl"), 5, "swp1s0", Some("swp1s0")), "cl/swp1s0"),
            (port(Some("os10"), 5, "ethernet1/1/1:1", Some("Eth 1/1/1:1")), "os10/ethernet1/1/1:1"),
            // the switch by its chassis
            (port(None, 5, "Eth1/1", None), "36-8A-70-68-02-2F/Eth1/1"),
            (port(Some("renamed"), 5, "Eth1/1", None), "36:8a:70:68:02:2f/Eth1/1"),
        ] {
            assert!(announced.is(&written.parse().unwrap()), "{announced} is {written}");
        }
    }

    #[test]
    fn a_switch_is_known_by_where_it_is_managed() {
        let mut announced = port(Some("renamed"), 5, "Eth1/1", None);
        announced.management = vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
        for written in ["10.0.0.5/Eth1/1", "fd00:0::5/Eth1/1"] {
            assert!(announced.is(&written.parse().unwrap()), "{written}");
        }
        for written in ["10.0.0.50/Eth1/1", "10.0.0/Eth1/1", "fd00::50/Eth1/1"] {
            assert!(!announced.is(&written.parse().unwrap()), "{written}");
        }
    }

    #[test]
    fn a_person_is_told_a_name_and_not_a_number() {
        for (id, description, expected) in [
            ("Ethernet1/1", Some("to rack 4"), "Ethernet1/1"),
            ("513", Some("ge-1/0/43.0"), "ge-1/0/43"),
            ("513", Some("uplink of rack 4"), "513"),
            ("00:1c:73:00:00:09", Some("Ethernet8"), "Ethernet8"),
            ("18", Some("18"), "18"),
            ("18", None, "18"),
        ] {
            assert_eq!(port(None, 7, id, description).best_name(), expected, "{id}");
        }
    }

    #[test]
    fn brocade_s_mac_is_an_id_and_its_description_a_name() {
        let mac = [0x74, 0x8e, 0xf8, 0, 0, 1];
        let mut announced = port(Some("fcx"), 3, "", Some("GigabitEthernet1/1/1"));
        announced.id.id = mac.to_vec();
        assert!(announced.is(&"fcx/Gi1/1/1".parse().unwrap()));
        assert!(announced.is(&"fcx/748e.f800.0001".parse().unwrap()));
    }

    #[test]
    fn another_port_or_switch_is_not_it() {
        for (announced, written) in [
            (port(Some("sw1"), 5, "Eth1/11", None), "sw1/Eth1/1"),
            (port(Some("sw1"), 5, "1/11", None), "sw1/1/1"),
            (port(Some("sw10"), 5, "Eth1/1", None), "sw1/Eth1/1"),
            (port(Some("sw1.a.example"), 5, "Eth1/1", None), "sw1.b.example/Eth1/1"),
            (port(None, 5, "Eth1/1", None), "36:8a:70:68:02:2e/Eth1/1"),
            (port(Some("10.0.0.1"), 5, "Eth1/1", None), "10/Eth1/1"),
            (port(Some(""), 5, "Eth1/1", None), "sw1/Eth1/1"),
            // a description that only mentions the name
            (port(Some("sw1"), 7, "513", Some("uplink to Eth1/1")), "sw1/Eth1/1"),
        ] {
            assert!(!announced.is(&written.parse().unwrap()), "{announced} is not {written}");
        }
        assert!(!port(Some("x"), 5, CHASSIS, None).is_on(""));
    }
}
