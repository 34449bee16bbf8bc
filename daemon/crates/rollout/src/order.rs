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
//! off it. [`Task::Reboot`] and [`Task::Shutdown`] go the same way with one node and without a config.
//!
//! The [`Record`] is stored before anything is done that it tells of, so that whoever was killed goes on from it: what was
//! asked and not seen to happen is asked again, which a node takes twice as well as once.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::plan::Class;

/// How long a node has until it is back, and how long etcd has to be whole before a node is touched, in milliseconds. More
/// than an install of a slow machine takes.
pub const PATIENCE: u64 = 15 * 60 * 1000;

/// What was asked of a node is asked again after so many milliseconds without effect.
const AGAIN: u64 = 10_000;

/// The same of a boot: a node moves its pods elsewhere before it goes down, and answers meanwhile.
const BOOT_AGAIN: u64 = 5 * 60 * 1000;

/// Replicas of a volume that are written anew take as long as there is data in them.
const REBUILD: u64 = 12 * 60 * 60 * 1000;

/// A config that is taken and never in force is not offered for ever.
const TRIES: u8 = 3;

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
    /// one node, or all of them
    pub only: Option<String>,
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
    /// its Talos boots again by itself when it is given that config
    pub reboots_itself: bool,
    /// its boot is finished
    pub running: bool,
    /// it says itself that nothing is unmet
    pub settled: bool,
    /// what Kubernetes says of it; none when that does not answer
    pub ready: Option<bool>,
    /// its etcd; none on workers, and while it does not answer
    pub etcd: Option<Etcd>,
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
    /// give the node its config
    Apply(String),
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
    /// every node has what the site wants
    Done,
    /// a person has to look; nothing more is done
    Stop(String),
}

impl Record {
    /// At the beginning.
    pub fn new(only: Option<String>, accepts_downtime: bool, now: u64) -> Self {
        let (done, task, keeps_pods) = (Vec::new(), Task::Apply, false);
        Self { only, accepts_downtime, since: now, done, current: None, task, keeps_pods }
    }

    /// One node that boots again or is switched off.
    pub fn of_task(task: Task, node: String, accepts_downtime: bool, now: u64) -> Self {
        Self { task, ..Self::new(Some(node), accepts_downtime, now) }
    }

    /// A person has decided that nodes go down with everything that runs on them.
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

    /// A node begins.
    pub fn begin(&mut self, current: Current, now: u64) {
        (self.current, self.since) = (Some(current), now);
    }

    /// The node is about to be asked for something; `config` when it is given one.
    pub fn ask(&mut self, config: bool, now: u64) {
        if let Some(current) = &mut self.current {
            current.asked = Some(now);
            current.tries = current.tries.saturating_add(u8::from(config));
        }
    }

    /// The node is back.
    pub fn finish(&mut self, now: u64) {
        self.since = now;
        self.done.extend(self.current.take().map(|current| current.node));
    }
}

/// What to do next, by what was stored and what is seen.
pub fn next(record: &Record, looks: &BTreeMap<String, Look>, work: &Work, now: u64) -> Next {
    let next = match &record.current {
        None => begin(record, looks, work).into(),
        Some(current) => go_on(record.task, current, looks, work, now),
    };
    match next {
        Turn(Next::Wait(reason), Some(patience)) if now.saturating_sub(record.since) > patience => {
            let minutes = patience / 60_000;
            Next::Stop(format!(
                "{reason}, for {minutes} minutes now; nothing more is changed until you have looked at it"
            ))
        }
        Turn(next, _) => next,
    }
}

/// What to do, and for how long it may be to wait.
struct Turn(Next, Option<u64>);

impl From<Next> for Turn {
    fn from(next: Next) -> Self {
        Turn(next, Some(PATIENCE))
    }
}

