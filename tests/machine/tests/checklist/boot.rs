//! Power, firmware, kernel parameters, install, reset (talos.md §2.6, §6.9, §7).

use super::*;

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
fn a_machine_with_an_iso_in_its_drive_waits_without_having_asked_the_network() {
    let mut world = World::with(0);
    let mut hardware = hardware(1);
    hardware.iso = Some(Image { schematic: None, version: "v1.13.0".into() });
    let mut machine = Machine::new(hardware, Pace::fast(), 1);
    machine.set_lease(Some("10.0.0.1/24".parse().unwrap()));
    machine.power_on(0);
    world.rack.machines.insert("m1".into(), machine);
    world.configure("m1", &Config::control_plane("a"));
    world.power_cycle("m1");
    world.until_api("m1");
    assert_eq!(world.count(asks), 0);
    assert_eq!(world.count(|one| matches!(one, Happening::Installed)), 1, "its disk goes before the drive");
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
