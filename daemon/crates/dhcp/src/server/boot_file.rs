//! Which boot file a client gets, and by which options it learns of it.

use dhcproto::v4::{DhcpOption, OptionCode};
use hardware::{Firmware, LocalBoot};

use super::{Boots, Config, Https, Machines, Mode, Request};
use crate::{
    client::{self, Kind},
    wire::Packet,
};

/// iPXE's encapsulated options, and in them: do not wait for a proxy, nobody else answers. It saves
/// iPXE 3 s of every boot.
const IPXE_ENCAPSULATED: u8 = 175;
const NO_PXEDHCP: [u8; 3] = [176, 1, 1];

/// A Raspberry Pi's boot ROM looks for this menu entry and takes nothing else (PXE 2.1 §2.4, table 2-2:
/// discovery control 6, menu prompt 10, boot menu 9).
const RASPBERRY_PI: &[u8] = b"\x06\x01\x03\x0a\x04\x00PXE\x09\x14\x00\x00\x11Raspberry Pi Boot\xff";
/// A file that does not exist, on purpose: firmware that finds nothing goes on to the next entry at
/// once, one that hears nothing waits for a minute.
pub const NO_FILE: &str = "local-disk";

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
    /// a Raspberry Pi, which knows the names of its files
    RaspberryPi,
}

impl BootFile {
    pub(super) fn of<M: Machines>(request: &Request<'_, M>, config: &Config) -> Self {
        let client = &request.client;
        let way = (request.boots == Boots::Nothing).then(|| local_boot(request, config));
        match way {
            Some(LocalBoot::Silent) => return Self::None,
            Some(LocalBoot::NotFound) => {
                return match client.kind {
                    Kind::HttpBoot => Self::Url(firmware_url(config, NO_FILE)),
                    Kind::Pxe => Self::File(NO_FILE),
                    // it leaves by itself when it is told nothing
                    Kind::Ipxe | Kind::Plain => Self::None,
                };
            }
            // by way of iPXE, whose script then says how
            Some(LocalBoot::Exit | LocalBoot::Sanboot) | None => {}
        }
        // whoever is iPXE gets the script and never iPXE again, or it would chain for ever
        match (client.kind, client.firmware) {
            (Kind::Ipxe, _) => Self::Script(match config.https {
                Some(Https { port, ipxe: true }) if client::can_tls(request.packet) => {
                    secure_url(config, port, "boot.ipxe")
                }
                _ => url(config, "boot.ipxe"),
            }),
            (Kind::Plain, _) => Self::None,
            (Kind::Pxe, Some(Firmware::RaspberryPi)) => Self::RaspberryPi,
            (Kind::HttpBoot, Some(firmware)) if config.signed => match architecture(firmware) {
                // the machine says nothing about itself when it fetches, so the URL does
                Some(name) => {
                    let mac = client.mac.to_string().replace(':', "-");
                    Self::Url(firmware_url(config, &format!("uki/{mac}/{name}.efi")))
                }
                None => Self::NoneFits,
            },
            (kind, firmware) => match firmware.and_then(bootloader) {
                Some(file) if kind == Kind::HttpBoot => {
                    Self::Url(firmware_url(config, &format!("ipxe/{file}")))
                }
                Some(file) => Self::File(file),
                None => Self::NoneFits,
            },
        }
    }

    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::None | Self::NoneFits => None,
            Self::RaspberryPi => Some("Raspberry Pi Boot"),
            Self::Script(text) | Self::Url(text) => Some(text),
            Self::File(name) => Some(name),
        }
    }

    /// Puts the file into the reply: BOOTP's fields and the options both, because some clients read
    /// only one of them.
    pub(super) fn put(&self, reply: &mut Packet, config: &Config) {
        let Some(name) = self.name() else { return };
        reply.siaddr = config.server;
        if *self == Self::RaspberryPi {
            reply.options.set(&DhcpOption::TFTPServerName(config.server.to_string().into_bytes()));
            reply.options.set(&DhcpOption::ClassIdentifier(b"PXEClient".to_vec()));
            reply.options.set(&DhcpOption::VendorExtensions(RASPBERRY_PI.to_vec()));
            return;
        }
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
                reply.options.set_raw(OptionCode::from(IPXE_ENCAPSULATED), NO_PXEDHCP);
            }
            Self::None | Self::NoneFits | Self::RaspberryPi => {}
        }
    }
}

/// How a machine that boots nothing here gets to its own disk.
///
/// Beside another server, strangers are left alone: a file that is not there would keep them from the
/// one they are meant to find.
fn local_boot<M: Machines>(request: &Request<'_, M>, config: &Config) -> LocalBoot {
    let (client, machines) = (&request.client, request.machines);
    if config.mode == Mode::Proxy && machines.reservation(client.mac).is_none() {
        return LocalBoot::Silent;
    }
    match (machines.local_boot(client.mac), client.firmware) {
        (Some(way), _) => way,
        (None, Some(firmware)) if firmware.is_uefi() => LocalBoot::NotFound,
        (None, _) => LocalBoot::Silent,
    }
}

fn url(config: &Config, path: &str) -> String {
    match config.http_port {
        80 => format!("http://{}/{path}", config.server),
        port => format!("http://{}:{port}/{path}", config.server),
    }
}

/// For UEFI HTTP Boot. Most firmware takes nothing but HTTPS, and where the site has an authority its machines know it.
fn firmware_url(config: &Config, path: &str) -> String {
    match config.https {
        Some(Https { port, .. }) => secure_url(config, port, path),
        None => url(config, path),
    }
}

fn secure_url(config: &Config, port: u16, path: &str) -> String {
    match port {
        443 => format!("https://{}/{path}", config.server),
        port => format!("https://{}:{port}/{path}", config.server),
    }
}

/// Of the processor, as image names have it.
fn architecture(firmware: Firmware) -> Option<&'static str> {
    match firmware {
        Firmware::UefiX64 | Firmware::UefiX64Http => Some("amd64"),
        Firmware::UefiArm64 | Firmware::UefiArm64Http | Firmware::UbootArm64 => Some("arm64"),
        Firmware::Bios | Firmware::RaspberryPi | Firmware::Other(_) => None,
    }
}

/// The iPXE build for a firmware, by the names of Debian's package. `snponly` and `undionly` use the
/// network card through the firmware's own driver, which evidently works.
fn bootloader(firmware: Firmware) -> Option<&'static str> {
    match firmware {
        Firmware::Bios => Some("undionly.kpxe"),
        Firmware::UefiX64 | Firmware::UefiX64Http => Some("snponly.efi"),
        // U-Boot runs EFI programs
        Firmware::UefiArm64 | Firmware::UefiArm64Http | Firmware::UbootArm64 => Some("ipxe-arm64.efi"),
        Firmware::RaspberryPi | Firmware::Other(_) => None,
    }
}
