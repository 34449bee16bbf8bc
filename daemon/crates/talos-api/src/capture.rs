//! What comes in on a machine's card, as the machine records it (os:operator or os:admin): a stream of bytes that is a
//! capture file.
//!
//! Only what a filter lets through is recorded, so that a busy card costs the machine nothing. Asked for one frame type, the
//! kernel of the machine does the choosing.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout_at};

use crate::{CallError, Client, proto::machine};

const CALL: &str = "PacketCapture";

/// More of a frame than LLDP ever is.
const SNAP: u32 = 2048;

/// Magic numbers of the format: microseconds and nanoseconds (draft-ietf-opsawg-pcap §4).
const MAGICS: [u32; 2] = [0xa1b2_c3d4, 0xa1b2_3c4d];
/// LINKTYPE_ETHERNET
const ETHERNET: u32 = 1;
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

impl Client {
    /// The first frame of an Ethernet type that comes in on a link, from its destination address on; none within the
    /// time. The machine sees its own frames, too: `wanted` says which counts.
    pub async fn captured_frame(
        &self,
        link: &str,
        ethertype: u16,
        within: Duration,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>, CallError> {
        let until = Instant::now() + within;
        let request = machine::PacketCaptureRequest {
            interface: link.to_owned(),
            promiscuous: false,
            snap_len: SNAP,
            bpf_filter: only(ethertype),
        };
        let mut machine = self.machine();
        let mut pieces = self.opened(CALL, machine.packet_capture(request)).await?;
        let mut file = Vec::new();
        while let Ok(Some(piece)) = timeout_at(until, pieces.next()).await {
            let piece = piece?;
            self.not_failed(CALL, &piece)?;
            file.extend(piece.bytes);
            let frames = frames(&mut file).map_err(|reason| self.unusable(CALL, reason))?;
            if let Some(frame) = frames.into_iter().find(|frame| wanted(frame)) {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }
}

/// A program for the kernel's filter: the frame's type is this one, or nothing of it is taken.
fn only(ethertype: u16) -> Vec<machine::BpfInstruction> {
    let instruction = |op, jt, jf, k| machine::BpfInstruction { op, jt, jf, k };
    vec![
        // ldh [12]; jeq TYPE, next, skip; ret LENGTH; ret 0
        instruction(0x28, 0, 0, 12),
        instruction(0x15, 0, 1, u32::from(ethertype)),
        instruction(0x06, 0, 0, SNAP),
        instruction(0x06, 0, 0, 0),
    ]
}

/// Takes the whole records off the front of what has come so far; the header of the file stays.
fn frames(file: &mut Vec<u8>) -> Result<Vec<Vec<u8>>, String> {
    let Some(header) = file.get(..FILE_HEADER) else { return Ok(Vec::new()) };
    let word = |bytes: &[u8], at: usize, big: bool| -> Option<u32> {
        let word = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(if big { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
    };
    let big = [true, false]
        .into_iter()
        .find(|&big| word(header, 0, big).is_some_and(|magic| MAGICS.contains(&magic)));
    let big = big.ok_or("it does not begin as a capture file")?;
    // the upper bits say whether frames end in a check sequence
    let link = word(header, 20, big).unwrap_or_default() & 0xffff;
    if link != ETHERNET {
        return Err(format!("it is of the link type {link}, not of Ethernet"));
    }
    let mut found = Vec::new();
    let mut at = FILE_HEADER;
    while let Some(record) = file.get(at..at + RECORD_HEADER) {
        let length = word(record, 8, big).unwrap_or_default();
        let length = usize::try_from(length).ok().filter(|length| *length <= SNAP as usize);
        let length = length.ok_or("a record is longer than was asked for")?;
        let Some(frame) = file.get(at + RECORD_HEADER..at + RECORD_HEADER + length) else { break };
        found.push(frame.to_vec());
        at += RECORD_HEADER + length;
    }
    file.drain(FILE_HEADER..at);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(big: bool, nanoseconds: bool) -> Vec<u8> {
        let words = [MAGICS[usize::from(nanoseconds)], 0x0002_0004, 0, 0, SNAP, ETHERNET];
        // the version is two halves, which nobody reads
        words.iter().flat_map(|word| if big { word.to_be_bytes() } else { word.to_le_bytes() }).collect()
    }

    fn record(frame: &[u8], big: bool) -> Vec<u8> {
        let length = u32::try_from(frame.len()).unwrap();
        let words = [1, 2, length, length];
        let head =
            words.iter().flat_map(|word: &u32| if big { word.to_be_bytes() } else { word.to_le_bytes() });
        head.chain(frame.iter().copied()).collect()
    }

    #[test]
    fn frames_are_taken_from_every_form_of_the_file_however_it_is_cut() {
        for (big, nanoseconds) in [(false, false), (false, true), (true, false), (true, true)] {
            let whole =
                [header(big, nanoseconds), record(b"first", big), record(b"second one", big)].concat();
            for cut in 0..whole.len() {
                let mut file = whole[..cut].to_vec();
                let mut found = frames(&mut file).unwrap();
                file.extend(&whole[cut..]);
                found.extend(frames(&mut file).unwrap());
                assert_eq!(found, [b"first".to_vec(), b"second one".to_vec()], "{cut}");
            }
        }
    }

    #[test]
    fn what_is_no_capture_of_ethernet_is_refused() {
        assert!(frames(&mut vec![0; 24]).is_err());
        let mut other = header(false, false);
        other[20] = 113;
        assert_eq!(frames(&mut other).unwrap_err(), "it is of the link type 113, not of Ethernet");
        let mut long =
            [header(false, false), vec![0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]].concat();
        assert!(frames(&mut long).is_err());
    }
}
