//! The Talos machine API, dialled machine by machine, with a client that knows whom it talks to.
//!
//! Provisioning comes here three times: [`probe()`] tells from one TLS handshake whether an address is ours, waits in
//! maintenance mode, or belongs to somebody else; [`Client::maintenance`] gives a machine its config while its key
//! stays the one first seen; [`Client::configured`] speaks mutual TLS under the cluster's own authority.
//!
//! The messages are generated from protocol files of our own ([`proto`]); tests compare those with Talos's.

mod certificate;
mod client;
mod connection;
mod credentials;
mod dial;
mod error;
mod etcd;
mod fingerprint;
mod kubeconfig;
mod machine;
pub mod observe;
mod probe;
pub mod proto;
mod reply;
mod resource;
pub mod tls;
mod volumes;

pub use client::{Client, DEADLINE, PORT};
pub use credentials::{Authority, Credentials, CredentialsError};
pub use error::{CallError, ConnectError, ProbeError};
pub use etcd::{EtcdMember, EtcdStatus};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use kubeconfig::Kubeconfig;
pub use machine::{Applied, ApplyMode, RebootMode, Reset, Service, Version, Wipe};
pub use observe::{MachineStatus, Stage, Unmet};
pub use probe::{Peer, probe};
pub use resource::{Change, Kind, Resource};
pub use volumes::{DISCOVERED_VOLUMES, Volume};
