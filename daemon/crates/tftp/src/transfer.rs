//! One file on its way to one client, as a state machine without a clock and without a socket.
//!
//! ```text
//!            options asked for                   ACK 0
//! request ───────────────────► Offering (OACK) ────────► Sending ──ACK of the last block──► Ended: Done
//!        └── none asked for ───────────────────────────────▲ │
//!                    the client's ERROR, silence, ICMP, too long: Ended with the reason, from everywhere
//! ```
//!
//! The caller hands in what comes ([`Transfer::on_datagram`]) and calls [`Transfer::on_timer`] when
//! [`Transfer::next_deadline`] is reached; after each it sends what [`Transfer::poll_transmit`] has.
//! Nothing is held but the file, which all transfers share, and numbers.
//!
//! When blocks are sent again:
//! - The timer runs out: everything from the first one that is not acknowledged.
//! - An acknowledgement within the window: the client misses what comes after (RFC 7440 §4). Those that
//!   follow at once, from a client that answers every block, only move the window on.
//! - With a window above 1, one more acknowledgement of what was acknowledged: the client misses the
//!   first block of the window. It counts only if it can be an answer to that block, and only so many
//!   times; otherwise every doubled acknowledgement would double the window, and that again the
//!   acknowledgements.
//! - In lock-step never on a doubled acknowledgement (RFC 1123 §4.2.3.1, the Sorcerer's Apprentice).

mod timer;

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::packet::{Options, Packet};
use timer::Timer;

/// Octets of a block when nothing else was agreed (RFC 1350 §2).
const PLAIN_BLOCK: u16 = 512;
/// The least block size that may be asked for (RFC 2348).
const SMALLEST_BLOCK: u64 = 8;
/// So often the same thing is sent without progress before the client is given up.
const TRIES: u32 = 8;
/// The same for the first packet. Its receiver has not said a word yet and may be a victim whose
/// address somebody else wrote into the request.
const FIRST_TRIES: u32 = 4;
/// So often repeated acknowledgements of one block bring its window again; then only the timer does.
const RESENDS: u32 = 4;

/// What a client gets at most, whatever it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// octets of a block; 1468 and the headers make an Ethernet frame
    pub block_size: u16,
    /// blocks in flight
    pub window: u16,
    /// seconds; an option that asks to wait longer is not granted
    pub timeout: u16,
    /// a transfer ends after this time, done or not
    pub longest: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { block_size: 1468, window: 64, timeout: 10, longest: Duration::from_secs(600) }
    }
}

/// How a transfer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// the client has the whole file
    Done,
    /// the client only wanted to know the size. UEFI firmware asks so before every file and says it
    /// with an ERROR, so nothing is wrong.
    Probed,
    /// the client does not want it
    Aborted {
        /// see [`crate::packet::code`]
        code: u16,
        /// in its words
        text: String,
    },
    /// the client answers no more
    Silent,
    /// nobody listens at the client's port any more
    Gone,
    /// it took longer than [`Limits::longest`]
    Late,
}

impl End {
    /// For counters.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Probed => "probed",
            Self::Aborted { .. } => "aborted",
            Self::Silent => "silent",
            Self::Gone => "gone",
            Self::Late => "late",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// the granted options wait for ACK 0
    Offering,
    Sending,
    Ended(End),
}

/// A block that was written before its turn.
#[derive(Debug, Clone, Default)]
struct Ahead {
    block: Option<u64>,
    datagram: Vec<u8>,
}

/// A file on its way to a client. Blocks are numbered from 1 and do not roll over here; on the wire
/// they do, from 65535 to 0.
#[derive(Debug, Clone)]
pub struct Transfer {
    content: Arc<[u8]>,
    phase: Phase,
    offer: Options,
    offer_waits: bool,
    block_size: u16,
    window: u64,
    /// the number of the last block, the one that is shorter than the others and may be empty
    last: u64,
    /// everything up to this block has come
    acknowledged: u64,
    /// the highest block that was ever sent
    highest: u64,
    /// to send next
    next: u64,
    ahead: Ahead,
    /// the client has answered at least once
    heard: bool,
    tries: u32,
    resends: u32,
    repeated: u64,
    timer: Timer,
    ends_at: Instant,
}

