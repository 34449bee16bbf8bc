//! The switch's voice: LLDP on every port, as a managed switch speaks it.
//!
//! Forwarding is done by the kernel's bridge; what a bridge lacks is telling each machine on which port it is.

use std::time::Duration;

use anyhow::{Context, Result};
use hardware::{ChassisId, MacAddr, PortId};
use lldp::{Announcement, Capabilities, Frame, NEAREST_BRIDGE};
use net::frame::FrameSocket;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::plan::{Machine, SWITCH};
use crate::wires::{BRIDGE, Wires};

/// Real switches speak every 30 s; nothing in the lab has to wait that long for the first frame.
const INTERVAL: Duration = Duration::from_secs(1);
/// For how long a neighbour keeps what it heard, in seconds: what switches say by default.
const TIME_TO_LIVE: u16 = 120;
/// IEEE 802.1AB table 8-2: a chassis is known by a MAC address.
const CHASSIS_BY_MAC: u8 = 4;
/// IEEE 802.1AB table 8-3: a port is known by its interface name.
const PORT_BY_NAME: u8 = 5;

/// What a switch says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Voice {
    pub(crate) name: String,
    /// the bridge's own address, where it is none
    pub(crate) chassis: Option<MacAddr>,
    /// what it calls its ports, in their order, where that is not what the plan calls them
    pub(crate) ports: Option<fn(usize) -> String>,
}

impl Default for Voice {
    fn default() -> Self {
        Self { name: SWITCH.to_owned(), chassis: None, ports: None }
    }
}

/// Starts to speak on the port of every machine, until `stop`.
pub(crate) async fn speak(machines: &[Machine], wires: &Wires, stop: &CancellationToken) -> Result<()> {
    speak_as(&Voice::default(), machines, wires, stop).await
}

/// The same of another switch, or of one that has another name.
pub(crate) async fn speak_as(
    voice: &Voice,
    machines: &[Machine],
    wires: &Wires,
    stop: &CancellationToken,
) -> Result<()> {
    let chassis = match voice.chassis {
        Some(chassis) => chassis,
        None => wires.hardware_address(BRIDGE).await?,
    };
    for (number, machine) in machines.iter().enumerate() {
        let port = wires.hardware_address(&machine.interface).await?;
        let socket = FrameSocket::sender(&machine.interface)
            .with_context(|| format!("the switch cannot speak on {}", machine.interface))?;
        let called = voice.ports.map_or_else(|| machine.port.clone(), |of| of(number));
        let frame = announcement(&voice.name, chassis, port, &called).build();
        tokio::spawn(repeat(socket, frame, stop.clone()));
    }
    Ok(())
}

async fn repeat(socket: FrameSocket, frame: Vec<u8>, stop: CancellationToken) {
    let mut next = interval(INTERVAL);
    next.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(next.tick()).await.is_some() {
        // a machine that is off has no link: its port has nobody to speak to
        if let Err(error) = socket.send(&frame).await {
            tracing::debug!(%error, "an announcement was not sent");
        }
    }
}

fn announcement(name: &str, chassis: MacAddr, source: MacAddr, port: &str) -> Frame {
    let chassis = ChassisId { subtype: CHASSIS_BY_MAC, id: chassis.0.to_vec() };
    let port_id = PortId { subtype: PORT_BY_NAME, id: port.as_bytes().to_vec() };
    let mut announcement = Announcement::new(chassis, port_id, TIME_TO_LIVE);
    announcement.port_description = Some(format!("lab port {port}"));
    announcement.system_name = Some(name.to_owned());
    announcement.system_description = Some("ichord lab switch".to_owned());
    announcement.capabilities = Some(Capabilities {
        supported: Capabilities::BRIDGE | Capabilities::ROUTER,
        enabled: Capabilities::BRIDGE,
    });
    Frame { destination: NEAREST_BRIDGE, source, vlan: None, announcement }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_hears_the_name_of_its_port() {
        let sent = announcement("sw1", MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]), "Eth1/7");
        let heard = Frame::parse(&sent.build()).unwrap().announcement;
        assert_eq!(heard.system_name.as_deref(), Some("sw1"));
        assert_eq!(heard.port, PortId { subtype: 5, id: b"Eth1/7".to_vec() });
        assert!(heard.capabilities.unwrap().does(Capabilities::BRIDGE));
        assert_eq!(heard.ttl, 120);
    }
}
