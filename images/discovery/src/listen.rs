//! Listening on every card at once, and speaking, until everybody had time to speak.
//!
//! One task a card; all end with [`listen`], which its caller may cancel.

use std::{collections::BTreeMap, time::Duration};

use boot::LldpReport;
use hardware::{ChassisId, MacAddr, PortId, SystemUuid};
use lldp::{Announcement, Capabilities, Frame, NEAREST_BRIDGE};
use net::{
    frame::{FrameError, FrameSocket, LLDP_GROUPS},
    interface::Interface,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::listening::{Card, Listening};

/// Between two looks at the links.
const LOOK: Duration = Duration::from_millis(500);
/// Looks between two announcements of our own: often enough for a switch that shows its neighbours for a short while.
const SPEAK_EVERY: u32 = 10;
/// For so many seconds a switch keeps ours; afterwards another system runs here.
const TIME_TO_LIVE: u16 = 60;
/// 802.1AB-2016 tables 8-2 and 8-3: known by an address.
const CHASSIS_BY_MAC: u8 = 4;
const PORT_BY_MAC: u8 = 3;

/// What the machine says of itself.
const NAME: &str = "ichord-discovery";

/// Listens on these cards, which are up, for so long each. Cards that cannot be listened on are noted.
///
/// # Errors
/// When no card can be listened on.
pub async fn listen(
    cards: &[Card],
    uuid: Option<SystemUuid>,
    time: Duration,
    notes: &mut Vec<String>,
) -> Result<Vec<LldpReport>, FrameError> {
    let (sender, mut frames) = mpsc::channel(64);
    let mut ears = JoinSet::new();
    let mut voices = Vec::new();
    let mut failed = None;
    for card in cards {
        let opened = FrameSocket::open(&card.name, lldp::ETHERTYPE, &LLDP_GROUPS)
            .and_then(|ear| Ok((ear, FrameSocket::sender(&card.name)?)));
        match opened {
            Ok((ear, voice)) => {
                // some cards keep what is not marked as control traffic from the wire
                if let Err(error) = voice.set_control_priority() {
                    notes.push(format!("{}: {error}", card.name));
                }
                voices.push((voice, announcement(card.mac, cards, uuid).build()));
                ears.spawn(hear(card.name.clone(), ear, sender.clone()));
            }
            Err(error) => {
                notes.push(format!("{}: {error}", card.name));
                failed = Some(error);
            }
        }
    }
    if let Some(error) = failed.filter(|_| voices.is_empty()) {
        return Err(error);
    }
    let (mut listening, began) = (Listening::new(cards, time), Instant::now());
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count: u32 = 0;
    while !listening.is_over(began.elapsed()) {
        tokio::select! {
            Some((card, frame)) = frames.recv() => listening.frame(&card, &frame),
            _ = looks.tick() => {
                for (card, up) in links(cards) {
                    listening.link(&card, up, began.elapsed());
                }
                if count.is_multiple_of(SPEAK_EVERY) {
                    for (voice, frame) in &voices {
                        // a card without a link has nobody to speak to
                        voice.send(frame).await.ok();
                    }
                }
                count = count.wrapping_add(1);
            }
        }
    }
    Ok(listening.neighbours())
}

async fn hear(card: String, ear: FrameSocket, frames: mpsc::Sender<(String, Vec<u8>)>) {
    loop {
        // it says once that the link went down, and goes on when it comes back
        if let Ok(frame) = ear.recv().await
            && frames.send((card.clone(), frame)).await.is_err()
        {
            return;
        }
    }
}

/// Which cards have a link now.
fn links(cards: &[Card]) -> BTreeMap<String, bool> {
    let all = Interface::all().unwrap_or_default();
    let is_up = |card: &Card| all.iter().any(|interface| interface.name == card.name && interface.running);
    cards.iter().map(|card| (card.name.clone(), is_up(card))).collect()
}

/// A station that forwards nothing; by its addresses the daemon knows it on its own ports.
fn announcement(mac: MacAddr, cards: &[Card], uuid: Option<SystemUuid>) -> Frame {
    let first = cards.first().map_or(mac, |card| card.mac);
    let chassis = ChassisId { subtype: CHASSIS_BY_MAC, id: first.0.to_vec() };
    let port = PortId { subtype: PORT_BY_MAC, id: mac.0.to_vec() };
    let mut announcement = Announcement::new(chassis, port, TIME_TO_LIVE);
    announcement.system_name = Some(NAME.to_owned());
    announcement.system_description = uuid.map(|uuid| format!("finds out its switch port; uuid {uuid}"));
    let station = Capabilities::STATION;
    announcement.capabilities = Some(Capabilities { supported: station, enabled: station });
    Frame { destination: NEAREST_BRIDGE, source: mac, vlan: None, announcement }
}

#[cfg(test)]
mod tests {
    use net::namespace;

    use super::*;

    #[test]
    fn it_hears_its_switch_and_is_heard() {
        namespace::test(|| async {
            let (switch, own) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
            namespace::cable(["port", "eth0"], [Some(switch), Some(own)]).await.unwrap();
            for end in ["port", "eth0"] {
                namespace::up(end).await.unwrap();
            }
            namespace::carrier("eth0").await.unwrap();
            let port = FrameSocket::open("port", lldp::ETHERTYPE, &LLDP_GROUPS).unwrap();
            let mut frame = announcement(switch, &[], None);
            frame.announcement.port = PortId { subtype: 5, id: b"Eth1/7".to_vec() };
            let frame = frame.build();
            let speaks = async {
                loop {
                    port.send(&frame).await.ok();
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            let cards = [Card { name: "eth0".to_owned(), mac: own }];
            let mut notes = Vec::new();
            // the time of one card is short here; links are waited for anyway
            let listens = listen(&cards, None, Duration::from_secs(1), &mut notes);
            let hears = async {
                loop {
                    if let Ok(frame) = port.recv().await
                        && let Ok(frame) = Frame::parse(&frame)
                        && frame.source == own
                    {
                        break frame;
                    }
                }
            };
            let (heard, said) = tokio::select! {
                both = async { tokio::join!(listens, hears) } => both,
                () = speaks => unreachable!("it never ends"),
            };
            let heard = heard.unwrap();
            assert_eq!((heard.len(), heard[0].nic), (1, own));
            assert_eq!(heard[0].port.as_ref().unwrap().to_string(), "Eth1/7");
            assert_eq!(said.announcement.system_name.as_deref(), Some("ichord-discovery"));
            assert!(!said.announcement.capabilities.unwrap().does(Capabilities::BRIDGE));
            let nobody = [Card { name: "eth9".to_owned(), mac: own }];
            assert!(listen(&nobody, None, Duration::ZERO, &mut notes).await.is_err());
        })
        .unwrap();
    }
}
