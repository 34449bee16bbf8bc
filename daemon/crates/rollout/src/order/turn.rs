//! What to do next, by what was stored and what is seen.

use std::collections::{BTreeMap, BTreeSet};

use super::{Current, Emptied, Look, Next, PATIENCE, Record, Task, Told, Work};
use crate::plan::Class;

/// What was asked of a node is asked again after so many milliseconds without effect.
const AGAIN: u64 = 10_000;

/// Replicas of a volume that are written anew take as long as there is data in them.
const REBUILD: u64 = 12 * 60 * 60 * 1000;

/// What is asked for and never in force is not asked for for ever.
const TRIES: u8 = 3;

/// What to do next, by what was stored and what is seen.
pub fn next(record: &Record, looks: &BTreeMap<String, Look>, work: &Work, now: u64) -> Next {
    let Turn(next, patience) = match &record.current {
        None => begin(record, looks, work).into(),
        Some(current) => go_on(record.task, current, looks, work, now),
    };
    let reason = match &next {
        Next::Wait(reason) => reason.clone(),
        Next::Snapshot(node) => format!("there is no snapshot of etcd on {node}"),
        Next::Drain(node) => format!("{node} cannot be emptied"),
        Next::Uncordon(node) => format!("{node} cannot be let pods on again"),
        _ => return next,
    };
    match patience {
        Some(patience) if now.saturating_sub(record.since) > patience => {
            let minutes = patience / 60_000;
            Next::Stop(format!(
                "{reason}, for {minutes} minutes now; nothing more is changed until you have looked at it"
            ))
        }
        _ => next,
    }
}

/// What to do, and for how long it may be in vain.
struct Turn(Next, Option<u64>);

impl From<Next> for Turn {
    fn from(next: Next) -> Self {
        Turn(next, Some(PATIENCE))
    }
}

fn begin(record: &Record, looks: &BTreeMap<String, Look>, work: &Work) -> Next {
    let in_scope = |name: &str| record.nodes.is_empty() || record.nodes.contains(name);
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
    let is_pending = |name: &String, told: &Told| match record.task {
        Task::Apply => told.class.is_some(),
        Task::Upgrade => told.talos.as_ref().is_none_or(|talos| !talos.is_wanted),
        Task::Reboot | Task::Shutdown => !record.done.contains(name),
    };
    let mut pending: Vec<_> = told.into_iter().filter(|(name, _, told)| is_pending(name, told)).collect();
    // Kubernetes wants its control planes to be newer than its workers; who leads goes last, so that the lead moves once
    pending.sort_by_key(|(name, look, told)| (!look.control_plane, leads(told), *name));
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
    if record.task == Task::Upgrade && record.snapshot.is_none() {
        let leader = looks.iter().find(|(_, look)| look.told.as_ref().is_some_and(leads));
        return match leader {
            Some((leader, _)) => Next::Snapshot(leader.clone()),
            None => Next::Wait("nobody leads etcd".to_owned()),
        };
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
        installed: false,
    })
}

fn leads(told: &Told) -> bool {
    told.etcd.as_ref().is_some_and(|etcd| etcd.leader == etcd.member)
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
            Task::Apply | Task::Reboot | Task::Upgrade => {
                Next::Wait(format!("{node} has not come back")).into()
            }
        };
    };
    match touched(task, current, told, now).or_else(|| back(current, told)) {
        Some(next) => next.into(),
        None => settled(task, current, told, looks, work),
    }
}

/// What the node is still asked for; `None` once it runs as it should.
fn touched(task: Task, current: &Current, told: &Told, now: u64) -> Option<Next> {
    let has_booted = current.has_booted(told);
    if told.leaves && !has_booted {
        return Some(Next::Wait(format!("{} is on its way down", current.node)));
    }
    if task == Task::Upgrade {
        return upgraded(current, told, now);
    }
    if current.must_boot && !has_booted && current.emptied == Emptied::Wanted {
        return Some(Next::Drain(current.node.clone()));
    }
    if let (Task::Apply, Some(class)) = (task, told.class) {
        return Some(given(current, class, now));
    }
    (current.must_boot && !has_booted).then(|| goes_down(task, current, now))
}

/// A node that runs with another config than it should.
fn given(current: &Current, class: Class, now: u64) -> Next {
    let Current { node, tries, .. } = current;
    match class {
        Class::Reinstall | Class::Refused => Next::Stop(not_in_place(node, Some(class))),
        _ if just_asked(current, now) => Next::Wait(format!("{node} was given its config")),
        _ if *tries >= TRIES => Next::Stop(format!(
            "{node} was given its config {tries} times and runs with another one: see `ichord plan` and its own log"
        )),
        _ => Next::Apply(node.clone()),
    }
}

fn goes_down(task: Task, current: &Current, now: u64) -> Next {
    let node = &current.node;
    match (just_asked(current, now), task) {
        (true, Task::Shutdown) => Next::Wait(format!("{node} was told to go down")),
        (true, _) => Next::Wait(format!("{node} was told to boot again")),
        (false, Task::Shutdown) => Next::Shutdown(node.clone()),
        (false, _) => Next::Reboot(node.clone()),
    }
}

/// A node that is to run another image of Talos; `None` once it does, or has gone back to the one of before.
fn upgraded(current: &Current, told: &Told, now: u64) -> Option<Next> {
    let Current { node, tries, emptied, installed, .. } = current;
    let Some(talos) = &told.talos else {
        return Some(Next::Wait(format!("{node} does not say which Talos it runs")));
    };
    let has_booted = current.has_booted(told);
    if talos.is_wanted || (*installed && has_booted) {
        return None;
    }
    if *installed && !talos.boots_itself {
        return Some(match emptied {
            Emptied::Wanted => Next::Drain(node.clone()),
            Emptied::Not | Emptied::Done => goes_down(Task::Upgrade, current, now),
        });
    }
    // who boots by itself is empty before; the other one may still fail, and keeps its work until it is sure to go
    if talos.boots_itself && *emptied == Emptied::Wanted {
        return Some(Next::Drain(node.clone()));
    }
    Some(match talos.boots_itself {
        _ if just_asked(current, now) => Next::Wait(format!("{node} was told to upgrade")),
        _ if *tries >= TRIES => Next::Stop(format!(
            "{node} was told {tries} times to put {} on its disk and has not: the reasons are above, and in its own log",
            talos.wanted
        )),
        true => Next::Upgrade(node.clone()),
        false => Next::Install(node.clone()),
    })
}

fn just_asked(current: &Current, now: u64) -> bool {
    current.asked.is_some_and(|asked| now.saturating_sub(asked) < AGAIN)
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
fn settled(task: Task, current: &Current, told: &Told, looks: &BTreeMap<String, Look>, work: &Work) -> Turn {
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
    if let Some(talos) = told.talos.as_ref().filter(|talos| task == Task::Upgrade && !talos.is_wanted) {
        return Next::GiveUp(format!(
            "{node} was to run {} and has come back with {}: Talos goes back to the version before where the new one does not \
             come up, and its console says why; an image of other extensions is what the registry has under that name. The \
             node is well with what it runs, and no other one is touched; give the command again to try once more",
            talos.wanted, talos.runs
        ))
        .into();
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
