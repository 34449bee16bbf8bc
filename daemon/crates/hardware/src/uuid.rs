//! The SMBIOS system UUID, in the one form everybody prints.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The SMBIOS system UUID (SMBIOS 3.x §7.2.1), in text order: what iPXE's `${uuid}`, dmidecode and
/// Talos print.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SystemUuid(pub [u8; 16]);

/// UUIDs that many boards share, so that they name nobody.
const SHARED: [SystemUuid; 3] = [
    SystemUuid([0x00; 16]),
    SystemUuid([0xff; 16]),
    // what American Megatrends ships when the vendor sets nothing
    SystemUuid([
        0x03, 0x00, 0x02, 0x00, 0x04, 0x00, 0x05, 0x00, 0x00, 0x06, 0x00, 0x07, 0x00, 0x08, 0x00, 0x09,
    ]),
];

impl SystemUuid {
    /// From DHCP option 97 (RFC 4578 §2.3) and SMBIOS memory, where the first three fields are
    /// little-endian.
    pub fn from_wire(wire: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = wire;
        let [i, j, k, l, m, n, o, p] = rest;
        Self([d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p])
    }

    /// The inverse of [`SystemUuid::from_wire`].
    pub fn to_wire(self) -> [u8; 16] {
        Self::from_wire(self.0).0
    }

    /// Whether the value tells one machine from another; all zeros and vendors' left-overs do not.
    pub fn is_distinctive(self) -> bool {
        !SHARED.contains(&self)
    }
}

impl fmt::Display for SystemUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for SystemUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a UUID: expected a form such as 00112233-4455-6677-8899-aabbccddee01")]
pub struct SystemUuidError(pub String);

impl FromStr for SystemUuid {
    type Err = SystemUuidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || SystemUuidError(text.to_owned());
        let groups: Vec<usize> = text.split('-').map(str::len).collect();
        let digits: String = text.chars().filter(|&c| c != '-').collect();
        if groups != [8, 4, 4, 4, 12] || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(error());
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| error())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| error())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for SystemUuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SystemUuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn option_97_is_little_endian_in_its_first_three_fields() {
        let wire =
            [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0x01];
        assert_eq!(SystemUuid::from_wire(wire).to_string(), "00112233-4455-6677-8899-aabbccddee01");
    }

    #[test]
    fn shared_values_name_nobody() {
        assert!(!SystemUuid([0; 16]).is_distinctive());
        assert!(!"03000200-0400-0500-0006-000700080009".parse::<SystemUuid>().unwrap().is_distinctive());
        assert!("00112233-4455-6677-8899-aabbccddee01".parse::<SystemUuid>().unwrap().is_distinctive());
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(bytes: [u8; 16]) {
            let value = SystemUuid(bytes);
            prop_assert_eq!(value.to_string().parse(), Ok(value));
            prop_assert_eq!(SystemUuid::from_wire(value.to_wire()), value);
        }
    }
}
