//! DHCP options: code, length, value, in the order they came, each by itself.

use std::{net::Ipv4Addr, ops::Range};

use dhcproto::{
    Decodable, Decoder, Encodable, Encoder,
    v4::{DhcpOption, OptionCode},
};

const PAD: u8 = 0;
const END: u8 = 255;
/// The octets that one option can carry; more go into further options of the same code (RFC 3396 §5).
const LONGEST: usize = 255;

/// Options in the order of their first appearance. A code appears once: its fragments are joined
/// (RFC 3396 §6). All values lie in one piece of memory, one behind the other: a rack asks thousands of times a
/// second, and a value by itself would cost more to place than to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// code, and where its value ends in `octets`
    ends: Vec<(u8, usize)>,
    octets: Vec<u8>,
    faults: u32,
}

impl Options {
    /// With room for what most messages have.
    pub(super) fn with_room() -> Self {
        Self { ends: Vec::with_capacity(16), octets: Vec::with_capacity(128), faults: 0 }
    }

    /// Which of them it is, and where its value lies.
    fn find(&self, code: u8) -> Option<(usize, Range<usize>)> {
        let mut begin = 0;
        for (at, (have, end)) in self.ends.iter().enumerate() {
            if *have == code {
                return Some((at, begin..*end));
            }
            begin = *end;
        }
        None
    }

    /// The value as it came.
    pub fn raw(&self, code: OptionCode) -> Option<&[u8]> {
        let (_, range) = self.find(code.into())?;
        self.octets.get(range)
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
            let mut encoded = Self::default();
            encoded.read(&bytes);
            for (code, value) in encoded.iter() {
                self.set_raw(code.into(), value);
            }
        }
    }

    /// Sets an option to these octets, replacing one of the same code.
    pub fn set_raw(&mut self, code: OptionCode, value: impl AsRef<[u8]>) {
        self.put(code.into(), value.as_ref(), false);
    }

    /// Sets an option that is one address after another.
    pub fn set_addresses(&mut self, code: OptionCode, addresses: &[Ipv4Addr]) {
        let code = u8::from(code);
        for (number, address) in addresses.iter().enumerate() {
            self.put(code, &address.octets(), number > 0);
        }
    }

    /// Puts a value in the place of the one that is there, or behind it.
    fn put(&mut self, code: u8, value: &[u8], behind: bool) {
        let Some((at, place)) = self.find(code) else {
            self.octets.extend_from_slice(value);
            self.ends.push((code, self.octets.len()));
            return;
        };
        let place = if behind { place.end..place.end } else { place };
        let (more, less) = (value.len(), place.len());
        self.octets.splice(place, value.iter().copied());
        for (_, end) in self.ends.iter_mut().skip(at) {
            *end = *end + more - less;
        }
    }

    /// Code and value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut begin = 0;
        self.ends.iter().filter_map(move |(code, end)| {
            let value = self.octets.get(begin..*end)?;
            begin = *end;
            Some((*code, value))
        })
    }

    /// How many options ran over the end of their field.
    pub fn faults(&self) -> u32 {
        self.faults
    }

    /// The octets that all options and the End take.
    pub(super) fn size(&self) -> usize {
        self.iter().map(|(_, value)| Self::size_of(value)).sum::<usize>() + 1
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
                    self.put(code, value, true);
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
        for turn in 0..=2 {
            for (code, value) in self.iter().filter(|(code, _)| place(*code) == turn) {
                write_one(bytes, code, value);
            }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Set(u8, Vec<u8>),
        Read(Vec<(u8, Vec<u8>)>),
    }

    fn one() -> impl Strategy<Value = (u8, Vec<u8>)> {
        (1u8..6, proptest::collection::vec(any::<u8>(), 0..9))
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let set = one().prop_map(|(code, value)| Step::Set(code, value));
        let read = proptest::collection::vec(one(), 0..5).prop_map(Step::Read);
        proptest::collection::vec(prop_oneof![set, read], 0..9)
    }

    proptest! {
        /// Whatever is set over what, and whichever fragments come in which order: as a plain list has it.
        #[test]
        fn one_piece_of_memory_says_what_a_list_says(steps in steps()) {
            let mut options = Options::default();
            let mut list: Vec<(u8, Vec<u8>)> = Vec::new();
            for step in steps {
                match step {
                    Step::Set(code, value) => {
                        options.set_raw(code.into(), &value);
                        match list.iter_mut().find(|(have, _)| *have == code) {
                            Some((_, old)) => *old = value,
                            None => list.push((code, value)),
                        }
                    }
                    Step::Read(fragments) => {
                        let mut field = Vec::new();
                        for (code, value) in fragments {
                            write_one(&mut field, code, &value);
                            match list.iter_mut().find(|(have, _)| *have == code) {
                                Some((_, old)) => old.extend(value),
                                None => list.push((code, value)),
                            }
                        }
                        options.read(&field);
                    }
                }
                let have: Vec<(u8, Vec<u8>)> =
                    options.iter().map(|(code, value)| (code, value.to_vec())).collect();
                prop_assert_eq!(&have, &list);
                for (code, value) in &list {
                    prop_assert_eq!(options.raw((*code).into()), Some(value.as_slice()));
                }
            }
        }
    }

    #[test]
    fn addresses_follow_each_other() {
        let mut options = Options::default();
        options.set_raw(OptionCode::DomainNameServer, [9]);
        options.set_raw(OptionCode::SubnetMask, [255; 4]);
        options.set_addresses(OptionCode::DomainNameServer, &[[10, 0, 0, 1].into(), [10, 0, 0, 2].into()]);
        options.set_addresses(OptionCode::Router, &[]);
        assert_eq!(options.raw(OptionCode::DomainNameServer), Some(&[10, 0, 0, 1, 10, 0, 0, 2][..]));
        assert_eq!(options.raw(OptionCode::SubnetMask), Some(&[255; 4][..]));
        assert_eq!(options.raw(OptionCode::Router), None);
    }
}
