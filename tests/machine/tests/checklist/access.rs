//! Who may call what, in maintenance and configured (talos.md §6.7, §6.10).

use super::*;

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
