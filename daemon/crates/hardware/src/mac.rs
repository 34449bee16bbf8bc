//! The hardware address of an Ethernet interface (EUI-48).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// An EUI-48 hardware address, shown as `64:4b:f0:00:00:03`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Whether the group bit is set: never the address of one interface (IEEE 802-2014 §8.2).
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The form iPXE calls `hexhyp` and pxelinux expects in file names: `64-4b-f0-00-00-03`.
    pub fn hyphenated(self) -> String {
        self.to_string().replace(':', "-")
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address: expected six hexadecimal bytes such as 64:4b:f0:00:00:03")]
pub struct MacAddrError(pub String);

impl FromStr for MacAddr {
    type Err = MacAddrError;

    /// Reads the three common forms: `64:4b:f0:00:00:03`, `64-4b-f0-00-00-03` and `644b.f000.0003`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || MacAddrError(text.to_owned());
        let width = match text {
            _ if text.contains(':') || text.contains('-') => 2,
            _ if text.contains('.') => 4,
            _ => 12,
        };
        let groups: Vec<&str> = text.split([':', '-', '.']).collect();
        if groups.len() * width != 12 || groups.iter().any(|group| group.len() != width) {
            return Err(error());
        }
        let digits = groups.concat();
        let mut bytes = [0; 6];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| error())?;
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(error());
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| error())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_three_common_forms_are_one_address() {
        let expected = MacAddr([0x64, 0x4b, 0xf0, 0, 0, 3]);
        for text in ["64:4b:f0:00:00:03", "64-4B-F0-00-00-03", "644b.f000.0003", "644bf0000003"] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "64:4b:f0:00:00", "64:4b:f0:00:00:0g", "6:44b:f0:00:00:03", "+6:4b:f0:00:00:03", "ärger"]
        {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(bytes: [u8; 6]) {
            let address = MacAddr(bytes);
            prop_assert_eq!(address.to_string().parse(), Ok(address));
            prop_assert_eq!(address.hyphenated().parse(), Ok(address));
        }
    }
}
