//! How a machine that shall not netboot is sent to its own disk.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The way to the machine's own disk. Which one works is a property of the firmware, so of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LocalBoot {
    /// DHCP names a file that is not there: UEFI goes on at once, while it waits a minute for silence
    NotFound,
    /// iPXE is started and leaves again
    Exit,
    /// iPXE is started and boots the first disk itself
    Sanboot,
    /// no boot options at all; what BIOS does best
    Silent,
}

impl LocalBoot {
    /// As written in site files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Exit => "exit",
            Self::Sanboot => "sanboot",
            Self::Silent => "silent",
        }
    }

    /// Whether the way leads through iPXE.
    pub const fn needs_ipxe(self) -> bool {
        matches!(self, Self::Exit | Self::Sanboot)
    }
}

impl fmt::Display for LocalBoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No such way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no way to boot the local disk: write not-found, exit, sanboot or silent")]
pub struct LocalBootError(String);

impl FromStr for LocalBoot {
    type Err = LocalBootError;

    fn from_str(text: &str) -> Result<Self, LocalBootError> {
        [Self::NotFound, Self::Exit, Self::Sanboot, Self::Silent]
            .into_iter()
            .find(|way| way.name() == text)
            .ok_or_else(|| LocalBootError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_written_by_name() {
        for way in [LocalBoot::NotFound, LocalBoot::Exit, LocalBoot::Sanboot, LocalBoot::Silent] {
            assert_eq!(way.name().parse(), Ok(way));
        }
        assert!("reboot".parse::<LocalBoot>().is_err());
    }
}
