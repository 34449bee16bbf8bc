//! DHCP options: code, length, value, in the order they came, each by itself.

use std::net::Ipv4Addr;

use dhcproto::{
    Decodable, Decoder, Encodable, Encoder,
    v4::{DhcpOption, OptionCode},
};

const PAD: u8 = 0;
const END: u8 = 255;
/// The octets that one option can carry; more go into further options of the same code (RFC 3396 §5).
const LONGEST: usize = 255;

/// Options in the order of their first appearance. A code appears once: its fragments are joined
/// (RFC 3396 §6).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    list: Vec<(u8, Vec<u8>)>,
    faults: u32,
}

impl Options {
    /// The value as it came.
    pub fn raw(&self, code: OptionCode) -> Option<&[u8]> {
        let code = u8::from(code);
        self.list.iter().find(|(have, _)| *have == code).map(|(_, value)| value.as_slice())
    }

    /// The value as dhcproto reads it; `None` when it is absent or does not parse.
    pub fn get(&self, code: OptionCode) -> Option<DhcpOption> {
        // these hold assertions about their length, subtractions or nested names that outside bytes
        // may break; nobody here needs them typed
        if matches!(u8::from(code), PAD | END | 80..=82 | 88 | 94 | 119 | 121 | 151..=155) {
            return None;
        }
        let value = self.raw(code)?;
        let mut bytes = Vec::with_capacity(value.len() + 2);
        write_one(&mut bytes, code.into(), value);
        DhcpOption::decode(&mut Decoder::new(&bytes)).ok()
    }

    /// An option that is one address, of exactly four octets.
    pub fn address(&self, code: OptionCode) -> Option<Ipv4Addr> {
        let octets: [u8; 4] = self.raw(code)?.try_into().ok()?;
        Some(octets.into())
    }

    /// Sets a typed option, replacing one of the same code. One that dhcproto cannot encode (a name
    /// too long for DNS, say) is left out.
    pub fn set(&mut self, option: &DhcpOption) {
        let mut bytes = Vec::with_capacity(LONGEST);
        if option.encode(&mut Encoder::new(&mut bytes)).is_ok() {
            // nearly all are short
            if let [code, length, value @ ..] = bytes.as_slice()
                && value.len() == usize::from(*length)
            {
                self.set_raw((*code).into(), value.to_vec());
                return;
            }
            let mut encoded = Self::default();
            encoded.read(&bytes);
            for (code, value) in encoded.list {
                self.set_raw(code.into(), value);
            }
        }
    }

    /// Sets an option to these octets, replacing one of the same code.
    pub fn set_raw(&mut self, code: OptionCode, value: Vec<u8>) {
        let code = u8::from(code);
        match self.list.iter_mut().find(|(have, _)| *have == code) {
            Some((_, old)) => *old = value,
            None => self.list.push((code, value)),
        }
    }

    /// Code and value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.list.iter().map(|(code, value)| (*code, value.as_slice()))
    }

    /// How many options ran over the end of their field.
    pub fn faults(&self) -> u32 {
        self.faults
    }

    /// The octets that all options and the End take.
    pub(super) fn size(&self) -> usize {
        self.list.iter().map(|(_, value)| Self::size_of(value)).sum::<usize>() + 1
    }

    /// The octets that an option with this value takes.
    pub(super) fn size_of(value: &[u8]) -> usize {
        value.len() + 2 * value.len().div_ceil(LONGEST).max(1)
    }

    /// Reads one field to its End option or its end.
    pub(super) fn read(&mut self, field: &[u8]) {
        let mut rest = field;
        while let [code, tail @ ..] = rest {
            match (*code, tail) {
                (PAD, _) => rest = tail,
                (END, _) => return,
                (code, [length, tail @ ..]) => {
                    let Some((value, after)) = tail.split_at_checked(usize::from(*length)) else {
                        self.faults += 1;
                        return;
                    };
                    match self.list.iter_mut().find(|(have, _)| *have == code) {
                        Some((_, old)) => old.extend(value),
                        None => self.list.push((code, value.to_vec())),
                    }
                    rest = after;
                }
                (_, []) => {
                    self.faults += 1;
                    return;
                }
            }
        }
    }

    /// Writes all options and the End.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let place = |code: u8| match code {
            // some clients look for the type at the front only
            53 => 0,
            // RFC 3046 §2.1: the relay strips it from the end
            82 => 2,
            _ => 1,
        };
        let mut sorted: Vec<&(u8, Vec<u8>)> = self.list.iter().collect();
        sorted.sort_by_key(|(code, _)| place(*code));
        for (code, value) in sorted {
            write_one(bytes, *code, value);
        }
        bytes.push(END);
    }
}

fn write_one(bytes: &mut Vec<u8>, code: u8, value: &[u8]) {
    if value.is_empty() {
        bytes.extend([code, 0]);
    }
    for chunk in value.chunks(LONGEST) {
        bytes.push(code);
        // a chunk is never longer than one octet counts
        bytes.push(u8::try_from(chunk.len()).unwrap_or(u8::MAX));
        bytes.extend(chunk);
    }
}
