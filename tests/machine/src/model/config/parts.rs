//! The parts of a config and the faults in them (talos.md §2.5, §2.6, §2.9, §3.2, §8.1).

use std::{collections::BTreeSet, net::IpAddr};

use hardware::DiskSelector;
use ipnet::IpNet;
use serde_json::Value;

use super::{Authority, Documents, InstallDisk, Role, text_at, texts};

pub(super) fn role(main: &Value, faults: &mut Vec<String>) -> Option<Role> {
    match text_at(main, "/machine/type").as_deref() {
        Some("controlplane" | "init") => Some(Role::ControlPlane),
        Some("worker") => Some(Role::Worker),
        other => {
            faults.push(format!("invalid machine type: {:?}", other.unwrap_or_default()));
            None
        }
    }
}

/// Who must have which CA key (§2.9).
pub(super) fn check_authorities(
    role: Option<Role>,
    os: Option<&Authority>,
    kubernetes: Option<&Authority>,
    main: &Value,
    faults: &mut Vec<String>,
) {
    let mut fault = |text: &str| faults.push(text.to_owned());
    match (role, os) {
        (_, None) => fault("issuing Talos API CA is missing"),
        (Some(Role::ControlPlane), Some(Authority { key: None, .. })) => {
            fault("issuing Talos API CA key is missing, but is required on control plane nodes");
        }
        (Some(Role::Worker), Some(Authority { key: Some(_), .. })) => {
            fault("issuing Talos API CA key is not allowed on non-controlplane nodes");
        }
        _ => {}
    }
    if role == Some(Role::Worker) {
        if kubernetes.is_some_and(|ca| ca.key.is_some()) {
            fault("issuing Kubernetes API CA key is not allowed on non-controlplane nodes");
        }
        if main.pointer("/cluster/etcd").is_some() {
            fault("etcd config is only allowed on control plane machines");
        }
    }
}

pub(super) fn install_disk(main: &Value, faults: &mut Vec<String>) -> Option<InstallDisk> {
    let Some(install) = main.pointer("/machine/install") else {
        faults.push("install instructions are required in \"metal\" mode".to_owned());
        return None;
    };
    if install.get("grubUseUKICmdline").and_then(Value::as_bool) == Some(true)
        && install.get("extraKernelArgs").is_some()
    {
        faults
            .push("install.extraKernelArgs and install.grubUseUKICmdline can't be used together".to_owned());
    }
    if let Some(selector) = install.get("diskSelector") {
        return match serde_json::from_value::<DiskSelector>(selector.clone()) {
            Ok(selector) => Some(InstallDisk::Selector(Box::new(selector))),
            Err(error) => {
                faults.push(format!("install disk selector is invalid: {error}"));
                None
            }
        };
    }
    let path = text_at(install, "/disk");
    if path.is_none() {
        faults.push("either install disk or diskSelector should be defined".to_owned());
    }
    path.map(InstallDisk::Path)
}

type Addresses = (Vec<(String, IpNet)>, Vec<(String, IpAddr)>);

/// Static and virtual addresses: the legacy interfaces, LinkConfig and Layer2VIPConfig documents.
pub(super) fn addresses(main: &Value, documents: &Documents, faults: &mut Vec<String>) -> Addresses {
    let (mut fixed, mut shared) = (Vec::new(), Vec::new());
    let mut fault = |text: String| faults.push(text);
    for interface in
        main.pointer("/machine/network/interfaces").and_then(Value::as_array).into_iter().flatten()
    {
        let link = text_at(interface, "/interface").unwrap_or_default();
        for address in texts(interface.get("addresses")) {
            match address.parse() {
                Ok(address) => fixed.push((link.clone(), address)),
                Err(_) => fault(format!("invalid network address: {address:?}")),
            }
        }
        if let Some(ip) = text_at(interface, "/vip/ip") {
            match ip.parse() {
                Ok(ip) => shared.push((link, ip)),
                Err(_) => fault(format!("virtual (shared) IP is not valid: {ip:?}")),
            }
        }
    }
    for document in documents.of_kind("LinkConfig") {
        let link = text_at(document, "/name").unwrap_or_default();
        for entry in document.get("addresses").and_then(Value::as_array).into_iter().flatten() {
            let address = text_at(entry, "/address").unwrap_or_default();
            match address.parse() {
                Ok(address) => fixed.push((link.clone(), address)),
                Err(_) => fault(format!("LinkConfig {link}: invalid address {address:?}")),
            }
        }
    }
    for document in documents.of_kind("Layer2VIPConfig") {
        let (name, link) = (text_at(document, "/name").unwrap_or_default(), text_at(document, "/link"));
        match (name.parse(), link) {
            (Ok(ip), Some(link)) => shared.push((link, ip)),
            (Err(_), _) => fault("name must be a valid IP address".to_owned()),
            (_, None) => fault("link must be specified".to_owned()),
        }
    }
    (fixed, shared)
}

/// §8.1
pub(super) fn extension_services(documents: &Documents, faults: &mut Vec<String>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for document in documents.of_kind("ExtensionServiceConfig") {
        let Some(name) = text_at(document, "/name") else {
            faults.push("name is required".to_owned());
            continue;
        };
        let files = document.get("configFiles").and_then(Value::as_array);
        let environment = document.get("environment").and_then(Value::as_array);
        if files.is_none_or(Vec::is_empty) && environment.is_none_or(Vec::is_empty) {
            faults.push(format!("no config files found for extension {name:?}"));
        }
        for file in files.into_iter().flatten() {
            for field in ["content", "mountPath"] {
                if text_at(file, &format!("/{field}")).is_none() {
                    faults.push(format!("extension {name:?}: {field} is required"));
                }
            }
        }
        names.insert(name);
    }
    names
}

/// §3.2: `^[0-9a-z]{6}\.[0-9a-z]{16}$`
pub(super) fn is_token(text: &str) -> bool {
    text.split_once('.').is_some_and(|(id, secret)| {
        (id.len(), secret.len()) == (6, 16)
            && text.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit() || byte.is_ascii_lowercase())
    })
}

/// The host and port of `https://host:6443`.
pub(super) fn host_and_port(url: &str) -> Option<(String, u16)> {
    let authority = url.strip_prefix("https://")?.split('/').next()?;
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (host, rest) = v6.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok()?,
        None => 443,
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_read_in_every_form() {
        for (url, expected) in [
            ("https://172.29.51.10:6443", Some(("172.29.51.10", 6443))),
            ("https://cluster.example/", Some(("cluster.example", 443))),
            ("https://[fd00::1]:6443", Some(("fd00::1", 6443))),
            ("http://172.29.51.10:6443", None),
            ("https://:6443", None),
            ("https://a:x", None),
        ] {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(host_and_port(url), expected, "{url}");
        }
    }
}
