//! The etcd of the simulated cluster: a membership that members tell each other, newest revision wins.
//!
//! Not Raft: the leader is the voter that joined first among those that are heard, or was given the lead, and only a
//! leader that hears a quorum changes anything. That keeps what a provisioner can see: one learner at a time,
//! no change without quorum, one holder of a virtual address, two clusters never merge.

use std::{collections::BTreeMap, net::IpAddr};

use sha2::{Digest as _, Sha256};

/// One member's copy of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cluster {
    /// drawn at bootstrap: two bootstraps are two clusters
    pub id: u64,
    /// grows with every change
    pub revision: u64,
    /// by member id
    pub members: BTreeMap<u64, Member>,
    /// who holds a virtual address
    pub elections: BTreeMap<IpAddr, u64>,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Member {
    /// hostname at the time of its first start; empty until then
    pub name: String,
    /// where its etcd answers
    pub address: IpAddr,
    /// without a vote yet
    pub learner: bool,
    /// its place among those that would lead: the revision at which it joined, or less where the lead was handed over
    pub joined: u64,
}

/// What EPHEMERAL holds of etcd: it survives reboots.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DataDirectory {
    /// this member
    pub me: u64,
    /// its copy
    pub cluster: Cluster,
}

impl Cluster {
    /// A snapshot of this copy: not etcd's own format, with its checksum as etcd puts it at the end.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        let hash = Sha256::digest(&bytes);
        bytes.extend(hash);
        bytes
    }

    /// What a snapshot is of.
    pub(crate) fn from_snapshot(snapshot: &[u8]) -> Result<Self, String> {
        let (bytes, hash) = snapshot.split_at_checked(snapshot.len().saturating_sub(32)).unwrap_or_default();
        if Sha256::digest(bytes)[..] != *hash {
            return Err("it has no hash, or a wrong one".to_owned());
        }
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// The new cluster of a bootstrap.
    pub(crate) fn formed(id: u64, me: u64, name: String, address: IpAddr) -> Self {
        let member = Member { name, address, learner: false, joined: 1 };
        Self { id, revision: 1, members: BTreeMap::from([(me, member)]), elections: BTreeMap::new() }
    }

    /// How many voters must agree.
    pub fn quorum(&self) -> usize {
        self.voters().count() / 2 + 1
    }

    fn voters(&self) -> impl Iterator<Item = (u64, &Member)> {
        self.members.iter().filter(|(_, member)| !member.learner).map(|(&id, member)| (id, member))
    }

    /// The leader, seen by someone who hears these members: none without quorum.
    pub(crate) fn leader(&self, hears: impl Fn(u64) -> bool) -> Option<u64> {
        let heard: Vec<(u64, &Member)> = self.voters().filter(|&(id, _)| hears(id)).collect();
        if heard.len() < self.quorum() {
            return None;
        }
        heard.iter().min_by_key(|(id, member)| (member.joined, *id)).map(|&(id, _)| id)
    }

    /// Gives the lead to this member.
    pub(crate) fn lead(&mut self, id: u64) {
        for (other, member) in &mut self.members {
            member.joined = if *other == id { 0 } else { member.joined + 1 };
        }
        self.revision += 1;
    }

    /// Adds a learner and says its id; etcd allows one at a time. A learner of this address that never
    /// started is taken again, as Talos 1.14 does (talos.md §9.3).
    pub(crate) fn add_learner(&mut self, id: u64, address: IpAddr) -> Result<u64, String> {
        if let Some((&id, member)) = self.members.iter().find(|(_, member)| member.address == address) {
            if member.learner && member.name.is_empty() {
                return Ok(id);
            }
            return Err("etcdserver: Peer URLs already exists".to_owned());
        }
        if self.members.values().any(|member| member.learner) {
            return Err("etcdserver: too many learner members in cluster".to_owned());
        }
        self.revision += 1;
        let member = Member { name: String::new(), address, learner: true, joined: self.revision };
        self.members.insert(id, member);
        Ok(id)
    }

    /// A member started and says its name.
    pub(crate) fn started(&mut self, id: u64, name: &str) {
        if let Some(member) = self.members.get_mut(&id)
            && member.name != name
        {
            member.name = name.to_owned();
            self.revision += 1;
        }
    }

    /// Gives a learner its vote.
    pub(crate) fn promote(&mut self, id: u64, in_sync: bool) -> Result<(), String> {
        let member = self.members.get_mut(&id).ok_or("etcdserver: member not found")?;
        if !member.learner {
            return Err("etcdserver: can only promote a learner member".to_owned());
        }
        if !in_sync {
            return Err(
                "etcdserver: can only promote a learner member which is in sync with leader".to_owned()
            );
        }
        member.learner = false;
        self.revision += 1;
        Ok(())
    }

    /// Whether a member can be removed: etcd keeps a quorum of voters that have started, and its last one for ever
    /// (its strict reconfiguration check). Learners always can.
    pub(crate) fn may_remove(&self, id: u64) -> Result<(), &'static str> {
        let member = self.members.get(&id).ok_or("etcdserver: member not found")?;
        let others: Vec<&Member> =
            self.voters().filter(|(voter, _)| *voter != id).map(|(_, member)| member).collect();
        let started = others.iter().filter(|member| !member.name.is_empty()).count();
        if !member.learner && started < others.len() / 2 + 1 {
            return Err("etcdserver: re-configuration failed due to not enough started members");
        }
        Ok(())
    }

    /// Removes a member.
    pub(crate) fn remove(&mut self, id: u64) -> Result<(), String> {
        self.may_remove(id)?;
        self.members.remove(&id);
        self.elections.retain(|_, holder| *holder != id);
        self.revision += 1;
        Ok(())
    }

    /// Gives a free virtual address to a candidate.
    pub(crate) fn elect(&mut self, address: IpAddr, member: u64) {
        if !self.elections.contains_key(&address) && self.members.contains_key(&member) {
            self.elections.insert(address, member);
            self.revision += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn one_learner_at_a_time_and_it_needs_to_be_in_sync_for_its_vote() {
        let mut cluster = Cluster::formed(1, 10, "a".into(), address(1));
        cluster.add_learner(20, address(2)).unwrap();
        assert!(cluster.add_learner(30, address(3)).unwrap_err().contains("too many learner"));
        assert!(cluster.promote(20, false).unwrap_err().contains("in sync"));
        cluster.promote(20, true).unwrap();
        cluster.add_learner(30, address(3)).unwrap();
        assert_eq!(cluster.quorum(), 2);
    }

    #[test]
    fn a_learner_that_never_started_is_taken_again() {
        let mut cluster = Cluster::formed(1, 10, "a".into(), address(1));
        assert_eq!(cluster.add_learner(20, address(2)), Ok(20));
        assert_eq!(cluster.add_learner(21, address(2)), Ok(20));
        cluster.started(20, "b");
        assert!(cluster.add_learner(22, address(2)).unwrap_err().contains("already exists"));
    }

    #[test]
    fn without_quorum_nobody_leads() {
        let mut cluster = Cluster::formed(1, 10, "a".into(), address(1));
        cluster.add_learner(20, address(2)).unwrap();
        cluster.promote(20, true).unwrap();
        assert_eq!(cluster.leader(|id| id == 10), None);
        assert_eq!(cluster.leader(|_| true), Some(10), "the first to join leads, whatever the ids");
    }

    #[test]
    fn a_removed_member_loses_its_virtual_address() {
        let mut cluster = Cluster::formed(1, 10, "a".into(), address(1));
        cluster.elect(address(9), 10);
        cluster.elect(address(9), 20);
        assert_eq!(cluster.elections.get(&address(9)), Some(&10), "held addresses are not given twice");
        cluster.add_learner(20, address(2)).unwrap();
        assert!(cluster.remove(10).unwrap_err().contains("not enough started"), "the last vote stays");
        cluster.promote(20, true).unwrap();
        assert!(cluster.remove(10).unwrap_err().contains("not enough started"), "nobody else runs");
        cluster.started(20, "b");
        cluster.remove(10).unwrap();
        assert!(cluster.elections.is_empty());
        assert!(cluster.remove(10).unwrap_err().contains("not found"));
    }
}
