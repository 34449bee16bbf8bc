//! Which node of a rollout is next, and what is done with it: one at a time, never below etcd's quorum by our doing, and
//! nothing more after the first one that does not come back.
//!
//! ```text
//!  (none) ──Begin──► current: Drain ──► Apply ──► comes up with the config ──► boots again ──► as well as before
//!    │                    │                                                                   │
//!    └──► Done, Stop      └──► Stop: not back in time, or another config   (none) ◄──Finished── Uncordon, volumes healthy
//! ```
//!
//! A node that boots is emptied before where Kubernetes answers, and let pods on again afterwards unless a person had kept them
//! off it. [`Task::Reboot`] and [`Task::Shutdown`] go the same way with one node and without a config; with [`Task::Upgrade`] the
//! installer runs in the place of the config, and a node that comes back with the version of before ends it.
//!
//! The [`Record`] is stored before anything is done that it tells of, so that whoever was killed goes on from it: what was
//! asked and not seen to happen is asked again, which a node takes twice as well as once. Whether it happens is seen: a node
//! that goes down says so until it is gone, and has another boot when it is back.

mod turn;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};

use crate::plan::Class;

pub use turn::next;

/// How long a node has until it is back, and how long etcd has to be whole before a node is touched, in milliseconds. More
/// than an install of a slow machine takes.
pub const PATIENCE: u64 = 15 * 60 * 1000;

/// What a node is touched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// it gets what the site wants
    #[default]
    Apply,
    /// it boots again
    Reboot,
    /// it is switched off, and a person switches it on again
    Shutdown,
    /// it gets another image of Talos
    Upgrade,
}

/// Whether pods are moved away from a node before it goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Emptied {
    /// nothing goes down, nobody is there who could, or a person wants it so
    #[default]
    Not,
    /// before anything else
    Wanted,
    /// they are elsewhere, and new ones are kept off
    Done,
}

/// What Kubernetes tells about the work on the nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Work {
    /// the nodes that it knows, and whether pods may come to them; none while it does not answer
    pub nodes: Option<BTreeMap<String, bool>>,
    /// volumes of Longhorn that have fewer replicas than they should, by name
    pub unwell: Vec<String>,
}

/// How far a rollout is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// these nodes, or all where none is named
    #[serde(default, alias = "only", deserialize_with = "one_or_many")]
    pub nodes: BTreeSet<String>,
    /// a person has said that etcd may stand still while one of too few members boots
    pub accepts_downtime: bool,
    /// when something last went on, in milliseconds since the Unix epoch
    pub since: u64,
    /// nodes that have what the site wants and are as well as before
    pub done: Vec<String>,
    /// the one that is being changed
    pub current: Option<Current>,
    /// what is done with them
    #[serde(default)]
    pub task: Task,
    /// a person has said that nodes go down with everything that runs on them
    #[serde(default)]
    pub keeps_pods: bool,
    /// the version of Talos that nodes are brought to
    #[serde(default)]
    pub version: Option<String>,
    /// where etcd's snapshot is that was taken before the first node was touched
    #[serde(default)]
    pub snapshot: Option<String>,
}

/// The node that is being changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// its name
    pub node: String,
    /// the boot in which it was told; another one means that it booted
    pub boot: Option<String>,
    /// the change is in force after a boot only
    pub must_boot: bool,
    /// it said that nothing was unmet, and has to again
    pub was_settled: bool,
    /// Kubernetes called it Ready, and has to again
    pub was_ready: bool,
    /// how often it was given the config
    pub tries: u8,
    /// when it was last asked for something
    pub asked: Option<u64>,
    /// whether its pods are elsewhere
    #[serde(default)]
    pub emptied: Emptied,
    /// nobody had kept pods off it, so they are let on it again
    #[serde(default)]
    pub was_open: bool,
    /// in the boot that is named here the new image was put on its disk
    #[serde(default)]
    pub installed: bool,
}

/// One look at one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// it has a vote in etcd, or should
    pub control_plane: bool,
    /// none while it does not answer
    pub told: Option<Told>,
}

/// What a node tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// another value is another boot
    pub boot: Option<String>,
    /// what the site would change there; none when nothing
    pub class: Option<Class>,
    /// its boot is finished
    pub running: bool,
    /// it is on its way down, whoever told it to
    pub leaves: bool,
    /// it says itself that nothing is unmet
    pub settled: bool,
    /// what Kubernetes says of it; none when that does not answer
    pub ready: Option<bool>,
    /// its etcd; none on workers, and while it does not answer
    pub etcd: Option<Etcd>,
    /// which Talos it runs; where that is to be another one
    pub talos: Option<Talos>,
}

