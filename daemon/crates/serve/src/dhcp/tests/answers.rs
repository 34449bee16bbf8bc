//! What recorded machines are told, and when.

use super::*;

#[test]
fn a_recorded_machine_is_offered_and_leased_and_seen() {
    namespace::test(|| async {
        let mut stand = Stand::start(Mode::Authoritative).await;
        let firmware = Firmware::plug().await;
        firmware.say(&capture("ipxe-bios-uuid-discover")).await;
        let offer = firmware.hear().await;
        let address = offer.packet.yiaddr;
        assert_eq!(offer.packet.message_type(), Some(MessageType::Offer));
        // iPXE has no address and does not ask for broadcasts: the frame itself must find it
        assert_eq!((offer.to, offer.from, offer.ip), (MACHINE, SERVER_MAC, address));
        assert_eq!(offer.packet.file, b"http://10.77.0.1/boot.ipxe");
        assert!(stand.log.rows().is_empty());

        firmware.say(&request("ipxe-bios-request", address, Some(SERVER))).await;
        let ack = firmware.hear().await;
        assert_eq!((ack.packet.message_type(), ack.packet.yiaddr), (Some(MessageType::Ack), address));
        assert_eq!(stand.log.rows().get(&address).and_then(|lease| lease.mac), Some(MACHINE));
        let seen = stand.whereabouts.recv().await.unwrap();
        assert_eq!((seen.mac, seen.address), (MACHINE, address.into()));
        let sighting = stand.sightings.recv().await.unwrap();
        assert_eq!((sighting.source, sighting.port), (Source::Dhcp, None));
        assert!(sighting.machine.macs.contains(&MACHINE) && sighting.machine.uuid.is_some());
        stand.stop().await;
    })
    .unwrap();
}

#[test]
fn who_asks_for_broadcasts_gets_them() {
    namespace::test(|| async {
        let stand = Stand::start(Mode::Authoritative).await;
        let firmware = Firmware::plug().await;
        firmware.say(&capture("ovmf-http-discover")).await;
        let offer = firmware.hear().await;
        assert_eq!((offer.to, offer.ip), (BROADCAST_MAC, Ipv4Addr::BROADCAST));
        assert_eq!(offer.packet.file, b"http://10.77.0.1/ipxe/snponly.efi");
        stand.stop().await;
    })
    .unwrap();
}

#[test]
fn no_ack_leaves_before_its_lease_is_stored() {
    namespace::test(|| async {
        let stand = Stand::start(Mode::Authoritative).await;
        let firmware = Firmware::plug().await;
        firmware.say(&capture("ipxe-efi-discover")).await;
        let address = firmware.hear().await.packet.yiaddr;
        stand.log.broken.store(true, Ordering::SeqCst);
        firmware.say(&request("ipxe-efi-request", address, Some(SERVER))).await;
        firmware.say(&capture("ipxe-efi-discover")).await;
        // what promises nothing is answered all the same, and it comes first: the other is not answered at all
        assert_eq!(firmware.hear().await.packet.message_type(), Some(MessageType::Offer));
        stand.counts("not-stored").await;
        assert!(stand.log.rows().is_empty());
        stand.log.broken.store(false, Ordering::SeqCst);
        firmware.say(&request("ipxe-efi-request", address, Some(SERVER))).await;
        assert_eq!(firmware.hear().await.packet.message_type(), Some(MessageType::Ack));
        assert_eq!(stand.log.rows().len(), 1);
        stand.stop().await;
    })
    .unwrap();
}

#[test]
fn rubbish_is_counted_and_the_loop_goes_on() {
    namespace::test(|| async {
        let stand = Stand::start(Mode::Authoritative).await;
        let firmware = Firmware::plug().await;
        let mut no_cookie = capture("ovmf-pxe-discover");
        no_cookie[236] = 0;
        for rubbish in [&[][..], b"hello", &no_cookie] {
            firmware.say(rubbish).await;
        }
        firmware.say(&capture("ovmf-pxe-discover")).await;
        assert_eq!(firmware.hear().await.packet.message_type(), Some(MessageType::Offer));
        let count = |label| stand.counters.get("dhcp-malformed", label);
        assert_eq!((count("short"), count("cookie")), (2, 1));
        stand.stop().await;
    })
    .unwrap();
}

