//! `ichord upgrade talos`: nodes get another image of Talos, one after the other.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, anyhow, ensure};
use clap::Args;
use rollout::{
    kubernetes::{images, version_of},
    order::{Record, Task},
    upgrade::{Image, Node, refusals},
};
use serde_json::Value;
use talos_config::{config::MachineConfig, versions::TalosVersion};

use super::{each, refused};
use crate::{
    app::Loaded,
    cli::{
        Failure,
        book::Book,
        credentials::loaded,
        print,
        rolling::{Installer, Options, Rollout, known, now_ms},
        running::{administrator, config_of, image_of},
    },
};

/// Brings another version of Talos, or an image with other extensions, to the nodes, one at a time.
///
/// The image is the one that the site's own schematics are in, so that extensions stay. One minor version at a time, never back, and
/// only with a Kubernetes that it runs. Control planes come before workers and the one that leads etcd comes last of them; etcd has to be
/// whole before each, and a snapshot of it is kept beside the record before the first. The installer runs while the node works; then its pods
/// go elsewhere, it boots, and is let work again when it is as well as before. The first node that does not come back, or comes back with
/// the version of before, ends it. A command that was killed goes on where it was when it is given again. Configs stay as they are:
/// `ichord apply` brings those of the new version afterwards.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 0 when every node runs it, 1 when a person has to look, 2 when the site has faults, 3 when --dry-run would change something.

Examples:
  ichord upgrade talos profiles/home-ops --dry-run
  ichord upgrade talos profiles/home-ops mini03         one node first
  ichord upgrade talos profiles/home-ops                and the others
  ichord upgrade talos profiles/home-ops --to v1.13.9   a version on the way to the site's")]
pub(super) struct Talos {
    /// the site's folder
    site: PathBuf,
    /// these nodes only
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// another version than the one in talconfig.yaml
    #[arg(long, value_name = "VERSION")]
    to: Option<TalosVersion>,
    /// show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    options: Options,
}

/// What a node runs.
struct Runs {
    image: Image,
    config: MachineConfig,
}

impl Talos {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let loaded = loaded(&self.site)?;
        known(&loaded, &self.nodes)?;
        let of_site = loaded.site.cluster().talos.clone();
        let to = self.to.clone().unwrap_or_else(|| of_site.clone());
        let installers = installers(&loaded, &to)?;
        let book = match self.dry_run {
            true => None,
            false => Some(self.options.book(&format!("upgrade-talos-{}", loaded.site.name()))?),
        };
        let record = book.as_ref().map(Book::read).transpose()?.flatten();
        let answers = each(&loaded, &administrator(&loaded.secrets)?, |client| async move {
            Ok(Runs { image: image_of(&client).await?, config: config_of(&client).await? })
        })
        .await?;
        let mut nodes = Vec::new();
        let mut changes = false;
        for (name, answer) in answers {
            if !self.nodes.is_empty() && !self.nodes.contains(&name) {
                continue;
            }
            // an order that was killed has left it on its way, weighed already: it is waited for
            let is_on_its_way = record.as_ref().is_some_and(|record| record.is_at(&name));
            let runs = match answer {
                Err(_) if is_on_its_way => continue,
                answer => {
                    answer.with_context(|| format!("{name} cannot be asked, and nothing was changed"))?
                }
            };
            let installer = installers.get(&name).context("a node has no image")?;
            let stays = runs.image.is(&installer.image);
            changes |= !stays;
            print(&match stays {
                true => format!("{name}: {} is what it should run\n", runs.image),
                false => format!("{name}: {} → {} ({})\n", runs.image, installer.image, installer.reference),
            })?;
            let kubernetes = images(&runs.config).values().filter_map(|image| version_of(image)).collect();
            nodes.push(Node { name, talos: runs.image.version, kubernetes });
        }
        let reasons = refusals(&nodes, &to);
        if !reasons.is_empty() {
            return Err(refused(&reasons));
        }
        let Some(book) = book else {
            return if changes { Err(Failure::Changes) } else { Ok(()) };
        };
        self.roll(&loaded, installers, &to, &book, record).await?;
        if to != of_site {
            print(&format!(
                "talconfig.yaml says {of_site}: machines are netbooted, and configs made, by what stands there\n"
            ))?;
        }
        Ok(())
    }

    async fn roll(
        &self,
        loaded: &Loaded,
        installers: BTreeMap<String, Installer>,
        to: &TalosVersion,
        book: &Book,
        record: Option<Record>,
    ) -> Result<(), Failure> {
        let fresh = || Record { version: Some(to.to_string()), ..Record::new(Task::Upgrade, now_ms()) };
        let mut record = record.unwrap_or_else(fresh);
        if record.version.as_deref() != Some(&to.to_string()) {
            if let Some(current) = &record.current {
                let version = record.version.as_deref().unwrap_or_default();
                return Err(anyhow!(
                    "{} is in the middle of an upgrade to {version}: let that end first, with `--to {version}`",
                    current.node
                )
                .into());
            }
            record = fresh();
        }
        record.nodes = self.nodes.iter().cloned().collect();
        self.options.take_up(&mut record);
        Rollout::new(loaded, "upgrade talos")?.to(installers).go(book, record).await
    }
}

/// The installer of each node: what the site's config names when it is made for this version.
fn installers(loaded: &Loaded, to: &TalosVersion) -> anyhow::Result<BTreeMap<String, Installer>> {
    let mut cluster = loaded.site.cluster().clone();
    cluster.talos = to.clone();
    let installer = |node: &talos_config::talconfig::Node| -> anyhow::Result<(String, Installer)> {
        let hostname = &node.hostname;
        let config = cluster.machine_config(node, &loaded.secrets)?;
        let reference =
            named(&config).with_context(|| format!("the config of {hostname} names no installer"))?;
        let image = Image::of_installer(&reference).with_context(|| {
            format!("the installer of {hostname}, {reference}, does not tell its version")
        })?;
        ensure!(
            image.version == *to,
            "the site's patches name {reference} for {hostname}, which is not {to}: name that there, or leave it to the site"
        );
        Ok((hostname.clone(), Installer { reference, image }))
    };
    cluster.nodes.iter().map(installer).collect()
}

fn named(config: &MachineConfig) -> Option<String> {
    let document =
        config.document("UnattendedInstallConfig", "").and_then(|it| it.get("installer")?.get("image"));
    document
        .or_else(|| config.at(&["machine", "install", "image"]))
        .and_then(Value::as_str)
        .map(str::to_owned)
}
