//! Which node of a rollout is next, and what is done with it: one at a time, never below etcd's quorum by our doing, and
//! nothing more after the first one that does not come back.
//!
//! ```text
//!  (none) ──Begin──► current: Apply ──► comes up with the config ──► boots again ──► as well as before ──Finished──► (none)
//!    │                    │
//!    └──► Done, Stop      └──► Stop: not back in time, or it runs with another config
//! ```
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

/// A config that is taken and never in force is not offered for ever.
const TRIES: u8 = 3;

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
    /// let the node boot again
    Reboot(String),
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
        Self { only, accepts_downtime, since: now, done: Vec::new(), current: None }
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
pub fn next(record: &Record, looks: &BTreeMap<String, Look>, now: u64) -> Next {
    let next = match &record.current {
        None => begin(record, looks),
        Some(current) => go_on(current, looks, now),
    };
    match next {
        Next::Wait(reason) if now.saturating_sub(record.since) > PATIENCE => {
            let minutes = PATIENCE / 60_000;
            Next::Stop(format!(
                "{reason}, for {minutes} minutes now; nothing more is changed until you have looked at it"
            ))
        }
        next => next,
    }
}

fn begin(record: &Record, looks: &BTreeMap<String, Look>) -> Next {
    let in_scope = |name: &str| record.only.as_deref().is_none_or(|only| only == name);
    let silent =
        looks.iter().find(|(name, look)| look.told.is_none() && (look.control_plane || in_scope(name)));
    if let Some((name, _)) = silent {
        return Next::Wait(format!("{name} does not answer, and nothing is begun while one is missing"));
    }
    let told = looks.iter().filter(|(name, _)| in_scope(name));
    let told: Vec<(&String, &Look, &Told)> =
        told.filter_map(|(name, look)| Some((name, look, look.told.as_ref()?))).collect();
    if let Some((name, _, told)) = told.iter().find(|(_, _, told)| told.class >= Some(Class::Reinstall)) {
        return Next::Stop(not_in_place(name, told.class));
    }
    let mut pending: Vec<_> = told.into_iter().filter(|(_, _, told)| told.class.is_some()).collect();
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
    let must_boot = told.class == Some(Class::Reboot);
    if look.control_plane && must_boot && !record.accepts_downtime && voters - 1 < voters / 2 + 1 {
        return Next::Stop(format!(
            "{name} has to boot again, and etcd stands still meanwhile, because it has {voters} of the 3 voting members that \
             outlast one; say --accept-downtime if it may"
        ));
    }
    Next::Begin(Current {
        node: (*name).clone(),
        boot: told.boot.clone(),
        must_boot,
        was_settled: told.settled,
        was_ready: told.ready == Some(true),
        tries: 0,
        asked: None,
    })
}

fn go_on(current: &Current, looks: &BTreeMap<String, Look>, now: u64) -> Next {
    let Current { node, must_boot, was_settled, was_ready, tries, asked, .. } = current;
    let Some(look) = looks.get(node) else {
        return Next::Stop(format!(
            "{node} is being changed and is no longer in the site: bring it back there first"
        ));
    };
    let Some(told) = &look.told else { return Next::Wait(format!("{node} has not come back")) };
    let has_booted = told.boot.is_some() && told.boot != current.boot;
    let is_about_to_boot = *must_boot && (told.reboots_itself || told.class.is_none());
    let again = if is_about_to_boot { BOOT_AGAIN } else { AGAIN };
    let just_asked = asked.is_some_and(|asked| now.saturating_sub(asked) < again);
    match told.class {
        Some(Class::Reinstall | Class::Refused) => return Next::Stop(not_in_place(node, told.class)),
        Some(_) if just_asked => return Next::Wait(format!("{node} was given its config")),
        Some(_) if *tries >= TRIES => {
            return Next::Stop(format!(
                "{node} was given its config {tries} times and runs with another one: see `ichord plan` and its own log"
            ));
        }
        Some(_) => return Next::Apply(node.clone()),
        None => {}
    }
    if *must_boot && !has_booted {
        return match just_asked {
            true => Next::Wait(format!("{node} was told to boot again")),
            false => Next::Reboot(node.clone()),
        };
    }
    if !told.running {
        return Next::Wait(format!("{node} has not finished its boot"));
    }
    if *was_settled && !told.settled {
        return Next::Wait(format!("{node} is not as well as it was"));
    }
    if *was_ready && told.ready != Some(true) {
        return Next::Wait(format!("Kubernetes does not call {node} Ready"));
    }
    match quorum(looks) {
        Ok(_) => Next::Finished(node.clone()),
        Err(reason) => Next::Wait(reason),
    }
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
