//! Text to [`TalConfig`]: parse, substitute, decode, inherit, read the files it names.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use document::{Both, Document, Finding, Findings, Keys, Place, Position, SubstituteError, substitute};
use hardware::{Architecture, DiskSelector};
use serde_json::Value;

use super::{
    DEFAULT_TALOS, Install, Node, NodeConfigs, Patch, Sources, TalConfig, check,
    inherit::{inherit, joined},
    passed, patched,
    wire::{File, NodeFile},
};
use crate::{
    schema,
    schematic::Schematic,
    versions::{Contract, TalosVersion},
};

/// What to do about a file of SOPS.
const DECRYPT: &str = "decrypt it with `sops decrypt` and keep the plain file out of Git";

/// Reads a talconfig.yaml; `file` is its name for people. `None` when an error leaves nothing to work with;
/// the findings tell every fault found either way.
pub fn load(file: &str, text: &str, sources: &Sources<'_>) -> (Option<TalConfig>, Findings) {
    let mut document = match Document::parse(file, text) {
        Ok(document) => document,
        Err(finding) => return (None, finding.into()),
    };
    if document.root().entry("sops").is_some() {
        let place = document.place().name("sops");
        let finding = place.error("sops", "the file is encrypted with SOPS, and was not decrypted");
        return (None, finding.fix(DECRYPT).into());
    }
    let mut findings = document.substitute(sources.environment);
    let (wire, faults) = document.decode::<File>(Keys::Go);
    findings.extend(faults);
    let Some(wire) = wire else { return (None, findings) };
    let mut loader = Loader { document: &document, sources, contract: None, findings };
    let config = loader.config(wire);
    let mut findings = check::explain(&document, loader.findings);
    if let Some(config) = &config {
        findings.extend(check::cluster(config));
        if !findings.has_errors() {
            findings.extend(config.template_faults());
        }
    }
    (config, findings)
}

struct Loader<'a> {
    document: &'a Document,
    sources: &'a Sources<'a>,
    contract: Option<Contract>,
    findings: Findings,
}

/// A group and its lists that are joined with a node's.
struct Group {
    configs: NodeConfigs,
    patches: Vec<Patch>,
    extra_manifests: Vec<Patch>,
}

impl<'a> Loader<'a> {
    fn config(&mut self, wire: File) -> Option<TalConfig> {
        let root = self.document.place();
        check::file(&wire, root, &mut self.findings);
        let talos_text = if wire.talos_version.is_empty() { DEFAULT_TALOS } else { &wire.talos_version };
        let talos = check::talos(talos_text, root.key("talosVersion"), &mut self.findings);
        self.contract = talos.as_ref().map(|talos| talos.contract);
        let kubernetes =
            check::kubernetes(&wire.kubernetes_version, talos.as_ref(), root, &mut self.findings);
        let endpoint_host = check::endpoint(&wire.endpoint, root, &mut self.findings);

        let control_plane = self.group(wire.control_plane, root.key("controlPlane"));
        let worker = self.group(wire.worker, root.key("worker"));
        let patches = self.patches(&wire.patches, root.key("patches"));
        let list = root.key("nodes");
        let count = list.node().map_or(0, |nodes| nodes.items().len());
        let nodes = (0..count)
            .filter_map(|index| {
                self.node(index, list.item(index), [&worker, &control_plane], &patches, talos.as_ref())
            })
            .collect();
        let mut inline_manifests = Vec::new();
        for (index, manifest) in wire.inline_manifests.into_iter().enumerate() {
            let place = root.key("inlineManifests").item(index).key("contents");
            if let Some(contents) = self.content(manifest.contents, !manifest.skip_envsubst, place) {
                inline_manifests.push((manifest.name, contents));
            }
        }
        Some(TalConfig {
            cluster_name: wire.cluster_name,
            talos: talos?,
            kubernetes: kubernetes?,
            endpoint: wire.endpoint,
            endpoint_host: endpoint_host?,
            domain: Some(wire.domain).filter(|domain| !domain.is_empty()),
            allow_scheduling: wire.allow_scheduling_on_masters || wire.allow_scheduling_on_control_planes,
            machine_cert_sans: wire.additional_machine_cert_sans,
            api_server_cert_sans: wire.additional_api_server_cert_sans,
            inline_manifests,
            pod_nets: wire.cluster_pod_nets,
            service_nets: wire.cluster_svc_nets,
            cni: wire.cni_config,
            patches,
            nodes,
            installer_template: wire.image_factory.installer_url_tmpl,
            registry: match wire.image_factory.registry_url {
                url if url.is_empty() => "factory.talos.dev".to_owned(),
                url => url,
            },
            document: self.document.clone(),
        })
    }

