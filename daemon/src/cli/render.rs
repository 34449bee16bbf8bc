//! `ichord render`: the machine configs as files.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::{Failure, credentials::loaded, print};

/// Writes the machine config of every node, as the daemon would push it.
///
/// The files hold the cluster's secrets; they are made with mode 0600.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ichord render profiles/home-ops --out clusterconfig\n  ichord render profiles/home-ops --node mini01 --out /dev/shm/configs"
)]
pub(crate) struct Render {
    /// the site's folder
    site: PathBuf,
    /// one node only
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// where to write them
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Render {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let loaded = loaded(&self.site)?;
        let rendered = loaded.site.render(&loaded.secrets)?;
        let wanted = |node: &str| self.node.as_deref().is_none_or(|name| name == node);
        if let Some(name) = &self.node
            && !rendered.iter().any(|config| config.node == *name)
        {
            return Err(anyhow::anyhow!("{name} is not in the site").into());
        }
        fs::create_dir_all(&self.out).with_context(|| format!("{} cannot be made", self.out.display()))?;
        for config in rendered.iter().filter(|config| wanted(&config.node)) {
            let path = self.out.join(&config.file);
            let mut file = fs::OpenOptions::new()
                .create(true)
                .write(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)
                .with_context(|| format!("{} cannot be written", path.display()))?;
            file.write_all(config.text.as_bytes())
                .with_context(|| format!("{} cannot be written", path.display()))?;
            print(&format!("{}\n", path.display()))?;
        }
        Ok(())
    }
}
