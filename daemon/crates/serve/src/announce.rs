//! The daemon's own LLDP on a network's interface, so that the switch's operator sees on which port it hangs.
//!
//! Silent unless the site asks for it: many hosts have an lldpd of their own, and two voices from one port confuse a switch.
//! One task an interface, which says good-bye when it ends (802.1AB-2016 §8.5.4: a time to live of 0), so that the switch
//! forgets it at once. It says to be no bridge, so that nobody takes it for a switch.

use std::{fs, time::Duration};

use hardware::{ChassisId, MacAddr, PortId};
use lldp::{Announcement, Capabilities, Frame, ManagementAddress, NEAREST_BRIDGE};
use net::{
    frame::{FrameError, FrameSocket},
    interface::Interface,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Between two announcements (802.1AB-2016 §9.2.5.7, msgTxInterval).
const INTERVAL: Duration = Duration::from_secs(30);
/// Between the first ones, and how many those are (§9.2.5.5, §9.2.5.19: msgFastTx, txFastInit).
const FAST: Duration = Duration::from_secs(1);
const FAST_COUNT: u32 = 4;
/// Four intervals (§9.2.5.6, msgTxHold), in seconds.
const HOLDS: u16 = 120;

/// IEEE 802.1AB table 8-2: a chassis is known by a MAC address.
const CHASSIS_BY_MAC: u8 = 4;
/// IEEE 802.1AB table 8-3: a port is known by its interface name.
const PORT_BY_NAME: u8 = 5;
/// IANA address family numbers: IPv4.
const FAMILY_IPV4: u8 = 1;
/// IEEE 802.1AB §8.5.9.5: an interface is numbered by its ifIndex.
const NUMBERED_BY_INDEX: u8 = 2;

/// Speaks on one interface.
#[derive(Debug)]
pub struct Announce {
    socket: FrameSocket,
    mac: MacAddr,
    system: String,
}

/// The interface cannot be spoken on.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// no packet socket
    #[error(transparent)]
    Open(#[from] FrameError),
    /// LLDP is for Ethernet
    #[error("cannot announce on {0}: it has no Ethernet address; remove `announce` from its network")]
    NotEthernet(String),
}

impl Announce {
    /// Opens the socket.
    ///
    /// # Errors
    /// When the interface is missing, has no Ethernet address, or the capability is missing.
    pub fn open(interface: &str) -> Result<Self, AnnounceError> {
        let socket = FrameSocket::sender(interface)?;
        let mac = socket.interface().mac.ok_or_else(|| AnnounceError::NotEthernet(interface.to_owned()))?;
        // a host without a name still has a port
        let system = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        Ok(Self { socket, mac, system })
    }

    /// Announces until told to stop, and says good-bye.
    pub async fn run(self, shutdown: CancellationToken) {
        let name = self.socket.interface().name.clone();
        tracing::info!(interface = name, "announcing this host by LLDP");
        let mut said = 0_u32;
        loop {
            // addresses come and go
            let now = Interface::named(&name).unwrap_or_else(|_| self.socket.interface().clone());
            self.send(&self.announcement(&now)).await;
            said = said.saturating_add(1);
            let pause = if said < FAST_COUNT { FAST } else { INTERVAL };
            if shutdown.run_until_cancelled(sleep(pause)).await.is_none() {
                break;
            }
        }
        self.send(&self.good_bye()).await;
    }

    async fn send(&self, announcement: &Announcement) {
        let announcement = announcement.clone();
        let frame = Frame { destination: NEAREST_BRIDGE, source: self.mac, vlan: None, announcement };
        if let Err(error) = self.socket.send(&frame.build()).await {
            let interface = &self.socket.interface().name;
            tracing::debug!(interface, %error, "an announcement was not sent");
        }
    }

    fn announcement(&self, now: &Interface) -> Announcement {
        let addresses = now.addresses.iter().map(|net| ManagementAddress {
            family: FAMILY_IPV4,
            address: net.addr().octets().to_vec(),
            interface_kind: NUMBERED_BY_INDEX,
            interface: now.index,
            object: Vec::new(),
        });
        Announcement {
            port_description: Some(now.name.clone()),
            system_name: Some(self.system.clone()).filter(|name| !name.is_empty()),
            system_description: Some(concat!("ichord ", env!("CARGO_PKG_VERSION")).to_owned()),
            capabilities: Some(Capabilities {
                supported: Capabilities::STATION,
                enabled: Capabilities::STATION,
            }),
            management: addresses.collect(),
            ..self.port(HOLDS)
        }
    }

    /// §9.1.2.2: nothing but who it is that goes.
    fn good_bye(&self) -> Announcement {
        self.port(0)
    }

    fn port(&self, ttl: u16) -> Announcement {
        let chassis = ChassisId { subtype: CHASSIS_BY_MAC, id: self.mac.0.to_vec() };
        let name = self.socket.interface().name.as_bytes().to_vec();
        Announcement::new(chassis, PortId { subtype: PORT_BY_NAME, id: name }, ttl)
    }
}
