//! The model held to the facts of the Talos reference: one test a fact, named by what is true, with
//! the section it comes from.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod support;

use std::collections::BTreeSet;

use machine::model::{
    ApplyMode, BootOrder, Caller, Code, Happening, Image, Instruction, Machine, Pace, Request, Response,
    ServerIdentity, Stage,
};
use serde_json::{Value, json};
use support::*;

const ANONYMOUS: Caller = Caller::Anonymous;
const STATUS: &str = "MachineStatuses.runtime.talos.dev";

fn in_maintenance() -> World {
    let mut world = World::with(1);
    world.until_stage("m1", Stage::Maintenance);
    world
}

fn control_plane() -> World {
    let mut world = World::with(1);
    world.configure("m1", &Config::control_plane("mini01"));
    world
}

/// Control planes m1 and so on, the first bootstrapped.
fn control_planes(count: u8) -> World {
    let mut world = World::with(count);
    for number in 1..=count {
        world.configure(&format!("m{number}"), &Config::control_plane(&format!("mini0{number}")));
    }
    world.bootstrap("m1");
    world
}

fn cluster() -> World {
    let mut world = control_planes(3);
    world.until("three voters", |world| world.members("m1").0.len() == 3);
    world
}

fn refusal(world: &mut World, name: &str, caller: &Caller, request: Request) -> (Code, String) {
    let status = world.call(name, caller, request).unwrap_err();
    (status.code, status.message)
}

fn boots(cmdline: &str, intact: bool) -> Instruction {
    let image = Image { schematic: None, version: "v1.13.9".into() };
    Instruction::Talos { image, cmdline: cmdline.to_owned(), intact }
}

fn asks(happening: &Happening) -> bool {
    matches!(happening, Happening::AsksTheNetwork { .. })
}

// ---- §2, §6.3: configs

#[test]
fn s6_3_a_parse_error_is_an_invalid_argument() {
    let mut world = in_maintenance();
    for data in ["{", "version: v1alpha1\nmachine: [", "kind: Nothing\napiVersion: v7\n"] {
        assert_eq!(world.code("m1", &ANONYMOUS, apply(data.into())), Some(Code::InvalidArgument), "{data:?}");
    }
    assert_eq!(world.machine("m1").stage(), Stage::Maintenance);
}

#[test]
fn s2_1_decoding_is_strict() {
    let mut world = in_maintenance();
    let text = String::from_utf8(Config::control_plane("a").yaml()).unwrap();
    let wrong = text.replace("  token:", "  tokn: x\n  token:");
    let (code, message) = refusal(&mut world, "m1", &ANONYMOUS, apply(wrong.into()));
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("unknown keys found during decoding") && message.contains("tokn"), "{message}");
}

#[test]
fn s2_1_a_document_given_twice_is_refused() {
    let mut world = in_maintenance();
    let mut config = Config::control_plane("a");
    config.extra = "---\napiVersion: v1alpha1\nkind: HostnameConfig\nhostname: b\n".to_owned();
    assert_eq!(world.code("m1", &ANONYMOUS, apply(config.yaml())), Some(Code::InvalidArgument));
}

#[test]
fn s2_9_validation_errors_come_together_in_one_text() {
    let mut world = in_maintenance();
    let no_ca = "{crt: \"\", key: \"\"}".to_owned();
    let config = Config { token: "short", os_ca: no_ca, ..Config::control_plane("a") };
    let (code, message) = refusal(&mut world, "m1", &ANONYMOUS, apply(config.yaml()));
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("2 errors occurred") && message.contains("CA is missing"), "{message}");
    assert!(message.contains("trustd token"), "{message}");
}

#[test]
fn s2_9_a_worker_has_no_ca_key_no_etcd_and_no_virtual_address() {
    let mut world = in_maintenance();
    let worker = Config { kind: "worker", ..Config::control_plane("w") };
    let (_, message) = refusal(&mut world, "m1", &ANONYMOUS, apply(worker.yaml()));
    assert!(message.contains("CA key is not allowed on non-controlplane nodes"), "{message}");
    assert!(message.contains("virtual (shared) IP is not allowed on non-controlplane nodes"), "{message}");
    assert!(world.call("m1", &ANONYMOUS, apply(Config::worker("w").yaml())).is_ok());
}

