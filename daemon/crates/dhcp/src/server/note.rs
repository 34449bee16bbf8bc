//! Why an answer, or a silence, is as it is.

use std::net::Ipv4Addr;

use hardware::{Firmware, MacAddr};

/// The reason of one decision, in a sentence for people and a label for counters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Note {
    /// mode off
    #[error("this network's DHCP is not ours to serve")]
    NotServing,
    /// a reply, or a message type only servers send
    #[error("not a request of a client")]
    NotARequest,
    /// no message type
    #[error("plain BOOTP without a DHCP message type")]
    Bootp,
    /// nothing to key on
    #[error("no Ethernet hardware address in the request")]
    NoHardwareAddress,
    /// giaddr is in none of our networks
    #[error(
        "the relay {relay} is not in this network: add its network to the site, or correct the relay's target"
    )]
    ForeignRelay {
        /// giaddr
        relay: Ipv4Addr,
    },
    /// a phone, or an operating system of a machine that never netbooted here
    #[error("not a machine that netboots and not known: the pool is not for it")]
    NotForThePool,
    /// the site has no pool
    #[error("the machine holds no slot and this network has no pool")]
    NoPool,
    /// every address is leased, offered, excluded or in quarantine
    #[error("no address of the pool is free: make it larger, or wait for leases to end")]
    PoolExhausted,
    /// the ordinary case
    #[error("address {address}, boot file {file}")]
    Booting {
        /// yiaddr
        address: Ipv4Addr,
        /// file name or URL
        file: String,
    },
    /// an address without boot options
    #[error("address {address}, nothing to boot")]
    AddressOnly {
        /// yiaddr
        address: Ipv4Addr,
    },
    /// it may not netboot now
    #[error("address {address}, and on to its own disk: it has nothing to boot from here")]
    LocalDisk {
        /// yiaddr
        address: Ipv4Addr,
    },
    /// it was given iPXE again and again and nobody knows it
    #[error(
        "address {address}, and on to its own disk: it was started again and again and is still not identified"
    )]
    WornOut {
        /// yiaddr
        address: Ipv4Addr,
    },
    /// nobody is known to have this node's address, and it uses it
    #[error("it keeps the node address {address}, of which there is no other record here")]
    Kept {
        /// ciaddr
        address: Ipv4Addr,
    },
    /// the address is new to this machine
    #[error("looks whether anybody uses {address} before offering it")]
    Looking {
        /// what would be offered
        address: Ipv4Addr,
    },
    /// somebody answers ARP there
    #[error("{address} is not offered: {user} uses it; find that machine and give it another address")]
    InUse {
        /// what would have been offered
        address: Ipv4Addr,
        /// who answered
        user: MacAddr,
    },
    /// authoritative is who is alone
    #[error("silent, because another DHCP server ({server}) answers here: stop it, or write `dhcp: proxy`")]
    Silenced {
        /// its identifier
        server: Ipv4Addr,
    },
    /// nothing in the house boots this firmware
    #[error("nothing to boot {firmware:?} with")]
    UnknownFirmware {
        /// what the client says it is
        firmware: Option<Firmware>,
    },
    /// a boot file beside somebody else's address
    #[error("boot file {file}")]
    Proxied {
        /// file name or URL
        file: String,
    },
    /// a boot file that is not there, beside somebody else's address
    #[error("on to its own disk: it has nothing to boot from here")]
    ProxiedToDisk,
    /// in proxy mode: addresses, and machines that boot nothing, are the other server's
    #[error("left to the network's own DHCP server")]
    LeftToOthers,
    /// RFC 2131 §4.3.2: it asks for an address that it cannot have
    #[error("the address {wanted} it asks for is not its own: told to begin again")]
    Refused {
        /// requested address or ciaddr
        wanted: Ipv4Addr,
    },
    /// another server identifier in the request
    #[error("it took the offer of {server}: another DHCP server answers in this network")]
    ChoseAnother {
        /// option 54
        server: Ipv4Addr,
    },
    /// it asks to go on with an address we know nothing of
    #[error("it asks to keep {wanted}, of which there is no record here: silent")]
    NoRecord {
        /// requested address or ciaddr
        wanted: Ipv4Addr,
    },
    /// fields that make no state of RFC 2131 §4.3.2
    #[error("the request names no address")]
    NoAddress,
    /// DECLINE of a pool address
    #[error("{address} is in use by somebody else, says {mac}: given to nobody for a while")]
    Declined {
        /// the address
        address: Ipv4Addr,
        /// who found out
        mac: MacAddr,
    },
    /// DECLINE of a slot address
    #[error(
        "the slot address {address} is in use by somebody else, says {mac}: find that machine and give it another address"
    )]
    ReservationConflict {
        /// the address
        address: Ipv4Addr,
        /// who found out
        mac: MacAddr,
    },
    /// RELEASE
    #[error("{address} given back")]
    Released {
        /// the address
        address: Ipv4Addr,
    },
    /// RELEASE or DECLINE of something it does not have
    #[error("it gives up {address}, which it does not have from us")]
    NotItsAddress {
        /// the address
        address: Ipv4Addr,
    },
    /// INFORM
    #[error("options for {address}")]
    Informed {
        /// ciaddr
        address: Ipv4Addr,
    },
}

impl Note {
    /// A short name for counters.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotServing => "not-serving",
            Self::NotARequest => "not-a-request",
            Self::Bootp => "bootp",
            Self::NoHardwareAddress => "no-hardware-address",
            Self::ForeignRelay { .. } => "foreign-relay",
            Self::NotForThePool => "not-for-the-pool",
            Self::NoPool => "no-pool",
            Self::PoolExhausted => "pool-exhausted",
            Self::Booting { .. } => "booting",
            Self::AddressOnly { .. } => "address-only",
            Self::LocalDisk { .. } => "local-disk",
            Self::WornOut { .. } => "worn-out",
            Self::Kept { .. } => "kept",
            Self::Looking { .. } => "looking",
            Self::InUse { .. } => "in-use",
            Self::Silenced { .. } => "silenced",
            Self::UnknownFirmware { .. } => "unknown-firmware",
            Self::Proxied { .. } => "proxied",
            Self::ProxiedToDisk => "proxied-to-disk",
            Self::LeftToOthers => "left-to-others",
            Self::Refused { .. } => "refused",
            Self::ChoseAnother { .. } => "chose-another",
            Self::NoRecord { .. } => "no-record",
            Self::NoAddress => "no-address",
            Self::Declined { .. } => "declined",
            Self::ReservationConflict { .. } => "reservation-conflict",
            Self::Released { .. } => "released",
            Self::NotItsAddress { .. } => "not-its-address",
            Self::Informed { .. } => "informed",
        }
    }

    /// Whether a person should see it without asking.
    pub fn is_alarming(&self) -> bool {
        matches!(
            self,
            Self::ForeignRelay { .. }
                | Self::PoolExhausted
                | Self::UnknownFirmware { .. }
                | Self::ChoseAnother { .. }
                | Self::Declined { .. }
                | Self::ReservationConflict { .. }
                | Self::WornOut { .. }
                | Self::Kept { .. }
                | Self::InUse { .. }
                | Self::Silenced { .. }
        )
    }
}
