//! Addresses that were looked at before anybody asked for them.

use proptest::prelude::*;

use super::*;
use crate::LeaseState;

const STRANGER: MacAddr = MacAddr([2, 0, 0, 0, 9, 9]);

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

fn probing() -> Config {
    Config { probe: true, pool_for: PoolFor::Any, ..config() }
}

impl Stand {
    fn beforehand(&mut self, room: usize) -> Vec<Ipv4Addr> {
        self.server.beforehand(&self.known, self.now, room)
    }

    fn probed(&mut self, address: Ipv4Addr, user: Option<MacAddr>) -> Answer {
        let answer = self.server.probed(address, user, &self.known, self.now);
        for (address, change) in answer.changes.iter() {
            self.stored.remove(&address);
            self.stored.extend(change.after.clone().map(|lease| (address, lease)));
        }
        answer
    }

    fn heard(&mut self, address: Ipv4Addr, user: MacAddr) {
        self.server.heard(address, user, &self.known, self.now);
    }

    /// Everything that wants to be looked at is found free.
    fn stocked(config: Config, known: Known) -> Self {
        let mut stand = Self::new(config, known);
        for address in stand.beforehand(100) {
            stand.probed(address, None);
        }
        stand
    }

    fn offer(&mut self, mac: MacAddr) -> Result<Ipv4Addr, Box<Answer>> {
        let answer = self.send(&firmware(mac));
        answer.reply.as_ref().map(|reply| reply.packet.yiaddr).ok_or_else(|| Box::new(answer.clone()))
    }
}

#[test]
fn an_offer_from_the_stock_leaves_at_once() {
    let mut stand = Stand::new(probing(), Known::default());
    assert_eq!(
        stand.beforehand(3),
        [host(100), host(101), host(102)],
        "in order, and no more than there is room for"
    );
    assert_eq!(stand.beforehand(3), [host(103)], "nothing twice");
    assert_eq!(stand.beforehand(3), Vec::<Ipv4Addr>::new());
    for last in [102, 100, 101] {
        stand.probed(host(last), None);
    }
    assert_eq!(stand.offer(mac(1)), Ok(host(100)));
    assert_eq!(stand.offer(mac(1)), Ok(host(100)), "the same again");
    assert_eq!(stand.offer(mac(2)), Ok(host(101)));
    assert_eq!(stand.offer(mac(3)), Ok(host(102)));
    // the last one is still being looked at: it is waited for
    let waits = stand.offer(mac(4)).unwrap_err();
    assert_eq!((label(&waits), waits.probe), ("looking", Some(host(103))));
    stand.probed(host(103), None);
    assert_eq!(stand.offer(mac(4)), Ok(host(103)));
    assert_eq!(label(&stand.offer(mac(5)).unwrap_err()), "pool-exhausted");
}

#[test]
fn whoever_is_heard_using_an_address_takes_it_out_of_the_stock() {
    let mut stand = Stand::stocked(probing(), Known::default());
    stand.heard(host(100), STRANGER);
    assert_eq!(stand.offer(mac(1)), Ok(host(101)));
    // it is looked at again, and then in quarantine
    assert_eq!(stand.beforehand(9), [host(100)]);
    let found = stand.probed(host(100), Some(STRANGER));
    assert_eq!((label(&found), stand.stored[&host(100)].state), ("in-use", LeaseState::Declined));
    assert_eq!(stand.beforehand(9), Vec::<Ipv4Addr>::new());
    // the machine that is offered it may say so
    stand.heard(host(101), mac(1));
    assert_eq!(stand.offer(mac(1)), Ok(host(101)));
    // and one that is offered it is not offered it again once somebody else has it
    stand.heard(host(101), STRANGER);
    assert_eq!(stand.offer(mac(1)).unwrap_err().probe, Some(host(101)));
}

#[test]
fn a_lease_is_not_taken_away_by_a_look_that_comes_late() {
    let mut stand = Stand::new(probing(), Known::default());
    stand.beforehand(9);
    stand.send(&selecting(mac(1), host(100)));
    let before = stand.stored.clone();
    // first its own machine answers, then another one
    assert_eq!(stand.probed(host(100), Some(mac(1))), Answer::default());
    assert_eq!(label(&stand.probed(host(100), Some(STRANGER))), "in-use");
    assert_eq!(stand.stored, before);
}