#[test]
fn s2_6_an_install_disk_is_needed() {
    let mut world = in_maintenance();
    let config = Config { install: "{wipe: false}".into(), ..Config::control_plane("a") };
    let (_, message) = refusal(&mut world, "m1", &ANONYMOUS, apply(config.yaml()));
    assert!(message.contains("either install disk or diskSelector should be defined"), "{message}");
}

#[test]
fn s6_3_a_disk_selector_that_matches_nothing_is_refused() {
    let mut world = in_maintenance();
    let install = "{diskSelector: {model: SAMSUNG*}}".to_owned();
    let config = Config { install, ..Config::control_plane("a") };
    assert_eq!(world.code("m1", &ANONYMOUS, apply(config.yaml())), Some(Code::InvalidArgument));
}

#[test]
fn s6_3_a_dry_run_changes_nothing() {
    let mut world = in_maintenance();
    let data = Config::control_plane("a").yaml();
    let request = Request::ApplyConfiguration { data, mode: ApplyMode::Auto, dry_run: true };
    assert!(world.call("m1", &ANONYMOUS, request).is_ok());
    world.pass(10_000);
    assert_eq!(world.machine("m1").stage(), Stage::Maintenance);
    assert_eq!(world.machine("m1").counters().configs_applied, 0);
}

#[test]
fn s6_3_a_second_apply_before_the_reboot_fails_its_precondition() {
    let mut world = in_maintenance();
    let config = Config::control_plane("a").yaml();
    world.call("m1", &ANONYMOUS, apply(config.clone())).unwrap();
    let (code, message) = refusal(&mut world, "m1", &ANONYMOUS, apply(config));
    assert_eq!(code, Code::FailedPrecondition);
    assert_eq!(
        message,
        "configuration was already applied and node is rebooting, cannot apply more configuration changes until \
         next reboot"
    );
    assert_eq!(world.machine("m1").counters().configs_applied, 1);
}

#[test]
fn s2_1_a_config_without_the_main_document_leaves_the_machine_in_maintenance() {
    let mut world = in_maintenance();
    let data = b"apiVersion: v1alpha1\nkind: HostnameConfig\nhostname: a\n".to_vec();
    assert!(world.call("m1", &ANONYMOUS, apply(data.clone())).is_ok());
    world.pass(10_000);
    assert_eq!(world.machine("m1").stage(), Stage::Maintenance);

    let mut world = control_plane();
    let (code, message) = refusal(&mut world, "m1", &admin(), apply(data));
    assert_eq!(code, Code::InvalidArgument);
    assert!(
        message.starts_with("the applied machine configuration doesn't contain v1alpha1 config"),
        "{message}"
    );
}

#[test]
fn s6_3_1_14_has_no_reboot_mode_outside_maintenance() {
    let mut world = in_maintenance();
    let text = String::from_utf8(Config::control_plane("a").yaml()).unwrap().replace(":v1.13.9", ":v1.14.0");
    world.call("m1", &ANONYMOUS, apply(text.clone().into())).unwrap();
    world.until_api("m1");
    let request = Request::ApplyConfiguration { data: text.into(), mode: ApplyMode::Reboot, dry_run: false };
    let (code, message) = refusal(&mut world, "m1", &admin(), request);
    assert_eq!(code, Code::Unimplemented);
    assert_eq!(message, "the REBOOT mode is not supported, please use AUTO or NO_REBOOT modes instead");
}

#[test]
fn s6_3_try_reverts_after_a_minute_unless_confirmed() {
    let mut world = control_plane();
    world.pass(1_000);
    let tried = Config { lldpd: false, ..Config::control_plane("mini01") }.yaml();
    let request = |mode| Request::ApplyConfiguration { data: tried.clone(), mode, dry_run: false };
    world.admin("m1", request(ApplyMode::Try)).unwrap();
    assert!(world.machine("m1").lldp_links().is_empty());
    world.pass(61_000);
    assert_eq!(world.machine("m1").lldp_links(), ["eth0"]);

    world.admin("m1", request(ApplyMode::Try)).unwrap();
    world.admin("m1", request(ApplyMode::Auto)).unwrap();
    world.pass(61_000);
    assert!(world.machine("m1").lldp_links().is_empty());
}

// ---- §6.5, §6.6: resources

#[test]
fn s6_5_unknown_types_are_denied_and_missing_resources_not_found() {
    let mut world = in_maintenance();
    let (code, message) = refusal(&mut world, "m1", &ANONYMOUS, list("Nonsense.talos.dev"));
    assert_eq!(code, Code::PermissionDenied);
    assert!(message.contains("is not supported"), "{message}");
    let kind = "Disks.block.talos.dev".to_owned();
    let get = Request::Get { namespace: "runtime".into(), kind, id: "sdz".into() };
    assert_eq!(world.code("m1", &ANONYMOUS, get), Some(Code::NotFound));
}

