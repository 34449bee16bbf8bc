//! Boot files beside somebody else's addresses (PXE 2.1 §2.2.3, "ProxyDHCP").
//!
//! Two rounds. To a DISCOVER on port 67 we say that we are a boot server; firmware then takes the
//! file from that offer, or asks us alone on port 4011 once it has its address. Everything else is
//! the other server's, and we never refuse anything.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, MessageType};

use super::{Answer, Destination, Machines, Note, Reply, Request, Server, boot_file::BootFile};
use crate::{PXE_PORT, client::Kind};

/// Vendor options of PXE (PXE 2.1 §2.4, table 2-2): discovery control 6 with bit 3, boot the file of
/// this very offer; an empty menu prompt 10, `PXE`, shown for no time; end.
const BOOT_AT_ONCE: [u8; 10] = [6, 1, 8, 10, 4, 0, b'P', b'X', b'E', 255];

impl Server {
    pub(super) fn proxy<M: Machines>(&self, kind: MessageType, request: &Request<'_, M>) -> Answer {
        let kind = match (kind, request.received.port == PXE_PORT) {
            (MessageType::Discover, false) => MessageType::Offer,
            (MessageType::Request | MessageType::Inform, true) => MessageType::Ack,
            _ => return Note::LeftToOthers.into(),
        };
        let file = BootFile::of(request, &self.config);
        let name = match (&file, file.name()) {
            (BootFile::NoneFits, _) => {
                return Note::UnknownFirmware { firmware: request.client.firmware }.into();
            }
            (_, None) => return Note::LeftToOthers.into(),
            (_, Some(name)) => name.to_owned(),
        };
        let mut packet = self.reply_packet(request, kind);
        packet.ciaddr = request.packet.ciaddr;
        file.put(&mut packet, &self.config);
        if request.client.kind != Kind::HttpBoot {
            packet.options.set(&DhcpOption::ClassIdentifier(b"PXEClient".to_vec()));
        }
        // iPXE looks for menus in option 43 and gives up; with the file alone it boots
        if request.client.kind == Kind::Pxe {
            packet.options.set(&DhcpOption::VendorExtensions(BOOT_AT_ONCE.to_vec()));
        }
        let destination = if !request.packet.giaddr.is_unspecified() {
            Destination::Relay(request.packet.giaddr)
        } else if *request.received.source.ip() != Ipv4Addr::UNSPECIFIED {
            Destination::Asker(request.received.source)
        } else {
            // it has no address, and we do not know the one it will get
            Destination::Broadcast
        };
        Answer { reply: Some(Reply { packet, destination }), ..Note::Proxied { file: name }.into() }
    }
}
