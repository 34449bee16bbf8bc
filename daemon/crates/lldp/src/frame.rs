//! The Ethernet frame around an announcement, with or without VLAN tags.
//!
//! `serve` hands in what its packet sockets hear. The kernel takes a tag off before that; frames from captures
//! and from other tools still carry it.

use hardware::MacAddr;
use pnet_packet::{
    Packet,
    ethernet::{EtherTypes, EthernetPacket},
    vlan::VlanPacket,
};

use crate::Announcement;

/// LLDP's Ethernet type.
pub const ETHERTYPE: u16 = 0x88cc;

/// The group address that no bridge forwards (802.1AB-2016 §7.1), to which announcements usually go.
pub const NEAREST_BRIDGE: MacAddr = MacAddr([0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e]);

/// The shortest Ethernet frame without its check sequence.
const SHORTEST: usize = 60;

/// Tags before the type: a customer's and a provider's at most.
const TAGS: usize = 2;

/// An LLDP frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// the group it was sent to
    pub destination: MacAddr,
    /// the address of the sending port
    pub source: MacAddr,
    /// the VLAN of the innermost tag
    pub vlan: Option<u16>,
    /// what it says
    pub announcement: Announcement,
}

/// The bytes are no valid LLDP frame; the standard says to drop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// no room for the Ethernet header
    #[error("the frame is shorter than its headers")]
    Short,
    /// another protocol
    #[error("the frame has the Ethernet type {ethertype:#06x}, not LLDP's")]
    NotLldp {
        /// which
        ethertype: u16,
    },
    /// a group's address or none
    #[error("the frame's source {address} is not the address of one interface")]
    Source {
        /// which
        address: MacAddr,
    },
    /// the three mandatory TLVs do not come first, or come twice
    #[error("the TLV of type {kind} is missing or not in its place")]
    Order {
        /// type of the TLV
        kind: u8,
    },
    /// a TLV is longer than what is left
    #[error("the TLV of type {kind} is longer than the frame")]
    Length {
        /// type of the TLV
        kind: u8,
    },
    /// not 1 to 255 octets
    #[error("the chassis id is empty or too long")]
    ChassisId,
    /// not 1 to 255 octets
    #[error("the port id is empty or too long")]
    PortId,
    /// not two octets
    #[error("the time to live is shorter than two octets")]
    TimeToLive,
}

impl Frame {
    /// Reads a frame from its destination address on.
    ///
    /// # Errors
    /// Says why the frame is to be dropped.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let ethernet = EthernetPacket::new(bytes).ok_or(ParseError::Short)?;
        let source = MacAddr(ethernet.get_source().octets());
        if source.is_multicast() || source == MacAddr([0; 6]) {
            return Err(ParseError::Source { address: source });
        }
        let mut kind = ethernet.get_ethertype();
        let mut payload = ethernet.payload();
        let mut vlan = None;
        for _ in 0..TAGS {
            if !matches!(kind, EtherTypes::Vlan | EtherTypes::PBridge) {
                break;
            }
            let tag = VlanPacket::new(payload).ok_or(ParseError::Short)?;
            vlan = Some(tag.get_vlan_identifier());
            kind = tag.get_ethertype();
            payload = payload.get(VlanPacket::minimum_packet_size()..).ok_or(ParseError::Short)?;
        }
        if kind.0 != ETHERTYPE {
            return Err(ParseError::NotLldp { ethertype: kind.0 });
        }
        let destination = MacAddr(ethernet.get_destination().octets());
        Ok(Self { destination, source, vlan, announcement: Announcement::parse(payload)? })
    }

    /// Writes the frame, padded to the shortest that Ethernet allows.
    pub fn build(&self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(256);
        frame.extend(self.destination.0);
        frame.extend(self.source.0);
        if let Some(vlan) = self.vlan {
            frame.extend(EtherTypes::Vlan.0.to_be_bytes());
            frame.extend((vlan & 0x0fff).to_be_bytes());
        }
        frame.extend(ETHERTYPE.to_be_bytes());
        self.announcement.write(&mut frame);
        frame.resize(frame.len().max(SHORTEST), 0);
        frame
    }
}
