//! What the machine did, as JSON lines on standard output; the lab reads them.

use std::{
    io::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::model::{Happening, Stage};

/// The machine's voice.
#[derive(Debug, Clone)]
pub(super) struct Events {
    machine: String,
}

impl Events {
    pub(super) fn of(machine: &str) -> Self {
        Self { machine: machine.to_owned() }
    }

    /// Says an event, with `details`, an object.
    pub(super) fn say(&self, event: &str, details: Value) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let mut line =
            json!({ "at": u64::try_from(at).unwrap_or(0), "machine": self.machine, "event": event });
        if let (Some(line), Value::Object(details)) = (line.as_object_mut(), details) {
            line.extend(details);
        }
        // nobody to read it is no reason to stop
        writeln!(std::io::stdout().lock(), "{line}").ok();
    }

    /// Says what the model did, where that is of interest outside.
    pub(super) fn happened(&self, happening: &Happening) {
        let (event, details) = match happening {
            Happening::Stage(stage) => {
                let event = match stage {
                    Stage::Off => "off",
                    Stage::Firmware => "firmware",
                    Stage::Booting => "booting",
                    Stage::Maintenance => "maintenance",
                    Stage::Installing => "installing",
                    Stage::Rebooting => "rebooting",
                    // says itself when its API opens
                    Stage::Configured => return,
                    Stage::Halted => "halted",
                };
                (event, json!({}))
            }
            Happening::Booted { boot_id, from_network } => {
                ("booted", json!({ "boot-id": boot_id, "from-network": from_network }))
            }
            Happening::ConfigApplied => ("config-applied", json!({})),
            Happening::Installing { disk } => ("installer", json!({ "disk": disk })),
            Happening::Installed => ("installed", json!({})),
            Happening::Upgraded { version } => ("upgraded", json!({ "version": version })),
            Happening::Wiped => ("wiped", json!({})),
            Happening::Configured { hostname } => ("configured", json!({ "hostname": hostname })),
            Happening::BootstrapAccepted => ("bootstrap-accepted", json!({})),
            Happening::BootstrapSucceeded { cluster } => {
                ("bootstrap-succeeded", json!({ "cluster": format!("{cluster:016x}") }))
            }
            Happening::EtcdRecovered { cluster } => {
                ("etcd-recovered", json!({ "cluster": format!("{cluster:016x}") }))
            }
            Happening::EtcdMember { id, learner } => {
                ("etcd-member", json!({ "id": format!("{id:016x}"), "learner": learner }))
            }
            Happening::VirtualAddress { address, held } => {
                ("vip", json!({ "address": address, "held": held }))
            }
            Happening::ApiServer(up) => ("api-server", json!({ "up": up })),
            Happening::Running => ("running", json!({})),
            Happening::Ready => ("ready", json!({})),
            Happening::Failed { reason } => ("failed", json!({ "reason": reason })),
            Happening::AsksTheNetwork { attempt } => ("asks-the-network", json!({ "attempt": attempt })),
            Happening::NodeReported(_) | Happening::Peer { .. } => return,
        };
        self.say(event, details);
    }
}
