//! The load: ISC's perfdhcp in the part of a relay, as many clients, and what it prints.

use std::{fs, time::Duration};

use anyhow::{Context as _, ensure};

use crate::{cable, child, packages};

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// every exchange is a client that was never there
    New,
    /// as many renewals as exchanges, by ten thousand clients that come again
    Mixed,
}

/// Datagrams that came to this end of the cable and found a full queue (proc_net(5), `Udp: RcvbufErrors`). Nobody but the
/// generator listens here.
fn overruns() -> anyhow::Result<f64> {
    let snmp = fs::read_to_string("/proc/thread-self/net/snmp").context("the kernel counts no datagrams")?;
    let mut lines = snmp.lines().filter(|line| line.starts_with("Udp:")).map(str::split_ascii_whitespace);
    let (mut names, mut numbers) =
        lines.next().zip(lines.next()).context("the kernel counts no datagrams")?;
    let at = names.position(|name| name == "RcvbufErrors").context("the kernel counts no full queues")?;
    Ok(numbers.nth(at).and_then(|number| number.parse().ok()).unwrap_or_default())
}

/// What came of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Outcome {
    /// DISCOVER, REQUEST and renewals
    pub(crate) questions: f64,
    /// DISCOVER to ACK, and REQUEST to ACK of renewals
    pub(crate) exchanges: f64,
    /// a second
    pub(crate) rate: f64,
    /// of all questions, those without an answer within a second
    pub(crate) drops: f64,
    /// of all questions, those whose answer came and was lost in the generator's own queue
    pub(crate) overrun: f64,
    /// how much of the asked rate the generator brought about
    pub(crate) asked: f64,
    /// the generator's own processor seconds for one exchange
    pub(crate) work: f64,
}

impl Outcome {
    /// What the server did not answer.
    pub(crate) fn unanswered(&self) -> f64 {
        (self.drops - self.overrun).max(0.0)
    }
}

/// Runs it where it is called.
pub(crate) fn run(load: Load, rate: u32, period: Duration, relay: &str) -> anyhow::Result<Outcome> {
    let mut perfdhcp = packages::installed("perfdhcp", "kea-admin")?;
    // as many halves of a mixed load as whole exchanges of the other
    let (first, renewals, clients) = match load {
        Load::New => (rate, 0, 1_000_000),
        Load::Mixed => (rate / 2, rate / 2, 10_000),
    };
    let seconds = period.as_secs();
    perfdhcp.args(["-4", "-l", relay, "-W", "500000", "-p", &seconds.to_string()]);
    perfdhcp.args(["-r", &first.to_string(), "-R", &clients.to_string()]);
    if renewals > 0 {
        perfdhcp.args(["-f", &renewals.to_string()]);
    }
    perfdhcp.arg(cable::SERVER.to_string());
    let (overruns, processor) = (overruns()?, child::of_ended_children()?);
    let output = perfdhcp.output().context("perfdhcp does not start")?;
    let overruns = self::overruns()? - overruns;
    let processor = child::of_ended_children()? - processor;
    let text = String::from_utf8_lossy(&output.stdout);
    let outcome = Outcome::parse(&text, f64::from(rate) * period.as_secs_f64(), period.as_secs_f64());
    let outcome = outcome.map(|outcome| Outcome {
        overrun: if outcome.questions > 0.0 { overruns / outcome.questions } else { 0.0 },
        work: processor / outcome.exchanges.max(1.0),
        ..outcome
    });
    // 3: it ran, and some questions were not answered
    ensure!(
        matches!(output.status.code(), Some(0 | 3)) && outcome.is_some(),
        "perfdhcp failed ({}): {text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    outcome.context("perfdhcp says nothing")
}

impl Outcome {
    /// Reads the sections of its report.
    fn parse(text: &str, asked: f64, seconds: f64) -> Option<Self> {
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        for line in text.lines() {
            let number = |name| line.strip_prefix(name)?.trim().parse::<f64>().ok();
            sent.extend(number("sent packets:"));
            received.extend(number("received packets:"));
        }
        let (&discovers, &requests) = (sent.first()?, sent.get(1)?);
        let (&offers, &acks) = (received.first()?, received.get(1)?);
        let renewals = sent.get(2).copied().unwrap_or_default();
        let renewed = received.get(2).copied().unwrap_or_default();
        let questions = discovers + requests + renewals;
        let answers = offers + acks + renewed;
        let exchanges = acks + renewed;
        Some(Self {
            questions,
            exchanges,
            rate: exchanges / seconds,
            drops: if questions > 0.0 { (questions - answers) / questions } else { 1.0 },
            asked: (discovers + renewals) / asked,
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
***Rate statistics***
Rate: 4779.8 4-way exchanges/second, expected rate: 6000

***Statistics for: DISCOVER-OFFER***
sent packets: 6000
received packets: 5900
drops: 100

***Statistics for: REQUEST-ACK***
sent packets: 5900
received packets: 5900
drops: 0

***Statistics for: REQUEST-ACK (renewal)***
sent packets: 3000
received packets: 2900
drops: 100
";

    #[test]
    fn its_report_is_read() {
        let outcome = Outcome::parse(REPORT, 10_000.0, 2.0).unwrap();
        assert_eq!((outcome.exchanges, outcome.rate, outcome.asked), (8_800.0, 4_400.0, 0.9));
        assert!((outcome.drops - 200.0 / 14_900.0).abs() < 1e-9, "{outcome:?}");
        let overrun = Outcome { overrun: outcome.drops / 2.0, ..outcome };
        assert!((overrun.unanswered() - outcome.drops / 2.0).abs() < 1e-9, "{overrun:?}");
        assert_eq!(Outcome::parse("Malformed packets: 0", 1.0, 1.0), None);
    }
}
