//! What the store holds, and how the core goes on from it: records of older programs, and doubt about a backup.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Approval, Cluster, ClusterPlan, Core, Guard, Guards, Intent, Ledger, NodeName, NodeState, Note, Progress,
    Strict, Time, Write,
    core::{ClusterWork, Pending},
    departure::DepartureWork,
    ids::Ids,
    left::Home,
    recovery::RecoveryWork,
    slot::Slot,
    slots::Slots,
};

/// The version of the records' shape. 1 knew fewer states and nothing of who pushed a config.
const VERSION: u32 = 2;

/// What somebody must know who lost the store and whatever is kept beside it. Nothing tells that from a new site while
/// the machines that could are off.
const EMPTY: &str = "it knows of no machine: on a new site there is none. If this cluster was founded before, bring a backup \
                     of the store back, or let the control planes that have its data answer before anything is deployed: a \
                     blank machine in the place of the only one would found a second cluster";

/// The records of the store, as they were read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Records {
    /// under the key `cluster`
    pub cluster: Option<Value>,
    /// under the keys `node/NAME`
    pub nodes: BTreeMap<NodeName, Value>,
    /// the store is older than what was done since: a backup that was brought back
    pub is_older: bool,
}

/// The store cannot be gone on from.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// the state belongs to somebody else's machines
    #[error(
        "the stored state belongs to the cluster {stored}, the site's secrets are of the cluster {wanted}: \
         give each cluster its own state directory, or bring the right secrets back"
    )]
    OtherCluster {
        /// `cluster.id` in the store
        stored: String,
        /// `cluster.id` of the secrets bundle
        wanted: String,
    },
    /// written by a newer program
    #[error("the record {key} has version {found}, this program reads up to {VERSION}: use the newer ichord")]
    Version {
        /// which record
        key: String,
        /// its version
        found: u32,
    },
    /// not what this program writes
    #[error("the record {key} cannot be read: {source}")]
    Malformed {
        /// which record
        key: String,
        /// why
        source: serde_json::Error,
    },
}

#[derive(Serialize, Deserialize)]
struct ClusterRecord {
    version: u32,
    cluster_id: String,
    #[serde(default)]
    ledger: Ledger,
    #[serde(flatten)]
    cluster: Cluster,
}

#[derive(Serialize, Deserialize)]
struct NodeRecord {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    approved: Option<Approval>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    home: Option<Home>,
    #[serde(flatten)]
    state: NodeState,
}

impl Core {
    /// Builds the core from what the store holds; an empty store is a site that was never started.
    pub fn restore(plan: ClusterPlan, records: &Records, seed: u64) -> Result<Self, RestoreError> {
        Self::restore_with(Strict, plan, records, seed)
    }
}

impl<G: Guards> Core<G> {
    /// The same, with guards of the caller's choice: the simulation leaves one out.
    pub fn restore_with(
        guards: G,
        plan: ClusterPlan,
        records: &Records,
        seed: u64,
    ) -> Result<Self, RestoreError> {
        let mut pending = Pending::default();
        let mut ledger = Ledger::default();
        let cluster = match &records.cluster {
            Some(value) => {
                let record: ClusterRecord = read("cluster", value)?;
                if record.cluster_id != plan.cluster_id {
                    return Err(RestoreError::OtherCluster {
                        stored: record.cluster_id,
                        wanted: plan.cluster_id,
                    });
                }
                ledger = record.ledger;
                record.cluster
            }
            None => {
                pending.cluster = true;
                ledger.unlooked = guards.on(Guard::Newness);
                pending.notes.push(Note {
                    subject: "cluster".to_owned(),
                    what: "the store is empty".to_owned(),
                    evidence: vec![EMPTY.to_owned()],
                });
                Cluster::new()
            }
        };
        let mut slots = Slots::default();
        for (name, value) in &records.nodes {
            let record: NodeRecord = read(&format!("node/{name}"), value)?;
            let slot = Slot::new(brought_up(record.version, record.state));
            let slot = Slot { approved: record.approved, home: record.home, ..slot };
            slots.insert(name.clone(), slot);
        }
        let mut core = Self {
            guards,
            plan,
            cluster,
            slots,
            left: BTreeSet::new(),
            work: ClusterWork::default(),
            departing: DepartureWork::default(),
            recovering: RecoveryWork::default(),
            unstarted: None,
            ledger,
            came_back: BTreeSet::new(),
            outside: BTreeMap::new(),
            ids: Ids::new(seed),
            revision: 0,
            published: None,
            published_at: Time::default(),
            pending,
            last: Time::default(),
        };
        core.keep_left(&BTreeMap::new());
        if records.is_older && core.guards.on(Guard::Newness) {
            core.distrust();
        }
        core.slots.file();
        Ok(core)
    }

