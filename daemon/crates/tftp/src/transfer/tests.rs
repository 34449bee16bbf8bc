mod network;

use proptest::prelude::*;

use super::*;
use crate::packet::{Mode, Request, code};
use network::{Client, Network, play};

const MS: Duration = Duration::from_millis(1);

/// Octets that differ from block to block.
fn content(size: usize) -> Arc<[u8]> {
    (0..size).map(|index| ((index / 7) ^ index) as u8).collect()
}

fn asked(block_size: Option<u64>, window: Option<u64>) -> Options {
    Options { block_size, window, ..Options::default() }
}

/// `Err` options, `Ok` block number and length.
type Sent = Result<(u16, usize), Options>;

/// A transfer in the hands of a test that plays network and client.
struct Hand {
    transfer: Transfer,
    now: Instant,
}

impl Hand {
    fn new(asked: &Options, size: usize) -> Self {
        let now = Instant::now();
        Self { transfer: Transfer::new(asked, content(size), &Limits::default(), now), now }
    }

    /// What is sent now.
    fn sent(&mut self) -> Vec<Sent> {
        let mut datagram = Vec::new();
        let mut sent = Vec::new();
        while self.transfer.poll_transmit(&mut datagram) {
            sent.push(match Packet::parse(&datagram).unwrap() {
                Packet::Data { block, data } => Ok((block, data.len())),
                Packet::OptionAck(options) => Err(options),
                other => panic!("{other:?}"),
            });
        }
        sent
    }

    fn blocks(&mut self) -> Vec<u16> {
        self.sent().into_iter().map(|sent| sent.unwrap().0).collect()
    }

    fn receives(&mut self, packet: &Packet<'_>, after: Duration) {
        self.now += after;
        self.transfer.on_datagram(&packet.to_bytes(), self.now);
    }

    fn ack(&mut self, block: u16, after: Duration) -> Vec<u16> {
        self.receives(&Packet::Ack(block), after);
        self.blocks()
    }

    /// Lets the deadline come; how long that took, and what is sent then.
    fn wait(&mut self) -> (u128, Vec<Sent>) {
        let deadline = self.transfer.next_deadline().unwrap();
        let waited = (deadline - self.now).as_millis();
        self.now = deadline;
        self.transfer.on_timer(self.now);
        (waited, self.sent())
    }

    fn end(&self) -> Option<&End> {
        self.transfer.end_of()
    }
}

#[test]
fn only_what_was_asked_for_is_granted_and_within_the_limits() {
    let all = |block_size, timeout, size, window| Options { block_size, timeout, size, window };
    let cases = [
        // firmware: OVMF twice, iPXE
        (all(Some(1468), None, Some(0), Some(4)), all(Some(1468), None, Some(3000), Some(4))),
        (all(Some(1468), None, None, Some(4)), all(Some(1468), None, None, Some(4))),
        (all(Some(1432), None, Some(0), None), all(Some(1432), None, Some(3000), None)),
        // too much
        (all(Some(65464), None, None, Some(65535)), all(Some(1468), None, None, Some(64))),
        (all(Some(u64::MAX), None, None, Some(u64::MAX)), all(Some(1468), None, None, Some(64))),
        // as asked, but not what makes no sense
        (all(Some(8), Some(3), None, Some(1)), all(Some(8), Some(3), None, Some(1))),
        (all(Some(7), Some(0), Some(99), Some(0)), all(None, None, Some(3000), None)),
        (all(Some(512), Some(255), None, None), all(Some(512), None, None, None)),
    ];
    for (asked, granted) in cases {
        assert_eq!(Hand::new(&asked, 3000).sent(), [Err(granted)], "{asked:?}");
    }
    // nothing granted: the first block at once, as in 1981
    for asked in [Options::default(), asked(Some(7), Some(0))] {
        assert_eq!(Hand::new(&asked, 3000).sent(), [Ok((1, 512))], "{asked:?}");
    }
}

#[test]
fn the_last_block_is_shorter_and_may_be_empty() {
    for (size, lengths) in
        [(0, &[0][..]), (1, &[1]), (511, &[511]), (512, &[512, 0]), (513, &[512, 1]), (1024, &[512, 512, 0])]
    {
        let mut hand = Hand::new(&Options::default(), size);
        let mut seen = Vec::new();
        while hand.end().is_none() {
            for (block, length) in hand.sent().into_iter().map(Result::unwrap) {
                seen.push(length);
                hand.receives(&Packet::Ack(block), MS);
            }
        }
        assert_eq!((seen.as_slice(), hand.end()), (lengths, Some(&End::Done)), "{size}");
        assert_eq!(hand.transfer.delivered(), size as u64);
    }
}