    fn group(&mut self, configs: NodeConfigs, place: Place<'a>) -> Group {
        let patches = self.patches(configs.patches.as_deref().unwrap_or_default(), place.key("patches"));
        let extra_manifests = self.extra_manifests(&configs, place);
        Group { configs, patches, extra_manifests }
    }

    fn node(
        &mut self,
        index: usize,
        place: Place<'a>,
        [worker, control_plane]: [&Group; 2],
        cluster_patches: &[Patch],
        talos: Option<&TalosVersion>,
    ) -> Option<Node> {
        let (value, faults) =
            self.document.decode_node::<Both<NodeFile, NodeConfigs>>(place.node()?, Keys::Go);
        self.findings.extend(faults);
        let Both(own, configs) = value?;
        let (group, key) =
            if own.control_plane { (control_plane, "controlPlane") } else { (worker, "worker") };
        let group_place = self.document.place().key(key);
        let written = |key: &str| {
            let own = place.key(key);
            if own.node().is_some() || group_place.key(key).node().is_none() {
                own
            } else {
                group_place.key(key)
            }
        };

        let patches = configs.patches.as_deref().map(|patches| self.patches(patches, place.key("patches")));
        let patches = joined(patches.as_deref(), &group.patches, own.override_patches, true);
        let extra = configs.extra_manifests.is_some().then(|| self.extra_manifests(&configs, place));
        let extra_manifests =
            joined(extra.as_deref(), &group.extra_manifests, own.override_extra_manifests, false);
        let group_sans = group.configs.cert_sans.as_deref().unwrap_or_default();
        let cert_sans =
            joined(configs.cert_sans.as_deref(), group_sans, own.override_machine_cert_sans, false);

        let mut configs = inherit(configs, &group.configs);
        configs.cert_sans = Some(cert_sans);
        for (at, file) in configs.machine_files.iter_mut().flatten().enumerate() {
            let place = written("machineFiles").item(at).key("content");
            let content = std::mem::take(&mut file.content);
            file.content = self.content(content, !file.skip_envsubst, place).unwrap_or_default();
        }
        self.passed_on(&mut configs, &written);
        check::node(&own, &configs, talos, place, &written, &mut self.findings);
        let install = self.install(&own, place);
        let schematic = self.schematic(configs.schematic.is_some(), written("schematic"));
        let boot_schematic = match &configs.image_schematic {
            Some(_) => self.schematic(true, written("imageSchematic")),
            None => schematic.clone(),
        };
        let addresses: Vec<_> =
            own.ip_address.split(',').filter_map(|address| address.trim().parse().ok()).collect();
        if own.hostname.is_empty() {
            return None;
        }
        Some(Node {
            hostname: own.hostname,
            addresses,
            ip_address: own.ip_address,
            control_plane: own.control_plane,
            install: install?,
            ignore_hostname: own.ignore_hostname,
            patched: patched::devices(patches.iter().chain(cluster_patches).chain(&extra_manifests)),
            patches,
            extra_manifests,
            schematic: schematic?,
            boot_schematic: boot_schematic?,
            architecture: check::architecture(&configs.machine_spec.arch).unwrap_or(Architecture::Amd64),
            configs,
            index,
        })
    }

