//! Another version of Talos: its installer, the boot into it, and the way back (talos.md §6.2, §7.8, and Talos's own source).

use super::*;

const NEXT: &str = "v1.14.0";

fn image(version: &str) -> String {
    format!("factory.talos.dev/metal-installer/{SCHEMATIC}:{version}")
}

fn pull(reference: &str) -> Request {
    Request::ImagePull { reference: reference.to_owned() }
}

fn install(reference: &str) -> Request {
    Request::InstallUpgrade { reference: reference.to_owned() }
}

fn version(world: &mut World) -> String {
    match world.admin("m1", Request::Version) {
        Ok(Response::Version { tag }) => tag,
        other => panic!("{other:?}"),
    }
}

fn founded() -> World {
    let mut world = control_plane();
    world.bootstrap("m1");
    world.until("etcd runs", |world| world.etcd_state("m1").1 == Some(true));
    world
}

#[test]
fn s6_2_the_installer_takes_an_image_that_was_fetched_and_the_machine_goes_on() {
    let mut world = founded();
    let image = image(NEXT);
    let (code, text) = refusal(&mut world, "m1", &admin(), install(&image));
    assert!(code == Code::Internal && text.contains("not found in containerd store"), "{code:?} {text}");
    world.admin("m1", pull(&image)).unwrap();
    world.admin("m1", install(&image)).unwrap();
    let (code, text) = refusal(&mut world, "m1", &admin(), install(&image));
    assert_eq!(code, Code::FailedPrecondition);
    assert!(text.contains("already in progress"), "{text}");
    world.until("the installer is done", |world| !world.machine("m1").is_upgrading());
    assert_eq!((version(&mut world).as_str(), world.machine("m1").counters().boots), ("v1.13.9", 2));
    assert_eq!(world.spec("m1", &admin(), STATUS, "machine")["stage"], "running");

    world.reboot("m1", false);
    world.until_api("m1");
    assert_eq!(version(&mut world), NEXT);
    let boots = world.machine("m1").counters();
    assert_eq!((boots.boots, boots.network_boots, boots.installs), (3, 1, 1));
    // the extensions of the image are there
    let services = world.admin("m1", Request::ServiceList).unwrap();
    let Response::Services(services) = services else { panic!("{services:?}") };
    assert!(services.iter().any(|service| service.id == "ext-lldpd"));
}

#[test]
fn s6_2_an_installer_whose_caller_hangs_up_is_killed() {
    let mut world = founded();
    let image = image(NEXT);
    world.admin("m1", pull(&image)).unwrap();
    world.admin("m1", install(&image)).unwrap();
    world.machine("m1").abort_upgrade();
    world.pass(10_000);
    world.reboot("m1", false);
    world.until_api("m1");
    assert_eq!(version(&mut world), "v1.13.9");
}

#[test]
fn s6_2_a_machine_that_is_told_to_upgrade_itself_boots_by_itself() {
    let mut world = founded();
    let unknown = "factory.talos.dev/metal-installer/00ff:v1.14.0";
    let told = |reference: &str| Request::Upgrade { reference: reference.to_owned() };
    let (_, text) = refusal(&mut world, "m1", &admin(), told(unknown));
    assert!(text.starts_with("error validating installer image"), "{text}");
    world.admin("m1", told(&image(NEXT))).unwrap();
    assert_eq!(world.spec("m1", &admin(), STATUS, "machine")["stage"], "upgrading");
    world.until_stage("m1", Stage::Rebooting);
    world.until_api("m1");
    assert_eq!(version(&mut world), NEXT);
}

#[test]
fn s7_8_a_version_that_does_not_come_up_makes_room_for_the_one_before() {
    let mut world = founded();
    let machine = world.rack.machines.remove("m1").unwrap().with_doomed([NEXT.to_owned()].into());
    world.rack.machines.insert("m1".to_owned(), machine);
    let image = image(NEXT);
    world.admin("m1", pull(&image)).unwrap();
    world.admin("m1", install(&image)).unwrap();
    world.until("the installer is done", |world| !world.machine("m1").is_upgrading());
    world.reboot("m1", false);
    // the boot server sends it to its own disk
    world.answer = Instruction::LocalDisk;
    world.until_api("m1");
    assert_eq!(version(&mut world), "v1.13.9");
    assert_eq!(world.count(|it| matches!(it, Happening::Failed { .. })), 1);
    world.reboot("m1", false);
    world.until_api("m1");
    assert_eq!(version(&mut world), "v1.13.9");
}

#[test]
fn s6_6_a_machine_on_its_way_down_says_so_until_it_is_gone() {
    for (request, stage) in [
        (Request::Reboot { power_cycle: false }, "rebooting"),
        (Request::Shutdown, "shutting down"),
        (Request::Reset { graceful: false, reboot: true, partitions: BTreeSet::new() }, "resetting"),
    ] {
        let mut world = founded();
        world.admin("m1", request).unwrap();
        assert_eq!(world.spec("m1", &admin(), STATUS, "machine")["stage"], stage);
    }
}