#[test]
fn what_was_seen_ages_and_is_looked_at_again_in_time() {
    let mut stand = Stand::stocked(probing(), Known::default());
    stand.now += 224 * SECOND;
    assert_eq!(stand.beforehand(9), Vec::<Ipv4Addr>::new());
    stand.now += 2 * SECOND;
    assert_eq!(stand.beforehand(9), [host(100), host(101), host(102), host(103)]);
    stand.probed(host(101), None);
    // the others were forgotten by whoever looks: their time is over
    stand.now += 75 * SECOND;
    assert_eq!(stand.offer(mac(1)), Ok(host(101)));
    assert_eq!(stand.beforehand(9), [host(100), host(102), host(103)]);
}

#[test]
fn slot_addresses_are_looked_at_first() {
    let nodes: BTreeSet<_> = [SLOT, host(12), "10.99.0.1".parse().unwrap()].into();
    let config = Config { nodes: nodes.clone(), excluded: nodes, ..probing() };
    let mut stand = Stand::new(config, Known::slot(MACHINE));
    assert_eq!(stand.beforehand(3), [SLOT, host(12), host(100)], "in this network only");
    stand.probed(SLOT, None);
    assert_eq!(stand.offer(MACHINE), Ok(SLOT));
    // whoever sits on one is no lease, and is looked at again soon
    stand.probed(host(12), Some(STRANGER));
    assert!(stand.stored.is_empty());
    stand.now += 31 * SECOND;
    assert!(stand.beforehand(9).contains(&host(12)));
    // a slot address that its machine has needs no looks
    stand.now += HOUR;
    let wanted = stand.beforehand(9);
    assert!(!wanted.contains(&SLOT) && wanted.contains(&host(12)), "{wanted:?}");
}

#[test]
fn who_gives_no_addresses_looks_at_none() {
    for config in [
        Config { mode: Mode::Proxy, ..probing() },
        Config { mode: Mode::Off, ..probing() },
        Config { relayed: true, ..probing() },
        config(),
    ] {
        assert_eq!(Stand::new(config, Known::default()).beforehand(9), Vec::<Ipv4Addr>::new());
    }
    let mut silenced = Stand::new(probing(), Known::default());
    silenced.server.set_rival(Some(host(9)));
    assert_eq!(silenced.beforehand(9), Vec::<Ipv4Addr>::new());
}

#[test]
fn an_address_that_was_offered_and_not_taken_comes_back() {
    let mut stand = Stand::stocked(probing(), Known::default());
    for last in 1..=4 {
        assert!(stand.offer(mac(last)).is_ok());
    }
    assert_eq!(stand.beforehand(9), Vec::<Ipv4Addr>::new());
    stand.now += 60 * SECOND;
    // nobody has to look again
    assert_eq!(stand.beforehand(9), Vec::<Ipv4Addr>::new());
    assert!(stand.offer(mac(9)).is_ok());
}

