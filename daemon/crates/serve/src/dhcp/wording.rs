//! One packet and its answer as a line for people.

use std::fmt::Write as _;

use ::dhcp::{Answer, Client, Kind, Packet};
use dhcproto::v4::{MessageType, OptionCode};

/// `DISCOVER by PXE firmware (UefiX64) via relay 10.8.0.1: OFFER; address 10.77.0.100, boot file snponly.efi`.
///
/// It replaces what the text was: thousands of lines a second are written into the same memory.
pub(super) fn line(text: &mut String, packet: &Packet, client: &Client, answer: &Answer) {
    text.clear();
    text.push_str(packet.message_type().map_or("BOOTP", name));
    let by = match client.kind {
        Kind::Ipxe => "iPXE",
        Kind::Pxe => "PXE firmware",
        Kind::HttpBoot => "UEFI HTTP Boot",
        Kind::Plain => "an operating system",
    };
    // writing to a String cannot fail
    write!(text, " by {by}").ok();
    if let Some(firmware) = client.firmware {
        write!(text, " ({firmware:?})").ok();
    }
    if let Some(requested) = packet.options.address(OptionCode::RequestedIpAddress) {
        write!(text, ", asks for {requested}").ok();
    }
    if !packet.ciaddr.is_unspecified() {
        write!(text, ", has {}", packet.ciaddr).ok();
    }
    if !packet.giaddr.is_unspecified() {
        write!(text, ", via relay {}", packet.giaddr).ok();
    }
    let answered = answer.reply.as_ref().and_then(|reply| reply.packet.message_type());
    write!(text, ": {}", answered.map_or("silence", name)).ok();
    if let Some(note) = &answer.note {
        write!(text, "; {note}").ok();
    }
}

fn name(kind: MessageType) -> &'static str {
    match kind {
        MessageType::Discover => "DISCOVER",
        MessageType::Offer => "OFFER",
        MessageType::Request => "REQUEST",
        MessageType::Decline => "DECLINE",
        MessageType::Ack => "ACK",
        MessageType::Nak => "NAK",
        MessageType::Release => "RELEASE",
        MessageType::Inform => "INFORM",
        _ => "another message",
    }
}
