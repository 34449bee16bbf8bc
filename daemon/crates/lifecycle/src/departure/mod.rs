//! Nodes that are taken out to come back: replaced, installed anew, reset, or given another chance to join etcd.
//!
//! A departure is durable and goes step by step, one departure at a time. Each step is stored before the world is told of it,
//! is safe to be told again, and first asks `loss` whether etcd keeps its quorum.

mod repair;
mod steps;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    Cluster, Core, EtcdObservation, Guard, Guards, Machine, NodeName, NodeState, Role, Ticket, Time,
    loss::{Account, Loss, judge},
};

/// A node that is on its way out, or on its way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departure {
    /// what for
    pub cause: Cause,
    /// who
    pub by: String,
    /// when
    pub since: Time,
    /// the boot that goes: Kubernetes's node is stale as long as it tells of that one
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// what is next
    pub step: Going,
    /// a person said that its pods are not waited for
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undrained: bool,
}

/// Why a node is taken out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "kebab-case")]
pub enum Cause {
    /// its machine is dead, and this one stands in its port
    Replaced {
        /// the box
        machine: Machine,
    },
    /// its disk is wiped, and it is installed anew
    Reprovision,
    /// it forgets its config and its data, and keeps Talos
    Reset,
    /// the site no longer names it, and it does not come back
    Removed {
        /// its disk is wiped, Talos included
        wipe: bool,
    },
    /// it is a learner that nobody gives its vote any more
    Repair,
    /// a member of etcd that has never started keeps it from joining
    Unstarted,
}

/// What is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Going {
    /// etcd's data are kept
    Snapshot,
    /// its pods go elsewhere
    Drain,
    /// the others take it out of etcd
    Remove,
    /// it is told to forget what it is
    Reset,
    /// Kubernetes forgets the boot that is gone
    Clear,
    /// it is waited for
    Return,
}

/// What is wiped of a machine that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiped {
    /// its system disk
    Disk,
    /// config and data; Talos stays
    State,
    /// data; config and Talos stay
    Data,
}

/// One step of a departure, for the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// keep etcd's data, as this control plane has them
    Snapshot {
        /// where
        address: IpAddr,
    },
    /// no new pods, and those that are there go
    Drain,
    /// take this member out of etcd
    Remove {
        /// a control plane that is well, and is not the one that goes
        address: IpAddr,
        /// hexadecimal
        member: String,
    },
    /// make the machine forget
    Reset {
        /// where
        address: IpAddr,
        /// the boot that was looked at; no other one is told
        boot_id: String,
        /// it has a member of etcd, which leaves first
        leaves_etcd: bool,
        /// how much
        wiped: Wiped,
    },
    /// a node of Kubernetes that tells of this boot goes; one of a later boot takes pods again
    Clear {
        /// the boot that is gone, as far as it is known
        boot_id: Option<String>,
    },
    /// a node of Kubernetes goes, whatever boot it tells of: nothing of its name runs
    Forget,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskOutcome {
    /// so it is
    Done {
        /// what there is to tell
        summary: String,
    },
    /// it does not apply now
    Skipped {
        /// why
        reason: String,
    },
    /// it is tried again; it may have happened
    Failed {
        /// why
        reason: String,
    },
    /// it does not end by itself: a person decides
    Stuck {
        /// what is in the way
        reason: String,
    },
}

/// Whether the machine that goes boots from the network next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum NextBoot {
    #[default]
    Unasked,
    /// its service processor is being told
    Asked(Ticket),
    /// it was told, or could not be
    Settled,
}

/// What is only known now of the departure under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct DepartureWork {
    pub(crate) next_boot: NextBoot,
    pub(crate) in_flight: Option<(Ticket, Going)>,
    pub(crate) not_before: Time,
    /// only looks since then count
    from: Time,
    /// a step did not end, and a person decides
    pub(crate) stuck: bool,
    /// since when a step fails, again and again
    failing: Option<Time>,
    pub(crate) waiting: Option<String>,
}

impl DepartureWork {
    /// Times that were set by the clock as it was before mean nothing now.
    pub(crate) fn clock_went_back(&mut self, now: Time) {
        self.not_before = self.not_before.min(now);
        self.from = self.from.min(now);
        self.failing = self.failing.map(|since| since.min(now));
    }
}

impl Departure {
    /// Whether it still takes something away: only one does.
    pub(crate) fn is_under_way(&self) -> bool {
        self.step < Going::Clear
    }

