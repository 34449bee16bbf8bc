//! The daemon: what it is made of, in which order it starts, and in which order it stops.
//!
//! Start: fewer capabilities → state → site → images → core → sockets → site kept → ready. Everything that can
//! be wrong is found before anything is answered. Stop: first the sockets, so that no new question
//! comes in, then the reconciler between two turns, then the store.

mod admin;
mod authority;
mod built;
pub(crate) mod cabling;
mod certificates;
mod fault;
mod folder;
mod leases;
pub(crate) mod log;
mod outside;
mod program;
mod pumps;
mod release;
mod sealed;
mod signals;
mod snapshots;
mod sockets;
mod sources;
mod state;
mod steps;
mod values;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use futures_util::FutureExt as _;
use reconciler::{Checkpoints, Clock, Cluster, HighWater, Reconciler, Talos};
use serve::{counters::Counters, trace::Trace};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub(crate) use fault::sentence;
pub(crate) use folder::{Disk, LoadError, Loaded, load, sketch};
pub(crate) use sealed::reference;
pub(crate) use sockets::{BootPorts, catalogue, images_folder};
pub(crate) use sources::frozen;
pub(crate) use steps::steps;

/// What `ichord serve` was told.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) site: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) ports: BootPorts,
    /// places to die at, for the lab
    pub(crate) crash_ledger: Option<PathBuf>,
}

/// Gives up every capability that the daemon has no use for. To be called while there is one thread:
/// capabilities belong to threads, and new ones inherit them.
pub(crate) fn drop_capabilities() -> anyhow::Result<()> {
    net::capabilities::require(sockets::NEEDED)?;
    Ok(net::capabilities::keep_only(sockets::NEEDED)?)
}

/// Runs the daemon until a signal ends it.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let state = state::State::open(&options.state)?;
    let start = state.accept(&options.site).await?;
    let Loaded { site, secrets, steps, copy, .. } = start.loaded;
    let site = Arc::new(site);
    let catalogue = catalogue(&site, &options.state)?;
    let (counters, trace) = (Arc::new(Counters::default()), Arc::new(Trace::default()));

    let pins = Arc::new(power::Pins::at(options.state.join("power-certificates")));
    let (cluster, in_force) = {
        let cluster = Cluster::new(Arc::clone(&site), secrets, steps)?
            .with_bundles(options.state.clone())
            .with_snapshots(options.state.join("snapshots"))
            .with_pins(pins);
        watch::channel(Arc::new(cluster))
    };
    let checkpoints = match &options.crash_ledger {
        Some(ledger) => Checkpoints::with_ledger(ledger).context("the crash ledger cannot be opened")?,
        None => Checkpoints::none(),
    };
    let high_water = HighWater::open(&options.state.join("high-water"))
        .context("the store's high-water mark cannot be read")?;
    let world = Arc::new(Talos::new(in_force.clone()));
    let (reconciler, handle) = Reconciler::new(
        Arc::clone(&site),
        state.store.clone(),
        world,
        Clock::system(),
        checkpoints,
        high_water,
    )
    .await?;

    let (pumps, ends) = pumps::channels();
    let boot_view = pumps.boot_view(handle.published());
    let (ports, counts, seen) = (options.ports, Arc::clone(&counters), Arc::clone(&trace));
    let links = sockets::Links { ends, boot_view, counters, trace, catalogue, ports };
    let (schedule, asked) = (in_force.clone(), in_force.clone());
    let (sockets, settings) = sockets::open(&site, &handle, &state.store, in_force, links).await?;
    // before anybody can find us: until then a signal simply ends the process
    let mut signals = signals::Signals::listen();
    make_way(&options.socket)?;
    let admin = api::Listener::bind(&options.socket).await?;
    state.keep(&copy).await?;

    let (edge, core) = (CancellationToken::new(), CancellationToken::new());
    let folders = admin::Folders { site: options.site, state: options.state };
    let snapshots = Arc::new(snapshots::Snapshots::default());
    let backend = admin::Admin::new(
        folders,
        start.fault,
        handle.clone(),
        cluster,
        settings,
        state,
        admin::Seen { counters: Arc::clone(&counts), trace: seen, snapshots: Arc::clone(&snapshots) },
    );
    let backend = Arc::new(backend);
    let mut tasks = JoinSet::new();
    pumps.spawn(&mut tasks, &handle, backend.store().leases().await?, &edge);
    sockets.spawn(&mut tasks, &edge);
    let keeping = snapshots.keep(schedule, handle.published());
    tasks.spawn(edge.clone().run_until_cancelled_owned(keeping).map(drop));
    let asking = cabling::ask_around(asked, handle.clone());
    tasks.spawn(edge.clone().run_until_cancelled_owned(asking).map(drop));
    tasks.spawn(admin.serve(Arc::clone(&backend), edge.clone()));
    let mut reconciling = tokio::spawn(reconciler.run(core.clone()));

    signals::ready(&site);
    let ended = tokio::select! {
        () = signals.until_told_to_stop(&backend) => Ok(()),
        ended = &mut reconciling => Err(ended),
    };
    signals::stopping();
    edge.cancel();
    while tasks.join_next().await.is_some() {}
    core.cancel();
    match ended {
        Ok(()) => reconciling.await.context("the reconciler did not end by itself")??,
        Err(ended) => {
            ended.context("the reconciler ended unexpectedly")??;
            anyhow::bail!("the reconciler ended although nobody asked it to");
        }
    }
    tracing::info!(counts = ?counts.snapshot(), "stopped");
    Ok(())
}

/// Makes the folder of the admin socket, and sees to it that nothing but a left-over socket is replaced there.
fn make_way(socket: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _};
    if let Ok(there) = fs::symlink_metadata(socket) {
        let is_socket = there.file_type().is_socket();
        anyhow::ensure!(is_socket, "{} is not a socket: give --socket another path", socket.display());
    }
    match socket.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        Some(folder) => fs::DirBuilder::new().mode(0o750).create(folder).with_context(|| {
            format!(
                "the admin socket's folder {} cannot be made; give --socket another path",
                folder.display()
            )
        }),
        None => Ok(()),
    }
}
