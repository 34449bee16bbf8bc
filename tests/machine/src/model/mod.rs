//! The pure model of a Talos machine: hardware, firmware, installer, machine API, etcd and trustd as a
//! function of calls and time. No clock, no socket, no thread: `now` is milliseconds and comes in;
//! what the machine does to the outside goes out as [`Happening`]s. The simulation drives it in memory
//! ([`Rack`]), `crate::wire` puts the same model on a network, so that there is one Talos and not two.
//!
//! Section numbers in this folder are those of the project's Talos reference (`talos.md`); the file
//! `tests/checklist` holds the model to them, one test a fact.

mod api;
mod config;
mod definitions;
mod disk;
mod etcd;
mod etcd_calls;
mod exchange;
mod hardware;
mod health;
mod kubernetes;
mod life;
mod machine;
mod manifests;
mod membership;
mod neighbors;
mod node;
mod pace;
mod peers;
mod rack;
mod real;
mod request;
mod resources;
mod services;
mod status;
mod upgrade;

pub use config::{Authority, Config, InstallDisk, Part, Role, fingerprint};
pub use disk::{Storage, SystemDisk};
pub use etcd::{Cluster, DataDirectory, Member};
pub use exchange::{NodeReport, PeerAnswer, PeerCall, PeerRefusal, StaticPod};
pub use hardware::{BootOrder, Factory, Hardware, Image};
pub use health::{CHECKS, Check, NodeHealth, Said, Verdict};
pub use machine::{Counters, Happening, Instruction, Machine, Stage};
pub(crate) use manifests::manifests;
pub use neighbors::Neighbor;
pub use pace::Pace;
pub use rack::Rack;
pub use real::RealEtcd;
pub use request::{ApplyMode, Request, Resource, Response, Service};
pub use status::{Caller, Code, ServerIdentity, Status};
