//! From the site's steps to those that run: everything that they apply is read, put together, and held against the site.

use std::net::SocketAddr;

use document::{Findings, Position};
use handover::{Check, Component, ConnectCredentials, Delivery, Owner, SecretData, Step};
use site::{
    ConnectFrom, Credentials, Files, HandoverStep, Reference, SecretSource, SecretValue, Site, Sync,
    SyncMode, Wait,
};
use zeroize::Zeroizing;

use super::{certificates, release, sources};

/// Where an API server answers.
const API: u16 = 6443;

/// How long a step may take where the site does not say it, in seconds: what clusters have been seen to need.
const TIMEOUTS: [(&str, u64); 12] = [
    ("api", 600),
    ("cilium", 900),
    ("nodes", 600),
    ("dns", 300),
    ("namespaces", 60),
    ("secrets", 60),
    ("external-secrets", 600),
    ("onepassword-connect", 600),
    ("secret-store", 300),
    ("flux", 600),
    ("sync", 600),
    ("adoption", 900),
];

/// The objects of every hand-over step and what is odd about them, or every fault in their files.
pub(crate) fn steps(site: &Site, files: &dyn Files) -> Result<(Vec<Step>, Findings), Findings> {
    let mut findings = Findings::new();
    let mut steps: Vec<Step> = Vec::new();
    for wanted in site.handover() {
        let Some(mut step) = step(site, wanted, files, &mut findings) else { continue };
        step.origin = (wanted.file.clone(), wanted.at.line);
        step.owner = match wanted.owner {
            site::Owner::Git => Owner::Git,
            site::Owner::Ichord => Owner::Us,
        };
        let usual = TIMEOUTS.iter().find(|(name, _)| *name == wanted.name);
        let usual = usual.map(|(_, seconds)| std::time::Duration::from_secs(*seconds));
        step.pace.timeout = wanted.timeout.or(usual).unwrap_or(step.pace.timeout);
        step.check = check(site, wanted, &steps);
        steps.push(step);
    }
    if findings.has_errors() { Err(findings) } else { Ok((steps, findings)) }
}

fn step(site: &Site, wanted: &HandoverStep, files: &dyn Files, findings: &mut Findings) -> Option<Step> {
    let mut brought = sources::read(site, wanted, files, findings)?;
    let parsed = match Step::parse(&wanted.name, &brought.texts) {
        Ok(step) => step,
        Err(faults) => {
            findings.extend(faults.iter().cloned());
            return None;
        }
    };
    let mut step = parsed;
    for (object, file, line) in brought.objects {
        step.add(object, &file, line).map_err(|finding| findings.push(finding)).ok()?;
    }
    let named = brought.release.take();
    let mut step = release::complete(site, wanted, named, step, files, findings)?;
    certificates::check(wanted, &step, findings);
    match Step::parse(&wanted.name, &brought.definitions) {
        Ok(definitions) => step.manifests.splice(0..0, definitions.manifests).for_each(drop),
        Err(faults) => findings.extend(faults.iter().cloned()),
    }
    for source in &wanted.secrets {
        let at = source.at;
        if let Some(data) = data(source, wanted, files, findings) {
            let object = handover::secret(&source.name, &source.namespace, &source.kind, &data);
            step.add(object, &wanted.file, at.line).map_err(|finding| findings.push(finding)).ok();
        }
    }
    if let Some(sync) = &wanted.sync {
        for object in sync_objects(sync, wanted, files, findings)? {
            step.add(object, &wanted.file, wanted.at.line).map_err(|finding| findings.push(finding)).ok();
        }
    }
    Some(step)
}

