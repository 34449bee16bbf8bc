//! Looking whether addresses are in use, many at once, while everybody else is answered.
//!
//! One task with one ARP socket; it ends with [`Looks`]. It asks three times for each address within
//! [`WAIT`] and tells who answered, and it tells who is heard using any address at all. The packets that asked for an
//! address wait here meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    io,
    net::Ipv4Addr,
    time::Duration,
};

use hardware::MacAddr;
use net::arp::{Arp, Heard, QUESTIONS};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::Arrival;

/// Long enough for a machine that is there to answer one of three ARP questions, short enough for a boot ROM, which
/// asks again after one second at the earliest.
const WAIT: Duration = Duration::from_millis(240);
/// Packets that wait for one address; more are repetitions.
const MOST_WAITING: usize = 8;
/// Addresses that machines wait for in one moment; who comes on top asks again.
const MOST_LOOKS: usize = 1024;
/// Addresses looked at beforehand in one moment: 800 small broadcasts in a second until the stock is full, which no
/// network feels.
const MOST_BEFOREHAND: usize = 64;

/// What was seen of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// a look ended: who uses it
    Looked(Ipv4Addr, Option<MacAddr>),
    /// somebody uses it
    Heard(Ipv4Addr, MacAddr),
}

/// The looks under way.
pub(super) struct Looks {
    asks: mpsc::Sender<Ipv4Addr>,
    seen: mpsc::Receiver<Seen>,
    task: JoinHandle<()>,
    waiting: BTreeMap<Ipv4Addr, Vec<Arrival>>,
    beforehand: BTreeSet<Ipv4Addr>,
}

impl Drop for Looks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Looks {
    /// With this socket; without one every address is taken for free, because nothing can be heard.
    pub(super) fn start(arp: Option<Arp>) -> Self {
        let (asks, questions) = mpsc::channel(MOST_LOOKS + MOST_BEFOREHAND);
        let (tell, seen) = mpsc::channel(MOST_LOOKS);
        let task = tokio::spawn(async move {
            match arp {
                Some(arp) => {
                    Looker { arp, tell, looks: BTreeMap::new(), due: BTreeSet::new() }.run(questions).await
                }
                None => take_for_free(questions, tell).await,
            }
        });
        Self { asks, seen, task, waiting: BTreeMap::new(), beforehand: BTreeSet::new() }
    }

    /// Looks at an address, unless that is being done already; the packet waits for it.
    pub(super) fn ask(&mut self, address: Ipv4Addr, arrival: Arrival) {
        let full = self.waiting.len() >= MOST_LOOKS;
        let waiting = match self.waiting.entry(address) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if full => return,
            Entry::Vacant(entry) => {
                if !self.beforehand.contains(&address) && self.asks.try_send(address).is_err() {
                    return;
                }
                entry.insert(Vec::new())
            }
        };
        if waiting.len() < MOST_WAITING {
            waiting.push(arrival);
        }
    }

    /// How many more addresses may be looked at beforehand.
    pub(super) fn room(&self) -> usize {
        MOST_BEFOREHAND.saturating_sub(self.beforehand.len())
    }

    /// Looks at an address that nobody asked for yet.
    pub(super) fn ask_beforehand(&mut self, address: Ipv4Addr) {
        if self.waiting.contains_key(&address) || self.asks.try_send(address).is_ok() {
            self.beforehand.insert(address);
        }
    }

    /// What is seen next; `None` when nothing will be.
    pub(super) async fn next(&mut self) -> Option<Seen> {
        let seen = self.seen.recv().await;
        if let Some(Seen::Looked(address, _)) = seen {
            self.beforehand.remove(&address);
        }
        seen
    }

    /// Who waited for the address.
    pub(super) fn waited_for(&mut self, address: Ipv4Addr) -> Vec<Arrival> {
        self.waiting.remove(&address).unwrap_or_default()
    }
}

async fn take_for_free(mut questions: mpsc::Receiver<Ipv4Addr>, tell: mpsc::Sender<Seen>) {
    while let Some(address) = questions.recv().await {
        if tell.send(Seen::Looked(address, None)).await.is_err() {
            return;
        }
    }
}

/// The task.
struct Looker {
    arp: Arp,
    tell: mpsc::Sender<Seen>,
    /// how often was asked for an address, and when it is due
    looks: BTreeMap<Ipv4Addr, (u32, Instant)>,
    /// when to ask again, or to give up
    due: BTreeSet<(Instant, Ipv4Addr)>,
}

impl Looker {
    async fn run(mut self, mut questions: mpsc::Receiver<Ipv4Addr>) {
        loop {
            let due = self.due.first().map(|(at, _)| *at);
            let told = tokio::select! {
                question = questions.recv() => match question {
                    Some(address) if self.looks.contains_key(&address) => Ok(()),
                    Some(address) => self.begin(address).await,
                    None => return,
                },
                heard = self.arp.hear() => self.heard(heard).await,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.go_on().await,
            };
            if told.is_err() {
                return;
            }
        }
    }

    async fn begin(&mut self, address: Ipv4Addr) -> Result<(), Gone> {
        match self.arp.own(address) {
            Some(own) => self.end(address, Some(own)).await,
            None => self.ask(address, 1).await,
        }
    }

    async fn ask(&mut self, address: Ipv4Addr, times: u32) -> Result<(), Gone> {
        if let Err(error) = self.arp.ask(address).await {
            // nothing can be heard, so nothing speaks against it
            tracing::debug!(%address, %error, "taken for free");
            return self.end(address, None).await;
        }
        let due = Instant::now() + WAIT / QUESTIONS;
        self.looks.insert(address, (times, due));
        self.due.insert((due, address));
        Ok(())
    }

    /// Whatever is due.
    async fn go_on(&mut self) -> Result<(), Gone> {
        let now = Instant::now();
        while let Some((at, address)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, address));
            match self.looks.get(&address).copied() {
                Some((times, _)) if times < QUESTIONS => self.ask(address, times + 1).await?,
                _ => self.end(address, None).await?,
            }
        }
        Ok(())
    }

    async fn heard(&mut self, heard: io::Result<Heard>) -> Result<(), Gone> {
        match heard {
            Ok(Heard { mac, address, .. }) if self.looks.contains_key(&address) => {
                self.end(address, Some(mac)).await
            }
            Ok(Heard { mac, address, .. }) => self.tell(Seen::Heard(address, mac)).await,
            Err(error) => {
                tracing::debug!(%error, "ARP cannot be heard");
                Ok(())
            }
        }
    }

    async fn end(&mut self, address: Ipv4Addr, user: Option<MacAddr>) -> Result<(), Gone> {
        if let Some((_, due)) = self.looks.remove(&address) {
            self.due.remove(&(due, address));
        }
        self.tell(Seen::Looked(address, user)).await
    }

    async fn tell(&self, seen: Seen) -> Result<(), Gone> {
        self.tell.send(seen).await.map_err(|_| Gone)
    }
}

/// Whoever wanted to know is gone.
struct Gone;
