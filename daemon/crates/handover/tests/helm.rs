#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on
//! Helm's own code as the judge of our release record: its storage driver reads it, and an upgrade starts from it.
//!
//! The judge is a small Go program (`tests/oracles/helm`), built when Go is installed. Without Go the tests say
//! so and pass, except under `CI=true`.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use handover::helm::{Chart, Identity, Record, Release, Rendered, stamp};
use oracles::{Judge, Tool};
use serde_json::{Value, json};

/// Asks the judge one question; nothing where there is none.
fn ask(question: &Value) -> Option<Value> {
    Some(Judge::of(Tool::Helm, &[])?.ask(question))
}

/// Texts that a YAML reader could take for something else, or for the end of a document.
fn traps() -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "traps", "namespace": "kube-system" },
        "data": { "yes": "yes", "on": "on", "octal": "0o17", "old-octal": "017", "time": "12:30:45", "float": "1e3", "null": "~",
            "date": "2026-11-27", "document": "a\n---\nb: c\n", "tab": "\ta", "umlaut": "ä\u{2028}", "quote": "\"'", "anchor": "&a *a" } })
}

fn release() -> Release {
    let identity = Identity::of("cilium", "kube-system");
    let mut objects = vec![
        traps(),
        json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "cilium", "namespace": "kube-system" },
            "spec": { "selector": { "matchLabels": { "k8s-app": "cilium" } }, "template": { "metadata": { "labels": { "k8s-app": "cilium" } },
                "spec": { "containers": [{ "name": "cilium-agent", "image": "i", "args": [] }] } } } }),
    ];
    objects.iter_mut().for_each(|object| stamp(object, &identity));
    let rendered = |object: Value| Rendered { source: "cilium/templates/x.yaml".to_owned(), object };
    Release {
        identity,
        revision: 1,
        chart: Chart {
            name: "cilium".to_owned(),
            version: "1.20.0".to_owned(),
            app_version: "1.20.0".to_owned(),
        },
        values: json!({ "kubeProxyReplacement": true, "k8sServicePort": 7445 }).as_object().unwrap().clone(),
        objects: objects.into_iter().map(rendered).collect(),
        deployed: "2026-11-27T22:00:00Z".parse().unwrap(),
    }
}

#[test]
fn helm_reads_our_record() {
    let release = release();
    let record = release.secret().unwrap();
    let Some(answer) =
        ask(&json!({ "ask": "read", "name": "cilium", "namespace": "kube-system", "secrets": [record] }))
    else {
        return;
    };
    let objects: Vec<&Value> = release.objects.iter().map(|rendered| &rendered.object).collect();
    assert_eq!(
        answer,
        json!({ "releases": [{
            "name": "cilium", "namespace": "kube-system", "revision": 1, "status": "deployed",
            "chart": { "name": "cilium", "version": "1.20.0", "apiVersion": "v2", "appVersion": "1.20.0" },
            "values": { "kubeProxyReplacement": true, "k8sServicePort": 7445 },
            "applyMethod": "ssa", "first": "2026-11-27T22:00:00Z", "last": "2026-11-27T22:00:00Z",
            "labels": { "name": "cilium", "owner": "helm", "status": "deployed", "version": "1" },
            "objects": objects, "hooks": 0,
        }], "secrets": [record] })
    );
}

#[test]
fn helm_upgrades_from_our_record_and_we_read_what_it_leaves() {
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: traps\ndata:\n  revision: {{ .Release.Revision | quote }}\n  \
                    upgrade: {{ .Release.IsUpgrade | quote }}\n";
    let chart = json!({ "metadata": { "name": "cilium", "version": "1.20.1", "apiVersion": "v2" },
        "templates": [{ "name": "templates/x.yaml", "data": BASE64_STANDARD.encode(template) }] });
    let question = json!({ "ask": "upgrade", "name": "cilium", "namespace": "kube-system", "chart": chart, "values": {},
        "secrets": [release().secret().unwrap()] });
    let Some(answer) = ask(&question) else { return };
    assert_eq!(answer["error"], Value::Null);
    let mut releases = answer["releases"].as_array().unwrap().clone();
    releases.sort_by_key(|release| release["revision"].as_u64());
    let told: Vec<_> = (releases.iter())
        .map(|release| {
            (
                release["revision"].as_u64().unwrap(),
                release["status"].as_str().unwrap(),
                &release["applyMethod"],
            )
        })
        .collect();
    // With a record Helm goes on to revision 2, by the method that the record names.
    assert_eq!(told, [(1, "superseded", &json!("ssa")), (2, "deployed", &json!("ssa"))]);
    assert_eq!(releases[1]["objects"][0]["data"], json!({ "revision": "2", "upgrade": "true" }));
    assert_eq!(releases[1]["first"], "2026-11-27T22:00:00Z");

    let mut records: Vec<Record> =
        answer["secrets"].as_array().unwrap().iter().map(|secret| Record::read(secret).unwrap()).collect();
    records.sort_by_key(|record| record.revision);
    let told: Vec<_> = (records.iter())
        .map(|record| (record.revision, record.status.as_str(), record.chart.version.as_str()))
        .collect();
    assert_eq!(told, [(1, "superseded", "1.20.0"), (2, "deployed", "1.20.1")]);
}

#[test]
fn without_our_record_helm_finds_nothing_to_upgrade() {
    let chart =
        json!({ "metadata": { "name": "cilium", "version": "1.20.1", "apiVersion": "v2" }, "templates": [] });
    let question = json!({ "ask": "upgrade", "name": "cilium", "namespace": "kube-system", "chart": chart, "secrets": [] });
    let Some(answer) = ask(&question) else { return };
    assert_eq!(answer["error"], "\"cilium\" has no deployed releases");
}
