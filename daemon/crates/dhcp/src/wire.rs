//! The DHCP message on the wire (RFC 2131 §2).
//!
//! Our own envelope, with dhcproto behind it for the values of single options: dhcproto alone panics
//! on `hlen` > 16, does not check the cookie, loses every option behind a malformed one, and neither
//! joins split options (RFC 3396) nor reads overloaded fields (option 52).

mod encode;
mod options;

use std::net::Ipv4Addr;

use dhcproto::v4::{MessageType, OptionCode};
use hardware::MacAddr;

pub use options::Options;

/// Where the options begin: behind the fixed fields and the cookie.
const OPTIONS_AT: usize = 240;
/// RFC 2132 §2: the first four octets of the options field.
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// BOOTP's fixed size (RFC 1542 §2.1); some boot ROMs drop what is shorter.
const SHORTEST: usize = 300;
/// `flags`: the client cannot receive unicast before it has an address.
const BROADCAST: u16 = 0x8000;

/// One DHCP message.
///
/// ```text
/// |     op (1)    |   htype (1)   |   hlen (1)    |   hops (1)    |
/// |                            xid (4)                            |
/// |           secs (2)            |           flags (2)           |
/// |      ciaddr (4), yiaddr (4), siaddr (4), giaddr (4)           |
/// |      chaddr (16), sname (64), file (128), options             |
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// 1 from clients, 2 from servers
    pub op: u8,
    /// 1 is Ethernet
    pub htype: u8,
    /// at most 16
    pub hlen: u8,
    /// relays on the way
    pub hops: u8,
    /// the client's number for this conversation; not unique across boots
    pub xid: u32,
    /// seconds since the client began
    pub secs: u16,
    /// the highest bit asks for broadcast answers
    pub flags: u16,
    /// the address the client has and answers ARP for
    pub ciaddr: Ipv4Addr,
    /// the address the server gives
    pub yiaddr: Ipv4Addr,
    /// the server of the next stage of the boot
    pub siaddr: Ipv4Addr,
    /// the relay
    pub giaddr: Ipv4Addr,
    /// the hardware address in its first `hlen` octets
    pub chaddr: [u8; 16],
    /// server name, up to the first NUL; empty when overloaded with options
    pub sname: Vec<u8>,
    /// boot file, up to the first NUL; empty when overloaded with options
    pub file: Vec<u8>,
    /// everything behind the cookie and in overloaded fields
    pub options: Options,
}

/// The bytes are no DHCP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// shorter than the fixed fields and the cookie
    #[error("a message of {0} octets is too short for DHCP")]
    Short(usize),
    /// neither request nor reply
    #[error("op is {0}, neither 1 (request) nor 2 (reply)")]
    Op(u8),
    /// the hardware address would not fit its field
    #[error("hlen is {0}, more than the 16 octets of chaddr")]
    HardwareLength(u8),
    /// plain BOOTP or something else
    #[error("the magic cookie of DHCP is missing")]
    Cookie,
}

impl ParseError {
    /// A short name for counters.
    pub fn label(self) -> &'static str {
        match self {
            Self::Short(_) => "short",
            Self::Op(_) => "op",
            Self::HardwareLength(_) => "hlen",
            Self::Cookie => "cookie",
        }
    }
}

impl Packet {
    /// An empty message of a client on Ethernet.
    pub fn request(mac: MacAddr, xid: u32) -> Self {
        let mut chaddr = [0; 16];
        for (to, from) in chaddr.iter_mut().zip(mac.0) {
            *to = from;
        }
        Self {
            op: 1,
            htype: 1,
            hlen: 6,
            hops: 0,
            xid,
            secs: 0,
            flags: 0,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            chaddr,
            sname: Vec::new(),
            file: Vec::new(),
            options: Options::default(),
        }
    }

    /// The fields a server copies from a request (RFC 2131 §4.3.1, table 3).
    pub fn reply_to(request: &Self) -> Self {
        Self {
            op: 2,
            hops: 0,
            secs: 0,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            sname: Vec::new(),
            file: Vec::new(),
            options: Options::with_room(),
            ..*request
        }
    }

    /// Reads a UDP payload. Options that run over their field's end are left out and counted in
    /// [`Options::faults`]; the rest is kept.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let short = ParseError::Short(bytes.len());
        let (fixed, field) = bytes.split_at_checked(OPTIONS_AT).ok_or(short)?;
        let mut reader = Reader(fixed);
        let [op, htype, hlen, hops] = reader.take().ok_or(short)?;
        if !matches!(op, 1 | 2) {
            return Err(ParseError::Op(op));
        }
        if hlen > 16 {
            return Err(ParseError::HardwareLength(hlen));
        }
        let xid = u32::from_be_bytes(reader.take().ok_or(short)?);
        let secs = u16::from_be_bytes(reader.take().ok_or(short)?);
        let flags = u16::from_be_bytes(reader.take().ok_or(short)?);
        let ciaddr = reader.take::<4>().ok_or(short)?.into();
        let yiaddr = reader.take::<4>().ok_or(short)?.into();
        let siaddr = reader.take::<4>().ok_or(short)?.into();
        let giaddr = reader.take::<4>().ok_or(short)?.into();
        let chaddr = reader.take::<16>().ok_or(short)?;
        let sname = reader.take::<64>().ok_or(short)?;
        let file = reader.take::<128>().ok_or(short)?;
        if reader.take() != Some(COOKIE) {
            return Err(ParseError::Cookie);
        }
        let mut options = Options::with_room();
        options.read(field);
        // RFC 2131 §4.1: first the options field, then file, then sname
        let overload = options.raw(OptionCode::OptionOverload).and_then(|value| value.first().copied());
        let overload = overload.unwrap_or(0);
        if overload & 1 != 0 {
            options.read(&file);
        }
        if overload & 2 != 0 {
            options.read(&sname);
        }
        Ok(Self {
            op,
            htype,
            hlen,
            hops,
            xid,
            secs,
            flags,
            ciaddr,
            yiaddr,
            siaddr,
            giaddr,
            chaddr,
            sname: if overload & 2 == 0 { until_nul(&sname) } else { Vec::new() },
            file: if overload & 1 == 0 { until_nul(&file) } else { Vec::new() },
            options,
        })
    }

    /// What kind of message this is; `None` is BOOTP.
    pub fn message_type(&self) -> Option<MessageType> {
        match self.options.raw(OptionCode::MessageType)? {
            [kind] => Some(MessageType::from(*kind)),
            _ => None,
        }
    }

    /// The client's Ethernet address. `None` for other hardware, for addresses that are no
    /// interface's, and for UEFI firmware that puts its GUID there (hlen 16).
    pub fn mac(&self) -> Option<MacAddr> {
        let [a, b, c, d, e, f, ..] = self.chaddr;
        let mac = MacAddr([a, b, c, d, e, f]);
        (self.htype == 1 && self.hlen == 6 && !mac.is_multicast() && mac.0 != [0; 6]).then_some(mac)
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }
}

fn until_nul(field: &[u8]) -> Vec<u8> {
    field.iter().copied().take_while(|&byte| byte != 0).collect()
}

#[cfg(test)]
mod tests;
