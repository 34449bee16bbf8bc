//! A network that loses, doubles and reorders by a seed, and a client as RFC 1350 and 7440 want it.

use std::collections::BTreeMap;

use super::*;

/// Percentages, and milliseconds.
pub(super) struct Network {
    pub(super) losses: u32,
    /// no more losses until the server has seen progress again
    pub(super) most_in_a_row: u32,
    pub(super) doubles: u32,
    /// up to so much is added to the 10 ms each way
    pub(super) jitter: u64,
    pub(super) state: u64,
    pub(super) lost: u32,
}

impl Network {
    pub(super) fn new(seed: u64) -> Self {
        Self { losses: 0, most_in_a_row: u32::MAX, doubles: 0, jitter: 0, state: seed | 1, lost: 0 }
    }

    /// xorshift64*
    fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    /// When copies of a datagram that is sent at `at` arrive.
    fn deliver(&mut self, at: u64) -> Vec<u64> {
        if self.below(100) < u64::from(self.losses) && self.lost < self.most_in_a_row {
            self.lost += 1;
            return Vec::new();
        }
        let copies = if self.below(100) < u64::from(self.doubles) { 2 } else { 1 };
        (0..copies).map(|_| at + 10 + self.below(self.jitter + 1)).collect()
    }
}

/// What a client has, and its habits.
#[derive(Default)]
pub(super) struct Client {
    /// answers every block that does not fit, as EDK2 does; otherwise only the first of a gap
    eager: bool,
    received: Vec<u8>,
    block_size: usize,
    window: u64,
    /// the block that it has and all before
    has: u64,
    since_ack: u64,
    gap_told: bool,
    begun: bool,
    whole: bool,
}

impl Client {
    pub(super) fn new(eager: bool) -> Self {
        Self { eager, ..Self::default() }
    }

    fn on(&mut self, datagram: &[u8]) -> Option<Packet<'static>> {
        match Packet::parse(datagram).unwrap() {
            Packet::OptionAck(options) => {
                if self.has == 0 {
                    self.begun = true;
                    self.block_size = options.block_size.unwrap_or(512) as usize;
                    self.window = options.window.unwrap_or(1);
                    return Some(Packet::Ack(0));
                }
                None
            }
            Packet::Data { block, data } if block == on_the_wire(self.has + 1) && !self.whole => {
                self.begun = true;
                self.has += 1;
                self.received.extend_from_slice(data);
                self.whole = data.len() < self.block_size;
                self.since_ack += 1;
                self.gap_told = false;
                if self.whole || self.since_ack >= self.window {
                    self.since_ack = 0;
                    return Some(self.ack());
                }
                None
            }
            Packet::Data { .. } if self.whole || self.eager || !self.gap_told => {
                self.gap_told = true;
                // in lock-step a block that is not the next one is an old one: it is acknowledged again
                self.since_ack = 0;
                Some(self.ack())
            }
            Packet::Data { .. } => None,
            other => panic!("{other:?}"),
        }
    }

    fn ack(&self) -> Packet<'static> {
        Packet::Ack(on_the_wire(self.has))
    }
}

pub(super) struct Outcome {
    pub(super) end: End,
    pub(super) received: Vec<u8>,
    pub(super) data_packets: u64,
}

/// Plays a transfer to its end. The request has arrived; afterwards everything goes over the network.
pub(super) fn play(asked: &Options, file: &Arc<[u8]>, mut network: Network, mut client: Client) -> Outcome {
    let begin = Instant::now();
    let at = |ms: u64| begin + Duration::from_millis(ms);
    let limits = Limits { longest: Duration::from_secs(3600), ..Limits::default() };
    let mut transfer = Transfer::new(asked, Arc::clone(file), &limits, begin);
    (client.block_size, client.window) = (512, 1);
    // by time and order of sending
    let mut to_client: BTreeMap<(u64, u64), Vec<u8>> = BTreeMap::new();
    let mut to_server: BTreeMap<(u64, u64), Vec<u8>> = BTreeMap::new();
    let (mut now, mut serial, mut data_packets, mut client_timer) = (0, 0, 0, 1000);
    let mut datagram = Vec::new();
    loop {
        while transfer.poll_transmit(&mut datagram) {
            data_packets += u64::from(datagram[1] == 3);
            for arrival in network.deliver(now) {
                serial += 1;
                to_client.insert((arrival, serial), datagram.clone());
            }
        }
        // whoever has no time for it does not do it, and nothing is otherwise
        if now % 3 == 0 {
            transfer.read_ahead();
        }
        if let Some(end) = transfer.end_of() {
            return Outcome { end: end.clone(), received: client.received, data_packets };
        }
        // the server's clock in whole milliseconds, rounded up
        let deadline = transfer.next_deadline().unwrap().duration_since(begin);
        let deadline = u64::try_from(deadline.as_nanos().div_ceil(1_000_000)).unwrap();
        let arrivals = [to_client.keys().next(), to_server.keys().next()];
        let next =
            arrivals.into_iter().flatten().map(|(time, _)| *time).chain([deadline, client_timer]).min();
        now = next.unwrap().max(now);

        let mut answers = Vec::new();
        if let Some((key, bytes)) = to_client.first_key_value().map(|(key, bytes)| (*key, bytes.clone()))
            && key.0 <= now
        {
            to_client.remove(&key);
            answers.extend(client.on(&bytes));
            client_timer = now + 1000;
        } else if let Some((key, bytes)) =
            to_server.first_key_value().map(|(key, bytes)| (*key, bytes.clone()))
            && key.0 <= now
        {
            to_server.remove(&key);
            let before = (transfer.delivered(), transfer.phase.clone());
            transfer.on_datagram(&bytes, at(now));
            if before != (transfer.delivered(), transfer.phase.clone()) {
                network.lost = 0;
            }
        } else if now >= client_timer {
            client_timer = now + 1000;
            answers.extend(client.begun.then(|| client.ack()));
        } else {
            transfer.on_timer(at(now));
        }
        for answer in answers {
            for arrival in network.deliver(now) {
                serial += 1;
                to_server.insert((arrival, serial), answer.to_bytes());
            }
        }
    }
}
