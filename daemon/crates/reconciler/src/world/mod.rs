//! Effects carried out for real. Each ends as the one event the core waits for, whatever happens.

mod admin;
mod boot;
mod depart;
mod expiry;
mod health;
mod look;
mod power;
mod recover;
mod session;
mod sessions;
mod snapshots;
mod step;
mod survey;
pub(crate) mod talos;

use std::{future::Future, net::IpAddr, sync::Arc};

use hardware::{Inventory, MacAddr};
use lifecycle::{Effect, Event, NodeName, Watch};
use talos_api::LldpNeighbor;
use tokio::sync::mpsc;

pub use snapshots::Kept;

/// A machine that was met in maintenance mode.
#[derive(Debug, Clone, PartialEq)]
pub struct Met {
    /// where
    pub address: IpAddr,
    /// the card behind that address, where the host sees it: a router is in between otherwise
    pub card: Option<MacAddr>,
    /// its own account of itself
    pub inventory: Inventory,
    /// what the switches say to it, where its Talos listens
    pub neighbors: Vec<LldpNeighbor>,
}

/// A machine told something by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiding {
    /// where it answers
    pub address: IpAddr,
    /// whose slot it holds, as far as was known when it was last looked at
    pub node: Option<NodeName>,
    /// what it told
    pub watch: Watch,
}

/// Whoever carries effects out: the real machines, or a test's.
pub trait World: Send + Sync + 'static {
    /// Carries one effect out and says how it ended. Never called with [`Effect::AnswerBoot`].
    fn carry_out(self: Arc<Self>, effect: Effect) -> impl Future<Output = Event> + Send + 'static;

    /// Knocks at the addresses of one machine, in order; whoever does not wait in maintenance mode is nobody's business.
    fn meet(self: Arc<Self>, addresses: Vec<IpAddr>) -> impl Future<Output = Option<Met>> + Send + 'static;

    /// What machines tell by themselves, from now on; given out once. None where nobody is watched.
    fn tidings(&self) -> Option<mpsc::Receiver<Tiding>> {
        None
    }
}
