//! The encoding: tag, length, value (X.690 §8), as far as SNMP uses it.
//!
//! ```text
//! +-----+--------+- - - - - -+
//! | tag | length |   value   |    length: one octet below 128, else 0x80 + count and so many octets
//! +-----+--------+- - - - - -+
//! ```

use std::fmt;

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const NULL: u8 = 0x05;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;

/// More parts than any object has (RFC 2578 §3.5: at most 128).
const PARTS: usize = 128;

/// The bytes are no SNMP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BerError {
    /// it ends before it says it does
    #[error("the message ends too early")]
    Short,
    /// something else stands there
    #[error("there is a value of the type {found:#04x} where one of {wanted:#04x} must be")]
    Type {
        /// what is there
        found: u8,
        /// what must be
        wanted: u8,
    },
    /// longer than anything here is
    #[error("a length or number is too large")]
    Large,
    /// another version than 2c
    #[error("the message is not SNMP v2c")]
    Version,
}

/// The name of an object: `1.3.6.1.2.1.1.5.0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(pub Vec<u32>);

impl Oid {
    /// What follows after this one in another that begins with it.
    pub fn rest<'a>(&self, longer: &'a Self) -> Option<&'a [u32]> {
        longer.0.strip_prefix(self.0.as_slice())
    }
}

impl From<&[u32]> for Oid {
    fn from(parts: &[u32]) -> Self {
        Self(parts.to_vec())
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&parts.join("."))
    }
}

/// Takes values off the front.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next value with its tag.
    pub(crate) fn any(&mut self) -> Result<(u8, &'a [u8]), BerError> {
        let (&tag, rest) = self.0.split_first().ok_or(BerError::Short)?;
        let (&first, rest) = rest.split_first().ok_or(BerError::Short)?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // a message is a datagram, so two octets are enough for any length
            0x81..=0x84 => {
                let (octets, rest) =
                    rest.split_at_checked(usize::from(first & 0x7f)).ok_or(BerError::Short)?;
                let length = octets.iter().fold(0_usize, |length, octet| length << 8 | usize::from(*octet));
                (length, rest)
            }
            _ => return Err(BerError::Large),
        };
        let (value, rest) = rest.split_at_checked(length).ok_or(BerError::Short)?;
        self.0 = rest;
        Ok((tag, value))
    }

    /// The next value, which must have this tag.
    pub(crate) fn of(&mut self, wanted: u8) -> Result<&'a [u8], BerError> {
        match self.any()? {
            (found, value) if found == wanted => Ok(value),
            (found, _) => Err(BerError::Type { found, wanted }),
        }
    }

    pub(crate) fn integer(&mut self) -> Result<i64, BerError> {
        integer(self.of(INTEGER)?)
    }

    pub(crate) fn oid(&mut self) -> Result<Oid, BerError> {
        oid(self.of(OBJECT_IDENTIFIER)?)
    }
}

/// Two's complement (X.690 §8.3).
pub(crate) fn integer(value: &[u8]) -> Result<i64, BerError> {
    let first = *value.first().ok_or(BerError::Short)?;
    if value.len() > 8 {
        return Err(BerError::Large);
    }
    let sign = if first & 0x80 == 0 { 0 } else { -1 };
    Ok(value.iter().fold(sign, |number, octet| number << 8 | i64::from(*octet)))
}

/// Counters, gauges and ticks are not negative, whatever their first bit is.
pub(crate) fn unsigned(value: &[u8]) -> Result<u64, BerError> {
    let value = value.strip_prefix(&[0]).unwrap_or(value);
    if value.len() > 8 {
        return Err(BerError::Large);
    }
    Ok(value.iter().fold(0, |number, octet| number << 8 | u64::from(*octet)))
}

/// X.690 §8.19.
pub(crate) fn oid(value: &[u8]) -> Result<Oid, BerError> {
    let mut parts = Vec::new();
    let mut part = 0_u32;
    for (index, octet) in value.iter().enumerate() {
        if part > u32::MAX >> 7 {
            return Err(BerError::Large);
        }
        part = part << 7 | u32::from(octet & 0x7f);
        if octet & 0x80 != 0 {
            if index + 1 == value.len() {
                return Err(BerError::Short);
            }
            continue;
        }
        if parts.is_empty() {
            let first = (part / 40).min(2);
            parts.extend([first, part - first * 40]);
        } else {
            parts.push(part);
        }
        part = 0;
        if parts.len() > PARTS {
            return Err(BerError::Large);
        }
    }
    if parts.is_empty() { Err(BerError::Short) } else { Ok(Oid(parts)) }
}

