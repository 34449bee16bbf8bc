//! What is fed, and what must hold about it besides that nothing panics.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddrV4},
};

use boot::{
    Ask, AssetName,
    discovery::{Errand, Report},
    http::{Head, LONGEST_HEAD, MOST_FIELDS, Part},
};
use dhcp::{
    Boots, Config, Machines, Mode, Networks, PXE_PORT, Packet, PoolFor, Received, Relayed, SERVER_PORT,
    Timing,
};
use dhcproto::v4::OptionCode;
use hardware::{LocalBoot, MacAddr};

/// One parser and its corpus.
pub(crate) struct Target {
    /// also the folder of its corpus
    pub(crate) name: &'static str,
    /// recordings that belong to the corpus, too
    pub(crate) captures: Option<&'static str>,
    /// whether the input could be read, or which promise was broken
    pub(crate) feed: fn(&[u8]) -> Result<bool, String>,
}

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "dhcp", captures: Some("dhcp"), feed: dhcp },
    Target { name: "relay", captures: None, feed: relay },
    Target { name: "tftp", captures: None, feed: tftp },
    Target { name: "path", captures: None, feed: path },
    Target { name: "http", captures: None, feed: http },
    Target { name: "ask", captures: None, feed: ask },
    Target { name: "report", captures: None, feed: report },
    Target { name: "lldp", captures: None, feed: lldp },
    Target { name: "snmp", captures: None, feed: snmp },
];

/// Everybody may boot, nobody has a slot.
struct Strangers;

impl Machines for Strangers {
    fn reservation(&self, _: MacAddr) -> Option<Ipv4Addr> {
        None
    }

    fn is_reserved(&self, _: Ipv4Addr) -> bool {
        false
    }

    fn boots(&self, _: MacAddr) -> Boots {
        Boots::Identify
    }

    fn local_boot(&self, _: MacAddr) -> Option<LocalBoot> {
        None
    }
}

fn network(mode: Mode) -> Config {
    Config {
        mode,
        subnet: ipv4_net(),
        relayed: false,
        server: Ipv4Addr::new(10, 77, 0, 1),
        http_port: 80,
        https: None,
        signed: false,
        pool: Some(Ipv4Addr::new(10, 77, 0, 100)..=Ipv4Addr::new(10, 77, 0, 199)),
        pool_for: PoolFor::Any,
        excluded: BTreeSet::new(),
        nodes: BTreeSet::new(),
        probe: false,
        gateway: Some(Ipv4Addr::new(10, 77, 0, 254)),
        dns: vec![Ipv4Addr::new(10, 77, 0, 53)],
        ntp: Vec::new(),
        domain: None,
        timing: Timing::default(),
    }
}

fn ipv4_net() -> ipnet::Ipv4Net {
    ipnet::Ipv4Net::new_assert(Ipv4Addr::new(10, 77, 0, 0), 24)
}

/// A message is read, every option of it typed, written back, answered in both modes; the answer can be read and is as
/// long as its reader takes.
fn dhcp(input: &[u8]) -> Result<bool, String> {
    let Ok(packet) = Packet::parse(input) else { return Ok(false) };
    for code in 0..=u8::MAX {
        packet.options.get(OptionCode::from(code));
    }
    let again = Packet::parse(&packet.to_bytes()).map_err(|error| format!("what was written: {error}"))?;
    if again.xid != packet.xid || again.chaddr != packet.chaddr {
        return Err("what was written reads differently".to_owned());
    }
    for (mode, port) in
        [(Mode::Authoritative, SERVER_PORT), (Mode::Proxy, SERVER_PORT), (Mode::Proxy, PXE_PORT)]
    {
        let mut networks = Networks::new(vec![network(mode)], &[]);
        let received = Received { source: SocketAddrV4::new(packet.ciaddr, 68), port };
        let answer = networks.handle(&packet, &received, &Strangers, 1_800_000_000_000);
        let Some(reply) = answer.reply else { continue };
        let limit = packet.options.raw(OptionCode::MaxMessageSize).and_then(|octets| octets.try_into().ok());
        let limit = limit.map(u16::from_be_bytes);
        let bytes = reply.packet.to_bytes_within(limit);
        let relay =
            packet.options.raw(OptionCode::RelayAgentInformation).map_or(0, |value| value.len() + 512);
        let most = usize::from(limit.unwrap_or(0)).clamp(576, 1500) - 28 + relay;
        if bytes.len() > most {
            return Err(format!("an answer of {} octets where {most} are taken", bytes.len()));
        }
        let read = Packet::parse(&bytes).map_err(|error| format!("our answer: {error}"))?;
        if read.message_type() != reply.packet.message_type() {
            return Err("our answer lost its message type".to_owned());
        }
    }
    Ok(true)
}

/// Option 82, its sub-options, and the text it is stored as.
fn relay(input: &[u8]) -> Result<bool, String> {
    let mut packet = Packet::request(MacAddr([2, 0, 0, 0, 0, 1]), 1);
    packet.giaddr = Ipv4Addr::new(10, 9, 0, 1);
    packet.options.set_raw(OptionCode::RelayAgentInformation, input);
    let relayed = Relayed::of(&packet).ok_or("a relay is not seen")?;
    let found = (0..=u8::MAX).filter(|code| relayed.sub_option(*code).is_some()).count();
    relayed.network();
    relayed.server_override();
    if relayed.to_string().parse() != Ok(relayed.clone()) {
        return Err("what is stored reads differently".to_owned());
    }
    relayed_text(input);
    Ok(found > 0)
}

