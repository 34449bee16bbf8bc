//! Which machines the lab has, where each is plugged in, and what each is called.

use std::net::Ipv4Addr;

use hardware::MacAddr;

use crate::wires;

/// The switch's name in LLDP and in `ichord.yaml`.
pub(crate) const SWITCH: &str = "sw1";
/// The address of the cluster: the control planes pass it among themselves.
pub(crate) const VIRTUAL_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 10);

/// How a machine's firmware reaches the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirmwareKind {
    /// BIOS with iPXE in the card's ROM
    Bios,
    /// UEFI HTTP Boot
    UefiHttp,
    /// UEFI PXE: the bootloader comes by TFTP
    UefiPxe,
}

/// One machine of the lab: hardware, place and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    /// talconfig hostname
    pub(crate) name: String,
    /// whether it is to be a control plane
    pub(crate) control_plane: bool,
    /// the address its config gives it
    pub(crate) address: Ipv4Addr,
    /// switch port, as the switch says it
    pub(crate) port: String,
    /// the local interface that is this switch port
    pub(crate) interface: String,
    /// its card
    pub(crate) mac: MacAddr,
    /// SMBIOS UUID
    pub(crate) uuid: String,
    /// SMBIOS serial number
    pub(crate) serial: String,
    /// how it boots
    pub(crate) firmware: FirmwareKind,
}

/// Control planes first, then workers; the number of the port is the position, from 1.
pub(crate) fn machines(control_planes: usize, workers: usize) -> Vec<Machine> {
    let roles = (1..=control_planes)
        .map(|number| (true, format!("lab-cp-{number}"), 10 + number))
        .chain((1..=workers).map(|number| (false, format!("lab-w-{number}"), 50 + number)));
    roles
        .enumerate()
        .map(|(index, (control_plane, name, host))| {
            let number = index + 1;
            // `up` limits the machines to what these bytes can carry
            let byte = u8::try_from(number).unwrap_or(u8::MAX);
            Machine {
                name,
                control_plane,
                address: Ipv4Addr::new(10, 77, 0, u8::try_from(host).unwrap_or(u8::MAX)),
                port: format!("Eth1/{number}"),
                interface: wires::port_interface(number),
                mac: MacAddr([0x52, 0x54, 0x00, 0x77, 0x00, byte]),
                uuid: format!("00112233-4455-6677-8899-aabbccddee{byte:02x}"),
                serial: format!("LAB{number:04}"),
                firmware: if number % 2 == 1 { FirmwareKind::UefiHttp } else { FirmwareKind::Bios },
            }
        })
        .collect()
}

/// A control plane and two workers, no two with the same firmware: for virtual machines.
pub(crate) fn one_of_each_firmware() -> Vec<Machine> {
    let mut machines = machines(1, 2);
    for (machine, firmware) in
        machines.iter_mut().zip([FirmwareKind::UefiHttp, FirmwareKind::Bios, FirmwareKind::UefiPxe])
    {
        machine.firmware = firmware;
    }
    machines
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_machines_share_anything() {
        let machines = machines(5, 40);
        assert_eq!(machines.len(), 45);
        for of in [
            machines.iter().map(|m| m.name.clone()).collect::<BTreeSet<_>>(),
            machines.iter().map(|m| m.address.to_string()).collect(),
            machines.iter().map(|m| m.port.clone()).collect(),
            machines.iter().map(|m| m.interface.clone()).collect(),
            machines.iter().map(|m| m.mac.to_string()).collect(),
            machines.iter().map(|m| m.uuid.clone()).collect(),
            machines.iter().map(|m| m.serial.clone()).collect(),
        ] {
            assert_eq!(of.len(), 45, "{of:?}");
        }
        let taken: Vec<_> = machines.iter().map(|m| m.address).collect();
        assert!(!taken.contains(&VIRTUAL_ADDRESS) && !taken.contains(&wires::HOST.0));
        assert!(taken.iter().all(|address| address.octets()[3] < 100), "the pool begins at 100");
    }
}