    /// What Talos reads itself is read as Talos does.
    fn passed_on(&mut self, configs: &mut NodeConfigs, written: &dyn Fn(&str) -> Place<'a>) {
        let findings = &mut self.findings;
        for (key, name, volumes) in [
            ("volumes", "block.VolumeConfigV1Alpha1", &mut configs.volumes),
            ("userVolumes", "block.UserVolumeConfigV1Alpha1", &mut configs.user_volumes),
        ] {
            for (at, volume) in volumes.iter_mut().flatten().enumerate() {
                let place = written(key).item(at);
                volume.volume_type = passed::typed(place, name, "volumeType", findings);
                volume.provisioning = passed::typed(place, name, "provisioning", findings);
                volume.filesystem = passed::typed(place, name, "filesystem", findings);
                volume.encryption = passed::typed(place, name, "encryption", findings);
            }
        }
        let rules = configs.ingress_firewall.iter_mut().flat_map(|firewall| &mut firewall.rules);
        for (at, rule) in rules.enumerate() {
            let place = written("ingressFirewall").key("rules").item(at);
            let mut read = |key| passed::typed(place, "network.RuleConfigV1Alpha1", key, findings);
            rule.port_selector = read("portSelector").unwrap_or_default();
            rule.ingress = read("ingress").unwrap_or_default();
        }
        let disks = written("machineDisks");
        for (at, disk) in configs.machine_disks.iter_mut().flatten().enumerate() {
            let place = disks.item(at);
            let mut read = |key: &str| {
                Some((key.to_owned(), passed::typed(place, "v1alpha1.MachineDisk", key, findings)?))
            };
            let keys = place.node().map(|node| node.entries()).unwrap_or_default();
            *disk = Value::Object(keys.iter().filter_map(|entry| read(&entry.key)).collect());
        }
    }

    fn install(&mut self, own: &NodeFile, place: Place<'_>) -> Option<Install> {
        let disk = || (!own.install_disk.is_empty()).then(|| Install::Disk(own.install_disk.clone()));
        if own.install_disk_selector.is_none() {
            return disk();
        }
        let selector = place.key("installDiskSelector");
        // stricter than talhelper: a key that selects nothing would let Talos take the first disk it finds
        let (parsed, faults) = self.document.decode_node::<DiskSelector>(selector.node()?, Keys::Strict);
        self.findings.extend(faults);
        let parsed = parsed?;
        if parsed == DiskSelector::default() {
            let finding = selector.error("install-disk", "the disk selector selects nothing");
            let finding = finding.fix("say what the disk is like, for example `model: APPLE SSD*`");
            let disk = disk();
            self.findings.push(if disk.is_some() { finding.warning() } else { finding });
            return disk;
        }
        let shape = &schema::fields("v1alpha1.InstallConfig").get("diskSelector")?.shape;
        Some(Install::Selector(Box::new(parsed), schema::value(selector.node()?, shape)))
    }

    fn schematic(&mut self, is_written: bool, place: Place<'_>) -> Option<Schematic> {
        let node = match place.node() {
            Some(node) if is_written => node,
            _ => return Some(Schematic::default()),
        };
        let (schematic, faults) = self.document.decode_node::<Schematic>(node, Keys::Go);
        self.findings.extend(faults);
        schematic
    }

