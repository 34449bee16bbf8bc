//! `ichord snapshot` and `ichord recover`: etcd's data, kept and brought back.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use anyhow::Context as _;
use clap::Args;
use store::archive::{Kind, Opener};

use super::{Failure, Socket, print, typed, whoever_asks};
use crate::app;

/// Keeps a snapshot of etcd now, sealed with the cluster's secrets, in the daemon's state directory.
///
/// The daemon takes them by itself, too: `snapshots: { every: 6h, keep: 28, copy: [PROGRAM, ARGUMENT…] }` in ichord.yaml. With
/// --open a sealed one is opened with the site's secrets, for `etcdutl` or `talosctl bootstrap --recover-from`; that needs no
/// daemon.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ichord snapshot\n  ichord snapshot --open etcd-001790000000.db.sealed --site profiles/home-ops --out etcd.db"
)]
pub(crate) struct Snapshot {
    /// open this one instead of taking one
    #[arg(long, value_name = "FILE", requires = "site", requires = "out")]
    open: Option<PathBuf>,
    /// the site's folder, whose secrets open it
    #[arg(long, value_name = "SITE", requires = "open")]
    site: Option<PathBuf>,
    /// where etcd's database goes; it holds every secret of the cluster
    #[arg(long, value_name = "FILE", requires = "open")]
    out: Option<PathBuf>,
    #[command(flatten)]
    socket: Socket,
}

/// Begins etcd anew from a snapshot, where its quorum is lost for ever.
///
/// Only where so many control planes show that they hold no data of etcd that the others cannot be a majority: install them
/// anew first, or wipe their EPHEMERAL. It happens once, on the node that is named; the others join it. What was written after
/// the snapshot is lost.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ichord recover mini01\n  ichord recover mini01 --from /backup/etcd-001790000000.db.sealed"
)]
pub(crate) struct Recover {
    /// the control plane that begins, by its talconfig hostname; it is asked for once more
    node: String,
    /// the snapshot, on the daemon's host, sealed or as etcd makes it; default: the newest that the daemon keeps
    #[arg(long, value_name = "FILE", alias = "recover-from")]
    from: Option<PathBuf>,
    #[command(flatten)]
    socket: Socket,
}

impl Snapshot {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        if let (Some(sealed), Some(site), Some(out)) = (self.open, self.site, self.out) {
            let loaded = app::load(&site).map_err(|error| Failure::of_site(&error))?;
            let secret = loaded.secrets.cluster_secret.expose().as_bytes();
            let from = File::open(&sealed).with_context(|| format!("{} cannot be read", sealed.display()))?;
            let mut into = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&out)
                .with_context(|| format!("{} cannot be written", out.display()))?;
            let opened = Opener::new(Kind::Etcd, secret, from).and_then(|opener| opener.copy_to(&mut into));
            let size = match opened {
                Ok(size) => size,
                Err(error) => {
                    // half a database is none
                    std::fs::remove_file(&out).ok();
                    return Err(anyhow::Error::new(error).context(sealed.display().to_string()).into());
                }
            };
            return print(&format!("{size} bytes of etcd are in {}\n", out.display()));
        }
        let taken = self.socket.client().snapshot().await?;
        print(&format!(
            "{} bytes of etcd, as {} has them, are kept in {}\n",
            taken.size,
            taken.from,
            taken.path.display()
        ))?;
        match taken.not_copied {
            Some(reason) => Err(anyhow::anyhow!(reason).into()),
            None => Ok(()),
        }
    }
}

impl Recover {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        typed(
            &self.node,
            &format!("etcd begins anew on {}, and what was written since the snapshot is lost", self.node),
        )?;
        let snapshot = match self.from {
            Some(path) => Some(std::path::absolute(&path).with_context(|| path.display().to_string())?),
            None => None,
        };
        let request = api::Recover { node: self.node, snapshot, by: whoever_asks() };
        let ordered = self.socket.client().recover(&request).await?;
        print(&format!("{}\n", ordered.done))
    }
}
