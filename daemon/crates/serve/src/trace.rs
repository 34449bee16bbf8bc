//! The whole conversation of each machine, every layer, in order: what `ichord trace` and `ichord doctor` read.
//!
//! A few lines a machine, kept in memory only and bounded whatever the network does: so many machines, so many
//! lines each, and a line that repeats is counted, not added. DHCP and boot questions know the machine by its
//! hardware address; TFTP and HTTP know an IP address, which is resolved by what DHCP gave out.

mod doctor;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hardware::MacAddr;

pub use doctor::Complaint;

/// More machines are not remembered at once; the one that was silent for the longest goes first.
const MOST_MACHINES: usize = 1024;
/// How exactly that is known, in milliseconds: a machine that says several things in a row moves up once.
const SILENCE: u64 = 1_000;
/// Lines of one machine; a boot from firmware to the operating system takes about thirty.
const MOST_LINES: usize = 96;
/// The longest line, in octets.
const LONGEST_LINE: usize = 400;

/// Where something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layer {
    /// addresses and boot files
    Dhcp,
    /// bootloaders
    Tftp,
    /// scripts and files
    Http,
    /// the question what to boot
    Boot,
}

impl Layer {
    /// As shown to people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dhcp => "dhcp",
            Self::Tftp => "tftp",
            Self::Http => "http",
            Self::Boot => "boot",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that was said and how it was answered, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// when it happened first, in milliseconds since the Unix epoch
    pub at: u64,
    /// when it happened last
    pub last: u64,
    /// how often it happened in a row
    pub times: u32,
    /// where
    pub layer: Layer,
    /// a sentence
    pub what: String,
}

/// Who something is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// known by its card
    Mac(MacAddr),
    /// known by an address that it was given
    Address(IpAddr),
}

/// What is remembered of one machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conversation {
    /// its newest address
    pub address: Option<IpAddr>,
    /// oldest first
    pub lines: VecDeque<Line>,
    /// boot files it was offered since it last fetched anything
    offers: u32,
    /// when the first of them was offered
    offered: u64,
    /// where it stands in the order of silence
    queued: u64,
}

impl Conversation {
    fn last(&self) -> u64 {
        self.lines.back().map_or(0, |line| line.last)
    }
}

/// Everything that is remembered; shared by all socket loops.
#[derive(Debug, Default)]
pub struct Trace(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    machines: BTreeMap<MacAddr, Conversation>,
    /// from the one that was silent for the longest
    silence: BTreeSet<(u64, MacAddr)>,
    /// machines by the address that our own DHCP gave them or that they took before our eyes
    places: BTreeMap<IpAddr, MacAddr>,
    troubles: doctor::Troubles,
    /// memory of lines that are forgotten, for new ones
    spare: Vec<String>,
}

impl Trace {
    /// Adds a line. What is about an address that nobody was given is not kept.
    pub fn note(&self, who: Who, layer: Layer, at: u64, what: impl AsRef<str>) {
        let mut memory = self.memory();
        let Some(mac) = memory.mac(who) else { return };
        let what = what.as_ref();
        let what = match what.len() > LONGEST_LINE {
            true => {
                let end = (0..=LONGEST_LINE).rev().find(|at| what.is_char_boundary(*at));
                what.get(..end.unwrap_or(0)).unwrap_or_default()
            }
            false => what,
        };
        let mut spare = memory.spare.pop().unwrap_or_default();
        let conversation = memory.conversation(mac);
        match conversation.lines.back_mut() {
            Some(line) if line.layer == layer && line.what == what => {
                line.times = line.times.saturating_add(1);
                line.last = at;
                memory.keep(spare);
            }
            _ => {
                if conversation.lines.len() >= MOST_LINES
                    && let Some(oldest) = conversation.lines.pop_front()
                {
                    spare = oldest.what;
                }
                spare.clear();
                spare.push_str(what);
                conversation.lines.push_back(Line { at, last: at, times: 1, layer, what: spare });
            }
        }
        memory.spoke(mac);
    }

    /// The machine has this address from now on.
    pub fn place(&self, mac: MacAddr, address: IpAddr) {
        let mut memory = self.memory();
        let before = memory.conversation(mac).address.replace(address);
        if let Some(before) = before.filter(|before| *before != address) {
            memory.places.remove(&before);
        }
        memory.places.insert(address, mac);
    }

    /// Whose address this is, as far as DHCP knows.
    pub fn machine_at(&self, address: IpAddr) -> Option<MacAddr> {
        self.memory().places.get(&address).copied()
    }

    /// Where the machine was last, as far as anybody here knows.
    pub fn address_of(&self, mac: MacAddr) -> Option<IpAddr> {
        self.memory().machines.get(&mac)?.address
    }

    /// What one machine said and was told; `None` when it has said nothing.
    pub fn conversation(&self, mac: MacAddr) -> Option<Conversation> {
        self.memory().machines.get(&mac).filter(|conversation| !conversation.lines.is_empty()).cloned()
    }

    /// A boot file was offered to the machine.
    pub fn offered(&self, mac: MacAddr, at: u64) {
        let mut memory = self.memory();
        let conversation = memory.conversation(mac);
        if conversation.offers == 0 {
            conversation.offered = at;
        }
        conversation.offers = conversation.offers.saturating_add(1);
    }

