//! The four states of REQUEST, and the other messages.

use super::*;

/// What the server knows of MACHINE before it asks.
#[derive(Debug, Clone, Copy)]
enum Before {
    Nothing,
    /// has netbooted and leased .100
    Leased,
    /// leased .100 and its lease has run out since
    RanOut,
    /// holds a slot
    Slot,
    /// leased .100, then got a slot
    LeasedThenSlot,
    /// OTHER has .100
    TakenByOther,
}

fn before(state: Before) -> Stand {
    let mut stand = Stand::unknown();
    match state {
        Before::Nothing => {}
        Before::Leased => assert_eq!(stand.boot(MACHINE), host(100)),
        Before::RanOut => {
            assert_eq!(stand.boot(MACHINE), host(100));
            stand.now += 2 * HOUR;
        }
        Before::Slot => stand.known = Known::slot(MACHINE),
        Before::LeasedThenSlot => {
            assert_eq!(stand.boot(MACHINE), host(100));
            stand.known = Known::slot(MACHINE);
        }
        Before::TakenByOther => assert_eq!(stand.boot(OTHER), host(100)),
    }
    stand
}

const ACK: Option<MessageType> = Some(MessageType::Ack);
const NAK: Option<MessageType> = Some(MessageType::Nak);
const SILENT: Option<MessageType> = None;

#[test]
fn init_reboot() {
    use Before::*;
    let away = Ipv4Addr::new(192, 168, 1, 5);
    for (state, wanted, expected) in [
        (Nothing, host(100), SILENT),
        (Nothing, SLOT, SILENT),
        (Nothing, away, NAK),
        (Leased, host(100), ACK),
        (Leased, host(101), NAK),
        (Leased, away, NAK),
        (RanOut, host(100), ACK),
        (Slot, SLOT, ACK),
        (Slot, host(100), NAK),
        (LeasedThenSlot, host(100), NAK),
        (LeasedThenSlot, SLOT, ACK),
        (TakenByOther, host(100), SILENT),
    ] {
        let answer = before(state).send(&rebooted(MACHINE, wanted));
        assert_eq!(kind(&answer), expected, "{state:?} wants {wanted}: {:?}", answer.note);
    }
}

#[test]
fn renewing_and_rebinding() {
    use Before::*;
    let away = Ipv4Addr::new(192, 168, 1, 5);
    for (state, current, expected) in [
        // a pool address that is free: only we can have given it
        (Nothing, host(100), ACK),
        // a node goes on with its address although the store was lost
        (Nothing, SLOT, SILENT),
        (Nothing, away, NAK),
        (Leased, host(100), ACK),
        (RanOut, host(100), ACK),
        (Slot, SLOT, ACK),
        (Slot, host(77), NAK),
        // no address changes under a running install
        (LeasedThenSlot, host(100), ACK),
        (LeasedThenSlot, SLOT, ACK),
        (TakenByOther, host(100), NAK),
    ] {
        let answer = before(state).send(&renewing(MACHINE, current));
        assert_eq!(kind(&answer), expected, "{state:?} has {current}: {:?}", answer.note);
    }
}

#[test]
fn selecting_an_offer() {
    use Before::*;
    for (state, wanted, expected) in [
        (Leased, host(100), ACK),
        (Leased, host(101), ACK),
        (Leased, host(99), NAK),
        (Slot, SLOT, ACK),
        (Slot, host(100), NAK),
        (LeasedThenSlot, host(100), NAK),
        // a phone
        (Nothing, host(100), SILENT),
    ] {
        let answer = before(state).send(&selecting(MACHINE, wanted));
        assert_eq!(kind(&answer), expected, "{state:?} selects {wanted}: {:?}", answer.note);
    }
    let mut netboots = firmware(MACHINE);
    netboots.options.set(&DhcpOption::MessageType(MessageType::Request));
    let taken = with_server(with_address(netboots, host(100)), SERVER);
    assert_eq!(kind(&before(TakenByOther).send(&taken)), NAK);
}

#[test]
fn an_offer_survives_our_restart() {
    let mut stand = Stand::unknown();
    let offered = stand.send(&captures::packet("ipxe-efi-discover")).reply.unwrap().packet.yiaddr;
    stand.restart();
    let request = with_address(captures::packet("ipxe-efi-request"), offered);
    let answer = stand.send(&request);
    assert_eq!((kind(&answer), answer.bound), (ACK, Some((MACHINE, offered))));
}

