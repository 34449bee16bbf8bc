//! Who holds a slot: witnesses, replacements, a person's orders, fences.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use hardware::{Disk, Inventory, Link, MacAddr};
use lifecycle::{
    ApplyOutcome, BootAnswer, ClusterPlan, Core, DeployPolicy, Effect, EtcdHealth, EtcdMember,
    EtcdObservation, Event, Identity, InstallDisk, Machine, NodeName, NodePlan, NodeState, NodeView,
    Observation, Order, Output, Records, ReplacePolicy, RequestId, Role, Stage, Ticket, Time, Timing, Trust,
    View,
};

const MINUTE: u64 = 60_000;
const AUTOMATIC: ReplacePolicy = ReplacePolicy::SamePort { after: Duration::from_secs(10 * 60), per_day: 2 };

fn plan(replace: ReplacePolicy) -> ClusterPlan {
    let nodes =
        [("cp1", Role::ControlPlane), ("w1", Role::Worker), ("w2", Role::Worker), ("w3", Role::Worker)];
    let nodes = nodes.into_iter().zip(11u8..).map(|((name, role), last)| {
        let address = IpAddr::from([10, 0, 0, last]);
        let install_disk = InstallDisk::Path("/dev/sda".into());
        (
            NodeName::from(name),
            NodePlan {
                role,
                address,
                install_disk,
                links: Vec::new(),
                signed: false,
                ports: Vec::new(),
                place: String::new(),
                power: None,
            },
        )
    });
    ClusterPlan {
        cluster_id: "c1".into(),
        nodes: nodes.collect(),
        virtual_address: None,
        deploy: DeployPolicy::Auto,
        trust: Trust::Attested,
        replace,
        handover: Vec::new(),
        timing: Timing::default(),
    }
}

fn mac(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number])
}

fn machine(number: u8) -> Machine {
    Machine { macs: BTreeSet::from([mac(number)]), uuid: None, serial: None }
}

fn inventory(number: u8) -> Inventory {
    Inventory {
        links: vec![Link { name: "eth0".into(), mac: mac(number), up: true }],
        disks: vec![Disk { dev_path: "/dev/sda".into(), ..Disk::default() }],
        ..Inventory::default()
    }
}

struct Bench {
    core: Core,
    replace: ReplacePolicy,
    records: Records,
    flying: Vec<Effect>,
    notes: Vec<String>,
    now: u64,
}

impl Bench {
    fn new(replace: ReplacePolicy) -> Self {
        let core = Core::restore(plan(replace), &Records::default(), 1).unwrap();
        let (flying, notes) = (Vec::new(), Vec::new());
        let mut bench = Self { core, replace, records: Records::default(), flying, notes, now: MINUTE };
        bench.step(Event::Tick);
        bench
    }

    fn step(&mut self, event: Event) {
        self.now += 1;
        let mut around = None;
        for output in self.core.step(event, Time(self.now)) {
            match output {
                Output::Persist { writes, notes } => {
                    for write in writes {
                        match write.key.strip_prefix("node/") {
                            Some(name) => drop(self.records.nodes.insert(name.into(), write.value)),
                            None => self.records.cluster = Some(write.value),
                        }
                    }
                    self.notes.extend(notes.into_iter().map(|note| note.what));
                }
                Output::Publish(_) => {}
                // nobody runs yet
                Output::Start(Effect::LookAround { ticket, .. }) => around = Some(ticket),
                Output::Start(effect) => self.flying.push(effect),
            }
        }
        if let Some(ticket) = around {
            self.step(Event::LookedAround { ticket, nodes: Some(Vec::new()) });
        }
    }

    fn restart(&mut self) {
        self.core = Core::restore(plan(self.replace), &self.records, self.now).unwrap();
        self.flying.clear();
        self.step(Event::Tick);
    }

    /// The machine asks what to boot; somebody else than itself says where it is, or nobody does.
    fn asks(&mut self, number: u8, node: &str, attested: bool) -> BootAnswer {
        self.asks_as(number, slot(node, attested))
    }

    fn asks_as(&mut self, number: u8, identity: Identity) -> BootAnswer {
        let (request, from) = (RequestId(self.now), IpAddr::from([10, 0, 0, 100 + number]));
        self.step(Event::BootAsked { request, machine: machine(number), from, attempt: 0, identity });
        let position = self.flying.iter().position(|it| matches!(it, Effect::AnswerBoot { .. })).unwrap();
        match self.flying.remove(position) {
            Effect::AnswerBoot { answer, .. } => answer,
            _ => unreachable!(),
        }
    }