#[test]
fn s6_5_sensitive_types_need_the_admin() {
    let mut world = control_plane();
    let reader = Caller::Client { ca: our_ca(), roles: BTreeSet::from(["os:reader".to_owned()]) };
    let kind = "MachineConfigs.config.talos.dev";
    assert_eq!(world.code("m1", &reader, list(kind)), Some(Code::PermissionDenied));
    let text = world.spec("m1", &admin(), kind, "v1alpha1");
    assert!(text.as_str().unwrap().contains("clusterName: home-ops"));
}

#[test]
fn s6_6_a_machine_in_maintenance_shows_what_it_is_made_of() {
    let mut world = in_maintenance();
    let mut spec = |kind, id| world.spec("m1", &ANONYMOUS, kind, id);
    let smbios = spec("SystemInformations.hardware.talos.dev", "systeminformation");
    assert_eq!(smbios["uuid"], "10000000-0000-4000-8000-000000000001");
    assert_eq!(smbios["serialnumber"], "S1");
    let disk = spec("Disks.block.talos.dev", "nvme0n1");
    assert_eq!((&disk["dev_path"], &disk["transport"]), (&json!("/dev/nvme0n1"), &json!("nvme")));
    assert_eq!(disk["size"], 512_110_190_592_u64);
    assert_eq!(disk.get("uuid"), None, "empty values are omitted");
    let link = spec("LinkStatuses.net.talos.dev", "eth0");
    assert_eq!((&link["hardwareAddr"], &link["linkState"]), (&json!("52:54:00:77:00:01"), &json!(true)));
    assert_eq!(spec("NodeAddresses.net.talos.dev", "default")["addresses"], json!(["10.0.0.1/24"]));
    assert_eq!(spec("Versions.runtime.talos.dev", "version")["version"], "v1.13.9");
    assert_eq!(spec("KernelCmdlines.runtime.talos.dev", "cmdline")["cmdline"], CMDLINE);
    assert_eq!(spec(STATUS, "machine")["stage"], "maintenance");
    assert_eq!(spec("SystemDisks.block.talos.dev", "system-disk"), Value::Null, "nothing is installed");
    let extensions = spec("ExtensionStatuses.runtime.talos.dev", "2");
    assert_eq!(extensions["metadata"], json!({ "name": "schematic", "version": SCHEMATIC }));
}

#[test]
fn s6_6_the_boot_id_changes_with_every_boot() {
    let boot_id = |world: &mut World, caller: &Caller| {
        world.spec("m1", caller, "BootIDs.runtime.talos.dev", "boot-id")["bootID"].to_string()
    };
    let mut world = in_maintenance();
    let first = boot_id(&mut world, &ANONYMOUS);
    world.call("m1", &ANONYMOUS, apply(Config::control_plane("a").yaml())).unwrap();
    world.until_api("m1");
    let second = boot_id(&mut world, &admin());
    world.reboot("m1", false);
    world.until_api("m1");
    let third = boot_id(&mut world, &admin());
    assert_eq!(BTreeSet::from([first, second, third]).len(), 3);
}

#[test]
fn s6_6_a_configured_machine_says_its_role_members_and_etcd_id() {
    let mut world = cluster();
    assert_eq!(world.spec("m1", &admin(), "MachineTypes.config.talos.dev", "machine-type"), "controlplane");
    let member = world.spec("m1", &admin(), "EtcdMembers.etcd.talos.dev", "local")["memberID"].clone();
    let id = member.as_str().unwrap();
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let other = world.spec("m1", &admin(), "Members.cluster.talos.dev", "mini02");
    assert_eq!((&other["machineType"], &other["addresses"]), (&json!("controlplane"), &json!(["10.0.0.2"])));
    assert_eq!(world.spec("m1", &admin(), "TimeStatuses.v1alpha1.talos.dev", "node")["synced"], true);
    let etcd = world.spec("m1", &admin(), "Services.v1alpha1.talos.dev", "etcd");
    assert_eq!(etcd, json!({ "running": true, "healthy": true, "unknown": false }));
}

// ---- §6.7: maintenance

