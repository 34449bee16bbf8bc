//! The bootloaders of the catalogue, in memory once for all transfers and all networks.
//!
//! Read when first asked for; what the catalogue in force no longer has is let go, and what is large as soon as
//! nobody fetches it any more. All of them together have a bound.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Weak},
};

use ::boot::{Asset, AssetName, Catalogue};
use tokio::{
    fs,
    sync::{Mutex, watch},
};

/// How much of the files is in memory, in octets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// no file is larger; what is belongs on HTTP
    pub(super) largest: u64,
    /// up to this size they stay, for the next machine of the rack
    pub(super) kept: u64,
    /// no more of all files together at once
    pub(super) most: u64,
}

const MEMORY: Memory = Memory { largest: 64 << 20, kept: 4 << 20, most: 96 << 20 };

/// Shared by the TFTP servers of all networks.
pub struct Bootloaders {
    catalogue: watch::Receiver<Arc<Catalogue>>,
    memory: Memory,
    held: Mutex<BTreeMap<AssetName, Held>>,
}

struct Held {
    sha256: [u8; 32],
    size: u64,
    content: Content,
}

enum Content {
    Kept(Arc<[u8]>),
    /// as long as somebody fetches it
    Lent(Weak<[u8]>),
}

impl Content {
    fn get(&self) -> Option<Arc<[u8]>> {
        match self {
            Self::Kept(content) => Some(Arc::clone(content)),
            Self::Lent(content) => content.upgrade(),
        }
    }
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
    #[error("its {0} octets are too many for TFTP, at most {1} can be sent")]
    TooLarge(u64, u64),
    #[error("other files that are being fetched by TFTP fill the memory for it; it can be sent after them")]
    Full,
}

impl fmt::Debug for Bootloaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bootloaders").finish_non_exhaustive()
    }
}

impl Bootloaders {
    /// Those of the catalogue in force at any time.
    pub fn new(catalogue: watch::Receiver<Arc<Catalogue>>) -> Self {
        Self::within(catalogue, MEMORY)
    }

    pub(super) fn within(catalogue: watch::Receiver<Arc<Catalogue>>, memory: Memory) -> Self {
        Self { catalogue, memory, held: Mutex::default() }
    }

    pub(super) fn has(&self, name: &AssetName) -> bool {
        self.catalogue.borrow().get(name).is_some()
    }

    /// The octets of a file. Whoever asks while it is being read waits for that.
    pub(super) async fn content(&self, name: &AssetName) -> Result<Arc<[u8]>, Fault> {
        let mut held = self.held.lock().await;
        let catalogue = Arc::clone(&self.catalogue.borrow());
        held.retain(|name, held| {
            let same = catalogue.get(name).is_some_and(|asset| asset.sha256 == held.sha256);
            same && held.content.get().is_some()
        });
        let asset = catalogue.get(name).ok_or(Fault::Unknown)?;
        if let Some(content) = held.get(name).and_then(|held| held.content.get()) {
            return Ok(content);
        }
        if asset.size > self.memory.largest {
            return Err(Fault::TooLarge(asset.size, self.memory.largest));
        }
        if held.values().map(|held| held.size).sum::<u64>() + asset.size > self.memory.most {
            return Err(Fault::Full);
        }
        let read = read(asset).await?;
        let content = if asset.size <= self.memory.kept {
            Content::Kept(Arc::clone(&read))
        } else {
            Content::Lent(Arc::downgrade(&read))
        };
        held.insert(name.clone(), Held { sha256: asset.sha256, size: asset.size, content });
        Ok(read)
    }
}

async fn read(asset: &Asset) -> Result<Arc<[u8]>, Fault> {
    let content = fs::read(&asset.path).await?;
    // after reading, so that a change meanwhile is seen
    let now = fs::metadata(&asset.path).await?;
    if content.len() as u64 != asset.size || now.modified().ok() != asset.modified {
        return Err(Fault::Changed);
    }
    Ok(content.into())
}