    fn refused(&mut self, number: u8, node: &str) -> String {
        match self.asks(number, node, true) {
            BootAnswer::Retry { reason, .. } | BootAnswer::Refused { reason } => reason,
            answer => panic!("{answer:?}"),
        }
    }

    fn look(&mut self, node: &str, observation: Observation) {
        self.now += MINUTE;
        self.step(Event::Tick);
        let is_look = |effect: &Effect| match effect {
            Effect::Observe { node: looked, ticket, .. } if looked.0 == node => Some(*ticket),
            _ => None,
        };
        let ticket = self.take(is_look);
        self.step(Event::Observed { node: node.into(), ticket, observation });
    }

    fn take(&mut self, pick: impl Fn(&Effect) -> Option<Ticket>) -> Ticket {
        let position = self.flying.iter().position(|effect| pick(effect).is_some());
        let position = position.unwrap_or_else(|| panic!("not in flight: {:?}", self.flying));
        pick(&self.flying.remove(position)).unwrap()
    }

    fn is_pushed(&self) -> bool {
        self.flying.iter().any(|effect| matches!(effect, Effect::Apply { .. }))
    }

    /// From an empty slot to a node that answers with our CA.
    fn install(&mut self, number: u8, node: &str) {
        assert!(matches!(self.asks(number, node, true), BootAnswer::Deploy { .. }));
        self.look(node, maintenance(number));
        let ticket = self.take(|effect| match effect {
            Effect::Apply { ticket, .. } => Some(*ticket),
            _ => None,
        });
        self.step(Event::Applied { node: node.into(), ticket, outcome: ApplyOutcome::Accepted });
        self.look(node, configured(number, EtcdObservation::None));
    }

    fn dies(&mut self, node: &str) {
        self.look(node, Observation::Silent { detail: "no route".into() });
    }

    fn order(&mut self, order: Order) -> Result<String, String> {
        let words = self.core.weigh(&order)?;
        self.step(Event::Ordered { order, by: "ann".into() });
        Ok(words)
    }

    fn view(&self) -> View {
        self.core.view(Time(self.now))
    }

    fn node(&self, node: &str) -> NodeView {
        self.view().nodes[&NodeName::from(node)].clone()
    }

    fn holder(&self, node: &str) -> Option<Machine> {
        self.core.node(&node.into()).and_then(NodeState::claim).map(|claim| claim.machine.clone())
    }
}

fn slot(node: &str, attested: bool) -> Identity {
    let port = Some(format!("sw1/{node}").parse().unwrap());
    Identity::Slot { node: node.into(), port, attested, evidence: vec!["a test".into()] }
}

fn unknown() -> Identity {
    Identity::Unknown { reason: "nothing told".into() }
}

fn maintenance(number: u8) -> Observation {
    Observation::Maintenance {
        address: IpAddr::from([10, 0, 0, 100 + number]),
        fingerprint: format!("AB:{number:02}"),
        boot_id: "installer".into(),
        inventory: inventory(number),
        contents: Vec::new(),
    }
}

fn configured(number: u8, etcd: EtcdObservation) -> Observation {
    Observation::Configured {
        address: IpAddr::from([10, 0, 0, 10 + number]),
        boot_id: "own disk".into(),
        stage: Stage::Running,
        inventory: inventory(number),
        etcd,
        holds_virtual_address: false,
        unwell: Vec::new(),
    }
}

#[test]
fn a_person_who_compared_the_key_is_a_witness() {
    let mut bench = Bench::new(ReplacePolicy::Ask);
    assert!(
        matches!(bench.asks(1, "cp1", false), BootAnswer::Deploy { .. }),
        "booted, so that it shows its key"
    );
    let vouch = |fingerprint: &str| Order::Vouch { node: "cp1".into(), fingerprint: fingerprint.into() };
    let early = bench.order(vouch("AB:01")).unwrap_err();
    assert!(early.contains("does not wait in maintenance mode"), "{early}");
    bench.look("cp1", maintenance(1));
    assert!(!bench.is_pushed(), "only its own word");
    let node = bench.node("cp1");
    assert!(node.waiting.as_ref().unwrap().contains("ichord approve cp1 --fingerprint AB:01"), "{node:?}");
    assert_eq!(node.fingerprint.as_deref(), Some("AB:01"));

    let wrong = bench.order(vouch("AB:02")).unwrap_err();
    assert!(wrong.contains("AB:01"), "{wrong}");
    bench.order(vouch(" ab:01 ")).unwrap();
    bench.restart();
    bench.look("cp1", maintenance(1));
    assert!(bench.is_pushed(), "the word outlives the daemon");
}

