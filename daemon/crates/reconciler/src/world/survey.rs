//! The whole site asked once, for a person who takes a running cluster over: who answers at each node's address, and at the
//! addresses that were leased. Nothing is changed by it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use lifecycle::{Machine, NodeName, Observation, Runner, Sighted, Survey};
use talos_api::{Client, Peer, probe};
use tokio::task::JoinSet;

use super::{
    look::{LOOK, plainly},
    talos::{Cluster, machine_api},
};

/// Addresses asked at one time.
const AT_ONCE: usize = 64;

impl Cluster {
    /// Asks every node where it should be, and everybody at these addresses; who runs elsewhere is known by its name.
    pub async fn survey(self: Arc<Self>, leased: &[IpAddr]) -> Survey {
        let plan = self.site.plan();
        let own: BTreeMap<&NodeName, IpAddr> =
            plan.nodes.iter().map(|(name, node)| (name, node.address)).collect();
        let mut waiting: BTreeSet<IpAddr> = own.values().chain(leased).copied().collect();
        // the shared address belongs to no machine
        plan.virtual_address.iter().for_each(|shared| {
            waiting.remove(shared);
        });
        let mut asking = JoinSet::new();
        let mut seen = BTreeMap::new();
        loop {
            while asking.len() < AT_ONCE
                && let Some(address) = waiting.pop_first()
            {
                let cluster = Arc::clone(&self);
                asking.spawn(async move { (address, look(&cluster, address).await) });
            }
            match asking.join_next().await {
                None => break,
                Some(Ok((address, sighted))) => {
                    seen.insert(address, sighted);
                }
                Some(Err(error)) => tracing::error!(%error, "a look at an address ended without a word"),
            }
        }
        let sighted = |name: &NodeName, own: IpAddr| {
            let there = seen.get(&own).cloned();
            if matches!(there, Some(Sighted::Ours(_))) {
                return there;
            }
            let elsewhere =
                seen.iter().filter(|(address, _)| !plan.nodes.values().any(|it| it.address == **address));
            let named =
                |sighted: &&Sighted| matches!(sighted, Sighted::Ours(runner) if runner.hostname == name.0);
            elsewhere.map(|(_, sighted)| sighted).find(named).cloned().or(there)
        };
        own.into_iter().filter_map(|(name, address)| Some((name.clone(), sighted(name, address)?))).collect()
    }
}

async fn look(cluster: &Cluster, address: IpAddr) -> Sighted {
    match probe(machine_api(address), cluster.credentials().authority(), LOOK).await {
        Err(error) => Sighted::Silent { detail: error.to_string() },
        Ok(Peer::Maintenance { .. }) => Sighted::Waiting { address },
        Ok(Peer::Foreign { subject }) => Sighted::Foreign { address, subject },
        Ok(Peer::Ours) => runner(cluster, address).await.unwrap_or_else(|detail| Sighted::Silent { detail }),
    }
}

async fn runner(cluster: &Cluster, address: IpAddr) -> Result<Sighted, String> {
    let words = |error: &dyn std::fmt::Display| format!("it answers with our CA, and then: {error}");
    let client = Client::configured_once(machine_api(address), &cluster.credentials()).await;
    let client = client.map_err(|error| words(&error))?.with_deadline(LOOK);
    let hostname = client.hostname().await.map_err(|error| words(&error))?.unwrap_or_default();
    match plainly(cluster, address).await.map_err(|error| words(&error))? {
        Observation::Configured { address, boot_id, inventory, etcd, .. } => {
            Ok(Sighted::Ours(Box::new(Runner {
                address,
                hostname,
                machine: Machine::from(&inventory),
                boot_id,
                etcd,
            })))
        }
        _ => Err("it answers as another machine than a moment ago".to_owned()),
    }
}
