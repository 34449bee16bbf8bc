//! The network plugin handed over after all, and the first upgrade of it fails: nothing of it goes away, and the next one
//! arrives.

use control_plane::packs;
use serde_json::Value;

use crate::road::Road;

/// From a registry, as the real one's charts. Everything that Flux could undo is to be undone.
const RELEASE: &str = "apiVersion: source.toolkit.fluxcd.io/v1
kind: OCIRepository
metadata: {name: cilium, namespace: kube-system}
spec:
  interval: 1h
  url: REGISTRY/cilium
  insecure: true
  ref: {tag: VERSION}
  layerSelector: {mediaType: application/vnd.cncf.helm.chart.content.v1.tar+gzip, operation: copy}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: cilium, namespace: kube-system}
spec:
  interval: 1h
  timeout: 15s
  chartRef: {kind: OCIRepository, name: cilium}
  install: {remediation: {retries: 1, remediateLastFailure: true}}
  upgrade: {remediation: {retries: 1, remediateLastFailure: true}}
";

const PATH: &str = "/apis/helm.toolkit.fluxcd.io/v2/namespaces/kube-system/helmreleases/cilium";

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

impl Road {
    /// Kind, name and identity of all that the network plugin consists of.
    async fn network(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for object in packs::cilium() {
            let (kind, name) =
                (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
            let root = match object["apiVersion"].as_str().unwrap() {
                "v1" => "/api/v1".to_owned(),
                group => format!("/apis/{group}"),
            };
            let space = object["metadata"]["namespace"].as_str();
            let space = space.map(|space| format!("/namespaces/{space}")).unwrap_or_default();
            let path = format!("{root}{space}/{}s/{name}", kind.to_lowercase());
            let there = self.hands.get(&path).await.unwrap();
            found.push((path, there["metadata"]["uid"].as_str().unwrap_or("gone").to_owned()));
        }
        found
    }

    /// Waits until the release's own word is this, and tells the release.
    async fn release(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let (hands, flux) = (&self.hands, self.flux.as_mut().unwrap());
        let looked = async || hands.get(PATH).await.ok().filter(|release| is(release));
        flux.until(what, looked).await.unwrap()
    }

    /// Git has this version of the chart.
    async fn push_network(&self, version: &str) {
        let release = RELEASE.replace("REGISTRY", &self.founding.registry()).replace("VERSION", version);
        self.push(&[("clusters/test/cilium.yaml", Some(&release))]).await;
    }

    async fn records_of_network(&self) -> Vec<String> {
        self.hands.records_in("kube-system", "cilium").await.unwrap()
    }
}

pub(crate) async fn a_failed_upgrade_takes_nothing_away(road: &mut Road) {
    let before = road.network().await;
    assert!(before.iter().all(|(_, uid)| uid != "gone"), "{before:?}");
    assert_eq!(road.records_of_network().await, ["deployed"]);

    // its pods never become ready; what was there before is none of Flux's own releases, so there is no way back for it
    road.push_network("1.20.1").await;
    let stalled = |release: &Value| condition(release, "Stalled").is_some_and(|it| it["status"] == "True");
    let release = road.release("the failure of the upgrade", stalled).await;
    let released = condition(&release, "Released").unwrap();
    assert_eq!(
        (&released["status"], &released["reason"]),
        (&"False".into(), &"UpgradeFailed".into()),
        "{release:#}"
    );
    assert_eq!(road.network().await, before, "the same objects as before");
    let records = road.records_of_network().await;
    assert_eq!(records[0], "deployed", "{records:?}");
    assert!(records.len() > 1 && records[1..].iter().all(|status| status == "failed"), "{records:?}");

    road.push_network("1.20.2").await;
    let arrived = |release: &Value| {
        condition(release, "Ready").is_some_and(|it| it["status"] == "True")
            && (release["status"]["history"][0]["chartVersion"].as_str())
                .is_some_and(|version| version.starts_with("1.20.2"))
    };
    road.release("the next upgrade", arrived).await;
    assert_eq!(road.network().await, before);
    assert_eq!(road.records_of_network().await.last().unwrap(), "deployed");
}
