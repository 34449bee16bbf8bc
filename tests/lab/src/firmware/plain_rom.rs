//! A BIOS network card whose ROM is plain PXE. QEMU has none: its only BIOS ROM is iPXE, which says so in every request.
//!
//! One task carries the frames between the virtual machine (datagrams on the loopback) and its switch port, and takes
//! out of the ROM's DHCP what makes it iPXE, until it has begun to fetch a bootloader: what asks from then on is that
//! bootloader, and is left as it is. It ends with the value.

use anyhow::{Context, Result};
use net::tap::Tap;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Where the card's datagrams come from and go to; the lab's network is its own, so nobody else has these ports.
const CARD: &str = "127.0.0.1:7001";
const PORT: &str = "127.0.0.1:7002";
/// As large as anything on the wire.
const LONGEST: usize = 2048;

/// Ethernet, IPv4 without options.
const UDP: usize = 14 + 20;
const BOOTP: usize = UDP + 8;
const OPTIONS: usize = BOOTP + 240;
/// RFC 2132 §9.8, RFC 3004, and iPXE's own encapsulated options.
const PARAMETER_LIST: u8 = 55;
const USER_CLASS: u8 = 77;
const IPXE: u8 = 175;
/// What iPXE asks for and nobody else does: its own options, and the initiator's name of iSCSI.
const ASKED_BY_IPXE: [u8; 2] = [IPXE, 203];

/// The card, while it is plugged in.
pub(crate) struct PlainRom(JoinHandle<()>);

impl Drop for PlainRom {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl PlainRom {
    /// Plugs the card into a switch port.
    pub(crate) async fn plug(port: &str) -> Result<Self> {
        let tap = Tap::open(port).with_context(|| format!("cannot hold the far end of {port}"))?;
        let card = UdpSocket::bind(PORT).await.context("cannot listen for the card's frames")?;
        Ok(Self(tokio::spawn(async move {
            if let Err(error) = carry(&tap, &card).await {
                println!("the card's wire broke: {error}");
            }
        })))
    }

    /// The card's wire, as QEMU's `-netdev` says it.
    pub(crate) fn netdev() -> String {
        format!("socket,id=wire,udp={PORT},localaddr={CARD}")
    }
}

async fn carry(tap: &Tap, card: &UdpSocket) -> std::io::Result<()> {
    let mut buffer = vec![0; LONGEST];
    let mut fetched = false;
    loop {
        tokio::select! {
            frame = tap.recv() => {
                card.send_to(&frame?, CARD).await?;
            }
            length = card.recv(&mut buffer) => {
                let frame = buffer.get_mut(..length?).unwrap_or_default();
                fetched = fetched || begins_to_fetch(frame);
                if !fetched {
                    hide_ipxe(frame);
                }
                tap.send(frame).await?;
            }
        }
    }
}

/// The destination port of a UDP datagram over IPv4.
fn port_of(frame: &[u8]) -> Option<u16> {
    let is_udp = frame.get(12..14)? == [8, 0] && frame.get(14)? == &0x45 && frame.get(23)? == &17;
    is_udp.then_some(u16::from_be_bytes([*frame.get(UDP + 2)?, *frame.get(UDP + 3)?]))
}

/// A TFTP read request.
fn begins_to_fetch(frame: &[u8]) -> bool {
    port_of(frame) == Some(69) && frame.get(UDP + 8..UDP + 10) == Some(&[0, 1])
}

/// Takes out of a DHCP request what only iPXE says. The rest moves up and zeros follow the end, so no length changes.
fn hide_ipxe(frame: &mut [u8]) {
    if port_of(frame) != Some(67) {
        return;
    }
    let Some(options) = frame.get_mut(OPTIONS..) else { return };
    let mut kept = Vec::with_capacity(options.len());
    let mut rest: &[u8] = options;
    while let [code, length, tail @ ..] = rest {
        if *code == 255 {
            break;
        }
        if *code == 0 {
            rest = rest.get(1..).unwrap_or_default();
            continue;
        }
        let Some((value, after)) = tail.split_at_checked(usize::from(*length)) else { return };
        match *code {
            USER_CLASS | IPXE => {}
            PARAMETER_LIST => {
                let asked: Vec<u8> =
                    value.iter().copied().filter(|wanted| !ASKED_BY_IPXE.contains(wanted)).collect();
                kept.extend([PARAMETER_LIST, u8::try_from(asked.len()).unwrap_or(u8::MAX)]);
                kept.extend(asked);
            }
            _ => {
                kept.extend([*code, *length]);
                kept.extend(value);
            }
        }
        rest = after;
    }
    kept.push(255);
    kept.resize(options.len(), 0);
    options.copy_from_slice(&kept);
    // RFC 768: none
    if let Some(checksum) = frame.get_mut(UDP + 6..UDP + 8) {
        checksum.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(port: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; UDP];
        frame[12..15].copy_from_slice(&[8, 0, 0x45]);
        frame[23] = 17;
        frame.extend([0, 68]);
        frame.extend(port.to_be_bytes());
        frame.extend([0, 0, 0xab, 0xcd]);
        frame.extend(payload);
        frame
    }

    /// What SeaBIOS with the card's ROM sent.
    fn discover() -> Vec<u8> {
        let text = include_str!("../../../machine/tests/captures/machine/ipxe-bios-discover.hex");
        let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
        hex::decode(digits).unwrap()
    }

    fn options(frame: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut rest = &frame[OPTIONS..];
        let mut options = Vec::new();
        while rest[0] != 255 {
            let length = usize::from(rest[1]);
            options.push((rest[0], rest[2..2 + length].to_vec()));
            rest = &rest[2 + length..];
        }
        assert!(rest[1..].iter().all(|octet| *octet == 0));
        options
    }

    #[test]
    fn a_plain_rom_says_what_it_said_but_for_being_ipxe() {
        let mut hidden = frame(67, &discover());
        let before = options(&hidden);
        let length = hidden.len();
        hide_ipxe(&mut hidden);
        let after = options(&hidden);
        assert_eq!((hidden.len(), &hidden[UDP + 6..BOOTP]), (length, &[0, 0][..]));
        let codes = |options: &[(u8, Vec<u8>)]| options.iter().map(|(code, _)| *code).collect::<Vec<_>>();
        let left: Vec<u8> =
            codes(&before).into_iter().filter(|code| ![USER_CLASS, IPXE].contains(code)).collect();
        assert_eq!(codes(&after), left);
        assert_ne!(codes(&before), left, "the capture is of an iPXE");
        let asked = &after.iter().find(|(code, _)| *code == PARAMETER_LIST).unwrap().1;
        assert!(asked.contains(&66) && !asked.contains(&IPXE));
        let sent = frame(67, &discover());
        assert_eq!((&hidden[..UDP + 6], &hidden[BOOTP..OPTIONS]), (&sent[..UDP + 6], &sent[BOOTP..OPTIONS]));
    }

    #[test]
    fn nothing_else_is_touched() {
        let mut reply = frame(68, &discover());
        let before = reply.clone();
        hide_ipxe(&mut reply);
        assert_eq!(reply, before);
        for length in 0..OPTIONS + 20 {
            hide_ipxe(&mut frame(67, &discover())[..length]);
        }
        assert!(begins_to_fetch(&frame(69, b"\0\x01undionly.kpxe\0octet\0")));
        assert!(!begins_to_fetch(&frame(69, b"\0\x04\0\x01")));
    }
}
