//! `ichord backup` and `ichord restore`: the daemon's own memory. Both without the daemon; a backup may be made beside it.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use reconciler::HighWater;
use store::backup::{back_up, bring_back};

use super::{Failure, print};
use crate::app;

/// Copies the daemon's store into one sealed file, whole at one moment; the daemon may run.
///
/// It opens with the site's secrets, and holds who is which node, what was decided, and the journal. The cluster's secrets are
/// not in it: keep the site's folder as well.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ichord backup profiles/home-ops --out /backup/ichord-$(date +%F).sealed")]
pub(crate) struct Backup {
    /// the site's folder
    site: PathBuf,
    #[command(flatten)]
    state: State,
    /// the file, which must not be there yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Brings the daemon's store back from such a file, while the daemon is stopped.
///
/// The daemon then knows that it does not know what was done since: what people had allowed is void, nobody is replaced or installed
/// by itself, and no cluster is founded over one that may exist. `ichord takeover` brings it up to date from the nodes that
/// run.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ichord restore profiles/home-ops /backup/ichord-2026-11-28.sealed")]
pub(crate) struct Restore {
    /// the site's folder
    site: PathBuf,
    /// the backup
    backup: PathBuf,
    #[command(flatten)]
    state: State,
    /// put a store that is there aside
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, Args)]
struct State {
    /// the daemon's state directory
    #[arg(long, env = "STATE_DIRECTORY", default_value = "/var/lib/ichord", value_name = "DIR")]
    state: PathBuf,
}

impl Backup {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let loaded = app::load(&self.site).map_err(|error| Failure::of_site(&error))?;
        let secret = loaded.secrets.cluster_secret.expose().as_bytes();
        let revision = back_up(&self.state.state.join("state.db"), secret, &self.out)?;
        print(&format!("the store at revision {revision} is in {}\n", self.out.display()))
    }
}

impl Restore {
    pub(crate) fn run(self) -> Result<(), Failure> {
        use std::os::unix::fs::DirBuilderExt as _;
        let loaded = app::load(&self.site).map_err(|error| Failure::of_site(&error))?;
        let secret = loaded.secrets.cluster_secret.expose().as_bytes();
        let folder = &self.state.state;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("the state directory {} cannot be made", folder.display()))?;
        let before = std::fs::read_to_string(folder.join("high-water")).ok();
        // before the store is there: a crash in between leaves a mark that says too much, never too little
        let mark = folder.join("high-water");
        HighWater::leave_above(&mark, store::Revision::MAX / 2)
            .with_context(|| mark.display().to_string())?;
        let brought = bring_back(&self.backup, secret, &folder.join("state.db"), self.replace);
        if brought.is_err() {
            // nothing was brought back
            let put = match &before {
                Some(text) => store::backup::write_private(&mark, text),
                None => std::fs::remove_file(&mark),
            };
            put.with_context(|| mark.display().to_string())?;
        }
        let revision = brought?;
        print(&format!(
            "the store is as it was at revision {revision}; start the daemon, and give `ichord takeover` to bring it up to date\n"
        ))
    }
}