#[test]
fn a_word_for_one_key_is_none_for_another() {
    let mut bench = Bench::new(ReplacePolicy::Ask);
    bench.asks(1, "cp1", false);
    bench.look("cp1", maintenance(1));
    bench.order(Order::Vouch { node: "cp1".into(), fingerprint: "AB:01".into() }).unwrap();
    let Observation::Maintenance { address, boot_id, inventory, .. } = maintenance(1) else { unreachable!() };
    let fingerprint = "CD:99".to_owned();
    bench.look(
        "cp1",
        Observation::Maintenance { address, fingerprint, boot_id, inventory, contents: Vec::new() },
    );
    assert!(!bench.is_pushed());
}

#[test]
fn on_a_trusting_site_the_machine_that_answers_is_in_every_respect_the_one_that_asked() {
    let plan = ClusterPlan { trust: Trust::Machine, ..plan(ReplacePolicy::Ask) };
    let mut bench = Bench::new(ReplacePolicy::Ask);
    bench.core = Core::restore(plan, &Records::default(), 1).unwrap();
    bench.step(Event::Tick);
    let uuid = |last: u8| Some(hardware::SystemUuid([7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, last]));
    let asking = Machine { uuid: uuid(1), ..machine(1) };
    let (request, from) = (RequestId(1), IpAddr::from([10, 0, 0, 101]));
    let identity = slot("cp1", false);
    bench.step(Event::BootAsked { request, machine: asking, from, attempt: 0, identity });
    let answers = |uuid| match maintenance(1) {
        Observation::Maintenance { address, fingerprint, boot_id, inventory, contents } => {
            let inventory = Inventory { uuid, ..inventory };
            Observation::Maintenance { address, fingerprint, boot_id, inventory, contents }
        }
        other => other,
    };
    bench.look("cp1", answers(uuid(2)));
    assert!(!bench.is_pushed(), "another UUID");
    bench.look("cp1", answers(None));
    assert!(!bench.is_pushed(), "no UUID any more");
    bench.look("cp1", answers(uuid(1)));
    assert!(bench.is_pushed());
}

#[test]
fn a_witness_displaces_who_was_only_its_own_word() {
    let mut bench = Bench::new(ReplacePolicy::Ask);
    assert!(matches!(bench.asks(9, "cp1", false), BootAnswer::Deploy { .. }));
    assert!(matches!(bench.asks(1, "cp1", true), BootAnswer::Deploy { .. }));
    assert_eq!(bench.holder("cp1"), Some(machine(1)));
    assert!(bench.view().fenced.is_empty(), "the first was never given a key");
    assert!(
        matches!(bench.asks(9, "cp1", true), BootAnswer::Retry { .. }),
        "and cannot do the same in return"
    );
}

#[test]
fn a_machine_that_answers_keeps_its_slot_whatever_a_person_says() {
    for policy in [ReplacePolicy::Ask, AUTOMATIC] {
        let mut bench = Bench::new(policy);
        bench.install(2, "w1");
        let reason = bench.refused(5, "w1");
        assert!(reason.contains("which answers"), "{reason}");
        assert!(bench.order(Order::Admit { node: "w1".into() }).unwrap_err().contains("switch it off first"));
        assert!(bench.order(Order::Release { node: "w1".into() }).is_err());
        assert!(bench.order(Order::Move { from: "w1".into(), to: "w2".into() }).is_err());
        bench.now += 60 * MINUTE;
        assert!(bench.refused(5, "w1").contains("which answers"));
        assert_eq!(bench.holder("w1"), Some(machine(2)));
        // after a restart nothing is known of it, which is no proof that it is dead
        bench.restart();
        bench.now += 60 * MINUTE;
        assert!(bench.refused(5, "w1").contains("shows in a moment"));
        assert!(bench.order(Order::Release { node: "w1".into() }).is_err());
    }
}

