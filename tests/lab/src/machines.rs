//! The machines of the lab: switched on and off, and listened to.
//!
//! A simulated machine is a process in a network of its own; one with real firmware is a QEMU process. Either says
//! what happens to it in JSON lines on its standard output (a serial console says other things in between).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{Launcher, Lines, Network, Process, Start, last_lines};
use crate::summary::Seen;

/// Events that are states: the machine stays there until the next one.
const STATES: [&str; 10] = [
    "off",
    "firmware",
    "booting",
    "maintenance",
    "installing",
    "rebooting",
    "configured",
    "running",
    "ready",
    "halted",
];

/// All machines.
pub(crate) struct Machines {
    launcher: Launcher,
    lines: Lines,
    boxes: BTreeMap<String, Box>,
}

/// One machine.
struct Box {
    /// what its power switch starts
    command: Vec<String>,
    /// where it is plugged in; a virtual machine has its own
    network: Option<Network>,
    process: Option<Process>,
}

impl Machines {
    /// None yet.
    pub(crate) fn new(launcher: Launcher, lines: Lines) -> Self {
        Self { launcher, lines, boxes: BTreeMap::new() }
    }

    /// Racks a machine, switched off.
    pub(crate) fn add(&mut self, name: &str, command: Vec<String>, network: Option<Network>) {
        self.boxes.insert(name.to_owned(), Box { command, network, process: None });
    }

    /// Starts the keeper of a network for a machine that is going to be racked.
    pub(crate) async fn hold_network(&self, name: &str) -> Result<Network> {
        self.launcher.hold_network(name).await
    }

    /// Their names, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.boxes.keys().cloned().collect()
    }

    /// Names and keepers of the networks.
    pub(crate) fn networks(&self) -> Vec<(String, u32)> {
        let keeper = |(name, one): (&String, &Box)| Some((name.clone(), one.network.as_ref()?.pid));
        self.boxes.iter().filter_map(keeper).collect()
    }

    /// Presses the power switch.
    pub(crate) fn power_on(&mut self, name: &str) -> Result<()> {
        let one = self.boxes.get_mut(name).with_context(|| format!("there is no machine {name}"))?;
        let start = Start {
            name: name.to_owned(),
            network: one.network.as_ref().map(|network| network.pid),
            card: None,
            command: one.command.clone(),
            environment: Vec::new(),
        };
        one.process = Some(self.launcher.start(start, Some(self.lines.clone()))?);
        Ok(())
    }

    /// Pulls the plug and waits until the machine is off.
    pub(crate) async fn power_off(&mut self, name: &str) -> Result<()> {
        let one = self.boxes.get_mut(name).with_context(|| format!("there is no machine {name}"))?;
        match one.process.take() {
            Some(mut process) => process.stop().await.map(drop),
            None => Ok(()),
        }
    }

    /// A machine whose process ended by itself is a fault of the lab or of the machine.
    pub(crate) fn none_ended(&mut self) -> Result<()> {
        for (name, one) in &mut self.boxes {
            let Some(process) = &mut one.process else { continue };
            if let Some(status) = process.has_ended()? {
                let words = last_lines(&self.launcher.log(name), 5).join("\n");
                bail!("the machine {name} ended by itself ({status}); its last words:\n{words}");
            }
        }
        Ok(())
    }
}

