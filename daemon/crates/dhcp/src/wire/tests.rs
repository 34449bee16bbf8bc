use dhcproto::v4::DhcpOption;
use proptest::prelude::*;

use super::*;
use crate::captures;

fn message(options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; OPTIONS_AT];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[236..240].copy_from_slice(&COOKIE);
    bytes.extend(options);
    bytes
}

#[test]
fn every_recorded_message_is_written_back_as_it_came() {
    // dhcpcd has the requested address in front of the message type, which we always write first
    for (name, _) in captures::ALL.iter().filter(|(name, _)| *name != "dhcpcd-request") {
        let bytes = captures::bytes(name);
        let mut written = captures::packet(name).to_bytes();
        // padding is ours: systemd-networkd sends less than BOOTP's 300 octets, others pad differently
        let end = |bytes: &[u8]| bytes.iter().rposition(|&byte| byte == 255).unwrap() + 1;
        written.truncate(end(&written));
        assert_eq!(written, bytes[..end(&bytes)], "{name}");
    }
}

#[test]
fn what_is_too_short_or_odd_is_refused() {
    let whole = message(&[53, 1, 1, 255]);
    for length in 0..OPTIONS_AT {
        assert_eq!(Packet::parse(&whole[..length]), Err(ParseError::Short(length)));
    }
    let with = |at: usize, octet| {
        let mut bytes = whole.clone();
        bytes[at] = octet;
        Packet::parse(&bytes)
    };
    assert_eq!(with(0, 3), Err(ParseError::Op(3)));
    assert_eq!(with(2, 17), Err(ParseError::HardwareLength(17)));
    assert_eq!(with(236, 0), Err(ParseError::Cookie));
    assert!(with(2, 16).is_ok());
}

#[test]
fn one_bad_option_does_not_hide_the_others() {
    // option 1 has three octets instead of four; the last runs over the end
    let options = [53, 1, 1, 1, 3, 255, 255, 255, 93, 1, 7, 12, 2, b'v', b'm', 60, 9, 1];
    let packet = Packet::parse(&message(&options)).unwrap();
    assert_eq!(packet.message_type(), Some(MessageType::Discover));
    assert_eq!(packet.options.get(OptionCode::SubnetMask), None);
    assert_eq!(packet.options.get(OptionCode::Hostname), Some(DhcpOption::Hostname("vm".to_owned())));
    assert_eq!(packet.options.raw(OptionCode::ClassIdentifier), None);
    assert_eq!(packet.options.faults(), 1);
}

#[test]
fn fragments_of_one_option_are_joined_wherever_they_stand() {
    let packet = Packet::parse(&message(&[67, 2, b'a', b'b', 53, 1, 1, 67, 1, b'c', 255])).unwrap();
    assert_eq!(packet.options.raw(OptionCode::BootfileName), Some(b"abc".as_slice()));
}

#[test]
fn a_long_option_is_split_and_joined_again() {
    let url = vec![b'u'; 600];
    let mut packet = Packet::request(MacAddr([2, 0, 0, 0, 0, 1]), 1);
    packet.options.set(&DhcpOption::BootfileName(url.clone()));
    let bytes = packet.to_bytes();
    assert_eq!(&bytes[OPTIONS_AT..OPTIONS_AT + 2], &[67, 255]);
    assert_eq!(Packet::parse(&bytes).unwrap().options.raw(OptionCode::BootfileName), Some(url.as_slice()));
}

#[test]
fn overloaded_fields_hold_options() {
    let mut bytes = message(&[53, 1, 1, 52, 1, 3, 255]);
    // sname, then file; options are read from file first
    bytes[44..50].copy_from_slice(&[12, 1, b'm', 255, 9, 9]);
    bytes[108..113].copy_from_slice(&[12, 1, b'v', 255, 9]);
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!(packet.options.raw(OptionCode::Hostname), Some(b"vm".as_slice()));
    assert!(packet.sname.is_empty() && packet.file.is_empty());
    bytes[OPTIONS_AT + 5] = 0;
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!(packet.options.raw(OptionCode::Hostname), None);
    assert_eq!((packet.sname.len(), packet.file.len()), (6, 5));
}

