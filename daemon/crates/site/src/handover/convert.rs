//! A step as written becomes one that the program works with; what contradicts itself within a step is reported.

use std::path::{Path, PathBuf};

use document::{Checked, Document, Findings, Place, TextOr};

use super::{
    ConnectFrom, Credentials, GitChart, HandoverStep, Owner, Reference, SecretSource, SecretValue, Source,
    StepRelease, Sync, SyncMode, Wait,
    order::{self, Written},
    wire,
};
use crate::{
    convert::{is_label, present},
    load::ELSEWHERE,
};

/// Where Flux lives unless a person says otherwise, and what its objects are called.
const FLUX: &str = "flux-system";

/// Makes the steps, in the order in which they run.
pub(crate) fn steps(
    list: Checked<Vec<Checked<TextOr<wire::Step>>>>,
    place: Place<'_>,
    document: &Document,
    directory: &Path,
    findings: &mut Findings,
) -> Vec<HandoverStep> {
    let mut written = Vec::new();
    for (index, entry) in list.0.unwrap_or_default().into_iter().enumerate() {
        let place = place.item(index);
        let step = match entry.0 {
            None => continue,
            Some(TextOr::Text(name)) => wire::Step { name, ..wire::Step::default() },
            Some(TextOr::Whole(step)) => step,
        };
        let needs = step.needs.0.clone();
        let step = Reading { directory, findings }.step(step, place, document.file());
        written.push(Written { step, needs, place });
    }
    order::ordered(written, findings)
}

struct Reading<'a> {
    directory: &'a Path,
    findings: &'a mut Findings,
}

