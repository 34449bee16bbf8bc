//! Which address a client may have.

use std::net::Ipv4Addr;

use dhcproto::v4::OptionCode;
use hardware::MacAddr;

use super::{Machines, Note, PoolFor, Request, Server};
use crate::lease::LeaseState;

impl Server {
    /// The slot address of the client, if it lies in this network and no other interface of the same
    /// machine has it. Firmware takes it over: when it asks, whatever ran before is gone.
    pub(super) fn reservation<M: Machines>(&self, request: &Request<'_, M>) -> Option<Ipv4Addr> {
        let mac = request.client.mac;
        let address = request.machines.reservation(mac)?;
        let elsewhere = self
            .holders
            .get(&address)
            .is_some_and(|holder| *holder != mac && request.machines.reservation(*holder) == Some(address));
        let its_own = !elsewhere || request.client.netboots();
        (its_own && self.config.subnet.contains(&address)).then_some(address)
    }

    /// The address to offer: reservation, the lease it has or had, what was offered before, what it
    /// asks for, the next free one.
    pub(super) fn address_for<M: Machines>(&mut self, request: &Request<'_, M>) -> Result<Ipv4Addr, Note> {
        let mac = request.client.mac;
        if let Some(address) = self.reservation(request) {
            return Ok(address);
        }
        self.may_lease(request)?;
        let favourites = [
            self.leases.of(mac).map(|lease| lease.address),
            self.offers.get(&mac).map(|offer| offer.address),
            request.packet.options.address(OptionCode::RequestedIpAddress),
        ];
        let favourite = favourites.into_iter().flatten().find(|address| self.is_free(request, *address));
        favourite.or_else(|| self.next_free(request)).ok_or(Note::PoolExhausted)
    }

    /// Whether the pool is for this client at all.
    pub(super) fn may_lease<M: Machines>(&self, request: &Request<'_, M>) -> Result<(), Note> {
        if self.config.pool.is_none() {
            return Err(Note::NoPool);
        }
        let mac = request.client.mac;
        let for_it = self.config.pool_for == PoolFor::Any
            || request.client.netboots()
            || request.machines.reservation(mac).is_some()
            || self.netbooted.get(&mac).is_some_and(|until| request.now < *until)
            || self.leases.of(mac).is_some_and(|lease| lease.holds(request.now));
        if for_it { Ok(()) } else { Err(Note::NotForThePool) }
    }

    /// Whether the pool has this address and nobody else holds it.
    pub(super) fn is_free<M: Machines>(&self, request: &Request<'_, M>, address: Ipv4Addr) -> bool {
        let mac = request.client.mac;
        let held = |address| {
            self.leases.at(address).is_some_and(|lease| lease.mac != Some(mac) && lease.holds(request.now))
        };
        self.in_pool(address)
            && !request.machines.is_reserved(address)
            && !held(address)
            && !self.offers.iter().any(|(to, offer)| *to != mac && offer.address == address)
    }

    fn in_pool(&self, address: Ipv4Addr) -> bool {
        let config = &self.config;
        config.pool.as_ref().is_some_and(|pool| pool.contains(&address))
            && config.subnet.contains(&address)
            && address != config.subnet.network()
            && address != config.subnet.broadcast()
            && address != config.server
            && Some(address) != config.gateway
            && !config.excluded.contains(&address)
    }

    /// Goes round the pool from the last address given, so that an address rests before it goes to
    /// another machine. An address that nobody ever had comes first.
    fn next_free<M: Machines>(&mut self, request: &Request<'_, M>) -> Option<Ipv4Addr> {
        let pool = self.config.pool.as_ref()?;
        let (first, last) = (u32::from(*pool.start()), u32::from(*pool.end()));
        if last < first {
            return None;
        }
        let begin = self.next.map(u32::from).filter(|next| (first..=last).contains(next)).unwrap_or(first);
        let round = (begin..=last).chain(first..begin).map(Ipv4Addr::from);
        let mut rested = None;
        let mut fresh = None;
        for address in round.filter(|address| self.is_free(request, *address)) {
            if self.leases.at(address).is_none() {
                fresh = Some(address);
                break;
            }
            rested = rested.or(Some(address));
        }
        let address = fresh.or(rested)?;
        self.next = Some(Ipv4Addr::from(u32::from(address).saturating_add(1)));
        Some(address)
    }

    /// Whether this machine has this address by a lease that was not given up.
    pub(super) fn has_lease(&self, mac: MacAddr, address: Ipv4Addr) -> bool {
        self.leases.of(mac).is_some_and(|lease| lease.address == address && lease.state == LeaseState::Bound)
    }
}
