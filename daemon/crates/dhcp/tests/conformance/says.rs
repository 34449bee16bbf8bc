//! Whether the last answer is what one word of a row expects.

use dhcp::{Destination, Packet, Reply};
use dhcproto::v4::MessageType;

use crate::{
    stage::Stage,
    words::{Said, address, mac, machine, octets},
};

/// `Err` is what is there instead.
pub(crate) fn holds(stage: &Stage, word: &str) -> Said<()> {
    let answer = &stage.answer;
    if let Some(label) = word.strip_prefix('(').and_then(|word| word.strip_suffix(')')) {
        let have = answer.note.as_ref().map(dhcp::Note::label);
        return same(word, &have, &Some(label));
    }
    let kind = answer.reply.as_ref().and_then(|reply| reply.packet.message_type());
    let kinds = [
        ("OFFER", Some(MessageType::Offer)),
        ("ACK", Some(MessageType::Ack)),
        ("NAK", Some(MessageType::Nak)),
        ("silence", None),
    ];
    if let Some((_, expected)) = kinds.iter().find(|(name, _)| *name == word) {
        return same(word, &kind, expected);
    }
    if let Some(most) = word.strip_prefix("size<=") {
        let most: usize = most.parse().map_err(|_| "no size")?;
        let length = stage.bytes().ok_or("silence")?.len();
        return if length <= most { Ok(()) } else { Err(format!("{word}: {length} octets")) };
    }
    let (name, value) = word.split_once('=').ok_or_else(|| format!("no expectation {word}"))?;
    match name {
        "stored" => return same(word, &stored(stage).as_str(), &value),
        "probe" => return same(word, &answer.probe, &Some(address(value)?)),
        "bound" => {
            let expected = Some((mac(value.split('@').next().unwrap_or_default())?, at(value)?));
            return same(word, &answer.bound, &expected);
        }
        "relay" => {
            let have = answer.relayed.as_ref().map(|relayed| relayed.to_string().replace(' ', ":"));
            return same(word, &have.as_deref(), &Some(value));
        }
        _ => {}
    }
    let reply = answer.reply.as_ref().ok_or_else(|| format!("{word}: silence"))?;
    // as a client sees it
    let bytes = stage.bytes().ok_or("silence")?;
    let packet = Packet::parse(&bytes).map_err(|error| error.to_string())?;
    said(word, name, value, reply, &packet, &bytes)
}

fn said(word: &str, name: &str, value: &str, reply: &Reply, packet: &Packet, bytes: &[u8]) -> Said<()> {
    let codes: Vec<u8> = packet.options.iter().map(|(code, _)| code).collect();
    match name {
        "yi" => same(word, &packet.yiaddr, &address(value)?),
        "ci" => same(word, &packet.ciaddr, &address(value)?),
        "si" => same(word, &packet.siaddr, &address(value)?),
        "gi" => same(word, &packet.giaddr, &address(value)?),
        "file" => same(word, &text(&packet.file).as_str(), &value),
        "sname" => same(word, &text(&packet.sname).as_str(), &value),
        "broadcast" => same(word, &packet.wants_broadcast(), &(value == "yes")),
        "to" => same(word, &destination(reply.destination).as_str(), &value),
        "first" => same(word, &bytes.get(240).map(u8::to_string).as_deref(), &Some(value)),
        "last" => same(word, &codes.last().map(u8::to_string).as_deref(), &Some(value)),
        "size" => same(word, &bytes.len().to_string().as_str(), &value),
        code => {
            let code: u8 = code.parse().map_err(|_| format!("no expectation {word}"))?;
            let have = packet.options.raw(code.into());
            match value {
                "-" => same(word, &have, &None),
                "*" if have.is_some() => Ok(()),
                "*" => Err(format!("{word}: absent")),
                _ => same(word, &have, &Some(octets(value)?.as_slice())),
            }
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(word: &str, have: &T, expected: &T) -> Said<()> {
    if have == expected { Ok(()) } else { Err(format!("expected {word}, but it is {have:?}")) }
}

fn at(value: &str) -> Said<std::net::Ipv4Addr> {
    address(value.split('@').nth(1).ok_or("MACHINE@ADDRESS")?)
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn destination(destination: Destination) -> String {
    match destination {
        Destination::Relay(relay) => format!("relay:{relay}"),
        Destination::Client(address) => format!("client:{}", short(address)),
        Destination::Broadcast => "everybody".to_owned(),
        Destination::Frame { mac, .. } => format!("frame:{}", machine(mac)),
        Destination::Asker(asker) => format!("asker:{}:{}", short(*asker.ip()), asker.port()),
    }
}

fn short(address: std::net::Ipv4Addr) -> String {
    match address.octets() {
        [10, 77, 0, last] => format!(".{last}"),
        _ => address.to_string(),
    }
}

/// `.100:bound:m1`, several joined by a comma.
fn stored(stage: &Stage) -> String {
    let one = |lease: &dhcp::Lease| {
        let who = lease.mac.map_or_else(|| "nobody".to_owned(), machine);
        format!("{}:{}:{who}", short(lease.address), lease.state.name())
    };
    let all: Vec<String> = stage.stored().map(one).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(",") }
}