impl Reading<'_> {
    fn step(&mut self, wire: wire::Step, place: Place<'_>, file: &str) -> HandoverStep {
        let wait = match wire.name.as_str() {
            "api" => Some(Wait::Api),
            "nodes" => Some(Wait::Nodes),
            "dns" => Some(Wait::Dns),
            "adoption" => Some(Wait::Adoption),
            _ => None,
        };
        if !is_label(&wire.name) {
            let place = if place.key("name").node().is_some() { place.key("name") } else { place };
            let finding = place.error("step-name", format!("`{}` is not a name for a step", wire.name));
            self.findings.push(finding.fix("use lower-case letters, digits and dashes"));
        }
        let given = |key: &str| place.key(key).node().is_some();
        let mut sources = self.manifests(wire.manifests, place.key("manifests"));
        if let Some(file) = wire.pack.0 {
            let values = wire.values.0.unwrap_or_default();
            sources.push(Source::Pack { file: self.directory.join(file), values });
        } else if given("values") {
            let finding = place.name("values").error("step-values", "there is no pack for these values");
            self.findings.push(finding.fix("add `pack:`; values of a chart are those of its HelmRelease"));
        }
        if let Some(helm) = wire.helm.0 {
            let path = |file: String| self.directory.join(file);
            sources.push(Source::Helm {
                release: path(helm.release),
                repositories: helm.repositories.into_iter().map(path).collect(),
                chart: helm.chart.map(path),
            });
            if given("release") {
                let message = "the names of a chart's release are those of its HelmRelease";
                self.findings.push(
                    place
                        .name("release")
                        .error("step-release", message)
                        .fix("take out `release:` or `helm:`"),
                );
            }
        }
        let secrets = present(wire.secrets, place.key("secrets"), |wire, place| self.secret(wire, place));
        let sync = wire.flux.0.map(|wire| self.sync(wire, place.key("flux")));
        let release = wire.release.0.map(|wire| self.release(wire, place.key("release")));
        let empty = sources.is_empty() && secrets.is_empty() && sync.is_none() && wait.is_none();
        let faulty = ["manifests", "pack", "helm", "secrets", "flux"].into_iter().any(given);
        if empty && !(faulty && self.findings.has_errors()) {
            let finding = place.error("step-empty", format!("the step `{}` applies nothing", wire.name));
            self.findings.push(finding.fix(
                "add `manifests: [handover/FILE.yaml]`, `pack:`, `helm:`, `secrets:` or `flux:`; only api, nodes, dns and adoption wait without objects",
            ));
        }
        HandoverStep {
            name: wire.name,
            needs: Vec::new(),
            owner: match wire.owner.0 {
                Some(wire::Owner::Ichord) => Owner::Ichord,
                Some(wire::Owner::Git) | None => Owner::Git,
            },
            wait,
            timeout: wire.timeout.0.map(|span| span.0),
            sources,
            secrets,
            sync,
            release,
            hubble: wire.certificates.0.is_some_and(|list| list.contains(&wire::Certificates::Hubble)),
            file: file.to_owned(),
            at: place.position(),
        }
    }

    fn manifests(&mut self, list: Checked<Vec<Checked<TextOr<wire::Url>>>>, place: Place<'_>) -> Vec<Source> {
        present(list, place, |entry, place| match entry {
            TextOr::Text(path) if path.ends_with('/') => Source::Folder(self.directory.join(path)),
            TextOr::Text(path) => Source::File(self.directory.join(path)),
            TextOr::Whole(wire::Url { url, sha256 }) => {
                if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    let message = "a digest of SHA-256 has 64 hexadecimal digits";
                    let finding = place.key("sha256").error("step-digest", message);
                    self.findings.push(finding.fix("`sha256sum FILE` prints it"));
                }
                if !url.starts_with("https://") && !url.starts_with("http://") {
                    let message = format!("{url:?} is not an address of HTTP");
                    self.findings.push(place.key("url").error("step-url", message).fix("write https://…"));
                }
                Source::Url { url, sha256: sha256.to_lowercase() }
            }
        })
    }

    /// Where a value lies. What is no file is known by its beginning.
    fn reference(&self, text: &str) -> Reference {
        let elsewhere = ELSEWHERE.iter().any(|prefix| text.starts_with(prefix));
        Reference(if elsewhere { PathBuf::from(text) } else { self.directory.join(text) })
    }

    fn secret(&mut self, wire: wire::Secret, place: Place<'_>) -> SecretSource {
        for (key, value) in [("name", &wire.name), ("namespace", &wire.namespace)] {
            if !is_label(value) {
                let message = format!("{value:?} is not a name in Kubernetes");
                let finding = place.key(key).error("secret-name", message);
                self.findings.push(finding.fix("use lower-case letters, digits and dashes"));
            }
        }
        if wire.data.is_empty() {
            let finding = place.error("secret-empty", "the Secret has no values");
            self.findings.push(finding.fix("add `data: { KEY: FILE }`"));
        }
        let data = wire.data.into_iter().map(|(key, value)| {
            let value = match value {
                TextOr::Text(text) => SecretValue { reference: self.reference(&text), connect: None },
                TextOr::Whole(wire::Connect { connect, delivery }) => SecretValue {
                    reference: self.reference(&connect),
                    connect: Some(match delivery.0 {
                        Some(wire::Delivery::Environment) => ConnectFrom::Environment,
                        Some(wire::Delivery::File) | None => ConnectFrom::File,
                    }),
                },
            };
            (key, value)
        });
        SecretSource {
            data: data.collect(),
            name: wire.name,
            namespace: wire.namespace,
            kind: wire.kind.unwrap_or_else(|| "Opaque".to_owned()),
            at: place.position(),
        }
    }

    fn sync(&mut self, wire: wire::Flux, place: Place<'_>) -> Sync {
        let is_ssh = wire.url.starts_with("ssh://");
        if !is_ssh && !wire.url.starts_with("https://") && !wire.url.starts_with("http://") {
            let finding = place.key("url").error("flux-url", format!("Flux does not take {:?}", wire.url));
            let fix = match wire.url.split_once(':') {
                Some((host, path)) if host.contains('@') => format!("write ssh://{host}/{path}"),
                _ => "write ssh://git@host/owner/name or https://host/owner/name".to_owned(),
            };
            self.findings.push(finding.fix(fix));
        }
        let reference = |text: Option<String>| text.map(|text| self.reference(&text));
        let (identity, known_hosts) = (reference(wire.identity), reference(wire.known_hosts));
        let (password, token, age_key) =
            (reference(wire.password), reference(wire.token), reference(wire.age_key));
        let given = [identity.is_some(), password.is_some(), token.is_some()];
        let mut wrong = |key: &str, message: &str, fix: &str| {
            self.findings.push(place.key(key).error("flux-credentials", message).fix(fix));
        };
        if given.into_iter().filter(|given| *given).count() > 1 {
            wrong("url", "there is more than one way to log in", "keep one of identity, password and token");
        }
        if is_ssh && identity.is_none() {
            wrong("url", "a repository over SSH needs a deploy key", "add `identity:` and `known-hosts:`");
        } else if !is_ssh && identity.is_some() {
            wrong("identity", "a deploy key is for repositories over SSH", "write an ssh:// address");
        }
        if identity.is_some() && known_hosts.is_none() {
            wrong(
                "identity",
                "Flux refuses SSH without the host's keys",
                "add `known-hosts:`; `ssh-keyscan HOST` prints them, to be compared with what the host publishes",
            );
        }
        let credentials = match (identity, known_hosts, password, token) {
            (Some(identity), Some(known_hosts), ..) => Credentials::Key { identity, known_hosts },
            (_, _, Some(password), _) => Credentials::Password {
                username: wire.username.unwrap_or_else(|| "git".to_owned()),
                password,
            },
            (_, _, _, Some(token)) => Credentials::Bearer(token),
            _ => Credentials::None,
        };
        Sync {
            url: wire.url,
            branch: wire.branch.unwrap_or_else(|| "main".to_owned()),
            path: wire.path,
            namespace: wire.namespace.unwrap_or_else(|| FLUX.to_owned()),
            mode: match wire.operator.0 {
                None => SyncMode::Manifests,
                Some(operator) => SyncMode::Operator {
                    version: operator.version.unwrap_or_else(|| "2.x".to_owned()),
                    registry: operator.registry.unwrap_or_else(|| "ghcr.io/fluxcd".to_owned()),
                },
            },
            interval: wire.interval.unwrap_or_else(|| "1m0s".to_owned()),
            credentials,
            age_key,
            wait_healthy: wire.wait_healthy.0.unwrap_or(false),
            checkout: wire.checkout.map(|path| self.directory.join(path)),
        }
    }

    fn release(&mut self, wire: wire::StepRelease, place: Place<'_>) -> StepRelease {
        let storage = wire.storage_namespace.unwrap_or_else(|| wire.namespace.clone());
        for (key, value) in
            [("name", &wire.name), ("namespace", &wire.namespace), ("storage-namespace", &storage)]
        {
            if !is_label(value) {
                let finding =
                    place.key(key).error("release-name", format!("{value:?} is not a name in Kubernetes"));
                self.findings.push(finding.fix("use lower-case letters, digits and dashes"));
            }
        }
        if wire.git_chart.is_some() && wire.git.is_none() {
            let message = "there is no HelmRelease of Git to render this chart with";
            self.findings.push(place.name("git-chart").error("release-file", message).fix("add `git: FILE`"));
        }
        StepRelease {
            name: wire.name,
            namespace: wire.namespace,
            storage_namespace: storage,
            chart: wire.chart,
            app_version: wire.app_version.unwrap_or_else(|| wire.version.clone()),
            version: wire.version,
            values: wire.values.map(|file| self.directory.join(file)),
            git: wire.git.map(|file| self.directory.join(file)),
            git_chart: wire.git_chart.map(|chart| match chart.as_str() {
                "pinned" => GitChart::Pinned,
                file => GitChart::File(self.directory.join(file)),
            }),
        }
    }
}