fn begin(record: &Record, looks: &BTreeMap<String, Look>, work: &Work) -> Next {
    let in_scope = |name: &str| record.only.as_deref().is_none_or(|only| only == name);
    let silent =
        looks.iter().find(|(name, look)| look.told.is_none() && (look.control_plane || in_scope(name)));
    if let Some((name, _)) = silent {
        return Next::Wait(format!("{name} does not answer, and nothing is begun while one is missing"));
    }
    let told = looks.iter().filter(|(name, _)| in_scope(name));
    let told: Vec<(&String, &Look, &Told)> =
        told.filter_map(|(name, look)| Some((name, look, look.told.as_ref()?))).collect();
    let configs = record.task == Task::Apply;
    let refused = told.iter().find(|(_, _, told)| configs && told.class >= Some(Class::Reinstall));
    if let Some((name, _, told)) = refused {
        return Next::Stop(not_in_place(name, told.class));
    }
    let is_pending = |name: &String, told: &Told| match configs {
        true => told.class.is_some(),
        false => !record.done.contains(name),
    };
    let mut pending: Vec<_> = told.into_iter().filter(|(name, _, told)| is_pending(name, told)).collect();
    // Kubernetes wants its control planes to be newer than its workers; who leads goes last, so that the lead moves once
    pending.sort_by_key(|(name, look, told)| {
        let leads = told.etcd.as_ref().is_some_and(|etcd| etcd.leader == etcd.member);
        (!look.control_plane, leads, *name)
    });
    let Some((name, look, told)) = pending.first() else { return Next::Done };
    let voters = match quorum(looks) {
        Ok(voters) => voters,
        Err(reason) => return Next::Wait(reason),
    };
    let must_boot = !configs || told.class == Some(Class::Reboot);
    if look.control_plane && must_boot && !record.accepts_downtime && voters - 1 < voters / 2 + 1 {
        let goes = if record.task == Task::Shutdown { "goes down" } else { "has to boot again" };
        return Next::Stop(format!(
            "{name} {goes}, and etcd stands still meanwhile, because it has {voters} of the 3 voting members that \
             outlast one; say --accept-downtime if it may"
        ));
    }
    if must_boot && !work.unwell.is_empty() {
        return Next::Wait(unwell(work, "and their last good replica may be on the node that goes down"));
    }
    let open = work.nodes.as_ref().and_then(|nodes| nodes.get(*name)).copied();
    let emptied = match (must_boot && !record.keeps_pods, open) {
        (true, Some(_)) => Emptied::Wanted,
        _ => Emptied::Not,
    };
    Next::Begin(Current {
        emptied,
        was_open: open == Some(true),
        node: (*name).clone(),
        boot: told.boot.clone(),
        must_boot,
        was_settled: told.settled,
        was_ready: told.ready == Some(true),
        tries: 0,
        asked: None,
    })
}

fn unwell(work: &Work, why: &str) -> String {
    format!("volumes of Longhorn lack replicas ({}), {why}", work.unwell.join(", "))
}

fn go_on(task: Task, current: &Current, looks: &BTreeMap<String, Look>, work: &Work, now: u64) -> Turn {
    let node = &current.node;
    let Some(look) = looks.get(node) else {
        let message =
            format!("{node} is being changed and is no longer in the site: bring it back there first");
        return Next::Stop(message).into();
    };
    let Some(told) = &look.told else {
        return match task {
            // whoever works on it says when
            Task::Shutdown => {
                Turn(Next::Wait(format!("{node} is off; switch it on again when it may come back")), None)
            }
            Task::Apply | Task::Reboot => Next::Wait(format!("{node} has not come back")).into(),
        };
    };
    match touched(task, current, told, now).or_else(|| back(current, told)) {
        Some(next) => next.into(),
        None => settled(current, looks, work),
    }
}

