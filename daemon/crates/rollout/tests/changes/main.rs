//! Kinds of change through the public face: what each takes, who it belongs to, and that no secret is shown; judged by the
//! rule in Talos's own source as far as that has one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod cases;
mod talos;
mod versions;

use proptest::prelude::*;
use rollout::{Change, Class, NodePlan, Phase, plan, upgrade::Image};
use talos_config::config::MachineConfig;

use cases::{BASE, CASES, Case};

const KEY: &[u8] = b"a key of the cluster";

fn read(text: &str) -> MachineConfig {
    MachineConfig::from_yaml(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn planned(old: &str, new: &str) -> NodePlan {
    plan(&read(old), &read(new), None, KEY).expect("two configs")
}

impl Case {
    /// The config after the change. A text that is not there exactly once would be another change than was meant.
    fn changed(&self) -> String {
        assert_eq!(BASE.matches(self.from).count(), 1, "{}: {}", self.what, self.from);
        BASE.replacen(self.from, self.to, 1)
    }
}

#[test]
fn every_kind_of_change_has_its_class_and_its_phase() {
    assert!(CASES.len() >= 40);
    for case in CASES {
        let plan = planned(BASE, &case.changed());
        let text: Vec<String> = plan.changes.iter().map(Change::to_string).collect();
        let text = text.join("\n");
        assert_eq!(plan.class(), Some(case.class), "{}:\n{text}", case.what);
        let phase = plan.changes.iter().map(|change| change.phase).min();
        assert_eq!(phase, Some(case.phase), "{}:\n{text}", case.what);
        let ways: Vec<&str> = plan.changes.iter().filter_map(|change| change.way.as_deref()).collect();
        assert!(ways.concat().contains(case.way), "{}:\n{text}", case.what);
        let must_say = matches!(case.class, Class::Refused | Class::Reinstall);
        let silent = plan.changes.iter().any(|it| it.class >= Class::Reinstall && it.way.is_none());
        assert!(!(must_say && silent), "{} says no way:\n{text}", case.what);
    }
}

#[test]
fn the_same_config_in_other_words_is_no_change() {
    assert_eq!(planned(BASE, BASE).changes, []);
    for (from, to) in [
        ("debug: false", "debug:   false # said"),
        ("nodeLabels: {zone: a}", "nodeLabels: {zone: 'a'}"),
        ("    nameservers: [1.1.1.1]\n", "    searchDomains: []\n    nameservers:\n      - 1.1.1.1\n"),
        (
            "  time: {servers: [time.example]}",
            "  acceptedCAs: []\n  controlPlane: {}\n  time: {servers: [time.example]}",
        ),
    ] {
        assert!(BASE.contains(from), "{from}");
        assert_eq!(planned(BASE, &BASE.replacen(from, to, 1)).changes, [], "{to}");
    }
}

#[test]
fn a_thing_said_in_another_place_is_the_same_thing() {
    let hostname = "---\napiVersion: v1alpha1\nkind: HostnameConfig\nauto: off\nhostname: cp1\n";
    let moved = BASE.replacen(hostname, "", 1).replacen(
        "    nameservers: [1.1.1.1]\n",
        "    nameservers: [1.1.1.1]\n    hostname: cp1\n",
        1,
    );
    let plan = planned(BASE, &moved);
    assert_eq!((plan.changes.len(), plan.class()), (2, Some(Class::Live)));
    let renamed = moved.replacen("hostname: cp1", "hostname: cp2", 1);
    assert_eq!(planned(BASE, &renamed).class(), Some(Class::Refused));

    let network = "network: {dnsDomain: cluster.local, podSubnets: [10.244.0.0/16], serviceSubnets: [10.96.0.0/12], cni: {name: none}}";
    let of_default = BASE.replacen(network, "network: {cni: {name: none}}", 1);
    assert_eq!(
        planned(BASE, &of_default).class(),
        Some(Class::Live),
        "Talos's defaults are the same subnets"
    );
}

#[test]
fn a_worker_may_have_another_address() {
    let worker = BASE.replacen("type: controlplane", "type: worker", 1);
    let moved = worker.replacen("10.0.0.11/24, ", "10.0.0.12/24, ", 1);
    assert_eq!(planned(&worker, &moved).class(), Some(Class::Live));
}

#[test]
fn a_virtual_address_may_go_where_the_endpoint_has_a_name() {
    let named = BASE.replacen("https://10.0.0.10:6443", "https://api.home:6443", 1);
    let moved = named.replacen("vip: {ip: 10.0.0.10}", "vip: {ip: 10.0.0.99}", 1);
    assert_eq!(planned(&named, &moved).class(), Some(Class::Live));
}

#[test]
fn an_installer_that_has_run_does_not_run_again() {
    let wanted = BASE.replacen("s1:v1.13.9", "s1:v1.14.0", 1);
    let class = |runs: &str| {
        let image = Image::of_installer(runs).unwrap();
        let plan = plan(&read(BASE), &read(&wanted), Some(&image), KEY).unwrap();
        assert_eq!(plan.changes.len(), 1);
        plan.class()
    };
    assert_eq!(class("factory.talos.dev/metal-installer/s1:v1.13.9"), Some(Class::Reinstall));
    assert_eq!(class("factory.talos.dev/metal-installer/s1:v1.14.0"), Some(Class::Live));
}

#[test]
fn another_minor_version_of_kubernetes_is_no_matter_of_one_node() {
    let plan = |version: &str| planned(BASE, &BASE.replacen("kubelet:v1.35.4", version, 1));
    assert!(plan("kubelet:v1.36.0").wants_another_kubernetes());
    assert!(!plan("kubelet:v1.35.9").wants_another_kubernetes());
}

#[test]
fn a_volume_that_goes_leaves_its_data() {
    let volume = "---\napiVersion: v1alpha1\nkind: UserVolumeConfig\nname: data\nprovisioning: {minSize: 5GB, diskSelector: {match: \"!system_disk\"}}\nfilesystem: {type: xfs}\n";
    let without = BASE.replacen(volume, "", 1);
    assert_ne!(without, BASE);
    let plan = planned(BASE, &without);
    assert_eq!(plan.class(), Some(Class::Live));
    assert_eq!(plan.changes[0].way.as_deref(), Some("its data stays on the disk"));
}

#[test]
fn secrets_are_hashes_that_tell_only_whether_they_are_the_same() {
    let secrets = [
        ("old-password", "new-password"),
        ("token: abcdef.0123456789abcdef", "token: qwerty.0123456789abcdef"),
        ("old-box", "new-box"),
        ("secret: cluster-secret", "secret: other-secret"),
        ("http://proxy", "http://user:pass@proxy"),
        ("old-lldpd-content", "new-lldpd-content"),
    ];
    for (old, new) in secrets {
        let change = planned(BASE, &BASE.replacen(old, new, 1)).changes.remove(0);
        let shown = format!("{change} {change:?} {}", serde_json::to_string(&change).unwrap());
        for value in [old, new] {
            let value = value.rsplit(": ").next().unwrap();
            assert!(!shown.contains(value), "{shown}");
        }
        assert!(change.old.as_deref().is_some_and(|text| text.starts_with("hash ")), "{shown}");
        assert_ne!(change.old, change.new);
        let again = planned(BASE, &BASE.replacen(old, new, 1)).changes.remove(0);
        assert_eq!(change, again, "the same value has the same hash");
        let config = read(&BASE.replacen(old, new, 1));
        let other =
            plan(&read(BASE), &config, None, b"the key of another cluster").unwrap().changes.remove(0);
        assert_ne!(change.old, other.old, "hashes of another cluster say nothing");
    }
}

#[test]
fn a_change_is_read_by_people() {
    let text = |case: &str| {
        let case = CASES.iter().find(|it| it.what == case).expect(case);
        let plan = planned(BASE, &case.changed());
        plan.changes.iter().map(Change::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(text("a label"), "live      bootstrap machine.nodeLabels.zone: \"a\" → \"b\"");
    assert_eq!(text("a label goes"), "live      bootstrap machine.nodeLabels: a section of 1 goes");
    let hostname = text("the node's name");
    assert!(
        hostname.starts_with("refused   bootstrap HostnameConfig hostname: \"cp1\" → \"cp9\"\n"),
        "{hostname}"
    );
    assert!(
        text("an ingress").starts_with("live      git       cluster.inlineManifests.[0].contents: hash ")
    );
}

proptest! {
    /// Several changes at once are as bad as the worst of them, and none hides another one.
    #[test]
    fn changes_add_up(picked in prop::collection::btree_set(0..CASES.len(), 1..5)) {
        let mut text = BASE.to_owned();
        let mut worst = None;
        let mut count = 0;
        for case in picked.into_iter().filter_map(|at| CASES.get(at)) {
            // two cases may touch the same text
            if text.matches(case.from).count() == 1 {
                text = text.replacen(case.from, case.to, 1);
                worst = worst.max(Some(case.class));
                count += 1;
            }
        }
        let plan = planned(BASE, &text);
        // of a worker nothing depends on its addresses
        prop_assume!(!text.contains("type: worker") && !text.contains("api.home"));
        prop_assert_eq!(plan.class(), worst);
        prop_assert!(plan.changes.len() >= count.min(1));
        let back = plan.changes.iter().map(|it| it.phase).min();
        prop_assert!(back.is_some_and(|phase| phase <= Phase::GitOps));
    }
}
