//! `ichord secrets`: the cluster's secrets. Nothing else ever makes them.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use anyhow::anyhow;
use clap::{Args, Subcommand};
use site::Site;
use talos_config::secrets::SecretsBundle;

use super::{
    Failure,
    credentials::{create, now},
    print,
};
use crate::app::{self, Disk};

/// The cluster's secrets.
#[derive(Debug, Args)]
pub(crate) struct Secrets {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the secrets of a new cluster, once. An existing file is never replaced.
    ///
    /// The file is the one that the site names (`secrets:`), or talsecret.yaml beside it. It is written plain, for your eyes
    /// only; encrypt it with `sops encrypt` before it goes anywhere else.
    #[command(after_help = "Example:\n  ichord secrets new profiles/home-ops")]
    New {
        /// the site's folder
        site: PathBuf,
    },
}

impl Secrets {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::New { site } => new(&site),
        }
    }
}

fn new(directory: &Path) -> Result<(), Failure> {
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let (site, _) = Site::load(directory, &Disk, &environment).map_err(|findings| {
        eprintln!("{findings}");
        Failure::Faults
    })?;
    let path = site.secrets();
    let name = path.display();
    if let Some(reference) = app::reference(path) {
        let what = "the site keeps its secrets in 1Password, where nothing is written from here";
        let how = "take `secrets:` out of ichord.yaml, make them, store the file with `op`, and put it back";
        return Err(anyhow!("{reference}: {what}; {how}").into());
    }
    // whoever sees this name commits the file without another look
    if !path.exists() && name.to_string().contains(".sops.") {
        let how =
            "take `secrets:` out of ichord.yaml, make them, encrypt the file with `sops`, and put it back";
        return Err(
            anyhow!("{name}: the secrets would be plain in a file that is called encrypted; {how}").into()
        );
    }
    let text = SecretsBundle::generate(now())?.to_yaml()?;
    create(path, &text).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            anyhow!("{name} is there and stays: whoever replaces it loses the cluster")
        }
        _ => anyhow!(error).context(format!("cannot make {name}")),
    })?;
    print(&format!("{name}: made; keep a copy in a safe place, without it the cluster cannot be reached\n"))
}