#[test]
fn a_window_is_sent_at_once_and_continued_where_the_client_says() {
    let mut hand = Hand::new(&asked(Some(8), Some(4)), 100);
    assert_eq!(hand.sent().len(), 1);
    assert_eq!(hand.ack(0, MS), [1, 2, 3, 4]);
    assert_eq!(hand.ack(4, MS), [5, 6, 7, 8]);
    // 6 was lost: RFC 7440 §4, the client acknowledges what it has and gets the rest again
    assert_eq!(hand.ack(5, MS), [6, 7, 8, 9]);
    // 6 was lost again, the same acknowledgement comes
    assert_eq!(hand.ack(5, MS), [6, 7, 8, 9]);
    assert_eq!(hand.ack(9, MS), [10, 11, 12, 13]);
    // old ones and those of blocks that were never sent say nothing
    for stale in [0, 4, 8, 14, 40_000, 65_535] {
        assert_eq!(hand.ack(stale, MS), Vec::<u16>::new(), "{stale}");
    }
    assert_eq!(hand.ack(13, MS), Vec::<u16>::new());
    assert_eq!(hand.end(), Some(&End::Done));
}

#[test]
fn a_doubled_acknowledgement_brings_nothing_twice() {
    let mut hand = Hand::new(&Options::default(), 2000);
    assert_eq!(hand.blocks(), [1]);
    assert_eq!(hand.ack(1, 10 * MS), [2]);
    for _ in 0..100 {
        assert_eq!(hand.ack(1, 10 * MS), Vec::<u16>::new(), "lock-step");
    }
    let mut hand = Hand::new(&asked(Some(512), Some(4)), 20_000);
    hand.sent();
    assert_eq!(hand.ack(0, 10 * MS), [1, 2, 3, 4]);
    assert_eq!(hand.ack(4, 10 * MS), [5, 6, 7, 8]);
    for _ in 0..100 {
        assert_eq!(hand.ack(4, Duration::ZERO), Vec::<u16>::new(), "too early to be an answer to block 5");
    }
    let again: usize = (0..100).map(|_| hand.ack(4, 10 * MS).len()).sum();
    assert_eq!(again, 4 * 4, "as often as RESENDS says");
}

#[test]
fn a_client_that_answers_every_block_gets_the_window_again_once() {
    let mut hand = Hand::new(&asked(Some(512), Some(4)), 20_000);
    hand.sent();
    assert_eq!(hand.ack(0, 10 * MS), [1, 2, 3, 4]);
    assert_eq!(hand.ack(1, 10 * MS), [2, 3, 4, 5]);
    assert_eq!([2, 3, 4].map(|block| hand.ack(block, Duration::ZERO)), [[6], [7], [8]]);
    assert_eq!(hand.transfer.repeated(), 3);
}

#[test]
fn silence_is_met_with_patience_and_then_the_end() {
    let mut hand = Hand::new(&Options::default(), 2000);
    hand.sent();
    hand.ack(1, MS);
    let mut waits = Vec::new();
    while hand.end().is_none() {
        let (waited, sent) = hand.wait();
        waits.push(waited);
        assert_eq!(sent, if hand.end().is_none() { vec![Ok((2, 512))] } else { vec![] });
    }
    assert_eq!(waits, [250, 500, 1000, 2000, 4000, 4000, 4000, 4000]);
    assert_eq!((hand.end(), hand.transfer.next_deadline()), (Some(&End::Silent), None));
    assert_eq!((hand.transfer.delivered(), hand.transfer.repeated()), (512, 7));
}

#[test]
fn who_never_answers_gets_the_first_packet_a_few_times_only() {
    for (asked, first) in [(Options::default(), 516), (asked(Some(1468), Some(64)), 0)] {
        let mut hand = Hand::new(&asked, 1 << 20);
        let mut sent = hand.sent();
        while hand.end().is_none() {
            sent.extend(hand.wait().1);
        }
        assert_eq!(sent.len(), 4, "{asked:?}");
        assert!(sent.iter().all(|packet| matches!(packet, Ok((1, 512)) if first == 516) || packet.is_err()));
    }
}

#[test]
fn an_agreed_timeout_is_kept() {
    let mut hand = Hand::new(&Options { timeout: Some(2), ..Options::default() }, 2000);
    hand.sent();
    assert_eq!(hand.ack(0, MS), [1]);
    assert_eq!(hand.wait(), (2000, vec![Ok((1, 512))]));
    assert_eq!(hand.wait(), (2000, vec![Ok((1, 512))]));
}

#[test]
fn a_transfer_that_takes_for_ever_ends() {
    let mut hand = Hand::new(&asked(Some(8), None), 1 << 20);
    hand.sent();
    let mut block = 0;
    while hand.end().is_none() {
        hand.ack(block, 200 * MS);
        block += 1;
        hand.transfer.on_timer(hand.now);
    }
    assert_eq!((hand.end(), block), (Some(&End::Late), 3000));
}

