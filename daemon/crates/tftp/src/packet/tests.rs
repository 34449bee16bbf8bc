use proptest::prelude::*;

use super::*;

fn read(bytes: &[u8]) -> Request<'_> {
    match Packet::parse(bytes).unwrap() {
        Packet::Read(request) => request,
        other => panic!("{other:?}"),
    }
}

/// The requests of the lab's captures (lab.md §2) and of firmware that is known to be odd.
#[test]
fn requests_are_taken_as_firmware_means_them() {
    let all = |block_size, timeout, size, window| Options { block_size, timeout, size, window };
    let cases: [(&[u8], &str, Options); 9] = [
        (
            b"\0\x01snponly.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0",
            "snponly.efi",
            all(Some(1468), None, Some(0), Some(4)),
        ),
        (
            b"\0\x01snponly.efi\0octet\0blksize\x001468\0windowsize\x004\0",
            "snponly.efi",
            all(Some(1468), None, None, Some(4)),
        ),
        (
            b"\0\x01undionly.kpxe\0octet\0blksize\x001432\0tsize\x000\0",
            "undionly.kpxe",
            all(Some(1432), None, Some(0), None),
        ),
        (b"\0\x01/undionly.kpxe\xff\0octet\0", "undionly.kpxe", Options::default()),
        (b"\0\x01\\undionly.kpxe\0OCTET\0\0\0\0", "undionly.kpxe", Options::default()),
        (b"\0\x01a\0Octet\0BLKSIZE\x00512\0\0\0\0", "a", all(Some(512), None, None, None)),
        // the first one counts; no number, no option; neither zero at the end nor a value
        (b"\0\x01a\0octet\0blksize\x008\0blksize\x009\0", "a", all(Some(8), None, None, None)),
        (b"\0\x01a\0octet\0tsize\0-1\0multicast\0\0timeout\x003", "a", all(None, Some(3), None, None)),
        (b"\0\x01a\0octet\0windowsize", "a", Options::default()),
    ];
    for (bytes, file, options) in cases {
        let request = read(bytes);
        assert_eq!((request.file(), request.mode), (Some(file), Mode::Octet), "{bytes:?}");
        assert_eq!(request.options, options, "{bytes:?}");
    }
    assert_eq!(read(b"\0\x01a\0netascii\0").mode, Mode::Netascii);
    assert_eq!(read(b"\0\x01\xe4\0octet\0").file(), None);
    assert_eq!(read(b"\0\x01//\xff\0octet\0").file(), Some(""));
}

#[test]
fn what_is_no_tftp_says_so() {
    let cases: [(&[u8], ParseError); 6] = [
        (b"", ParseError::Short(0)),
        (b"\0", ParseError::Short(1)),
        (b"\0\x04\0", ParseError::Short(3)),
        (b"\0\x09abc", ParseError::Operation(9)),
        (b"\0\x01\0octet\0", ParseError::Request),
        (b"\0\x01name\0", ParseError::Request),
    ];
    for (bytes, error) in cases {
        assert_eq!(Packet::parse(bytes), Err(error), "{bytes:?}");
    }
}

#[test]
fn an_error_is_fit_for_a_log() {
    let packet = Packet::parse(b"\0\x05\0\x08User aborted\nthe\x1b[2J transfer").unwrap();
    let Packet::Error { code: code::OPTIONS, text } = packet else { panic!("{packet:?}") };
    assert_eq!(text, "User aborted the [2J transfer");
}

fn options() -> impl Strategy<Value = Options> {
    (any::<Option<u64>>(), any::<Option<u64>>(), any::<Option<u64>>(), any::<Option<u64>>())
        .prop_map(|(block_size, timeout, size, window)| Options { block_size, timeout, size, window })
}

proptest! {
    #[test]
    fn nothing_that_comes_in_makes_it_fall(bytes: Vec<u8>, operation in 0_u8..8) {
        if let Ok(Packet::Read(request) | Packet::Write(request)) = Packet::parse(&bytes) {
            request.file();
        }
        let with_operation = [&[0, operation][..], &bytes].concat();
        if let Ok(Packet::Read(request) | Packet::Write(request)) = Packet::parse(&with_operation) {
            request.file();
        }
    }

    #[test]
    fn what_is_written_reads_the_same(name in "[^\0]{1,30}", options in options(), block: u16, data: Vec<u8>) {
        let request = Request { name: name.as_bytes(), mode: Mode::Octet, options };
        for packet in [
            Packet::Read(request.clone()),
            Packet::Write(request),
            Packet::Data { block, data: &data },
            Packet::Ack(block),
            Packet::Error { code: block, text: "no".to_owned() },
            Packet::OptionAck(options),
        ] {
            let bytes = packet.to_bytes();
            prop_assert_eq!(Packet::parse(&bytes), Ok(packet));
        }
    }
}