#[test]
fn a_stranger_at_the_holder_s_address_is_the_holder_s_silence() {
    let mut bench = Bench::new(ReplacePolicy::Ask);
    bench.install(2, "w1");
    bench.look("w1", maintenance(5));
    bench.refused(5, "w1");
    assert!(bench.order(Order::Admit { node: "w1".into() }).is_ok());
}

#[test]
fn a_person_lets_the_machine_in_the_port_take_over() {
    let mut bench = Bench::new(ReplacePolicy::Ask);
    bench.install(2, "w1");
    bench.dies("w1");
    let admit = || Order::Admit { node: "w1".into() };
    assert!(bench.order(admit()).unwrap_err().contains("no other machine has asked"));
    assert!(bench.refused(5, "w1").contains("`ichord slot approve w1`"));
    assert_eq!(bench.node("w1").rival, Some("02:00:00:00:00:05".into()));
    let words = bench.order(admit()).unwrap();
    assert!(words.contains("02:00:00:00:00:05 takes the place of 02:00:00:00:00:02"), "{words}");
    assert_eq!(bench.holder("w1"), Some(machine(2)), "nothing changes before it asks again");
    assert!(bench.refused(6, "w1").contains("is held by"), "a third one was not meant");

    bench.restart();
    bench.dies("w1");
    assert!(matches!(bench.asks(5, "w1", true), BootAnswer::Deploy { node } if node.0 == "w1"));
    assert_eq!(bench.holder("w1"), Some(machine(5)));
    let fenced = bench.view().fenced;
    assert_eq!((fenced[0].macs.as_slice(), fenced[0].node.0.as_str()), (&[mac(2)][..], "w1"));
}

#[test]
fn what_was_a_node_is_fenced_off_until_it_is_readmitted() {
    let mut bench = Bench::new(ReplacePolicy::Ask);
    bench.install(2, "w1");
    bench.dies("w1");
    bench.order(Order::Release { node: "w1".into() }).unwrap();
    assert!(bench.holder("w1").is_none());
    for identity in [slot("w1", true), slot("w2", true), unknown()] {
        let answer = bench.asks_as(2, identity);
        assert!(
            matches!(&answer, BootAnswer::Retry { reason, .. } if reason.contains("was w1 once")
                && reason.contains("ichord slot readmit 02:00:00:00:00:02")),
            "{answer:?}"
        );
    }
    assert_eq!(bench.notes.iter().filter(|note| note.contains("is back")).count(), 1);
    bench.restart();
    assert!(bench.refused(2, "w1").contains("fenced off"), "durably");

    // a slot that was filled once is not filled again by `deploy: auto`
    assert!(bench.refused(3, "w1").contains("`ichord deploy w1`"));
    let none = bench.order(Order::Readmit { machine: "02:00:00:00:00:77".into() });
    assert!(none.unwrap_err().contains("no machine that was fenced off"));
    bench.order(Order::Readmit { machine: "02-00-00-00-00-02".into() }).unwrap();
    assert!(matches!(bench.asks(2, "w2", true), BootAnswer::Deploy { .. }));
}

#[test]
fn strangers_are_booted_while_a_slot_may_want_one_or_a_fence_must_hold() {
    let mut bench = Bench::new(ReplacePolicy::Ask);
    for (number, node) in [(1, "cp1"), (2, "w1"), (3, "w2"), (4, "w3")] {
        assert!(bench.view().identify, "{node} is vacant");
        bench.install(number, node);
    }
    for (number, node) in [(1, "cp1"), (2, "w1"), (3, "w2"), (4, "w3")] {
        bench.look(node, configured(number, EtcdObservation::None));
    }
    assert!(!bench.view().identify, "every slot has its machine, and each answers");
    assert!(matches!(bench.asks_as(5, unknown()), BootAnswer::LocalDisk { .. }));
    bench.dies("w1");
    assert!(bench.view().identify, "another machine may take over");
    assert!(matches!(bench.asks_as(5, unknown()), BootAnswer::Identify { .. }));
    bench.refused(5, "w1");
    bench.order(Order::Admit { node: "w1".into() }).unwrap();
    assert!(matches!(bench.asks(5, "w1", true), BootAnswer::Deploy { .. }));
    bench.look("w1", maintenance(5));
    assert!(bench.view().identify, "the old one must not boot its own disk");
}

