//! What goes away in the middle of a hand-over to a real control plane, and must not matter: nodes without a network that boot
//! again, the API server, the machine that has the cluster's address.

use anyhow::Result;

use super::Lab;
use crate::machines;
use crate::report::Event;

impl Lab {
    /// The same in the middle of the hand-over, and it comes back by itself.
    async fn reboots(&mut self, name: &str) -> Result<()> {
        let before = self.power_cycle(name).await?;
        self.follow(&format!("{name} to come back"), |lab| {
            let seen = lab.summary.machines.get(name);
            seen.is_some_and(|seen| seen.counted.booted_own_disk_since(before) && machines::runs(seen))
        })
        .await
    }

    /// While no node has a network, a worker and a control plane boot again and the API server dies; with half of the
    /// objects there, the API server dies again, and the control plane that has the cluster's address loses its power.
    pub(super) async fn go_through_outages(&mut self) -> Result<()> {
        let names = self.machines.names();
        let count = names.len();
        self.follow("agents on nodes without a network", |lab| {
            let seen = lab.kubernetes.as_ref().map(|kubernetes| kubernetes.seen).unwrap_or_default();
            (seen.nodes, seen.agents, seen.ready) == (count, count, 0)
        })
        .await?;
        let control_planes = names.iter().filter(|name| name.contains("-cp-"));
        let second = control_planes.clone().nth(1).cloned();
        let worker = names.iter().find(|name| name.contains("-w-")).cloned();
        for name in [worker, second].into_iter().flatten() {
            self.reboots(&name).await?;
        }
        self.restart_apiserver().await?;
        if let Some(kubernetes) = &self.kubernetes {
            kubernetes.release_networks();
        }
        self.report.tell(&Event::Lab { what: "the agents bring their nodes a network".to_owned() });
        self.follow("1Password Connect to come", |lab| {
            lab.kubernetes.as_ref().is_some_and(|kubernetes| kubernetes.seen.connect)
        })
        .await?;
        self.restart_apiserver().await?;
        if let Some(first) = control_planes.clone().next().filter(|_| control_planes.count() > 2).cloned() {
            self.reboots(&first).await?;
        }
        Ok(())
    }

    async fn restart_apiserver(&mut self) -> Result<()> {
        let Some(kubernetes) = &mut self.kubernetes else { return Ok(()) };
        kubernetes.restart_apiserver().await?;
        self.report.tell(&Event::Lab { what: "the API server died and came back".to_owned() });
        Ok(())
    }
}
