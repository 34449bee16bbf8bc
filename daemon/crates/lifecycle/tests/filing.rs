//! The picture and what slots are found by follow time and the site, not only the events of a slot. (That they are what going
//! through all slots says is asserted after every step of every test here, and of every simulated world.)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod bench;

use bench::{Bench, plan};
use lifecycle::{Event, NodeName, Role, Time};

#[test]
fn a_permit_that_ends_shows_in_the_picture_although_nothing_happens_to_its_slot() {
    let mut bench = Bench::new(plan(&[("w1", Role::Worker), ("w2", Role::Worker)]));
    bench.permit("w1");
    let expires =
        |bench: &Bench| bench.core.view(Time(bench.now)).nodes[&NodeName::from("w1")].permit_expires;
    let ends = expires(&bench).expect("it is open");
    bench.now = ends.0;
    let view = bench.core.publish(Time(bench.now)).expect("a new picture");
    assert_eq!(view.nodes[&NodeName::from("w1")].permit_expires, None);
    assert_eq!(bench.core.publish(Time(bench.now)), None, "and no other one");
    // the clock goes back: it is open again
    bench.now = ends.0 - 10;
    bench.step(Event::Tick);
    assert_eq!(expires(&bench), Some(ends));
}

#[test]
fn a_node_that_leaves_the_site_leaves_the_picture_and_is_looked_at_no_more() {
    let mut bench = Bench::new(plan(&[("w1", Role::Worker), ("w2", Role::Worker)]));
    for (last, node) in [(1, "w1"), (2, "w2")] {
        bench.configure(last, node, lifecycle::EtcdObservation::None);
    }
    bench.step(Event::PlanChanged(Box::new(plan(&[("w2", Role::Worker)]))));
    let names: Vec<NodeName> = bench.core.view(Time(bench.now)).nodes.into_keys().collect();
    assert_eq!(names, [NodeName::from("w2")]);
    bench.flying.clear();
    bench.now += 600_000;
    bench.step(Event::Tick);
    let looks = bench.flying.iter().filter(|effect| matches!(effect, lifecycle::Effect::Observe { .. }));
    assert_eq!(looks.count(), 1, "{:?}", bench.flying);
    assert!(bench.core.holder_of(&bench::machine(1)).is_some(), "its machine is not forgotten");
}
