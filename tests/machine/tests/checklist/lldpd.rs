//! The lldpd extension (talos.md §8.1).

use super::*;

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