/// A value with its tag and length.
pub(crate) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match u8::try_from(content.len()) {
        Ok(length) if length < 0x80 => bytes.push(length),
        _ => {
            let octets = content.len().to_be_bytes();
            let octets: Vec<u8> = octets.into_iter().skip_while(|octet| *octet == 0).collect();
            bytes.push(0x80 | u8::try_from(octets.len()).unwrap_or(8));
            bytes.extend(octets);
        }
    }
    bytes.extend(content);
    bytes
}

pub(crate) fn write_integer(number: i64) -> Vec<u8> {
    let octets = number.to_be_bytes();
    // the shortest in which the sign still shows
    let spare = |at: &usize| {
        let (Some(&octet), Some(&next)) = (octets.get(*at), octets.get(at + 1)) else { return false };
        octet == 0 && next & 0x80 == 0 || octet == 0xff && next & 0x80 != 0
    };
    let from = (0..7).take_while(spare).count();
    value(INTEGER, octets.get(from..).unwrap_or(&octets))
}

pub(crate) fn write_oid(oid: &Oid) -> Vec<u8> {
    let mut content = Vec::new();
    let (head, rest) = oid.0.split_at(oid.0.len().min(2));
    let first = match head {
        [first, second] => first.saturating_mul(40).saturating_add(*second),
        [first] => first.saturating_mul(40),
        _ => 0,
    };
    for part in std::iter::once(&first).chain(rest) {
        let octets = (0..5).rev().map(|place| (part >> (7 * place) & 0x7f) as u8);
        let octets: Vec<u8> = octets.skip_while(|octet| *octet == 0).collect();
        let octets = if octets.is_empty() { vec![0] } else { octets };
        let last = octets.len() - 1;
        content.extend(
            octets.iter().enumerate().map(|(at, octet)| if at < last { octet | 0x80 } else { *octet }),
        );
    }
    value(OBJECT_IDENTIFIER, &content)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_as_short_as_can_be() {
        for (number, bytes) in [
            (0, vec![2, 1, 0]),
            (127, vec![2, 1, 0x7f]),
            (128, vec![2, 2, 0, 0x80]),
            (-1, vec![2, 1, 0xff]),
            (-129, vec![2, 2, 0xff, 0x7f]),
            (65_536, vec![2, 3, 1, 0, 0]),
        ] {
            assert_eq!(write_integer(number), bytes, "{number}");
        }
        assert_eq!(unsigned(&[0xff, 0xff, 0xff, 0xff]), Ok(0xffff_ffff));
        assert_eq!(unsigned(&[0, 0x80]), Ok(0x80));
    }

    #[test]
    fn names_are_written_as_the_standard_shows() {
        // 1.3.6.1.2.1.1.5.0, and LLDP-MIB's 1.0.8802.1.1.2
        let name = Oid(vec![1, 3, 6, 1, 2, 1, 1, 5, 0]);
        assert_eq!(write_oid(&name), [6, 8, 0x2b, 6, 1, 2, 1, 1, 5, 0]);
        let lldp = Oid(vec![1, 0, 8802, 1, 1, 2]);
        assert_eq!(write_oid(&lldp), [6, 6, 0x28, 0xc4, 0x62, 1, 1, 2]);
        assert_eq!(oid(&[0x2b, 0x86]), Err(BerError::Short));
        assert_eq!(oid(&[0x2b, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]), Err(BerError::Large));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for bytes in
            [&[][..], &[4], &[4, 5, 1], &[4, 0x82, 1], &[4, 0x84, 0xff, 0xff, 0xff, 0xff, 0], &[4, 0x80]]
        {
            assert!(Reader(bytes).any().is_err(), "{bytes:?}");
        }
        let long = value(OCTET_STRING, &[7; 300]);
        assert_eq!(Reader(&long).of(OCTET_STRING), Ok(&[7; 300][..]));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(number: i64, parts in proptest::collection::vec(any::<u32>(), 0..20)) {
            prop_assert_eq!(Reader(&write_integer(number)).integer(), Ok(number));
            let name = Oid([1, 3].into_iter().chain(parts).collect());
            prop_assert_eq!(Reader(&write_oid(&name)).oid(), Ok(name));
        }
    }
}
