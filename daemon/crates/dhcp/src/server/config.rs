//! One network as the site has it.

use std::{collections::BTreeSet, net::Ipv4Addr, ops::RangeInclusive, time::Duration};

use ipnet::Ipv4Net;

/// How the daemon stands beside other DHCP servers of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// the only DHCP server: addresses and boot files
    Authoritative,
    /// somebody else gives addresses; only boot files (PXE 2.1 §2.2.3)
    Proxy,
    /// silent
    Off,
}

/// Who gets an address from the pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum PoolFor {
    /// machines that netboot, and whatever runs on them for a while after; a phone gets nothing
    #[default]
    NetbootClients,
    /// everybody
    Any,
}

/// One network as the site has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// which answers are given at all
    pub mode: Mode,
    /// the network
    pub subnet: Ipv4Net,
    /// whether we have no interface in it, and only relays bring its packets
    pub relayed: bool,
    /// our address in it, or for a relayed network the one that the relay knows: server identifier and next server
    pub server: Ipv4Addr,
    /// the boot server's port at that address
    pub http_port: u16,
    /// the boot server's HTTPS, if it has it: HTTP Boot firmware is sent there
    pub https: Option<Https>,
    /// whether HTTP Boot firmware starts only signed files: it gets its machine's own image instead of iPXE
    pub signed: bool,
    /// addresses for machines that hold no slot
    pub pool: Option<RangeInclusive<Ipv4Addr>>,
    /// who gets them
    pub pool_for: PoolFor,
    /// addresses that never come from the pool: virtual address, every node's
    pub excluded: BTreeSet<Ipv4Addr>,
    /// the addresses of the site's nodes: whoever uses one already keeps it
    pub nodes: BTreeSet<Ipv4Addr>,
    /// whether somebody looks on the wire if an address is in use, before a machine that is new to it
    /// is offered it
    pub probe: bool,
    /// default route
    pub gateway: Option<Ipv4Addr>,
    /// resolvers
    pub dns: Vec<Ipv4Addr>,
    /// time servers; etcd and certificates need the time before anything else is up
    pub ntp: Vec<Ipv4Addr>,
    /// domain name
    pub domain: Option<String>,
    /// durations
    pub timing: Timing,
}

/// How the boot server is reached by HTTPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Https {
    /// at our address
    pub port: u16,
    /// whether the site's iPXE trusts its certificate
    pub ipxe: bool,
}

/// Durations of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// how long an offered address waits for its request
    pub offer: Duration,
    /// how long a pool address is leased
    pub lease: Duration,
    /// how long a declined address is given to nobody
    pub quarantine: Duration,
    /// how long after a netboot the machine's operating system still gets a pool address
    pub remember: Duration,
    /// how long an address that nobody was found to use, and nobody was heard using since, needs no
    /// second look
    pub probed: Duration,
    /// in which time an unidentified machine is given iPXE only so often
    pub identify: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        Self {
            // RFC 2131 §3.1 leaves it open; a ROM may wait 32 s between two tries
            offer: Duration::from_secs(60),
            // longer than an install takes, so that no address changes under one
            lease: HOUR,
            quarantine: HOUR,
            remember: HOUR,
            probed: Duration::from_secs(5 * 60),
            identify: HOUR,
        }
    }
}
