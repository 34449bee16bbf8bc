//! Real messages of real clients, for the tests.

use crate::wire::Packet;

macro_rules! recorded {
    ($($name:literal)*) => {
        /// Every recorded message by its file name.
        pub(crate) const ALL: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../../../tests/captures/dhcp/", $name, ".hex")))),*
        ];
    };
}

recorded! {
    "dhclient-discover"
    "dhcpcd-request"
    "ipxe-bios-discover"
    "ipxe-bios-proxy-request"
    "ipxe-bios-request"
    "ipxe-bios-uuid-discover"
    "ipxe-efi-discover"
    "ipxe-efi-request"
    "networkd-discover"
    "networkd-request"
    "ovmf-http-discover"
    "ovmf-http-request"
    "ovmf-pxe-discover"
    "ovmf-pxe-proxy-request"
    "ovmf-pxe-request"
    "ovmf-pxe-uuid-discover"
    "udhcpc-discover"
    "udhcpc-request"
}

/// The octets of one recorded message.
pub(crate) fn bytes(name: &str) -> Vec<u8> {
    let (_, text) = ALL.iter().find(|(have, _)| *have == name).unwrap();
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// One recorded message.
pub(crate) fn packet(name: &str) -> Packet {
    Packet::parse(&bytes(name)).unwrap()
}
