//! A relay as switches are: option 82 in octets (RFC 3046), with VLAN, module and port as Cisco's and their kin write it.
//!
//! ISC's dhcrelay can only write text. Runs inside the relay's network, between the machines' cards and the daemon.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket as StdSocket};
use std::os::fd::AsRawFd;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use hardware::MacAddr;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt};
use tokio::net::UdpSocket;

use crate::space;
use crate::wires::CARD;

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// RFC 2131 §2: offsets in a message.
const HOPS: usize = 3;
const RELAY: usize = 24;
const OPTIONS: usize = 240;
const PAD: u8 = 0;
const END: u8 = 255;
/// RFC 3046.
const AGENT_INFORMATION: u8 = 82;
const LARGEST: usize = 1500;

/// Arguments of *relay-agent*.
#[derive(Debug, Args)]
pub(crate) struct RelayAgent {
    /// whom it asks
    #[arg(long)]
    server: Ipv4Addr,
    /// the switch's own address, which is its remote id
    #[arg(long)]
    mac: MacAddr,
    /// the switch's ports: `INTERFACE=ADDRESS,VLAN,MODULE,PORT`
    ports: Vec<Port>,
}

/// One of the switch's ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) interface: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) vlan: u16,
    pub(crate) module: u8,
    pub(crate) port: u8,
}

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (interface, rest) = text.split_once('=')?;
            let mut parts = rest.split(',');
            Some(Self {
                interface: interface.to_owned(),
                address: parts.next()?.parse().ok()?,
                vlan: parts.next()?.parse().ok()?,
                module: parts.next()?.parse().ok()?,
                port: parts.next()?.parse().ok()?,
            })
        };
        read().ok_or_else(|| format!("{text:?} is not INTERFACE=ADDRESS,VLAN,MODULE,PORT"))
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { interface, address, vlan, module, port } = self;
        write!(f, "{interface}={address},{vlan},{module},{port}")
    }
}

/// Relays until it is ended.
pub(crate) fn run(arguments: &RelayAgent) -> Result<()> {
    space::runtime()?.block_on(relay(arguments))
}

async fn relay(arguments: &RelayAgent) -> Result<()> {
    let upstream = at(CARD)?;
    let mut downstream = Vec::new();
    for port in &arguments.ports {
        downstream.push((port, at(&port.interface)?));
    }
    let answers = async {
        let mut buffer = [0; LARGEST];
        loop {
            let (length, _) = upstream.recv_from(&mut buffer).await.context("cannot hear the server")?;
            let message = buffer.get(..length).unwrap_or_default();
            let to = downstream
                .iter()
                .find(|(port, _)| message.get(RELAY..RELAY + 4) == Some(&port.address.octets()[..]));
            let Some((_, socket)) = to else { continue };
            // a machine without an address hears only what is for everybody
            socket
                .send_to(&without_information(message)?, (Ipv4Addr::BROADCAST, CLIENT_PORT))
                .await
                .context("cannot answer a machine")?;
        }
    };
    let questions = downstream.iter().map(|(port, socket)| {
        let (upstream, server, mac) = (&upstream, arguments.server, arguments.mac);
        async move {
            let mut buffer = [0; LARGEST];
            loop {
                let (length, _) = socket.recv_from(&mut buffer).await.context("cannot hear a machine")?;
                let message = buffer.get(..length).unwrap_or_default();
                let relayed = with_information(message, port, mac)?;
                upstream.send_to(&relayed, (server, SERVER_PORT)).await.context("cannot ask the server")?;
            }
        }
    });
    let questions = futures_util::future::try_join_all(questions);
    tokio::select! {
        ended = answers => ended,
        ended = questions => ended.map(|_: Vec<()>| ()),
    }
}

/// A socket for the messages of one interface; several have the same port.
fn at(interface: &str) -> Result<UdpSocket> {
    let made = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_NONBLOCK, None)
        .context("cannot make a socket")?;
    setsockopt(&made, sockopt::BindToDevice, &interface.into())
        .with_context(|| format!("cannot listen on {interface}"))?;
    setsockopt(&made, sockopt::Broadcast, &true).context("cannot speak to everybody")?;
    let address = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT));
    bind(made.as_raw_fd(), &address).with_context(|| format!("cannot listen on {interface}"))?;
    UdpSocket::from_std(StdSocket::from(made)).context("cannot wait for a socket")
}

/// The message as the server gets it: with the port's address, and the information at its end.
fn with_information(message: &[u8], port: &Port, switch: MacAddr) -> Result<Vec<u8>> {
    let (start, end) = options(message)?.last().copied().unwrap_or((OPTIONS, OPTIONS));
    ensure!(message.get(start) == Some(&END) || start == end, "the message does not end");
    let mut relayed = message.get(..start).unwrap_or_default().to_vec();
    relayed[HOPS] = relayed[HOPS].saturating_add(1);
    relayed[RELAY..RELAY + 4].copy_from_slice(&port.address.octets());
    let [high, low] = port.vlan.to_be_bytes();
    let circuit = [1, 6, 0, 4, high, low, port.module, port.port];
    relayed.extend([AGENT_INFORMATION, 18]);
    relayed.extend(circuit);
    relayed.extend([2, 8, 0, 6]);
    relayed.extend(switch.0);
    relayed.push(END);
    Ok(relayed)
}

/// RFC 3046 §2.1: what the agent added it takes out again.
fn without_information(message: &[u8]) -> Result<Vec<u8>> {
    let mut answer = message.get(..OPTIONS).unwrap_or_default().to_vec();
    for (start, end) in options(message)? {
        let option = message.get(start..end).unwrap_or_default();
        if option.first() != Some(&AGENT_INFORMATION) {
            answer.extend_from_slice(option);
        }
    }
    Ok(answer)
}

/// Where each option begins and ends; the last one is [`END`].
fn options(message: &[u8]) -> Result<Vec<(usize, usize)>> {
    let mut all = Vec::new();
    let mut at = OPTIONS;
    loop {
        let length = match (message.get(at), message.get(at + 1)) {
            (Some(&PAD), _) => 1,
            (Some(&END), _) => {
                all.push((at, at + 1));
                return Ok(all);
            }
            (Some(_), Some(&length)) => usize::from(length) + 2,
            _ => bail!("a message of {} octets has no end", message.len()),
        };
        all.push((at, at + length));
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_adds_it_takes_out_again() {
        let port: Port = "Eth1-2=10.78.2.1,7,1,2".parse().unwrap();
        assert_eq!(port.to_string().parse(), Ok(port.clone()));
        assert!("Eth1-2=10.78.2.1,7,1".parse::<Port>().is_err());
        let mut message = vec![0; OPTIONS];
        message.extend([53, 1, 1, PAD, END, 0, 0]);
        let relayed = with_information(&message, &port, MacAddr([2, 0, 0, 0, 0, 9])).unwrap();
        assert_eq!((relayed[HOPS], &relayed[RELAY..RELAY + 4]), (1, &[10, 78, 2, 1][..]));
        let expected = [53, 1, 1, 0, 82, 18, 1, 6, 0, 4, 0, 7, 1, 2, 2, 8, 0, 6, 2, 0, 0, 0, 0, 9, 255];
        assert_eq!(relayed[OPTIONS..], expected);
        assert_eq!(without_information(&relayed).unwrap()[OPTIONS..], [53, 1, 1, 0, 255]);
        for length in [OPTIONS, OPTIONS + 1, OPTIONS + 4] {
            assert!(with_information(&message[..length], &port, MacAddr([0; 6])).is_err(), "{length}");
        }
    }
}