/// Every event in every phase.
#[test]
fn every_cell_of_the_table() {
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Then {
        Nothing,
        Sends(u16),
        Ends(&'static str),
    }
    use Then::{Ends, Nothing, Sends};
    let request = Request { name: b"a", mode: Mode::Octet, options: Options::default() };
    let error = Packet::Error { code: code::OPTIONS, text: "User aborted the transfer".into() };
    let cases: [(Packet<'_>, [Then; 3]); 9] = [
        // in Offering (tsize asked for), Offering (not), Sending block 1
        (error, [Ends("probed"), Ends("aborted"), Ends("aborted")]),
        (Packet::Ack(0), [Sends(1), Sends(1), Nothing]),
        (Packet::Ack(1), [Nothing, Nothing, Sends(2)]),
        (Packet::Ack(2), [Nothing, Nothing, Nothing]),
        (Packet::Ack(65535), [Nothing, Nothing, Nothing]),
        (Packet::Read(request.clone()), [Nothing, Nothing, Nothing]),
        (Packet::Write(request), [Nothing, Nothing, Nothing]),
        (Packet::Data { block: 1, data: b"x" }, [Nothing, Nothing, Nothing]),
        (Packet::OptionAck(asked(Some(8), None)), [Nothing, Nothing, Nothing]),
    ];
    let probe = Options { size: Some(0), ..Options::default() };
    for (packet, expected) in cases {
        for (options, then) in [probe, asked(Some(512), None), Options::default()].into_iter().zip(expected) {
            let mut hand = Hand::new(&options, 2000);
            hand.sent();
            hand.receives(&packet, MS);
            let sent = hand.blocks();
            let seen = match (hand.end(), sent.as_slice()) {
                (Some(end), []) => Ends(end.label()),
                (None, []) => Nothing,
                (None, [block]) => Sends(*block),
                other => panic!("{other:?}"),
            };
            assert_eq!(seen, then, "{packet:?} after {options:?}");
            // and after the end nothing happens any more
            hand.transfer.on_unreachable();
            let end = hand.end().cloned();
            hand.receives(&packet, MS);
            hand.receives(&Packet::Ack(1), MS);
            hand.transfer.on_timer(hand.now + Duration::from_secs(9999));
            assert_eq!((hand.sent(), hand.end().cloned()), (Vec::new(), end.clone()));
            assert!(end.is_some());
        }
    }
}

#[test]
fn block_numbers_roll_over_to_zero() {
    for window in [None, Some(64)] {
        let size = 8 * 70_000 + 3;
        let network = Network::new(1);
        let outcome = play(&asked(Some(8), window), &content(size), network, Client::new(false));
        assert_eq!(outcome.end, End::Done);
        assert_eq!(outcome.received, content(size).as_ref());
        assert_eq!(outcome.data_packets, 70_001);
    }
}

#[test]
fn a_network_that_doubles_everything_is_not_answered_by_a_flood() {
    for (window, eager) in [(None, false), (None, true), (Some(4), false), (Some(4), true)] {
        let network = Network { doubles: 100, ..Network::new(7) };
        let client = Client::new(eager);
        let outcome = play(&asked(Some(512), window), &content(100_000), network, client);
        assert_eq!((outcome.end, outcome.received.len()), (End::Done, 100_000));
        let sent = outcome.data_packets;
        assert!(if window.is_none() { sent == 196 } else { sent < 2 * 196 }, "{window:?} {eager}: {sent}");
    }
}

proptest! {
    /// A network that loses, doubles and reorders, but never loses so much in a row that patience ends.
    #[test]
    fn every_transfer_that_can_end_brings_the_file(
        seed: u64,
        size in 0_usize..20_000,
        block_size in proptest::option::of(8_u64..1500),
        window in proptest::option::of(1_u64..80),
        losses in 0_u32..40,
        doubles in 0_u32..40,
        jitter in 0_u64..60,
        eager: bool,
    ) {
        let network = Network { losses, most_in_a_row: 2, doubles, jitter, ..Network::new(seed) };
        let client = Client::new(eager);
        let file = content(size);
        let outcome = play(&asked(block_size, window), &file, network, client);
        prop_assert_eq!(outcome.end, End::Done);
        prop_assert!(outcome.received == file.as_ref());
    }

    /// Whatever the network does, the client never has a wrong octet and the transfer ends.
    #[test]
    fn nobody_ever_gets_a_wrong_octet(
        seed: u64,
        size in 0_usize..5_000,
        window in proptest::option::of(1_u64..80),
        losses in 0_u32..100,
        jitter in 0_u64..3_000,
    ) {
        let network = Network { losses, doubles: 20, jitter, ..Network::new(seed) };
        let file = content(size);
        let outcome = play(&asked(Some(100), window), &file, network, Client::new(false));
        prop_assert!(file.starts_with(&outcome.received));
        if outcome.end == End::Done {
            prop_assert!(outcome.received == file.as_ref());
        }
    }

    /// Hostile datagrams: no panic, and never more in flight than the window.
    #[test]
    fn nonsense_from_the_client_does_no_harm(
        window in 1_u64..80,
        events in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..8), 0_u8..8, any::<u16>(), 0_u64..500), 0..60),
    ) {
        let mut hand = Hand::new(&asked(Some(8), Some(window)), 10_000);
        hand.sent();
        for (bytes, kind, block, after) in events {
            hand.now += Duration::from_millis(after);
            let [high, low] = (block % 200).to_be_bytes();
            let datagram = [&[0, kind, high, low][..], &bytes].concat();
            hand.transfer.on_datagram(if kind == 4 { &datagram } else { &bytes }, hand.now);
            hand.transfer.on_timer(hand.now);
            prop_assert!(hand.sent().len() as u64 <= window.min(64));
        }
    }
}
