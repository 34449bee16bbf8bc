//! The real control plane behind the simulated machines: etcd, kube-apiserver, controller manager, scheduler, kwok in place
//! of the kubelets' pods, and Flux's own controllers.
//!
//! All of it runs in the lab's network. A machine that is a control plane passes its port of the API server on to this one,
//! whose certificate is of the site's own authority; kubelets' words come by the machines, too.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use control_plane::founding::{self, FLUX, Founding, TOKEN};
use control_plane::{Cluster, ControlPlane, Controllers, Flux, Hands, Operators};
use net::namespace;
use oracles::Tool;
use serde_json::Value;
use tokio::process::Command;

use crate::plan::{Machine, VIRTUAL_ADDRESS};
use crate::programs::Programs;
use crate::wires::HOST;

/// Where it listens; the machines have the usual port.
const PORT: u16 = 16443;
/// Pods' addresses lead to the lab itself: their webhooks are played here.
const PODS: &str = "10.244.0.1/16";
/// How often External Secrets' webhook fails before it answers.
const WARMING: usize = 3;

/// Where the machines find it.
pub(crate) fn address() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(HOST.0), PORT)
}

/// What has to be built before the lab leaves the machine's network.
pub(crate) struct Parts {
    plane: PathBuf,
    helm: PathBuf,
}

impl Parts {
    /// Finds them.
    pub(crate) fn built() -> Result<Self> {
        let tools = [
            Tool::ControlPlane,
            Tool::Kwok,
            Tool::HelmClient,
            Tool::SourceController,
            Tool::KustomizeController,
            Tool::HelmController,
        ];
        for tool in tools {
            if tool.if_built()?.is_none() {
                let names = tools.map(Tool::name).join(" ");
                bail!(
                    "{} is not built, which takes many minutes once: cargo run -p oracles -- {names}",
                    tool.name()
                );
            }
        }
        Ok(Self { plane: Tool::ControlPlane.path()?, helm: Tool::HelmClient.path()? })
    }
}

/// The site's side of it: the servers of its Git and charts, and the steps in the site's folder.
pub(crate) struct Site {
    founding: Founding,
    helm: PathBuf,
}

impl Site {
    /// Makes the lab's site one whose hand-over is the whole founding order. Its secrets must be there already.
    pub(crate) async fn write(parts: &Parts, programs: &Programs, site: &Path) -> Result<Self> {
        let own = Self { founding: Founding::start().await?, helm: parts.helm.clone() };
        own.founding.write(site)?;
        hand_over(site, &own.founding.steps())?;
        // what Helm renders is frozen: the daemon runs without Helm
        let pack = site.join("external-secrets.pack");
        own.ichord(
            programs,
            site,
            &["pack", "build"],
            &["external-secrets".as_ref(), "--out".as_ref(), &pack],
        )
        .await?;
        let imported = own.ichord(programs, site, &["pack", "import"], &[&pack]).await?;
        hand_over(site, &own.founding.steps_of_pack(imported.trim()))?;
        Ok(own)
    }