#[test]
fn s6_7_maintenance_shows_a_certificate_of_its_own_that_differs_at_every_boot() {
    let mut world = in_maintenance();
    let first = world.machine("m1").server_identity();
    assert!(matches!(first, ServerIdentity::Maintenance { .. }));
    world.power_cycle("m1");
    assert_eq!(world.machine("m1").server_identity(), ServerIdentity::Closed);
    world.until_stage("m1", Stage::Maintenance);
    assert_ne!(world.machine("m1").server_identity(), first);
}

#[test]
fn s6_7_a_stranger_in_maintenance_is_a_reader_who_may_apply() {
    let mut world = in_maintenance();
    let version = world.call("m1", &ANONYMOUS, Request::Version);
    assert!(matches!(version, Ok(Response::Version { tag }) if tag == "v1.13.9"));
    assert!(world.call("m1", &ANONYMOUS, Request::ServiceList).is_ok());
    let reset = Request::Reset { graceful: false, reboot: true, partitions: BTreeSet::new() };
    for request in [Request::Bootstrap, Request::Reboot { power_cycle: false }, Request::Shutdown, reset] {
        let refused = refusal(&mut world, "m1", &ANONYMOUS, request.clone());
        assert_eq!(refused, (Code::PermissionDenied, "not authorized".to_owned()), "{request:?}");
    }
}

#[test]
fn s6_7_after_the_apply_installing_then_a_closed_port_then_our_ca() {
    let mut world = in_maintenance();
    world.call("m1", &ANONYMOUS, apply(Config::control_plane("mini01").yaml())).unwrap();
    assert_eq!(world.spec("m1", &ANONYMOUS, STATUS, "machine")["stage"], "installing");
    world
        .until("the port is closed", |world| world.machine("m1").server_identity() == ServerIdentity::Closed);
    assert_eq!(world.machine("m1").stage(), Stage::Installing);
    world.until_api("m1");
    assert_eq!(world.machine("m1").counters().installs, 1);
    assert_eq!(world.count(asks), 1, "kexec does not go through the firmware");
}

#[test]
fn s6_7_a_configured_machine_wants_a_certificate_of_its_own_ca() {
    let mut world = control_plane();
    assert_eq!(world.code("m1", &ANONYMOUS, Request::Version), Some(Code::Unavailable));
    assert_eq!(world.code("m1", &Caller::admin("foreign"), Request::Version), Some(Code::Unavailable));
}

// ---- §6.10: roles

#[test]
fn s6_10_roles_decide_what_a_client_may_call() {
    let mut world = control_plane();
    let with = |role: &str| Caller::Client { ca: our_ca(), roles: BTreeSet::from([role.to_owned()]) };
    let reset = || Request::Reset { graceful: false, reboot: true, partitions: BTreeSet::new() };
    for (role, request, may) in [
        ("os:reader", Request::Version, true),
        ("os:reader", Request::Bootstrap, false),
        ("os:reader", apply(Config::control_plane("mini01").yaml()), false),
        ("os:operator", Request::Kubeconfig, false),
        ("os:operator", reset(), false),
        ("os:etcd:backup", Request::Version, false),
        ("os:admin", Request::Kubeconfig, true),
        ("nonsense", Request::Version, false),
    ] {
        let denied = world.code("m1", &with(role), request.clone()) == Some(Code::PermissionDenied);
        assert_eq!(!denied, may, "{role} {request:?}");
    }
}

// ---- §7: boot

#[test]
fn s7_1_a_command_line_without_the_enforced_parameters_does_not_boot() {
    for missing in ["talos.platform=metal", "slab_nomerge", "pti=on"] {
        let mut world = World::with(1);
        world.answer = boots(&CMDLINE.replace(missing, ""), true);
        world.until("a failure", |world| world.count(|one| matches!(one, Happening::Failed { .. })) > 0);
        assert_eq!(world.machine("m1").stage(), Stage::Rebooting, "{missing}");
    }
}

#[test]
fn an_image_with_a_wrong_digest_is_not_booted() {
    let mut world = World::with(1);
    world.answer = boots(CMDLINE, false);
    world.pass(5_000);
    assert_eq!(world.machine("m1").counters().boots, 0);
    assert!(world.count(asks) > 1, "the firmware asks again");
}

#[test]
fn s7_3_the_config_on_disk_wins_and_is_never_installed_again() {
    let mut world = control_plane();
    world.power_cycle("m1");
    world.until_api("m1");
    let counters = world.machine("m1").counters();
    assert_eq!((counters.network_boots, counters.installs, counters.configs_applied), (2, 1, 1));
    assert_eq!(world.machine("m1").hostname(), Some("mini01"));
}

