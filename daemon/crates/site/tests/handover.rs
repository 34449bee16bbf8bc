//! The steps of the hand-over: their order, what they need, and every way in which a step can be wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod folder;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use site::{Credentials, Owner, Site, Source, Wait};

use folder::Folder;

const TALCONFIG: &str = "\
clusterName: home
talosVersion: v1.13.9
kubernetesVersion: v1.36.3
endpoint: https://10.0.0.11:6443
nodes:
  - { hostname: a, ipAddress: 10.0.0.11, controlPlane: true, installDisk: /dev/sda }
";

/// The site with this hand-over, or what is wrong with it.
fn load(handover: &str) -> Result<Site, Vec<String>> {
    let site = format!(
        "site: home\nnetwork: [{{ interface: eno1, subnet: 10.0.0.0/24 }}]\nmachines: {{ a: {{ mac: '64:4b:f0:00:00:03' }} }}\ndeploy: auto\n{handover}"
    );
    let object = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n";
    let files = [("ichord.yaml", site.as_str()), ("talconfig.yaml", TALCONFIG), ("m.yaml", object)];
    let files = files.into_iter().map(|(name, text)| (PathBuf::from(name), text.to_owned()));
    let folder = Folder(files.collect());
    match Site::load(Path::new(""), &folder, &BTreeMap::new()) {
        Ok((site, _)) => Ok(site),
        Err(findings) => Err(findings.iter().map(ToString::to_string).collect()),
    }
}

fn order(handover: &str) -> Vec<String> {
    load(handover).unwrap().handover().iter().map(|step| step.name.clone()).collect()
}

#[test]
fn founding_steps_come_in_their_order_however_they_are_written() {
    let text = "\
handover:
  - adoption
  - { name: flux, manifests: [m.yaml] }
  - nodes
  - { name: cilium, manifests: [m.yaml] }
  - api
";
    assert_eq!(order(text), ["api", "cilium", "nodes", "flux", "adoption"]);
    let site = load(text).unwrap();
    let waits: Vec<Option<Wait>> = site.handover().iter().map(|step| step.wait).collect();
    assert_eq!(waits, [Some(Wait::Api), None, Some(Wait::Nodes), None, Some(Wait::Adoption)]);
    assert_eq!(site.plan().handover, ["api", "cilium", "nodes", "flux", "adoption"]);
}

#[test]
fn added_steps_come_after_what_they_need() {
    let text = "\
handover:
  - { name: cert-manager, manifests: [m.yaml], needs: [dns] }
  - { name: cilium, manifests: [m.yaml] }
  - { name: spegel, manifests: [m.yaml] }
  - dns
  - { name: flux, manifests: [m.yaml], needs: [cert-manager, spegel] }
  - { name: gateway-crds, manifests: [m.yaml], needs: [] }
";
    assert_eq!(order(text), ["cilium", "spegel", "dns", "cert-manager", "flux", "gateway-crds"]);
    let site = load(text).unwrap();
    let needs = |name: &str| site.handover().iter().find(|step| step.name == name).unwrap().needs.clone();
    // one of a founding name needs the founding one before it, any other the one that is written before it
    assert_eq!(needs("dns"), ["cilium"]);
    assert_eq!(needs("spegel"), ["cilium"]);
    assert_eq!(needs("flux"), ["cert-manager", "spegel"]);
    assert_eq!(needs("gateway-crds"), [""; 0]);
}

#[test]
fn a_step_says_where_its_objects_come_from_and_whose_they_become() {
    let digest = "a".repeat(64);
    let text = format!(
        "\
handover:
  - name: cilium
    owner: ichord
    timeout: 20m
    pack: packs/cilium.pack
    values: {{ operator.replicas: 1, ipv6.enabled: true }}
  - name: crds
    manifests: [m.yaml, handover/more/, {{ url: 'https://host.test/crds.yaml', sha256: {digest} }}]
  - name: eso
    helm: {{ release: apps/eso.yaml, repositories: [apps/repo.yaml] }}
"
    );
    let site = load(&text).unwrap();
    let [cilium, crds, eso] = site.handover() else { panic!("there are three") };
    assert_eq!((cilium.owner, cilium.timeout.unwrap().as_secs()), (Owner::Ichord, 1200));
    let values = [("operator.replicas", "1"), ("ipv6.enabled", "true")];
    let values = values.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!(cilium.sources, [Source::Pack { file: "packs/cilium.pack".into(), values }]);
    assert_eq!(
        crds.sources,
        [
            Source::File("m.yaml".into()),
            Source::Folder("handover/more/".into()),
            Source::Url { url: "https://host.test/crds.yaml".to_owned(), sha256: digest },
        ]
    );
    assert_eq!(eso.owner, Owner::Git);
    assert!(
        matches!(&eso.sources[..], [Source::Helm { release, .. }] if release == Path::new("apps/eso.yaml"))
    );
}

