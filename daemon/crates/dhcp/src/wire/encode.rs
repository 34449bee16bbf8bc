//! A message as octets, no longer than its reader can take.

use dhcproto::v4::OptionCode;

use super::{BROADCAST, COOKIE, OPTIONS_AT, Packet, SHORTEST, options::Options};

/// IPv4 and UDP headers, which the limit of option 57 counts in (RFC 2131 §2: 576 is a whole datagram).
const HEADERS: usize = 28;
/// What every client takes (RFC 2131 §2), and the least that option 57 can say (RFC 2132 §9.10).
const SMALLEST_LIMIT: usize = 576;
/// What an Ethernet frame carries; relays need not forward fragments.
const LARGEST_LIMIT: usize = 1500;

const SNAME: usize = 64;
const FILE: usize = 128;

/// Options are written in this order, whatever does not fit last: a client can do without a name
/// server sooner than without its address's mask. Those that are not listed come in between.
const FIRST: [u8; 11] = [53, 54, 51, 1, 3, 60, 67, 66, 43, 175, 61];
const LAST: [u8; 6] = [6, 42, 15, 28, 58, 59];

impl Packet {
    /// The UDP payload: message type first, relay information last (RFC 3046 §2.1), at least as long
    /// as BOOTP. A `sname` or `file` that does not fit with its NUL is left empty; it is then only in
    /// its option.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.fixed(&self.sname, &self.file);
        self.options.write(&mut bytes);
        padded(bytes)
    }

    /// The UDP payload for a client that takes datagrams of at most `limit` octets (option 57).
    ///
    /// When the options field is too small, options go into `sname` and then into `file` (RFC 2131
    /// §4.1, option 52), but only if what stands there is in an option, too; firmware reads one or the
    /// other. What fits nowhere is left out, the least needed first.
    pub fn to_bytes_within(&self, limit: Option<u16>) -> Vec<u8> {
        let limit = usize::from(limit.unwrap_or_default()).clamp(SMALLEST_LIMIT, LARGEST_LIMIT);
        let room = limit - HEADERS - OPTIONS_AT;
        // the relay takes it off again, so it does not count
        let relay = self.options.raw(OptionCode::RelayAgentInformation).map_or(0, Options::size_of);
        if self.options.size() <= room + relay {
            return self.to_bytes();
        }
        let mut places = [
            // three octets for option 52 itself, one for the End
            Place::new(room.saturating_sub(4)),
            Place::new(self.room_in(OptionCode::TFTPServerName, &self.sname, SNAME)),
            Place::new(self.room_in(OptionCode::BootfileName, &self.file, FILE)),
        ];
        for (code, value) in self.by_need() {
            if let Some(place) = places.iter_mut().find(|place| place.takes(value)) {
                place.options.set_raw(code.into(), value);
                place.free -= Options::size_of(value);
            }
        }
        let [mut field, sname, file] = places;
        let overload = u8::from(!file.is_empty()) | (u8::from(!sname.is_empty()) << 1);
        if overload != 0 {
            field.options.set_raw(OptionCode::OptionOverload, vec![overload]);
        }
        if let Some(value) = self.options.raw(OptionCode::RelayAgentInformation) {
            field.options.set_raw(OptionCode::RelayAgentInformation, value);
        }
        let fixed = |place: &Place, text: &[u8]| {
            if place.is_empty() {
                return text.to_vec();
            }
            let mut bytes = Vec::new();
            place.options.write(&mut bytes);
            bytes
        };
        let mut bytes = self.fixed(&fixed(&sname, &self.sname), &fixed(&file, &self.file));
        field.options.write(&mut bytes);
        padded(bytes)
    }

    /// What options may take of a field. One octet stays for the End.
    fn room_in(&self, twin: OptionCode, text: &[u8], size: usize) -> usize {
        let is_elsewhere = text.is_empty() || self.options.raw(twin) == Some(text);
        if is_elsewhere { size - 1 } else { 0 }
    }

    /// All options but the relay's, the most needed first.
    fn by_need(&self) -> Vec<(u8, &[u8])> {
        let need = |code: u8| {
            let first = FIRST.iter().position(|&first| first == code);
            let last = LAST.iter().position(|&last| last == code);
            first.unwrap_or_else(|| FIRST.len() + last.map_or(0, |at| at + 1))
        };
        let mut options: Vec<_> = self.options.iter().filter(|(code, _)| *code != 82).collect();
        options.sort_by_key(|(code, _)| need(*code));
        options
    }

    /// Everything in front of the options.
    fn fixed(&self, sname: &[u8], file: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SMALLEST_LIMIT);
        bytes.extend([self.op, self.htype, self.hlen, self.hops]);
        bytes.extend(self.xid.to_be_bytes());
        bytes.extend(self.secs.to_be_bytes());
        bytes.extend(self.flags.to_be_bytes());
        for address in [self.ciaddr, self.yiaddr, self.siaddr, self.giaddr] {
            bytes.extend(address.octets());
        }
        bytes.extend(self.chaddr);
        text_field(&mut bytes, sname, SNAME);
        text_field(&mut bytes, file, FILE);
        bytes.extend(COOKIE);
        bytes
    }

    /// Whether the client cannot receive unicast yet.
    pub fn wants_broadcast(&self) -> bool {
        self.flags & BROADCAST != 0
    }

    /// Asks the relay to broadcast the answer.
    pub fn set_broadcast(&mut self) {
        self.flags |= BROADCAST;
    }
}

/// A field that takes options.
struct Place {
    options: Options,
    free: usize,
}

impl Place {
    fn new(free: usize) -> Self {
        Self { options: Options::default(), free }
    }

    fn takes(&self, value: &[u8]) -> bool {
        Options::size_of(value) <= self.free
    }

    fn is_empty(&self) -> bool {
        self.options.iter().next().is_none()
    }
}

fn text_field(bytes: &mut Vec<u8>, text: &[u8], size: usize) {
    let end = bytes.len() + size;
    // a text needs its NUL, options have their End instead
    if text.len() < size || text.last() == Some(&255) {
        bytes.extend(text.iter().take(size));
    }
    bytes.resize(end, 0);
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() < SHORTEST {
        bytes.resize(SHORTEST, 0);
    }
    bytes
}
