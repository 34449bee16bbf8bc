//! What is done to a node, each time it is decided.

use std::{fs, net::SocketAddr, os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

use anyhow::Context as _;
use kubernetes::{DrainError, Patience, RequestError};
use talos_api::{ApplyMode, Client, ImageNamespace, PORT, RebootMode, ShutdownMode};

use super::Rollout;
use crate::cli::handover::{claim, client};

/// How long a node's pods may take to go elsewhere.
const DRAIN: Patience = Patience { poll: Duration::from_secs(2), timeout: Duration::from_secs(600) };

/// For one word of the installer, or of whoever fetches its image.
const INSTALLER: Duration = Duration::from_secs(600);

impl Rollout<'_> {
    pub(super) async fn give(&self, node: &str) -> anyhow::Result<()> {
        let config = self.loaded.site.machine_config(node, &self.loaded.secrets)?.to_yaml()?;
        let client = self.connected(node).await?;
        for warning in client.apply_configuration(&config, ApplyMode::Auto, false).await?.warnings {
            eprintln!("{node}: {warning}");
        }
        Ok(())
    }

    pub(super) async fn boot_again(&self, node: &str) -> anyhow::Result<()> {
        Ok(self.connected(node).await?.reboot(RebootMode::Default).await?)
    }

    pub(super) async fn go_down(&self, node: &str) -> anyhow::Result<()> {
        Ok(self.connected(node).await?.shutdown(ShutdownMode::Drain).await?)
    }

    /// Puts the other image on its disk; tells in which boot that was.
    pub(super) async fn install(&self, node: &str) -> anyhow::Result<Option<String>> {
        let client = self.connected(node).await?.with_deadline(INSTALLER);
        let installer = self.installer(node)?;
        client.pull_image(ImageNamespace::System, installer, |_| {}).await?;
        let boot = client.boot_id().await?;
        client.install_upgrade(installer, |_| {}).await?;
        Ok(boot)
    }

    /// The same of an elder node, which goes on to boot by itself.
    pub(super) async fn upgrade(&self, node: &str) -> anyhow::Result<Option<String>> {
        let client = self.connected(node).await?.with_deadline(INSTALLER);
        let boot = client.boot_id().await?;
        client.upgrade(self.installer(node)?, false).await?;
        Ok(boot)
    }

    fn installer(&self, node: &str) -> anyhow::Result<&str> {
        let installer = self.installers.get(node).with_context(|| format!("{node} has no image"))?;
        Ok(&installer.reference)
    }

    /// etcd's data, readable by us alone, and whole or not there at all.
    pub(super) async fn snapshot(&self, node: &str, path: &Path) -> anyhow::Result<u64> {
        let failed = || format!("{} cannot be written", path.display());
        let part = path.with_extension("part");
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&part);
        let mut file = tokio::fs::File::from_std(file.with_context(failed)?);
        let size = self.connected(node).await?.etcd_snapshot(&mut file).await?;
        file.sync_all().await.with_context(failed)?;
        fs::rename(&part, path).with_context(failed)?;
        Ok(size)
    }

    /// Keeps new pods off the node and moves the others elsewhere.
    pub(super) async fn empty(&self, node: &str) -> Result<usize, DrainError> {
        let client = self.own_client()?;
        let emptied = client.drain(node, DRAIN).await;
        // it ends by itself otherwise
        client.give_back().await.ok();
        emptied
    }

    pub(super) async fn open(&self, node: &str) -> anyhow::Result<()> {
        let client = self.own_client()?;
        let opened = client.cordon(node, false).await;
        client.give_back().await.ok();
        Ok(opened?)
    }

    /// The client with which something is written while nobody else does.
    fn own_client(&self) -> Result<kubernetes::Client, DrainError> {
        let endpoint = self.loaded.site.cluster().endpoint.clone();
        let unusable =
            |_| RequestError::Unreachable { endpoint, detail: "no client can be made for it".to_owned() };
        Ok(client(self.loaded).map_err(unusable)?.alone(claim(self.command)))
    }

    async fn connected(&self, node: &str) -> anyhow::Result<Client> {
        let plan = self.loaded.site.plan();
        let planned = plan.nodes.get(&node.into()).with_context(|| format!("{node} is not in the site"))?;
        Ok(Client::configured(SocketAddr::new(planned.address, PORT), &self.credentials).await?)
    }
}
