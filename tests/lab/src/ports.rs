//! The switch's ports, each with a cable into a place where a machine can be put.
//!
//! A place is a network namespace; it stays while the machine in it is switched off or exchanged for another one.

use anyhow::Result;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::plan::Machine;
use crate::process::{Launcher, Network};
use crate::switch::{self, Voice};
use crate::wires::Wires;

/// The provisioning network with one port for every node of the plan.
pub(crate) struct Ports {
    /// the nodes, in the order of their ports
    pub(crate) plan: Vec<Machine>,
    pub(crate) wires: Wires,
    places: Vec<Network>,
}

impl Ports {
    /// Lays the bridge and a cable for every node.
    pub(crate) async fn lay(launcher: &Launcher, plan: Vec<Machine>) -> Result<Self> {
        let wires = Wires::open()?;
        wires.lay_bridge().await?;
        let mut places = Vec::new();
        for machine in &plan {
            let place = launcher.hold_network(&machine.name).await?;
            wires.plug(&machine.interface, machine.mac, place.pid).await?;
            places.push(place);
        }
        Ok(Self { plan, wires, places })
    }

    /// The switch speaks LLDP on every port, until what comes back is dropped.
    pub(crate) async fn speak(&self) -> Result<DropGuard> {
        self.speak_as(&Voice::default()).await
    }

    /// The same of another switch, or of one that has another name.
    pub(crate) async fn speak_as(&self, voice: &Voice) -> Result<DropGuard> {
        let stop = CancellationToken::new();
        switch::speak_as(voice, &self.plan, &self.wires, &stop).await?;
        Ok(stop.drop_guard())
    }

    /// The process that keeps the place behind a port.
    pub(crate) fn place(&self, port: usize) -> u32 {
        self.places[port].pid
    }

    /// Those of every port.
    pub(crate) fn places(&self) -> Vec<u32> {
        self.places.iter().map(|place| place.pid).collect()
    }
}