/// What the step waits for besides its objects.
fn check(site: &Site, wanted: &HandoverStep, before: &[Step]) -> Option<Check> {
    if let Some(Sync { namespace, wait_healthy, .. }) = &wanted.sync {
        return Some(Check::Synced { name: namespace.clone(), healthy: *wait_healthy });
    }
    let cluster = site.cluster();
    Some(match wanted.wait? {
        Wait::Api => Check::Api(
            (cluster.nodes.iter())
                .filter(|node| node.control_plane)
                .filter_map(|node| Some(SocketAddr::new(node.address()?, API)))
                .collect(),
        ),
        Wait::Nodes => Check::Nodes {
            names: cluster.nodes.iter().map(|node| node.hostname.clone()).collect(),
            families: cluster.pod_nets.len().max(1),
        },
        Wait::Dns => Check::Dns,
        Wait::Adoption => {
            let components = before.iter().filter(|step| !step.manifests.is_empty()).map(|step| Component {
                step: step.name.clone(),
                objects: step.manifests.iter().map(|manifest| manifest.id.clone()).collect(),
                of_git: step.owner == Owner::Git,
            });
            Check::Adoption(components.collect())
        }
    })
}

/// The values of a Secret, each from where it lies.
fn data(
    source: &SecretSource,
    step: &HandoverStep,
    files: &dyn Files,
    findings: &mut Findings,
) -> Option<SecretData> {
    let mut data = SecretData::new();
    let before = findings.errors();
    for (key, SecretValue { reference, connect }) in &source.data {
        let Some(text) = value(reference, key, step, source.at, files, findings) else { continue };
        let Some(connect) = connect else {
            data.push((key.clone(), text));
            continue;
        };
        let delivery = match connect {
            ConnectFrom::File => Delivery::File,
            ConnectFrom::Environment => Delivery::Environment,
        };
        match ConnectCredentials::parse(&text) {
            Ok(credentials) => data.push((key.clone(), credentials.for_delivery(delivery))),
            Err(error) => {
                let finding = at(step, source.at, "secret-connect", error.to_string());
                findings
                    .push(finding.fix("take the document 1password-credentials.json as it was downloaded"));
            }
        }
    }
    (findings.errors() == before).then_some(data)
}

fn at(step: &HandoverStep, position: Position, rule: &'static str, message: String) -> document::Finding {
    document::Finding::error(step.file.as_str(), position, rule, message)
}

/// A value from where it lies. The finding tells where that is, and never the value.
fn value(
    reference: &Reference,
    key: &str,
    step: &HandoverStep,
    position: Position,
    files: &dyn Files,
    findings: &mut Findings,
) -> Option<Zeroizing<String>> {
    let place = reference.path().display();
    let message = match files.read(reference.path()).map(Zeroizing::new) {
        Ok(text) if !text.trim().is_empty() => return Some(text),
        Ok(_) => format!("the value of {key} in {place} is empty"),
        Err(error) => format!("the value of {key} in {place} cannot be read: {error}"),
    };
    let finding = at(step, position, "secret-value", message);
    findings.push(
        finding.fix("name a file beside the site, `op://VAULT/ITEM/FIELD`, `env:NAME` or `credential:NAME`"),
    );
    None
}

fn sync_objects(
    sync: &Sync,
    step: &HandoverStep,
    files: &dyn Files,
    findings: &mut Findings,
) -> Option<Vec<serde_json::Value>> {
    if let Some(checkout) = &sync.checkout {
        sources::checkout(sync, checkout, step, files, findings);
    }
    let mut read = |reference: &Reference, key: &str| value(reference, key, step, step.at, files, findings);
    let access = match &sync.credentials {
        Credentials::None => handover::Access::Public,
        Credentials::Key { identity, known_hosts } => handover::Access::Key {
            identity: read(identity, "identity")?,
            known_hosts: read(known_hosts, "known-hosts")?.to_string(),
        },
        Credentials::Password { username, password } => {
            handover::Access::Password { username: username.clone(), password: read(password, "password")? }
        }
        Credentials::Bearer(token) => handover::Access::Bearer(read(token, "token")?),
    };
    let age_key = match &sync.age_key {
        Some(key) => Some(read(key, "age-key")?),
        None => None,
    };
    let operator = match &sync.mode {
        SyncMode::Manifests => None,
        SyncMode::Operator { version, registry } => {
            Some(handover::Operator { version: version.clone(), registry: registry.clone() })
        }
    };
    let sync = handover::Sync {
        url: sync.url.clone(),
        branch: sync.branch.clone(),
        path: sync.path.clone(),
        namespace: sync.namespace.clone(),
        interval: sync.interval.clone(),
        access,
        age_key,
        operator,
    };
    Some(sync.objects())
}
