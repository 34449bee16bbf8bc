//! Who speaks from which address on a network, heard from everybody's ARP.
//!
//! A machine may come up without asking us for anything, with an address of its own: it asks for its gateway by
//! broadcast all the same. Or it was given its address by somebody else before the daemon started, and renews it in hours:
//! so where addresses are not ours, everybody is asked once at the start. What anybody says is a reason to look there, and
//! nothing more. One task an interface, which ends when told to.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use hardware::MacAddr;
use ipnet::{Ipv4AddrRange, Ipv4Net};
use net::{
    arp::{Arp, Heard},
    frame::FrameError,
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    whereabouts::{Whereabouts, tell},
};

/// What was told is not told again for so long, in milliseconds.
const QUIET: u64 = 60_000;
/// Machines of which that is remembered; with more, it is told again.
const MOST: usize = 4096;
/// Between two questions: a network of 254 addresses is asked in three seconds, and a switch does not notice.
const PACE: Duration = Duration::from_millis(10);
/// A larger network than this is not asked through.
const LARGEST: u8 = 22;
/// After an error, before the interface is listened to again.
const PAUSE: Duration = Duration::from_secs(1);

/// Listens on one interface.
#[derive(Debug)]
pub struct Hearing {
    arp: Arp,
    interface: String,
    /// addresses outside are nobody's business here
    subnet: Ipv4Net,
    /// who is still to be asked
    to_ask: Option<Ipv4AddrRange>,
    told: BTreeMap<MacAddr, (Ipv4Addr, u64)>,
}

impl Hearing {
    /// Opens the socket; `None` where there is no ARP. With `asks` everybody on the network is asked once.
    ///
    /// # Errors
    /// When the interface is missing, or the capability is.
    pub fn open(interface: &str, subnet: Ipv4Net, asks: bool) -> Result<Option<Self>, FrameError> {
        let arp = Arp::open(interface)?;
        let to_ask = (asks && subnet.prefix_len() >= LARGEST).then(|| subnet.hosts());
        let interface = interface.to_owned();
        Ok(arp.map(|arp| Self { arp, interface, subnet, to_ask, told: BTreeMap::new() }))
    }

    /// Passes on who speaks from where, until the token is cancelled.
    pub async fn run(mut self, whereabouts: mpsc::Sender<Whereabouts>, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            let mut pace = interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let heard = tokio::select! {
                    heard = self.arp.hear() => heard,
                    _ = pace.tick(), if self.to_ask.is_some() => {
                        self.ask_the_next().await;
                        continue;
                    }
                };
                match heard {
                    Ok(heard) => {
                        if let Some(seen) = self.news(heard, clock::now()) {
                            tell(&whereabouts, seen, "whereabouts");
                        }
                    }
                    // an interface that went down comes back; one that was taken away comes back as another
                    Err(error) => {
                        tracing::debug!(interface = self.interface, %error, "ARP is not heard");
                        sleep(PAUSE).await;
                        if let Ok(Some(arp)) = Arp::open(&self.interface) {
                            self.arp = arp;
                        }
                    }
                }
            }
        })
        .await;
    }

    async fn ask_the_next(&mut self) {
        let Some(address) = self.to_ask.as_mut().and_then(Iterator::next) else {
            self.to_ask = None;
            return;
        };
        if let Err(error) = self.arp.ask(address).await {
            tracing::debug!(interface = self.interface, %address, %error, "not asked for");
        }
    }

    /// What is worth telling: an address in use, which was not told just now.
    fn news(&mut self, heard: Heard, now: u64) -> Option<Whereabouts> {
        let Heard { mac, address, probes } = heard;
        if probes || !self.subnet.contains(&address) {
            return None;
        }
        let is_told = self
            .told
            .get(&mac)
            .is_some_and(|(told, at)| *told == address && (*at..at.saturating_add(QUIET)).contains(&now));
        if is_told {
            return None;
        }
        if self.told.len() >= MOST {
            self.told.clear();
        }
        self.told.insert(mac, (address, now));
        Some(Whereabouts { mac, address: address.into(), at: now })
    }
}

#[cfg(test)]
mod tests {
    use net::namespace;
    use tokio::time::timeout;

    use super::*;

    const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const THEIRS: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const THERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);

    #[test]
    fn a_machine_that_asks_us_for_nothing_is_heard_by_its_arp() {
        namespace::test(|| async {
            namespace::cable(["lan", "cli"], [Some(OURS), Some(THEIRS)]).await.unwrap();
            let subnet = "10.77.0.0/24".parse().unwrap();
            let mut hearing = Hearing::open("lan", subnet, false).unwrap().unwrap();
            let now = clock::now();
            let heard = |address, probes| Heard { mac: THEIRS, address, probes };
            assert!(hearing.news(heard(THERE, true), now).is_none(), "it only looks whether it may have it");
            assert!(
                hearing.news(heard(Ipv4Addr::new(10, 78, 0, 9), false), now).is_none(),
                "not our network"
            );
            assert!(hearing.news(heard(THERE, false), now).is_some());
            assert!(hearing.news(heard(THERE, false), now + QUIET - 1).is_none(), "told already");
            assert!(hearing.news(heard(THERE, false), now + QUIET).is_some());
            assert!(hearing.news(heard(Ipv4Addr::new(10, 77, 0, 10), false), now + QUIET + 1).is_some());
            hearing.told.clear();

            let (send, mut whereabouts) = mpsc::channel(8);
            let stop = CancellationToken::new();
            let running = tokio::spawn(hearing.run(send, stop.clone()));
            let asker = net::frame::FrameSocket::sender("cli").unwrap();
            let mut frame = vec![0xff; 6];
            frame.extend(THEIRS.0);
            frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
            frame.extend(THEIRS.0);
            frame.extend(THERE.octets());
            frame.extend([0; 6]);
            frame.extend([10, 77, 0, 1]);
            let told = async {
                loop {
                    // a cable just laid may lose the first
                    asker.send(&frame).await.unwrap();
                    if let Ok(told) = timeout(Duration::from_millis(200), whereabouts.recv()).await {
                        return told.unwrap();
                    }
                }
            };
            let told = timeout(Duration::from_secs(30), told).await.expect("it is heard");
            assert_eq!((told.mac, told.address), (THEIRS, THERE.into()));
            stop.cancel();
            running.await.unwrap();
        })
        .unwrap();
    }

    #[test]
    fn one_who_says_nothing_is_asked() {
        namespace::test(|| async {
            namespace::cable(["lan", "cli"], [Some(OURS), Some(THEIRS)]).await.unwrap();
            namespace::address("cli", "10.77.0.9/24".parse().unwrap()).await.unwrap();
            let subnet = "10.77.0.0/28".parse().unwrap();
            let (send, mut whereabouts) = mpsc::channel(8);
            let told = async {
                loop {
                    // a cable just laid may lose the first
                    let stop = CancellationToken::new();
                    let hearing = Hearing::open("lan", subnet, true).unwrap().unwrap();
                    let running = tokio::spawn(hearing.run(send.clone(), stop.clone()));
                    let told = timeout(Duration::from_secs(1), whereabouts.recv()).await;
                    stop.cancel();
                    running.await.unwrap();
                    if let Ok(told) = told {
                        return told.unwrap();
                    }
                }
            };
            let told = timeout(Duration::from_secs(30), told).await.expect("it answers");
            assert_eq!((told.mac, told.address), (THEIRS, THERE.into()));
        })
        .unwrap();
    }
}
