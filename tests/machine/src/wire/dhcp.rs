//! The DHCP messages of the machine's three programs, byte for byte as the real ones send them:
//! UEFI HTTP Boot, iPXE (UEFI build and BIOS ROM), and the operating system.
//!
//! Written against captures of real firmware (`tests/captures/machine`), not with the daemon's own
//! codec: a mistake there shall not meet its like here.

use std::net::Ipv4Addr;

use hardware::{MacAddr, SystemUuid};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// OVMF's HTTP Boot
    UefiHttp,
    /// iPXE's UEFI build
    IpxeEfi,
    /// iPXE in a NIC's ROM under a BIOS
    IpxeBios,
    /// Talos
    System,
}

/// One exchange's constants.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    /// who speaks
    pub speaker: Speaker,
    /// for whom
    pub mac: MacAddr,
    /// SMBIOS UUID for option 97
    pub uuid: SystemUuid,
    /// transaction
    pub xid: u32,
    /// seconds since it began
    pub secs: u16,
}

const MAGIC: [u8; 4] = [99, 130, 83, 99];
const IPXE_PARAMETERS: &[u8] =
    &[1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119, 128, 129, 130, 131, 132, 133, 134, 135, 175, 203];
const UEFI_HTTP_PARAMETERS: &[u8] =
    &[1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 235, 67, 97];
/// iPXE's own options: the NIC's PCI id, the version, and the features of the build.
const IPXE_EFI_FEATURES: &[u8] = &[
    0xb1, 5, 1, 0x1a, 0xf4, 0x10, 0, 0xeb, 3, 1, 0, 0, 0x17, 1, 1, 0x24, 1, 1, 0x13, 1, 1, 0x11, 1, 1, 0x27,
    1, 1, 0x29, 1, 1, 0x15, 1, 1, 0x12, 1, 1,
];
const IPXE_BIOS_FEATURES: &[u8] = &[
    0xb1, 5, 1, 0x1a, 0xf4, 0x10, 0, 0xeb, 3, 1, 0, 0, 0x17, 1, 1, 0x22, 1, 1, 0x13, 1, 1, 0x11, 1, 1, 0x27,
    1, 1, 0x19, 1, 1, 0x29, 1, 1, 0x10, 1, 2, 0x21, 1, 1, 0x15, 1, 1, 0x18, 1, 1, 0x12, 1, 1,
];

/// What a REQUEST takes from the OFFER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// option 54
    pub server: Ipv4Addr,
    /// the address offered
    pub address: Ipv4Addr,
}

impl Asker {
    /// DHCPDISCOVER.
    pub fn discover(&self) -> Vec<u8> {
        self.message(1, None)
    }

    /// DHCPREQUEST for an offer.
    pub fn request(&self, chosen: Chosen) -> Vec<u8> {
        self.message(3, Some(chosen))
    }

    fn message(&self, kind: u8, chosen: Option<Chosen>) -> Vec<u8> {
        let broadcast = self.speaker == Speaker::UefiHttp;
        let mut message = vec![1, 1, 6, 0];
        message.extend(self.xid.to_be_bytes());
        message.extend(self.secs.to_be_bytes());
        message.extend([if broadcast { 0x80 } else { 0 }, 0]);
        message.extend([0; 16]);
        message.extend(self.mac.0);
        // the rest of chaddr, sname and file
        message.extend([0; 10 + 64 + 128]);
        message.extend(MAGIC);
        let mut option = |code: u8, value: &[u8]| {
            message.push(code);
            message.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
            message.extend(value);
        };
        option(53, &[kind]);
        let mut client = vec![1];
        client.extend(self.mac.0);
        let mut machine = vec![0];
        machine.extend(self.uuid.to_wire());
        let chosen = chosen.map(|chosen| (chosen.server.octets(), chosen.address.octets()));
        match self.speaker {
            Speaker::UefiHttp => {
                if let Some((server, address)) = chosen {
                    option(54, &server);
                    option(50, &address);
                }
                option(57, &[0x05, 0xc0]);
                option(55, UEFI_HTTP_PARAMETERS);
                option(97, &machine);
                option(94, &[1, 3, 0]);
                option(93, &[0, 0x10]);
                option(60, b"HTTPClient:Arch:00016:UNDI:003000");
            }
            Speaker::IpxeEfi | Speaker::IpxeBios => {
                let efi = self.speaker == Speaker::IpxeEfi;
                option(57, &[0x05, 0xc0]);
                option(93, if efi { &[0, 7] } else { &[0, 0] });
                option(94, if efi { &[1, 3, 10] } else { &[1, 2, 1] });
                let class: &[u8] = if efi {
                    b"PXEClient:Arch:00007:UNDI:003010"
                } else {
                    b"PXEClient:Arch:00000:UNDI:002001"
                };
                option(60, class);
                option(77, b"iPXE");
                option(55, IPXE_PARAMETERS);
                option(175, if efi { IPXE_EFI_FEATURES } else { IPXE_BIOS_FEATURES });
                option(61, &client);
                option(97, &machine);
                if let Some((server, address)) = chosen {
                    option(54, &server);
                    option(50, &address);
                }
            }
            Speaker::System => {
                option(55, &[1, 3, 6, 12, 15, 26, 28, 42, 119, 121]);
                option(57, &[0x05, 0xdc]);
                option(61, &client);
                if let Some((server, address)) = chosen {
                    option(54, &server);
                    option(50, &address);
                }
            }
        }
        message.push(255);
        message
    }
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 2 OFFER, 5 ACK, 6 NAK
    pub kind: u8,
    /// the client's address
    pub address: Ipv4Addr,
    /// option 54
    pub server: Option<Ipv4Addr>,
    /// from option 1
    pub prefix: u8,
    /// the first of option 3
    pub gateway: Option<Ipv4Addr>,
    /// option 67, or the file field
    pub file: Option<String>,
    /// option 60
    pub class: Vec<u8>,
}

