//! The bootloaders of the catalogue, in memory once for all transfers and all networks.
//!
//! Read when first asked for; what the catalogue in force no longer has is let go.

use std::{collections::BTreeMap, fmt, io, sync::Arc};

use ::boot::{Asset, AssetName, Catalogue};
use tokio::{
    fs,
    sync::{Mutex, watch},
};

/// No bootloader is larger, in octets; what is belongs on HTTP.
const LARGEST: u64 = 16 << 20;

/// Shared by the TFTP servers of all networks.
pub struct Bootloaders {
    catalogue: watch::Receiver<Arc<Catalogue>>,
    held: Mutex<BTreeMap<AssetName, Held>>,
}

struct Held {
    sha256: [u8; 32],
    content: Arc<[u8]>,
}

/// Why a file of the catalogue is not served after all.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the catalogue has no such file")]
    Unknown,
    #[error("cannot read it: {0}")]
    Read(#[from] io::Error),
    #[error("it changed since its digest was computed: reload the site")]
    Changed,
    #[error("its {0} octets are too many for TFTP, at most {LARGEST} can be sent")]
    TooLarge(u64),
}

impl fmt::Debug for Bootloaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bootloaders").finish_non_exhaustive()
    }
}

impl Bootloaders {
    /// Those of the catalogue in force at any time.
    pub fn new(catalogue: watch::Receiver<Arc<Catalogue>>) -> Self {
        Self { catalogue, held: Mutex::default() }
    }

    pub(super) fn has(&self, name: &AssetName) -> bool {
        self.catalogue.borrow().get(name).is_some()
    }

    /// The octets of a file. Whoever asks while it is being read waits for that.
    pub(super) async fn content(&self, name: &AssetName) -> Result<Arc<[u8]>, Fault> {
        let mut held = self.held.lock().await;
        let catalogue = Arc::clone(&self.catalogue.borrow());
        held.retain(|name, held| catalogue.get(name).is_some_and(|asset| asset.sha256 == held.sha256));
        let asset = catalogue.get(name).ok_or(Fault::Unknown)?;
        if let Some(held) = held.get(name) {
            return Ok(Arc::clone(&held.content));
        }
        let content = read(asset).await?;
        held.insert(name.clone(), Held { sha256: asset.sha256, content: Arc::clone(&content) });
        Ok(content)
    }
}

async fn read(asset: &Asset) -> Result<Arc<[u8]>, Fault> {
    if asset.size > LARGEST {
        return Err(Fault::TooLarge(asset.size));
    }
    let content = fs::read(&asset.path).await?;
    // after reading, so that a change meanwhile is seen
    let now = fs::metadata(&asset.path).await?;
    if content.len() as u64 != asset.size || now.modified().ok() != asset.modified {
        return Err(Fault::Changed);
    }
    Ok(content.into())
}
