//! The networks of one interface: its own, and those that relays bring.
//!
//! Which one a packet is about (RFC 7969 §4): the relay's link selection (RFC 3527), the client's
//! subnet selection (RFC 3011), the relay's address, else the interface's own network.

use std::net::Ipv4Addr;

use dhcproto::v4::OptionCode;
use hardware::MacAddr;

use crate::{
    lease::{Changes, Lease},
    relay::Relayed,
    server::{Answer, Config, Machines, Note, Received, Server},
    wire::Packet,
};

/// Where the addresses of the answer must come from; `None` is the interface's own network.
pub(crate) fn place(packet: &Packet, relayed: Option<&Relayed>) -> Option<Ipv4Addr> {
    let chosen = packet.options.address(OptionCode::SubnetSelection);
    match relayed.and_then(Relayed::network) {
        Some(network) if network != packet.giaddr => Some(network),
        network => chosen.or(network),
    }
}

/// The servers of one interface.
#[derive(Debug, Clone)]
pub struct Networks(Vec<Server>);

impl Networks {
    /// Servers that go on with the leases stored before; each takes those of its network.
    pub fn new(configs: Vec<Config>, leases: &[Lease]) -> Self {
        let server = |config: Config| {
            let own = leases.iter().filter(|lease| config.subnet.contains(&lease.address)).cloned();
            let own: Vec<Lease> = own.collect();
            Server::new(config, own)
        };
        Self(configs.into_iter().map(server).collect())
    }

    /// Goes on with other configurations of the same networks. One that is new begins without
    /// leases; one that is gone is not served any more.
    pub fn reconfigure(&mut self, configs: Vec<Config>) {
        let mut old = std::mem::take(&mut self.0);
        for config in configs {
            let at = old.iter().position(|server| server.config().subnet == config.subnet);
            self.0.push(match at.map(|at| old.swap_remove(at)) {
                Some(mut server) => {
                    server.reconfigure(config);
                    server
                }
                None => Server::new(config, []),
            });
        }
    }

    /// The configurations, in order.
    pub fn configs(&self) -> impl Iterator<Item = &Config> {
        self.0.iter().map(Server::config)
    }

    /// All leases.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.0.iter().flat_map(Server::leases)
    }

    /// Decides about one packet.
    pub fn handle(
        &mut self,
        packet: &Packet,
        received: &Received,
        machines: &impl Machines,
        now: u64,
    ) -> Answer {
        let relayed = Relayed::of(packet);
        let at = match place(packet, relayed.as_ref()) {
            Some(place) => self.0.iter().position(|server| server.config().subnet.contains(&place)),
            // a client behind a relay renews without it, from its own address
            None => {
                let renewing =
                    self.0.iter().position(|server| server.config().subnet.contains(&packet.ciaddr));
                renewing.or_else(|| self.0.iter().position(|server| !server.config().relayed))
            }
        };
        let server = at.and_then(|at| self.0.get_mut(at));
        match server {
            Some(server) => server.handle(packet, received, machines, now),
            None => Note::ForeignRelay { relay: packet.giaddr }.into(),
        }
    }

    /// Tells whether somebody was found at an address; see [`Server::probed`].
    pub fn probed(
        &mut self,
        address: Ipv4Addr,
        user: Option<MacAddr>,
        machines: &impl Machines,
        now: u64,
    ) -> Answer {
        match self.of(address) {
            Some(server) => server.probed(address, user, machines, now),
            None => Answer::default(),
        }
    }

    /// Addresses to look at before anybody asks for them; see [`Server::beforehand`].
    pub fn beforehand(&mut self, machines: &impl Machines, now: u64, room: usize) -> Vec<Ipv4Addr> {
        let mut found = Vec::new();
        for server in &mut self.0 {
            found.extend(server.beforehand(machines, now, room.saturating_sub(found.len())));
        }
        found
    }

    /// Somebody was heard using an address; see [`Server::heard`].
    pub fn heard(&mut self, address: Ipv4Addr, user: MacAddr, machines: &impl Machines, now: u64) {
        if let Some(server) = self.of(address) {
            server.heard(address, user, machines, now);
        }
    }

    /// Takes changes back that could not be stored.
    pub fn undo(&mut self, changes: &Changes) {
        for server in &mut self.0 {
            let own = changes.only(|address| server.config().subnet.contains(&address));
            server.undo(&own);
        }
    }

    /// Makes the authoritative networks silent while another server answers, or lets them speak again.
    pub fn set_rival(&mut self, rival: Option<Ipv4Addr>) {
        for server in self.0.iter_mut().filter(|server| !server.config().relayed) {
            server.set_rival(rival);
        }
    }

    fn of(&mut self, address: Ipv4Addr) -> Option<&mut Server> {
        self.0.iter_mut().find(|server| server.config().subnet.contains(&address))
    }
}
