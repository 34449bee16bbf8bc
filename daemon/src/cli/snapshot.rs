//! `ichord snapshot` and `ichord recover`: etcd's data, kept and brought back.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use anyhow::Context as _;
use clap::Args;
use lifecycle::Order;
use store::archive::{Kind, Opener};

use super::{Failure, Socket, give, print, typed, whoever_asks};
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
///
/// With --disks-lost the control planes that do not answer are installed anew as they boot from the network, in the same machines or
/// in others in their ports, and etcd begins when most of them have shown that they are empty. A disk that is there after all
/// is not touched, and what it holds counts. Until somebody was told to begin, --cancel ends it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ichord recover mini01\n  ichord recover mini01 --from /backup/etcd-001790000000.db.sealed\n  ichord recover mini01 --disks-lost\n  ichord recover --cancel"
)]
pub(crate) struct Recover {
    /// the control plane that begins, by its talconfig hostname; it is asked for once more
    #[arg(required_unless_present = "cancel")]
    node: Option<String>,
    /// the snapshot, on the daemon's host, sealed or as etcd makes it; default: the newest that the daemon keeps
    #[arg(long, value_name = "FILE", alias = "recover-from")]
    from: Option<PathBuf>,
    /// the disks of the control planes that do not answer are lost: install those anew first
    #[arg(long)]
    disks_lost: bool,
    /// etcd does not begin anew after all
    #[arg(long, conflicts_with_all = ["node", "from", "disks_lost"])]
    cancel: bool,
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
        let Some(node) = self.node else { return give(&self.socket, Order::KeepEtcd {}).await };
        let installed = match self.disks_lost {
            true => "Control planes that do not answer are installed anew, ",
            false => "",
        };
        typed(
            &node,
            &format!(
                "{installed}etcd begins anew on {node}, and what was written since the snapshot is lost"
            ),
        )?;
        let snapshot = match self.from {
            Some(path) => Some(std::path::absolute(&path).with_context(|| path.display().to_string())?),
            None => None,
        };
        let request = api::Recover { node, snapshot, disks_lost: self.disks_lost, by: whoever_asks() };
        let ordered = self.socket.client().recover(&request).await?;
        print(&format!("{}\n", ordered.done))
    }
}
