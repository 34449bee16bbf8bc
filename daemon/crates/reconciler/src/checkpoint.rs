//! Places where the process may die, so that a test can let it die at each of them once.
//!
//! A ledger file names the places that were survived already. At a place that is not in it the name
//! is written, synced, and the process kills itself, as hard as SIGKILL does. Without a ledger this
//! costs nothing. The lab's `--kill points` uses it; no production unit sets it.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::Path,
};

use nix::sys::signal::{Signal, raise};

/// See the module's head.
#[derive(Debug, Default)]
pub struct Checkpoints {
    ledger: Option<Ledger>,
}

#[derive(Debug)]
struct Ledger {
    survived: BTreeSet<String>,
    file: File,
}

impl Checkpoints {
    /// No deaths.
    pub fn none() -> Self {
        Self::default()
    }

    /// Dies once at every place that the ledger does not name yet.
    pub fn with_ledger(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let survived = text.lines().map(str::to_owned).collect();
        Ok(Self { ledger: Some(Ledger { survived, file }) })
    }

    /// The process is at this place now.
    pub(crate) fn reach(&mut self, place: impl FnOnce() -> String) {
        let Some(ledger) = &mut self.ledger else { return };
        let place = place();
        if !ledger.survived.insert(place.clone()) {
            return;
        }
        match writeln!(ledger.file, "{place}").and_then(|()| ledger.file.sync_all()) {
            Ok(()) => {
                tracing::warn!(place, "dying here, as the ledger asks");
                if let Err(error) = raise(Signal::SIGKILL) {
                    tracing::error!(%error, "could not die");
                }
            }
            // an unwritten place would kill every later start as well
            Err(error) => tracing::error!(%error, place, "the ledger cannot be written; not dying"),
        }
    }
}
