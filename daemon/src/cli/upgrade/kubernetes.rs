//! `ichord upgrade kubernetes`: the parts of Kubernetes get another version, one after the other.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use kubernetes::ApplyError;
use lifecycle::Role;
use rollout::kubernetes::{Look, Next, PARTS, Part, Told, images, next, refusals, with_image};
use serde_json::Value;
use talos_api::{ApplyMode, Client, Credentials, ImageNamespace, PORT};
use talos_config::versions::KubernetesVersion;

use super::{each, manifests, refused};
use crate::{
    app::Loaded,
    cli::{
        Failure,
        credentials::loaded,
        handover::client,
        print,
        running::{administrator, config_of, image_of},
    },
};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// For one word of whoever fetches an image.
const PULL: Duration = Duration::from_secs(600);

/// Brings another version of Kubernetes to the cluster, part by part.
///
/// Every API server comes before the first controller manager, those before the schedulers, and kubelets last, control planes before
/// workers; each image is fetched before anything is changed on its node, and nothing follows the first that does not become ready. One
/// minor version at a time, never back, and only with a Talos that runs it. Nothing of a node's config changes but the images. At the
/// end the manifests that Talos itself brings are applied anew; nothing is removed, and what others manage is left to them. What is
/// done is seen on the nodes, so that a command that was killed is simply given again.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 0 when everything runs it, 1 when a person has to look, 2 when the site has faults, 3 when --dry-run would change something.

Examples:
  ichord upgrade kubernetes profiles/home-ops --dry-run
  ichord upgrade kubernetes profiles/home-ops
  ichord upgrade kubernetes profiles/home-ops --to 1.36.3    a version on the way to the site's")]
pub(super) struct Kubernetes {
    /// the site's folder
    site: PathBuf,
    /// another version than the one in talconfig.yaml
    #[arg(long, value_name = "VERSION")]
    to: Option<KubernetesVersion>,
    /// show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// for so long nothing may go on before it ends
    #[arg(long, value_name = "SECONDS", default_value_t = 15 * 60)]
    patience: u64,
}

/// By node, the images of its parts.
type Images = BTreeMap<String, BTreeMap<Part, String>>;

impl Kubernetes {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let loaded = loaded(&self.site)?;
        let of_site = loaded.site.cluster().kubernetes;
        let to = self.to.unwrap_or(of_site);
        let wanted = wanted(&loaded, to)?;
        let credentials = administrator(&loaded.secrets)?;
        let looks = look(&loaded, &credentials).await?;
        if let Some((name, _)) = looks.iter().find(|(_, look)| look.told.is_none()) {
            return Err(anyhow!("{name} cannot be asked, and nothing was changed").into());
        }
        let changes = shown(&wanted, &looks);
        print(&changes)?;
        let reasons = refusals(&looks, to);
        if !reasons.is_empty() {
            return Err(refused(&reasons));
        }
        if self.dry_run {
            let of_manifests = manifests::sync(&loaded, &credentials, true).await?;
            return if changes.is_empty() && !of_manifests { Ok(()) } else { Err(Failure::Changes) };
        }
        roll(&loaded, &credentials, &wanted, Duration::from_secs(self.patience)).await?;
        manifests::sync(&loaded, &credentials, false).await?;
        print(&format!("everything runs Kubernetes {to}\n"))?;
        if to != of_site {
            print(&format!("talconfig.yaml says {of_site}: configs are made by what stands there\n"))?;
        }
        Ok(())
    }
}

/// The images that the site's configs name when they are made for this version.
fn wanted(loaded: &Loaded, to: KubernetesVersion) -> anyhow::Result<Images> {
    let mut cluster = loaded.site.cluster().clone();
    cluster.kubernetes = to;
    let of = |node: &talos_config::talconfig::Node| -> anyhow::Result<_> {
        let mut images = images(&cluster.machine_config(node, &loaded.secrets)?);
        images.retain(|part, _| node.control_plane || *part == Part::Kubelet);
        Ok((node.hostname.clone(), images))
    };
    cluster.nodes.iter().map(of).collect()
}

/// What would change, a line each.
fn shown(wanted: &Images, looks: &BTreeMap<String, Look>) -> String {
    let mut text = String::new();
    for part in PARTS {
        for (name, images) in wanted {
            let told = looks.get(name).and_then(|look| look.told.as_ref());
            let (Some(told), Some(image)) = (told, images.get(&part)) else { continue };
            let has = told.images.get(&part).map_or("Talos's own choice", String::as_str);
            if has != image {
                text += &format!("{name}: {part}: {has} → {image}\n");
            }
        }
    }
    text
}

