//! The question a machine asks and cannot be answered here: what shall I boot?
//!
//! The answer can start an install, so it comes from the one task that owns the world, after it was
//! stored. This room only carries question and answer.

use std::{future::Future, net::IpAddr};

use boot::{AssetName, Image, LldpReport, discovery::Report};
use hardware::{Architecture, MacAddr};
use identity::Marks;

/// A machine in iPXE asks what to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootQuestion {
    /// the address it asks from
    pub from: IpAddr,
    /// hardware address, UUID and serial, as the machine itself says
    pub machine: Marks,
    /// how often this boot has asked before; 0 the first time
    pub attempt: u32,
    /// iPXE's platform: `efi` or `pcbios`
    pub firmware: Option<String>,
    /// what its kernel must be built for
    pub architecture: Architecture,
    /// what it heard from its switch; nothing on BIOS
    pub lldp: Vec<LldpReport>,
}

/// What the machine shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootReply {
    /// boot this
    Deploy {
        /// from the catalogue
        kernel: AssetName,
        /// from the catalogue
        initramfs: AssetName,
        /// the whole command line, without `initrd=`
        cmdline: String,
    },
    /// nobody knows which slot this is: ask again, or find it out meanwhile
    Identify {
        /// after so long
        seconds: u32,
        /// what is missing
        reason: String,
        /// with what it could find it out
        image: Option<Image>,
    },
    /// ask again
    Retry {
        /// after so long
        seconds: u32,
        /// what it waits for
        reason: String,
    },
    /// boot the machine's own disk
    LocalDisk {
        /// why
        reason: String,
    },
    /// nothing, and a person at the console shall know why
    Refused {
        /// a sentence
        reason: String,
    },
}

impl BootReply {
    /// A word for logs; a command line may hold what does not belong there.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Deploy { .. } => "deploy",
            Self::Identify { .. } => "identify",
            Self::Retry { .. } => "retry",
            Self::LocalDisk { .. } => "local-disk",
            Self::Refused { .. } => "refused",
        }
    }

    /// Why, for people; the answer to boot something speaks for itself.
    pub fn reason(&self) -> &str {
        match self {
            Self::Deploy { .. } => "the permit pays for one boot",
            Self::Identify { reason, .. }
            | Self::Retry { reason, .. }
            | Self::LocalDisk { reason }
            | Self::Refused { reason } => reason,
        }
    }
}

/// Whoever answers boot questions.
pub trait BootAuthority: Send + Sync + 'static {
    /// Answers when the decision is durable.
    fn ask(&self, question: BootQuestion) -> impl Future<Output = BootReply> + Send;

    /// Takes in what the machine with this card found out about itself and, when it can start a kernel by itself,
    /// answers what it shall boot.
    fn report(&self, mac: MacAddr, from: IpAddr, report: Report) -> impl Future<Output = BootReply> + Send;

    /// A machine at this address began to fetch an image. Nothing is answered to it.
    fn fetched(&self, from: IpAddr) -> impl Future<Output = ()> + Send {
        tracing::debug!(%from, "fetches an image");
        std::future::ready(())
    }
}
