//! A transfer in lock-step on a thread of its own: send a block, wait for its answer, two calls of the kernel.
//!
//! The state machine is the same as in a lane. Whoever stops it is heard after each answer, and when
//! none has come for [`PATIENCE`].

use std::{
    io,
    time::{Duration, Instant},
};

use ::tftp::Transfer;
use net::peer::PeerSocket;
use tokio_util::sync::CancellationToken;

use super::{LONGEST_REQUEST, carry::on_fault};
use crate::counters::Counters;

/// How long one wait is. Deadlines are a quarter of a second away or more, and need no better.
const PATIENCE: Duration = Duration::from_millis(50);

/// Carries it to its end, or until told to stop.
pub(super) fn carry(
    socket: PeerSocket,
    mut transfer: Transfer,
    counters: &Counters,
    stop: &CancellationToken,
) -> io::Result<Transfer> {
    let socket = socket.into_blocking(PATIENCE)?;
    let (mut datagram, mut answer) = (Vec::new(), [0; LONGEST_REQUEST]);
    while transfer.next_deadline().is_some() {
        while transfer.poll_transmit(&mut datagram) {
            if let Err(error) = socket.send(&datagram) {
                on_fault(&mut transfer, error, counters)?;
            }
        }
        let received = socket.recv(&mut answer);
        let now = Instant::now();
        match received {
            Ok(length) => transfer.on_datagram(answer.get(..length).unwrap_or_default(), now),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => on_fault(&mut transfer, error, counters)?,
        }
        // also of a client that never pauses
        transfer.on_timer(now);
        if stop.is_cancelled() {
            break;
        }
    }
    Ok(transfer)
}
