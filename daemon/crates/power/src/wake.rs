//! Wake-on-LAN: a packet with the card's address sixteen times (AMD, publication 20213).

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
};

use hardware::MacAddr;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{Action, Ask, Done, PowerError};

/// Where cards do not look; a port that nobody listens on (discard).
const PORT: u16 = 9;
/// A packet is cheap, and nobody says that it arrived.
const COPIES: u32 = 3;

/// Where a machine is reached that is switched off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// our card there
    pub interface: String,
    /// 255.255.255.255, or a network behind a router
    pub broadcast: Ipv4Addr,
}

/// What a sleeping card waits for.
///
/// ```text
///  0        6                                102
///  +--------+--------+--------+-- … --+--------+
///  | 6 × FF |  MAC   |  MAC   |  × 16 |  MAC   |
///  +--------+--------+--------+-- … --+--------+
/// ```
pub fn packet(mac: MacAddr) -> [u8; 102] {
    std::array::from_fn(|at| if at < 6 { 0xff } else { mac.0[at % 6] })
}

pub(crate) fn act(wires: &[Wire], ask: &Ask) -> Result<Done, PowerError> {
    let by_hand = |what: &str| {
        let place = ask.port.as_deref().map(|port| format!(" in {port}")).unwrap_or_default();
        PowerError::OnlyOn { what: format!("{what} {}{place} by hand", ask.node) }
    };
    match ask.action {
        Action::On => {}
        Action::Off => return Err(by_hand("switch off")),
        Action::Cycle => return Err(by_hand("switch off and on")),
        Action::NetworkBoot => return Err(by_hand("choose the network in the firmware of")),
        Action::Status => return Err(by_hand("look at")),
    }
    if ask.macs.is_empty() {
        return Err(PowerError::NoCard { node: ask.node.clone() });
    }
    for wire in wires {
        send(wire, &ask.macs)
            .map_err(|source| PowerError::Send { interface: wire.interface.clone(), source })?;
    }
    let cards = ask.macs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let lines = wires.iter().map(|wire| wire.interface.as_str()).collect::<Vec<_>>().join(", ");
    let boots = if ask.network_boot { "; what it boots is up to its firmware" } else { "" };
    Ok(Done { summary: format!("{cards} was told by {lines} to wake up; nobody answers to that{boots}") })
}

fn send(wire: &Wire, macs: &[MacAddr]) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_broadcast(true)?;
    // the routes would send a broadcast by one card, whichever it is
    socket.bind_device(Some(wire.interface.as_bytes()))?;
    let to = SocketAddrV4::new(wire.broadcast, PORT).into();
    for mac in macs {
        for _ in 0..COPIES {
            socket.send_to(&packet(*mac), &to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_is_six_times_ff_and_sixteen_times_the_card() {
        let mac: MacAddr = "64:4b:f0:00:00:03".parse().unwrap();
        let packet = packet(mac);
        assert_eq!(packet[..6], [0xff; 6]);
        assert_eq!(packet.len(), 6 + 16 * 6);
        assert!(packet[6..].chunks(6).all(|chunk| *chunk == mac.0));
    }

    #[test]
    fn it_switches_on_and_nothing_else() {
        let mut ask = Ask {
            node: "mini03".into(),
            port: Some("sw1/Eth1/3".into()),
            macs: Vec::new(),
            action: Action::On,
            network_boot: false,
        };
        assert!(matches!(act(&[], &ask), Err(PowerError::NoCard { .. })));
        for action in [Action::Off, Action::Cycle, Action::Status] {
            ask.action = action;
            let words = act(&[], &ask).unwrap_err().to_string();
            assert!(words.contains("mini03 in sw1/Eth1/3 by hand"), "{words}");
        }
    }
}