impl Transfer {
    /// Begins with what the client asked for. Only what was asked for is granted, and nothing above the
    /// limits.
    pub fn new(asked: &Options, content: Arc<[u8]>, limits: &Limits, now: Instant) -> Self {
        let at_most = |limit: u16, least: u64| move |asked: u64| asked.min(u64::from(limit).max(least));
        let size = content.len() as u64;
        let offer = Options {
            block_size: asked
                .block_size
                .filter(|asked| *asked >= SMALLEST_BLOCK)
                .map(at_most(limits.block_size, SMALLEST_BLOCK)),
            timeout: asked.timeout.filter(|asked| (1..=u64::from(limits.timeout)).contains(asked)),
            size: asked.size.map(|_| size),
            window: asked.window.filter(|asked| *asked >= 1).map(at_most(limits.window, 1)),
        };
        let block_size = offer.block_size.and_then(|size| size.try_into().ok()).unwrap_or(PLAIN_BLOCK);
        let offers = !offer.is_empty();
        Self {
            phase: if offers { Phase::Offering } else { Phase::Sending },
            offer,
            offer_waits: offers,
            block_size,
            window: offer.window.unwrap_or(1),
            last: size / u64::from(block_size) + 1,
            content,
            acknowledged: 0,
            highest: 0,
            next: 1,
            ahead: Ahead::default(),
            heard: false,
            tries: 1,
            resends: 0,
            repeated: 0,
            timer: Timer::new(offer.timeout.map(Duration::from_secs), now),
            ends_at: now + limits.longest,
        }
    }

    /// Something came from the client.
    pub fn on_datagram(&mut self, bytes: &[u8], now: Instant) {
        let Ok(packet) = Packet::parse(bytes) else { return };
        match (&self.phase, packet) {
            (Phase::Ended(_), _) => {}
            (Phase::Offering, Packet::Error { .. }) if self.offer.size.is_some() => self.end(End::Probed),
            (Phase::Offering | Phase::Sending, Packet::Error { code, text }) => {
                self.end(End::Aborted { code, text });
            }
            (Phase::Offering, Packet::Ack(0)) => {
                self.phase = Phase::Sending;
                self.progress(now);
            }
            (Phase::Sending, Packet::Ack(block)) => self.on_ack(block, now),
            // an old packet of another transfer, or nonsense: neither is worth ending for
            (Phase::Offering, Packet::Ack(_))
            | (
                Phase::Offering | Phase::Sending,
                Packet::Read(_) | Packet::Write(_) | Packet::Data { .. } | Packet::OptionAck(_),
            ) => {}
        }
    }

    fn on_ack(&mut self, block: u16, now: Instant) {
        // the 16 bits mean one of the blocks in flight, or something old
        let ahead = u64::from(block.wrapping_sub(on_the_wire(self.acknowledged)));
        if ahead > self.highest - self.acknowledged {
            return;
        }
        if ahead == 0 {
            self.on_repeated_ack(now);
            return;
        }
        self.acknowledged += ahead;
        if self.acknowledged == self.last {
            self.end(End::Done);
        } else {
            let within = self.acknowledged < self.highest;
            // so early it cannot be about what was sent last, which has the missing blocks again
            let again = !within || self.timer.may_be_answered(now);
            let follows = self.acknowledged + 1;
            self.next = if again { follows } else { self.next.max(follows) };
            self.progress(now);
        }
    }

    fn on_repeated_ack(&mut self, now: Instant) {
        let in_flight = self.highest > self.acknowledged;
        if self.window > 1 && in_flight && self.resends < RESENDS && self.timer.may_be_answered(now) {
            self.resends += 1;
            self.send_again(now);
        }
    }

