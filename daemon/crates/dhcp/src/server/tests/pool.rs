//! Who gets an address from the pool, and which.

use proptest::prelude::*;

use super::*;

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

#[test]
fn a_phone_gets_nothing_and_a_machine_that_netbooted_does() {
    let mut stand = Stand::unknown();
    let phone = stand.send(&plain(OTHER));
    assert_eq!((label(&phone), kind(&phone)), ("not-for-the-pool", None));
    stand.boot(MACHINE);
    assert_eq!(stand.send(&plain(MACHINE)).reply.unwrap().packet.yiaddr, host(100));
    // for as long as it is remembered or has its lease
    stand.now += HOUR - 1;
    assert!(stand.send(&plain(MACHINE)).reply.is_some());
    stand.now += 1;
    assert_eq!(label(&stand.send(&plain(MACHINE))), "not-for-the-pool");
    // an iPXE that only asked counts too
    stand.send(&firmware(MACHINE));
    assert!(stand.send(&plain(MACHINE)).reply.is_some());
}

#[test]
fn a_lease_lets_the_operating_system_in_after_our_restart() {
    let mut stand = Stand::unknown();
    stand.boot(MACHINE);
    stand.restart();
    assert_eq!(stand.send(&plain(MACHINE)).reply.unwrap().packet.yiaddr, host(100));
}

#[test]
fn the_pool_can_be_for_everybody_or_absent() {
    let everybody = Config { pool_for: PoolFor::Any, ..config() };
    assert!(Stand::new(everybody, Known::default()).send(&plain(OTHER)).reply.is_some());
    let none = Config { pool: None, ..config() };
    assert_eq!(label(&Stand::new(none, Known::default()).send(&firmware(OTHER))), "no-pool");
}

#[test]
fn two_hundred_machines_at_once_do_not_collide() {
    let pool = Some(host(20)..=host(220));
    let mut stand = Stand::new(Config { pool, ..config() }, Known::default());
    let offers: BTreeSet<Ipv4Addr> =
        (0..200).map(|last| stand.send(&firmware(mac(last))).reply.unwrap().packet.yiaddr).collect();
    assert_eq!(offers.len(), 200);
}

#[test]
fn an_offer_that_is_not_taken_is_free_after_a_while() {
    let mut stand = Stand::new(Config { pool: Some(host(100)..=host(100)), ..config() }, Known::default());
    assert!(stand.send(&firmware(MACHINE)).reply.is_some());
    stand.now += 60 * SECOND - 1;
    let full = stand.send(&firmware(OTHER));
    assert_eq!(label(&full), "pool-exhausted");
    assert!(full.note.unwrap().is_alarming());
    stand.now += 1;
    assert!(stand.send(&firmware(OTHER)).reply.is_some());
}

#[test]
fn some_addresses_are_never_given() {
    let whole = Config {
        subnet: "10.77.0.0/29".parse().unwrap(),
        pool: Some(host(0)..=host(7)),
        gateway: Some(host(2)),
        excluded: [host(3)].into(),
        ..config()
    };
    let mut stand = Stand::new(whole, Known::default());
    stand.known.slots.insert(OTHER, host(4));
    let given: Vec<Ipv4Addr> = (0..2).map(|last| stand.boot(mac(last))).collect();
    assert_eq!(given, [host(5), host(6)], "not network, server, gateway, excluded, slot, broadcast");
    assert_eq!(label(&stand.send(&firmware(mac(9)))), "pool-exhausted");
}

#[test]
fn addresses_rest_before_they_go_to_another() {
    let mut stand = Stand::unknown();
    for last in 0..4 {
        assert_eq!(stand.boot(mac(last)), host(100 + last));
    }
    stand.now += 2 * HOUR;
    // all have run out; the oldest is next in turn
    assert_eq!(stand.boot(mac(10)), host(100));
    assert_eq!(stand.boot(mac(2)), host(102), "its own again");
    assert_eq!(stand.boot(mac(0)), host(101), "its own is gone");
}

#[test]
fn a_backward_pool_is_empty() {
    #[allow(clippy::reversed_empty_ranges)] // what a wrong site file could say
    let pool = Some(host(110)..=host(100));
    let mut stand = Stand::new(Config { pool, ..config() }, Known::default());
    assert_eq!(label(&stand.send(&firmware(MACHINE))), "pool-exhausted");
}

