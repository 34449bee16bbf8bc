//! The five messages of a client (RFC 2131 §4.3).

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, MessageType, OptionCode};

use super::{Answer, Machines, Note, Request, Server, millis};
use crate::lease::{Changes, Lease, LeaseState};

impl Server {
    /// DISCOVER: the same client gets the same offer again, however often it asks.
    pub(super) fn discover<M: Machines>(&mut self, request: &Request<'_, M>) -> Answer {
        let address = match self.address_for(request) {
            Ok(address) => address,
            Err(note) => return note.into(),
        };
        let until = request.now.saturating_add(millis(self.config.timing.offer));
        let before = self.offers.of(request.client.mac);
        self.offers.insert(request.client.mac, address, until);
        if before.is_some_and(|before| before != address) {
            self.search.anew();
        }
        if let Some(doubt) = self.doubt(request, address) {
            return doubt;
        }
        if self.reservation(request) == Some(address) {
            self.holders.insert(address, request.client.mac);
        }
        let seconds = self.seconds(request, address);
        self.grant(request, MessageType::Offer, address, seconds)
    }

    /// REQUEST, in its four states (RFC 2131 §4.3.2, table 4).
    pub(super) fn request<M: Machines>(&mut self, request: &Request<'_, M>) -> Answer {
        let packet = request.packet;
        let server = packet.options.address(OptionCode::ServerIdentifier);
        let requested = packet.options.address(OptionCode::RequestedIpAddress);
        let current = Some(packet.ciaddr).filter(|address| !address.is_unspecified());
        match (server, requested, current) {
            (Some(server), _, _) if server != self.config.server && server != self.identifier(request) => {
                if self.offers.remove(request.client.mac).is_some() {
                    self.search.anew();
                }
                Note::ChoseAnother { server }.into()
            }
            (Some(_), requested, current) => match requested.or(current) {
                Some(wanted) => self.selecting(request, wanted),
                None => Note::NoAddress.into(),
            },
            (None, _, Some(current)) => self.extending(request, current),
            (None, Some(requested), None) => self.rebooted(request, requested),
            (None, None, None) => Note::NoAddress.into(),
        }
    }

    /// SELECTING: it takes our offer. An offer that was forgotten meanwhile (a restart of ours) still
    /// counts when the address is free.
    fn selecting<M: Machines>(&mut self, request: &Request<'_, M>, wanted: Ipv4Addr) -> Answer {
        match self.reservation(request) {
            Some(reserved) if reserved == wanted => self.acknowledge(request, wanted),
            Some(_) => self.refuse(request, wanted),
            None => match self.may_lease(request) {
                Ok(()) if self.is_free_for(request, wanted) => self.acknowledge(request, wanted),
                Ok(()) => self.refuse(request, wanted),
                Err(note) => note.into(),
            },
        }
    }

    /// INIT-REBOOT: it remembers an address from before. What we know nothing of is not ours to
    /// refuse, except an address that cannot work in this network.
    fn rebooted<M: Machines>(&mut self, request: &Request<'_, M>, wanted: Ipv4Addr) -> Answer {
        if !self.config.subnet.contains(&wanted) {
            return self.refuse(request, wanted);
        }
        let mac = request.client.mac;
        match self.reservation(request) {
            Some(reserved) if reserved == wanted => self.acknowledge(request, wanted),
            Some(_) => self.refuse(request, wanted),
            None if self.has_lease(mac, wanted) && self.is_free_for(request, wanted) => {
                self.acknowledge(request, wanted)
            }
            None if self.leases.of(mac).is_some() => self.refuse(request, wanted),
            None => Note::NoRecord { wanted }.into(),
        }
    }

    /// RENEWING and REBINDING: it uses the address now. A machine that got a slot in the meantime
    /// keeps its pool address until it boots again, so that no address changes under a running
    /// install. A pool address that nobody else has is only known to those who had it from us.
    fn extending<M: Machines>(&mut self, request: &Request<'_, M>, current: Ipv4Addr) -> Answer {
        let reservation = self.reservation(request);
        let taken = self.leases.at(current).is_some_and(|lease| lease.holds(request.now));
        if reservation == Some(current) || self.is_free_for(request, current) {
            self.acknowledge(request, current)
        } else if !taken && reservation.is_none() && self.may_keep(request, current) {
            self.keep(request, current)
        } else if taken || reservation.is_some() || !self.config.subnet.contains(&current) {
            self.refuse(request, current)
        } else {
            Note::NoRecord { wanted: current }.into()
        }
    }

    /// Whether it uses a node's address that nobody is known to hold: then what we know is incomplete
    /// (an empty store, a machine that was installed by other means), and a node without its address
    /// is a member that etcd loses.
    fn may_keep<M: Machines>(&self, request: &Request<'_, M>, current: Ipv4Addr) -> bool {
        self.config.nodes.contains(&current)
            && self.config.subnet.contains(&current)
            && !request.machines.is_reserved(current)
            && self.holders.get(&current).is_none_or(|holder| *holder == request.client.mac)
    }