fn relayed_text(input: &[u8]) {
    String::from_utf8_lossy(input).parse::<Relayed>().ok();
}

/// A TFTP packet; a file name that is let through has no way out of its folder.
fn tftp(input: &[u8]) -> Result<bool, String> {
    let Ok(packet) = tftp::Packet::parse(input) else { return Ok(false) };
    if let tftp::Packet::Read(request) | tftp::Packet::Write(request) = &packet
        && let Some(file) = request.file()
    {
        inside(AssetName::ipxe(file).ok())?;
    }
    packet.to_bytes();
    Ok(true)
}

/// An HTTP path after decoding: three parts of an image's name, or one of a bootloader's.
fn path(input: &[u8]) -> Result<bool, String> {
    let text = String::from_utf8_lossy(input);
    let parts: Vec<&str> = text.split('/').collect();
    let whole = inside(AssetName::ipxe(&text).ok())?;
    let named = match parts.as_slice() {
        [.., schematic, version, file] => inside(AssetName::image(schematic, version, file).ok())?,
        _ => false,
    };
    Ok(whole || named)
}

fn inside(name: Option<AssetName>) -> Result<bool, String> {
    let Some(name) = name else { return Ok(false) };
    let path = name.url_path();
    let climbs = path.split('/').any(|part| matches!(part, "." | ".."));
    if climbs || name.file().contains(['/', '\\', '\0']) {
        return Err(format!("{path:?} leads out of its folder"));
    }
    Ok(true)
}

/// A head is read once it is whole and not before, by its own octets alone; a range stays inside of its file.
fn http(input: &[u8]) -> Result<bool, String> {
    const SIZE: u64 = 1000;
    let Ok(Some(head)) = Head::parse(input) else { return Ok(false) };
    if head.octets > LONGEST_HEAD || head.fields.len() > MOST_FIELDS {
        return Err(format!("a head of {} octets and {} fields", head.octets, head.fields.len()));
    }
    let alone = input.get(..head.octets).ok_or("a head longer than what was sent")?;
    if Head::parse(alone).as_ref() != Ok(&Some(head.clone())) {
        return Err("what follows a head changes it".to_owned());
    }
    if Head::parse(&alone[..alone.len() - 1]) != Ok(None) {
        return Err("a head is read before it is whole".to_owned());
    }
    for (name, value) in head.fields {
        if name.eq_ignore_ascii_case("range")
            && let Part::Octets { first, last } = Part::parse(value, SIZE)
            && (first > last || last >= SIZE)
        {
            return Err(format!("octets {first} to {last} of {SIZE}"));
        }
    }
    Ok(true)
}

/// The query of the boot question: iPXE's variables, LLDP among them.
fn ask(input: &[u8]) -> Result<bool, String> {
    let text = String::from_utf8_lossy(input);
    let pairs = text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let Ok(ask) = Ask::from_pairs(pairs) else { return Ok(false) };
    let texts = [&ask.serial, &ask.platform, &ask.model];
    if texts.into_iter().flatten().any(|text| text.chars().any(char::is_control)) {
        return Err("a text with control characters came through".to_owned());
    }
    Ok(true)
}

/// What the discovery image sends, and the command line that it is sent with.
fn report(input: &[u8]) -> Result<bool, String> {
    Errand::read(&String::from_utf8_lossy(input)).ok();
    let Ok(report) = Report::read(input) else { return Ok(false) };
    let own = |mac| report.inventory.has_mac(mac);
    if !report.neighbours.iter().all(|heard| own(heard.nic)) {
        return Err("a card that the machine does not have heard something".to_owned());
    }
    let disks = report.inventory.disks.iter().flat_map(|disk| [&disk.dev_path, &disk.model, &disk.serial]);
    let names = report.neighbours.iter().filter_map(|heard| heard.system_name.as_ref());
    let texts = disks.chain(names).chain(&report.inventory.serial).chain(&report.notes);
    if texts.into_iter().any(|text| text.chars().any(char::is_control)) {
        return Err("a text with control characters came through".to_owned());
    }
    let again = serde_json::to_vec(&report).map_err(|error| error.to_string())?;
    match Report::read(&again) {
        Ok(same) if same == report => Ok(true),
        other => Err(format!("what was written reads differently: {other:?}")),
    }
}

fn lldp(input: &[u8]) -> Result<bool, String> {
    let Ok(frame) = lldp::Frame::parse(input) else { return Ok(false) };
    lldp::Frame::parse(&frame.build()).map_err(|error| format!("what was built: {error}"))?;
    Ok(true)
}

/// An agent's answer, taken in as a row of every table that is asked for.
fn snmp(input: &[u8]) -> Result<bool, String> {
    let Ok(answer) = snmp::Response::parse(input) else { return Ok(false) };
    let mut tables = snmp::Tables::default();
    for root in snmp::Tables::roots() {
        let mut walk = snmp::Walk::of(&root);
        match walk.take(answer.clone()) {
            snmp::Step::More(rows) if rows.is_empty() => return Err("asked for ever".to_owned()),
            snmp::Step::More(rows) | snmp::Step::Done(rows) => tables.extend(rows),
        }
        walk.request(b"public", 1);
    }
    tables.system_name();
    let named = tables.seen().len() + tables.down().len();
    Ok(named > 0 || !answer.bindings.is_empty())
}
