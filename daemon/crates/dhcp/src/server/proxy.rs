//! Boot files beside somebody else's addresses (PXE 2.1 §2.2.3, "ProxyDHCP").
//!
//! Two rounds. To a DISCOVER on port 67 we say that we are a boot server; firmware then takes the
//! file from that offer, or asks us alone on port 4011 once it has its address. Everything else is
//! the other server's, and we never refuse anything.
//!
//! There are two forms of the offer, and firmware that takes only one of them: EDK2 before 2017 drops
//! what says "boot this file", others do not ask on port 4011. Who asks again gets the other form.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, MessageType, OptionCode};

use super::{
    Answer, Boots, Destination, MOST_REMEMBERED, Machines, Note, Reply, Request, Server, boot_file::BootFile,
};
use crate::{PXE_PORT, client::Kind};

/// Vendor options of PXE (PXE 2.1 §2.4, table 2-2): discovery control 6 with bit 3, boot the file of
/// this very offer; an empty menu prompt 10, `PXE`, shown for no time; end.
const BOOT_AT_ONCE: [u8; 10] = [6, 1, 8, 10, 4, 0, b'P', b'X', b'E', 255];
/// The boot item that a client chose from a menu; it wants it back.
const BOOT_ITEM: u8 = 71;
/// So long, in milliseconds, a firmware goes on asking; then it is another boot. The last two of four
/// tries are 32 s apart.
const ONE_BOOT: u64 = 60_000;
/// The same question within this time, in milliseconds, came twice by two ways.
const SAME_QUESTION: u64 = 1_000;

/// How a boot server's offer looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Form {
    /// option 43 says: boot the file of this offer
    #[default]
    AtOnce,
    /// without option 43: ask on port 4011
    AskAgain,
}

impl Form {
    fn other(self) -> Self {
        match self {
            Self::AtOnce => Self::AskAgain,
            Self::AskAgain => Self::AtOnce,
        }
    }
}

/// How a firmware was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    form: Form,
    /// what it gets at its next boot
    works: Form,
    xid: u32,
    last: u64,
}

impl Server {
    pub(super) fn proxy<M: Machines>(&mut self, kind: MessageType, request: &Request<'_, M>) -> Answer {
        let kind = match (kind, request.received.port == PXE_PORT) {
            (MessageType::Discover, false) => MessageType::Offer,
            (MessageType::Request | MessageType::Inform, true) => MessageType::Ack,
            (MessageType::Request, false) => return told_by(request),
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
        if matches!(file, BootFile::File(_)) {
            let vendor = match (kind, self.form(request, kind)) {
                (MessageType::Offer, Form::AskAgain) => None,
                (MessageType::Offer, Form::AtOnce) => Some(BOOT_AT_ONCE.to_vec()),
                _ => Some(boot_item(request).unwrap_or_else(|| BOOT_AT_ONCE.to_vec())),
            };
            if let Some(vendor) = vendor {
                packet.options.set(&DhcpOption::VendorExtensions(vendor));
            }
        }
        let destination = if !request.packet.giaddr.is_unspecified() {
            Destination::Relay(request.packet.giaddr)
        } else if *request.received.source.ip() != Ipv4Addr::UNSPECIFIED {
            Destination::Asker(request.received.source)
        } else {
            // it has no address, and we do not know the one it will get
            Destination::Broadcast
        };
        let note = match request.boots {
            Boots::Nothing => Note::ProxiedToDisk,
            Boots::Identify | Boots::Deploy => Note::Proxied { file: name },
        };
        Answer { reply: Some(Reply { packet, destination }), ..note.into() }
    }

    /// The form of this offer; a question on port 4011 shows that the last one worked.
    fn form<M: Machines>(&mut self, request: &Request<'_, M>, kind: MessageType) -> Form {
        let (mac, now, xid) = (request.client.mac, request.now, request.packet.xid);
        if self.forms.len() >= MOST_REMEMBERED && !self.forms.contains_key(&mac) {
            self.forms.retain(|_, asked| now < asked.last.saturating_add(ONE_BOOT));
        }
        let Some(asked) = self.forms.get_mut(&mac) else {
            if kind == MessageType::Offer && self.forms.len() < MOST_REMEMBERED {
                let form = Form::default();
                self.forms.insert(mac, Asked { form, works: form, xid, last: now });
            }
            return Form::default();
        };
        if kind != MessageType::Offer {
            asked.works = asked.form;
            return asked.form;
        }
        let since = now.saturating_sub(asked.last);
        asked.form = if since >= ONE_BOOT {
            asked.works
        } else if since < SAME_QUESTION && asked.xid == xid {
            asked.form
        } else {
            asked.form.other()
        };
        asked.last = now;
        asked.xid = xid;
        asked.form
    }
}

/// A broadcast REQUEST to the other server tells which address the client takes (RFC 2131 §4.3.2).
fn told_by<M: Machines>(request: &Request<'_, M>) -> Answer {
    let requested = request.packet.options.address(OptionCode::RequestedIpAddress);
    let current = Some(request.packet.ciaddr).filter(|address| !address.is_unspecified());
    let bound = requested.or(current).map(|address| (request.client.mac, address));
    Answer { bound, ..Note::LeftToOthers.into() }
}

/// The client's boot item as it came, as the whole of option 43.
fn boot_item<M: Machines>(request: &Request<'_, M>) -> Option<Vec<u8>> {
    let mut rest = request.packet.options.raw(OptionCode::VendorExtensions)?;
    while let [code, length, tail @ ..] = rest {
        let (value, after) = tail.split_at_checked(usize::from(*length))?;
        if *code == BOOT_ITEM {
            return Some([&[BOOT_ITEM, *length], value, &[255]].concat());
        }
        rest = after;
    }
    None
}