    /// Confirms the address for one lease time, without a promise beyond it.
    fn keep<M: Machines>(&mut self, request: &Request<'_, M>, current: Ipv4Addr) -> Answer {
        let mac = request.client.mac;
        self.holders.insert(current, mac);
        let answer = self.grant(request, MessageType::Ack, current, self.seconds(request, current));
        Answer { bound: Some((mac, current)), note: Some(Note::Kept { address: current }), ..answer }
    }

    fn acknowledge<M: Machines>(&mut self, request: &Request<'_, M>, address: Ipv4Addr) -> Answer {
        let mac = request.client.mac;
        let moved = self.leases.of(mac).is_some_and(|lease| lease.address != address);
        if self.offers.remove(mac).is_some_and(|offered| offered != address) || moved {
            self.search.anew();
        }
        self.looked.take(address);
        let seconds = self.seconds(request, address);
        let mut answer = self.grant(request, MessageType::Ack, address, seconds);
        if let Some(seconds) = seconds {
            let before = self.leases.of(mac).and_then(|lease| lease.relayed.clone());
            let lease = Lease {
                address,
                mac: Some(mac),
                hostname: hostname(request),
                relayed: request.relayed.clone().or(before),
                state: LeaseState::Bound,
                granted: request.now,
                expires: request.now.saturating_add(u64::from(seconds) * 1000),
            };
            self.leases.put(lease, &mut answer.changes);
        } else {
            self.holders.insert(address, mac);
        }
        answer.bound = Some((mac, address));
        answer
    }

    /// The lease time; `None` for a reservation, which has no end.
    fn seconds<M: Machines>(&self, request: &Request<'_, M>, address: Ipv4Addr) -> Option<u32> {
        // the largest value means infinite, so a lease stays below it
        let seconds = u32::try_from(self.config.timing.lease.as_secs()).unwrap_or(u32::MAX).min(u32::MAX - 1);
        (self.reservation(request) != Some(address)).then_some(seconds)
    }

    /// DECLINE: somebody else answers ARP at that address.
    pub(super) fn decline<M: Machines>(&mut self, request: &Request<'_, M>) -> Answer {
        let mac = request.client.mac;
        let Some(address) = request.packet.options.address(OptionCode::RequestedIpAddress) else {
            return Note::NoAddress.into();
        };
        if self.reservation(request) == Some(address) {
            return Note::ReservationConflict { address, mac }.into();
        }
        let offered = self.offers.of(mac) == Some(address);
        // nobody can put a stranger's address into quarantine
        if !offered && !self.has_lease(mac, address) {
            return Note::NotItsAddress { address }.into();
        }
        self.offers.remove(mac);
        self.search.anew();
        let mut changes = Changes::default();
        self.quarantine(address, request.now, &mut changes);
        Answer { changes, ..Note::Declined { address, mac }.into() }
    }

    /// RELEASE: the address is free, and still the first to be offered to the same machine.
    pub(super) fn release<M: Machines>(&mut self, request: &Request<'_, M>) -> Answer {
        let address = request.packet.ciaddr;
        if self.holders.get(&address) == Some(&request.client.mac) {
            self.holders.remove(&address);
            return Note::Released { address }.into();
        }
        let known = self.leases.of(request.client.mac).filter(|lease| lease.address == address);
        let Some(lease) = known.filter(|lease| lease.state == LeaseState::Bound).cloned() else {
            return Note::NotItsAddress { address }.into();
        };
        let mut changes = Changes::default();
        self.search.anew();
        self.leases.put(Lease { state: LeaseState::Released, expires: request.now, ..lease }, &mut changes);
        Answer { changes, ..Note::Released { address }.into() }
    }

    /// INFORM: it has an address by other means and wants the rest. Never refused.
    pub(super) fn inform<M: Machines>(&self, request: &Request<'_, M>) -> Answer {
        let address = request.packet.ciaddr;
        if address.is_unspecified() || !self.config.subnet.contains(&address) {
            return Note::NoRecord { wanted: address }.into();
        }
        self.parameters(request)
    }
}

/// What the machine calls itself, when that is a name that a person can read (RFC 2132 §3.14).
fn hostname<M>(request: &Request<'_, M>) -> Option<String> {
    match request.packet.options.get(OptionCode::Hostname)? {
        DhcpOption::Hostname(name) => {
            let name = name.trim_end_matches('\0');
            let fits = !name.is_empty() && name.len() <= 253 && !name.chars().any(char::is_control);
            fits.then(|| name.to_owned())
        }
        _ => None,
    }
}