#[test]
fn who_takes_another_servers_offer_frees_ours() {
    let mut stand = Stand::unknown();
    assert_eq!(stand.send(&firmware(MACHINE)).reply.unwrap().packet.yiaddr, host(100));
    let other = host(2);
    let answer = stand.send(&with_server(rebooted(MACHINE, host(200)), other));
    assert_eq!((label(&answer), kind(&answer)), ("chose-another", SILENT));
    assert!(answer.note.unwrap().is_alarming());
    let next = stand.send(&with_address(firmware(OTHER), host(100)));
    assert_eq!(next.reply.unwrap().packet.yiaddr, host(100));
}

#[test]
fn a_reservation_has_no_end_and_needs_no_store() {
    let mut stand = before(Before::Slot);
    for packet in [
        firmware(MACHINE),
        plain(MACHINE),
        selecting(MACHINE, SLOT),
        rebooted(MACHINE, SLOT),
        renewing(MACHINE, SLOT),
    ] {
        let answer = stand.send(&packet);
        let reply = answer.reply.unwrap().packet;
        assert_eq!(reply.yiaddr, SLOT);
        assert_eq!(raw(&reply, 51), Some([0xff; 4].as_slice()));
        assert_eq!((raw(&reply, 58), raw(&reply, 59)), (None, None));
        assert!(answer.changes.is_empty());
    }
    assert!(stand.stored.is_empty());
}

#[test]
fn two_interfaces_of_one_machine_do_not_share_its_address() {
    let mut stand = before(Before::Slot);
    stand.known.slots.insert(OTHER, SLOT);
    let given = |answer: Answer| answer.reply.map(|reply| reply.packet.yiaddr);
    // the installed system asks on both
    assert_eq!(given(stand.send(&plain(MACHINE))), Some(SLOT));
    assert_eq!(given(stand.send(&selecting(MACHINE, SLOT))), Some(SLOT));
    assert_eq!(given(stand.send(&plain(OTHER))), Some(host(100)));
    for packet in [selecting(OTHER, SLOT), renewing(OTHER, SLOT), rebooted(OTHER, SLOT)] {
        assert_ne!(given(stand.send(&packet)), Some(SLOT));
    }
    assert_eq!(kind(&stand.send(&renewing(MACHINE, SLOT))), ACK);
    // it boots by the second interface
    assert_eq!(given(stand.send(&firmware(OTHER))), Some(SLOT));
    assert_eq!(given(stand.send(&plain(OTHER))), Some(SLOT));
    assert_eq!(given(stand.send(&plain(MACHINE))), Some(host(101)));
    // given back, or no longer the other's
    let release = Packet { ciaddr: SLOT, ..message(OTHER, MessageType::Release) };
    assert_eq!(label(&stand.send(&release)), "released");
    assert_eq!(given(stand.send(&plain(MACHINE))), Some(SLOT));
    stand.known.slots.remove(&MACHINE);
    assert_eq!(given(stand.send(&plain(OTHER))), Some(SLOT));
}

#[test]
fn a_slot_of_another_network_is_no_reservation_here() {
    let mut stand = Stand::unknown();
    stand.known.slots.insert(MACHINE, Ipv4Addr::new(192, 0, 2, 11));
    assert_eq!(stand.send(&plain(MACHINE)).reply.unwrap().packet.yiaddr, host(100));
}

#[test]
fn a_lease_is_stored_before_the_ack() {
    let mut stand = Stand::unknown();
    stand.boot(MACHINE);
    let mut request = selecting(MACHINE, host(100));
    request.options.set(&DhcpOption::Hostname("talos-abc".to_owned()));
    let answer = stand.send(&request);
    let expected = Lease {
        address: host(100),
        mac: Some(MACHINE),
        hostname: Some("talos-abc".to_owned()),
        relayed: None,
        state: crate::LeaseState::Bound,
        granted: NOW,
        expires: NOW + HOUR,
    };
    let after: Vec<_> = answer.changes.iter().map(|(_, change)| change.after.clone()).collect();
    assert_eq!(after, [Some(expected)]);
}

#[test]
fn what_could_not_be_stored_never_was() {
    let mut stand = Stand::unknown();
    let offered = stand.send(&firmware(MACHINE)).reply.unwrap().packet.yiaddr;
    let received = Received { source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68), port: 67 };
    let answer = stand.server.handle(&selecting(MACHINE, offered), &received, &stand.known, NOW);
    assert!(!answer.changes.is_empty());
    stand.server.undo(&answer.changes);
    assert_eq!(stand.server.leases().count(), 0);
    // it asks again and is answered
    assert_eq!(kind(&stand.send(&selecting(MACHINE, offered))), ACK);
}

