//! How a reply looks and where it goes.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, MessageType, OptionCode};

use super::{Answer, Boots, Destination, Machines, Note, Reply, Request, Server, boot_file::BootFile};
use crate::{relay::Relayed, wire::Packet};

/// RFC 2131 §3.3: a lease without an end.
const INFINITE: u32 = u32::MAX;

impl Server {
    /// An OFFER or ACK of an address. `seconds` is `None` for a reservation.
    pub(super) fn grant<M: Machines>(
        &self,
        request: &Request<'_, M>,
        kind: MessageType,
        address: Ipv4Addr,
        seconds: Option<u32>,
    ) -> Answer {
        let mut packet = self.reply_packet(request, kind);
        packet.yiaddr = address;
        if kind == MessageType::Ack {
            packet.ciaddr = request.packet.ciaddr;
        }
        let mut time = |code, seconds: u32| packet.options.set_raw(code, seconds.to_be_bytes());
        time(OptionCode::AddressLeaseTime, seconds.unwrap_or(INFINITE));
        if let Some(seconds) = seconds {
            // RFC 2131 §4.4.5: half and seven eighths
            time(OptionCode::Renewal, seconds / 2);
            time(OptionCode::Rebinding, seconds - seconds / 8);
        }
        let file = self.put_parameters(request, &mut packet);
        let netboots = request.client.netboots();
        let note = match (&file, file.name()) {
            (BootFile::NoneFits, _) => Note::UnknownFirmware { firmware: request.client.firmware },
            _ if netboots && self.is_worn_out(request.client.mac) && request.boots == Boots::Nothing => {
                Note::WornOut { address }
            }
            _ if netboots && request.boots == Boots::Nothing => Note::LocalDisk { address },
            (_, Some(name)) => Note::Booting { address, file: name.to_owned() },
            (_, None) => Note::AddressOnly { address },
        };
        let destination = destination(request, &packet);
        Answer { reply: Some(Reply { packet, destination }), ..note.into() }
    }

    /// The options without an address, for a client that has one.
    pub(super) fn parameters<M: Machines>(&self, request: &Request<'_, M>) -> Answer {
        let mut packet = self.reply_packet(request, MessageType::Ack);
        packet.ciaddr = request.packet.ciaddr;
        self.put_parameters(request, &mut packet);
        let destination = destination(request, &packet);
        let note = Note::Informed { address: request.packet.ciaddr };
        Answer { reply: Some(Reply { packet, destination }), ..note.into() }
    }

    /// A NAK goes to everybody: the client has no address that is right (RFC 2131 §4.3.2).
    pub(super) fn refuse<M: Machines>(&self, request: &Request<'_, M>, wanted: Ipv4Addr) -> Answer {
        let mut packet = self.reply_packet(request, MessageType::Nak);
        let destination = if packet.giaddr.is_unspecified() {
            Destination::Broadcast
        } else {
            packet.set_broadcast();
            Destination::Relay(packet.giaddr)
        };
        Answer { reply: Some(Reply { packet, destination }), ..Note::Refused { wanted }.into() }
    }

    pub(super) fn reply_packet<M>(&self, request: &Request<'_, M>, kind: MessageType) -> Packet {
        let mut packet = Packet::reply_to(request.packet);
        packet.options.set_raw(OptionCode::MessageType, [u8::from(kind)]);
        // firmware silently drops an offer without it
        packet.options.set_raw(OptionCode::ServerIdentifier, self.identifier(request).octets());
        // RFC 6842, PXE 2.1 §2.2.1, RFC 3046 §2.2, RFC 3011 §2: given back as they came
        for code in [
            OptionCode::ClientIdentifier,
            OptionCode::ClientMachineIdentifier,
            OptionCode::RelayAgentInformation,
            OptionCode::SubnetSelection,
        ] {
            if let Some(value) = request.packet.options.raw(code) {
                packet.options.set_raw(code, value);
            }
        }
        packet
    }

    /// Option 54 for this client: our address, or the relay's when it wants renewals to pass it, too.
    pub(super) fn identifier<M>(&self, request: &Request<'_, M>) -> Ipv4Addr {
        request.relayed.as_ref().and_then(Relayed::server_override).unwrap_or(self.config.server)
    }

    fn put_parameters<M: Machines>(&self, request: &Request<'_, M>, packet: &mut Packet) -> BootFile {
        let config = &self.config;
        let options = &mut packet.options;
        options.set_raw(OptionCode::SubnetMask, config.subnet.netmask().octets());
        options.set_raw(OptionCode::BroadcastAddr, config.subnet.broadcast().octets());
        options.set_addresses(OptionCode::Router, config.gateway.as_slice());
        options.set_addresses(OptionCode::DomainNameServer, &config.dns);
        if let Some(domain) = &config.domain {
            packet.options.set(&DhcpOption::DomainName(domain.clone()));
        }
        packet.options.set_addresses(OptionCode::NtpServers, &config.ntp);
        let file = BootFile::of(request, config);
        file.put(packet, config);
        file
    }
}

/// RFC 2131 §4.1, in its order.
fn destination<M>(request: &Request<'_, M>, reply: &Packet) -> Destination {
    if !request.packet.giaddr.is_unspecified() {
        Destination::Relay(request.packet.giaddr)
    } else if !request.packet.ciaddr.is_unspecified() {
        Destination::Client(request.packet.ciaddr)
    } else if request.packet.wants_broadcast() {
        Destination::Broadcast
    } else {
        Destination::Frame { mac: request.client.mac, address: reply.yiaddr }
    }
}
