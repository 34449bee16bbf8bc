//! A real etcd behind the machine. The model still decides when etcd begins, joins and asks for its vote; who its members are, who
//! leads and what is refused is the real one's business, and is mirrored here.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    etcd::{Cluster, DataDirectory, Member},
    machine::Machine,
    node::{Etcd, Timer},
};

/// How often it is looked whether the real one runs, in milliseconds.
const AGAIN: u64 = 100;

/// What the real one said last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Real {
    /// since it was started for this boot
    seen: bool,
    leader: Option<u64>,
}

/// What a real etcd is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealEtcd {
    /// the member's name
    pub name: String,
    /// where it listens
    pub address: IpAddr,
    /// what EPHEMERAL holds of it
    pub data: DataDirectory,
    /// whether the service runs, or is about to
    pub runs: bool,
}

impl Machine {
    /// A real etcd stands behind this machine as soon as it is a control plane.
    #[must_use]
    pub fn with_real_etcd(mut self) -> Self {
        self.real = Some(Real::default());
        self
    }

    /// What the real one has to be now; nothing where EPHEMERAL holds no data of it.
    pub fn real_etcd(&self) -> Option<RealEtcd> {
        self.real.as_ref()?;
        let data = self.data()?.clone();
        let node = self.node();
        let runs = node.is_some_and(|node| matches!(node.etcd, Etcd::Starting { .. } | Etcd::Running { .. }));
        let name = node.map(|node| node.hostname.clone()).unwrap_or_default();
        let address = self.address().unwrap_or_else(|| [0, 0, 0, 0].into());
        Some(RealEtcd { name, address, data, runs: runs && self.address().is_some() })
    }

    /// What the real one says of its members. Who leads has the virtual addresses.
    pub fn mirror_etcd(
        &mut self,
        cluster: u64,
        me: u64,
        members: BTreeMap<u64, Member>,
        leader: Option<u64>,
        now: u64,
    ) {
        let shared: Vec<IpAddr> = self.node().map_or_else(Vec::new, |node| {
            node.config.virtual_addresses.iter().map(|&(_, address)| address).collect()
        });
        let runs =
            self.node().is_some_and(|node| matches!(node.etcd, Etcd::Starting { .. } | Etcd::Running { .. }));
        if let Some(system) = self.storage.system.as_mut().filter(|system| runs && system.etcd.is_some()) {
            let elections = leader.map_or_else(BTreeMap::new, |leader| {
                shared.into_iter().map(|address| (address, leader)).collect()
            });
            let cluster = Cluster { id: cluster, revision: 0, members, elections };
            system.etcd = Some(DataDirectory { me, cluster });
            self.real = Some(Real { seen: true, leader });
        }
        self.settle(now);
    }

    /// The real one's process ended by itself.
    pub fn etcd_ended(&mut self, reason: String, now: u64) {
        if let Some(node) = self.node_mut()
            && matches!(node.etcd, Etcd::Starting { .. } | Etcd::Running { .. })
        {
            node.generation += 1;
            node.etcd = Etcd::Failed { reason };
        }
        self.real = Some(Real::default());
        self.settle(now);
    }

    /// The real one could not be made from the snapshot.
    pub fn etcd_not_restored(&mut self, reason: &str, now: u64) {
        self.is_not_restored(reason);
        self.settle(now);
    }

    /// The real one was left by this member.
    pub fn etcd_left(&mut self, now: u64) {
        self.has_left_etcd();
        self.real = Some(Real::default());
        self.settle(now);
    }

    /// The leader as the real one says, while it runs; `None` where there is none behind this machine.
    pub(crate) fn real_leader(&self) -> Option<Option<u64>> {
        let real = self.real.as_ref()?;
        let runs = self.node().is_some_and(|node| matches!(node.etcd, Etcd::Running { .. }));
        Some(real.leader.filter(|_| runs && real.seen))
    }

    /// Whether etcd's start is still waited for, and is looked at again then.
    pub(crate) fn awaits_real_etcd(&mut self, run: u32, now: u64) -> bool {
        let awaits = self.real.as_ref().is_some_and(|real| !real.seen);
        if awaits {
            self.node_after(now, AGAIN, Timer::EtcdStarted(run));
        }
        awaits
    }
}
