//! What a node says in documents of its own.

use serde_json::{Map, Value, json};

use super::put;
use crate::{
    documents,
    talconfig::{Node, TalConfig, network},
};

impl TalConfig {
    /// What goes into documents of its own, in talhelper's order.
    pub(super) fn node_documents(&self, node: &Node) -> Vec<Value> {
        let configs = &node.configs;
        let mut documents = Vec::new();
        if self.has_network_documents() {
            let nameservers = configs.nameservers.as_deref().unwrap_or_default();
            if !nameservers.is_empty() || configs.disable_search_domain {
                let nameservers: Vec<Value> =
                    nameservers.iter().map(|address| json!({"address": address})).collect();
                let mut document = json!({
                    "apiVersion": "v1alpha1",
                    "kind": "ResolverConfig",
                    "searchDomains": {"disableDefault": configs.disable_search_domain},
                });
                if !nameservers.is_empty() {
                    document["nameservers"] = nameservers.into();
                }
                documents.push(document);
            }
            documents.push(if node.ignore_hostname {
                documents::stable_hostname()
            } else {
                documents::static_hostname(&node.hostname)
            });
        }
        if let Some(firewall) = &configs.ingress_firewall {
            // Go's zero value, which is not the default that talhelper documents
            let action = match firewall.default_action.as_str() {
                "" => "accept",
                action => action,
            };
            documents.push(
                json!({"apiVersion": "v1alpha1", "kind": "NetworkDefaultActionConfig", "ingress": action}),
            );
            documents.extend(firewall.rules.iter().map(|rule| {
                let mut document = named("NetworkRuleConfig", &rule.name);
                for (key, value) in [("portSelector", &rule.port_selector), ("ingress", &rule.ingress)] {
                    if !value.is_null() {
                        put(&mut document, key, value.clone());
                    }
                }
                Value::Object(document)
            }));
        }
        let services = configs.extension_services.as_deref().unwrap_or_default();
        for service in services {
            let mut document = named("ExtensionServiceConfig", &service.name);
            if !service.config_files.is_empty() {
                put(&mut document, "configFiles", json!(service.config_files));
            }
            if !service.environment.is_empty() {
                put(&mut document, "environment", json!(service.environment));
            }
            documents.push(Value::Object(document));
        }
        if node.schematic.has_extension(documents::LLDPD_EXTENSION)
            && !services.iter().any(|service| service.name == "lldpd")
        {
            documents.push(documents::lldpd());
        }
        for (kind, volumes) in
            [("VolumeConfig", &configs.volumes), ("UserVolumeConfig", &configs.user_volumes)]
        {
            for volume in volumes.iter().flatten() {
                let mut document = named(kind, &volume.name);
                for (key, value) in [
                    ("volumeType", &volume.volume_type),
                    ("provisioning", &volume.provisioning),
                    ("filesystem", &volume.filesystem),
                    ("encryption", &volume.encryption),
                ] {
                    if let Some(value) = value {
                        put(&mut document, key, value.clone());
                    }
                }
                documents.push(Value::Object(document));
            }
        }
        if self.has_network_documents() {
            documents.extend(network::documents(node.devices()));
        }
        documents
    }
}

fn named(kind: &str, name: &str) -> Map<String, Value> {
    let mut document = Map::new();
    for (key, value) in [("apiVersion", "v1alpha1"), ("kind", kind), ("name", name)] {
        put(&mut document, key, json!(value));
    }
    document
}
