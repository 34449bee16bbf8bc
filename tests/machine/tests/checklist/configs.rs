//! What a machine accepts as its config and what it refuses (talos.md §2, §6.3).

use super::*;

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
