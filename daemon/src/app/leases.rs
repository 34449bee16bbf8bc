//! DHCP's leases in the store.

use std::net::{IpAddr, Ipv4Addr};

use dhcp::lease::{Change, Changes, Lease, LeaseState};
use serve::dhcp::{LeaseLog, LeaseLogError};
use store::{LeaseBatch, LeaseRow, Store};

/// The lease table, durable before any ACK.
#[derive(Debug, Clone)]
pub(crate) struct Leases(pub(crate) Store);

impl LeaseLog for Leases {
    async fn commit(&self, changes: &Changes) -> Result<(), LeaseLogError> {
        self.0.commit_leases(batch(changes)).await.map_err(|error| LeaseLogError(error.to_string()))
    }
}

fn batch(changes: &Changes) -> LeaseBatch {
    let written = |change: &Change| change.after.as_ref().map(row);
    LeaseBatch {
        remove: changes.iter().map(|(address, _)| IpAddr::V4(address)).collect(),
        put: changes.iter().filter_map(|(_, change)| written(change)).collect(),
    }
}

fn row(lease: &Lease) -> LeaseRow {
    LeaseRow {
        address: IpAddr::V4(lease.address),
        mac: lease.mac,
        hostname: lease.hostname.clone(),
        relayed: lease.relayed.as_ref().map(ToString::to_string),
        state: lease.state.name().into(),
        granted: lease.granted,
        expires: lease.expires,
    }
}

/// A stored row as DHCP knows it; `None` for what this program never wrote.
pub(crate) fn lease(row: &LeaseRow) -> Option<Lease> {
    let address: Ipv4Addr = match row.address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => return None,
    };
    Some(Lease {
        address,
        mac: row.mac,
        hostname: row.hostname.clone(),
        relayed: row.relayed.as_deref().and_then(|relayed| relayed.parse().ok()),
        state: LeaseState::from_name(&row.state)?,
        granted: row.granted,
        expires: row.expires,
    })
}
