//! Who asks: the machine, and which of its programs.
//!
//! One machine asks three times in one boot, as firmware, as iPXE and as its operating system, with
//! other identifiers each time; only the hardware address stays. So that is the key, and client
//! identifiers (option 61) are echoed but never used to tell machines apart.

use dhcproto::v4::OptionCode;
use hardware::{Firmware, MacAddr, SystemUuid};

use crate::wire::Packet;

/// iPXE's encapsulated options.
const IPXE_ENCAPSULATED: u8 = 175;
/// Inside them: this build can fetch by HTTP.
const IPXE_FEATURE_HTTP: u8 = 0x13;
/// The same for HTTPS.
const IPXE_FEATURE_HTTPS: u8 = 0x14;

/// What asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// iPXE that can fetch by HTTP: it gets a script
    Ipxe,
    /// PXE firmware, also an iPXE without HTTP: it gets a bootloader by TFTP
    Pxe,
    /// UEFI HTTP Boot: it gets a bootloader by HTTP
    HttpBoot,
    /// an operating system, a phone
    Plain,
}

/// The asker of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// the interface that asks, and the key of everything
    pub mac: MacAddr,
    /// SMBIOS UUID (option 97); not one of those that many machines share
    pub uuid: Option<SystemUuid>,
    /// the first usable of the architectures in option 93, else the one in the vendor class
    pub firmware: Option<Firmware>,
    /// which program asks
    pub kind: Kind,
}

impl Client {
    /// Reads the asker off a request; `None` when it has no Ethernet address to key on.
    pub fn of(packet: &Packet) -> Option<Self> {
        Some(Self::with_mac(packet, packet.mac()?))
    }

    /// Reads the asker off a request whose hardware address is known by other means.
    pub fn with_mac(packet: &Packet, mac: MacAddr) -> Self {
        let class = packet.options.raw(OptionCode::ClassIdentifier).unwrap_or_default();
        let kind = if speaks_ipxe(packet) && can_http(packet) {
            Kind::Ipxe
        } else if class.starts_with(b"PXEClient") || speaks_ipxe(packet) {
            Kind::Pxe
        } else if class.starts_with(b"HTTPClient") {
            Kind::HttpBoot
        } else {
            Kind::Plain
        };
        let firmware = match firmware(packet, class) {
            // its boot ROM says that it is a BIOS
            Some(Firmware::Bios) if is_raspberry_pi(mac) && kind == Kind::Pxe => Some(Firmware::RaspberryPi),
            other => other,
        };
        Self { mac, uuid: uuid(packet), firmware, kind }
    }

    /// Whether this program boots from the network.
    pub fn netboots(&self) -> bool {
        self.kind != Kind::Plain
    }
}

/// iPXE says its name in option 77 (raw, though RFC 3004 wants a length in front; both are accepted)
/// and always sends option 175.
fn speaks_ipxe(packet: &Packet) -> bool {
    let class = packet.options.raw(OptionCode::UserClass).unwrap_or_default();
    matches!(class, b"iPXE" | b"\x04iPXE") || packet.options.raw(IPXE_ENCAPSULATED.into()).is_some()
}

/// Whether the build lists HTTP among its features; one that lists nothing is trusted to have it.
fn can_http(packet: &Packet) -> bool {
    lists(packet, IPXE_FEATURE_HTTP).unwrap_or(true)
}

/// Whether the build lists HTTPS among its features; distributions' builds do not have it.
pub(crate) fn can_tls(packet: &Packet) -> bool {
    lists(packet, IPXE_FEATURE_HTTPS).unwrap_or(false)
}

/// Whether iPXE lists a feature; `None` when it lists none.
fn lists(packet: &Packet, feature: u8) -> Option<bool> {
    let mut rest = packet.options.raw(IPXE_ENCAPSULATED.into())?;
    while let [code, length, tail @ ..] = rest {
        if *code == feature {
            return Some(true);
        }
        rest = tail.get(usize::from(*length)..).unwrap_or_default();
    }
    Some(false)
}

/// Whether the address is one of those that Raspberry Pi's makers registered.
fn is_raspberry_pi(MacAddr([a, b, c, ..]): MacAddr) -> bool {
    const PREFIXES: [[u8; 3]; 6] = [
        [0xb8, 0x27, 0xeb],
        [0xdc, 0xa6, 0x32],
        [0xe4, 0x5f, 0x01],
        [0xd8, 0x3a, 0xdd],
        [0x2c, 0xcf, 0x67],
        [0x28, 0xcd, 0xc1],
    ];
    PREFIXES.contains(&[a, b, c])
}

/// RFC 4578 §2.3: one octet of type 0, then the UUID with its first fields little-endian.
pub(crate) fn uuid(packet: &Packet) -> Option<SystemUuid> {
    match packet.options.raw(OptionCode::ClientMachineIdentifier)? {
        [0, wire @ ..] => {
            Some(SystemUuid::from_wire(wire.try_into().ok()?)).filter(|uuid| uuid.is_distinctive())
        }
        _ => None,
    }
}

