//! The model on a real network: one process is one machine in its own network namespace.
//!
//! `driver` owns the turn: it advances the model, does what happened (addresses, servers, calls to other
//! machines) and writes the disk. Everything else reaches the model through [`world::World`]. Tasks end by
//! being dropped: a machine that loses power says no goodbye.

pub mod dhcp;
pub mod ipxe;

mod apid;
mod capture;
mod client;
mod cosi;
mod disk;
mod driver;
mod etcd;
mod etcd_api;
mod events;
mod firmware;
mod happenings;
mod health;
mod http;
pub mod init;
mod install;
mod kubelet;
mod kubernetes;
mod link;
mod lldp;
mod machine_api;
mod peers;
mod pki;
mod server;
mod servers;
mod trustd;
mod upgrade;
mod world;

use std::net::IpAddr;

use crate::model::{PeerAnswer, PeerCall, PeerRefusal};

pub use disk::Medium;
pub use driver::{Ended, Options, Start, run};

/// Asks etcd on another machine what a machine asks that joins it, and goes on to the leader where that must be asked. `real` where
/// the etcd there is a real one.
///
/// # Errors
/// etcd's own words, or that nobody listens.
pub async fn ask_etcd(mut to: IpAddr, call: &PeerCall, real: bool) -> Result<PeerAnswer, PeerRefusal> {
    if real {
        return etcd::ask(to, call).await;
    }
    let mut hops = 0;
    loop {
        match peers::ask(to, call).await {
            Err(PeerRefusal::NotLeader(at)) if hops < 3 => (to, hops) = (at, hops + 1),
            answer => return answer,
        }
    }
}