/// What the node is still asked for; `None` once it runs as it should.
fn touched(task: Task, current: &Current, told: &Told, now: u64) -> Option<Next> {
    let Current { node, must_boot, tries, asked, emptied, .. } = current;
    let has_booted = told.boot.is_some() && told.boot != current.boot;
    let is_about_to_boot = *must_boot && (task != Task::Apply || told.reboots_itself || told.class.is_none());
    let again = if is_about_to_boot { BOOT_AGAIN } else { AGAIN };
    let just_asked = asked.is_some_and(|asked| now.saturating_sub(asked) < again);
    if *emptied == Emptied::Wanted && *must_boot && !has_booted && asked.is_none() {
        return Some(Next::Drain(node.clone()));
    }
    match told.class.filter(|_| task == Task::Apply) {
        Some(Class::Reinstall | Class::Refused) => return Some(Next::Stop(not_in_place(node, told.class))),
        Some(_) if just_asked => return Some(Next::Wait(format!("{node} was given its config"))),
        Some(_) if *tries >= TRIES => {
            return Some(Next::Stop(format!(
                "{node} was given its config {tries} times and runs with another one: see `ichord plan` and its own log"
            )));
        }
        Some(_) => return Some(Next::Apply(node.clone())),
        None => {}
    }
    (*must_boot && !has_booted).then(|| match (just_asked, task) {
        (true, Task::Shutdown) => Next::Wait(format!("{node} was told to go down")),
        (true, _) => Next::Wait(format!("{node} was told to boot again")),
        (false, Task::Shutdown) => Next::Shutdown(node.clone()),
        (false, _) => Next::Reboot(node.clone()),
    })
}

/// What a node that runs as it should lacks of what it was before.
fn back(current: &Current, told: &Told) -> Option<Next> {
    let Current { node, was_settled, was_ready, .. } = current;
    if !told.running {
        return Some(Next::Wait(format!("{node} has not finished its boot")));
    }
    if *was_settled && !told.settled {
        return Some(Next::Wait(format!("{node} is not as well as it was")));
    }
    if *was_ready && told.ready != Some(true) {
        return Some(Next::Wait(format!("Kubernetes does not call {node} Ready")));
    }
    None
}

/// What the cluster lacks of what it was before; then the node is finished.
fn settled(current: &Current, looks: &BTreeMap<String, Look>, work: &Work) -> Turn {
    let Current { node, must_boot, emptied, was_open, .. } = current;
    if let Err(reason) = quorum(looks) {
        return Next::Wait(reason).into();
    }
    if *emptied != Emptied::Not && *was_open {
        match work.nodes.as_ref().map(|nodes| nodes.get(node)) {
            None => {
                let message = format!("Kubernetes does not answer, and {node} has to be let pods on again");
                return Next::Wait(message).into();
            }
            Some(Some(false)) => return Next::Uncordon(node.clone()).into(),
            Some(_) => {}
        }
    }
    if *must_boot && !work.unwell.is_empty() {
        return Turn(Next::Wait(unwell(work, "which are being written anew")), Some(REBUILD));
    }
    Next::Finished(node.clone()).into()
}

fn not_in_place(name: &str, class: Option<Class>) -> String {
    let why = match class {
        Some(Class::Reinstall) => "needs Talos's installer",
        _ => "cannot be made in place",
    };
    format!("a change of {name} {why}: `ichord plan` shows which, and the way; nothing was changed there")
}

/// How many members vote, when etcd is whole: every control plane votes, tells the same members, and follows one leader.
fn quorum(looks: &BTreeMap<String, Look>) -> Result<usize, String> {
    let mut leaders = BTreeSet::new();
    let mut lists = BTreeSet::new();
    let mut members = BTreeSet::new();
    for (name, look) in looks.iter().filter(|(_, look)| look.control_plane) {
        let etcd = look.told.as_ref().and_then(|told| told.etcd.as_ref());
        let Some(etcd) = etcd else { return Err(format!("etcd on {name} does not answer")) };
        if etcd.leader == 0 || etcd.complains {
            return Err(format!("etcd on {name} is not well"));
        }
        leaders.insert(etcd.leader);
        lists.insert(&etcd.voters);
        members.insert(etcd.member);
    }
    match (leaders.len(), lists.first()) {
        (1, Some(voters)) if lists.len() == 1 && **voters == members => Ok(members.len()),
        _ => {
            Err("etcd's voting members are not the control planes, or do not agree on who they are"
                .to_owned())
        }
    }
}
