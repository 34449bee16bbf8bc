//! What a machine says about itself (talos.md §6.5, §6.6).

use super::*;

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
fn s6_6_somebody_s_partition_is_a_discovered_volume_until_talos_is_installed_over_it() {
    let mut world = World::with(1);
    let used = Storage { used: Some("home".into()), ..Storage::default() };
    let blank = world.machine("m1").clone();
    *world.machine("m1") = blank.with_storage(used, Counters::default());
    world.power_cycle("m1");
    world.until_stage("m1", Stage::Maintenance);
    let volumes = "DiscoveredVolumes.block.talos.dev";
    assert_eq!(world.spec("m1", &ANONYMOUS, volumes, "nvme0n1")["name"], "gpt");
    let partition = world.spec("m1", &ANONYMOUS, volumes, "nvme0n1p1");
    assert_eq!((&partition["name"], &partition["partition_label"]), (&json!("ext4"), &json!("home")));
    world.call("m1", &ANONYMOUS, apply(Config::control_plane("a").yaml())).unwrap();
    world.until_api("m1");
    assert_eq!(world.spec("m1", &admin(), volumes, "nvme0n1").get("name"), None);
    assert_eq!(world.spec("m1", &admin(), volumes, "nvme0n1p3")["partition_label"], "META");
}

#[test]
fn s6_6_before_1_14_only_the_birth_of_a_resource_tells_the_boots_apart() {
    let boot_ids = "BootIDs.runtime.talos.dev";
    let born = |world: &mut World, caller: &Caller| {
        let refused = world.call("m1", caller, list(boot_ids)).unwrap_err();
        assert_eq!(refused.code, Code::PermissionDenied, "1.13 does not know the type");
        match world.call("m1", caller, list(STATUS)) {
            Ok(Response::Resources(all)) => all[0].created,
            other => panic!("{other:?}"),
        }
    };
    let mut world = in_maintenance();
    let first = born(&mut world, &ANONYMOUS);
    assert_eq!(born(&mut world, &ANONYMOUS), first);
    world.call("m1", &ANONYMOUS, apply(Config::control_plane("a").yaml())).unwrap();
    world.until_api("m1");
    let second = born(&mut world, &admin());
    world.reboot("m1", false);
    world.until_api("m1");
    let third = born(&mut world, &admin());
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
