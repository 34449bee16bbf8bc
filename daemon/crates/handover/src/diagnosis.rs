//! From what the cluster says to one sentence of cause and one of remedy.
//!
//! The table knows the failures that people meet between an empty cluster and Git. The most telling line wins, not
//! the first: a back-off says less than the reason for it.

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

/// The most telling first.
const SIGNATURES: &[Signature] = &[
    Signature {
        failure: "vxlan-loop",
        any_of: &[&["Dead loop on virtual device cilium_vxlan"]],
        cause: "Cilium's tunnel sends packets into itself, which happens when two configurations of it took turns",
        remedy: "make one owner of Cilium's configuration, ichord or Git, and restart the agents",
        passing: false,
    },
    Signature {
        failure: "capability",
        any_of: &[&[
            "Unable to load module",
            "SYS_MODULE",
            "unable to apply caps",
            "can't apply capabilities",
        ]],
        cause: "Cilium's agent asks for a capability that Talos does not give",
        remedy: "take SYS_MODULE out of securityContext.capabilities.ciliumAgent",
        passing: false,
    },
    Signature {
        failure: "kubeprism",
        any_of: &[&["127.0.0.1:7445", "localhost:7445"], &["connection refused"]],
        cause: "KubePrism does not answer on that node, so the network plugin cannot reach the API server",
        remedy: "enable machine.features.kubePrism with port 7445 on every node",
        passing: false,
    },
    Signature {
        failure: "pod-cidr",
        any_of: &[&[
            "required IPv6 PodCIDR not available",
            "required IPv4 PodCIDR not available",
            "no IPv6 pod CIDR",
            "node CIDR size is too big",
        ]],
        cause: "the pod subnet cannot give every node a range of its own",
        remedy: "widen podSubnets: the node mask may be at most 16 bits longer than the subnet, and there must be one range for each node",
        passing: false,
    },
    Signature {
        failure: "dns-to-host",
        any_of: &[&["169.254.116.108"], &["i/o timeout"]],
        cause: "CoreDNS cannot reach the host's resolver through Cilium's masquerading",
        remedy: "set bpf.hostLegacyRouting: true for Cilium, or forwardKubeDNSToHost: false for Talos",
        passing: false,
    },
    Signature {
        failure: "pod-security",
        any_of: &[&["violates PodSecurity"]],
        cause: "the namespace's Pod Security level forbids these pods",
        remedy: "label the namespace pod-security.kubernetes.io/enforce: privileged (or baseline), or change the pods",
        passing: false,
    },
    Signature {
        failure: "connect-version",
        any_of: &[&["credentials file is not version 2"]],
        cause: "the 1Password Connect credentials are not those of a Connect server of today",
        remedy: "make a new Connect server and take its 1password-credentials.json",
        passing: false,
    },
    Signature {
        failure: "connect-token",
        any_of: &[&["FindCredentialsUniqueKey"]],
        cause: "the 1Password token belongs to another Connect server than the credentials",
        remedy: "take token and credentials from the same Connect server",
        passing: false,
    },
    Signature {
        failure: "connect-encoding",
        any_of: &[&["illegal base64 data"]],
        cause: "1Password Connect reads its credentials from the environment and got them unencoded",
        remedy: "set `credentials: environment` for this Connect, or mount them as a file",
        passing: false,
    },
    Signature {
        failure: "store-token",
        any_of: &[
            &["InvalidProviderConfig", "ValidationFailed", "unable to validate store"],
            &["401", "403"],
        ],
        cause: "the secret store is refused by its provider",
        remedy: "renew the token, and give it access to every vault that the store names",
        passing: false,
    },
    Signature {
        failure: "store-vault",
        any_of: &[
            &["InvalidProviderConfig", "ValidationFailed", "unable to validate store"],
            &["404", "not found"],
        ],
        cause: "the secret store names a vault that the token cannot see",
        remedy: "correct the vault's name, or give the token access to it",
        passing: false,
    },
    Signature {
        failure: "git-host-key",
        any_of: &[&["knownhosts: key mismatch", "knownhosts: key is unknown", "key is unknown"]],
        cause: "the Git server's host key is not in known_hosts",
        remedy: "put the server's present host keys into known_hosts of the sync Secret",
        passing: false,
    },
    Signature {
        failure: "git-access",
        any_of: &[&[
            "AuthenticationFailed",
            "authentication required",
            "repository not found",
            "Repository not found",
            "unable to authenticate",
        ]],
        cause: "the Git server does not let Flux read the repository",
        remedy: "check the URL, and add the deploy key or token to the repository",
        passing: false,
    },
    Signature {
        failure: "git-url",
        any_of: &[&["URLInvalid"]],
        cause: "Flux cannot use the repository's URL",
        remedy: "write it as ssh://git@host/owner/name or https://host/owner/name; host:path is not accepted",
        passing: false,
    },
    Signature {
        failure: "git-path",
        any_of: &[&["path not found", "kustomization path not found"]],
        cause: "the path of the Kustomization is not in the repository",
        remedy: "correct the path of the sync step, or push the folder",
        passing: false,
    },
    Signature {
        failure: "sops-off",
        any_of: &[&["is SOPS encrypted, configuring decryption is required"]],
        cause: "the repository has SOPS secrets and the Kustomization does not decrypt",
        remedy: "give the sync step the age key, so that the Kustomization gets spec.decryption",
        passing: false,
    },
    Signature {
        failure: "sops-key",
        any_of: &[&["no identity matched", "failed to decrypt", "Failed to get the data key"]],
        cause: "the age key in the cluster is not one of those the secrets are encrypted for",
        remedy: "put the right key into the Secret sops-age, or run `sops updatekeys`",
        passing: false,
    },
    Signature {
        failure: "no-kind",
        any_of: &[&["no matches for kind", "knows no kind"]],
        cause: "a CustomResourceDefinition is missing, or serves another version",
        remedy: "install the definition in an earlier step, or write the version that it serves",
        passing: false,
    },
    Signature {
        failure: "immutable",
        any_of: &[&["field is immutable", "cannot change roleRef"]],
        cause: "the object is there with another selector, role or type, and that cannot be changed",
        remedy: "make the manifest agree with what is there; only a person may delete it",
        passing: false,
    },
    Signature {
        failure: "retries",
        any_of: &[&["exceeded max retries", "RetriesExceeded", "retries exhausted"]],
        cause: "a HelmRelease has given up",
        remedy: "read its condition Released, mend the cause, and run `flux reconcile helmrelease --reset NAME`",
        passing: false,
    },
    Signature {
        failure: "webhook",
        any_of: &[&["failed calling webhook"]],
        cause: "an admission webhook does not answer yet",
        remedy: "wait: its certificate is being made; if it lasts, look at the webhook's pods",
        passing: true,
    },
    Signature {
        failure: "rate-limit",
        any_of: &[&["toomanyrequests", "429 Too Many Requests", "rate limit"]],
        cause: "the image registry limits how often this address may pull",
        remedy: "use a registry mirror, or give Talos credentials for the registry",
        passing: false,
    },
    Signature {
        failure: "registry-name",
        any_of: &[&["no such host", "server misbehaving"]],
        cause: "a node cannot resolve a name that it needs",
        remedy: "check the name servers of the machine configs, or use a registry mirror by its address",
        passing: false,
    },
    Signature {
        failure: "image",
        any_of: &[&["ImagePullBackOff", "ErrImagePull", "Failed to pull image", "InvalidImageName"]],
        cause: "an image cannot be pulled",
        remedy: "check the image's name, the registry, and whether the nodes need a proxy or a mirror",
        passing: false,
    },
    Signature {
        failure: "taint",
        any_of: &[&["untolerated taint"], &["control-plane"]],
        cause: "every node is a control plane that takes no other pods",
        remedy: "set allowSchedulingOnControlPlanes: true, or add a worker",
        passing: false,
    },
    Signature {
        failure: "anti-affinity",
        any_of: &[&["didn't match pod anti-affinity", "didn't satisfy existing pods anti-affinity"]],
        cause: "there are more replicas than nodes that could take one each",
        remedy: "lower the replicas, for Cilium operator.replicas: 1 on one node",
        passing: false,
    },
    Signature {
        failure: "resources",
        any_of: &[&["Insufficient cpu", "Insufficient memory"]],
        cause: "no node has the room that the pods ask for",
        remedy: "lower their requests, or add a node",
        passing: false,
    },
    Signature {
        failure: "out-of-memory",
        any_of: &[&["OOMKilled"]],
        cause: "a container needs more memory than its limit",
        remedy: "raise its memory limit",
        passing: false,
    },
    Signature {
        failure: "endpoint",
        any_of: &[&["context deadline exceeded", "i/o timeout"], &[":6443"]],
        cause: "the cluster's endpoint does not answer",
        remedy: "check who holds the virtual address, and that the machines reach it",
        passing: true,
    },
    Signature {
        failure: "crash",
        any_of: &[&["CrashLoopBackOff"]],
        cause: "a container ends again and again",
        remedy: "read its last lines in the bundle",
        passing: false,
    },
    Signature {
        failure: "no-network",
        any_of: &[&["cni plugin not initialized", "NetworkPluginNotReady"]],
        cause: "the node waits for its network plugin",
        remedy: "wait for Cilium's agent there; a reboot of a node that waits longer than ten minutes is normal",
        passing: true,
    },
];

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
        (
            "0/3 nodes are available: 3 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }",
            "taint",
        ),
        ("0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules", "anti-affinity"),
        ("0/3 nodes are available: 3 Insufficient memory", "resources"),
        ("terminated: OOMKilled (137)", "out-of-memory"),
        ("Get https://172.29.51.10:6443/api: context deadline exceeded", "endpoint"),
        ("back-off 5m0s restarting failed container: CrashLoopBackOff", "crash"),
        ("container runtime network not ready: cni plugin not initialized", "no-network"),
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