#[test]
fn s7_5_a_cold_boot_goes_through_the_firmware_network_first() {
    let mut world = control_plane();
    world.answer = Instruction::LocalDisk;
    world.happened.clear();
    world.power_cycle("m1");
    world.until_api("m1");
    assert_eq!(world.count(asks), 1);
    assert_eq!(world.machine("m1").counters().network_boots, 1, "the second kernel came from the disk");
}

#[test]
fn s7_5_no_answer_falls_through_to_the_disk_and_a_blank_machine_asks_again() {
    let mut world = control_plane();
    world.answer = Instruction::Nothing;
    world.reboot("m1", true);
    world.until_api("m1");

    let mut world = World::with(1);
    world.answer = Instruction::Nothing;
    world.pass(5_000);
    assert_eq!(world.machine("m1").stage(), Stage::Firmware);
    assert!(world.count(asks) > 5);
}

#[test]
fn a_disk_first_machine_asks_the_network_only_while_it_is_blank() {
    let mut world = World::with(0);
    let mut hardware = hardware(1);
    hardware.boot_order = BootOrder::DiskFirst;
    let mut machine = Machine::new(hardware, Pace::fast(), 1);
    machine.set_lease(Some("10.0.0.1/24".parse().unwrap()));
    machine.power_on(0);
    world.rack.machines.insert("m1".into(), machine);
    world.configure("m1", &Config::control_plane("a"));
    world.power_cycle("m1");
    world.until_api("m1");
    assert_eq!(world.count(asks), 1);
}

#[test]
fn s7_4_wiping_from_the_network_wipes_and_reboots_every_time() {
    let mut world = control_plane();
    world.answer = boots(&format!("{CMDLINE} talos.experimental.wipe=system"), true);
    world.reboot("m1", true);
    world.until("wiped twice", |world| world.count(|one| *one == Happening::Wiped) == 2);
    assert!(world.machine("m1").storage().system.is_none());
}

#[test]
fn s7_5_halt_if_installed_stops_an_installed_machine() {
    let mut world = control_plane();
    world.answer = boots(&format!("{CMDLINE} talos.halt_if_installed=1"), true);
    world.reboot("m1", true);
    world.until_stage("m1", Stage::Halted);
    world.pass(60_000);
    assert_eq!(world.machine("m1").stage(), Stage::Halted);
}

#[test]
fn s2_6_a_missing_install_disk_fails_and_reboots() {
    let mut world = in_maintenance();
    let config = Config { install: "{disk: /dev/sdz}".into(), ..Config::control_plane("a") };
    world.call("m1", &ANONYMOUS, apply(config.yaml())).unwrap();
    world.until_stage("m1", Stage::Firmware);
    assert_eq!(world.machine("m1").counters().installs, 0);
}

#[test]
fn power_lost_while_installing_leaves_a_blank_machine() {
    let mut world = in_maintenance();
    world.call("m1", &ANONYMOUS, apply(Config::control_plane("a").yaml())).unwrap();
    world.until("the installer runs", |world| {
        world.count(|one| matches!(one, Happening::Installing { .. })) == 1
    });
    world.power_cycle("m1");
    world.until_stage("m1", Stage::Maintenance);
}

#[test]
fn s6_9_a_reset_of_state_and_ephemeral_comes_back_in_maintenance_and_needs_no_install() {
    let mut world = control_plane();
    let partitions = BTreeSet::from(["STATE".to_owned(), "EPHEMERAL".to_owned()]);
    world.admin("m1", Request::Reset { graceful: false, reboot: true, partitions }).unwrap();
    world.configure("m1", &Config::control_plane("again"));
    let counters = world.machine("m1").counters();
    assert_eq!((counters.installs, counters.configs_applied), (1, 2));
    assert_eq!(world.machine("m1").hostname(), Some("again"));
}

#[test]
fn s6_9_a_graceful_reset_leaves_etcd_and_the_last_member_cannot() {
    let mut world = cluster();
    let reset = || Request::Reset { graceful: true, reboot: true, partitions: BTreeSet::new() };
    world.admin("m3", reset()).unwrap();
    world.until_stage("m3", Stage::Maintenance);
    assert_eq!(world.members("m1").0.len(), 2);
    assert_eq!(world.machine("m3").counters().installs, 1);
    assert!(world.machine("m3").storage().system.is_none(), "the whole disk was wiped");

    let mut world = control_planes(1);
    world.until("etcd is healthy", |world| world.etcd_state("m1").1 == Some(true));
    let (code, message) = refusal(&mut world, "m1", &admin(), reset());
    assert_eq!(code, Code::Unknown);
    assert!(message.contains("not enough started members"), "{message}");
}