    /// Resolves `@file`; the texts of the list have been substituted with the whole document.
    fn patches(&mut self, texts: &[String], place: Place<'a>) -> Vec<Patch> {
        let mut patches = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let place = place.item(index);
            let (patch, scalar) = match text.strip_prefix('@') {
                None => {
                    let file = self.document.file().to_owned();
                    let line = |line| Position { line, column: 1 };
                    let inline = place.node().map(|scalar| [scalar.inside(line(1)), scalar.inside(line(2))]);
                    (Patch { text: text.clone(), file, at: place.position(), inline }, place.node())
                }
                Some(path) => match self.read(path.trim(), true, place) {
                    // talhelper skips an empty file
                    Some((_, text)) if text.trim().is_empty() => continue,
                    Some((file, text)) => (Patch::of_file(file, text), None),
                    None => continue,
                },
            };
            let inline = scalar.map(|scalar| (self.document, scalar));
            check::patch(&patch, inline, self.contract, &mut self.findings);
            patches.push(patch);
        }
        patches
    }

    fn extra_manifests(&mut self, configs: &NodeConfigs, place: Place<'a>) -> Vec<Patch> {
        let place = place.key("extraManifests");
        let mut manifests = Vec::new();
        for (index, path) in configs.extra_manifests.iter().flatten().enumerate() {
            let path = path.strip_prefix('@').unwrap_or(path).trim();
            // talhelper substitutes no variables here
            if let Some((file, text)) = self.read(path, false, place.item(index)) {
                let patch = Patch::of_file(file, text);
                check::patch(&patch, None, self.contract, &mut self.findings);
                manifests.push(patch);
            }
        }
        manifests
    }

    /// A text, or what the file `@…` contains.
    fn content(&mut self, text: String, variables: bool, place: Place<'_>) -> Option<String> {
        match text.strip_prefix('@') {
            None => Some(text),
            Some(path) => self.read(path.trim(), variables, place).map(|(_, text)| text),
        }
    }

    /// Reads a file next to the talconfig; gives its name for people, too.
    fn read(&mut self, path: &str, variables: bool, place: Place<'_>) -> Option<(String, String)> {
        if path.is_empty() {
            self.findings.push(place.error("file", "there is no file name after `@`"));
            return None;
        }
        let full = self.sources.directory.join(path);
        let text = match (self.sources.read)(&full) {
            Ok(text) => text,
            Err(error) => {
                let finding = place.error("file", format!("{} cannot be read: {error}", full.display()));
                self.findings.push(match error.kind() {
                    io::ErrorKind::NotFound => {
                        finding.fix("create the file, or correct the path; it is relative to the talconfig")
                    }
                    _ => finding,
                });
                return None;
            }
        };
        // `./` is how people write it and nothing to show
        let name: PathBuf = Path::new(self.document.file()).with_file_name(path).components().collect();
        let name = name.display().to_string();
        if is_encrypted(&text) {
            let message = format!("{} is encrypted with SOPS, and was not decrypted", full.display());
            self.findings.push(place.error("sops", message).fix(DECRYPT));
            return None;
        }
        if !variables {
            return Some((name, text));
        }
        match substitute_lines(&text, self.sources.environment) {
            Ok(text) => Some((name, text)),
            Err((line, error)) => {
                let at = Position { line, column: 1 };
                let finding = Finding::error(&name, at, "variable", error.to_string());
                let fix = "set it in talenv.yaml or the environment, or write $$ for a dollar sign";
                self.findings.push(finding.fix(fix));
                None
            }
        }
    }
}

/// SOPS writes its metadata as a top-level key.
fn is_encrypted(text: &str) -> bool {
    text.contains("ENC[AES256_GCM") && text.lines().any(|line| line.trim_end() == "sops:")
}

/// Substitutes line by line and leaves comments alone, which talhelper strips before it substitutes, and the actions of
/// templates, which have variables of their own and which talhelper runs before.
fn substitute_lines(
    text: &str,
    environment: &BTreeMap<String, String>,
) -> Result<String, (u32, SubstituteError)> {
    let mut result = String::with_capacity(text.len());
    let mut in_action = false;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        if !in_action && line.trim_start().starts_with('#') {
            result.push_str(line);
            continue;
        }
        let mut rest = line;
        while !rest.is_empty() {
            let mark = if in_action { "}}" } else { "{{" };
            let (part, tail) = match rest.find(mark) {
                Some(at) => rest.split_at(if in_action { at + 2 } else { at }),
                None => (rest, ""),
            };
            if in_action {
                result.push_str(part);
                in_action = !part.ends_with("}}");
            } else {
                result.push_str(&substitute(part, environment).map_err(|error| (number, error))?);
                in_action = !tail.is_empty();
            }
            rest = tail;
        }
    }
    Ok(result)
}