#[test]
fn a_machine_that_was_never_given_a_key_is_not_fenced() {
    let mut bench = Bench::new(ReplacePolicy::Ask);
    bench.asks(2, "w1", true);
    bench.dies("w1");
    bench.order(Order::Release { node: "w1".into() }).unwrap();
    assert!(bench.view().fenced.is_empty());
    assert!(matches!(bench.asks(2, "w1", true), BootAnswer::Deploy { .. }));
}

#[test]
fn a_machine_is_moved_wherever_it_is_plugged_in() {
    let mut bench = Bench::new(ReplacePolicy::Ask);
    bench.install(2, "w1");
    bench.dies("w1");
    bench.asks(3, "w2", true);
    let taken = bench.order(Order::Move { from: "w1".into(), to: "w2".into() }).unwrap_err();
    assert!(taken.contains("w2 is held by"), "{taken}");
    bench.order(Order::Move { from: "w1".into(), to: "w3".into() }).unwrap();
    bench.restart();
    assert!(bench.view().fenced.is_empty());
    assert!(matches!(bench.asks_as(2, unknown()), BootAnswer::Deploy { node } if node.0 == "w3"));
    assert!(bench.holder("w1").is_none());
}

#[test]
fn the_same_port_takes_over_from_the_dead_after_a_while() {
    let mut bench = Bench::new(AUTOMATIC);
    bench.install(2, "w1");
    bench.install(3, "w2");
    bench.dies("w1");
    assert!(bench.refused(5, "w1").contains("has not answered for"));
    bench.now += 10 * MINUTE;
    bench.look("w2", configured(3, EtcdObservation::None));
    assert!(matches!(bench.asks(5, "w1", false), BootAnswer::Retry { .. }), "its own word is not enough");
    assert!(matches!(bench.asks(5, "w1", true), BootAnswer::Deploy { .. }));
    assert_eq!(bench.holder("w1"), Some(machine(5)));
    assert!(bench.refused(2, "w1").contains("fenced off"));
}

#[test]
fn a_machine_that_comes_back_in_time_is_no_dead_one() {
    let mut bench = Bench::new(AUTOMATIC);
    bench.install(2, "w1");
    bench.install(3, "w2");
    bench.dies("w1");
    bench.now += 8 * MINUTE;
    bench.look("w1", configured(2, EtcdObservation::None));
    bench.dies("w1");
    bench.now += 8 * MINUTE;
    bench.look("w2", configured(3, EtcdObservation::None));
    assert!(bench.refused(5, "w1").contains("has not answered for"));
}

#[test]
fn where_nobody_answers_the_network_is_dead_and_not_the_machine() {
    let mut bench = Bench::new(AUTOMATIC);
    bench.install(2, "w1");
    bench.install(3, "w2");
    bench.dies("w1");
    bench.dies("w2");
    bench.now += 60 * MINUTE;
    assert!(bench.refused(5, "w1").contains("that is the network"));
}

#[test]
fn one_automatic_replacement_at_a_time_and_two_a_day() {
    let mut bench = Bench::new(AUTOMATIC);
    bench.install(2, "w1");
    bench.install(3, "w2");
    bench.install(4, "w3");
    let ready = |bench: &mut Bench, number, node: &str| {
        bench.look(node, maintenance(number));
        let ticket = bench.take(|effect| match effect {
            Effect::Apply { ticket, .. } => Some(*ticket),
            _ => None,
        });
        bench.step(Event::Applied { node: node.into(), ticket, outcome: ApplyOutcome::Accepted });
        bench.look(node, configured(number, EtcdObservation::None));
    };
    bench.dies("w1");
    bench.dies("w2");
    bench.now += 10 * MINUTE;
    assert!(matches!(bench.asks(5, "w1", true), BootAnswer::Deploy { .. }));
    assert!(bench.refused(6, "w2").contains("w1 is still being replaced"));
    bench.restart();
    bench.dies("w2");
    bench.now += 10 * MINUTE;
    bench.look("w3", configured(4, EtcdObservation::None));
    assert!(bench.refused(6, "w2").contains("w1 is still being replaced"), "durably");
    ready(&mut bench, 5, "w1");
    assert!(matches!(bench.asks(6, "w2", true), BootAnswer::Deploy { .. }));
    ready(&mut bench, 6, "w2");

    bench.dies("w3");
    bench.now += 10 * MINUTE;
    assert!(bench.refused(7, "w3").contains("2 machines were replaced within a day"));
    bench.dies("w3");
    let waiting = bench.node("w3").waiting.clone().unwrap_or_default();
    assert!(waiting.contains("2 machines were replaced within a day: `ichord slot approve w3`"), "{waiting}");
    bench.now += 24 * 60 * MINUTE;
    assert!(matches!(bench.asks(7, "w3", true), BootAnswer::Deploy { .. }));
}

