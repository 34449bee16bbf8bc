//! What the lab tells while it runs: a table on a terminal, plain lines in a log, JSON for a program.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::plan::{Machine, SWITCH};
use crate::summary::{Summary, seconds};

/// Something worth a line.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// the lab did something itself
    Lab { what: String },
    /// a machine says what it does
    Machine { machine: String, what: String },
    /// the daemon says what it thinks of a machine
    Node { machine: String, state: String, waiting: Option<String> },
    /// the daemon says what it thinks of the cluster
    Cluster { state: String, waiting: Option<String> },
    /// the daemon was started or ended
    Daemon { what: String },
}

/// An event as `--json` writes it.
#[derive(Serialize)]
struct Line<'a> {
    /// seconds since the start
    at: f64,
    #[serde(flatten)]
    event: &'a Event,
}

/// The last line of `--json`.
#[derive(Serialize)]
#[serde(tag = "event", rename = "summary")]
struct LastLine<'a> {
    at: f64,
    passed: bool,
    faults: &'a [String],
    bootstraps: u32,
    #[serde(flatten)]
    summary: &'a Summary,
}

/// Where events go.
pub(crate) struct Report {
    began: Instant,
    form: Form,
}

enum Form {
    Json,
    Lines,
    Table(Table),
}

struct Table {
    screen: MultiProgress,
    cluster: ProgressBar,
    rows: BTreeMap<String, (Row, ProgressBar)>,
}

/// One line of the table.
#[derive(Debug, Clone, Default)]
struct Row {
    title: String,
    machine: String,
    node: String,
}

impl Report {
    /// JSON if asked for, a table on a terminal, else lines.
    pub(crate) fn new(json: bool, machines: &[Machine]) -> Self {
        let form = if json {
            Form::Json
        } else if std::io::stderr().is_terminal() {
            Form::Table(Table::new(machines))
        } else {
            Form::Lines
        };
        Self { began: Instant::now(), form }
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Tells an event.
    pub(crate) fn tell(&mut self, event: &Event) {
        let at = seconds(self.elapsed());
        match &mut self.form {
            Form::Json => json_line(&Line { at, event }),
            Form::Lines => plain_line(&format!("{at:>7.1} s  {}", sentence(event))),
            Form::Table(table) => table.show(at, event),
        }
    }

    /// Tells how it ended.
    pub(crate) fn end(&mut self, summary: &Summary, faults: &[String]) {
        let at = seconds(self.elapsed());
        match &self.form {
            Form::Json => {
                json_line(&LastLine {
                    at,
                    passed: faults.is_empty(),
                    faults,
                    bootstraps: summary.bootstraps(),
                    summary,
                });
                return;
            }
            Form::Table(table) => table.close(),
            Form::Lines => {}
        }
        for line in summary.text(faults, self.elapsed()) {
            plain_line(&line);
        }
    }

    /// Tells a person what only a person needs; a program that reads our output is spared it.
    pub(crate) fn aside(&self, text: &str) {
        match &self.form {
            Form::Json => eprintln!("{text}"),
            Form::Lines => plain_line(text),
            Form::Table(table) => {
                table.screen.println(text).ok();
            }
        }
    }
}

impl Table {
    fn new(machines: &[Machine]) -> Self {
        let screen = MultiProgress::new();
        let bar = || {
            let bar = screen.add(ProgressBar::new_spinner());
            bar.set_style(
                ProgressStyle::with_template("{spinner} {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar
        };
        let cluster = bar();
        cluster.set_message("cluster");
        let rows = machines
            .iter()
            .map(|machine| {
                let title = format!("{:<10} {:<11}", machine.name, format!("{SWITCH}/{}", machine.port));
                let row = Row { title, ..Row::default() };
                let line = bar();
                line.set_message(row.text());
                (machine.name.clone(), (row, line))
            })
            .collect();
        Self { screen, cluster, rows }
    }

    fn show(&mut self, at: f64, event: &Event) {
        let row = match event {
            Event::Machine { machine, .. } | Event::Node { machine, .. } => self.rows.get_mut(machine),
            _ => None,
        };
        match (event, row) {
            (Event::Machine { what, .. }, Some((row, line))) => {
                row.machine.clone_from(what);
                line.set_message(row.text());
                line.tick();
            }
            (Event::Node { state, waiting, .. }, Some((row, line))) => {
                row.node = with_reason(state, waiting.as_deref());
                line.set_message(row.text());
                line.tick();
            }
            (Event::Cluster { state, waiting }, _) => {
                self.cluster.set_message(format!("cluster: {}", with_reason(state, waiting.as_deref())));
                self.cluster.tick();
            }
            _ => {
                self.screen.println(format!("{at:>7.1} s  {}", sentence(event))).ok();
            }
        }
    }

    fn close(&self) {
        for line in self.rows.values().map(|(_, line)| line).chain([&self.cluster]) {
            line.abandon();
        }
    }
}

impl Row {
    fn text(&self) -> String {
        format!("{} machine: {:<28} ichord: {}", self.title, self.machine, self.node)
    }
}

fn with_reason(state: &str, waiting: Option<&str>) -> String {
    match waiting {
        Some(reason) => format!("{state} ({reason})"),
        None => state.to_owned(),
    }
}

fn sentence(event: &Event) -> String {
    match event {
        Event::Lab { what } => format!("lab: {what}"),
        Event::Daemon { what } => format!("ichord: {what}"),
        Event::Machine { machine, what } => format!("{machine} says: {what}"),
        Event::Node { machine, state, waiting } => {
            format!("ichord on {machine}: {}", with_reason(state, waiting.as_deref()))
        }
        Event::Cluster { state, waiting } => {
            format!("ichord on the cluster: {}", with_reason(state, waiting.as_deref()))
        }
    }
}

fn json_line(line: &impl Serialize) {
    // plain numbers, texts and lists: this cannot fail
    if let Ok(text) = serde_json::to_string(line) {
        plain_line(&text);
    }
}

/// A reader that went away is no reason to leave the lab standing.
fn plain_line(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_reads_one_object_a_line() {
        let event = Event::Node { machine: "lab-cp-1".into(), state: "vacant".into(), waiting: None };
        let text = serde_json::to_string(&Line { at: 1.5, event: &event }).unwrap();
        assert_eq!(text, r#"{"at":1.5,"event":"node","machine":"lab-cp-1","state":"vacant","waiting":null}"#);

        let summary = Summary::default();
        let faults = ["x".to_owned()];
        let last = LastLine { at: 2.0, passed: false, faults: &faults, bootstraps: 0, summary: &summary };
        let value = serde_json::to_value(last).unwrap();
        assert_eq!(value["event"], "summary");
        assert_eq!(value["passed"], false);
        assert_eq!(value["faults"][0], "x");
    }
}