    /// The client has something new and gets what comes after it.
    fn progress(&mut self, now: Instant) {
        self.heard = true;
        self.tries = 1;
        self.resends = 0;
        self.timer.answered(now);
        // what is in flight already may be acknowledged at once, which says nothing about the network
        self.timer.sent(now, self.highest == self.acknowledged);
    }

    fn send_again(&mut self, now: Instant) {
        match self.phase {
            Phase::Offering => {
                self.offer_waits = true;
                self.repeated += 1;
            }
            Phase::Sending => self.next = self.acknowledged + 1,
            Phase::Ended(_) => {}
        }
        self.timer.sent(now, false);
    }

    /// The deadline may have come.
    pub fn on_timer(&mut self, now: Instant) {
        if self.end_of().is_some() {
            return;
        }
        if now >= self.ends_at {
            self.end(End::Late);
        } else if now >= self.timer.deadline() {
            if self.tries >= if self.heard { TRIES } else { FIRST_TRIES } {
                self.end(End::Silent);
            } else {
                self.tries += 1;
                self.timer.back_off();
                self.send_again(now);
            }
        }
    }

    /// The network says that nobody listens there (ICMP).
    pub fn on_unreachable(&mut self) {
        if self.end_of().is_none() {
            self.end(End::Gone);
        }
    }

    /// Writes the next datagram into the emptied buffer; `false` when there is nothing to send now.
    pub fn poll_transmit(&mut self, into: &mut Vec<u8>) -> bool {
        into.clear();
        match self.phase {
            Phase::Offering if self.offer_waits => {
                self.offer_waits = false;
                Packet::OptionAck(self.offer).write(into);
                true
            }
            Phase::Sending if self.next <= self.last.min(self.acknowledged + self.window) => {
                let block = self.next;
                self.next += 1;
                if block > self.highest {
                    self.highest = block;
                } else {
                    self.repeated += 1;
                }
                match self.ahead.block.take() {
                    Some(ahead) if ahead == block => mem::swap(into, &mut self.ahead.datagram),
                    _ => self.write(block, into),
                }
                true
            }
            Phase::Offering | Phase::Sending | Phase::Ended(_) => false,
        }
    }

    /// Writes the block that comes next before its turn has come: for a time in which nothing else is to be done, since
    /// the file's memory is slow. Changes nothing of what is sent.
    pub fn read_ahead(&mut self) {
        let block = self.next;
        if self.end_of().is_none() && block <= self.last && self.ahead.block != Some(block) {
            let mut datagram = mem::take(&mut self.ahead.datagram);
            datagram.clear();
            self.write(block, &mut datagram);
            self.ahead = Ahead { block: Some(block), datagram };
        }
    }

    fn write(&self, block: u64, into: &mut Vec<u8>) {
        Packet::Data { block: on_the_wire(block), data: self.data(block) }.write(into);
    }

    fn data(&self, block: u64) -> &[u8] {
        let size = usize::from(self.block_size);
        let begin = usize::try_from(block - 1).unwrap_or(usize::MAX).saturating_mul(size);
        let rest = self.content.get(begin..).unwrap_or_default();
        rest.get(..size).unwrap_or(rest)
    }

    /// When [`Transfer::on_timer`] wants to be called; `None` when the transfer has ended.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.end_of().is_none().then(|| self.timer.deadline().min(self.ends_at))
    }

    /// Whether each block waits for the answer to the one before.
    pub fn is_lock_step(&self) -> bool {
        self.window == 1
    }

    /// How it ended, once it has.
    pub fn end_of(&self) -> Option<&End> {
        match &self.phase {
            Phase::Ended(end) => Some(end),
            Phase::Offering | Phase::Sending => None,
        }
    }

    /// Octets of the file that the client has.
    pub fn delivered(&self) -> u64 {
        (self.acknowledged * u64::from(self.block_size)).min(self.content.len() as u64)
    }

    /// Datagrams that were sent more than once.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    fn end(&mut self, end: End) {
        self.phase = Phase::Ended(end);
    }
}

/// Block numbers roll over to 0.
fn on_the_wire(block: u64) -> u16 {
    (block & 0xffff) as u16
}

#[cfg(test)]
mod tests;
