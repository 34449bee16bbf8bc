//! A switch's own tables, read by SNMP: which address is on which of its ports, and who announces itself there.
//!
//! One task a switch, which asks often while somebody's place is not known and seldom otherwise, and ends on the token. What
//! a table no longer has is withdrawn, and a port without a link empties. A switch that does not answer is said once, and
//! asked again; what was seen before ends by itself.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hardware::PortId;
use identity::{Attestor, Marks, Port, Sighting, Source};
use snmp::{Located, Response, Seen, Step, Tables, Walk};
use tokio::{
    net::UdpSocket,
    sync::{
        mpsc::{Sender, error::SendError},
        watch,
    },
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::{clock::now, counters::Counters};

/// Between two rounds of questions while a machine looks for its place.
const EAGER: Duration = Duration::from_secs(15);
/// And while nobody does: the tables of a switch forget after five minutes by themselves.
const CALM: Duration = Duration::from_secs(240);
/// For an answer, and how often a question is asked.
const ANSWER: Duration = Duration::from_secs(2);
const TRIES: u32 = 3;
/// The longest datagram.
const LONGEST: usize = 65_535;
/// IEEE 802.1AB table 8-3: a port is known by its interface name.
const PORT_BY_NAME: u8 = 5;

/// A switch to ask.
#[derive(Debug, Clone)]
pub struct AskedSwitch {
    /// its name in the site file
    pub name: String,
    /// where it answers
    pub address: SocketAddr,
    /// what it wants to hear; goes over the network as it is, and into no log
    pub community: Zeroizing<String>,
}

/// Asks one switch.
pub struct Poller {
    switch: AskedSwitch,
    socket: UdpSocket,
    /// whether somebody's place is not known
    eager: watch::Receiver<bool>,
    counters: Arc<Counters>,
    request: i32,
    seen: BTreeSet<Seen>,
    down: BTreeSet<String>,
    silent: bool,
}

/// Why a round of questions ended without its tables.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("it does not answer; is SNMP on there, for this host, with this community?")]
    Silent,
    #[error(transparent)]
    Socket(#[from] io::Error),
}

impl Poller {
    /// Opens a socket for the answers. Counts `rounds` and `failed` under `snmp`.
    ///
    /// # Errors
    /// When the process has no socket left.
    pub async fn open(
        switch: AskedSwitch,
        eager: watch::Receiver<bool>,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let any: IpAddr = match switch.address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        // the address may be reachable only later, so it is not bound to yet
        let socket = UdpSocket::bind((any, 0)).await?;
        let (seen, down) = (BTreeSet::new(), BTreeSet::new());
        Ok(Self { switch, socket, eager, counters, request: 0, seen, down, silent: false })
    }

    /// Sends a sighting for every address that the switch's tables have, until the token is cancelled.
    pub async fn run(mut self, sightings: Sender<Sighting>, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            loop {
                if self.round(&sightings).await.is_err() {
                    return;
                }
                self.pause().await;
            }
        })
        .await;
    }

    /// Until the next round: at once when somebody begins to look for its place.
    async fn pause(&mut self) {
        let eager = *self.eager.borrow_and_update();
        if eager {
            return sleep(EAGER).await;
        }
        let begins = async { self.eager.wait_for(|eager| *eager).await.is_ok() };
        // without a reconciler nobody begins any more
        if timeout(CALM, begins).await == Ok(false) {
            sleep(CALM).await;
        }
    }

    /// One reading of all tables, and what follows from it; an error when nobody takes sightings any more.
    async fn round(&mut self, sightings: &Sender<Sighting>) -> Result<(), SendError<Sighting>> {
        self.counters.add("snmp", "rounds");
        let tables = match self.tables().await {
            Ok(tables) => tables,
            Err(error) => {
                self.counters.add("snmp", "failed");
                if !std::mem::replace(&mut self.silent, true) {
                    let (switch, address) = (&self.switch.name, self.switch.address);
                    tracing::warn!(%switch, %address, %error, "the switch was not read");
                }
                return Ok(());
            }
        };
        if std::mem::replace(&mut self.silent, false) {
            tracing::info!(switch = self.switch.name, "the switch answers again");
        }
        let (seen, down) = (tables.seen(), tables.down());
        for port in down.difference(&self.down) {
            sightings.send(Sighting::port_emptied(Port::local(&self.switch.name, port), now())).await?;
        }
        for gone in self.seen.difference(&seen) {
            sightings.send(Sighting { lifetime: Duration::ZERO, ..self.sighting(gone) }).await?;
        }
        for there in &seen {
            if !self.seen.contains(there) {
                tracing::debug!(switch = self.switch.name, mac = %there.mac, port = there.port, "in the switch's table");
            }
            sightings.send(self.sighting(there)).await?;
        }
        (self.seen, self.down) = (seen, down);
        Ok(())
    }

    fn sighting(&self, seen: &Seen) -> Sighting {
        let table = match seen.by {
            Located::Forwarding => "forwarding table",
            Located::Lldp => "LLDP neighbours",
        };
        let port = Port {
            switch: Some(self.switch.name.clone()),
            description: seen.description.clone(),
            ..Port::of_id(PortId { subtype: PORT_BY_NAME, id: seen.port.as_bytes().to_vec() })
        };
        Sighting {
            attestor: Attestor::Switch,
            raw: format!("{} on {} in the {table} of {}", seen.mac, seen.port, self.switch.name),
            ..Sighting::new(Source::SwitchTable, Marks::of_mac(seen.mac), now()).on(Some(seen.mac), port)
        }
    }

    async fn tables(&mut self) -> Result<Tables, AskError> {
        let mut tables = Tables::default();
        for root in Tables::roots() {
            let mut walk = Walk::of(&root);
            loop {
                match walk.take(self.ask(&walk).await?) {
                    Step::More(rows) => tables.extend(rows),
                    Step::Done(rows) => {
                        tables.extend(rows);
                        break;
                    }
                }
            }
        }
        Ok(tables)
    }

    async fn ask(&mut self, walk: &Walk) -> Result<Response, AskError> {
        self.request = self.request.checked_add(1).unwrap_or(1);
        let question = walk.request(self.switch.community.as_bytes(), self.request);
        let mut buffer = vec![0; LONGEST];
        for _ in 0..TRIES {
            self.socket.send_to(&question, self.switch.address).await?;
            let until = Instant::now() + ANSWER;
            while let Ok(received) = timeout_at(until, self.socket.recv_from(&mut buffer)).await {
                // an ICMP message about an earlier question
                let Ok((length, from)) = received else { continue };
                let answer = buffer.get(..length).map(Response::parse);
                match answer {
                    Some(Ok(answer)) if from == self.switch.address && answer.request == self.request => {
                        return Ok(answer);
                    }
                    // late, or somebody else's
                    _ => {}
                }
            }
        }
        Err(AskError::Silent)
    }
}
