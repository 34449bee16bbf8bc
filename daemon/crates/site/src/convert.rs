//! What people wrote becomes what the program works with. Faults of single values were reported by reading
//! them; what is missing or contradicts itself within one entry is reported here.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use document::{Checked, Document, Findings, Place, TextOr};
use hardware::LocalBoot;
use identity::Ignored;
use lifecycle::{DeployPolicy, ReplacePolicy, Timing, Trust};
use talos_config::talconfig::TalConfig;
use zeroize::Zeroizing;

use crate::{
    handover,
    model::{DhcpMode, LocalBoots, Network, Pool, Site, Snapshots, Switch},
    power, slots,
    snmp::{Community, Snmp},
    wire,
};

/// More often than what a machine says of itself ends.
const LISTEN: Duration = Duration::from_secs(10 * 60);

/// How long a machine must not have answered before another one in its port takes over: longer than any reboot.
const REPLACE_AFTER: Duration = Duration::from_secs(10 * 60);

/// How many machines a day are replaced without a person: more are not single deaths.
const REPLACEMENTS_PER_DAY: u8 = 2;

/// Makes the site; `None` without a cluster.
pub(crate) fn site(
    mut file: wire::File,
    document: &Document,
    directory: &Path,
    cluster: Option<TalConfig>,
    secrets: PathBuf,
    findings: &mut Findings,
) -> Option<Site> {
    let root = document.place();
    let name = name(file.site, root, findings);
    let networks = networks(file.network, root.key("network"), findings);
    let switches = present(file.switches, root.key("switches"), |wire, place| switch(wire, place, findings));
    let mut local_boot = local_boots(file.local_boot, &file.machines);
    let mut ignored = Ignored::default();
    let power = powers(&mut file.machines);
    let power = power::powers(&power, root.key("machines"), findings);
    let (slots, keys) = slots::slots(file.machines, root.key("machines"), &mut ignored, findings);
    for prefix in file.ignore.0.map(|all| all.0).into_iter().flatten() {
        ignored.prefixes.push(prefix.0);
    }
    // one line may describe several
    for (slot, key) in &keys {
        if let Some(&boot) = local_boot.nodes.get(key) {
            local_boot.nodes.insert(slot.clone(), boot);
        }
    }
    let relays = slots::relays(file.relays, root.key("relays"), findings);
    let handover = handover::steps(file.handover, root.key("handover"), document, directory, findings);
    let kernel_args = kernel_args(file.kernel_args.0.unwrap_or_default(), root.key("kernel-args"), findings);
    let times = file.timing.0.unwrap_or_default();
    let replace_after = times.replace_after.0.map(|span| span.0);
    let listen = times.listen.0.map_or(LISTEN, |span| span.0);
    Some(Site {
        name,
        directory: directory.to_owned(),
        cluster: cluster?,
        cluster_id: String::new(),
        secrets,
        networks,
        switches,
        slots,
        keys,
        ignored,
        relays,
        trust: match file.trust.0 {
            Some(wire::Trust::Machine) => Trust::Machine,
            Some(wire::Trust::Attested) | None => Trust::Attested,
        },
        deploy: match file.deploy.0 {
            Some(wire::Deploy::Auto) => DeployPolicy::Auto,
            Some(wire::Deploy::Ask) | None => DeployPolicy::Ask,
        },
        replace: match file.replace.0 {
            Some(wire::Replace::SamePort) => ReplacePolicy::SamePort {
                after: replace_after.unwrap_or(REPLACE_AFTER),
                per_day: file.replacements_per_day.0.unwrap_or(REPLACEMENTS_PER_DAY),
            },
            Some(wire::Replace::Ask) | None => ReplacePolicy::Ask,
        },
        images: file.images.0.map(|images| directory.join(images)),
        kernel_args,
        local_boot,
        power,
        https: None,
        handover,
        snapshots: snapshots(file.snapshots, root.key("snapshots"), findings),
        timing: timing(times),
        listen,
    })
}

