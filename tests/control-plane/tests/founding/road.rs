//! The road: every step of the founding order, each on conditions that real controllers make true.

use std::{net::SocketAddr, path::Path};

use control_plane::{
    Cluster, ControlPlane, Controllers, Flux, Hands, Operators,
    founding::{self, FLUX, Founding, TOKEN},
};
use serde_json::{Value, json};

use crate::site::{NODES, Said, Site};

/// How often External Secrets' webhook fails before it answers.
const WARMING: usize = 3;

pub(crate) struct Road {
    // Fields are dropped in this order: whoever works in the cluster before the cluster.
    pub(crate) flux: Option<Flux>,
    pub(crate) operator: Option<Flux>,
    operators: Operators,
    pub(crate) controllers: Controllers,
    pub(crate) plane: ControlPlane,
    pub(crate) hands: Hands,
    pub(crate) founding: Founding,
    pub(crate) site: Site,
    pub(crate) steps: Value,
}

impl Road {
    /// A control plane whose etcd has its members, with nodes that have no network.
    pub(crate) async fn begin(program: &Path, helm: std::path::PathBuf) -> Road {
        let site = Site::new(helm);
        let cluster = Cluster {
            authority: Some(founding::authority(&site.path("")).unwrap()),
            names: ["10.77.0.10", "10.77.0.11", "10.77.0.12", "10.77.0.13"].map(str::to_owned).into(),
            listen: Some(SocketAddr::from(([0, 0, 0, 0], 6443))),
            ..Cluster::default()
        };
        let plane = ControlPlane::start_for(program, &cluster).await.unwrap();
        let controllers = Controllers::start(&plane).unwrap();
        let hands = plane.hands();
        for (name, address, control_plane) in NODES {
            hands.register(name, address, control_plane).await.unwrap();
        }
        hands.bring_dns().await.unwrap();
        let founding = Founding::start().await.unwrap();
        let operators = Operators::start(plane.hands(), TOKEN, WARMING);
        let (flux, operator, steps) = (None, None, Value::Null);
        Road { flux, operator, operators, controllers, plane, hands, founding, site, steps }
    }

    /// A site that brings Flux, and has the same chart, names and values as the repository.
    pub(crate) fn in_founding_order(&mut self) {
        let Road { site, founding, steps, .. } = self;
        founding.write(&site.path("")).unwrap();
        // what Helm renders from the repository's own files is frozen, and runs without Helm
        site.hand_over(&founding.steps());
        let pack = site.path("external-secrets.pack");
        let words = ["external-secrets", "--out", pack.to_str().unwrap()];
        site.run(&["pack", "build"], &words).well();
        let imported = site.run(&["pack", "import"], &[pack.to_str().unwrap()]).well();
        *steps = founding.steps_of_pack(imported.trim());
        site.hand_over(steps);
        site.run(&["check"], &[]).well();
    }

    /// A site that brings the flux-operator, and leaves everything else to Git.
    pub(crate) fn by_operator(&mut self) {
        let Road { site, founding, steps, .. } = self;
        founding.write(&site.path("")).unwrap();
        founding.write_operator(&site.path("")).unwrap();
        *steps = founding.steps_by_operator();
        site.hand_over(steps);
        site.run(&["check"], &[]).well();
    }

    /// Runs all of it, and starts Flux's controllers as soon as their pods are said to run.
    pub(crate) async fn goes_to_its_end(&mut self) {
        let before = self.hands.nodes_ready().await.unwrap();
        assert!(before.is_empty(), "no node has a network before there is a network plugin");
        let said = self.run_and_start_flux().await;
        if said.code != Some(0) {
            eprintln!("{}", self.words());
        }
        let out = said.well();
        for line in [
            "api: 0 objects, 0 of them written",
            "cilium: 19 objects, 19 of them written",
            "nodes: 0 objects",
            "dns: 0 objects",
            "namespaces: 2 objects, 2 of them written",
            "secrets: 3 objects, 3 of them written",
            "onepassword-connect: 3 objects, 3 of them written",
            "secret-store: 2 objects, 2 of them written",
            "  healthy: everything that Git brings is ready",
            "  external-secrets: adopted by HelmRelease external-secrets/external-secrets",
            "  onepassword-connect: adopted by Kustomization flux-system/flux-system",
            "  cilium: stays with ichord",
            "  secrets: stays with ichord",
        ] {
            assert!(out.contains(line), "{line}\n{out}");
        }
        assert_eq!(self.hands.nodes_ready().await.unwrap().len(), NODES.len());
        let (asked, refused) = self.operators.asked();
        assert_eq!(refused, WARMING, "the store was written through a webhook that was warming up");
        assert!(asked > 0);
        let records = self.hands.records("external-secrets").await.unwrap();
        assert_eq!(records, ["superseded", "deployed"], "an upgrade, and no install");
        println!("{out}");
    }

