//! The core from the store alone: at the start, and after a commit that failed.

use lifecycle::{ClusterPlan, Core, NodeName, Records};
use store::{Store, StoreError};

/// The stored state cannot be gone on from.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// the store does not answer
    #[error("the stored state cannot be read")]
    Store(#[from] StoreError),
    /// the store answers with something else than this site's state
    #[error(transparent)]
    Core(#[from] lifecycle::RestoreError),
}

/// Where the core's records of nodes are.
const NODES: &str = "node/";

/// `is_older`: something outside of the store remembers more than it holds.
pub(crate) async fn restore(store: &Store, plan: ClusterPlan, is_older: bool) -> Result<Core, RestoreError> {
    let cluster = store.get("cluster").await?.map(|entry| entry.value);
    let nodes = store.list(NODES).await?.into_iter().filter_map(|entry| {
        let name = NodeName(entry.key.strip_prefix(NODES)?.to_owned());
        Some((name, entry.value))
    });
    let records = Records { cluster, nodes: nodes.collect(), is_older };
    Ok(Core::restore(plan, &records, fresh_seed())?)
}

/// Tickets of an earlier life must not be taken for ours: every life draws from its own seed.
fn fresh_seed() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    high ^ low
}
