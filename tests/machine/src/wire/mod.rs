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

pub use disk::Medium;
pub use driver::{Ended, Options, Start, run};
