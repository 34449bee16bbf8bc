//! What a cluster is founded with: the steps of a site in their order, the files that they name, and the repository that
//! takes over, all in the shapes and sizes of the real components.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use document::Document;
use oracles::Tool;
use serde_json::{Value, json};

use crate::{Chart, GitRepository, Hands, Repository, packs};

/// What takes over.
pub const FLUX: [Tool; 3] = [Tool::SourceController, Tool::KustomizeController, Tool::HelmController];

/// The token with which Connect is asked.
pub const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.hunter2-connect";
const PASSWORD: &str = "hunter2-git";
const CREDENTIALS: &str = r#"{"verifier":{"salt":"hunter2"},"encCredentials":{"kid":"x"},"version":"2","deviceUuid":"d","uniqueKey":{"kid":"y"}}"#;

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

/// The servers that the cluster's Git and charts come from. They end when this is dropped.
pub struct Founding {
    /// The repository that takes over.
    pub git: GitRepository,
    charts: Repository,
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

/// The network plugin in the versions after the one that a site begins with: the pods of the first do not become ready.
fn network_charts() -> [Chart; 2] {
    [("1.20.1", Some("ImagePullBackOff")), ("1.20.2", None)].map(|(version, reason)| {
        let mut objects = packs::cilium();
        let sets = objects.iter_mut().filter(|object| object["kind"] == "DaemonSet");
        for pods in sets.map(|set| &mut set["spec"]["template"]) {
            pods["metadata"]["annotations"] = match reason {
                Some(reason) => json!({ "test/reason": reason }),
                None => json!({ "test/version": version }),
            };
        }
        let templates = vec![("objects.yaml".to_owned(), packs::manifest(&objects))];
        Chart { name: "cilium".to_owned(), version: version.to_owned(), values: String::new(), templates }
    })
}

impl Founding {
    /// Starts them, and fills the repository.
    pub async fn start() -> Result<Founding> {
        let [first, second] = network_charts();
        let charts = Repository::start(vec![chart(), first, second]).await?;
        let git = GitRepository::start("git", PASSWORD).await?;
        git.commit(&[
            ("clusters/test/external-secrets.yaml", Some(&RELEASE.replace("URL", &charts.url))),
            ("clusters/test/connect.yaml", Some(&packs::manifest(&packs::connect()))),
        ])?;
        Ok(Founding { git, charts })
    }

    /// The registry with the network plugin's next charts.
    pub fn registry(&self) -> String {
        self.charts.registry()
    }

    /// Writes what the steps name into a site's folder.
    pub fn write(&self, site: &Path) -> Result<()> {
        let definitions: Vec<String> =
            FLUX.iter().map(|tool| tool.definitions()).collect::<Result<_, _>>()?;
        let flux = packs::manifest(&packs::flux()) + "---\n" + &definitions.join("\n---\n");
        for (file, text) in [
            ("handover/cilium.yaml", packs::manifest(&packs::cilium())),
            ("handover/namespaces.yaml", NAMESPACES.to_owned()),
            ("handover/connect.yaml", packs::manifest(&packs::connect())),
            ("handover/store.yaml", packs::manifest(&[packs::store(), packs::sdk_store()])),
            ("handover/flux.yaml", flux),
            ("keys/token", TOKEN.to_owned()),
            ("keys/password", PASSWORD.to_owned()),
            ("keys/connect.json", CREDENTIALS.to_owned()),
        ] {
            let path = site.join(file);
            fs::create_dir_all(path.parent().context("it has a folder")?)?;
            fs::write(path, text)?;
        }
        Ok(fs::write(site.join("chart.tgz"), chart().packed()?)?)
    }

    /// The steps, with External Secrets as Helm renders it from the repository's own files, which takes Helm.
    pub fn steps(&self) -> Value {
        let release = self.git.checkout().join("clusters/test/external-secrets.yaml");
        self.steps_with(
            &json!({ "name": "external-secrets", "helm": { "release": release, "chart": "chart.tgz" } }),
        )
    }

    /// The same with that frozen in a pack, which runs without Helm.
    pub fn steps_of_pack(&self, pack: &str) -> Value {
        self.steps_with(&json!({ "name": "external-secrets", "pack": pack }))
    }

    /// Writes what [`Founding::steps_by_operator`] names besides.
    pub fn write_operator(&self, site: &Path) -> Result<()> {
        let text = packs::manifest(&packs::flux_operator()) + "---\n" + &Tool::FluxOperator.definitions()?;
        Ok(fs::write(site.join("handover/flux-operator.yaml"), text)?)
    }

