//! Switches machines on and off: by Redfish, by Wake-on-LAN, by a program of the site's own.
//!
//! Each call is one attempt with a time limit, and says in words what it did. When somebody may be switched, and how often,
//! is decided elsewhere. No task outlives its call.

mod error;
mod hook;
mod http;
mod pins;
mod redfish;
mod tls;
mod wake;

use std::time::Duration;

use hardware::MacAddr;
use zeroize::Zeroizing;

pub use crate::{
    error::PowerError,
    pins::{PinError, Pinned, Pins},
    wake::{Wire, packet},
};

/// How a machine is switched.
#[derive(Debug, Clone)]
pub enum Means {
    /// its own management controller, or a chassis
    Redfish(Redfish),
    /// a packet on its wire, which can only switch it on
    WakeOnLan(Vec<Wire>),
    /// a program that knows how
    Hook(Hook),
}

/// A service processor that speaks Redfish over TLS.
#[derive(Clone)]
pub struct Redfish {
    /// a name or an address
    pub host: String,
    /// its port
    pub port: u16,
    /// which of its systems; needs no name where there is one
    pub system: Option<String>,
    /// who we are there
    pub username: String,
    /// what proves it
    pub password: Zeroizing<String>,
    /// SHA-256 of its certificate, where the site names it; otherwise the one that was seen first counts
    pub certificate: Option<[u8; 32]>,
    /// `Pxe` or `UefiHttp`
    pub network_boot: &'static str,
}

impl std::fmt::Debug for Redfish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redfish({}:{})", self.host, self.port)
    }
}

/// A program, started as it is written: no shell is in between.
#[derive(Debug, Clone)]
pub struct Hook {
    /// the program and its arguments
    pub command: Vec<String>,
    /// how long it may take
    pub limit: Duration,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// on, if it is off
    On,
    /// off, at once
    Off,
    /// off and on
    Cycle,
    /// its next boot is from the network; its power stays as it is
    NetworkBoot,
    /// only looked at
    Status,
}

impl Action {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Cycle => "cycle",
            Self::NetworkBoot => "network-boot",
            Self::Status => "status",
        }
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Ask {
    /// which node's machine
    pub node: String,
    /// where it is plugged in, for people and programs
    pub port: Option<String>,
    /// its cards, as far as they are known
    pub macs: Vec<MacAddr>,
    /// what
    pub action: Action,
    /// its next boot, and only that, is from the network
    pub network_boot: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// in words
    pub summary: String,
}

/// Does it.
///
/// # Errors
/// In words for a person. Nothing is known then of what the machine did.
pub async fn act(means: &Means, pins: &Pins, ask: &Ask) -> Result<Done, PowerError> {
    match means {
        Means::Redfish(redfish) => redfish::act(redfish, pins, ask).await,
        Means::WakeOnLan(wires) => wake::act(wires, ask),
        Means::Hook(hook) => hook::act(hook, ask).await,
    }
}