impl Reply {
    /// Reads a reply to this transaction; anything else is none.
    pub fn read(bytes: &[u8], xid: u32, mac: MacAddr) -> Option<Self> {
        let (head, options) = bytes.split_at_checked(240)?;
        let part = |from: usize, to: usize| head.get(from..to).unwrap_or_default();
        if head.first() != Some(&2) || part(4, 8) != xid.to_be_bytes() || part(28, 34) != mac.0 {
            return None;
        }
        if part(236, 240) != MAGIC {
            return None;
        }
        let file = part(108, 236).split(|byte| *byte == 0).next().unwrap_or_default();
        let mut reply = Self {
            kind: 0,
            address: address(part(16, 20))?,
            server: None,
            prefix: 24,
            gateway: None,
            file: text(file),
            class: Vec::new(),
        };
        let mut rest = options;
        while let [code, tail @ ..] = rest {
            if *code == 255 {
                break;
            }
            if *code == 0 {
                rest = tail;
                continue;
            }
            let (length, tail) = tail.split_first()?;
            let (value, tail) = tail.split_at_checked(usize::from(*length))?;
            match code {
                1 => reply.prefix = u8::try_from(u32::from(address(value)?).leading_ones()).ok()?,
                3 => reply.gateway = value.get(..4).and_then(address),
                53 => reply.kind = *value.first()?,
                54 => reply.server = address(value),
                60 => reply.class = value.to_vec(),
                67 => reply.file = text(value),
                _ => {}
            }
            rest = tail;
        }
        Some(reply)
    }
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim_end_matches('\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// A UDP datagram from port 68 to everybody's port 67, as an Ethernet frame.
pub fn broadcast_frame(mac: MacAddr, identification: u16, payload: &[u8]) -> Vec<u8> {
    let udp_length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    let mut ip = vec![0x45, 0];
    ip.extend((20 + udp_length).to_be_bytes());
    ip.extend(identification.to_be_bytes());
    ip.extend([0, 0, 64, 17, 0, 0]);
    ip.extend([0; 4]);
    ip.extend([255; 4]);
    let sum = checksum(&ip, 0);
    if let Some(field) = ip.get_mut(10..12) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
    let mut udp = Vec::with_capacity(usize::from(udp_length));
    udp.extend(68_u16.to_be_bytes());
    udp.extend(67_u16.to_be_bytes());
    udp.extend(udp_length.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    // the pseudo header: 0.0.0.0 adds nothing, 255.255.255.255 is twice 0xffff
    let sum = checksum(&udp, 0x1_fffe + 17 + u32::from(udp_length));
    if let Some(field) = udp.get_mut(6..8) {
        field.copy_from_slice(&if sum == 0 { 0xffff } else { sum }.to_be_bytes());
    }
    let mut frame = vec![0xff; 6];
    frame.extend(mac.0);
    frame.extend([0x08, 0x00]);
    frame.extend(ip);
    frame.extend(udp);
    frame
}

/// The payload of a UDP datagram to port 68 in an Ethernet frame.
pub fn payload_to_client(frame: &[u8]) -> Option<&[u8]> {
    let packet = frame.get(14..)?;
    let header = usize::from(packet.first()? & 0x0f) * 4;
    if packet.first()? >> 4 != 4 || packet.get(9) != Some(&17) {
        return None;
    }
    let udp = packet.get(header..)?;
    if udp.get(2..4)? != 68_u16.to_be_bytes() {
        return None;
    }
    let length = u16::from_be_bytes([*udp.get(4)?, *udp.get(5)?]);
    udp.get(8..usize::from(length))
}

/// RFC 1071.
fn checksum(bytes: &[u8], start: u32) -> u16 {
    let word = |pair: &[u8]| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    };
    let mut sum = bytes.chunks(2).map(word).fold(start, u32::wrapping_add);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(text: &str) -> Vec<u8> {
        let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
        hex::decode(digits).unwrap()
    }

    const MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0x77, 0, 1]);
    const CHOSEN: Chosen =
        Chosen { server: Ipv4Addr::new(10, 77, 0, 1), address: Ipv4Addr::new(10, 77, 0, 199) };

