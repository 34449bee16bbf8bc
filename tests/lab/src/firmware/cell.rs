//! The matrix: every kind of firmware in every kind of network.

use std::fmt;
use std::str::FromStr;

/// How a machine begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// SeaBIOS with iPXE in the card's ROM
    SeaBios,
    /// SeaBIOS with a plain PXE ROM, iPXE over TFTP
    Undionly,
    /// OVMF, PXE over TFTP
    OvmfPxe,
    /// OVMF, HTTP Boot
    OvmfHttp,
    /// OVMF in Secure Boot mode, HTTP Boot of a signed image
    SecureBoot,
    /// OVMF, iPXE on a USB stick
    Usb,
    /// AArch64 UEFI, PXE over TFTP
    Arm64,
}

/// Who gives the addresses, and how the daemon is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Network {
    /// the daemon
    Authoritative,
    /// dnsmasq, and the daemon adds what to boot
    Proxy,
    /// the daemon, from behind a relay and a router
    Relayed,
}

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) kind: Kind,
    pub(crate) network: Network,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::SeaBios,
        Self::Undionly,
        Self::OvmfPxe,
        Self::OvmfHttp,
        Self::SecureBoot,
        Self::Usb,
        Self::Arm64,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::SeaBios => "seabios",
            Self::Undionly => "undionly",
            Self::OvmfPxe => "ovmf-pxe",
            Self::OvmfHttp => "ovmf-http",
            Self::SecureBoot => "secure-boot",
            Self::Usb => "usb",
            Self::Arm64 => "arm64-pxe",
        }
    }

    /// For the table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::SeaBios => "SeaBIOS, iPXE in the card's ROM",
            Self::Undionly => "SeaBIOS, plain PXE in the card's ROM, `undionly.kpxe` over TFTP",
            Self::OvmfPxe => "OVMF, PXE over TFTP",
            Self::OvmfHttp => "OVMF, HTTP Boot",
            Self::SecureBoot => "OVMF in Secure Boot mode, HTTP Boot of a signed image",
            Self::Usb => "OVMF, `ichord images usb` on a stick",
            Self::Arm64 => "arm64 UEFI, PXE over TFTP",
        }
    }

    /// Whether its bootloader comes by TFTP.
    pub(crate) fn needs_tftp(self) -> bool {
        matches!(self, Self::Undionly | Self::OvmfPxe | Self::Arm64)
    }

    /// Whether its firmware is a BIOS.
    pub(crate) fn is_bios(self) -> bool {
        matches!(self, Self::SeaBios | Self::Undionly)
    }
}

impl Network {
    pub(crate) const ALL: [Self; 3] = [Self::Authoritative, Self::Proxy, Self::Relayed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Authoritative => "authoritative",
            Self::Proxy => "proxy",
            Self::Relayed => "relayed",
        }
    }

    /// For the table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Authoritative => "authoritative",
            Self::Proxy => "proxy beside dnsmasq",
            Self::Relayed => "relayed",
        }
    }
}

impl Cell {
    /// All there are, firmware by firmware.
    pub(crate) fn all() -> Vec<Self> {
        let row = |kind| Network::ALL.map(|network| Self { kind, network });
        Kind::ALL.into_iter().flat_map(row).collect()
    }

    /// Those of every run: the three firmwares that every x86 rack has, in the two usual networks.
    pub(crate) fn usual() -> Vec<Self> {
        let usual = |cell: &Self| {
            matches!(cell.kind, Kind::SeaBios | Kind::OvmfPxe | Kind::OvmfHttp)
                && cell.network != Network::Relayed
        };
        Self::all().into_iter().filter(usual).collect()
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.name(), self.network.name())
    }
}

impl FromStr for Cell {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = Self::all();
        all.iter().copied().find(|cell| cell.to_string() == text).ok_or_else(|| {
            let names: Vec<String> = all.iter().map(ToString::to_string).collect();
            format!("there is no cell {text}; the cells are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_called_what_they_are_printed_as() {
        for cell in Cell::all() {
            assert_eq!(cell.to_string().parse(), Ok(cell));
        }
        assert!("seabios".parse::<Cell>().is_err());
        assert_eq!(Cell::usual().len(), 6);
    }
}
