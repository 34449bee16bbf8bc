//! A transfer in lock-step: a thread of its own sends a block and waits for its answer, two calls of the kernel.
//!
//! The state machine is the same as in a lane. The thread knows no time; the task that has the transfer looks at the
//! clock, sends what is lost once more, and hangs up when the transfer has ended or nobody wants it.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use ::tftp::Transfer;
use net::peer::{BlockingPeer, PeerSocket};
use tokio::{sync::OwnedSemaphorePermit, task::spawn_blocking, time::sleep_until};

use super::{LONGEST_REQUEST, carry::on_fault};
use crate::counters::Counters;

/// Carries it to its end. Whoever drops this ends the thread, which gives the desk back.
pub(super) async fn carry(
    socket: PeerSocket,
    transfer: Transfer,
    counters: Arc<Counters>,
    desk: OwnedSemaphorePermit,
) -> io::Result<Transfer> {
    let (socket, transfer) = (socket.into_blocking()?, Mutex::new(transfer));
    let listening = Listening(Arc::new(Conversation { socket, transfer, counters }));
    let conversation = Arc::clone(&listening.0);
    let listener = spawn_blocking(move || {
        let heard = conversation.listen();
        drop(desk);
        heard
    });
    tokio::pin!(listener);
    let mut datagram = Vec::new();
    let mut deadline = listening.0.turn(&mut datagram, |_| Ok(()))?;
    while let Some(next) = deadline {
        tokio::select! {
            biased;
            heard = &mut listener => {
                heard.map_err(io::Error::other)??;
                return Ok(listening.0.transfer());
            }
            () = sleep_until(next.into()) => {
                deadline = listening.0.turn(&mut datagram, |transfer| {
                    transfer.on_timer(Instant::now());
                    Ok(())
                })?;
            }
        }
    }
    Ok(listening.0.transfer())
}

/// What the thread and the task have together.
#[derive(Debug)]
struct Conversation {
    socket: BlockingPeer,
    transfer: Mutex<Transfer>,
    counters: Arc<Counters>,
}

impl Conversation {
    /// Takes what the client says until the transfer ends, or somebody hangs up.
    fn listen(&self) -> io::Result<()> {
        let (mut datagram, mut answer) = (Vec::new(), [0; LONGEST_REQUEST]);
        while let Some(received) = self.socket.receive(&mut answer).transpose() {
            let next = self.turn(&mut datagram, |transfer| match received {
                Ok(length) => {
                    transfer.on_datagram(answer.get(..length).unwrap_or_default(), Instant::now());
                    Ok(())
                }
                Err(error) => on_fault(transfer, error, &self.counters),
            })?;
            if next.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Tells the transfer what happened, and sends what it wants sent then; when to look at the clock next, unless it has
    /// ended.
    fn turn(
        &self,
        datagram: &mut Vec<u8>,
        happened: impl FnOnce(&mut Transfer) -> io::Result<()>,
    ) -> io::Result<Option<Instant>> {
        let mut transfer = self.transfer.lock().unwrap_or_else(PoisonError::into_inner);
        happened(&mut transfer)?;
        while transfer.poll_transmit(datagram) {
            if let Err(error) = self.socket.send(datagram) {
                on_fault(&mut transfer, error, &self.counters)?;
            }
        }
        // while the client is at work
        transfer.read_ahead();
        Ok(transfer.next_deadline())
    }

    fn transfer(&self) -> Transfer {
        self.transfer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Hangs up when dropped: a thread that waits without a timer would wait for a silent client for ever.
struct Listening(Arc<Conversation>);

impl Drop for Listening {
    fn drop(&mut self) {
        if let Err(error) = self.0.socket.hang_up() {
            tracing::error!(%error, "the thread of a TFTP transfer cannot be told to end");
        }
    }
}