/// RFC 4578 §2.1: a list of 16-bit numbers. Firmware too old for option 93 still says
/// `PXEClient:Arch:00000:UNDI:002001`.
fn firmware(packet: &Packet, class: &[u8]) -> Option<Firmware> {
    let list = packet.options.raw(OptionCode::ClientSystemArchitecture).unwrap_or_default();
    let (pairs, _) = list.as_chunks::<2>();
    let listed: Vec<Firmware> =
        pairs.iter().map(|pair| Firmware::from_option_93(u16::from_be_bytes(*pair))).collect();
    let usable = listed.iter().find(|firmware| firmware.architecture().is_some());
    usable.or_else(|| listed.first()).copied().or_else(|| {
        let number = std::str::from_utf8(class).ok()?.split(":Arch:").nth(1)?.split(':').next()?;
        Some(Firmware::from_option_93(number.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::captures;

    fn asking(options: &[(u8, &[u8])]) -> Client {
        let mut packet = Packet::request(MacAddr([2, 0, 0, 0, 0, 1]), 1);
        for (code, value) in options {
            packet.options.set_raw((*code).into(), value);
        }
        Client::of(&packet).unwrap()
    }

    #[test]
    fn recorded_clients_are_recognised() {
        let uefi = Some(Firmware::UefiX64);
        for (name, kind, firmware) in [
            ("ipxe-bios-discover", Kind::Ipxe, Some(Firmware::Bios)),
            ("ipxe-efi-discover", Kind::Ipxe, uefi),
            ("ovmf-pxe-discover", Kind::Pxe, uefi),
            ("ovmf-http-discover", Kind::HttpBoot, Some(Firmware::UefiX64Http)),
            ("udhcpc-discover", Kind::Plain, None),
            ("networkd-discover", Kind::Plain, None),
        ] {
            let client = Client::of(&captures::packet(name)).unwrap();
            assert_eq!((client.kind, client.firmware, client.uuid), (kind, firmware, None), "{name}");
        }
        let client = Client::of(&captures::packet("ovmf-pxe-uuid-discover")).unwrap();
        assert_eq!(
            client.uuid.map(|uuid| uuid.to_string()).as_deref(),
            Some("00112233-4455-6677-8899-aabbccddee02")
        );
    }

    #[test]
    fn ipxe_is_known_by_either_of_its_options() {
        assert_eq!(asking(&[(77, b"iPXE")]).kind, Kind::Ipxe);
        assert_eq!(asking(&[(77, b"\x04iPXE")]).kind, Kind::Ipxe);
        assert_eq!(asking(&[(175, &[0x13, 1, 1])]).kind, Kind::Ipxe);
        assert_eq!(asking(&[(77, b"gPXE")]).kind, Kind::Plain);
    }

    #[test]
    fn an_ipxe_without_http_is_chained_like_firmware() {
        let features = [0xb1, 5, 1, 0x1a, 0xf4, 0x10, 0, 0x15, 1, 1];
        assert_eq!(asking(&[(77, b"iPXE"), (175, &features)]).kind, Kind::Pxe);
        let tls = |features: &[u8]| {
            let mut packet = Packet::request(MacAddr([2, 0, 0, 0, 0, 1]), 1);
            packet.options.set_raw(175.into(), features);
            can_tls(&packet)
        };
        assert!(tls(&[0x13, 1, 1, 0x14, 1, 1]) && !tls(&[0x13, 1, 0x14]));
        assert_eq!(asking(&[(175, &[0xb1, 9, 1])]).kind, Kind::Pxe, "a sub-option that runs over the end");
    }

    #[test]
    fn the_first_usable_architecture_wins() {
        assert_eq!(asking(&[(93, &[0, 0x0f, 0, 7])]).firmware, Some(Firmware::UefiX64));
        assert_eq!(asking(&[(93, &[0, 0x0f])]).firmware, Some(Firmware::Other(0x0f)));
        assert_eq!(asking(&[(93, &[0])]).firmware, None);
        assert_eq!(asking(&[(60, b"PXEClient:Arch:00009:UNDI:003001")]).firmware, Some(Firmware::UefiX64));
        assert_eq!(asking(&[(60, b"PXEClient:Arch:zzz")]).firmware, None);
    }

    #[test]
    fn a_raspberry_pi_is_no_bios() {
        let class: (u8, &[u8]) = (60, b"PXEClient:Arch:00000:UNDI:002001");
        let mut packet = Packet::request(MacAddr([0xdc, 0xa6, 0x32, 0, 0, 1]), 1);
        packet.options.set_raw(class.0.into(), class.1);
        assert_eq!(Client::of(&packet).unwrap().firmware, Some(Firmware::RaspberryPi));
        assert_eq!(asking(&[class]).firmware, Some(Firmware::Bios));
        assert_eq!(asking(&[(60, b"PXEClient"), (93, &[0, 0x29])]).firmware, Some(Firmware::RaspberryPi));
    }

    #[test]
    fn only_a_telling_uuid_counts() {
        assert!(asking(&[(97, &[&[0][..], &[7; 16]].concat())]).uuid.is_some());
        assert_eq!(asking(&[(97, &[0; 17])]).uuid, None, "all zeros");
        assert_eq!(asking(&[(97, &[0, 7, 7])]).uuid, None, "too short");
        assert_eq!(asking(&[(97, &[1; 17])]).uuid, None, "another type");
    }

    #[test]
    fn without_an_ethernet_address_there_is_no_client() {
        let mut packet = Packet::request(MacAddr([2, 0, 0, 0, 0, 1]), 1);
        packet.hlen = 16;
        assert_eq!(Client::of(&packet), None);
        assert_eq!(Client::of(&Packet::request(MacAddr([1, 0, 0, 0, 0, 1]), 1)), None);
        assert_eq!(Client::of(&Packet::request(MacAddr([0; 6]), 1)), None);
    }
}
