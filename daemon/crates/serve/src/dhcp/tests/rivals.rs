//! Another server on the same wire.

use super::*;

/// What answers every DISCOVER at the other end of the cable, as a server does that knows nothing of ours.
async fn another_server(shutdown: CancellationToken) {
    let (out, back) = (FrameSocket::sender("cli").unwrap(), FrameSocket::open("cli", 0x0800, &[]).unwrap());
    let address = Ipv4Addr::new(10, 77, 0, 9);
    while let Some(Ok(frame)) = shutdown.run_until_cancelled(back.recv()).await {
        let Some(question) = discover(&frame) else { continue };
        let mut offer = Packet::reply_to(&question);
        offer.yiaddr = Ipv4Addr::new(10, 77, 0, 250);
        offer.options.set(&DhcpOption::MessageType(MessageType::Offer));
        offer.options.set(&DhcpOption::ServerIdentifier(address));
        let from = (MACHINE, SocketAddrV4::new(address, SERVER_PORT));
        let to = (BROADCAST_MAC, SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT));
        out.send(&frame::udp_frame(from, to, &offer.to_bytes()).unwrap()).await.unwrap();
    }
}

fn discover(frame: &[u8]) -> Option<Packet> {
    let ethernet = EthernetPacket::new(frame)?;
    let ip = Ipv4Packet::new(ethernet.payload())?;
    let datagram =
        UdpPacket::new(ip.payload()).filter(|datagram| datagram.get_destination() == SERVER_PORT)?;
    let packet = Packet::parse(datagram.payload()).ok()?;
    (packet.message_type() == Some(MessageType::Discover)).then_some(packet)
}

#[test]
fn beside_another_server_nothing_starts() {
    namespace::test(|| async {
        let (dhcp, _stand) = Stand::bound(vec![config(Mode::Authoritative)]).await;
        dhcp.alone().await.unwrap();
        let shutdown = CancellationToken::new();
        let other = tokio::spawn(another_server(shutdown.clone()));
        let found = async {
            loop {
                if let Err(error) = dhcp.alone().await {
                    return error.to_string();
                }
            }
        };
        let said = timeout(BROKEN, found).await.expect("it is found");
        assert!(said.contains("10.77.0.9") && said.contains("srv") && said.contains("dhcp: proxy"), "{said}");
        shutdown.cancel();
        other.await.unwrap();
    })
    .unwrap();
}

#[test]
fn what_runs_goes_silent_beside_another_server_and_speaks_when_it_is_gone() {
    namespace::test(|| async {
        let (mut dhcp, stand) = Stand::bound(vec![config(Mode::Authoritative)]).await;
        let short = Duration::from_millis(200);
        dhcp.pace = rival::Pace { wait: short, pause: short, pause_with_rival: short };
        let stand = stand.running(dhcp);
        let firmware = Firmware::plug().await;
        let shutdown = CancellationToken::new();
        let other = tokio::spawn(another_server(shutdown.clone()));
        // somebody takes the other's offer, which is a reason to look
        let elsewhere =
            request("udhcpc-request", Ipv4Addr::new(10, 77, 0, 250), Some(Ipv4Addr::new(10, 77, 0, 9)));
        let silent = async {
            while stand.counters.get("dhcp", "silenced") == 0 {
                firmware.say(&elsewhere).await;
                firmware.say(&capture("ovmf-pxe-discover")).await;
                timeout(Duration::from_millis(20), firmware.hear_from_anybody()).await.ok();
            }
        };
        timeout(BROKEN, silent).await.expect("it goes silent");
        let complaints = stand.trace.complaints(clock::now());
        assert!(complaints.iter().any(|complaint| complaint.kind == "rival"), "{complaints:?}");
        shutdown.cancel();
        other.await.unwrap();
        let before = stand.counters.get("dhcp", "booting");
        let speaks = async {
            while stand.counters.get("dhcp", "booting") == before {
                firmware.say(&elsewhere).await;
                firmware.say(&capture("ovmf-pxe-discover")).await;
                timeout(Duration::from_millis(20), firmware.hear_from_anybody()).await.ok();
            }
        };
        timeout(BROKEN, speaks).await.expect("it speaks again");
        stand.stop().await;
    })
    .unwrap();
}