    /// The store is a backup: what happened after it is unknown. It revives no permit, and does not
    /// prove that the cluster is new.
    fn distrust(&mut self) {
        let doubt = "the store was brought back from a backup, so that it does not know what was done since";
        self.ledger.unsure = true;
        self.ledger.boots.clear();
        // what was taken out then may have come back since, or another one gone
        self.ledger.departures.clear();
        // and etcd may have begun long ago
        self.ledger.recovery = None;
        self.write_cluster();
        for name in self.slots.names() {
            let Some(slot) = self.slots.get_mut(&name) else { continue };
            // a word that gave the slot to somebody, or allowed a wipe, may have been used since
            let mut void = slot.approved.take().is_some();
            let mut state = slot.state.clone();
            void |= state.claim_mut().is_some_and(|claim| claim.erase.take().is_some());
            match &mut state {
                NodeState::Vacant { permit } => void |= permit.take().is_some(),
                state => {
                    if let Some(permit) = state.permit_mut() {
                        permit.revoke();
                        void = true;
                    }
                }
            }
            if void {
                self.note(&name.0, "what people allowed for it is void", vec![doubt.to_owned()]);
                self.move_node(&name, state, Vec::new());
            }
        }
        match self.cluster.clone() {
            Cluster::Assembling { .. } => {
                let state = Cluster::Assembling { doubt: Some(doubt.to_owned()), word: None };
                self.move_cluster(state, Vec::new());
            }
            Cluster::Bootstrapping(intent) => {
                let intent = Intent { doubt: Some(doubt.to_owned()), ..intent };
                self.move_cluster(Cluster::Bootstrapping(intent), Vec::new());
            }
            Cluster::Joining(_) | Cluster::HandingOver { .. } | Cluster::HandedOver { .. } => {}
        }
        self.note("cluster", "the store is not trusted", vec![doubt.to_owned()]);
    }
}

/// A state as this program keeps it. Version 1 did not say who pushed a config: where one was under way it was us,
/// and where the machine had arrived already nothing is known of it.
fn brought_up(version: u32, mut state: NodeState) -> NodeState {
    if version < 2
        && let NodeState::Deploying {
            claim,
            progress: Progress::Applying { boot_id, .. } | Progress::Installing { boot_id, .. },
            ..
        } = &mut state
    {
        claim.told = Some(boot_id.clone());
    }
    state
}

pub(crate) fn cluster_record(cluster_id: &str, ledger: &Ledger, cluster: &Cluster) -> Option<Write> {
    let (cluster_id, ledger, cluster) = (cluster_id.to_owned(), ledger.clone(), cluster.clone());
    write("cluster".to_owned(), &ClusterRecord { version: VERSION, cluster_id, ledger, cluster })
}

pub(crate) fn node_record(name: &NodeName, slot: &Slot) -> Option<Write> {
    let (approved, home, state) = (slot.approved.clone(), slot.home, slot.state.clone());
    let record = NodeRecord { version: VERSION, approved, home, state };
    write(format!("node/{name}"), &record)
}

fn read<T: serde::de::DeserializeOwned>(key: &str, value: &Value) -> Result<T, RestoreError> {
    #[derive(Deserialize)]
    struct Envelope {
        version: u32,
    }
    let malformed = |source| RestoreError::Malformed { key: key.to_owned(), source };
    let envelope = Envelope::deserialize(value).map_err(malformed)?;
    if envelope.version > VERSION {
        return Err(RestoreError::Version { key: key.to_owned(), found: envelope.version });
    }
    T::deserialize(value).map_err(malformed)
}

/// These records are trees of text and numbers; turning them into JSON cannot fail, and if it ever
/// did the record would stay as it was.
fn write<T: Serialize>(key: String, record: &T) -> Option<Write> {
    serde_json::to_value(record).ok().map(|value| Write { key, value })
}