    /// In words.
    pub(crate) fn describe(&self, work: &DepartureWork) -> String {
        let cause = match &self.cause {
            Cause::Replaced { machine } => format!("{machine} takes its place"),
            Cause::Reprovision => "it is installed anew".to_owned(),
            Cause::Reset => "it is reset".to_owned(),
            Cause::Removed { .. } => "the site no longer names it".to_owned(),
            Cause::Repair => "it is to join etcd anew".to_owned(),
            Cause::Unstarted => "a member that has never started keeps it from joining etcd".to_owned(),
        };
        let step = match self.step {
            Going::Snapshot => "a snapshot of etcd is kept first",
            Going::Drain => "its pods go elsewhere",
            Going::Remove => "the others take it out of etcd",
            Going::Reset => "it is told to forget what it is",
            Going::Clear => "Kubernetes forgets the boot that is gone",
            Going::Return => "it is waited for",
        };
        let waiting = work.waiting.as_ref().map(|waiting| format!(": {waiting}")).unwrap_or_default();
        format!("{cause} (by {}); {step}{waiting}", self.by)
    }
}

impl<G: Guards> Core<G> {
    /// What taking a node out would do, or why it cannot be done now.
    pub(crate) fn may_depart(
        &self,
        name: &NodeName,
        cause: &Cause,
        undrained: bool,
    ) -> Result<String, String> {
        let slot = self.planned(name)?;
        self.is_named(name)?;
        if let Some(going) = self.under_way(name, cause, undrained) {
            return going;
        }
        let Some(claim) = slot.state.claim() else {
            return Err(format!("nobody holds {name}: `ichord deploy {name}` lets its machine be installed"));
        };
        if !slot.state.is_configured() {
            return Err(format!(
                "{name} is {}: it is being installed, and `ichord deploy {name}` lets it go on",
                slot.state.name()
            ));
        }
        self.founded()?;
        self.alone(name)?;
        if *cause == Cause::Reset && slot.silent.is_some() {
            return Err(format!(
                "{name} does not answer: `ichord reprovision {name}` wipes it when it next boots"
            ));
        }
        let loss = self.loss(name, |_| true)?;
        let out = match loss {
            Loss::Nothing => String::new(),
            Loss::Member { id, .. } => format!(", its member {id} leaves etcd after a snapshot is kept"),
        };
        let by_hand = match slot.power.switch {
            None => format!(" (where it does not by itself, switch it off and on: {})", self.place(name)),
            Some(_) => String::new(),
        };
        let end = match cause {
            Cause::Reset => {
                "it forgets its config and its data, keeps Talos, and gets its config again".to_owned()
            }
            _ => {
                format!("its disk is wiped, and it is installed anew when it boots from the network{by_hand}")
            }
        };
        Ok(format!("{name} ({}): its pods go elsewhere{out}; {end}", claim.machine))
    }

    /// What the same order does where it is under way already.
    pub(crate) fn under_way(
        &self,
        name: &NodeName,
        cause: &Cause,
        undrained: bool,
    ) -> Option<Result<String, String>> {
        let departure = self.ledger.departures.get(name).filter(|it| it.is_under_way())?;
        if departure.cause == *cause && undrained && !departure.undrained {
            return Some(Ok(format!("{name}: its pods are not waited for")));
        }
        Some(Err(format!("{name} is being taken out already: {}", departure.describe(&self.departing))))
    }

    /// A person's order to take a node out, after it was weighed.
    pub(crate) fn depart(&mut self, name: NodeName, cause: Cause, undrained: bool, by: &str, now: Time) {
        if let Some(departure) = self.ledger.departures.get_mut(&name).filter(|it| it.is_under_way()) {
            departure.undrained |= undrained;
            if departure.step == Going::Drain {
                departure.step = Going::Remove;
            }
            (self.departing.stuck, self.departing.waiting) = (false, None);
            self.note(&name.0, "its pods are not waited for", vec![format!("by {by}")]);
            self.write_cluster();
            return;
        }
        let is_worker = self.plan.nodes.get(&name).is_some_and(|plan| plan.role == Role::Worker);
        let step = match self.loss(&name, |_| true) {
            _ if is_worker => Going::Drain,
            Ok(Loss::Member { .. }) => Going::Snapshot,
            _ => Going::Drain,
        };
        self.begin(&name, cause, step, undrained, by, now);
    }

