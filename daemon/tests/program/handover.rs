//! A hand-over step in place of a chart: `ichord check` holds it against Git and the machine configs.

use std::process::Output;

use crate::site::Site;

const CILIUM: &str = "\
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: cilium, namespace: kube-system}
spec:
  selector: {matchLabels: {k8s-app: cilium}}
  template:
    metadata: {labels: {k8s-app: cilium}}
    spec:
      containers:
        - name: cilium-agent
          image: example.org/cilium:1
          securityContext: {privileged: true}
          env:
            - {name: KUBERNETES_SERVICE_HOST, value: 127.0.0.1}
            - {name: KUBERNETES_SERVICE_PORT, value: '7445'}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: cilium-config, namespace: kube-system}
data: {kube-proxy-replacement: 'true', enable-ipv6: 'false', ipam: kubernetes}
";

const STEP: &str = "
  - name: cilium
    manifests: [handover/cilium.yaml]
    release:
      name: cilium
      namespace: kube-system
      chart: cilium
      version: 1.20.1
      values: handover/values.yaml
      git: handover/git.yaml
";

const GIT: &str = "\
apiVersion: source.toolkit.fluxcd.io/v1
kind: OCIRepository
metadata: {name: cilium, namespace: kube-system}
spec: {url: 'oci://example.org/charts/cilium', ref: {tag: 1.20.1}}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: cilium, namespace: kube-system}
spec:
  chartRef: {kind: OCIRepository, name: cilium}
  values: {kubeProxyReplacement: true}
";

/// A site whose machines leave kube-proxy out, with a Cilium step.
fn site() -> Site {
    let site = Site::without_secrets();
    site.edit(
        "talconfig.yaml",
        "nodes:\n",
        "cniConfig: {name: none}\npatches:\n  - |-\n    cluster:\n      proxy:\n        disabled: true\nnodes:\n",
    );
    let ichord = site.read("ichord.yaml");
    site.write("ichord.yaml", &(ichord.trim_end().to_owned() + STEP));
    site.write("handover/cilium.yaml", CILIUM);
    site.write("handover/values.yaml", "kubeProxyReplacement: true\n");
    site.write("handover/git.yaml", GIT);
    site
}

fn check(site: &Site) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = site.command(&["check"]).arg(site.folder()).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_step_that_git_will_find_and_that_suits_the_machines_has_no_fault() {
    let (code, text) = check(&site());
    assert_eq!(code, Some(0), "{text}");
    // The missing secrets are told, and nothing else.
    assert_eq!(text.matches("[").count(), 1, "{text}");
}

#[test]
fn a_release_that_git_would_install_over_is_refused_and_what_it_would_change_is_told() {
    let site = site();
    site.edit(
        "handover/git.yaml",
        "metadata: {name: cilium, namespace: kube-system}\nspec:\n",
        "metadata: {name: cilium, namespace: flux-system}\nspec:\n  targetNamespace: kube-system\n",
    );
    let (code, text) = check(&site);
    assert_eq!(code, Some(2), "{text}");
    for said in [
        "error[release-names]: the release name is \"cilium\" here and \"kube-system-cilium\" in Git",
        "error[release-names]: the storage namespace is \"kube-system\" here and \"flux-system\" in Git",
    ] {
        assert!(text.contains(said), "{text}");
    }

    let site = self::site();
    site.edit("handover/git.yaml", "tag: 1.20.1", "tag: 1.20.2");
    site.edit(
        "handover/git.yaml",
        "kubeProxyReplacement: true",
        "kubeProxyReplacement: true, ipv6: {enabled: false}",
    );
    let (code, text) = check(&site);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains(
            "warning[release-version]: Git pins the chart 1.20.2, and the hand-over installs 1.20.1"
        ),
        "{text}"
    );
    assert!(text.contains("warning[release-values]: the values of Git are others: .ipv6"), "{text}");
}

#[test]
fn a_network_plugin_that_would_not_work_on_these_machines_is_refused() {
    for (file, from, to, said) in [
        ("talconfig.yaml", "disabled: true", "disabled: false", "error[cilium-proxy]"),
        (
            "handover/cilium.yaml",
            "7445",
            "6443",
            "error[cilium-api-server]: k8sServicePort is 6443, and KubePrism listens on 7445",
        ),
        ("handover/cilium.yaml", "enable-ipv6: 'false'", "enable-ipv6: 'true'", "error[cilium-ipv6]"),
    ] {
        let site = site();
        site.edit(file, from, to);
        let (code, text) = check(&site);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn somebody_makes_the_certificates_of_hubble_and_not_two() {
    let with = |hubble: bool, wanted: bool, more: &str| {
        let site = site();
        if hubble {
            site.edit(
                "handover/cilium.yaml",
                "enable-ipv6: 'false'",
                "enable-ipv6: 'false', enable-hubble: 'true'",
            );
        }
        if wanted {
            site.edit(
                "ichord.yaml",
                "manifests: [handover/cilium.yaml]",
                "manifests: [handover/cilium.yaml]\n    certificates: [hubble]",
            );
        }
        site.write("handover/cilium.yaml", &(site.read("handover/cilium.yaml") + more));
        let (code, text) = check(&site);
        assert_eq!(code, Some(0), "{text}");
        text
    };
    let job = "---\napiVersion: batch/v1\nkind: CronJob\nmetadata: {name: hubble-generate-certs, namespace: kube-system}\nspec: {}\n";
    for (hubble, wanted, more, said) in [
        (true, false, "", "warning[cilium-hubble]: Hubble waits for certificates that nobody makes"),
        (false, true, "", "warning[cilium-hubble]: nothing in the step wants"),
        (true, true, job, "warning[cilium-hubble]: two make the certificates"),
    ] {
        let text = with(hubble, wanted, more);
        assert!(text.contains(said), "{text}");
    }
    for (hubble, wanted, more) in [(true, true, ""), (true, false, job), (false, false, "")] {
        let text = with(hubble, wanted, more);
        assert!(!text.contains("cilium-hubble"), "{text}");
    }
}
