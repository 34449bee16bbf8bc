//! The state directory: the store, the vault, and the last accepted site.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use store::{
    Store, Transaction,
    vault::{KeySource, Sealed, Vault},
};

use super::{
    fault::sentence,
    folder::{Copy, Loaded, load},
};

/// Where the sealed copy of the last accepted site is.
const ACCEPTED: &str = "site/accepted";

/// The daemon's memory.
pub(crate) struct State {
    pub(crate) store: Store,
    vault: Vault,
}

/// The site to start with.
pub(crate) struct Start {
    pub(crate) loaded: Loaded,
    /// why it is not the one on disk
    pub(crate) fault: Option<String>,
}

impl State {
    /// Opens the directory, and makes it if it is not there.
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(|| format!("the state directory {} cannot be made", directory.display()))?;
        let store = Store::open(&directory.join("state.db"))?;
        let vault = Vault::open(&key_source(directory))?;
        Ok(Self { store, vault })
    }

    /// The site on disk if it has no faults, otherwise the last accepted one: a bad edit never takes
    /// a running rack down, not even over a restart. To be kept once it is known to work.
    pub(crate) async fn accept(&self, directory: &Path) -> anyhow::Result<Start> {
        match load(directory) {
            Ok(loaded) => {
                for warning in loaded.findings.iter() {
                    tracing::warn!("{warning}");
                }
                Ok(Start { loaded, fault: None })
            }
            Err(fault) => {
                let error = anyhow::Error::new(fault);
                let fault = sentence(&error);
                let kept = self.kept().await;
                let kept =
                    kept.with_context(|| format!("{fault}\nand the last accepted site cannot be read"))?;
                let Some(copy) = kept else { return Err(error) };
                tracing::error!("the site cannot be used; going on with the last accepted one\n{fault}");
                let loaded = copy.load().context("the last accepted site cannot be used either")?;
                Ok(Start { loaded, fault: Some(fault) })
            }
        }
    }

    /// Remembers a site, sealed.
    pub(crate) async fn keep(&self, copy: &Copy) -> anyhow::Result<()> {
        if self.kept().await.ok().flatten().as_ref() == Some(copy) {
            return Ok(());
        }
        let plain = zeroize::Zeroizing::new(serde_json::to_vec(copy)?);
        let sealed = serde_json::to_value(self.vault.seal(ACCEPTED, &plain)?)?;
        let transaction = Transaction { put: vec![(ACCEPTED.to_owned(), sealed)], ..Transaction::default() };
        self.store.commit(transaction).await.context("the accepted site cannot be stored")?;
        Ok(())
    }

    async fn kept(&self) -> anyhow::Result<Option<Copy>> {
        let Some(entry) = self.store.get(ACCEPTED).await? else { return Ok(None) };
        let sealed: Sealed = serde_json::from_value(entry.value).context("the kept site cannot be read")?;
        let plain = self.vault.unseal(ACCEPTED, &sealed)?;
        Ok(Some(serde_json::from_slice(&plain).context("the kept site cannot be read")?))
    }
}

/// systemd's credential where there is one, otherwise a file that only we can read.
fn key_source(directory: &Path) -> KeySource {
    let credential =
        std::env::var_os("CREDENTIALS_DIRECTORY").map(|folder| PathBuf::from(folder).join("ichord-key"));
    // one that is there and cannot be read is a fault to be told, not a reason for a key of our own
    match credential.filter(|path| !matches!(path.try_exists(), Ok(false))) {
        Some(path) => KeySource::Credential(path),
        None => KeySource::File(directory.join("vault.key")),
    }
}
