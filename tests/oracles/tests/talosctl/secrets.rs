//! Secrets and the talosconfig: ours load there, theirs load here.

use serde_json::Value;
use talos_config::secrets::SecretsBundle;
use talos_config::yaml;

use crate::talosctl::{NOW, SECRETS, Talosctl};

fn value(text: &str) -> Value {
    yaml::read_one(text).expect("YAML").root().to_json()
}

/// What `talosctl gen config` is given and what it makes are the same secrets.
fn loads(talosctl: &Talosctl, file: &str) {
    let arguments = ["gen", "config", "home", "https://10.0.0.5:6443", "--force", "--output", "out"];
    talosctl.run(&[&arguments[..], &["--with-secrets", file]].concat()).expect("talosctl loads the secrets");
    let (secrets, config) = (value(&talosctl.read(file)), talosctl.read("out/controlplane.yaml"));
    for (path, key) in
        [("/certs/os", "/machine/ca"), ("/certs/etcd", "/cluster/etcd/ca"), ("/certs/k8s", "/cluster/ca")]
    {
        let (main, _) = config.split_once("\n---\n").unwrap_or((&config, ""));
        let config = value(main);
        assert!(secrets.pointer(path).is_some() && secrets.pointer(path) == config.pointer(key), "{path}");
    }
}

#[test]
fn ours_load_in_talosctl() {
    let Some(talosctl) = Talosctl::find() else { return };
    talosctl.write("ours.yaml", &SECRETS.to_yaml().expect("writes"));
    loads(&talosctl, "ours.yaml");
}

#[test]
fn theirs_load_in_ours_and_go_back() {
    let Some(talosctl) = Talosctl::find() else { return };
    for version in ["v1.9", "v1.10", "v1.11", "v1.12", "v1.13"] {
        talosctl
            .run(&["gen", "secrets", "--force", "--output-file", "theirs.yaml", "--talos-version", version])
            .expect("talosctl makes secrets");
        let theirs = talosctl.read("theirs.yaml");
        let bundle = SecretsBundle::from_yaml(&theirs).expect("theirs load");
        let written = bundle.to_yaml().expect("writes");
        assert!(value(&written) == value(&theirs), "what we write of theirs is theirs ({version})");
        assert!(bundle.talos_admin(NOW).is_ok(), "their authority issues ({version})");
        talosctl.write("back.yaml", &written);
        loads(&talosctl, "back.yaml");
    }
}

#[test]
fn our_talosconfig_has_the_shape_of_theirs() {
    let Some(talosctl) = Talosctl::find() else { return };
    talosctl.write("secrets.yaml", &SECRETS.to_yaml().expect("writes"));
    let arguments = ["gen", "config", "home", "https://10.0.0.5:6443", "--with-secrets", "secrets.yaml"];
    talosctl
        .run(&[&arguments[..], &["--output-types", "talosconfig", "--output", "theirs"]].concat())
        .expect("makes");
    let mut theirs = value(&talosctl.read("theirs"));
    let ours = SECRETS.talosconfig("home", &[], NOW).expect("makes");
    let mut ours = value(&ours);
    // each has a key pair of its own
    for config in [&mut ours, &mut theirs] {
        let context = config.pointer_mut("/contexts/home").and_then(Value::as_object_mut).expect("a context");
        for secret in ["crt", "key"] {
            assert!(
                context.insert(secret.to_owned(), Value::Null).is_some_and(|old| old.is_string()),
                "{secret}"
            );
        }
    }
    assert_eq!(ours, theirs);
    // and talosctl reads ours
    talosctl.write("ours", &SECRETS.talosconfig("home", &[], NOW).expect("makes"));
    let said = talosctl.run(&["config", "info", "--talosconfig", "ours"]).expect("reads");
    assert!(said.contains("home") && said.contains("os:admin"), "{said}");
}
