//! `lab firmware --ipv6-wait`: iPXE waits for IPv6 after it has its IPv4 address, unless a router advertisement tells it
//! that there is none. Two boots of the same machine, and what its card said in between.
//!
//! Judged by the order of what was said, not by the clock: solicitations after the last DHCP request are the wait.

use std::fmt;

use anyhow::{Context, Result, ensure};
use net::frame::FrameSocket;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// `ETH_P_ALL`: a bridge takes frames from its ports before sockets of one type see them.
const EVERY_TYPE: u16 = 3;
/// From power on to the first question over HTTP; nothing later matters.
const MOST: usize = 4096;

/// What the card said, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// DHCPv4, any message
    Dhcp,
    /// ICMPv6 router solicitation
    Solicitation,
    /// the first segment of a connection to the HTTP server
    Http,
}

/// Hears what a card says until it is asked for it.
pub(super) struct Ear(JoinHandle<Vec<(Said, Instant)>>);

impl Ear {
    /// Listens at a switch port.
    pub(super) fn at(port: &str) -> Result<Self> {
        let socket = FrameSocket::open(port, EVERY_TYPE, &[]).context("cannot hear the machine")?;
        Ok(Self(tokio::spawn(async move {
            let mut heard = Vec::new();
            while heard.len() < MOST
                && let Ok(frame) = socket.recv().await
            {
                let said = what(&frame);
                heard.extend(said.map(|said| (said, Instant::now())));
                if said == Some(Said::Http) {
                    break;
                }
            }
            heard
        })))
    }

    /// What lay between its address and its first question.
    pub(super) async fn wait(self) -> Result<Wait> {
        let heard = self.0.await.context("the listener died")?;
        Wait::of(&heard).context("the machine asked nothing over HTTP after its DHCP")
    }
}

/// What iPXE did between its last DHCP request and its first question over HTTP.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wait {
    solicitations: usize,
    seconds: f64,
}

impl Wait {
    fn of(heard: &[(Said, Instant)]) -> Option<Self> {
        let http = heard.iter().position(|(said, _)| *said == Said::Http)?;
        let (before, asked) = (heard.get(..http)?, heard.get(http)?.1);
        let dhcp = before.iter().rposition(|(said, _)| *said == Said::Dhcp)?;
        let solicitations = before.get(dhcp..)?.iter().filter(|(said, _)| *said == Said::Solicitation);
        let since = heard.get(dhcp)?.1;
        Some(Self {
            solicitations: solicitations.count(),
            seconds: asked.duration_since(since).as_secs_f64(),
        })
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} router solicitations and {:.1} s between DHCP and HTTP",
            self.solicitations, self.seconds
        )
    }
}

/// The advertisement must have saved the wait, and there must have been one to save.
pub(super) fn judge(silent: Wait, advertised: Wait) -> Result<()> {
    ensure!(
        silent.solicitations > 0,
        "without an advertisement this iPXE does not wait: nothing is shown ({silent})"
    );
    ensure!(advertised.solicitations == 0, "it waits in spite of the advertisement: {advertised}");
    Ok(())
}

fn what(frame: &[u8]) -> Option<Said> {
    let port = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    match port(12)? {
        // IPv4 without options: UDP to the DHCP server, TCP with SYN alone to HTTP
        0x0800 if frame.get(14)? == &0x45 => match (frame.get(23)?, port(36)?) {
            (17, 67) => Some(Said::Dhcp),
            (6, 80) if frame.get(47)? & 0x17 == 0x02 => Some(Said::Http),
            _ => None,
        },
        0x86dd if frame.get(20)? == &58 && frame.get(54)? == &133 => Some(Said::Solicitation),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_lies_between_dhcp_and_http_is_the_wait() {
        let start = Instant::now();
        let heard: Vec<(Said, Instant)> =
            [Said::Solicitation, Said::Dhcp, Said::Dhcp, Said::Solicitation, Said::Solicitation, Said::Http]
                .into_iter()
                .zip(0..)
                .map(|(said, second)| (said, start + Duration::from_secs(second)))
                .collect();
        let wait = Wait::of(&heard).unwrap();
        assert_eq!(wait, Wait { solicitations: 2, seconds: 3.0 });
        let without = Wait::of(&[heard[2], heard[5]]).unwrap();
        assert!(judge(wait, without).is_ok());
        assert!(judge(wait, wait).is_err() && judge(without, without).is_err());
        assert_eq!(Wait::of(&heard[..5]), None);
    }

    #[test]
    fn frames_are_told_apart() {
        let mut frame = vec![0; 60];
        frame[12..15].copy_from_slice(&[8, 0, 0x45]);
        frame[23] = 17;
        frame[36..38].copy_from_slice(&[0, 67]);
        assert_eq!(what(&frame), Some(Said::Dhcp));
        frame[23] = 6;
        frame[36..38].copy_from_slice(&[0, 80]);
        assert_eq!(what(&frame), None);
        frame[47] = 2;
        assert_eq!(what(&frame), Some(Said::Http));
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        (frame[20], frame[54]) = (58, 133);
        assert_eq!(what(&frame), Some(Said::Solicitation));
        for length in 0..60 {
            what(&frame[..length]);
        }
    }
}
