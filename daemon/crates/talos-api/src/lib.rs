//! The Talos machine API, dialled machine by machine, with a client that knows whom it talks to.
//!
//! Provisioning comes here three times: [`probe()`] tells from one TLS handshake whether an address is ours, waits in
//! maintenance mode, or belongs to somebody else; [`Client::maintenance`] gives a machine its config while its key
//! stays the one first seen; [`Client::configured`] speaks mutual TLS under the cluster's own authority.
//!
//! The messages are generated from protocol files of our own ([`proto`]); tests compare those with Talos's.

mod access;
mod capture;
mod certificate;
mod client;
mod config;
mod connection;
mod credentials;
mod dial;
mod disks;
mod elder;
mod error;
mod etcd;
mod events;
mod fingerprint;
mod images;
mod install;
mod kubeconfig;
mod load;
mod logs;
mod machine;
mod membership;
mod meta;
mod mirror;
mod neighbors;
pub mod observe;
mod probe;
pub mod proto;
mod recover;
mod reply;
mod resource;
mod schematic;
mod snapshot;
pub mod tls;
mod upgrade;
mod upkeep;
mod volumes;

pub use access::ClientConfiguration;
pub use client::{Client, DEADLINE, PORT};
pub use credentials::{Authority, Credentials, CredentialsError};
pub use disks::{BlockDevice, WipeMethod};
pub use error::{CallError, ConnectError, ProbeError};
pub use etcd::{EtcdMember, EtcdStatus};
pub use events::{Event, Happening, Step, Tail};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use images::{Image, ImageNamespace, LayerProgress};
pub use kubeconfig::Kubeconfig;
pub use load::{LoadAverage, Memory, SystemStat};
pub use logs::Text;
pub use machine::{Applied, ApplyMode, RebootMode, Reset, Service, Version, Wipe};
pub use mirror::{Contents, Mirror};
pub use neighbors::{LLDP_NEIGHBORS, LldpNeighbor};
pub use observe::{MachineStatus, Stage, Unmet};
pub use probe::{Peer, probe};
pub use recover::RecoverError;
pub use resource::{Change, Kind, Resource};
pub use snapshot::SnapshotError;
pub use upgrade::ShutdownMode;
pub use upkeep::{AlarmKind, EtcdAlarm};
pub use volumes::{DISCOVERED_VOLUMES, Volume};