#[test]
fn a_reply_has_a_moment_before_the_machine_reboots_or_switches_itself_off() {
    let mut world = control_plane();
    world.admin("m1", Request::Reboot { power_cycle: false }).unwrap();
    assert!(world.admin("m1", Request::Version).is_ok());
    world.until_stage("m1", Stage::Rebooting);
    world.until_api("m1");
    world.admin("m1", Request::Shutdown).unwrap();
    world.until_stage("m1", Stage::Off);
}

// ---- §8.1: lldpd

#[test]
fn s8_1_lldp_is_sent_only_once_configured_with_extension_and_document() {
    let mut world = in_maintenance();
    assert!(world.machine("m1").lldp_links().is_empty(), "not in maintenance");
    world.call("m1", &ANONYMOUS, apply(Config::control_plane("a").yaml())).unwrap();
    world.until("lldpd runs", |world| world.machine("m1").lldp_links() == ["eth0"]);

    let mut world = World::with(1);
    let plain = "{disk: /dev/nvme0n1, image: \"ghcr.io/siderolabs/installer:v1.13.9\"}";
    world.configure("m1", &Config { install: plain.into(), ..Config::control_plane("a") });
    world.pass(5_000);
    assert!(world.machine("m1").lldp_links().is_empty(), "a plain installer loses the extension (§2.6)");
}

#[test]
fn s8_1_without_its_document_the_service_waits_and_the_machine_never_runs() {
    let mut world = World::with(1);
    world.configure("m1", &Config { lldpd: false, ..Config::control_plane("a") });
    world.bootstrap("m1");
    world.until("etcd is healthy", |world| world.etcd_state("m1").1 == Some(true));
    world.pass(60_000);
    assert!(!world.machine("m1").is_running());
    let status = world.spec("m1", &admin(), STATUS, "machine");
    assert_eq!(status["stage"], "booting");
    let unmet = status["status"]["unmetConditions"].as_array().unwrap();
    let services = unmet.iter().find(|one| one["name"] == "services").unwrap();
    assert_eq!(services["reason"], "ext-lldpd not running");
    world.happened.clear();
    world.pass(70 * 60_000);
    assert!(world.count(|one| matches!(one, Happening::Booted { .. })) > 0, "the boot timeout reboots");
}

// ---- §9: etcd

#[test]
fn s9_1_before_bootstrap_etcd_prepares_and_its_health_is_unknown() {
    let mut world = control_plane();
    world.until("etcd prepares", |world| world.etcd_state("m1").0 == "Preparing");
    world.pass(10_000);
    assert_eq!(world.etcd_state("m1"), ("Preparing".to_owned(), None));
    assert!(world.admin("m1", Request::EtcdMemberList { local: false }).is_err());
    assert!(!world.machine("m1").is_running());
}

#[test]
fn s9_1_joining_in_vain_fails_after_half_an_hour_and_reboots_after_seventy_minutes() {
    let mut world = control_plane();
    world.pass(31 * 60_000);
    assert_eq!(world.etcd_state("m1").0, "Failed");
    world.pass(41 * 60_000);
    assert_eq!(world.machine("m1").counters().boots, 3);
    assert_eq!(world.etcd_state("m1").0, "Preparing");
}

#[test]
fn s9_2_bootstrap_is_not_available_before_cri_and_clock() {
    let mut world = World::with(0);
    let late = Pace { cri: 5_000, time_sync: 20_000, ..Pace::fast() };
    let mut machine = Machine::new(hardware(1), late, 1);
    machine.set_lease(Some("10.0.0.1/24".parse().unwrap()));
    machine.power_on(0);
    world.rack.machines.insert("m1".into(), machine);
    world.configure("m1", &Config::control_plane("a"));
    let expect = |world: &mut World, text: &str| {
        let refused = refusal(world, "m1", &admin(), Request::Bootstrap);
        assert_eq!(refused, (Code::FailedPrecondition, text.to_owned()));
    };
    expect(&mut world, "bootstrap is not available yet");
    world.pass(8_000);
    expect(&mut world, "time is not in sync yet");
}

