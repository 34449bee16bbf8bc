//! What of Kubernetes runs on a machine, and configs that ask for a boot (by Talos's own source, 1.13.9).

use machine::model::Status;

use super::*;

fn config(kubernetes: &str, more: &str) -> Vec<u8> {
    let text = String::from_utf8(Config::control_plane("mini01").yaml()).unwrap();
    let parts = format!(
        "  kubelet: {{image: 'k/kubelet:{kubernetes}'}}\n{more}cluster:\n  apiServer: {{image: 'k/kube-apiserver:{kubernetes}'}}\n"
    );
    text.replacen("cluster:\n", &parts, 1).into_bytes()
}

fn apply(world: &mut World, data: Vec<u8>, mode: ApplyMode) -> Result<Response, Status> {
    world.admin("m1", Request::ApplyConfiguration { data, mode, dry_run: false })
}

fn founded(versions: &[&str]) -> World {
    let mut world = control_plane();
    let machine = world.rack.machines.remove("m1").unwrap();
    let doomed = versions.iter().map(|version| (*version).to_owned()).collect();
    world.rack.machines.insert("m1".to_owned(), machine.with_doomed(doomed));
    world.bootstrap("m1");
    world.until("etcd runs", |world| world.etcd_state("m1").1 == Some(true));
    world.until("the API server answers", |world| world.machine("m1").has_api_server());
    world
}

fn kubelet(world: &mut World) -> String {
    let services = world.admin("m1", Request::ServiceList).unwrap();
    let Response::Services(services) = services else { panic!("{services:?}") };
    services.into_iter().find(|service| service.id == "kubelet").unwrap().state
}

#[test]
fn another_image_takes_a_part_down_and_brings_it_up_from_that() {
    let mut world = founded(&[]);
    apply(&mut world, config("v1.36.0", ""), ApplyMode::NoReboot).unwrap();
    assert!(!world.machine("m1").has_api_server(), "it goes on from the former image");
    assert_eq!(kubelet(&mut world), "Preparing");
    world.until("the API server is back", |world| world.machine("m1").has_api_server());
    world.until("the kubelet is back", |world| kubelet(world) == "Running");
    // the same again changes nothing
    apply(&mut world, config("v1.36.0", ""), ApplyMode::NoReboot).unwrap();
    assert!(world.machine("m1").has_api_server());
    assert_eq!(world.machine("m1").counters().boots, 2);
}

#[test]
fn what_does_not_come_up_from_its_image_comes_up_from_the_next_one() {
    let mut world = founded(&["v1.36.1"]);
    apply(&mut world, config("v1.36.1", ""), ApplyMode::NoReboot).unwrap();
    world.pass(60_000);
    assert!(!world.machine("m1").has_api_server(), "it came up");
    apply(&mut world, config("v1.36.2", ""), ApplyMode::NoReboot).unwrap();
    world.until("the API server is back", |world| world.machine("m1").has_api_server());
}

#[test]
fn a_change_that_needs_a_boot_boots_by_itself_until_1_13_and_is_refused_where_that_must_not_be() {
    let mut world = founded(&[]);
    let changed = || config("v1.36.0", "  udev: {rules: ['a']}\n");
    let Err(refused) = apply(&mut world, changed(), ApplyMode::NoReboot) else { panic!("it is taken") };
    assert_eq!(refused.code, Code::InvalidArgument);
    let Ok(Response::Applied { mode, .. }) = apply(&mut world, changed(), ApplyMode::Auto) else {
        panic!("it is not taken")
    };
    assert_eq!(mode, ApplyMode::Reboot);
    world.until("it boots", |world| world.machine("m1").counters().boots == 3);
    world.until_api("m1");
    // what it runs with now is no change
    let Ok(Response::Applied { mode, .. }) = apply(&mut world, changed(), ApplyMode::Auto) else {
        panic!("it is not taken")
    };
    assert_eq!(mode, ApplyMode::NoReboot);
}
