//! `ichord secrets`: the cluster's secrets. Nothing else ever makes them.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::anyhow;
use clap::{Args, Subcommand};
use site::Site;
use talos_config::secrets::SecretsBundle;

use super::{Failure, print};
use crate::app::{self, Disk, Loaded};

/// The cluster's secrets, and what is made from them.
#[derive(Debug, Args)]
pub(crate) struct Secrets {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the secrets of a new cluster, once. An existing file is never replaced.
    #[command(after_help = "Example:\n  ichord secrets new profiles/home-ops")]
    New {
        /// the site's folder
        site: PathBuf,
    },
    /// Print an administrator's kubeconfig, valid for a year
    #[command(after_help = "Example:\n  ichord secrets kubeconfig profiles/home-ops > ~/.kube/home-ops")]
    Kubeconfig {
        /// the site's folder
        site: PathBuf,
    },
    /// Print an administrator's talosconfig, valid for a year
    #[command(after_help = "Example:\n  ichord secrets talosconfig profiles/home-ops > ~/.talos/config")]
    Talosconfig {
        /// the site's folder
        site: PathBuf,
    },
}

impl Secrets {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::New { site } => new(&site),
            Command::Kubeconfig { site } => {
                let Loaded { site, secrets, .. } = loaded(&site)?;
                let cluster = site.cluster();
                print(&secrets.kubeconfig(&cluster.cluster_name, &cluster.endpoint, now())?)
            }
            Command::Talosconfig { site } => {
                let Loaded { site, secrets, .. } = loaded(&site)?;
                let plan = site.plan();
                let addresses: Vec<_> =
                    plan.control_planes().filter_map(|name| Some(plan.nodes.get(name)?.address)).collect();
                print(&secrets.talosconfig(&site.cluster().cluster_name, &addresses, now())?)
            }
        }
    }
}

/// A site with its secrets, or its faults on standard error.
pub(crate) fn loaded(directory: &Path) -> Result<Loaded, Failure> {
    app::load(directory).map_err(|error| Failure::of_site(&error))
}

fn new(directory: &Path) -> Result<(), Failure> {
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let (site, _) = Site::load(directory, &Disk, &environment).map_err(|findings| {
        eprintln!("{findings}");
        Failure::Faults
    })?;
    let path = site.secrets();
    let text = SecretsBundle::generate(now())?.to_yaml()?;
    let mut file = match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let path = path.display();
            return Err(anyhow!("{path} is there and stays: whoever replaces it loses the cluster").into());
        }
        Err(error) => return Err(anyhow!(error).context(format!("cannot make {}", path.display())).into()),
    };
    if let Err(error) = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()) {
        // half a bundle would be in the way of a whole one
        fs::remove_file(path).ok();
        return Err(anyhow!(error).context(format!("cannot write {}", path.display())).into());
    }
    print(&format!(
        "{}: made; keep a copy in a safe place, without it the cluster cannot be reached\n",
        path.display()
    ))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
