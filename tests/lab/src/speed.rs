//! `lab speed`: how long the daemon takes from the last machine that it needed to the next thing that it does.
//!
//! Roads of a small site, one after the other. When a machine was ready is its own record; when the daemon knew, its
//! journal; when it acted, its log (for what it asks the network) or the machine's record again (for calls).

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::plan;
use crate::programs::Programs;
use crate::space;
use crate::story::{Story, has_come_to, say};
use crate::summary::Seen;

/// What the daemon's log says when it begins to ask the network, before it founds one.
const ASKS: &str = "asks whether a cluster exists";
/// What is held to it: from the last machine that was needed to the next action.
const AIM: Duration = Duration::from_millis(200);

/// Arguments of *speed*.
#[derive(Debug, Args)]
pub(crate) struct Speed {
    /// So many roads
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Machines that become control planes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    control_planes: u8,
    /// Take `ichord` and `machine` from beside the lab's own program instead of building them
    #[arg(long)]
    no_build: bool,
}

/// Runs it. True when 99 of 100 of the daemon's own steps were within the aim.
pub(crate) fn run(arguments: &Speed) -> Result<bool> {
    let programs = if arguments.no_build { Programs::already_built()? } else { Programs::build()? };
    space::tell(async |folder| {
        let count = usize::from(arguments.control_planes);
        let plan = plan::machines(count, 0);
        let mut story = Story::prepare(&programs, folder, plan, Vec::new(), |_| {}).await?;
        let mut spans = Spans::default();
        for round in 1..=arguments.rounds {
            let chapter = format!("round {round}");
            story.begin(&chapter).await?;
            let ports: Vec<usize> = (0..count).collect();
            story.switch_on(&ports).await?;
            story.until("the cluster to be founded", |status, _| has_come_to(status, "joining")).await?;
            spans.take(&mut story).await?;
            story.end(&chapter).await?;
        }
        spans.tell();
        let worst = percentile(&spans.decided, 99).context("nothing was measured")?;
        ensure!(worst < AIM, "99 of 100 within {worst:?}, not within {AIM:?}");
        Ok(true)
    })
}

/// Durations, by what lies between their two ends.
#[derive(Default)]
struct Spans {
    /// a machine offers to take a config, by its own record; it is given one, by its own record
    configured: Vec<Duration>,
    /// the last control plane answers as configured, by its own record; the daemon knows, by its journal
    noticed: Vec<Duration>,
    /// the daemon knows, by its journal; it asks whether a cluster exists, by its log
    decided: Vec<Duration>,
    /// nobody answers until then; `Bootstrap` is called, by the machine's record
    founded: Vec<Duration>,
}

impl Spans {
    async fn take(&mut self, story: &mut Story) -> Result<()> {
        let journal = story.daemon()?.journal().await?;
        let known =
            journal.iter().filter(|(what, _)| what.ends_with("→ configured")).map(|(_, at)| *at).max();
        let known = known.context("the journal knows of no configured machine")?;
        let log = fs::read_to_string(story.log()).context("the daemon's log cannot be read")?;
        let asked = log
            .lines()
            .rev()
            .find(|line| line.contains(ASKS))
            .context("the log does not say that it asks")?;
        let line: Value = serde_json::from_str(asked).context("the daemon's log is not JSON")?;
        let asked =
            line["timestamp"].as_str().and_then(unix_milliseconds).context("a log line has no time")?;
        let (mut open, mut called) = (0, 0);
        for seen in story.boxes.records().values() {
            let at = |what: &str| seen.moments.iter().find(|(moment, _)| moment == what).map(|(_, at)| *at);
            if let (Some(offered), Some(told)) = (at("maintenance"), at("ApplyConfiguration")) {
                self.configured.push(between(offered, told));
            }
            open = open.max(last(seen, "configured"));
            called = called.max(at("Bootstrap").unwrap_or_default());
        }
        self.noticed.push(between(open, known));
        self.decided.push(between(known, asked));
        self.founded.push(between(asked, called));
        Ok(())
    }

    fn tell(&self) {
        for (what, spans) in [
            ("it waits for a config -> it is given one", &self.configured),
            ("the last control plane is up -> the daemon knows", &self.noticed),
            ("the daemon knows -> it asks whether a cluster exists", &self.decided),
            ("it asks -> Bootstrap is called", &self.founded),
        ] {
            let of = |percent| percentile(spans, percent).map(|span| span.as_millis());
            say(
                &json!({ "event": "span", "what": what, "count": spans.len(), "p50-ms": of(50), "p99-ms": of(99), "max-ms": of(100) }),
            );
        }
    }
}

fn last(seen: &Seen, what: &str) -> u64 {
    seen.moments.iter().rev().find(|(moment, _)| moment == what).map_or(0, |(_, at)| *at)
}

/// Of two moments on one clock; a step of it backwards counts as nothing.
fn between(from: u64, to: u64) -> Duration {
    Duration::from_millis(to.saturating_sub(from))
}

/// The smallest span that so many of 100 do not exceed.
fn percentile(spans: &[Duration], percent: usize) -> Option<Duration> {
    let mut sorted = spans.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

/// A time of today or around it, as logs write it, in milliseconds since the Unix epoch: the day is this machine's own.
fn unix_milliseconds(text: &str) -> Option<u64> {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let (_, time) = text.trim_end_matches('Z').split_once('T')?;
    let mut parts = time.split(':');
    let (hours, minutes) = (parts.next()?.parse::<u64>().ok()?, parts.next()?.parse::<u64>().ok()?);
    let seconds: f64 = parts.next()?.parse().ok()?;
    let of_day =
        (hours * 60 + minutes) * 60_000 + Duration::try_from_secs_f64(seconds).ok()?.as_millis() as u64;
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()?;
    let today = now - now % DAY + of_day;
    // it was before midnight, and now it is after it
    Some(if today > now + DAY / 2 { today - DAY } else { today })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_spans() {
        let spans: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        let of = |percent| percentile(&spans, percent).unwrap().as_millis();
        assert_eq!((of(50), of(99), of(100)), (100, 198, 200));
        assert_eq!(percentile(&spans[..1], 50), Some(Duration::from_millis(200)));
        assert_eq!(percentile(&[], 99), None);
    }

    #[test]
    fn a_time_of_the_log_is_one_of_this_day() {
        let read = unix_milliseconds("2026-11-28T00:00:01.250999Z").unwrap();
        assert_eq!(read % (24 * 60 * 60 * 1000), 1_250);
        assert_eq!(unix_milliseconds("yesterday"), None);
    }
}