#[test]
fn s9_2_a_worker_cannot_bootstrap() {
    let mut world = control_planes(2);
    world.rack.machines.insert("m9".into(), machine(9));
    world.power_cycle("m9");
    world.configure("m9", &Config::worker("worker1"));
    world.until_api("m9");
    world.pass(1_000);
    let refused = refusal(&mut world, "m9", &admin(), Request::Bootstrap);
    assert_eq!(
        refused,
        (Code::Unimplemented, "bootstrap is only available on control plane nodes".to_owned())
    );
}

#[test]
fn s9_2_success_is_only_in_memory_until_the_image_is_there() {
    let mut world = control_planes(1);
    assert_eq!(world.machine("m1").counters().bootstraps, 0);
    world.reboot("m1", false);
    world.until_api("m1");
    world.pass(10_000);
    assert_eq!(world.etcd_state("m1").0, "Preparing", "the bootstrap was lost");
    world.bootstrap("m1");
    world.until("etcd is healthy", |world| world.etcd_state("m1").1 == Some(true));
    let counters = world.machine("m1").counters();
    assert_eq!((counters.bootstraps_accepted, counters.bootstraps), (2, 1));
}

#[test]
fn s9_2_with_a_data_directory_bootstrap_already_exists() {
    let mut world = control_planes(1);
    world.until("the data directory", |world| world.machine("m1").counters().bootstraps == 1);
    let refused = refusal(&mut world, "m1", &admin(), Request::Bootstrap);
    assert_eq!(refused, (Code::AlreadyExists, "etcd data directory is not empty".to_owned()));
    world.reboot("m1", false);
    world.until_api("m1");
    world.until("etcd is back", |world| world.etcd_state("m1").1 == Some(true));
    assert_eq!(world.code("m1", &admin(), Request::Bootstrap), Some(Code::AlreadyExists));
}

#[test]
fn s9_2_the_guard_is_local_a_second_control_plane_makes_a_second_cluster() {
    let mut world = World::with(2);
    world.configure("m1", &Config::control_plane("mini01"));
    world.configure("m2", &Config::control_plane("mini02"));
    world.rack.unplugged.insert("m2".into());
    world.bootstrap("m1");
    world.bootstrap("m2");
    world.pass(10_000);
    let formed: u32 = world.rack.machines.values().map(|machine| machine.counters().bootstraps).sum();
    assert_eq!(formed, 2);
    let cluster = |world: &mut World, name: &str| {
        world.machine(name).storage().system.as_ref().unwrap().etcd.as_ref().unwrap().cluster.id
    };
    assert_ne!(cluster(&mut world, "m1"), cluster(&mut world, "m2"));
}

#[test]
fn s9_3_members_join_as_learners_one_at_a_time() {
    let mut world = control_planes(3);
    let mut most = 0;
    world.until("three voters", |world| {
        let (voters, learners) = world.members("m1");
        most = most.max(learners.len());
        voters.len() == 3
    });
    assert_eq!(most, 1);
    for name in ["m1", "m2", "m3"] {
        world.until("everybody knows everybody", |world| {
            BTreeSet::from_iter(world.members(name).0)
                == ["mini01", "mini02", "mini03"].map(str::to_owned).into()
        });
    }
    assert_eq!(world.count(|one| matches!(one, Happening::BootstrapSucceeded { .. })), 1);
}

#[test]
fn s9_3_a_reinstalled_node_of_the_same_name_removes_its_old_member() {
    let mut world = cluster();
    world.rack.machines.insert("m3".into(), machine(3));
    world.power_cycle("m3");
    world.configure("m3", &Config::control_plane("mini03"));
    world.until("three voters again", |world| {
        let joined = world.admin("m3", Request::EtcdStatus);
        matches!(joined, Ok(Response::EtcdStatus { learner: false, .. })) && world.members("m1").0.len() == 3
    });
    let (voters, learners) = world.members("m1");
    assert_eq!((voters.len(), learners.len()), (3, 0));
}

#[test]
fn s9_3_a_learner_that_reboots_is_never_promoted() {
    let mut world = control_planes(2);
    world.until("a learner", |world| world.members("m1").1 == ["mini02"]);
    world.power_cycle("m2");
    world.pass(20 * 60_000);
    assert_eq!(world.members("m1").1, ["mini02"]);
}

