//! The machines, all in one thread: what each has asked and when it asks again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use dhcp::{CLIENT_PORT, Packet, SERVER_PORT};
use dhcproto::v4::{DhcpOption, MessageType, OptionCode};
use hardware::MacAddr;
use net::frame::FrameSocket;
use tokio::time::{sleep_until, timeout};

const ETHERTYPE_IPV4: u16 = 0x0800;
/// All are on after this time.
const SECOND: Duration = Duration::from_secs(1);
/// Then a question is repeated.
const PATIENCE: Duration = Duration::from_secs(1);
/// From firmware's lease to iPXE's first question.
const LOADING: Duration = Duration::from_millis(100);
/// Who has nothing by then gets nothing.
const END: Duration = Duration::from_secs(30);

/// What came of it.
pub(crate) struct Came {
    /// of every answered question
    pub(crate) times: Vec<Duration>,
    /// machines that went the whole way
    pub(crate) ready: usize,
    /// questions that were repeated
    pub(crate) again: usize,
    /// and more than once
    pub(crate) twice: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Firmware,
    Ipxe,
}

struct Machine {
    mac: MacAddr,
    stage: Stage,
    /// what it was offered, once it asks for that
    offered: Option<(Ipv4Addr, Ipv4Addr)>,
    xid: u32,
    /// when the question was asked first; `None` before it is
    since: Option<Instant>,
    repeated: usize,
    /// when it asks next
    due: Instant,
    ready: bool,
}

/// Switches them on within a second and waits until all have what they want.
pub(crate) fn switch_on(count: usize) -> anyhow::Result<Came> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = FrameSocket::open("cli", ETHERTYPE_IPV4, &[])?;
        Machines::new(count).run(&socket).await
    })
}

struct Machines {
    all: Vec<Machine>,
    by_mac: BTreeMap<MacAddr, usize>,
    /// who asks when
    due: BTreeSet<(Instant, usize)>,
    came: Came,
}

impl Machines {
    fn new(count: usize) -> Self {
        let now = Instant::now();
        // in an order that has nothing to do with their numbers
        let at = |number: usize| now + SECOND * (number as u32 * 7_919 % count as u32) / count as u32;
        let machine = |number: usize| {
            let [.., a, b] = number.to_be_bytes();
            let mac = MacAddr([0x02, 0x5a, 0, 0, a, b]);
            let xid = (number as u32 + 1) << 8;
            Machine {
                mac,
                stage: Stage::Firmware,
                offered: None,
                xid,
                since: None,
                repeated: 0,
                due: at(number),
                ready: false,
            }
        };
        let all: Vec<Machine> = (0..count).map(machine).collect();
        Self {
            by_mac: all.iter().enumerate().map(|(number, machine)| (machine.mac, number)).collect(),
            due: (0..count).map(|number| (at(number), number)).collect(),
            all,
            came: Came { times: Vec::new(), ready: 0, again: 0, twice: 0 },
        }
    }

    async fn run(mut self, socket: &FrameSocket) -> anyhow::Result<Came> {
        let end = Instant::now() + END;
        while self.came.ready < self.all.len() && Instant::now() < end {
            let due = self.due.first().map_or(end, |(at, _)| *at);
            tokio::select! {
                frame = socket.recv() => self.hear(&frame?),
                () = sleep_until(due.into()) => self.ask(socket).await?,
            }
        }
        // what was asked twice and answered twice
        while let Ok(frame) = timeout(Duration::from_millis(10), socket.recv()).await {
            self.hear(&frame?);
        }
        Ok(self.came)
    }

