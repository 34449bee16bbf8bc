//! Which boot file a client gets, and by which options it learns of it.

use dhcproto::v4::{DhcpOption, OptionCode};
use hardware::Firmware;

use super::{Config, Machines, Request};
use crate::{client::Kind, wire::Packet};

/// iPXE's encapsulated options, and in them: do not wait for a proxy, nobody else answers. It saves
/// iPXE 3 s of every boot.
const IPXE_ENCAPSULATED: u8 = 175;
const NO_PXEDHCP: [u8; 3] = [176, 1, 1];

/// The boot file of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BootFile {
    /// the client does not netboot, or may not now
    None,
    /// it may, but there is no bootloader for it
    NoneFits,
    /// iPXE: the entry script
    Script(String),
    /// UEFI HTTP Boot: the bootloader's URL
    Url(String),
    /// PXE: the bootloader's name at the next server
    File(&'static str),
}

impl BootFile {
    pub(super) fn of<M: Machines>(request: &Request<'_, M>, config: &Config) -> Self {
        if !request.client.netboots() || !request.machines.may_netboot(request.client.mac) {
            return Self::None;
        }
        // whoever is iPXE gets the script and never iPXE again, or it would chain for ever
        match (request.client.kind, request.client.firmware.and_then(bootloader)) {
            (Kind::Ipxe, _) => Self::Script(url(config, "boot.ipxe")),
            (Kind::HttpBoot, Some(file)) => Self::Url(url(config, &format!("ipxe/{file}"))),
            (Kind::Pxe, Some(file)) => Self::File(file),
            (Kind::HttpBoot | Kind::Pxe, None) => Self::NoneFits,
            (Kind::Plain, _) => Self::None,
        }
    }

    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::None | Self::NoneFits => None,
            Self::Script(text) | Self::Url(text) => Some(text),
            Self::File(name) => Some(name),
        }
    }

    /// Puts the file into the reply: BOOTP's fields and the options both, because some clients read
    /// only one of them.
    pub(super) fn put(&self, reply: &mut Packet, config: &Config) {
        let Some(name) = self.name() else { return };
        reply.siaddr = config.server;
        reply.file = name.as_bytes().to_vec();
        reply.options.set(&DhcpOption::BootfileName(name.as_bytes().to_vec()));
        match self {
            Self::File(_) => {
                let server = config.server.to_string().into_bytes();
                reply.sname.clone_from(&server);
                reply.options.set(&DhcpOption::TFTPServerName(server));
            }
            // UEFI drops an HTTP offer that does not name the class. The PXE class on the other hand
            // must not stand in an ordinary answer: firmware would ask port 4011 for more.
            Self::Url(_) => reply.options.set(&DhcpOption::ClassIdentifier(b"HTTPClient".to_vec())),
            Self::Script(_) => {
                reply.options.set_raw(OptionCode::from(IPXE_ENCAPSULATED), NO_PXEDHCP.to_vec());
            }
            Self::None | Self::NoneFits => {}
        }
    }
}

fn url(config: &Config, path: &str) -> String {
    match config.http_port {
        80 => format!("http://{}/{path}", config.server),
        port => format!("http://{}:{port}/{path}", config.server),
    }
}

/// The iPXE build for a firmware, by the names of Debian's package. `snponly` and `undionly` use the
/// network card through the firmware's own driver, which evidently works.
fn bootloader(firmware: Firmware) -> Option<&'static str> {
    match firmware {
        Firmware::Bios => Some("undionly.kpxe"),
        Firmware::UefiX64 | Firmware::UefiX64Http => Some("snponly.efi"),
        Firmware::UefiArm64 | Firmware::UefiArm64Http => Some("ipxe-arm64.efi"),
        Firmware::UbootArm64 | Firmware::RaspberryPi | Firmware::Other(_) => None,
    }
}
