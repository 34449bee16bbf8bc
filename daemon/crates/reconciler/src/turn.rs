//! What a turn has decided: the outputs of several steps, joined into one transaction.

use std::collections::BTreeMap;

use lifecycle::{BootAnswer, Effect, Note, Output, Task, Time, View};
use serde_json::Value;
use store::{LogLine, Transaction};

/// Outputs that wait for their transaction. Later records of one key replace earlier ones, the view
/// is the last one; effects keep their order.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    writes: BTreeMap<String, Value>,
    notes: Vec<Note>,
    pub(crate) view: Option<Box<View>>,
    pub(crate) effects: Vec<Effect>,
}

impl Turn {
    pub(crate) fn take(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Persist { writes, notes } => {
                    self.writes.extend(writes.into_iter().map(|write| (write.key, write.value)));
                    self.notes.extend(notes);
                }
                Output::Publish(view) => self.view = Some(view),
                Output::Start(effect) => self.effects.push(effect),
            }
        }
    }

    /// The transaction that makes the turn's decisions durable; `None` when nothing was decided.
    pub(crate) fn transaction(&self, now: Time) -> Option<Transaction> {
        if self.writes.is_empty() && self.notes.is_empty() {
            return None;
        }
        let line = |note: &Note| {
            LogLine::from(&journal::Entry {
                at: now.0,
                subject: note.subject.clone(),
                what: note.what.clone(),
                evidence: note.evidence.clone(),
            })
        };
        Some(Transaction {
            put: self.writes.clone().into_iter().collect(),
            append: self.notes.iter().map(line).collect(),
            ..Transaction::default()
        })
    }

    /// A name for this commit that is the same in every run: what was decided, without when.
    pub(crate) fn name(&self) -> String {
        let state = |value: &Value| {
            let state = value.get("state").and_then(Value::as_str);
            let progress = value.pointer("/progress/at").and_then(Value::as_str);
            [state, progress].into_iter().flatten().collect::<Vec<_>>().join(" ")
        };
        let writes: Vec<String> =
            self.writes.iter().map(|(key, value)| format!("{key} {}", state(value))).collect();
        if writes.is_empty() { "journal only".to_owned() } else { writes.join(", ") }
    }

    pub(crate) fn log(&self) {
        for note in &self.notes {
            tracing::info!(subject = note.subject, evidence = note.evidence.join("; "), "{}", note.what);
        }
    }
}

/// A name for an effect that is the same in every run.
pub(crate) fn effect_name(effect: &Effect) -> String {
    match effect {
        Effect::AnswerBoot { answer, .. } => match answer {
            BootAnswer::Deploy { node } => format!("answer boot: deploy {node}"),
            BootAnswer::Identify { .. } => "answer boot: identify".to_owned(),
            BootAnswer::Wipe { node } => format!("answer boot: wipe {node}"),
            BootAnswer::Retry { .. } => "answer boot: retry".to_owned(),
            BootAnswer::LocalDisk { .. } => "answer boot: local disk".to_owned(),
            BootAnswer::Refused { .. } => "answer boot: refused".to_owned(),
        },
        Effect::Observe { node, .. } => format!("observe {node}"),
        Effect::Apply { node, .. } => format!("apply {node}"),
        Effect::SeekCluster { .. } => "seek a cluster".to_owned(),
        Effect::Bootstrap { node, .. } => format!("bootstrap {node}"),
        Effect::Recover { node, .. } => format!("recover etcd on {node}"),
        Effect::LookAround { .. } => "look around".to_owned(),
        Effect::RunStep { step, .. } => format!("hand-over step {step}"),
        Effect::Power { node, action, .. } => format!("power of {node}: {action:?}"),
        Effect::Depart { node, task, .. } => {
            let what = match task {
                Task::Snapshot { .. } => "snapshot before",
                Task::Drain => "drain",
                Task::Remove { .. } => "remove from etcd",
                Task::Reset { .. } => "reset",
                Task::Clear { .. } => "clear the old boot of",
                Task::Forget => "forget in Kubernetes",
            };
            format!("{what} {node}")
        }
    }
}