#[derive(Debug, Clone)]
enum Step {
    Boot(u8),
    Take(u8, u8),
    Decline(u8, u8),
    Release(u8, u8),
    Look,
    Probed(u8, Option<u8>),
    Heard(u8, u8),
    Wait(u32),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // machines 5 and 6 are strangers that never ask us
    let (machine, anybody, address) = (0u8..5, 0u8..7, 99u8..105);
    let step = prop_oneof![
        4 => machine.clone().prop_map(Step::Boot),
        2 => (machine.clone(), address.clone()).prop_map(|(a, b)| Step::Take(a, b)),
        1 => (machine.clone(), address.clone()).prop_map(|(a, b)| Step::Decline(a, b)),
        1 => (machine, address.clone()).prop_map(|(a, b)| Step::Release(a, b)),
        4 => Just(Step::Look),
        4 => (address.clone(), proptest::option::of(anybody.clone())).prop_map(|(a, b)| Step::Probed(a, b)),
        2 => (address, anybody).prop_map(|(a, b)| Step::Heard(a, b)),
        2 => (0u32..900).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// No address is with two machines, or offered to two; and nobody is offered what it never had unless it was found
    /// free within five minutes and nobody else was heard on it since.
    #[test]
    fn offers_are_unique_and_only_of_what_was_found_free(steps in steps()) {
        let mut stand = Stand::new(probing(), Known::default());
        let mut with: BTreeMap<Ipv4Addr, (MacAddr, u64)> = BTreeMap::new();
        let mut had: BTreeSet<(MacAddr, Ipv4Addr)> = BTreeSet::new();
        let mut clean: BTreeMap<Ipv4Addr, u64> = BTreeMap::new();
        for step in steps {
            let now = stand.now;
            match step {
                Step::Boot(who) => {
                    let who = mac(who);
                    if let Ok(address) = stand.offer(who) {
                        let other = with.get(&address).filter(|(holder, until)| *holder != who && now < *until);
                        prop_assert_eq!(other, None, "{} is offered to {}", address, who);
                        let looked = clean.get(&address).is_some_and(|at| now < at + 300 * SECOND);
                        prop_assert!(looked || had.contains(&(who, address)), "{} was not looked at", address);
                        with.retain(|_, (holder, until)| *holder != who || *until > now + 60 * SECOND);
                        with.entry(address).or_insert((who, now + 60 * SECOND));
                    }
                }
                Step::Take(who, last) => {
                    let (who, address) = (mac(who), host(last));
                    let answer = stand.send(&selecting(who, address));
                    if let Some((_, address)) = answer.bound {
                        let other = with.get(&address).filter(|(holder, until)| *holder != who && now < *until);
                        prop_assert_eq!(other, None, "{} goes to {}", address, who);
                        with.retain(|_, (holder, _)| *holder != who);
                        with.insert(address, (who, now + HOUR));
                        had.retain(|(one, at)| *one != who && *at != address);
                        had.insert((who, address));
                    }
                }
                Step::Decline(who, last) => {
                    let answer = stand.send(&with_address(message(mac(who), MessageType::Decline), host(last)));
                    if label(&answer) == "declined" {
                        with.retain(|_, (holder, _)| *holder != mac(who));
                        had.retain(|(one, _)| *one != mac(who));
                    }
                }
                Step::Release(who, last) => {
                    let release = Packet { ciaddr: host(last), ..message(mac(who), MessageType::Release) };
                    if label(&stand.send(&release)) == "released" {
                        with.retain(|address, (holder, _)| *holder != mac(who) || *address != host(last));
                    }
                }
                Step::Look => {
                    for address in stand.beforehand(2) {
                        prop_assert!((host(100)..=host(103)).contains(&address));
                        let leased = with.get(&address).is_some_and(|(_, until)| now + 60 * SECOND < *until);
                        prop_assert!(!leased, "{} is with somebody", address);
                    }
                }
                Step::Probed(last, user) => {
                    let (address, user) = (host(last), user.map(mac));
                    if !(100..=103).contains(&last) {
                        continue;
                    }
                    let found = stand.probed(address, user);
                    if !found.changes.is_empty() {
                        with.remove(&address);
                        had.retain(|(_, at)| *at != address);
                    }
                    if found == Answer::default() {
                        clean.insert(address, now);
                    } else {
                        clean.remove(&address);
                    }
                }
                Step::Heard(last, user) => {
                    let (address, user) = (host(last), mac(user));
                    let rightful = with.get(&address).is_some_and(|(holder, until)| *holder == user && now < *until);
                    stand.heard(address, user);
                    if !rightful {
                        clean.remove(&address);
                    }
                }
                Step::Wait(seconds) => stand.now += u64::from(seconds) * SECOND,
                Step::Restart => {
                    stand.restart();
                    clean.clear();
                    with.retain(|address, (holder, _)| {
                        stand.stored.get(address).is_some_and(|lease| lease.mac == Some(*holder))
                    });
                }
            }
        }
    }
}
