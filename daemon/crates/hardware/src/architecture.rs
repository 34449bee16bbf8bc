//! What a network boot client says it is (DHCP option 93).

use serde::{Deserialize, Serialize};

/// The processor architecture an image is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// x86-64; Talos and Debian write `amd64`
    Amd64,
    /// AArch64
    Arm64,
}

impl Architecture {
    /// The name in image file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

/// The kind of firmware that asks, as far as the boot answer depends on it. The numbers are IANA's
/// "Processor Architecture Types" (RFC 5970 §3.3, option 93 of RFC 4578 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// 0x00: x86 BIOS
    Bios,
    /// 0x07, 0x09: x64 UEFI over TFTP (implementations use both numbers)
    UefiX64,
    /// 0x10: x64 UEFI HTTP Boot
    UefiX64Http,
    /// 0x0b: AArch64 UEFI over TFTP
    UefiArm64,
    /// 0x13: AArch64 UEFI HTTP Boot
    UefiArm64Http,
    /// 0x16: AArch64 U-Boot over TFTP
    UbootArm64,
    /// 0x29: the Raspberry Pi's boot ROM
    RaspberryPi,
    /// any other number: nothing to boot it with
    Other(u16),
}

impl Firmware {
    /// From one 16-bit value of option 93.
    pub fn from_option_93(value: u16) -> Self {
        match value {
            0x00 => Self::Bios,
            0x07 | 0x09 => Self::UefiX64,
            0x10 => Self::UefiX64Http,
            0x0b => Self::UefiArm64,
            0x13 => Self::UefiArm64Http,
            0x16 => Self::UbootArm64,
            0x29 => Self::RaspberryPi,
            other => Self::Other(other),
        }
    }

    /// The architecture to boot on it; `None` when nothing here fits.
    pub fn architecture(self) -> Option<Architecture> {
        match self {
            Self::Bios | Self::UefiX64 | Self::UefiX64Http => Some(Architecture::Amd64),
            Self::UefiArm64 | Self::UefiArm64Http | Self::UbootArm64 | Self::RaspberryPi => {
                Some(Architecture::Arm64)
            }
            Self::Other(_) => None,
        }
    }

    /// Whether a boot manager of UEFI decides what is tried next.
    pub fn is_uefi(self) -> bool {
        matches!(self, Self::UefiX64 | Self::UefiX64Http | Self::UefiArm64 | Self::UefiArm64Http)
    }

    /// Whether the firmware fetches by HTTP itself (UEFI HTTP Boot).
    pub fn boots_by_http(self) -> bool {
        matches!(self, Self::UefiX64Http | Self::UefiArm64Http)
    }
}