    fn asker(speaker: Speaker, xid: u32, secs: u16) -> Asker {
        Asker { speaker, mac: MAC, uuid: SystemUuid([0; 16]), xid, secs }
    }

    #[test]
    fn the_bytes_are_those_of_the_captured_firmware() {
        let http = asker(Speaker::UefiHttp, 0x2ba8_f89c, 0);
        assert_eq!(
            http.discover(),
            capture(include_str!("../../tests/captures/machine/ovmf-http-discover.hex"))
        );
        assert_eq!(
            http.request(CHOSEN),
            capture(include_str!("../../tests/captures/machine/ovmf-http-request.hex"))
        );
        let ipxe = |secs| asker(Speaker::IpxeEfi, 0xf79a_fd15, secs);
        assert_eq!(
            ipxe(4).discover(),
            capture(include_str!("../../tests/captures/machine/ipxe-efi-discover.hex"))
        );
        let request = ipxe(18).request(CHOSEN);
        assert_eq!(request, capture(include_str!("../../tests/captures/machine/ipxe-efi-request.hex")));
        let rom = |secs| asker(Speaker::IpxeBios, 0xa9dd_6a00, secs);
        assert_eq!(
            rom(4).discover(),
            capture(include_str!("../../tests/captures/machine/ipxe-bios-discover.hex"))
        );
        let request = rom(14).request(CHOSEN);
        assert_eq!(request, capture(include_str!("../../tests/captures/machine/ipxe-bios-request.hex")));
    }

    #[test]
    fn a_frame_has_right_checksums_and_carries_its_payload() {
        let payload = asker(Speaker::System, 1, 0).discover();
        let mut frame = broadcast_frame(MAC, 7, &payload);
        let (ip, udp) = frame[14..].split_at(20);
        assert_eq!(checksum(ip, 0), 0);
        assert_eq!(checksum(udp, 0x1_fffe + 17 + u32::try_from(udp.len()).unwrap()), 0);
        assert_eq!(payload_to_client(&frame), None, "it goes to the server");
        frame[14 + 20 + 3] = 68;
        assert_eq!(payload_to_client(&frame), Some(payload.as_slice()));
    }

    #[test]
    fn a_reply_is_read_and_a_strangers_is_not() {
        let mut reply = vec![2, 1, 6, 0, 0, 0, 0, 9];
        reply.extend([0; 8]);
        reply.extend([10, 77, 0, 199]);
        reply.extend([0; 8]);
        reply.extend(MAC.0);
        reply.extend([0; 202]);
        reply.extend(MAGIC);
        reply.extend([53, 1, 5, 1, 4, 255, 255, 0, 0, 3, 4, 10, 77, 0, 1, 67, 3, b'a', b'b', 0, 0, 255]);
        let read = Reply::read(&reply, 9, MAC).unwrap();
        assert_eq!((read.kind, read.prefix), (5, 16));
        assert_eq!(read.gateway, Some(Ipv4Addr::new(10, 77, 0, 1)));
        assert_eq!(read.file.as_deref(), Some("ab"));
        assert_eq!(Reply::read(&reply, 8, MAC), None);
        for length in 0..reply.len() - 22 {
            assert_eq!(Reply::read(&reply[..length], 9, MAC), None, "cut at {length}");
        }
    }
}
