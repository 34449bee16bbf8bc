//! What the nodes of a site run with, asked of each of them, and what the site would change there. Needs no daemon.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::Context as _;
use rollout::{NodePlan, plan, upgrade::Image};
use site::Site;
use talos_api::{Client, Credentials, PORT};
use talos_config::{config::MachineConfig, secrets::SecretsBundle};
use tokio::task::JoinSet;

use super::credentials::now;

/// What one node runs with, beside what it should.
pub(crate) struct Running {
    /// `v1.13.9`
    pub(crate) talos: String,
    pub(crate) plan: NodePlan,
}

/// The certificate of an administrator, made for this command.
pub(crate) fn administrator(secrets: &SecretsBundle) -> anyhow::Result<Credentials> {
    let admin = secrets.talos_admin(now())?;
    Ok(Credentials::from_pem(&secrets.os.certificate, &admin.certificate, admin.key.expose())?)
}

/// Asks every node, or the one that is named; each by itself, so that one that is silent does not hide the others.
pub(crate) async fn ask(
    site: &Site,
    secrets: &SecretsBundle,
    only: Option<&str>,
) -> anyhow::Result<BTreeMap<String, anyhow::Result<Running>>> {
    let credentials = administrator(secrets)?;
    let mut asked = JoinSet::new();
    for (name, node) in site.plan().nodes {
        if only.is_some_and(|only| only != name.0) {
            continue;
        }
        let wanted = site.machine_config(&name.0, secrets)?;
        let (address, credentials) = (SocketAddr::new(node.address, PORT), credentials.clone());
        let key = secrets.cluster_secret.clone();
        asked.spawn(async move {
            let running = one(address, &credentials, &wanted, key.expose().as_bytes()).await;
            (name.0, running)
        });
    }
    anyhow::ensure!(!asked.is_empty(), "{} is not in the site", only.unwrap_or("a node"));
    let mut answers = BTreeMap::new();
    while let Some(ended) = asked.join_next().await {
        let (name, running) = ended?;
        answers.insert(name, running);
    }
    Ok(answers)
}

async fn one(
    address: SocketAddr,
    credentials: &Credentials,
    wanted: &MachineConfig,
    key: &[u8],
) -> anyhow::Result<Running> {
    compared(&Client::configured(address, credentials).await?, wanted, key).await
}

/// What a node runs with beside what the site wants; secrets are shown as hashes with `key` in them.
pub(crate) async fn compared(client: &Client, wanted: &MachineConfig, key: &[u8]) -> anyhow::Result<Running> {
    let talos = client.version().await?.tag;
    let running = config_of(client).await?;
    // who does not say which image it runs is taken for one that runs another one
    let image = image_of(client).await.ok();
    Ok(Running { talos, plan: plan(&running, wanted, image.as_ref(), key)? })
}

/// The config that a node runs with.
pub(crate) async fn config_of(client: &Client) -> anyhow::Result<MachineConfig> {
    let text = client.running_config().await?.context("it runs without a config")?;
    Ok(MachineConfig::from_yaml(&text)?)
}

/// The Talos that a node runs.
pub(crate) async fn image_of(client: &Client) -> anyhow::Result<Image> {
    let tag = client.version().await?.tag;
    let version = tag.parse().with_context(|| format!("it says that it runs {tag}"))?;
    Ok(Image { version, schematic: client.schematic().await? })
}
