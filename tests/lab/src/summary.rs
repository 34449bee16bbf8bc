//! What the lab saw, and whether it was what had to be seen.
//!
//! The machines themselves are the witnesses: how often each was installed and how many `Bootstrap` calls succeeded
//! is counted by them, never by the daemon under test.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::plan::Machine;

/// The state of the cluster that ends the road.
pub(crate) const HANDED_OVER: &str = "handed over";

/// Everything worth knowing about one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// by machine name
    pub(crate) machines: BTreeMap<String, Seen>,
    /// the cluster's states in the order they were reached, with seconds since the start
    pub(crate) cluster: Vec<(String, f64)>,
    /// how often the daemon was started
    pub(crate) daemon_starts: u32,
    /// how often it was killed, by the lab or at its own checkpoints
    pub(crate) kills: u32,
    /// install permits that the lab granted because a killed daemon had used up the first
    pub(crate) permits_granted: u32,
    /// checkpoints at which it died
    pub(crate) checkpoints: Vec<String>,
}

/// What one machine went through.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Seen {
    /// its own states with seconds since the start
    pub(crate) states: Vec<(String, f64)>,
    /// what it counted, over power cycles
    #[serde(flatten)]
    pub(crate) counted: Counted,
    /// calls of its machine API that change something, refused ones too, in their order
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) calls: Vec<String>,
    /// how often its disk was wiped
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) wipes: u32,
    /// etcd began from a snapshot there
    pub(crate) recoveries: u32,
    /// each time that etcd began to run: whether without a vote
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) joined: Vec<bool>,
    /// when its machine API opened (in which mode) and which changing calls reached it, by its own clock, in milliseconds
    #[serde(skip)]
    pub(crate) moments: Vec<(String, u64)>,
}

/// Left out of the summary.
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What a machine counts over its whole life, power cycles included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counted {
    /// kernels started
    pub(crate) boots: u32,
    /// kernels started over the network
    pub(crate) network_boots: u32,
    /// configs accepted in maintenance mode
    pub(crate) configs_applied: u32,
    /// installations finished
    pub(crate) installs: u32,
    /// `Bootstrap` calls answered with success
    pub(crate) bootstraps_accepted: u32,
    /// etcd clusters founded here: one in the whole rack, for ever
    pub(crate) bootstraps: u32,
}

impl Summary {
    /// Nothing was seen yet, of any machine: one that stays silent is missed at the end.
    pub(crate) fn of(machines: &[Machine]) -> Self {
        let silent = |machine: &Machine| (machine.name.clone(), Seen::default());
        Self { machines: machines.iter().map(silent).collect(), ..Self::default() }
    }

    /// The machine's record; made when first asked for.
    pub(crate) fn machine(&mut self, name: &str) -> &mut Seen {
        self.machines.entry(name.to_owned()).or_default()
    }

    /// Notes a state of the cluster. True when it is a new one.
    pub(crate) fn cluster_is(&mut self, state: &str, at: Duration) -> bool {
        note(&mut self.cluster, state, at)
    }

    /// The cluster's last known state.
    pub(crate) fn state(&self) -> Option<&str> {
        self.cluster.last().map(|(state, _)| state.as_str())
    }

    /// Etcd clusters founded by all machines together.
    pub(crate) fn bootstraps(&self) -> u32 {
        self.machines.values().map(|seen| seen.counted.bootstraps).sum()
    }

    /// What is wrong with the run; nothing when it is as it must be.
    ///
    /// `cycled` are the machines that were switched off and on after they had been installed, with what they had
    /// counted until then.
    pub(crate) fn faults(&self, cycled: &BTreeMap<String, Counted>) -> Vec<String> {
        let mut faults = Vec::new();
        match self.state() {
            Some(HANDED_OVER) => {}
            Some(state) => faults.push(format!("the cluster is {state:?}, not {HANDED_OVER:?}")),
            None => faults.push("the daemon never said in which state the cluster is".to_owned()),
        }
        for (name, seen) in &self.machines {
            if seen.counted.installs != 1 {
                faults.push(format!("{name} was installed {} times, not once", seen.counted.installs));
            }
        }
        let bootstraps = self.bootstraps();
        if bootstraps != 1 {
            faults.push(format!("{bootstraps} etcd clusters were bootstrapped, not one"));
        }
        for (name, before) in cycled {
            if self.machines.get(name).is_none_or(|seen| !seen.counted.booted_own_disk_since(*before)) {
                faults.push(format!("{name} did not boot its own disk after the power cycle"));
            }
        }
        faults
    }

    /// Who netbooted, where nobody could.
    pub(crate) fn netbooted(&self) -> Vec<String> {
        let netbooted = self.machines.iter().filter(|(_, seen)| seen.counted.network_boots > 0);
        netbooted
            .map(|(name, _)| format!("{name} netbooted, so its ISO was not what it came up by"))
            .collect()
    }