#[test]
fn what_is_published_counts_from_the_next_packet() {
    namespace::test(|| async {
        let stand = Stand::start(Mode::Authoritative).await;
        let firmware = Firmware::plug().await;
        let address = Ipv4Addr::new(10, 77, 0, 11);
        let machine = KnownMachine { node: "mini01".to_owned(), address, offer: Offer::Nothing };
        let view = BootView { revision: 2, known: [(MACHINE, machine)].into(), unknown: Offer::Identify };
        stand.view.send_replace(Arc::new(view));
        stand.configs.send_modify(|configs| configs[0].ntp = vec![SERVER]);
        firmware.say(&capture("ovmf-pxe-discover")).await;
        let offer = firmware.hear().await.packet;
        assert_eq!((offer.yiaddr, offer.file.as_slice()), (address, &b"local-disk"[..]));
        assert_eq!(offer.options.address(OptionCode::NtpServers), Some(SERVER));
        stand.stop().await;
    })
    .unwrap();
}

#[test]
fn a_proxy_answers_the_second_round_on_its_own_port() {
    namespace::test(|| async {
        let stand = Stand::start(Mode::Proxy).await;
        let there = Namespace::create().unwrap();
        there.take("cli").await.unwrap();
        let client = there.spawn(|| async {
            namespace::up("cli").await.unwrap();
            namespace::address("cli", "10.77.0.200/24".parse().unwrap()).await.unwrap();
            namespace::carrier("cli").await.unwrap();
            let mut socket = DhcpSocket::bind(PXE_PORT, Some("cli")).unwrap();
            let to = SocketAddrV4::new(SERVER, PXE_PORT);
            socket.send_to(&capture("ovmf-pxe-proxy-request"), to, Via::default()).await.unwrap();
            timeout(BROKEN, socket.recv()).await.expect("no answer").unwrap()
        });
        // the thread has a runtime of its own; joining must not hold ours
        let answer = tokio::task::spawn_blocking(|| client.unwrap().join().unwrap().unwrap()).await.unwrap();
        assert_eq!(answer.source, SocketAddrV4::new(SERVER, PXE_PORT));
        let packet = Packet::parse(&answer.payload).unwrap();
        assert_eq!(
            (packet.message_type(), packet.file.as_slice()),
            (Some(MessageType::Ack), &b"snponly.efi"[..])
        );
        stand.stop().await;
    })
    .unwrap();
}

#[test]
fn what_is_missing_is_said() {
    namespace::test(|| async {
        namespace::cable(["srv", "cli"], [None, None]).await.unwrap();
        let (_view, view) = watch::channel(Arc::new(BootView::default()));
        let (_, rules) = watch::channel(Arc::new(LocalBootRules::default()));
        let links = Links {
            local_boots: LocalBoots::new(rules, view.clone()),
            trace: Arc::default(),
            view,
            sightings: mpsc::channel(1).0,
            whereabouts: mpsc::channel(1).0,
            counters: Arc::new(Counters::default()),
        };
        let (_configs, configs) = watch::channel(vec![config(Mode::Authoritative)]);
        let bind = |name| {
            Dhcp::bind(name, configs.clone(), Vec::new(), Log::default(), links.clone())
                .unwrap_err()
                .to_string()
        };
        let missing = bind("eno9");
        assert!(missing.contains("eno9") && missing.contains("srv"), "{missing}");
        let address = bind("srv");
        assert!(address.contains("srv does not have the address 10.77.0.1"), "{address}");
    })
    .unwrap();
}