    /// The steps that end in a FluxInstance: Git brings everything but the network.
    pub fn steps_by_operator(&self) -> Value {
        let all = self.steps_with(&Value::Null);
        let mut steps: Vec<Value> = all.as_array().into_iter().flatten().take(5).cloned().collect();
        let mut sync = all[10].clone();
        sync["flux"]["operator"] = json!({});
        steps.push(json!({ "name": "flux", "manifests": ["handover/flux-operator.yaml"] }));
        steps.extend([sync, json!("adoption")]);
        Value::Array(steps)
    }

    fn steps_with(&self, external: &Value) -> Value {
        let secret = |name: &str, namespace: &str, data: Value| json!({ "name": name, "namespace": namespace, "data": data });
        let manifests = |name: &str, file: &str| json!({ "name": name, "manifests": [file] });
        let connect =
            json!({ "1password-credentials.json": { "connect": "keys/connect.json", "as": "file" } });
        json!([
            "api",
            { "name": "cilium", "owner": "ichord", "manifests": ["handover/cilium.yaml"],
              "release": { "name": "cilium", "namespace": "kube-system", "chart": "cilium", "version": "1.20.0" } },
            "nodes",
            "dns",
            manifests("namespaces", "handover/namespaces.yaml"),
            { "name": "secrets", "owner": "ichord", "secrets": [
                secret("onepassword-connect-credentials", "onepassword-connect", connect),
                secret("onepassword-connect-token", "onepassword-connect", json!({ "token": "keys/token" })),
                secret("onepassword-sdk-token", "external-secrets", json!({ "token": "keys/token" })),
            ] },
            external,
            manifests("onepassword-connect", "handover/connect.yaml"),
            manifests("secret-store", "handover/store.yaml"),
            manifests("flux", "handover/flux.yaml"),
            { "name": "sync", "flux": { "url": self.git.url, "path": "./clusters/test", "username": "git",
                "password": "keys/password", "wait-healthy": true } },
            "adoption",
        ])
    }
}

/// Certificate and key of a site's Kubernetes authority, in PEM, from its `talsecret.yaml`.
pub fn authority(site: &Path) -> Result<(String, String)> {
    let path = site.join("talsecret.yaml");
    let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let document =
        Document::parse("talsecret.yaml", &text).map_err(|findings| anyhow::anyhow!("{findings:?}"))?;
    let secrets = document.root().to_json();
    let pem = |field: &str| {
        let text = secrets["certs"]["k8s"][field].as_str().context("the secrets have no such authority")?;
        anyhow::Ok(String::from_utf8(BASE64_STANDARD.decode(text)?)?)
    };
    Ok((pem("crt")?, pem("key")?))
}

impl Hands {
    /// The cluster's DNS, which Talos brings.
    pub async fn bring_dns(&self) -> Result<()> {
        for object in packs::dns() {
            let (root, plural) = match object["kind"].as_str() {
                Some("Deployment") => ("/apis/apps/v1", "deployments"),
                _ => ("/api/v1", "services"),
            };
            self.create(&format!("{root}/namespaces/kube-system/{plural}"), &object).await?;
        }
        Ok(())
    }

    /// The states of the records of a release in the namespace of its name, the oldest first.
    pub async fn records(&self, release: &str) -> Result<Vec<String>> {
        self.records_in(release, release).await
    }

    /// The same of one in another namespace.
    pub async fn records_in(&self, namespace: &str, release: &str) -> Result<Vec<String>> {
        let path =
            format!("/api/v1/namespaces/{namespace}/secrets?labelSelector=owner%3Dhelm,name%3D{release}");
        let secrets = self.get(&path).await?;
        let mut records: Vec<(u32, String)> = Vec::new();
        for secret in secrets["items"].as_array().into_iter().flatten() {
            let label = |name: &str| {
                secret["metadata"]["labels"][name].as_str().context("a record has labels").map(str::to_owned)
            };
            records.push((label("version")?.parse()?, label("status")?));
        }
        records.sort();
        Ok(records.into_iter().map(|(_, status)| status).collect())
    }

    /// The names of the nodes that are ready.
    pub async fn nodes_ready(&self) -> Result<Vec<String>> {
        let nodes = self.get("/api/v1/nodes").await?;
        let ready = |node: &&Value| {
            let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
            conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        let ready = nodes["items"].as_array().into_iter().flatten().filter(ready);
        Ok(ready.filter_map(|node| node["metadata"]["name"].as_str().map(str::to_owned)).collect())
    }
}
