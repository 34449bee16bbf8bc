//! `ichord gitops` beside the real Flux: nothing applied, on its way, all well, something that blocks.

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
    async fn told(&mut self, wanted: &str) -> (Option<i32>, String) {
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