    /// `ichord WORDS SITE MORE`, with Helm on its path.
    async fn ichord(
        &self,
        programs: &Programs,
        site: &Path,
        words: &[&str],
        more: &[&Path],
    ) -> Result<String> {
        let bin = site.join("bin");
        std::fs::create_dir_all(&bin)?;
        let helm = bin.join("helm");
        if !helm.exists() {
            std::os::unix::fs::symlink(&self.helm, &helm).context("Helm cannot be put beside the site")?;
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new(&programs.ichord)
            .args(words)
            .arg(site)
            .args(more)
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("HOME", site)
            .output()
            .await
            .with_context(|| format!("cannot start {}", programs.ichord.display()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(output.status.success(), "`ichord {}` failed: {}", words.join(" "), text(&output.stderr));
        Ok(text(&output.stdout))
    }
}

fn hand_over(site: &Path, steps: &Value) -> Result<()> {
    let path = site.join("ichord.yaml");
    let text = std::fs::read_to_string(&path).context("the site cannot be read")?;
    let mut written: Value = serde_json::from_str(&text).context("the site is not JSON")?;
    written["handover"] = steps.clone();
    std::fs::write(&path, format!("{written:#}\n")).context("the site cannot be written")
}

/// What there is in the cluster, as far as it was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// nodes that their kubelets have registered
    pub(crate) nodes: usize,
    /// those that are ready
    pub(crate) ready: usize,
    /// agents of the network plugin that run
    pub(crate) agents: usize,
    /// whether 1Password Connect has come
    pub(crate) connect: bool,
}

/// The running control plane. Fields are dropped in this order: whoever works in the cluster before the cluster.
pub(crate) struct Kubernetes {
    flux: Option<Flux>,
    operators: Operators,
    controllers: Controllers,
    hands: Hands,
    plane: ControlPlane,
    _site: Site,
    pub(crate) seen: Seen,
}

impl Kubernetes {
    /// Starts it for a site. With `held` no network plugin brings a network until [`Kubernetes::release_networks`].
    pub(crate) async fn start(
        parts: &Parts,
        own: Site,
        site: &Path,
        plan: &[Machine],
        held: bool,
    ) -> Result<Self> {
        namespace::address("lo", PODS.parse()?).await.context("pods have no addresses")?;
        let planes = plan.iter().filter(|machine| machine.control_plane).map(|machine| machine.address);
        let cluster = Cluster {
            authority: Some(founding::authority(site)?),
            names: planes.chain([VIRTUAL_ADDRESS, HOST.0]).map(|address| address.to_string()).collect(),
            listen: Some(SocketAddr::from(([0, 0, 0, 0], PORT))),
            ..Cluster::default()
        };
        let plane = ControlPlane::start_for(&parts.plane, &cluster).await?;
        let controllers = Controllers::start(&plane)?;
        let hands = plane.hands();
        hands.bring_dns().await?;
        let operators = Operators::start(plane.hands(), TOKEN, WARMING);
        operators.hold_networks(held);
        Ok(Self { flux: None, operators, controllers, hands, plane, _site: own, seen: Seen::default() })
    }

    /// Looks what there is; Flux's controllers begin as soon as their pods are said to run.
    pub(crate) async fn look(&mut self) -> Result<()> {
        self.controllers.alive()?;
        match &mut self.flux {
            Some(flux) => flux.alive()?,
            None => {
                let path = "/apis/apps/v1/namespaces/flux-system/deployments/helm-controller";
                let pods = self.hands.get(path).await.unwrap_or_default();
                if pods["status"]["availableReplicas"] == 1 {
                    self.flux = Some(Flux::start_defined(&self.plane, &FLUX)?);
                }
            }
        }
        // it may be away, or have nothing yet: the next look will see
        if let Ok(seen) = self.see().await {
            self.seen = seen;
        }
        Ok(())
    }

    async fn see(&self) -> Result<Seen> {
        let count = |list: &Value| list["items"].as_array().map_or(0, Vec::len);
        let agents = self.hands.get("/apis/apps/v1/namespaces/kube-system/daemonsets/cilium").await?;
        let connect = "/apis/apps/v1/namespaces/onepassword-connect/deployments/onepassword-connect";
        Ok(Seen {
            nodes: count(&self.hands.get("/api/v1/nodes").await?),
            ready: self.hands.nodes_ready().await?.len(),
            agents: agents["status"]["numberReady"]
                .as_u64()
                .and_then(|ready| usize::try_from(ready).ok())
                .unwrap_or_default(),
            connect: !self.hands.get(connect).await?.is_null(),
        })
    }

    /// From now on the network plugin's agents bring their nodes a network.
    pub(crate) fn release_networks(&self) {
        self.operators.hold_networks(false);
    }

    /// The API server dies as by a power cut, and comes back.
    pub(crate) async fn restart_apiserver(&mut self) -> Result<()> {
        self.plane.kill_apiserver();
        self.plane.start_apiserver().await
    }

    /// Somebody who sees everything in it.
    pub(crate) fn hands(&self) -> &Hands {
        &self.hands
    }

    /// What is wrong with how Flux took over.
    pub(crate) async fn faults(&self) -> Result<Vec<String>> {
        let mut faults = Vec::new();
        let records = self.hands.records("external-secrets").await?;
        if records != ["superseded", "deployed"] {
            faults.push(format!(
                "the release of External Secrets has the records {records:?}, not one upgrade"
            ));
        }
        let (asked, refused) = self.operators.asked();
        if asked == 0 || refused != WARMING {
            faults.push(format!(
                "the webhook was asked {asked} times, and {refused} times while it was warming up"
            ));
        }
        Ok(faults)
    }

    /// The last words of Flux's controllers.
    pub(crate) fn words(&self) -> String {
        self.flux.as_ref().map(Flux::last_words).unwrap_or_default()
    }
}

/// What a machine is told beyond the usual.
pub(crate) fn of_machine() -> [String; 2] {
    ["--api-server".to_owned(), address().to_string()]
}
