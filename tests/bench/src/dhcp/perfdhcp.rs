//! The load: ISC's perfdhcp in the part of a relay, as many clients, and what it prints.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::{cable, packages};

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// every exchange is a client that was never there
    New,
    /// as many renewals as exchanges, by ten thousand clients that come again
    Mixed,
}

/// What came of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Outcome {
    /// DISCOVER to ACK, and REQUEST to ACK of renewals
    pub(crate) exchanges: f64,
    /// a second
    pub(crate) rate: f64,
    /// of all questions, those without an answer within a second
    pub(crate) drops: f64,
    /// how much of the asked rate the generator brought about
    pub(crate) asked: f64,
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
    let output = perfdhcp.output().context("perfdhcp does not start")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let outcome = Outcome::parse(&text, f64::from(rate) * period.as_secs_f64(), period.as_secs_f64());
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
            exchanges,
            rate: exchanges / seconds,
            drops: if questions > 0.0 { (questions - answers) / questions } else { 1.0 },
            asked: (discovers + renewals) / asked,
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
        assert_eq!(Outcome::parse("Malformed packets: 0", 1.0, 1.0), None);
    }
}
