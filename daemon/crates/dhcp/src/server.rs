//! The authority over the addresses of one subnet (RFC 2131 §4.3), and over what its machines boot.
//!
//! A pure function of packets and time: [`Server::handle`] changes the table in memory and says what
//! to store and what to send. The caller stores first; when that fails it calls [`Server::undo`] and
//! stays silent, and the client asks again.
//!
//! Two kinds of address: a *reservation* is the slot address of a known machine, has no end and needs
//! no state here; a *lease* comes from the pool and goes to machines that netboot, and to whatever
//! runs on them afterwards.

mod address;
mod boot_file;
mod bounds;
mod config;
mod conflict;
mod note;
mod offers;
mod proxy;
mod reply;
mod request;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use dhcproto::v4::MessageType;
use hardware::{LocalBoot, MacAddr, SystemUuid};

use crate::{
    PXE_PORT,
    client::{self, Client},
    lease::{Changes, Lease, Table},
    networks,
    relay::Relayed,
    wire::Packet,
};

pub use boot_file::NO_FILE;
pub use config::{Config, Https, Mode, PoolFor, Timing};
pub use note::Note;

/// So many machines are remembered without a lease; one that is forgotten asks as firmware again.
const MOST_REMEMBERED: usize = 65_536;

/// How often, in milliseconds, a full memory is searched for what has run out: that looks at everything.
const SWEEP: u64 = 1_000;

/// What a machine that netboots is told to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Boots {
    /// its own disk
    Nothing,
    /// iPXE, to find out which machine it is; only so often
    Identify,
    /// iPXE, to install
    Deploy,
}

/// What the rest of the daemon knows about machines.
pub trait Machines {
    /// The slot address of this machine.
    fn reservation(&self, mac: MacAddr) -> Option<Ipv4Addr>;
    /// Whether the address is some machine's slot address.
    fn is_reserved(&self, address: Ipv4Addr) -> bool;
    /// What this machine boots now.
    fn boots(&self, mac: MacAddr) -> Boots;
    /// How this machine is sent to its own disk; `None` is what its firmware does best.
    fn local_boot(&self, mac: MacAddr) -> Option<LocalBoot>;
}

/// How a packet came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// who sent it
    pub source: SocketAddrV4,
    /// on which of our ports: 67, or 4011 in proxy mode
    pub port: u16,
}

/// Where a reply goes (RFC 2131 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// to the relay, on its server port
    Relay(Ipv4Addr),
    /// to an address the client answers ARP for
    Client(Ipv4Addr),
    /// to everybody on the interface
    Broadcast,
    /// to an address the client does not have yet: the frame must name its hardware address itself
    Frame {
        /// chaddr
        mac: MacAddr,
        /// yiaddr
        address: Ipv4Addr,
    },
    /// back to where the request came from, from the port it came to
    Asker(SocketAddrV4),
}

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// the message
    pub packet: Packet,
    /// where it goes
    pub destination: Destination,
}

/// What follows from one packet: store `changes`, then send `reply`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// must be durable before the reply leaves
    pub changes: Changes,
    /// silence is an answer too
    pub reply: Option<Reply>,
    /// the address the client has from now on
    pub bound: Option<(MacAddr, Ipv4Addr)>,
    /// the packet can only be answered once somebody has looked whether this address is in use, told
    /// [`Server::probed`], and handed the packet in again
    pub probe: Option<Ipv4Addr>,
    /// through whom the client asked, now or when it got its lease
    pub relayed: Option<Relayed>,
    /// why, for people and counters
    pub note: Option<Note>,
}

/// The authority of one subnet.
#[derive(Debug, Clone)]
pub struct Server {
    config: Config,
    leases: Table,
    /// addresses waiting for their request
    offers: offers::Offers,
    /// which interface of its machine has a slot address: two on one network must not share it
    holders: BTreeMap<Ipv4Addr, MacAddr>,
    /// until when a machine that netbooted gets addresses whatever asks
    netbooted: BTreeMap<MacAddr, u64>,
    /// how often an unidentified machine was given iPXE
    identified: BTreeMap<MacAddr, bounds::Times>,
    /// how a firmware was answered beside another server
    forms: BTreeMap<MacAddr, proxy::Asked>,
    /// whose firmware may ask again without its hardware address
    uuids: BTreeMap<SystemUuid, MacAddr>,
    /// what was seen on the wire about addresses
    looked: conflict::Looked,
    /// another server that answers, while we are silent
    rival: Option<Ipv4Addr>,
    /// where the search for a free address goes on
    search: address::Search,
    /// when the memory of machines was last swept because it was full
    swept: u64,
}

/// One packet with all that is known about it.
struct Request<'a, M> {
    packet: &'a Packet,
    received: &'a Received,
    client: Client,
    machines: &'a M,
    now: u64,
    relayed: Option<Relayed>,
    boots: Boots,
}

