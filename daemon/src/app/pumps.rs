//! What the sockets notice, carried to the reconciler; what the reconciler publishes, carried to DHCP.

use std::{sync::Arc, time::Duration};

use boot::BootView;
use identity::Sighting;
use reconciler::{Handle, Published};
use serve::Whereabouts;
use store::LeaseRow;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// Sightings and whereabouts waiting for the reconciler. What does not fit is dropped by the sender
/// and seen again.
const QUEUE: usize = 1024;

/// So many at once are a rack that was switched on; what it has to say is gathered for a moment, because to wake the
/// reconciler for each machine is more work than what it then does.
const MANY: usize = 8;
const GATHERING: Duration = Duration::from_millis(5);

/// The sending ends, for the socket loops.
#[derive(Clone)]
pub(crate) struct Ends {
    pub(crate) sightings: mpsc::Sender<Sighting>,
    pub(crate) whereabouts: mpsc::Sender<Whereabouts>,
    /// the same, as anybody on the network can say
    pub(crate) hearsay: mpsc::Sender<Whereabouts>,
}

/// The receiving ends.
pub(crate) struct Pumps {
    sightings: mpsc::Receiver<Sighting>,
    whereabouts: mpsc::Receiver<Whereabouts>,
    hearsay: mpsc::Receiver<Whereabouts>,
}

pub(crate) fn channels() -> (Pumps, Ends) {
    let (send_sightings, sightings) = mpsc::channel(QUEUE);
    let (send_whereabouts, whereabouts) = mpsc::channel(QUEUE);
    let (send_hearsay, hearsay) = mpsc::channel(QUEUE);
    let ends = Ends { sightings: send_sightings, whereabouts: send_whereabouts, hearsay: send_hearsay };
    (Pumps { sightings, whereabouts, hearsay }, ends)
}

impl Pumps {
    /// DHCP's part of what is published, from now on.
    pub(crate) fn boot_view(
        &self,
        mut published: watch::Receiver<Published>,
    ) -> watch::Receiver<Arc<BootView>> {
        let first = Arc::new(published.borrow_and_update().boot.clone());
        let (send, view) = watch::channel(first);
        // ends with the reconciler, which drops the other end
        tokio::spawn(async move {
            while published.changed().await.is_ok() {
                let boot = Arc::new(published.borrow_and_update().boot.clone());
                send.send_replace(boot);
            }
        });
        view
    }

    /// Runs until the token is cancelled. The stored leases come first: they say where machines were
    /// when the last daemon ended.
    pub(crate) fn spawn(
        self,
        tasks: &mut JoinSet<()>,
        handle: &Handle,
        leases: Vec<LeaseRow>,
        stop: &CancellationToken,
    ) {
        let Self { sightings, whereabouts, hearsay } = self;
        let (identify, place) =
            (identify(handle.clone(), sightings), place(handle.clone(), leases, whereabouts));
        let hear = hear(handle.clone(), hearsay);
        let (first, second, third) = (stop.clone(), stop.clone(), stop.clone());
        tasks.spawn(async move {
            first.run_until_cancelled(identify).await.unwrap_or_default();
        });
        tasks.spawn(async move {
            second.run_until_cancelled(place).await.unwrap_or_default();
        });
        tasks.spawn(async move {
            third.run_until_cancelled(hear).await.unwrap_or_default();
        });
    }
}

async fn identify(handle: Handle, mut sightings: mpsc::Receiver<Sighting>) {
    while let Some(batch) = gathered(&mut sightings).await {
        for sighting in batch {
            if handle.sight(sighting).await.is_err() {
                return;
            }
        }
    }
}

async fn hear(handle: Handle, mut hearsay: mpsc::Receiver<Whereabouts>) {
    while let Some(batch) = gathered(&mut hearsay).await {
        for seen in batch {
            if handle.hear(seen.mac, seen.address).await.is_err() {
                return;
            }
        }
    }
}

async fn place(handle: Handle, leases: Vec<LeaseRow>, mut whereabouts: mpsc::Receiver<Whereabouts>) {
    for row in leases {
        if let Some(mac) = row.mac
            && handle.locate(mac, row.address).await.is_err()
        {
            return;
        }
    }
    while let Some(batch) = gathered(&mut whereabouts).await {
        for seen in batch {
            if handle.locate(seen.mac, seen.address).await.is_err() {
                return;
            }
        }
    }
}

/// What waits in the channel; `None` when nobody can send any more. After many comes a rest.
async fn gathered<T>(channel: &mut mpsc::Receiver<T>) -> Option<Vec<T>> {
    let mut batch = Vec::new();
    channel.recv_many(&mut batch, QUEUE).await;
    if batch.len() >= MANY {
        sleep(GATHERING).await;
    }
    (!batch.is_empty()).then_some(batch)
}
