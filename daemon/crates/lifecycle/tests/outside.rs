//! A machine that nobody netbooted and that waits in maintenance mode: the same grounds, the same road.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use hardware::{Disk, Inventory, Link, MacAddr};
use lifecycle::{
    ClusterPlan, Core, DeployPolicy, Effect, Event, Identity, InstallDisk, Machine, NodeName, NodePlan,
    NodeState, Note, Observation, Output, Records, ReplacePolicy, Role, Time, Timing, Trust,
};

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 100));

fn core(deploy: DeployPolicy) -> Core {
    let node = NodePlan {
        role: Role::ControlPlane,
        address: IpAddr::from([10, 0, 0, 11]),
        install_disk: InstallDisk::Path("/dev/sda".into()),
        links: Vec::new(),
        signed: false,
        ports: Vec::new(),
        place: String::new(),
        power: None,
    };
    let plan = ClusterPlan {
        cluster_id: "c1".into(),
        nodes: BTreeMap::from([(NodeName::from("cp1"), node)]),
        virtual_address: None,
        deploy,
        trust: Trust::Attested,
        replace: ReplacePolicy::Ask,
        handover: Vec::new(),
        timing: Timing::default(),
    };
    let mut core = Core::restore(plan, &Records::default(), 1).unwrap();
    // nobody runs yet
    let (_, effects) = outcome(core.step(Event::Tick, Time(1)));
    let [Effect::LookAround { ticket, .. }] = &effects[..] else { panic!("{effects:?}") };
    core.step(Event::LookedAround { ticket: *ticket, nodes: Some(Vec::new()) }, Time(2));
    core
}

fn machine() -> Machine {
    Machine { macs: BTreeSet::from([MAC]), uuid: None, serial: None }
}

fn is_cp1() -> Identity {
    Identity::Slot { node: "cp1".into(), port: None, attested: true, evidence: vec!["its port".into()] }
}

fn nobody_knows() -> Identity {
    Identity::Unknown { reason: "no source has told its switch port".into() }
}

/// What a step wrote into the journal, and what it wants done.
fn found(core: &mut Core, identity: Identity, now: u64) -> (Vec<Note>, Vec<Effect>) {
    let event = Event::FoundWaiting { machine: machine(), address: HERE, identity };
    outcome(core.step(event, Time(now)))
}

fn outcome(outputs: Vec<Output>) -> (Vec<Note>, Vec<Effect>) {
    let (mut said, mut effects) = (Vec::new(), Vec::new());
    for output in outputs {
        match output {
            Output::Persist { notes, .. } => said.extend(notes),
            Output::Publish(_) => {}
            Output::Start(effect) => effects.push(effect),
        }
    }
    (said, effects)
}

#[test]
fn it_gets_its_slot_and_is_looked_at_where_it_waits() {
    let mut core = core(DeployPolicy::Auto);
    let (_, effects) = found(&mut core, is_cp1(), 1_000);
    let [Effect::Observe { node, ticket, candidates }] = &effects[..] else {
        panic!("one look and nothing else: {effects:?}")
    };
    assert_eq!((node.0.as_str(), candidates.first()), ("cp1", Some(&HERE)));
    let inventory = Inventory {
        links: vec![Link { name: "eth0".into(), mac: MAC, up: true }],
        disks: vec![Disk { dev_path: "/dev/sda".into(), ..Disk::default() }],
        ..Inventory::default()
    };
    let observation = Observation::Maintenance {
        address: HERE,
        fingerprint: "key".into(),
        boot_id: "b1".into(),
        inventory,
        contents: Vec::new(),
    };
    let looked = Event::Observed { node: node.clone(), ticket: *ticket, observation };
    let (_, effects) = outcome(core.step(looked, Time(2_000)));
    assert!(
        matches!(&effects[..], [Effect::Apply { address, fingerprint, .. }] if *address == HERE && fingerprint == "key"),
        "{effects:?}"
    );
}

#[test]
fn without_a_permit_it_waits_for_one_and_says_so_once() {
    let mut core = core(DeployPolicy::Ask);
    let (said, effects) = found(&mut core, is_cp1(), 1_000);
    assert!(effects.is_empty(), "nothing is installed that nobody permitted: {effects:?}");
    assert!(said.iter().any(|note| note.evidence.concat().contains("ichord deploy cp1")), "{said:?}");
    let (said, effects) = found(&mut core, is_cp1(), 6_000);
    assert_eq!((said, effects), (Vec::new(), Vec::new()), "nothing new");

    core.step(Event::PermitGranted { node: None, by: "ann".into() }, Time(7_000));
    let (_, effects) = found(&mut core, is_cp1(), 8_000);
    assert!(matches!(&effects[..], [Effect::Observe { .. }]), "{effects:?}");
}

#[test]
fn nobody_knows_which_slot_it_is_so_it_gets_nothing_and_people_are_told_once() {
    let mut core = core(DeployPolicy::Auto);
    let (said, effects) = found(&mut core, nobody_knows(), 1_000);
    assert!(effects.is_empty(), "{effects:?}");
    let told = |note: &&Note| note.what.contains("waits in maintenance mode at 10.0.0.100");
    let note = said.iter().find(told).expect("people are told");
    assert_eq!(note.evidence, ["no source has told its switch port"]);
    assert_eq!(found(&mut core, nobody_knows(), 6_000).0, Vec::new(), "said already");
    assert!(matches!(core.node(&"cp1".into()), Some(NodeState::Vacant { .. })));

    // a port was told meanwhile
    let (_, effects) = found(&mut core, is_cp1(), 11_000);
    assert!(matches!(&effects[..], [Effect::Observe { .. }]), "{effects:?}");
}

#[test]
fn the_holder_of_a_slot_is_only_looked_for_where_it_is_now() {
    let mut core = core(DeployPolicy::Auto);
    let (_, effects) = found(&mut core, is_cp1(), 1_000);
    let [Effect::Observe { node, ticket, .. }] = &effects[..] else { panic!("{effects:?}") };
    let silent = Observation::Silent { detail: "it went off".into() };
    core.step(Event::Observed { node: node.clone(), ticket: *ticket, observation: silent }, Time(2_000));
    let there = IpAddr::from([10, 0, 0, 101]);
    let event = Event::FoundWaiting { machine: machine(), address: there, identity: is_cp1() };
    let (_, effects) = outcome(core.step(event, Time(2_500)));
    assert!(
        matches!(&effects[..], [Effect::Observe { candidates, .. }] if candidates.first() == Some(&there)),
        "{effects:?}"
    );
}