/// Converts the entries of a list that could be read.
pub(crate) fn present<W, T>(
    list: Checked<Vec<Checked<W>>>,
    place: Place<'_>,
    mut convert: impl FnMut(W, Place<'_>) -> T,
) -> Vec<T> {
    let list = list.0.unwrap_or_default().into_iter().enumerate();
    list.filter_map(|(index, entry)| Some(convert(entry.0?, place.item(index)))).collect()
}

fn name(site: Checked<String>, root: Place<'_>, findings: &mut Findings) -> String {
    let name = site.0.unwrap_or_default();
    let place = root.key("site");
    if place.node().is_none() {
        findings.push(
            place.error("key-missing", "the key `site` is missing").fix("add `site:` with the site's name"),
        );
    } else if !is_label(&name) {
        let finding = place.error("site-name", format!("`{name}` is not a name for a site"));
        findings.push(finding.fix("use lower-case letters, digits and dashes"));
    }
    name
}

fn networks(
    list: Checked<Vec<Checked<wire::Network>>>,
    place: Place<'_>,
    findings: &mut Findings,
) -> Vec<Network> {
    if place.node().is_none_or(|node| node.items().is_empty() && node.is_null()) {
        let finding = place.error("key-missing", "no provisioning network is described");
        findings.push(finding.fix("add `network:` with an `interface` and its `subnet`"));
    }
    present(list, place, |wire, place| {
        let subnet = wire.subnet.trunc();
        if subnet != wire.subnet {
            let message = format!("{} is an address in a network, not the network", wire.subnet);
            findings.push(place.key("subnet").error("cidr", message).fix(format!("write {subnet}")));
        }
        if wire.interface.is_empty() {
            findings.push(place.key("interface").error("interface", "the interface has no name"));
        }
        Network {
            interface: wire.interface,
            subnet,
            dhcp: match wire.dhcp.0 {
                Some(wire::Dhcp::Authoritative) => DhcpMode::Authoritative,
                Some(wire::Dhcp::Off) => DhcpMode::Off,
                Some(wire::Dhcp::Proxy) | None => DhcpMode::Proxy,
            },
            relayed: wire.relayed.0.unwrap_or(false),
            pool_for_any: wire.pool_for.0 == Some(wire::PoolFor::Any),
            router_advertisement: wire.router_advertisement.0.unwrap_or(false),
            tftp_single_port: wire.tftp.0 == Some(wire::TftpPorts::SinglePort),
            announce: wire.announce.0.unwrap_or(false),
            pool: wire.pool.0.map(|pool| Pool { first: pool.first, last: pool.last }),
            gateway: wire.gateway.0,
            dns: all(wire.dns),
            ntp: all(wire.ntp),
        }
    })
}

fn all<T>(list: Checked<Vec<Checked<T>>>) -> Vec<T> {
    list.0.unwrap_or_default().into_iter().filter_map(|entry| entry.0).collect()
}

fn switch(wire: wire::Switch, place: Place<'_>, findings: &mut Findings) -> Switch {
    if wire.name.is_empty() || wire.name.contains('/') {
        let finding =
            place.key("name").error("switch-name", format!("`{}` is not a name for a switch", wire.name));
        findings.push(finding.fix("a port is written SWITCH/PORT, so the name has no slash"));
    }
    if wire.bridge.as_ref().is_some_and(String::is_empty) {
        findings.push(place.key("bridge").error("interface", "the bridge has no name"));
    }
    if wire.bridge.is_none() && !wire.ports.is_empty() {
        let message = "`ports` names interfaces of a bridge on this host, and there is no `bridge`";
        let finding = place.key("ports").error("switch-ports", message);
        findings
            .push(finding.fix("add `bridge:`; for what another switch calls its ports, write `aliases:`"));
    }
    let aliases = wire.aliases.0.unwrap_or_default();
    Switch {
        name: wire.name,
        bridge: wire.bridge,
        ports: wire.ports,
        also: wire.also.0.map(|all| all.0).unwrap_or_default(),
        aliases: aliases.into_iter().map(|(port, names)| (port, names.0)).collect(),
        snmp: wire.snmp.0.map(|snmp| Snmp {
            address: snmp.address.0,
            community: Community { reference: snmp.community, word: Zeroizing::default() },
        }),
    }
}

fn local_boots(
    models: Checked<BTreeMap<String, Checked<LocalBoot>>>,
    machines: &Checked<BTreeMap<String, Checked<wire::Machine>>>,
) -> LocalBoots {
    let models = models.0.unwrap_or_default().into_iter();
    let nodes = machines.0.iter().flatten();
    LocalBoots {
        models: models.filter_map(|(pattern, way)| Some((pattern, way.0?))).collect(),
        nodes: nodes
            .filter_map(|(node, machine)| Some((node.clone(), machine.0.as_ref()?.local_boot.0?)))
            .collect(),
    }
}

/// What is written about power, by key.
fn powers(
    machines: &mut Checked<BTreeMap<String, Checked<wire::Machine>>>,
) -> BTreeMap<String, Option<TextOr<wire::Power>>> {
    let machines = machines.0.iter_mut().flatten();
    machines.filter_map(|(key, machine)| Some((key.clone(), machine.0.as_mut()?.power.0.take()))).collect()
}

/// An argument with a space would become two, and one with a line break would become another script.
fn kernel_args(args: Vec<String>, place: Place<'_>, findings: &mut Findings) -> Vec<String> {
    for (index, arg) in args.iter().enumerate() {
        if arg.is_empty() || arg.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let finding =
                place.item(index).error("kernel-arg", format!("{arg:?} is not one kernel argument"));
            findings.push(finding.fix("write each argument as an item of its own, without spaces"));
        }
    }
    args
}

fn snapshots(wire: Checked<wire::Snapshots>, place: Place<'_>, findings: &mut Findings) -> Snapshots {
    let wire = wire.0.unwrap_or_default();
    let default = Snapshots::default();
    let copy = wire.copy.0.map(|words| words.0).unwrap_or_default();
    if copy.first().is_some_and(|program| program.trim().is_empty()) {
        let finding = place.key("copy").error("snapshot-copy", "it names no program");
        findings.push(finding.fix("write the program and its arguments as a list, such as [rclone, copy]"));
    }
    if wire.keep.0 == Some(0) {
        let finding = place.key("keep").error("snapshot-keep", "no snapshot would be kept");
        findings.push(finding.fix("write how many are kept, such as 28"));
    }
    Snapshots {
        every: wire.every.0.map_or(default.every, |span| span.0),
        keep: wire.keep.0.map_or(default.keep, usize::from),
        copy,
    }
}

fn timing(wire: wire::Timing) -> Timing {
    let default = Timing::default();
    let or = |span: Checked<wire::Span>, default| span.0.map_or(default, |span| span.0);
    Timing {
        observe: or(wire.observe, default.observe),
        watch: or(wire.watch, default.watch),
        bootstrap_grace: or(wire.bootstrap_grace, default.bootstrap_grace),
        apply_grace: or(wire.apply_grace, default.apply_grace),
        retry: or(wire.retry, default.retry),
        permit: or(wire.permit, default.permit),
    }
}

pub(crate) fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}
