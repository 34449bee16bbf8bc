//! `ichord gitops` beside the real Flux: nothing applied, on its way, all well, something that blocks.

use control_plane::packs;
use serde_json::json;

use crate::road::Road;

/// A folder that Flux applies and whose pods it waits for.
const APPS: &str = "apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: apps, namespace: flux-system}
spec:
  interval: 1h
  retryInterval: 2s
  timeout: 15s
  path: ./apps
  prune: true
  wait: true
  sourceRef: {kind: GitRepository, name: flux-system}
";

/// Pods that are said to lack their image, or to run.
fn pods(reason: &str) -> String {
    let annotations = match reason {
        "" => String::new(),
        reason => format!(", annotations: {{test/reason: {reason}}}"),
    };
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: app, namespace: default}}\nspec:\n  selector: {{matchLabels: {{app: app}}}}\n  template:\n    \
         metadata: {{labels: {{app: app}}{annotations}}}\n    spec: {{containers: [{{name: app, image: 'app.test/app:1'}}]}}\n"
    )
}

/// A chart that no repository has.
const BROKEN: &str = "apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: absent, namespace: external-secrets}
spec:
  interval: 1h
  chart: {spec: {chart: absent, version: 1.0.0, sourceRef: {kind: HelmRepository, name: charts}}}
";

impl Road {
    /// Asks until it says this, and tells with which code.
    pub(crate) async fn told(&mut self, wanted: &str) -> (Option<i32>, String) {
        let (site, flux) = (&self.site, self.flux.as_mut().unwrap());
        let asked = async || {
            let said = site.ask(&["gitops"], &[]).await;
            said.out.contains(wanted).then_some((said.code, said.out))
        };
        flux.until(wanted, asked).await.unwrap()
    }
}

pub(crate) async fn every_level_is_told(road: &mut Road) {
    let (code, out) = road.told("healthy: everything that Git brings is ready").await;
    assert_eq!(code, Some(0), "{out}");
    for line in [
        "GitRepository flux-system/flux-system  main@sha1:",
        "HelmRelease external-secrets/external-secrets  2.9.0",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }

    // on its way: synced, and that is well unless everything must be ready
    let pulling = pods("ImagePullBackOff");
    let commit =
        road.push(&[("clusters/test/apps.yaml", Some(APPS)), ("apps/app.yaml", Some(&pulling))]).await;
    road.told(&format!("Kustomization flux-system/flux-system  main@sha1:{commit}")).await;
    let (code, out) =
        road.told("synced: the revision is applied; on their way: Kustomization flux-system/apps").await;
    assert_eq!(code, Some(0), "{out}");
    let said = road.site.ask(&["gitops"], &["--wait-healthy"]).await;
    assert_eq!(said.code, Some(1), "{}", said.out);

    // what blocks is named with Flux's reason
    road.push(&[("apps/app.yaml", Some(&pods(""))), ("clusters/test/absent.yaml", Some(BROKEN))]).await;
    let (code, out) = road.told("degraded: ").await;
    assert_eq!(code, Some(1), "{out}");
    road.told("HelmChart external-secrets/external-secrets-absent").await;

    let commit = road.push(&[("clusters/test/absent.yaml", None)]).await;
    road.told(&format!("Kustomization flux-system/apps  main@sha1:{commit}")).await;
    let (_, out) = road.told("healthy: everything").await;
    assert!(!out.contains("absent"), "{out}");
}

/// A chart in an OCI registry, whose version is a variable of the Kustomization that builds the folder.
const IN_REGISTRY: &str = "apiVersion: source.toolkit.fluxcd.io/v1
kind: OCIRepository
metadata: {name: cilium, namespace: kube-system}
spec: {interval: 1h, insecure: true, url: 'URL/cilium', ref: {tag: '${VERSION}'}}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: cilium, namespace: kube-system}
spec: {interval: 1h, chartRef: {kind: OCIRepository, name: cilium}}
";
const BUILDER: &str = "apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: network, namespace: flux-system}
spec: {path: ./network, postBuild: {substitute: {VERSION: 1.20.2}}}
";

/// The real Helm renders what Flux would fetch from the registry.
pub(crate) async fn a_chart_comes_from_a_registry(road: &mut Road) {
    let release = IN_REGISTRY.replace("URL", &road.founding.registry());
    road.site.write("repository/network/cilium.yaml", &release);
    road.site.write("repository/network.yaml", BUILDER);
    let mut steps = road.steps.clone();
    let helm =
        json!({ "release": "repository/network/cilium.yaml", "repositories": ["repository/network.yaml"] });
    steps.as_array_mut().unwrap().push(json!({ "name": "from-registry", "helm": helm }));
    road.site.hand_over(&steps);
    let pack = road.site.path("from-registry.pack").display().to_string();
    let built = road.site.ask(&["pack", "build"], &["from-registry", "--out", &pack]).await.well();
    assert!(built.starts_with("from-registry 1.20.2: "), "{built}");
    road.site.hand_over(&road.steps);
}

/// The repository brings a Flux of its own, of another version: that is told beforehand, Flux becomes what Git says, and the
/// hand-over leaves it so.
pub(crate) async fn another_flux_in_git_wins(road: &mut Road) {
    let components = packs::manifest(&packs::flux()).replace("controller:v1.9.4", "controller:v1.8.1");
    let text = format!("# Flux Version: v2.8.1\n{components}");
    road.push(&[("clusters/test/flux-system/gotk-components.yaml", Some(&text))]).await;
    let mut steps = road.steps.clone();
    steps[10]["flux"]["checkout"] = json!(road.founding.git.checkout());
    road.site.hand_over(&steps);
    let said = road.site.run(&["check"], &[]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    let told = said.out + &said.text;
    assert!(told.contains("makes Flux install itself as v2.8.1"), "{told}");

    let (hands, flux) = (&road.hands, road.flux.as_mut().unwrap());
    let path = "/apis/apps/v1/namespaces/flux-system/deployments/helm-controller";
    let image = async || {
        let pods = hands.get(path).await.ok()?;
        (pods["spec"]["template"]["spec"]["containers"][0]["image"] == "ghcr.test/fluxcd/controller:v1.8.1")
            .then_some(())
    };
    flux.until("the Flux of Git", image).await.unwrap();
    let run = road.site.ask(&["handover", "run"], &[]).await.well();
    assert!(
        run.lines().filter(|line| !line.starts_with(' ')).all(|line| line.ends_with(" 0 of them written")),
        "{run}"
    );
    let verified = road.site.ask(&["handover", "verify"], &[]).await.well();
    assert!(!verified.contains("would"), "{verified}");
    image().await.expect("the version that Git says");
}