#[test]
fn the_type_is_first_and_relay_information_last() {
    let mut packet = Packet::request(MacAddr([2, 0, 0, 0, 0, 1]), 1);
    // sub-options out of order and twice: they are given back as they came
    let relay = [2, 1, 9, 1, 1, 7, 1, 1, 8];
    packet.options.set_raw(OptionCode::RelayAgentInformation, relay);
    packet.options.set(&DhcpOption::ServerIdentifier([10, 0, 0, 1].into()));
    packet.options.set(&DhcpOption::MessageType(MessageType::Offer));
    let bytes = packet.to_bytes();
    let mut expected = vec![53, 1, 2, 54, 4, 10, 0, 0, 1, 82, 9];
    expected.extend(relay);
    expected.push(255);
    assert_eq!(&bytes[OPTIONS_AT..OPTIONS_AT + expected.len()], expected);
    assert_eq!(bytes.len(), SHORTEST);
}

#[test]
fn an_empty_option_is_kept() {
    let packet = Packet::parse(&message(&[53, 1, 1, 80, 0, 255])).unwrap();
    assert_eq!(packet.options.raw(OptionCode::RapidCommit), Some([].as_slice()));
    assert_eq!(&packet.to_bytes()[OPTIONS_AT..OPTIONS_AT + 6], &[53, 1, 1, 80, 0, 255]);
}

#[test]
fn text_that_needs_its_nul_and_has_no_room_stays_in_its_option() {
    let mut packet = Packet::request(MacAddr([2, 0, 0, 0, 0, 1]), 1);
    packet.file = vec![b'f'; 127];
    assert_eq!(Packet::parse(&packet.to_bytes()).unwrap().file.len(), 127);
    packet.file = vec![b'f'; 128];
    assert_eq!(Packet::parse(&packet.to_bytes()).unwrap().file, b"");
}

/// Everything the server ever asks a packet, typed options of every code among it.
fn look_everywhere(packet: &Packet) {
    packet.message_type();
    crate::client::Client::of(packet);
    for code in 0..=255 {
        packet.options.get(code.into());
        packet.options.address(code.into());
    }
    packet.to_bytes();
}

fn any_options() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    // an overload would make options of the fields
    let code = (1u8..255).prop_filter("52", |code| *code != 52);
    proptest::collection::vec((code, proptest::collection::vec(any::<u8>(), 0..600)), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_octets_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
        if let Ok(packet) = Packet::parse(&bytes) {
            look_everywhere(&packet);
        }
    }

    #[test]
    fn random_options_never_panic(options in proptest::collection::vec(any::<u8>(), 0..400)) {
        look_everywhere(&Packet::parse(&message(&options)).unwrap());
    }

    #[test]
    fn mutated_captures_never_panic(
        which in 0..captures::ALL.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(),
        keep_whole: bool,
    ) {
        let mut bytes = captures::bytes(captures::ALL[which].0);
        for (at, octet) in changes {
            let at = at.index(bytes.len());
            bytes[at] = octet;
        }
        if !keep_whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(packet) = Packet::parse(&bytes) {
            look_everywhere(&packet);
        }
    }

    /// A message that was written reads the same.
    #[test]
    fn what_is_written_reads_back(options in any_options()) {
        let mut packet = Packet::request(MacAddr([2, 0, 0, 0, 0, 1]), 7);
        for (code, value) in options {
            packet.options.set_raw(code.into(), value);
        }
        let read = Packet::parse(&packet.to_bytes()).unwrap();
        let sorted = |packet: &Packet| {
            let mut options: Vec<_> = packet.options.iter().map(|(code, value)| (code, value.to_vec())).collect();
            options.sort();
            options
        };
        prop_assert_eq!(sorted(&read), sorted(&packet));
        prop_assert_eq!(read.options.faults(), 0);
    }
}
