//! From what the cluster says to one sentence of cause and one of remedy.
//!
//! The table knows the failures that people meet between an empty cluster and Git. The most telling line wins, not
//! the first: a back-off says less than the reason for it.

mod signatures;

use signatures::SIGNATURES;

/// What is wrong, and what a person can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The short name of the failure, for reports and metrics.
    pub failure: &'static str,
    /// What is wrong.
    pub cause: &'static str,
    /// What a person can do.
    pub remedy: &'static str,
    /// The line that told it.
    pub evidence: String,
    /// Whether it goes away by itself, such as a webhook that is still starting.
    pub passing: bool,
}

/// A failure and how it is recognised: each group needs one of its texts in the same line.
struct Signature {
    failure: &'static str,
    any_of: &'static [&'static [&'static str]],
    cause: &'static str,
    remedy: &'static str,
    passing: bool,
}

/// The most telling failure in these lines: events, conditions, reasons, logs.
pub fn diagnose<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<Diagnosis> {
    let mut best: Option<(usize, &str)> = None;
    for line in lines {
        let found = SIGNATURES.iter().position(|signature| signature.matches(line));
        if let Some(rank) = found.filter(|rank| best.is_none_or(|(best, _)| *rank < best)) {
            best = Some((rank, line));
        }
    }
    let (rank, line) = best?;
    let Signature { failure, cause, remedy, passing, .. } = SIGNATURES.get(rank)?;
    let evidence = line.trim().chars().take(300).collect();
    Some(Diagnosis { failure, cause, remedy, evidence, passing: *passing })
}

impl Signature {
    fn matches(&self, line: &str) -> bool {
        self.any_of.iter().all(|group| group.iter().any(|text| line.contains(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as clusters write them, and what they mean.
    const KNOWN: &[(&str, &str)] = &[
        ("kernel: Dead loop on virtual device cilium_vxlan, fix it urgently!", "vxlan-loop"),
        ("OCI runtime create failed: unable to apply caps: operation not permitted", "capability"),
        ("dial tcp 127.0.0.1:7445: connect: connection refused", "kubeprism"),
        ("level=fatal msg=\"required IPv6 PodCIDR not available\"", "pod-cidr"),
        (
            "[ERROR] plugin/errors: 2 a. A: read udp 10.244.0.3:4->169.254.116.108:53: i/o timeout",
            "dns-to-host",
        ),
        ("pods \"x\" is forbidden: violates PodSecurity \"baseline:latest\": privileged", "pod-security"),
        ("(E) Server: failed to start: credentials file is not version 2", "connect-version"),
        ("Authentication: (failed to FindCredentialsUniqueKey), Wrapped", "connect-token"),
        ("failed to loadCredentials: illegal base64 data at input byte 0", "connect-encoding"),
        ("InvalidProviderConfig: unable to validate store: status 401: Authentication", "store-token"),
        ("InvalidProviderConfig: unable to validate store: vault Shared not found", "store-vault"),
        ("failed to clone: ssh: handshake failed: knownhosts: key mismatch", "git-host-key"),
        ("failed to checkout: authentication required: Repository not found.", "git-access"),
        ("URLInvalid: git@host:o/r", "git-url"),
        ("kustomization path not found: stat /tmp/x/clusters/y: no such file", "git-path"),
        ("Secret/a/b is SOPS encrypted, configuring decryption is required for this secret", "sops-off"),
        ("error decrypting sops tree: no identity matched any of the recipients", "sops-key"),
        ("no matches for kind \"HelmRelease\" in version \"helm.toolkit.fluxcd.io/v2beta1\"", "no-kind"),
        ("Deployment/x dry-run failed: spec.selector: Invalid value: field is immutable", "immutable"),
        ("terminal error: exceeded maximum retries: RetriesExceeded", "retries"),
        ("failed calling webhook \"validate.clustersecretstore\": x509: unknown authority", "webhook"),
        ("Failed to pull image: toomanyrequests: You have reached your pull rate limit", "rate-limit"),
        ("Failed to pull image \"x\": dial tcp: lookup quay.test: no such host", "registry-name"),
        ("Back-off pulling image \"x\": ImagePullBackOff", "image"),
        ("0/3 nodes are available: 3 node(s) had untolerated taint(s)", "taint"),
        ("0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules", "anti-affinity"),
        ("0/3 nodes are available: 3 Insufficient memory", "resources"),
        ("terminated: OOMKilled (137)", "out-of-memory"),
        ("Get https://172.29.51.10:6443/api: context deadline exceeded", "endpoint"),
        ("back-off 5m0s restarting failed container: CrashLoopBackOff", "crash"),
        ("container runtime network not ready: cni plugin not initialized", "no-network"),
        (".spec.replica: field not declared in schema", "unknown-field"),
        ("NamesAccepted=False KindConflict \"Widget\" is already in use", "definition-names"),
        ("namespaces \"absent\" not found", "no-namespace"),
        ("Error creating: pods \"x\" is forbidden: exceeded quota: none, requested: pods=1", "quota"),
        (
            "Error creating: pods \"x\" is forbidden: error looking up service account a/b: serviceaccount \"b\" not found",
            "service-account",
        ),
        ("admission webhook \"x.example.org\" denied the request: no", "admission"),
        ("namespaces is forbidden: User \"x\" cannot patch resource", "forbidden"),
        ("CreateContainerConfigError couldn't find key token in Secret a/b", "missing-key"),
        ("CreateContainerConfigError secret \"b\" not found", "missing-secret"),
        ("0/4 nodes are available: pod has unbound immediate PersistentVolumeClaims.", "volume"),
        ("the webhook validate.example.org has no caBundle yet", "certificate"),
        ("there is no Deployment with the label k8s-app=kube-dns", "dns-absent"),
    ];

    #[test]
    fn what_people_meet_is_recognised() {
        for (line, failure) in KNOWN {
            let found = diagnose([*line]).unwrap_or_else(|| panic!("nothing is found in: {line}"));
            assert_eq!(found.failure, *failure, "{line}");
            assert_eq!(found.evidence, *line);
        }
        // Every failure of the table has a line here, and none two names.
        let mut names: Vec<_> = SIGNATURES.iter().map(|signature| signature.failure).collect();
        names.sort_unstable();
        let mut tested: Vec<_> = KNOWN.iter().map(|(_, failure)| *failure).collect();
        tested.sort_unstable();
        assert_eq!(names, tested);
    }

    #[test]
    fn the_reason_wins_over_its_consequence() {
        let lines =
            ["CrashLoopBackOff", "ImagePullBackOff", "credentials file is not version 2", "ErrImagePull"];
        assert_eq!(diagnose(lines).unwrap().failure, "connect-version");
        assert_eq!(diagnose(["all is well", ""]), None);
    }
}
