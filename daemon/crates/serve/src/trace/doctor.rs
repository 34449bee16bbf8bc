//! What is wrong on the network, as far as the daemon can see.
//!
//! Troubles are alarming answers, by their kind and subject, and machines that ask again and again without
//! fetching what they are offered.

use std::collections::BTreeMap;

use super::Trace;

/// Different troubles that are remembered; the one that did not come for the longest goes first.
const MOST_TROUBLES: usize = 256;
/// So many offers without a fetch are no loss of a packet any more; firmware asks four times.
const OFFERS: u32 = 4;
/// What did not come again for so long, in milliseconds, is over.
const OVER: u64 = 60 * 60 * 1000;

/// Something a person should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// a short name of the kind, as in the counters
    pub kind: String,
    /// what happens, to whom, and what to do
    pub what: String,
    /// when it was first seen, in milliseconds since the Unix epoch
    pub since: u64,
    /// when it was last seen
    pub last: u64,
    /// how often
    pub times: u32,
}

/// By kind and sentence.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<(&'static str, String), Times>);

#[derive(Debug, Clone, Copy)]
struct Times {
    since: u64,
    last: u64,
    times: u32,
}

impl Troubles {
    fn add(&mut self, kind: &'static str, what: String, at: u64) {
        let key = (kind, what);
        if self.0.len() >= MOST_TROUBLES && !self.0.contains_key(&key) {
            let oldest = self.0.iter().min_by_key(|(_, times)| times.last).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        let times = self.0.entry(key).or_insert(Times { since: at, last: at, times: 0 });
        if at.saturating_sub(times.last) >= OVER {
            *times = Times { since: at, last: at, times: 0 };
        }
        times.last = at;
        times.times = times.times.saturating_add(1);
    }
}

impl Trace {
    /// Remembers a trouble; the sentence says who, what and what to do.
    pub fn trouble(&self, kind: &'static str, what: impl Into<String>, at: u64) {
        self.memory().troubles.add(kind, what.into(), at);
    }

    /// A trouble is over.
    pub fn recovered(&self, kind: &'static str) {
        self.memory().troubles.0.retain(|(of, _), _| *of != kind);
    }

    /// All that is wrong now, the newest first.
    pub fn complaints(&self, now: u64) -> Vec<Complaint> {
        let memory = self.memory();
        let troubles = memory.troubles.0.iter().map(|((kind, what), times)| Complaint {
            kind: (*kind).to_owned(),
            what: what.clone(),
            since: times.since,
            last: times.last,
            times: times.times,
        });
        let deaf = memory.machines.iter().filter(|(_, said)| said.offers >= OFFERS);
        let deaf = deaf.map(|(mac, said)| Complaint {
            kind: "never-fetches".to_owned(),
            what: format!(
                "{mac} was offered something to boot {} times and fetched nothing: either its firmware does not \
                 like the offer (is another boot server answering, or should it be `dhcp: authoritative`?), or it \
                 cannot reach TFTP and HTTP here (a firewall, a switch port that blocks while spanning tree learns: \
                 set it to portfast); `ichord trace {mac}` shows what was said",
                said.offers
            ),
            since: said.offered,
            last: said.last(),
            times: said.offers,
        });
        let mut all: Vec<Complaint> =
            troubles.chain(deaf).filter(|complaint| now.saturating_sub(complaint.last) < OVER).collect();
        all.sort_by_key(|complaint| std::cmp::Reverse(complaint.last));
        all
    }
}

#[cfg(test)]
mod tests {
    use hardware::MacAddr;

    use super::*;
    use crate::trace::{Layer, Who};

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn kinds(trace: &Trace, now: u64) -> Vec<(String, u32)> {
        trace.complaints(now).into_iter().map(|complaint| (complaint.kind, complaint.times)).collect()
    }

    #[test]
    fn a_machine_that_asks_and_never_fetches_is_named() {
        let trace = Trace::default();
        for at in 1..=u64::from(OFFERS) {
            assert_eq!(kinds(&trace, at), []);
            trace.note(Who::Mac(MAC), Layer::Dhcp, at, "DISCOVER: OFFER");
            trace.offered(MAC, at);
        }
        let complaints = trace.complaints(5);
        assert_eq!(
            (complaints[0].kind.as_str(), complaints[0].since, complaints[0].last),
            ("never-fetches", 1, 4)
        );
        assert!(complaints[0].what.contains("ichord trace 02:00:00:00:00:01"));
        trace.fetched(Who::Mac(MAC));
        assert_eq!(kinds(&trace, 6), []);
    }

    #[test]
    fn troubles_are_counted_and_end() {
        let trace = Trace::default();
        trace.trouble("foreign-relay", "the relay 10.8.0.1 is in no network", 1);
        trace.trouble("foreign-relay", "the relay 10.8.0.1 is in no network", 2);
        trace.trouble("rival", "10.77.0.9 answers", 3);
        assert_eq!(kinds(&trace, 4), [("rival".to_owned(), 1), ("foreign-relay".to_owned(), 2)]);
        trace.recovered("rival");
        assert_eq!(kinds(&trace, 4), [("foreign-relay".to_owned(), 2)]);
        assert_eq!(kinds(&trace, 2 + OVER), []);
        // what comes again much later begins anew
        trace.trouble("foreign-relay", "the relay 10.8.0.1 is in no network", 3 + OVER);
        assert_eq!(kinds(&trace, 3 + OVER), [("foreign-relay".to_owned(), 1)]);
    }

    #[test]
    fn only_so_many_troubles_are_remembered() {
        let trace = Trace::default();
        for number in 0..2 * MOST_TROUBLES as u64 {
            trace.trouble("missing-file", format!("{number}"), number);
        }
        assert_eq!(trace.complaints(0).len(), MOST_TROUBLES);
        assert_eq!(trace.complaints(0)[0].what, format!("{}", 2 * MOST_TROUBLES - 1));
    }
}