    /// What ends a departure before anything is lost by it, or why nothing does.
    pub(crate) fn may_stay(&self, name: &NodeName) -> Result<String, String> {
        self.planned(name)?;
        let departure = self.ledger.departures.get(name).filter(|it| it.is_under_way());
        let departure = departure.ok_or_else(|| format!("{name} is not being taken out"))?;
        if departure.step > Going::Drain {
            return Err(format!("{name} was told already: {}", departure.describe(&self.departing)));
        }
        Ok(format!("{name} stays, and takes pods again"))
    }

    /// It stays: what was kept off it comes back.
    pub(crate) fn stay(&mut self, name: &NodeName, words: Vec<String>) {
        self.note(&name.0, "stays", words);
        if let Some(departure) = self.ledger.departures.get_mut(name) {
            departure.boot_id = None;
            let departure = departure.clone();
            self.uncount_replacement(name, &departure);
        }
        self.go(name, Going::Return);
    }

    pub(crate) fn begin(
        &mut self,
        name: &NodeName,
        cause: Cause,
        step: Going,
        undrained: bool,
        by: &str,
        now: Time,
    ) {
        let boot_id = self.node(name).and_then(NodeState::boot_id).map(str::to_owned);
        let departure = Departure { cause, by: by.to_owned(), since: now, boot_id, step, undrained };
        let words = departure.describe(&DepartureWork::default());
        let what = match departure.cause {
            Cause::Removed { .. } => "is taken out",
            _ => "is taken out to come back",
        };
        self.note(&name.0, what, vec![words]);
        self.ledger.departures.insert(name.clone(), departure);
        self.departing = DepartureWork { from: now, not_before: now, ..DepartureWork::default() };
        self.write_cluster();
    }

    /// The departure of a slot whose machine is another one now, or none.
    pub(crate) fn end_departure(&mut self, name: &NodeName) {
        if self.ledger.departures.remove(name).is_some() {
            self.slots.get_mut(name);
            self.write_cluster();
        }
    }

    /// One departure at a time.
    pub(crate) fn alone(&self, name: &NodeName) -> Result<(), String> {
        let other = self.ledger.departures.iter().find(|(other, it)| *other != name && it.is_under_way());
        match other {
            Some((other, _)) => Err(format!("{other} is being taken out: one at a time")),
            None => Ok(()),
        }
    }

    /// What etcd would lose, by looks that count.
    pub(crate) fn loss(&self, name: &NodeName, counts: impl Fn(Time) -> bool) -> Result<Loss, String> {
        if self.plan.nodes.get(name).is_none_or(|plan| plan.role == Role::Worker) {
            return Ok(Loss::Nothing);
        }
        self.loss_of(name, counts)
    }

    fn loss_of(&self, name: &NodeName, counts: impl Fn(Time) -> bool) -> Result<Loss, String> {
        let told = |witness: &'_ NodeName| {
            let look = self.slots.get(witness)?.look.as_ref().filter(|look| counts(look.at))?;
            match &look.etcd {
                EtcdObservation::Members { members, health } => Some((look.address, members, health)),
                _ => None,
            }
        };
        let accounts: Vec<Account<'_>> = self
            .slots
            .control_planes()
            .filter(|witness| *witness != name)
            .filter_map(|witness| {
                let (address, members, health) = told(witness)?;
                Some(Account { witness, address, members, health })
            })
            .collect();
        judge_with_self(name, &accounts, told(name).is_some_and(|(_, members, _)| members.len() == 1), {
            self.guards.on(Guard::KeepsQuorum)
        })
    }

    /// Whether the cluster is founded, and nobody waits for its first members.
    pub(crate) fn founded(&self) -> Result<(), String> {
        match self.cluster {
            Cluster::HandingOver { .. } | Cluster::HandedOver { .. } => Ok(()),
            _ => Err(format!(
                "the cluster is {}: until it is whole nothing is taken out of it",
                self.cluster.name()
            )),
        }
    }
}

/// A control plane that is the only member has no other one to tell of it.
fn judge_with_self(
    name: &NodeName,
    accounts: &[Account<'_>],
    is_only_member: bool,
    strict: bool,
) -> Result<Loss, String> {
    if is_only_member && accounts.is_empty() && strict {
        return Err(crate::loss::only_voter(name));
    }
    judge(name, accounts, strict)
}