/// Which Talos a node runs, beside the one it is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Talos {
    /// for people
    pub runs: String,
    /// for people
    pub wanted: String,
    /// these are the same
    pub is_wanted: bool,
    /// being told to upgrade it does all of it: it empties itself and boots again
    pub boots_itself: bool,
}

/// etcd as one of its members sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etcd {
    /// its own id
    pub member: u64,
    /// 0 without one
    pub leader: u64,
    /// all members with a vote
    pub voters: BTreeSet<u64>,
    /// it complains of something
    pub complains: bool,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// this node begins: to be stored, then ask again
    Begin(Current),
    /// keep a snapshot of this node's etcd: to be stored, then ask again
    Snapshot(String),
    /// give the node its config
    Apply(String),
    /// put the other image on the node's disk, which boots next
    Install(String),
    /// tell the node to upgrade itself, which it does to the end
    Upgrade(String),
    /// keep new pods off the node and move the others elsewhere
    Drain(String),
    /// let the node boot again
    Reboot(String),
    /// switch the node off
    Shutdown(String),
    /// let pods on the node again
    Uncordon(String),
    /// nothing yet, and why
    Wait(String),
    /// the node is back: to be stored, then ask again
    Finished(String),
    /// the node is as it was, and not as it should be: it is no longer in the middle of anything, and a person has to look
    GiveUp(String),
    /// every node has what the site wants
    Done,
    /// a person has to look; nothing more is done
    Stop(String),
}

impl Record {
    /// At the beginning of one of these tasks.
    pub fn new(task: Task, now: u64) -> Self {
        Self {
            nodes: BTreeSet::new(),
            accepts_downtime: false,
            since: now,
            done: Vec::new(),
            current: None,
            task,
            keeps_pods: false,
            version: None,
            snapshot: None,
        }
    }

    /// Whoever gives the command, again or for the first time, has looked. Whether the last order of a command that died was
    /// given is seen by what the node does.
    pub fn take_up(&mut self, now: u64) {
        self.since = now;
        if let Some(current) = &mut self.current {
            (current.asked, current.tries) = (None, 0);
        }
    }

    /// A person has decided whether nodes go down with everything that runs on them.
    pub fn keep_pods(&mut self, keeps: bool) {
        self.keeps_pods = keeps;
        if let (true, Some(current)) = (keeps, &mut self.current)
            && current.emptied == Emptied::Wanted
        {
            // what the drain has begun is undone at the end
            current.emptied = Emptied::Done;
        }
    }

    /// Nothing is left on the node that belongs elsewhere.
    pub fn emptied(&mut self, now: u64) {
        if let Some(current) = &mut self.current {
            current.emptied = Emptied::Done;
            self.since = now;
        }
    }

    /// The new image is on its disk, or it has said that it sees to that; in this boot.
    pub fn installed(&mut self, boot: Option<String>, now: u64) {
        if let Some(current) = &mut self.current {
            (current.installed, current.boot, current.asked) = (true, boot, None);
            self.since = now;
        }
    }

    /// Whether this node is in the middle of it.
    pub fn is_at(&self, node: &str) -> bool {
        self.current.as_ref().is_some_and(|current| current.node == node)
    }

    /// A node begins.
    pub fn begin(&mut self, current: Current, now: u64) {
        (self.current, self.since) = (Some(current), now);
    }

    /// The node is about to be asked for something; `counts` where that is not asked for ever.
    pub fn ask(&mut self, counts: bool, now: u64) {
        if let Some(current) = &mut self.current {
            current.asked = Some(now);
            current.tries = current.tries.saturating_add(u8::from(counts));
        }
    }

    /// The node is back.
    pub fn finish(&mut self, now: u64) {
        self.since = now;
        self.done.extend(self.current.take().map(|current| current.node));
    }
}

impl Current {
    /// Whether it is in another boot than the one in which it was told.
    fn has_booted(&self, told: &Told) -> bool {
        told.boot.is_some() && told.boot != self.boot
    }
}

/// Records of before name one node or none.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Nodes {
        One(Option<String>),
        Many(BTreeSet<String>),
    }
    Ok(match Nodes::deserialize(deserializer)? {
        Nodes::One(one) => one.into_iter().collect(),
        Nodes::Many(many) => many,
    })
}
