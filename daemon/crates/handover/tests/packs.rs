//! Packs: built from a step, read again by their digest, changed only by their parameters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::collections::BTreeMap;

use handover::{
    Pack, Step, StepRelease,
    helm::{Chart, Identity},
};
use serde_json::{Map, Value};

/// The shape of a network plugin: an agent, an operator, a configuration.
const OBJECTS: &str = r"
apiVersion: v1
kind: ConfigMap
metadata: {name: cilium-config, namespace: kube-system}
data: {enable-ipv6: 'false', ipam: kubernetes}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cilium-operator, namespace: kube-system}
spec:
  replicas: 2
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {containers: [{name: operator, image: 'quay.test/operator:1'}]}
";

const PARAMETERS: &str = r"
operator.replicas:
  type: integer
  minimum: 1
  maximum: 3
  set: [{kind: Deployment, namespace: kube-system, name: cilium-operator, path: /spec/replicas}]
ipv6.enabled:
  type: boolean
  set: [{kind: ConfigMap, namespace: kube-system, name: cilium-config, path: /data/enable-ipv6, text: true}]
ipam.mode:
  type: text
  oneOf: [kubernetes, cluster-pool]
  set: [{kind: ConfigMap, namespace: kube-system, name: cilium-config, path: /data/ipam}]
";

fn build(objects: &str) -> Result<Pack, document::Findings> {
    let step = Step::parse("cilium", &[("cilium.yaml".to_owned(), objects.to_owned())]).unwrap();
    let release = StepRelease {
        identity: Identity::of("cilium", "kube-system"),
        chart: Chart {
            name: "cilium".to_owned(),
            version: "1.20.1".to_owned(),
            app_version: "1.20.1".to_owned(),
        },
        values: Map::new(),
    };
    Pack::build("cilium", "1.20.1", &step, Some(&release), Some(("parameters.yaml", PARAMETERS)))
}

fn with(pack: &Pack, values: &[(&str, &str)]) -> Result<Vec<Value>, Vec<String>> {
    let values: BTreeMap<String, String> =
        values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Ok(pack.with(&values)?.into_iter().map(|(object, _)| object).collect())
}

#[test]
fn a_pack_is_read_as_it_was_built() {
    let pack = build(OBJECTS).unwrap();
    let text = pack.to_string();
    let again = Pack::parse("cilium.pack", &text).unwrap();
    assert_eq!(again.digest(), pack.digest());
    assert_eq!(again.to_string(), text);
    assert_eq!(again.images(), ["quay.test/operator:1"]);
    assert_eq!(again.release().unwrap().identity, Identity::of("cilium", "kube-system"));
    assert_eq!(pack.differences(&again), []);
}

#[test]
fn a_pack_that_was_touched_is_refused() {
    let text = build(OBJECTS).unwrap().to_string();
    for touched in [
        text.replace("quay.test/operator:1", "evil.test/operator:1"),
        text.replace("\"maximum\": 3", "\"maximum\": 30"),
        text.split_once("---").unwrap().0.to_owned(),
    ] {
        assert_ne!(touched, text);
        let told = Pack::parse("cilium.pack", &touched).unwrap_err().to_string();
        assert!(told.contains("error[pack-digest]"), "{told}");
    }
    let none = Pack::parse("m.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n").unwrap_err();
    assert!(none.has_errors());
}

#[test]
fn parameters_go_where_the_pack_says() {
    let pack = build(OBJECTS).unwrap();
    let objects =
        with(&pack, &[("operator.replicas", "1"), ("ipv6.enabled", "true"), ("ipam.mode", "cluster-pool")])
            .unwrap();
    let find = |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap();
    assert_eq!(find("Deployment")["spec"]["replicas"], 1);
    // a ConfigMap takes only text
    assert_eq!(find("ConfigMap")["data"]["enable-ipv6"], "true");
    assert_eq!(find("ConfigMap")["data"]["ipam"], "cluster-pool");
}

#[test]
fn values_that_the_pack_does_not_know_are_refused_all_at_once() {
    let pack = build(OBJECTS).unwrap();
    let told = with(
        &pack,
        &[("ipv6.enable", "true"), ("operator.replicas", "4"), ("ipv6.enabled", "yes"), ("ipam.mode", "eni")],
    )
    .unwrap_err();
    assert_eq!(
        told,
        [
            "ipam.mode: \"eni\" is not one of kubernetes, cluster-pool",
            "the pack cilium has no parameter ipv6.enable; did you mean ipv6.enabled?",
            "ipv6.enabled: \"yes\" is neither true nor false",
            "operator.replicas: 4 is more than 3",
        ]
    );
}

#[test]
fn no_secret_goes_into_a_pack() {
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: cilium-ca, namespace: kube-system}\nstringData: {ca.key: hunter2}\n";
    let told = build(&format!("{OBJECTS}{secret}")).unwrap_err().to_string();
    assert!(told.contains("error[pack-secret]") && !told.contains("hunter2"), "{told}");
}

#[test]
fn two_packs_are_compared_by_object_and_field() {
    let before = build(OBJECTS).unwrap();
    let after = build(&OBJECTS.replace("operator:1", "operator:2")).unwrap();
    let told: Vec<String> = before.differences(&after).iter().map(ToString::to_string).collect();
    assert_eq!(told, ["~ Deployment kube-system/cilium-operator: .spec.template.spec.containers[0].image"]);
}
