//! What only the whole config of a node shows: the rules look at what is rendered, patches applied, as Talos will read it.
//!
//! Each finding stands where the value was written: in the last patch that sets it, or at the key of the talconfig. The
//! secrets are left blank; no rule needs them.

mod cluster;
mod documents;
mod firewall;
mod install;
mod network;
mod origin;

use std::net::IpAddr;

use document::{Finding, Findings, Position};
use ipnet::IpNet;
use serde_json::Value;

use crate::{
    config::MachineConfig,
    pem::CertificateAndKey,
    secret::Secret,
    secrets::SecretsBundle,
    talconfig::{Node, RenderError, TalConfig},
    versions::Contract,
};

impl TalConfig {
    /// Renders every node and holds it to what Talos would refuse or what would not do what it says.
    ///
    /// Nodes that share a patch share its faults; a finding is there once when it is sorted.
    pub fn check_rendered(&self) -> Findings {
        let mut findings = Findings::new();
        let blank = blank();
        for node in &self.nodes {
            match self.machine_config(node, &blank) {
                Ok(machine) => {
                    let look = Look { config: self, node, machine: &machine };
                    install::check(&look, &mut findings);
                    cluster::check(&look, &mut findings);
                    documents::check(&look, &mut findings);
                    network::check(&look, &mut findings);
                    firewall::check(&look, &mut findings);
                }
                Err(error) => findings.push(self.unrenderable(node, &error)),
            }
        }
        findings
    }

    /// The networks that a node's packet filter lets in at a TCP port; `None` without a filter that blocks.
    pub fn admitted(&self, node: &Node, port: u16) -> Option<Vec<IpNet>> {
        // most nodes have none, and rendering takes its time
        let in_patch = |patch: &crate::talconfig::Patch| patch.text.contains("NetworkDefaultActionConfig");
        let patches = node.patches.iter().chain(&self.patches).chain(&node.extra_manifests);
        if node.configs.ingress_firewall.is_none() && !patches.into_iter().any(in_patch) {
            return None;
        }
        let machine = self.machine_config(node, &blank()).ok()?;
        let action = machine.document("NetworkDefaultActionConfig", "")?.get("ingress")?;
        if action.as_str() != Some("block") {
            return None;
        }
        let rules = machine.documents_of("NetworkRuleConfig").filter(|rule| firewall::opens(rule, port));
        let entries = rules.filter_map(|rule| rule.get("ingress")?.as_array()).flatten();
        let subnets = entries.filter_map(|entry| entry.get("subnet")?.as_str());
        Some(
            subnets
                .filter_map(|text| text.parse().ok().or_else(|| Some(text.parse::<IpAddr>().ok()?.into())))
                .collect(),
        )
    }

    fn unrenderable(&self, node: &Node, error: &RenderError) -> Finding {
        let finding = match error {
            RenderError::Patch { file, line, source, .. } => {
                let at = Position { line: *line, column: 1 };
                Finding::error(file, at, "patch", format!("the patch does not fit: {source}"))
            }
            error => self.place_of(node).error("render", error.to_string()),
        };
        finding.fix("it would be refused when the node is given its config")
    }
}

/// One node's config, and where its values come from.
struct Look<'a> {
    config: &'a TalConfig,
    node: &'a Node,
    machine: &'a MachineConfig,
}

impl Look<'_> {
    fn at_least(&self, minor: u16) -> bool {
        self.config.talos.contract >= Contract::new(1, minor)
    }

    /// A value of the main document.
    fn main(&self, path: &[&str]) -> Option<&Value> {
        self.machine.at(path)
    }

    fn text(&self, path: &[&str]) -> Option<&str> {
        self.main(path)?.as_str()
    }

    fn is(&self, path: &[&str], wanted: bool) -> bool {
        self.main(path).and_then(Value::as_bool) == Some(wanted)
    }

    /// The texts of a list of the main document.
    fn texts(&self, path: &[&str]) -> Vec<&str> {
        let items = self.main(path).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).collect()
    }

    /// An error about a value of the main document, where it was written: in a patch, or at a key of the talconfig.
    fn error(&self, path: &[&str], key: &str, rule: &'static str, message: impl Into<String>) -> Finding {
        let message = message.into();
        match origin::of(self.config, self.node, None, path) {
            Some((file, at)) => Finding::error(file, at, rule, message),
            None => self.config.place_of_key(self.node, key).error(rule, message),
        }
    }

    /// The same, but only if a patch sets the value: for what the talconfig's own keys were asked before.
    fn patched(&self, path: &[&str], rule: &'static str, message: impl Into<String>) -> Option<Finding> {
        let (file, at) = origin::of(self.config, self.node, None, path)?;
        Some(Finding::error(file, at, rule, message.into()))
    }

    /// An error about a document beside the main one.
    fn document(
        &self,
        kind: &str,
        name: &str,
        path: &[&str],
        key: &str,
        rule: &'static str,
        message: impl Into<String>,
    ) -> Finding {
        let message = message.into();
        match origin::of(self.config, self.node, Some((kind, name)), path) {
            Some((file, at)) => Finding::error(file, at, rule, message),
            None => self.config.place_of_key(self.node, key).error(rule, message),
        }
    }
}

/// The name of a document; empty for kinds that have none.
fn name(document: &serde_json::Map<String, Value>) -> &str {
    document.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// Secrets with nothing in them, so that a config has its shape. Nothing can be signed or joined with them.
fn blank() -> SecretsBundle {
    let none = || CertificateAndKey { certificate: String::new(), key: Secret::default() };
    let text = || Secret::new("-");
    SecretsBundle {
        cluster_id: "-".to_owned(),
        cluster_secret: text(),
        bootstrap_token: text(),
        secretbox_encryption_secret: Some(text()),
        aescbc_encryption_secret: None,
        trustd_token: text(),
        etcd: none(),
        kubernetes: none(),
        aggregator: none(),
        service_account: Secret::default(),
        os: none(),
    }
}