#[test]
fn another_configuration_keeps_the_leases() {
    let mut stand = Stand::unknown();
    stand.boot(MACHINE);
    stand.server.reconfigure(Config { pool: Some(host(150)..=host(160)), ..config() });
    let answer = stand.send(&renewing(MACHINE, host(100)));
    assert_eq!(kind(&answer), Some(MessageType::Nak), "outside the pool now");
    assert_eq!(stand.boot(MACHINE), host(150));
}

#[derive(Debug, Clone)]
enum Step {
    Boot(u8),
    Plain(u8),
    Ask(u8, u8),
    Renew(u8, u8),
    Decline(u8, u8),
    Release(u8, u8),
    Wait(u32),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let machine = 0u8..5;
    let address = 99u8..105;
    let step = prop_oneof![
        machine.clone().prop_map(Step::Boot),
        machine.clone().prop_map(Step::Plain),
        (machine.clone(), address.clone()).prop_map(|(a, b)| Step::Ask(a, b)),
        (machine.clone(), address.clone()).prop_map(|(a, b)| Step::Renew(a, b)),
        (machine.clone(), address.clone()).prop_map(|(a, b)| Step::Decline(a, b)),
        (machine, address).prop_map(|(a, b)| Step::Release(a, b)),
        (0u32..3_000).prop_map(Step::Wait),
        Just(Step::Restart),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    /// Whatever machines do: no address is with two of them at a time, none leaves the pool, and what
    /// was stored is what is known after a crash (`Stand::send` compares).
    #[test]
    fn no_address_is_with_two_machines(steps in steps()) {
        let mut stand = Stand::unknown();
        let mut held: BTreeMap<Ipv4Addr, (MacAddr, u64)> = BTreeMap::new();
        for step in steps {
            let packet = match step {
                Step::Boot(who) => {
                    let discover = stand.send(&firmware(mac(who)));
                    match discover.reply {
                        Some(reply) => selecting(mac(who), reply.packet.yiaddr),
                        None => continue,
                    }
                }
                Step::Plain(who) => plain(mac(who)),
                Step::Ask(who, address) => rebooted(mac(who), host(address)),
                Step::Renew(who, address) => renewing(mac(who), host(address)),
                Step::Decline(who, address) => with_address(message(mac(who), MessageType::Decline), host(address)),
                Step::Release(who, address) => Packet { ciaddr: host(address), ..message(mac(who), MessageType::Release) },
                Step::Wait(seconds) => {
                    stand.now += u64::from(seconds) * SECOND;
                    continue;
                }
                Step::Restart => {
                    stand.restart();
                    continue;
                }
            };
            let answer = stand.send(&packet);
            if matches!(answer.note, Some(Note::Released { .. } | Note::Declined { .. })) {
                held.retain(|_, (who, _)| Some(*who) != packet.mac());
            }
            if let Some((who, address)) = answer.bound {
                prop_assert!((host(100)..=host(103)).contains(&address));
                if let Some((holder, until)) = held.get(&address) {
                    prop_assert!(*holder == who || *until <= stand.now, "{address} is with {holder} and {who}");
                }
                held.retain(|_, (holder, _)| *holder != who);
                held.insert(address, (who, stand.now + HOUR));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// No packet stops the server, and every answer can be read.
    #[test]
    fn mutated_captures_never_stop_the_server(
        which in proptest::collection::vec(0..captures::ALL.len(), 1..6),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        mode in prop_oneof![Just(Mode::Authoritative), Just(Mode::Proxy)],
    ) {
        let mut stand = Stand::new(Config { mode, ..config() }, Known::slot(OTHER));
        for which in which {
            let mut bytes = captures::bytes(captures::ALL[which].0);
            for (at, octet) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *octet;
            }
            let Ok(packet) = Packet::parse(&bytes) else { continue };
            if let Some(reply) = stand.send(&packet).reply {
                let read = Packet::parse(&reply.packet.to_bytes()).unwrap();
                prop_assert_eq!(read.options.address(OptionCode::ServerIdentifier), Some(SERVER));
                prop_assert_eq!((read.op, read.xid), (2, packet.xid));
            }
        }
    }
}