    /// The summary for a person: what happened when, how often, and what is wrong.
    pub(crate) fn text(&self, faults: &[String], took: Duration) -> Vec<String> {
        let mut lines = vec![
            String::new(),
            format!(
                "{:<12} {:>8} {:>14} {:>10}  reached after seconds",
                "machine", "installs", "boots net/disk", "bootstraps"
            ),
        ];
        for (name, seen) in &self.machines {
            let counted = seen.counted;
            lines.push(format!(
                "{name:<12} {:>8} {:>14} {:>10}  {}",
                counted.installs,
                format!("{}/{}", counted.network_boots, counted.disk_boots()),
                counted.bootstraps,
                listed(&seen.states)
            ));
        }
        lines.push(format!("cluster: {}", listed(&self.cluster)));
        lines.push(format!(
            "ichord: started {} times, killed {} times, {} install permits granted anew",
            self.daemon_starts, self.kills, self.permits_granted
        ));
        if faults.is_empty() {
            lines.push(format!("{HANDED_OVER}, everything as it must be, after {:.1} s", took.as_secs_f64()));
        } else {
            lines.push(format!("FAILED after {:.1} s:", took.as_secs_f64()));
            lines.extend(faults.iter().map(|fault| format!("  {fault}")));
        }
        lines
    }
}

impl Seen {
    /// Notes a state. True when it is a new one.
    pub(crate) fn is(&mut self, state: &str, at: Duration) -> bool {
        note(&mut self.states, state, at)
    }

    /// Its last known state.
    pub(crate) fn state(&self) -> Option<&str> {
        self.states.last().map(|(state, _)| state.as_str())
    }
}

impl Counted {
    /// Kernels started from the machine's own disk: after installation and after power cycles.
    pub(crate) fn disk_boots(self) -> u32 {
        self.boots.saturating_sub(self.network_boots)
    }

    /// Whether it started from its own disk, and only from there, since it had counted `before`.
    pub(crate) fn booted_own_disk_since(self, before: Self) -> bool {
        self.disk_boots() > before.disk_boots() && self.network_boots == before.network_boots
    }
}

/// Seconds with the tenth that a person can use.
pub(crate) fn seconds(of: Duration) -> f64 {
    (of.as_secs_f64() * 10.0).round() / 10.0
}

fn note(states: &mut Vec<(String, f64)>, state: &str, at: Duration) -> bool {
    let new = states.last().is_none_or(|(last, _)| last != state);
    if new {
        states.push((state.to_owned(), seconds(at)));
    }
    new
}

fn listed(states: &[(String, f64)]) -> String {
    states.iter().map(|(state, at)| format!("{state} {at}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Summary {
        let mut summary = Summary::default();
        for name in ["a", "b"] {
            summary.machine(name).counted =
                Counted { boots: 3, network_boots: 1, installs: 1, ..Counted::default() };
        }
        summary.machine("a").counted.bootstraps = 1;
        summary.machine("a").counted.bootstraps_accepted = 2;
        summary.cluster_is("joining", Duration::from_secs(3));
        summary.cluster_is(HANDED_OVER, Duration::from_secs(4));
        summary
    }

    /// `a` was switched off and on after it had been installed.
    fn cycled() -> BTreeMap<String, Counted> {
        BTreeMap::from([("a".to_owned(), Counted { boots: 2, network_boots: 1, ..Counted::default() })])
    }

    #[test]
    fn a_lost_and_repeated_bootstrap_call_is_no_fault() {
        assert_eq!(good().faults(&cycled()), Vec::<String>::new());
    }

    #[test]
    fn each_fault_is_found_alone() {
        type Spoil = fn(&mut Summary);
        let cases: [(&str, Spoil); 7] = [
            ("handed over", |summary| summary.cluster.truncate(1)),
            ("never said", |summary| summary.cluster.clear()),
            ("b was installed 2 times", |summary| summary.machine("b").counted.installs = 2),
            ("b was installed 0 times", |summary| summary.machine("b").counted.installs = 0),
            ("2 etcd clusters", |summary| summary.machine("b").counted.bootstraps = 1),
            ("a did not boot its own disk", |summary| summary.machine("a").counted.network_boots = 2),
            ("a did not boot its own disk", |summary| summary.machine("a").counted.boots = 2),
        ];
        for (expected, spoil) in cases {
            let mut summary = good();
            spoil(&mut summary);
            let faults = summary.faults(&cycled());
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].contains(expected), "{faults:?} should tell: {expected}");
            assert!(summary.text(&faults, Duration::ZERO).iter().any(|line| line.contains("FAILED")));
        }
    }

    #[test]
    fn a_state_is_noted_when_it_changes() {
        let mut seen = Seen::default();
        assert!(seen.is("firmware", Duration::from_millis(1_260)));
        assert!(!seen.is("firmware", Duration::from_secs(2)));
        assert!(seen.is("maintenance", Duration::from_secs(3)));
        assert_eq!(seen.states, [("firmware".to_owned(), 1.3), ("maintenance".to_owned(), 3.0)]);
    }
}