#[test]
fn a_machine_that_holds_a_slot_is_never_a_replacement_and_the_wrong_cable_is_told() {
    let mut bench = Bench::new(AUTOMATIC);
    bench.install(2, "w1");
    bench.install(3, "w2");
    bench.dies("w1");
    bench.now += 60 * MINUTE;
    bench.look("w2", configured(3, EtcdObservation::None));
    let reason = bench.refused(3, "w1");
    assert_eq!(reason, "wrong cable: w2 (02:00:00:00:00:03) is plugged into the port of w1");
    assert_eq!(bench.node("w2").warning, Some(reason.clone()));
    // a look that finds it well does not make the cable right
    bench.look("w2", configured(3, EtcdObservation::None));
    assert_eq!(bench.node("w2").warning, Some(reason));
    bench.step(Event::Identified { machine: machine(3), identity: slot("w2", false) });
    assert_eq!(bench.node("w2").warning, None);
    let refused = Identity::Refused { reason: "two switches".into() };
    bench.step(Event::Identified { machine: machine(3), identity: refused });
    assert!(bench.node("w2").warning.unwrap().contains("cannot be said"));
}

#[test]
fn a_control_plane_is_not_replaced_while_etcd_counts_on_it() {
    let mut bench = Bench::new(ReplacePolicy::Ask);
    let mut two = plan(ReplacePolicy::Ask);
    let node = NodePlan { address: IpAddr::from([10, 0, 0, 20]), ..two.nodes[&"cp1".into()].clone() };
    two.nodes.insert("cp2".into(), node);
    two.timing.observe = Duration::from_secs(60);
    bench.step(Event::PlanChanged(Box::new(two)));
    let member = |name: &str| EtcdMember { name: name.into(), id: format!("id-{name}"), learner: false };
    let health = EtcdHealth { leader: Some("id-cp1".into()), term: 2, errors: Vec::new() };
    let members = |names: &[&str]| EtcdObservation::Members {
        members: names.iter().map(|name| member(name)).collect(),
        health: health.clone(),
    };
    bench.install(1, "cp1");
    bench.install(2, "cp2");
    bench.look("cp1", configured(1, EtcdObservation::Waiting));
    bench.look("cp2", configured(2, EtcdObservation::Waiting));
    let ticket = bench.take(|effect| match effect {
        Effect::SeekCluster { ticket, .. } => Some(*ticket),
        _ => None,
    });
    bench.step(Event::ClusterSought { ticket, owner: None, nodes: Vec::new() });
    let is_bootstrap = |effect: &Effect| match effect {
        Effect::Bootstrap { ticket, .. } => Some(*ticket),
        _ => None,
    };
    bench.take(is_bootstrap);
    bench.look("cp1", configured(1, members(&["cp1", "cp2"])));
    bench.look("cp2", configured(2, members(&["cp1", "cp2"])));

    bench.dies("cp1");
    bench.refused(5, "cp1");
    // who looks at the status must see what to do, also after the next look found nobody
    bench.dies("cp1");
    let waiting = bench.node("cp1").waiting.unwrap_or_default();
    assert!(waiting.contains("is plugged in there and waits: cp1 is one of etcd's two voters"), "{waiting}");
    let counted = bench.order(Order::Admit { node: "cp1".into() }).unwrap_err();
    assert!(counted.contains("one of etcd's two voters"), "{counted}");
    assert!(!bench.flying.iter().any(|effect| matches!(effect, Effect::Depart { .. })), "nothing is changed");
    bench.look("cp2", configured(2, members(&["cp2"])));
    bench.order(Order::Admit { node: "cp1".into() }).unwrap();
    assert!(matches!(bench.asks(5, "cp1", true), BootAnswer::Deploy { .. }));

    bench.dies("cp2");
    let unsure = bench.order(Order::Release { node: "cp2".into() }).unwrap_err();
    assert!(unsure.contains("nothing is changed"), "{unsure}");
}