impl Server {
    /// A server that goes on with the leases stored before.
    pub fn new(config: Config, leases: impl IntoIterator<Item = Lease>) -> Self {
        let mut table = Table::default();
        for lease in leases {
            table.put(lease, &mut Changes::default());
        }
        Self {
            config,
            leases: table,
            offers: offers::Offers::default(),
            holders: BTreeMap::new(),
            netbooted: BTreeMap::new(),
            identified: BTreeMap::new(),
            forms: BTreeMap::new(),
            uuids: BTreeMap::new(),
            looked: conflict::Looked::default(),
            rival: None,
            search: address::Search::default(),
            swept: 0,
        }
    }

    /// The network it serves.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Goes on with another configuration: leases stay, and end in their time.
    pub fn reconfigure(&mut self, config: Config) {
        self.config = config;
        self.offers = offers::Offers::default();
        self.looked = conflict::Looked::default();
        self.search = address::Search::default();
    }

    /// The leases as they are.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.iter()
    }

    /// Takes the changes of an answer back, because they could not be stored.
    pub fn undo(&mut self, changes: &Changes) {
        self.search.anew();
        self.leases.undo(changes);
    }

    /// Decides about one packet.
    pub fn handle(
        &mut self,
        packet: &Packet,
        received: &Received,
        machines: &impl Machines,
        now: u64,
    ) -> Answer {
        if packet.op != 1 {
            return Note::NotARequest.into();
        }
        let Some(kind) = packet.message_type() else { return Note::Bootp.into() };
        let Some(client) = self.client(packet, received) else { return Note::NoHardwareAddress.into() };
        let relayed = Relayed::of(packet);
        if networks::place(packet, relayed.as_ref()).is_some_and(|place| !self.config.subnet.contains(&place))
        {
            return Note::ForeignRelay { relay: packet.giaddr }.into();
        }
        self.forget(now);
        let boots = self.boots(&client, machines.boots(client.mac), now);
        let request = Request { packet, received, client, machines, now, relayed, boots };
        let mut answer = match (self.config.mode, self.rival) {
            (Mode::Authoritative, Some(server)) => Note::Silenced { server }.into(),
            (Mode::Authoritative, None) => self.answer(kind, &request),
            (Mode::Proxy, _) => self.proxy(kind, &request),
            (Mode::Off, _) => Note::NotServing.into(),
        };
        self.count_script(&request, &answer);
        let before = self.leases.of(client.mac).and_then(|lease| lease.relayed.clone());
        answer.relayed = request.relayed.or(before);
        answer
    }

    /// Goes silent while another server answers, or speaks again.
    pub fn set_rival(&mut self, rival: Option<Ipv4Addr>) {
        self.rival = rival;
    }

    /// Who asks. UEFI may put its UUID where the hardware address belongs when it asks port 4011; it
    /// has asked port 67 with both before.
    fn client(&mut self, packet: &Packet, received: &Received) -> Option<Client> {
        let uuid = client::uuid(packet);
        match (Client::of(packet), uuid) {
            (Some(client), Some(uuid)) => {
                if self.uuids.len() < MOST_REMEMBERED || self.uuids.contains_key(&uuid) {
                    self.uuids.insert(uuid, client.mac);
                }
                Some(client)
            }
            (None, Some(uuid)) if received.port == PXE_PORT => {
                self.uuids.get(&uuid).map(|mac| Client::with_mac(packet, *mac))
            }
            (client, _) => client,
        }
    }

    fn answer<M: Machines>(&mut self, kind: MessageType, request: &Request<'_, M>) -> Answer {
        self.remember(&request.client, request.now);
        match kind {
            MessageType::Discover => self.discover(request),
            MessageType::Request => self.request(request),
            MessageType::Decline => self.decline(request),
            MessageType::Release => self.release(request),
            MessageType::Inform => self.inform(request),
            _ => Note::NotARequest.into(),
        }
    }

    fn remember(&mut self, client: &Client, now: u64) {
        let room = self.netbooted.len() < MOST_REMEMBERED || self.netbooted.contains_key(&client.mac);
        if client.netboots() && room {
            self.netbooted.insert(client.mac, now.saturating_add(millis(self.config.timing.remember)));
        }
    }

    /// Drops what has run out.
    fn forget(&mut self, now: u64) {
        // both, whatever the first one says
        if self.offers.forget(now) | self.looked.forget(now) {
            self.search.anew();
        }
        if now < self.swept.saturating_add(SWEEP) && now >= self.swept {
            return;
        }
        self.swept = now;
        if self.netbooted.len() >= MOST_REMEMBERED {
            self.netbooted.retain(|_, until| now < *until);
        }
        self.forget_bounds(now);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<Note> for Answer {
    fn from(note: Note) -> Self {
        Self { note: Some(note), ..Self::default() }
    }
}

#[cfg(test)]
mod tests;
