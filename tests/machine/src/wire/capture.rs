//! PacketCapture: what comes in on a link, as a capture file (draft-ietf-opsawg-pcap §4), for as long as the caller wants.
//!
//! Of filters this machine knows one form, "frames of one Ethernet type", and takes it for its socket.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt, stream};
use net::frame::{FrameSocket, LLDP_GROUPS};
use talos_api::proto::{common, machine as pb};
use tonic::{Status, codegen::BoxStream};

/// Nanoseconds, as Talos writes them.
const MAGIC: u32 = 0xa1b2_3c4d;
const ETHERNET: u32 = 1;

pub(super) fn capture(request: &pb::PacketCaptureRequest) -> Result<BoxStream<common::Data>, Status> {
    let ethertype = ethertype(&request.bpf_filter).ok_or_else(|| {
        Status::invalid_argument("this simulated machine filters by one Ethernet type only")
    })?;
    let socket = FrameSocket::open(&request.interface, ethertype, &LLDP_GROUPS)
        .map_err(|error| Status::internal(format!("error creating afpacket handle: {error}")))?;
    let snap = usize::try_from(request.snap_len).unwrap_or(usize::MAX);
    let data = |bytes| Ok(common::Data { bytes, ..common::Data::default() });
    let head: Vec<u8> = [MAGIC, 0x0004_0002, 0, 0, request.snap_len, ETHERNET]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let frames = stream::unfold(socket, move |socket| async move {
        let frame = socket.recv().await.ok()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let taken = frame.len().min(snap);
        let words = [
            u32::try_from(now.as_secs()).unwrap_or(u32::MAX),
            now.subsec_nanos(),
            u32::try_from(taken).ok()?,
            u32::try_from(frame.len()).ok()?,
        ];
        let mut record: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        record.extend(frame.get(..taken)?);
        Some((record, socket))
    });
    Ok(stream::once(async move { data(head) }).chain(frames.map(data)).boxed())
}

/// The type that the filter lets through: load the half word at 12, compare, take or leave.
fn ethertype(filter: &[pb::BpfInstruction]) -> Option<u16> {
    let parts: Vec<(u32, u32, u32, u32)> = filter.iter().map(|it| (it.op, it.jt, it.jf, it.k)).collect();
    match parts.as_slice() {
        [(0x28, 0, 0, 12), (0x15, 0, 1, kind), (0x06, 0, 0, 1..), (0x06, 0, 0, 0)] => {
            u16::try_from(*kind).ok()
        }
        _ => None,
    }
}