#[test]
fn s9_4_without_quorum_the_list_fails_and_the_local_copy_still_answers() {
    let mut world = cluster();
    let now = world.now;
    for name in ["m2", "m3"] {
        world.machine(name).power_off(now);
    }
    world.pass(5_000);
    assert_eq!(world.code("m1", &admin(), Request::EtcdMemberList { local: false }), Some(Code::Unknown));
    assert!(world.admin("m1", Request::EtcdMemberList { local: true }).is_ok());
    assert_eq!(world.etcd_state("m1"), ("Running".to_owned(), Some(false)));
    assert!(world.machine("m1").virtual_addresses().is_empty(), "no etcd, no virtual address (§2.5)");
}

#[test]
fn s3_4_a_worker_opens_its_api_only_once_a_trustd_answers() {
    let mut world = World::with(2);
    let closed = |world: &mut World| world.machine("m2").server_identity() == ServerIdentity::Closed;
    world.configure("m2", &Config::worker("worker1"));
    world.pass(60_000);
    assert_eq!(world.machine("m2").stage(), Stage::Configured);
    assert!(closed(&mut world));
    world.configure("m1", &Config::control_plane("mini01"));
    world.pass(20_000);
    assert!(closed(&mut world), "the endpoint is the virtual address, which needs etcd");
    world.bootstrap("m1");
    world.until_api("m2");
    world.until("the worker runs", |world| world.machine("m2").is_running());
}

#[test]
fn s3_4_trustd_wants_the_token() {
    let mut world = World::with(2);
    world.configure("m1", &Config::control_plane("mini01"));
    world.bootstrap("m1");
    world.configure("m2", &Config { token: "zzz999.0123456789abcdef", ..Config::worker("worker1") });
    world.pass(60_000);
    assert_eq!(world.machine("m2").stage(), Stage::Configured);
    assert_eq!(world.machine("m2").server_identity(), ServerIdentity::Closed);
}

#[test]
fn s2_5_the_virtual_address_is_on_one_machine_and_moves_when_that_dies() {
    let mut world = cluster();
    let holders = |world: &World| -> Vec<String> {
        let holding =
            world.rack.machines.iter().filter(|(_, machine)| !machine.virtual_addresses().is_empty());
        holding.map(|(name, _)| name.clone()).collect()
    };
    world.until("an API server", |world| world.machine("m1").has_api_server());
    assert_eq!(holders(&world), ["m1"]);
    let now = world.now;
    world.machine("m1").power_off(now);
    assert!(holders(&world).is_empty());
    world.until("somebody else holds it", |world| !holders(world).is_empty());
    assert_eq!(holders(&world).len(), 1);
    // the lease counts from the last heartbeat
    assert!(world.now - now >= 2_000 - 150, "not before the lease is over");
}

#[test]
fn s9_7_every_kubelet_reports_its_node_by_way_of_the_endpoint() {
    let mut world = control_planes(1);
    world.rack.machines.insert("m9".into(), machine(9));
    world.power_cycle("m9");
    world.configure("m9", &Config::worker("worker1"));
    let reported = |world: &World, wanted: &str, control_plane: bool| {
        world.happened.iter().any(|(_, at, one)| {
            at == "m1"
                && matches!(one, Happening::NodeReported(report)
                    if report.name == wanted && report.control_plane == control_plane)
        })
    };
    world.until("both nodes", |world| reported(world, "mini01", true) && reported(world, "worker1", false));
}

#[test]
fn s9_7_running_is_reached_without_a_cni_but_ready_is_not() {
    let mut world = control_planes(1);
    world.until("running", |world| world.machine("m1").is_running());
    world.pass(60_000);
    let status = world.spec("m1", &admin(), STATUS, "machine");
    assert_eq!((&status["stage"], &status["status"]["ready"]), (&json!("running"), &json!(false)));
    let unmet = status["status"]["unmetConditions"].as_array().unwrap();
    assert_eq!(unmet.len(), 1);
    assert_eq!(unmet[0]["name"], "nodeReady");
    let now = world.now;
    world.machine("m1").cni_installed(now);
    world.until("ready", |world| world.count(|one| *one == Happening::Ready) == 1);
}

#[test]
fn s9_5_a_kubeconfig_is_to_be_had_before_bootstrap() {
    let mut world = control_plane();
    assert!(matches!(world.admin("m1", Request::Kubeconfig), Ok(Response::Kubeconfig)));
}

#[test]
fn the_same_seed_makes_the_same_life() {
    let run = || {
        let mut world = cluster();
        world.pass(10_000);
        world.happened
    };
    assert_eq!(run(), run());
}