    async fn run_and_start_flux(&mut self) -> Said {
        let Road { site, plane, controllers, hands, flux, .. } = self;
        let folder = site.path("");
        let words = ["--bundle", folder.to_str().unwrap()];
        let run = site.ask(&["handover", "run"], &words);
        let start = async {
            let path = "/apis/apps/v1/namespaces/flux-system/deployments/helm-controller";
            let available = async || {
                let pods = hands.get(path).await.ok()?;
                (pods["status"]["availableReplicas"] == 1).then_some(())
            };
            controllers.until("the pods of Flux", available).await.unwrap();
            *flux = Some(Flux::start_defined(plane, &FLUX).unwrap());
        };
        tokio::pin!(run);
        tokio::select! {
            // a step stopped before there was anything to start
            said = &mut run => said,
            () = start => run.await,
        }
    }

    pub(crate) fn words(&self) -> String {
        self.flux.as_ref().map(Flux::last_words).unwrap_or_default()
    }

    /// Every object of ours or of Git's, and its version. Flux's own are looked at again and again by itself.
    async fn versions(&self) -> Vec<(String, Value)> {
        let mut versions = Vec::new();
        for kind in [
            "/api/v1/namespaces",
            "/api/v1/configmaps",
            "/api/v1/secrets",
            "/api/v1/services",
            "/api/v1/serviceaccounts",
            "/apis/apps/v1/deployments",
            "/apis/apps/v1/daemonsets",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            "/apis/rbac.authorization.k8s.io/v1/roles",
            "/apis/rbac.authorization.k8s.io/v1/rolebindings",
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
            "/apis/external-secrets.io/v1/clustersecretstores",
        ] {
            let list = self.hands.get(kind).await.unwrap();
            for object in list["items"].as_array().unwrap() {
                let metadata = &object["metadata"];
                let name = format!("{kind} {}/{}", metadata["namespace"], metadata["name"]);
                versions.push((name, metadata["resourceVersion"].clone()));
            }
        }
        assert!(versions.len() > 80, "{}", versions.len());
        versions
    }

    pub(crate) async fn again_and_nothing_is_written(&self) {
        let before = self.versions().await;
        let out = self.site.ask(&["handover", "run"], &[]).await.well();
        for step in out.lines().filter(|line| !line.starts_with(' ')) {
            assert!(step.ends_with(" 0 of them written"), "{out}");
        }
        assert_eq!(out.lines().filter(|line| !line.starts_with(' ')).count(), 12, "{out}");
        assert_eq!(self.versions().await, before);

        let verified = self.site.ask(&["handover", "verify"], &[]).await.well();
        assert!(verified.contains("cilium: 18 objects, 0 to write"), "{verified}");
        assert!(!verified.contains("would"), "{verified}");
        assert_eq!(self.versions().await, before);
        for canary in ["hunter2", "ZXlKaGJHY2lPaUpGVXpJMU5pSjk"] {
            assert!(!out.contains(canary) && !verified.contains(canary));
        }
    }

    /// Writes to the repository and has Flux look at once.
    pub(crate) async fn push(&self, files: &[(&str, Option<&str>)]) -> String {
        let commit = self.founding.git.commit(files).unwrap();
        let now = json!({ "metadata": { "annotations": { "reconcile.fluxcd.io/requestedAt": commit } } });
        let root = "/apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories/flux-system";
        self.hands.merge(root, &now).await.unwrap();
        commit
    }
}