    /// Whoever is due asks, for the first time or again.
    async fn ask(&mut self, socket: &FrameSocket) -> anyhow::Result<()> {
        let now = Instant::now();
        while let Some((at, number)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, number));
            let machine = self.all.get_mut(number).context("no such machine")?;
            if machine.since.is_some() {
                machine.repeated += 1;
                self.came.again += usize::from(machine.repeated == 1);
                self.came.twice += usize::from(machine.repeated == 2);
            }
            let frame = machine.question();
            let sent = Instant::now();
            machine.since.get_or_insert(sent);
            machine.due = sent + PATIENCE;
            self.due.insert((machine.due, number));
            socket.send(&frame).await?;
        }
        Ok(())
    }

    fn hear(&mut self, frame: &[u8]) {
        let came = Instant::now();
        let Some(packet) = answer(frame) else { return };
        let Some(number) = packet.mac().and_then(|mac| self.by_mac.get(&mac).copied()) else { return };
        let Some(machine) = self.all.get_mut(number) else { return };
        let wanted = if machine.offered.is_some() { MessageType::Ack } else { MessageType::Offer };
        if machine.ready || packet.xid != machine.xid || packet.message_type() != Some(wanted) {
            return;
        }
        let Some(since) = machine.since.take() else { return };
        self.came.times.push(came - since);
        self.due.remove(&(machine.due, number));
        machine.repeated = 0;
        let server = packet.options.address(OptionCode::ServerIdentifier).unwrap_or(Ipv4Addr::UNSPECIFIED);
        let next = match (wanted, machine.stage) {
            (MessageType::Offer, _) => {
                machine.offered = Some((packet.yiaddr, server));
                came
            }
            (_, Stage::Firmware) => {
                (machine.stage, machine.offered) = (Stage::Ipxe, None);
                machine.xid += 1;
                came + LOADING
            }
            (_, Stage::Ipxe) => {
                machine.ready = true;
                self.came.ready += 1;
                return;
            }
        };
        machine.due = next;
        self.due.insert((next, number));
    }
}

impl Machine {
    /// A broadcast frame.
    fn question(&self) -> Vec<u8> {
        let kind = if self.offered.is_some() { MessageType::Request } else { MessageType::Discover };
        let mut packet = Packet::request(self.mac, self.xid);
        packet.options.set(&DhcpOption::MessageType(kind));
        if let Some((address, server)) = self.offered {
            packet.options.set(&DhcpOption::RequestedIpAddress(address));
            packet.options.set(&DhcpOption::ServerIdentifier(server));
        }
        packet.options.set(&DhcpOption::ClassIdentifier(b"PXEClient:Arch:00007:UNDI:003016".to_vec()));
        packet.options.set_raw(OptionCode::ClientSystemArchitecture, vec![0, 7]);
        packet.options.set_raw(OptionCode::ClientNetworkInterface, vec![1, 3, 16]);
        let uuid = [&[0][..], &self.mac.0, &[0x11; 4], &self.mac.0].concat();
        packet.options.set_raw(OptionCode::ClientMachineIdentifier, uuid);
        packet
            .options
            .set_raw(OptionCode::ParameterRequestList, vec![1, 2, 3, 6, 12, 15, 28, 43, 54, 60, 66, 67]);
        if self.stage == Stage::Ipxe {
            packet.options.set_raw(OptionCode::UserClass, b"iPXE");
            packet.options.set_raw(175.into(), vec![0x13, 1, 1, 0x24, 1, 1]);
        }
        frame(self.mac, &packet.to_bytes())
    }
}

/// From an interface without an address to everybody. A UDP sum of zero means that there is none (RFC 768).
fn frame(from: MacAddr, payload: &[u8]) -> Vec<u8> {
    let length = |header: usize| ((header + payload.len()) as u16).to_be_bytes();
    let mut ip = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
    ip[2..4].copy_from_slice(&length(28));
    let mut sum: u32 = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    sum = (sum & 0xffff) + (sum >> 16);
    ip[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    let [client, server] = [CLIENT_PORT, SERVER_PORT].map(u16::to_be_bytes);
    [
        &[0xff; 6][..],
        &from.0,
        &ETHERTYPE_IPV4.to_be_bytes(),
        &ip,
        &client,
        &server,
        &length(8),
        &[0, 0],
        payload,
    ]
    .concat()
}

/// The message of a frame to port 68.
fn answer(frame: &[u8]) -> Option<Packet> {
    let (header, datagram) = frame.get(14..)?.split_at_checked(20)?;
    let udp = header[0] == 0x45 && header[9] == 17;
    let to = u16::from_be_bytes(datagram.get(2..4)?.try_into().ok()?);
    (udp && to == CLIENT_PORT).then(|| Packet::parse(datagram.get(8..)?).ok()).flatten()
}
