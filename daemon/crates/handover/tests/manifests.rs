#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on
//! Manifest files: what is read, what is refused, and at which line.

use std::path::PathBuf;

use handover::{Phase, Step};
use serde_json::json;

fn parse(text: &str) -> Result<Step, Vec<String>> {
    let files = [("m.yaml".to_owned(), text.to_owned())];
    Step::parse("s", &files).map_err(|findings| findings.iter().map(ToString::to_string).collect())
}

#[test]
fn every_document_is_an_object_with_its_line() {
    let step = parse(
        "# comment\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n---\n\
         apiVersion: v1\nkind: List\nitems:\n  - apiVersion: v1\n    kind: Namespace\n    metadata: {name: b}\n",
    )
    .unwrap();
    let told: Vec<_> = step.manifests.iter().map(|manifest| format!("{manifest:?}")).collect();
    assert_eq!(told, ["ConfigMap a (m.yaml:3)", "Namespace b (m.yaml:11)"]);
    let phases: Vec<_> = step.manifests.iter().map(|manifest| Phase::of(&manifest.id)).collect();
    assert_eq!(phases, [Phase::Rest, Phase::Namespaces]);
}

#[test]
fn what_only_the_server_writes_is_left_out_and_defaults_of_keys_are_filled_in() {
    let step = parse(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a, uid: x, resourceVersion: '1', creationTimestamp: null}\n\
         spec: {ports: [{port: 80}, {port: 53, protocol: UDP}]}\nstatus: {loadBalancer: {}}\n",
    )
    .unwrap();
    let expected = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "a" },
        "spec": { "ports": [{ "port": 80, "protocol": "TCP" }, { "port": 53, "protocol": "UDP" }] },
    });
    assert_eq!(step.manifests[0].object, expected);
}

#[test]
fn a_digest_is_of_the_objects_and_not_of_their_layout() {
    let one = parse("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n").unwrap();
    let same = parse("# x\napiVersion:   v1\nkind: ConfigMap\nmetadata:\n  name: a\n").unwrap();
    let other = parse("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n").unwrap();
    assert_eq!(one.digest(), same.digest());
    assert_ne!(one.digest(), other.digest());
}

#[test]
fn what_is_wrong_is_told_at_its_line_with_what_would_be_right() {
    let object = |rest: &str| format!("apiVersion: v1\nkind: ConfigMap\n{rest}");
    let secret = |rest: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n{rest}");
    for (text, says) in [
        (
            "just text\n".to_owned(),
            "m.yaml:1:1: error[manifest]: this is not a Kubernetes object: apiVersion is missing",
        ),
        (object(""), "metadata.name is missing"),
        (
            object("metadata: {generateName: a-}\n"),
            "m.yaml:3:12: error[manifest-name]: an object with a generated name",
        ),
        (object("metadata: {name: ../../b}\n"), "m.yaml:3:18: error[manifest-name]"),
        (
            object("metadata: {name: a}\ndata: {on: true}\n"),
            "m.yaml:4:12: error[manifest-text]: a value of a ConfigMap must be text, `on` is not",
        ),
        (
            object("metadata: {name: a, labels: {v: 1.10}}\n"),
            "error[manifest-text]: a label must be text, `v` is not",
        ),
        (
            secret("data: {a: hunter2!}\n"),
            "m.yaml:4:11: error[manifest-base64]: the value of `a` is not base64",
        ),
        (
            secret("data: {a: ENC}\nsops: {mac: x}\n"),
            "m.yaml:5:1: error[manifest-encrypted]: Secret s is encrypted with SOPS",
        ),
        ("# nothing\n".to_owned(), "m.yaml: error[manifest-empty]"),
        ("a: [\n".to_owned(), "m.yaml:"),
    ] {
        let findings = parse(&text).unwrap_err();
        assert!(findings.iter().any(|finding| finding.contains(says)), "{text:?}: {findings:#?}");
        assert!(!findings.concat().contains("hunter2"), "{findings:?}");
    }
}

#[test]
fn one_object_twice_is_refused_also_across_files_and_versions() {
    let one = ("a.yaml".to_owned(), "apiVersion: x.org/v1\nkind: W\nmetadata: {name: a}\n".to_owned());
    let two = ("b.yaml".to_owned(), "\napiVersion: x.org/v2\nkind: W\nmetadata: {name: a}\n".to_owned());
    let findings = Step::parse("s", &[one, two]).unwrap_err();
    let told: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(
        told[0]
            .starts_with("b.yaml:2:1: error[manifest-twice]: W a is in this step twice, first at a.yaml:1"),
        "{told:?}"
    );
}

#[test]
fn files_are_read_and_a_missing_one_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.yaml");
    std::fs::write(&file, "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n").unwrap();
    assert_eq!(Step::read("s", std::slice::from_ref(&file)).unwrap().manifests.len(), 1);
    let missing = PathBuf::from("/nowhere/b.yaml");
    let findings = Step::read("s", &[file, missing]).unwrap_err();
    assert!(findings.iter().any(|finding| finding.to_string().contains("/nowhere/b.yaml")));
}

#[test]
fn the_reference_sites_are_accepted() {
    let profiles = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../profiles");
    let mut read = 0;
    for profile in std::fs::read_dir(profiles).unwrap() {
        let Ok(folder) = std::fs::read_dir(profile.unwrap().path().join("handover")) else { continue };
        for file in folder {
            let file = file.unwrap().path();
            let step = Step::read("s", std::slice::from_ref(&file)).unwrap();
            assert!(!step.manifests.is_empty(), "{file:?}");
            read += 1;
        }
    }
    assert!(read > 0, "no profile has a hand-over");
}