async fn roll(
    loaded: &Loaded,
    credentials: &Credentials,
    wanted: &Images,
    patience: Duration,
) -> Result<(), Failure> {
    let (mut since, mut waiting) = (Instant::now(), String::new());
    loop {
        let reason = match next(wanted, &look(loaded, credentials).await?) {
            Next::Manifests => return Ok(()),
            Next::Wait(reason) => reason,
            Next::Change { node, part, image } => {
                print(&format!("{node}: {part} becomes {image}\n"))?;
                match change(loaded, credentials, &node, part, &image).await {
                    Ok(()) => {
                        since = Instant::now();
                        continue;
                    }
                    Err(error) => format!("{node}: {part} is not changed: {error:#}"),
                }
            }
        };
        if since.elapsed() > patience {
            let seconds = patience.as_secs();
            return Err(anyhow!(
                "{reason}, for {seconds} seconds now; nothing more is changed until you have looked at it, and given the command again"
            )
            .into());
        }
        if reason != waiting {
            print(&format!("waiting: {reason}\n"))?;
            waiting = reason;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Gives a node the config that it runs with, and another image of one part in it.
async fn change(
    loaded: &Loaded,
    credentials: &Credentials,
    node: &str,
    part: Part,
    image: &str,
) -> anyhow::Result<()> {
    let plan = loaded.site.plan();
    let planned = plan.nodes.get(&node.into()).with_context(|| format!("{node} is not in the site"))?;
    let client = Client::configured((planned.address, PORT).into(), credentials).await?;
    // the proxy's pods fetch theirs themselves
    let namespace = match part {
        Part::Proxy => None,
        Part::Kubelet => Some(ImageNamespace::System),
        Part::ApiServer | Part::ControllerManager | Part::Scheduler => Some(ImageNamespace::Kubernetes),
    };
    if let Some(namespace) = namespace {
        let patient = client.clone().with_deadline(PULL);
        patient.pull_image(namespace, image, |_| {}).await.context("its image cannot be fetched")?;
    }
    let config = with_image(&config_of(&client).await?, part, image)?.to_yaml()?;
    client.apply_configuration(&config, ApplyMode::NoReboot, false).await?;
    Ok(())
}

/// Looks at every node, by its own word and by what Kubernetes says of it.
async fn look(loaded: &Loaded, credentials: &Credentials) -> anyhow::Result<BTreeMap<String, Look>> {
    let (answers, running) = tokio::join!(
        each(loaded, credentials, |client| async move {
            Ok((image_of(&client).await?.version, images(&config_of(&client).await?)))
        }),
        // who does not answer is waited for, since nothing of it is ready
        async { running(loaded).await.unwrap_or_default() },
    );
    let plan = loaded.site.plan();
    let looks = answers?.into_iter().map(|(name, answer)| {
        let runs = running.get(&name).cloned().unwrap_or_default();
        let told = answer.ok().map(|(talos, images)| Told { talos, images, runs });
        let role = plan.nodes.get(&name.as_str().into()).map(|node| node.role);
        (name, Look { control_plane: role == Some(Role::ControlPlane), told })
    });
    Ok(looks.collect())
}

/// By node, what of Kubernetes runs there and is ready: the images of its static pods, and the version of its kubelet.
async fn running(loaded: &Loaded) -> Result<Images, ApplyError> {
    let unusable = || kubernetes::RequestError::Unreachable {
        endpoint: loaded.site.cluster().endpoint.clone(),
        detail: "no client can be made for it".to_owned(),
    };
    let client = client(loaded).map_err(|_| unusable())?;
    let nodes = client.list("v1", "Node", None, "").await?;
    let pods = client.list("v1", "Pod", Some("kube-system"), "tier=control-plane").await?;
    let mut running = Images::new();
    for node in nodes.iter().filter(|node| is_ready(node)) {
        let version = node["status"]["nodeInfo"]["kubeletVersion"].as_str().unwrap_or_default();
        let of = running.entry(text(&node["metadata"]["name"])).or_default();
        of.insert(Part::Kubelet, version.to_owned());
    }
    for pod in pods.iter().filter(|pod| is_ready(pod) && pod["metadata"]["deletionTimestamp"].is_null()) {
        let component = text(&pod["metadata"]["labels"]["component"]);
        let Some(part) = PARTS.into_iter().find(|part| part.name() == component) else { continue };
        let image = text(&pod["spec"]["containers"][0]["image"]);
        running.entry(text(&pod["spec"]["nodeName"])).or_default().insert(part, image);
    }
    Ok(running)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn is_ready(object: &Value) -> bool {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}
