//! The road: every step of the founding order, each on conditions that real controllers make true.

use std::{net::SocketAddr, path::Path};

use control_plane::{
    Chart, Cluster, ControlPlane, Controllers, Flux, GitRepository, Hands, Operators, Repository, packs,
};
use serde_json::{Value, json};

use crate::{
    FLUX,
    site::{NODES, Said, Site},
};

const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.hunter2-connect";
const PASSWORD: &str = "hunter2-git";
const CREDENTIALS: &str = r#"{"verifier":{"salt":"hunter2"},"encCredentials":{"kid":"x"},"version":"2","deviceUuid":"d","uniqueKey":{"kid":"y"}}"#;

/// How often External Secrets' webhook fails before it answers.
const WARMING: usize = 3;

const STEPS: &str = "  - api
  - name: cilium
    owner: ichord
    manifests: [handover/cilium.yaml]
    release: {name: cilium, namespace: kube-system, chart: cilium, version: 1.20.0}
  - nodes
  - dns
  - name: namespaces
    manifests: [handover/namespaces.yaml]
  - name: secrets
    owner: ichord
    secrets:
      - name: onepassword-connect-credentials
        namespace: onepassword-connect
        data: { 1password-credentials.json: { connect: keys/connect.json, as: file } }
      - {name: onepassword-connect-token, namespace: onepassword-connect, data: { token: keys/token }}
      - {name: onepassword-sdk-token, namespace: external-secrets, data: { token: keys/token }}
  - name: external-secrets
    EXTERNAL
  - name: onepassword-connect
    manifests: [handover/connect.yaml]
  - name: secret-store
    manifests: [handover/store.yaml]
  - name: flux
    manifests: [handover/flux.yaml]
  - name: sync
    flux: {url: 'URL', path: ./clusters/test, username: git, password: keys/password, wait-healthy: true}
  - adoption
";

const NAMESPACES: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: onepassword-connect}\n---\n\
                          apiVersion: v1\nkind: Namespace\nmetadata: {name: external-secrets}\n";

const RELEASE: &str = "apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {name: charts, namespace: external-secrets}
spec: {interval: 1h, url: 'URL'}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: external-secrets, namespace: external-secrets}
spec:
  interval: 1h
  timeout: 3m
  install: {remediation: {retries: 1}}
  chart: {spec: {chart: external-secrets, version: 2.9.0, sourceRef: {kind: HelmRepository, name: charts}}}
";

pub(crate) struct Road {
    // Fields are dropped in this order: whoever works in the cluster before the cluster.
    pub(crate) flux: Option<Flux>,
    operators: Operators,
    controllers: Controllers,
    pub(crate) plane: ControlPlane,
    pub(crate) hands: Hands,
    pub(crate) git: GitRepository,
    _charts: Repository,
    pub(crate) site: Site,
}

fn chart() -> Chart {
    let objects =
        [packs::external_secrets_definitions(packs::Size::Small, ""), packs::external_secrets()].concat();
    Chart {
        name: "external-secrets".to_owned(),
        version: "2.9.0".to_owned(),
        values: "replicaCount: 1\n".to_owned(),
        templates: vec![("objects.yaml".to_owned(), packs::manifest(&objects))],
    }
}

impl Road {
    /// A control plane whose etcd has its members, with nodes that have no network.
    pub(crate) async fn begin(program: &Path, helm: std::path::PathBuf) -> Road {
        let site = Site::new(helm);
        let cluster = Cluster {
            authority: Some(site.authority()),
            names: ["10.77.0.10", "10.77.0.11", "10.77.0.12", "10.77.0.13"].map(str::to_owned).into(),
            listen: Some(SocketAddr::from(([0, 0, 0, 0], 6443))),
        };
        let plane = ControlPlane::start_for(program, &cluster).await.unwrap();
        let controllers = Controllers::start(&plane).unwrap();
        let hands = plane.hands();
        for (name, address, control_plane) in NODES {
            hands.register(name, address, control_plane).await.unwrap();
        }
        // Talos brings the cluster's DNS
        for object in packs::dns() {
            let (root, plural) = match object["kind"].as_str() {
                Some("Deployment") => ("/apis/apps/v1", "deployments"),
                _ => ("/api/v1", "services"),
            };
            hands.create(&format!("{root}/namespaces/kube-system/{plural}"), &object).await.unwrap();
        }
        let charts = Repository::start(vec![chart()]).await.unwrap();
        let git = GitRepository::start("git", PASSWORD).await.unwrap();
        let operators = Operators::start(plane.hands(), TOKEN, WARMING);
        let road = Road { flux: None, operators, controllers, plane, hands, git, _charts: charts, site };
        road.write(&road._charts.url);
        road
    }

