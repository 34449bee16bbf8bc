//! Bootstrap, joining, quorum, trustd, the virtual address (talos.md §3.4, §9).

use super::*;

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
fn s9_4_a_learner_is_not_healthy_and_runs_no_api_server() {
    let mut world = control_planes(2);
    world.until("a learner", |world| world.members("m1").1 == ["mini02"]);
    assert_eq!(world.etcd_state("m2"), ("Running".to_owned(), Some(false)));
    assert!(!world.machine("m2").has_api_server());
    world.until("its vote", |world| world.etcd_state("m2").1 == Some(true));
    world.until("its API server", |world| world.machine("m2").has_api_server());
}

#[test]
fn s9_4_without_quorum_nobody_is_listed_and_the_status_still_answers() {
    let mut world = cluster();
    let now = world.now;
    for name in ["m2", "m3"] {
        world.machine(name).power_off(now);
    }
    world.pass(5_000);
    assert_eq!(world.code("m1", &admin(), Request::EtcdMemberList { local: false }), Some(Code::Unknown));
    // Talos wants a leader for both (`WithRequireLeader`)
    assert_eq!(world.code("m1", &admin(), Request::EtcdMemberList { local: true }), Some(Code::Unknown));
    assert!(matches!(world.admin("m1", Request::EtcdStatus), Ok(Response::EtcdStatus { leader: 0, .. })));
    assert!(matches!(world.admin("m1", Request::EtcdSnapshot), Ok(Response::Snapshot(_))));
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
fn s2_5_a_node_whose_network_the_api_server_knows_of_is_ready_until_it_boots_again() {
    let mut world = control_planes(1);
    world.rack.machines.insert("m9".into(), machine(9));
    world.power_cycle("m9");
    world.configure("m9", &Config::worker("worker1"));
    world.until("running", |world| ["m1", "m9"].iter().all(|name| world.machine(name).is_running()));
    world.pass(60_000);
    let ready = |world: &World| world.count(|one| *one == Happening::Ready);
    assert_eq!(ready(&world), 0, "the API server knows of no network");
    world.machine("m1").network_of("worker1", true);
    world.until("the worker", |world| ready(world) == 1);
    world.pass(60_000);
    assert_eq!(ready(&world), 1, "the other one still has none");
    world.machine("m1").network_of("mini01", true);
    world.until("both", |world| ready(world) == 2);

    world.machine("m1").network_of("worker1", false);
    world.power_cycle("m9");
    world.until("the worker runs again", |world| world.machine("m9").is_running());
    world.pass(60_000);
    assert_eq!(ready(&world), 2, "another boot, another network");
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
