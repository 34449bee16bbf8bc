//! `ichord gitops`: what Flux has in hand.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use handover::gitops::{self, Level};

use super::{Failure, handover::client, print};
use crate::app;

/// Shows every Kustomization, HelmRelease and source, how far it is, and what it waits for.
///
/// Asks the cluster itself, with a certificate from the site's secrets. Exit code 1 when something has failed or is
/// stopped, or when nothing is applied yet.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ichord gitops profiles/home-ops
  ichord gitops profiles/home-ops --wait-healthy   exit code 1 until everything is ready")]
pub(crate) struct Gitops {
    /// the site's folder
    site: PathBuf,
    /// what is still on its way is a failure, too
    #[arg(long)]
    wait_healthy: bool,
}

impl Gitops {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let loaded = app::load(&self.site).map_err(|error| Failure::of_site(&error))?;
        let client = client(&loaded)?;
        let report = gitops::report(&client).await?;
        let level = report.level();
        let mut text: String = report.entries.iter().map(|entry| format!("{entry}\n")).collect();
        text += &format!("{level}\n");
        print(&text)?;
        match level {
            Level::Healthy => Ok(()),
            Level::Synced { .. } if !self.wait_healthy => Ok(()),
            Level::Synced { .. } => Err(anyhow!("not everything is ready").into()),
            Level::Nothing => Err(anyhow!("Flux has applied nothing").into()),
            Level::Degraded { blocking } => Err(anyhow!("{} objects block", blocking.len()).into()),
        }
    }
}