    /// The site and the repository, which have the same chart, names and values.
    fn write(&self, charts: &str) {
        let Road { site, git, .. } = self;
        let release = RELEASE.replace("URL", charts);
        let connect = packs::manifest(&packs::connect());
        git.commit(&[
            ("clusters/test/external-secrets.yaml", Some(&release)),
            ("clusters/test/connect.yaml", Some(&connect)),
        ])
        .unwrap();
        site.write("handover/cilium.yaml", &packs::manifest(&packs::cilium()));
        site.write("handover/namespaces.yaml", NAMESPACES);
        site.write("handover/connect.yaml", &connect);
        site.write("handover/store.yaml", &packs::manifest(&[packs::store(), packs::sdk_store()]));
        let definitions: Vec<String> = FLUX.iter().map(|tool| tool.definitions().unwrap()).collect();
        let flux = packs::manifest(&packs::flux()) + "---\n" + &definitions.join("\n---\n");
        site.write("handover/flux.yaml", &flux);
        site.write("keys/token", TOKEN);
        site.write("keys/password", PASSWORD);
        site.write("keys/connect.json", CREDENTIALS);
        std::fs::write(site.path("chart.tgz"), chart().packed().unwrap()).unwrap();

        // what Helm renders from the repository's own files is frozen, and runs without Helm
        let release = git.checkout().join("clusters/test/external-secrets.yaml");
        let steps = STEPS.replace("URL", &git.url);
        let helm = format!("helm: {{release: '{}', chart: chart.tgz}}", release.display());
        site.hand_over(&steps.replace("EXTERNAL", &helm));
        let pack = site.path("external-secrets.pack");
        let words = ["external-secrets", "--out", pack.to_str().unwrap()];
        site.run(&["pack", "build"], &words).well();
        let imported = site.run(&["pack", "import"], &[pack.to_str().unwrap()]).well();
        site.hand_over(&steps.replace("EXTERNAL", &format!("pack: {}", imported.trim())));
        site.run(&["check"], &[]).well();
    }

    /// Runs all of it, and starts Flux's controllers as soon as their pods are said to run.
    pub(crate) async fn goes_to_its_end(&mut self) {
        let before = self.nodes_ready().await;
        assert_eq!(before, 0, "no node has a network before there is a network plugin");
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
        assert_eq!(self.nodes_ready().await, NODES.len());
        let (asked, refused) = self.operators.asked();
        assert_eq!(refused, WARMING, "the store was written through a webhook that was warming up");
        assert!(asked > 0);
        let records = self.records("external-secrets").await;
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

    fn words(&self) -> String {
        self.flux.as_ref().map(Flux::last_words).unwrap_or_default()
    }

    async fn nodes_ready(&self) -> usize {
        let nodes = self.hands.get("/api/v1/nodes").await.unwrap();
        let ready = |node: &&Value| {
            node["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        nodes["items"].as_array().unwrap().iter().filter(ready).count()
    }

    /// The states of a release's records, the oldest first.
    async fn records(&self, release: &str) -> Vec<String> {
        let path =
            format!("/api/v1/namespaces/{release}/secrets?labelSelector=owner%3Dhelm,name%3D{release}");
        let secrets = self.hands.get(&path).await.unwrap();
        let mut records: Vec<(u32, String)> = (secrets["items"].as_array().unwrap().iter())
            .map(|secret| {
                let label = |name: &str| secret["metadata"]["labels"][name].as_str().unwrap().to_owned();
                (label("version").parse().unwrap(), label("status"))
            })
            .collect();
        records.sort();
        records.into_iter().map(|(_, status)| status).collect()
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
        let commit = self.git.commit(files).unwrap();
        let now = json!({ "metadata": { "annotations": { "reconcile.fluxcd.io/requestedAt": commit } } });
        let root = "/apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories/flux-system";
        self.hands.merge(root, &now).await.unwrap();
        commit
    }
}