    /// The machine fetched something that it was offered.
    pub fn fetched(&self, who: Who) {
        let mut memory = self.memory();
        if let Some(mac) = memory.mac(who) {
            memory.conversation(mac).offers = 0;
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn mac(&self, who: Who) -> Option<MacAddr> {
        match who {
            Who::Mac(mac) => Some(mac),
            Who::Address(address) => self.places.get(&address).copied(),
        }
    }

    fn conversation(&mut self, mac: MacAddr) -> &mut Conversation {
        if !self.machines.contains_key(&mac) {
            if self.machines.len() >= MOST_MACHINES
                && let Some((_, oldest)) = self.silence.pop_first()
                && let Some(forgotten) = self.machines.remove(&oldest)
            {
                if let Some(address) = forgotten.address
                    && self.places.get(&address) == Some(&oldest)
                {
                    self.places.remove(&address);
                }
                forgotten.lines.into_iter().for_each(|line| self.keep(line.what));
            }
            self.silence.insert((0, mac));
        }
        self.machines.entry(mac).or_default()
    }

    /// Keeps some memory for lines to come.
    fn keep(&mut self, text: String) {
        if text.capacity() > 0 && self.spare.len() < MOST_LINES {
            self.spare.push(text);
        }
    }

    /// The machine has just said something.
    fn spoke(&mut self, mac: MacAddr) {
        let Some(conversation) = self.machines.get_mut(&mac) else { return };
        let last = conversation.last();
        if last.abs_diff(conversation.queued) >= SILENCE {
            self.silence.remove(&(conversation.queued, mac));
            conversation.queued = last;
            self.silence.insert((last, mac));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 77, 0, last])
    }

    #[test]
    fn every_layer_joins_one_conversation_in_order() {
        let trace = Trace::default();
        trace.note(Who::Address(address(100)), Layer::Tftp, 1, "nobody has this address yet");
        trace.note(Who::Mac(MAC), Layer::Dhcp, 2, "DISCOVER: OFFER");
        trace.place(MAC, address(100));
        trace.note(Who::Address(address(100)), Layer::Tftp, 3, "snponly.efi: done");
        trace.note(Who::Address(address(100)), Layer::Http, 4, "GET /boot.ipxe: 200");
        let said = trace.conversation(MAC).unwrap();
        let lines: Vec<_> = said.lines.iter().map(|line| (line.at, line.layer)).collect();
        assert_eq!(lines, [(2, Layer::Dhcp), (3, Layer::Tftp), (4, Layer::Http)]);
        assert_eq!((said.address, trace.machine_at(address(100))), (Some(address(100)), Some(MAC)));
        assert_eq!(trace.conversation(MacAddr([2; 6])), None);
    }

    #[test]
    fn what_repeats_is_counted() {
        let trace = Trace::default();
        for at in 1..=5 {
            trace.note(Who::Mac(MAC), Layer::Dhcp, at, "DISCOVER: silence");
        }
        let said = trace.conversation(MAC).unwrap();
        assert_eq!(said.lines.len(), 1);
        assert_eq!((said.lines[0].at, said.lines[0].last, said.lines[0].times), (1, 5, 5));
    }

    #[test]
    fn an_address_that_went_to_another_machine_is_the_others() {
        let (trace, other) = (Trace::default(), MacAddr([2, 0, 0, 0, 0, 2]));
        trace.place(MAC, address(100));
        trace.place(MAC, address(101));
        assert_eq!(trace.machine_at(address(100)), None);
        trace.place(other, address(101));
        assert_eq!(trace.machine_at(address(101)), Some(other));
    }

    #[test]
    fn who_was_silent_for_the_longest_is_forgotten_first() {
        let trace = Trace::default();
        let mac = |number: usize| MacAddr([2, 0, 0, 1, (number >> 8) as u8, number as u8]);
        let begin = 1_700_000_000_000;
        for number in 0..MOST_MACHINES {
            trace.note(Who::Mac(mac(number)), Layer::Dhcp, begin + number as u64, "DISCOVER: OFFER");
        }
        // the first says more, twice in a row
        trace.note(Who::Mac(mac(0)), Layer::Dhcp, begin + 60_000, "REQUEST: ACK");
        trace.note(Who::Mac(mac(0)), Layer::Tftp, begin + 60_001, "snponly.efi: done");
        trace.note(Who::Mac(MAC), Layer::Dhcp, begin + 60_002, "DISCOVER: OFFER");
        assert!(trace.conversation(mac(0)).is_some());
        assert!(trace.conversation(mac(1)).is_none());
        assert!(trace.conversation(mac(2)).is_some());
        assert_eq!(trace.memory().silence.len(), MOST_MACHINES);
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let trace = Trace::default();
        for number in 0..3 * MOST_MACHINES as u32 {
            let [_, b, c, d] = number.to_be_bytes();
            let mac = MacAddr([2, 0, 0, b, c, d]);
            trace.place(mac, IpAddr::from(number.to_be_bytes()));
            trace.note(Who::Mac(mac), Layer::Dhcp, u64::from(number), "x".repeat(10_000));
        }
        for line in 0..3 * MOST_LINES {
            trace.note(Who::Mac(MAC), Layer::Http, 9_999_999, format!("line {line}"));
        }
        let memory = trace.memory();
        assert_eq!((memory.machines.len(), memory.silence.len()), (MOST_MACHINES, MOST_MACHINES));
        assert!(memory.places.len() <= MOST_MACHINES);
        assert_eq!(memory.machines[&MAC].lines.len(), MOST_LINES);
        let longest = memory.machines.values().flat_map(|said| &said.lines).map(|line| line.what.len()).max();
        assert_eq!(longest, Some(LONGEST_LINE));
    }
}