/// Takes in one line of a machine's output. What is worth telling comes back.
pub(crate) fn understand(line: &str, at: Duration, seen: &mut Seen) -> Option<String> {
    let said: Value = serde_json::from_str(line).ok()?;
    let event = said.get("event")?.as_str()?;
    let counted = &mut seen.counted;
    match event {
        "booted" => {
            let from_network = said.get("from-network").and_then(Value::as_bool)?;
            counted.boots += 1;
            counted.network_boots += u32::from(from_network);
            let from = if from_network { "the network" } else { "its own disk" };
            return Some(format!("booted from {from}"));
        }
        "called" => {
            let call = said.get("call").and_then(Value::as_str).unwrap_or_default();
            seen.calls.push(call.to_owned());
            seen.moments.push((call.to_owned(), said.get("at").and_then(Value::as_u64)?));
            return None;
        }
        "machine-api" => {
            let mode = said.get("mode").and_then(Value::as_str)?;
            seen.moments.push((mode.to_owned(), said.get("at").and_then(Value::as_u64)?));
            return None;
        }
        "etcd-member" => {
            seen.joined.push(said.get("learner").and_then(Value::as_bool)?);
            return None;
        }
        "wiped" => seen.wipes += 1,
        "etcd-recovered" => seen.recoveries += 1,
        "config-applied" => counted.configs_applied += 1,
        "installed" => counted.installs += 1,
        "bootstrap-accepted" => counted.bootstraps_accepted += 1,
        "bootstrap-succeeded" => counted.bootstraps += 1,
        _ if STATES.contains(&event) => return seen.is(event, at).then(|| event.to_owned()),
        "failed" | "boot-failed" => {
            let reason = said.get("reason").and_then(Value::as_str).unwrap_or_default();
            return Some(format!("{event}: {reason}"));
        }
        _ => return None,
    }
    Some(event.to_owned())
}

/// Whether a machine runs Talos with its config, all services up.
pub(crate) fn runs(seen: &Seen) -> bool {
    matches!(seen.state(), Some("running" | "ready"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::Counted;

    #[test]
    fn a_machine_s_words_become_its_record() {
        let mut seen = Seen::default();
        let mut hear = |line: &str| understand(line, Duration::from_secs(1), &mut seen);
        for (line, told) in [
            ("SeaBIOS (version 1.16.2)", None),
            (r#"{"at":1,"machine":"a","event":"firmware"}"#, Some("firmware")),
            (r#"{"at":1,"machine":"a","event":"firmware"}"#, None),
            (
                r#"{"at":1,"machine":"a","event":"boot-failed","reason":"no offer"}"#,
                Some("boot-failed: no offer"),
            ),
            (
                r#"{"at":2,"machine":"a","event":"booted","boot-id":"x","from-network":true}"#,
                Some("booted from the network"),
            ),
            (r#"{"at":3,"machine":"a","event":"maintenance"}"#, Some("maintenance")),
            (r#"{"at":4,"machine":"a","event":"config-applied"}"#, Some("config-applied")),
            (r#"{"at":5,"machine":"a","event":"installed"}"#, Some("installed")),
            (
                r#"{"at":6,"machine":"a","event":"booted","boot-id":"y","from-network":false}"#,
                Some("booted from its own disk"),
            ),
            (r#"{"at":7,"machine":"a","event":"bootstrap-accepted"}"#, Some("bootstrap-accepted")),
            (
                r#"{"at":8,"machine":"a","event":"bootstrap-succeeded","cluster":"1"}"#,
                Some("bootstrap-succeeded"),
            ),
            (r#"{"at":8,"machine":"a","event":"called","call":"Bootstrap","refused":null}"#, None),
            (r#"{"at":8,"machine":"a","event":"wiped"}"#, Some("wiped")),
            (r#"{"at":8,"machine":"a","event":"etcd-member","id":"1","learner":false}"#, None),
            (r#"{"at":9,"machine":"a","event":"running"}"#, Some("running")),
        ] {
            assert_eq!(hear(line).as_deref(), told, "{line}");
        }
        assert!(runs(&seen));
        let expected = Counted {
            boots: 2,
            network_boots: 1,
            configs_applied: 1,
            installs: 1,
            bootstraps_accepted: 1,
            bootstraps: 1,
        };
        assert_eq!(seen.counted, expected);
        assert_eq!((seen.calls.as_slice(), seen.wipes), (["Bootstrap".to_owned()].as_slice(), 1));
        assert!(seen.is("off", Duration::from_secs(10)));
        assert!(!runs(&seen));
    }
}