fn decline(mac: MacAddr, address: Ipv4Addr) -> Packet {
    with_server(with_address(message(mac, MessageType::Decline), address), SERVER)
}

#[test]
fn a_declined_address_rests() {
    let mut stand = Stand::unknown();
    assert_eq!(stand.boot(MACHINE), host(100));
    let answer = stand.send(&decline(MACHINE, host(100)));
    assert_eq!((label(&answer), kind(&answer)), ("declined", SILENT));
    assert!(answer.note.unwrap().is_alarming());
    stand.restart();
    assert_eq!(stand.boot(MACHINE), host(101), "the next address, also after a restart");
    assert_eq!(kind(&stand.send(&rebooted(MACHINE, host(100)))), NAK);
    stand.now += HOUR;
    let again = stand.send(&with_address(firmware(OTHER), host(100)));
    assert_eq!(again.reply.unwrap().packet.yiaddr, host(100));
}

#[test]
fn nobody_declines_what_is_not_theirs() {
    let mut stand = Stand::unknown();
    assert_eq!(stand.boot(MACHINE), host(100));
    for address in [host(100), host(101), SLOT] {
        let answer = stand.send(&decline(OTHER, address));
        assert_eq!((label(&answer), answer.changes.is_empty()), ("not-its-address", true), "{address}");
    }
    assert_eq!(label(&stand.send(&message(OTHER, MessageType::Decline))), "no-address");
}

#[test]
fn a_declined_slot_address_alarms_and_stays_the_slots() {
    let mut stand = before(Before::Slot);
    let answer = stand.send(&decline(MACHINE, SLOT));
    assert_eq!((label(&answer), answer.changes.is_empty()), ("reservation-conflict", true));
    assert!(answer.note.unwrap().is_alarming());
    assert_eq!(stand.send(&plain(MACHINE)).reply.unwrap().packet.yiaddr, SLOT);
}

#[test]
fn a_released_address_is_free_and_remembered() {
    let release = |mac, address| Packet { ciaddr: address, ..message(mac, MessageType::Release) };
    let mut stand = Stand::unknown();
    assert_eq!(stand.boot(MACHINE), host(100));
    assert_eq!(label(&stand.send(&release(OTHER, host(100)))), "not-its-address");
    let answer = stand.send(&release(MACHINE, host(100)));
    assert_eq!((label(&answer), kind(&answer)), ("released", SILENT));
    assert_eq!(label(&stand.send(&release(MACHINE, host(100)))), "not-its-address", "once is enough");
    stand.restart();
    assert_eq!(stand.boot(OTHER), host(101), "a fresh address comes first");
    assert_eq!(stand.boot(MACHINE), host(100), "it gets its own again");
}

#[test]
fn inform_gets_options_and_no_address() {
    let mut stand = Stand::unknown();
    let inform = |address| Packet { ciaddr: address, ..message(MACHINE, MessageType::Inform) };
    let answer = stand.send(&inform(host(20)));
    assert_eq!((kind(&answer), answer.bound), (ACK, None));
    let reply = answer.reply.unwrap();
    assert_eq!(reply.destination, Destination::Client(host(20)));
    assert_eq!((reply.packet.yiaddr, raw(&reply.packet, 51)), (Ipv4Addr::UNSPECIFIED, None));
    assert!(raw(&reply.packet, 3).is_some());
    // never refused
    for address in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(192, 0, 2, 1)] {
        assert_eq!(kind(&stand.send(&inform(address))), SILENT);
    }
}

#[test]
fn what_is_no_request_is_left_alone() {
    let mut stand = Stand::unknown();
    let reply = Packet { op: 2, ..firmware(MACHINE) };
    let bootp = Packet::request(MACHINE, 1);
    let guid = Packet { hlen: 16, ..firmware(MACHINE) };
    for (packet, expected) in [
        (reply, "not-a-request"),
        (message(MACHINE, MessageType::Offer), "not-a-request"),
        (message(MACHINE, MessageType::Unknown(77)), "not-a-request"),
        (bootp, "bootp"),
        (guid, "no-hardware-address"),
        (message(MACHINE, MessageType::Request), "no-address"),
    ] {
        let answer = stand.send(&packet);
        assert_eq!((label(&answer), kind(&answer)), (expected, SILENT));
    }
    stand.server.reconfigure(Config { mode: Mode::Off, ..config() });
    assert_eq!(label(&stand.send(&firmware(MACHINE))), "not-serving");
}
