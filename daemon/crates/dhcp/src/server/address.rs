//! Which address a client may have.

use std::net::Ipv4Addr;

use dhcproto::v4::OptionCode;
use hardware::MacAddr;

use super::{Machines, Note, PoolFor, Request, Server};
use crate::lease::LeaseState;

/// Where the search for a free address goes on, and what it need not look at again.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Search {
    /// after the last address that was found
    next: Option<Ipv4Addr>,
    /// no address that nobody ever had is free
    no_fresh: bool,
    /// before this time no address that somebody had is free
    rested_from: u64,
}

impl Search {
    /// Something became free.
    pub(super) fn anew(&mut self) {
        self.no_fresh = false;
        self.rested_from = 0;
    }
}

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
    /// asks for, the next free one; among those one that was looked at already comes first.
    pub(super) fn address_for<M: Machines>(&mut self, request: &Request<'_, M>) -> Result<Ipv4Addr, Note> {
        let mac = request.client.mac;
        if let Some(address) = self.reservation(request) {
            return Ok(address);
        }
        self.may_lease(request)?;
        let favourites = [
            self.leases.of(mac).map(|lease| lease.address),
            self.offers.of(mac),
            request.packet.options.address(OptionCode::RequestedIpAddress),
        ];
        let free = |address: &Ipv4Addr| self.is_free_for(request, *address);
        if let Some(address) = favourites.into_iter().flatten().find(free) {
            return Ok(address);
        }
        self.next_stocked(request)
            .or_else(|| self.next_free(request.machines, request.now))
            .or_else(|| self.next_asked(request))
            .ok_or(Note::PoolExhausted)
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

    /// Whether the pool has this address and nobody but the client holds it.
    pub(super) fn is_free_for<M: Machines>(&self, request: &Request<'_, M>, address: Ipv4Addr) -> bool {
        self.is_free(request.machines, Some(request.client.mac), address, request.now)
    }

    /// Whether the pool has this address and nobody but this machine holds it.
    pub(super) fn is_free<M: Machines>(
        &self,
        machines: &M,
        mac: Option<MacAddr>,
        address: Ipv4Addr,
        now: u64,
    ) -> bool {
        let its_own = |lease: &crate::Lease| lease.mac.is_some() && lease.mac == mac;
        let held = self.leases.at(address).is_some_and(|lease| !its_own(lease) && lease.holds(now));
        self.in_pool(address)
            && !held
            && !self.offers.has_another(mac, address)
            && !machines.is_reserved(address)
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

    /// An address that is with nobody and not in stock. One that nobody ever had comes first, going
    /// round the pool from the last one found; then the one that has rested for the longest time.
    pub(super) fn next_free<M: Machines>(&mut self, machines: &M, now: u64) -> Option<Ipv4Addr> {
        let free = |address: &Ipv4Addr| {
            !self.looked.is_stocked_or_asked(*address) && self.is_free(machines, None, *address, now)
        };
        let mut search = self.search;
        let mut found = None;
        if !search.no_fresh {
            let fresh = |address: &Ipv4Addr| self.leases.at(*address).is_none() && free(address);
            found = self.round().and_then(|mut round| round.find(fresh));
            search.no_fresh = found.is_none();
        }
        if found.is_none() && now >= search.rested_from {
            found = self.leases.ended(now).find(free);
            if found.is_none() {
                search.rested_from = self.leases.next_end(now).unwrap_or(u64::MAX);
            }
        }
        if let Some(address) = found {
            search.next = Some(Ipv4Addr::from(u32::from(address).saturating_add(1)));
        }
        self.search = search;
        found
    }

    /// The addresses of the pool, from the last one found.
    fn round(&self) -> Option<impl Iterator<Item = Ipv4Addr> + use<>> {
        let pool = self.config.pool.as_ref()?;
        let (first, last) = (u32::from(*pool.start()), u32::from(*pool.end()));
        if last < first {
            return None;
        }
        let next = self.search.next.map(u32::from).filter(|next| (first..=last).contains(next));
        let begin = next.unwrap_or(first);
        Some((begin..=last).chain(first..begin).map(Ipv4Addr::from))
    }

    /// Whether this machine has this address by a lease that was not given up.
    pub(super) fn has_lease(&self, mac: MacAddr, address: Ipv4Addr) -> bool {
        self.leases.of(mac).is_some_and(|lease| lease.address == address && lease.state == LeaseState::Bound)
    }
}