#[test]
fn flux_is_told_where_its_repository_is() {
    let text = "\
handover:
  - name: sync
    flux:
      url: ssh://git@host.test/o/r
      path: ./clusters/home
      identity: keys/deploy
      known-hosts: keys/known_hosts
      age-key: op://vault/age/key
";
    let site = load(text).unwrap();
    let sync = site.handover()[0].sync.clone().unwrap();
    assert_eq!((sync.branch.as_str(), sync.namespace.as_str()), ("main", "flux-system"));
    let Credentials::Key { identity, .. } = sync.credentials else { panic!("a deploy key") };
    assert_eq!(identity.path(), Path::new("keys/deploy"));
    assert_eq!(sync.age_key.unwrap().path(), Path::new("op://vault/age/key"));
}

#[test]
fn what_is_wrong_with_a_step_is_told_at_its_place() {
    let mut wrong = Vec::new();
    for (handover, expected) in [
        (
            "handover:\n  - { name: a, manifests: [m.yaml], needs: [clium] }\n  - { name: cilium, manifests: [m.yaml] }\n",
            "ichord.yaml:6:45: error[step-needs]: there is no step `clium`\n  fix: did you mean `cilium`?",
        ),
        (
            "handover:\n  - { name: a, manifests: [m.yaml], needs: [b] }\n  - { name: b, manifests: [m.yaml], needs: [c] }\n  - { name: c, manifests: [m.yaml], needs: [a] }\n",
            "ichord.yaml:6:44: error[step-cycle]: the steps need each other in a circle: a needs b needs c needs a",
        ),
        (
            "handover:\n  - { name: a, manifests: [m.yaml], needs: [a] }\n",
            "ichord.yaml:6:45: error[step-cycle]: the step `a` needs itself",
        ),
        (
            "handover:\n  - { name: dns, needs: [flux] }\n  - { name: flux, manifests: [m.yaml] }\n",
            "ichord.yaml:6:25: error[step-cycle]: the steps need each other in a circle: dns needs flux needs dns",
        ),
        ("handover: [cilium]\n", "ichord.yaml:5:12: error[step-empty]: the step `cilium` applies nothing"),
        (
            "handover: [{ name: a, manifets: [m.yaml] }]\n",
            "ichord.yaml:5:23: error[key-unknown]: unknown key `manifets`\n  fix: did you mean `manifests`?",
        ),
        ("handover: [nodes, nodes]\n", "ichord.yaml:5:19: error[step-twice]"),
        (
            "handover: [{ name: a, manifests: [m.yaml], owner: github }]\n",
            "ichord.yaml:5:51: error[value]: `github` is not one of `git`, `ichord`",
        ),
        (
            "handover: [{ name: a, manifests: [{ url: 'https://h.test/a', sha256: abc }] }]\n",
            "ichord.yaml:5:70: error[step-digest]",
        ),
        (
            "handover: [{ name: a, manifests: [{ url: 'ftp://h.test/a', sha256: abc }] }]\n",
            "ichord.yaml:5:42: error[step-url]",
        ),
        (
            "handover: [{ name: a, manifests: [m.yaml], values: { x: 1 } }]\n",
            "ichord.yaml:5:44: error[step-values]",
        ),
        (
            "handover: [{ name: sync, flux: { url: 'git@host.test:o/r', path: ./x } }]\n",
            "ichord.yaml:5:39: error[flux-url]: Flux does not take \"git@host.test:o/r\"\n  fix: write ssh://git@host.test/o/r",
        ),
        (
            "handover: [{ name: sync, flux: { url: 'ssh://git@host.test/o/r', path: ./x, identity: key } }]\n",
            "ichord.yaml:5:87: error[flux-credentials]: Flux refuses SSH without the host's keys",
        ),
        (
            "handover: [{ name: sync, flux: { url: 'https://host.test/o/r', path: ./x, token: t, password: p } }]\n",
            "ichord.yaml:5:39: error[flux-credentials]: there is more than one way to log in",
        ),
        (
            "handover: [{ name: s, secrets: [{ name: A b, namespace: x, data: { k: f } }] }]\n",
            "ichord.yaml:5:41: error[secret-name]",
        ),
        (
            "handover: [{ name: s, secrets: [{ name: a, namespace: x, data: { k: { conect: f } } }] }]\n",
            "ichord.yaml:5:71: error[key-unknown]: unknown key `conect`",
        ),
    ] {
        let found = load(handover).expect_err(handover);
        if !found.iter().any(|finding| finding.starts_with(expected)) {
            wrong.push(format!("expected {expected}\n{}", found.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
