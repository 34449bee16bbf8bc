//! One transfer: its socket, its clock, and the line that the log has about it in the end.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use ::boot::AssetName;
use ::tftp::{End, Limits, Options, Packet, Transfer, packet::code::UNDEFINED};
use net::{inbox::Inbox, peer::PeerSocket, segments::Segments};
use tokio::{net::UdpSocket, sync::mpsc, time::sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    bootloaders::{Bootloaders, Fault},
    lanes::Desks,
    line::Line,
    lockstep,
};
use crate::{
    clock,
    counters::Counters,
    trace::{Layer, Trace, Who},
};

pub(super) struct Job {
    pub(super) file: AssetName,
    pub(super) options: Options,
    pub(super) client: SocketAddr,
    /// the address that was asked
    pub(super) server: IpAddr,
    /// the listening socket and what comes there from the client, where all use that one
    pub(super) shared: Option<(Arc<UdpSocket>, mpsc::Receiver<Vec<u8>>)>,
    pub(super) files: Arc<Bootloaders>,
    pub(super) counters: Arc<Counters>,
    pub(super) trace: Arc<Trace>,
    pub(super) limits: Limits,
    pub(super) desks: Desks,
}

/// Why a transfer did not even come to an [`End`].
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("{0}")]
    File(#[from] Fault),
}

impl Job {
    /// Sends the file; the transfer lives as long as this does.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let begun = Instant::now();
        let shared = self.shared.take();
        let Self { file, client, .. } = &self;
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => {
                self.counters.add("tftp", "stopped");
                tracing::info!(%client, %file, "TFTP transfer stopped: the client began anew, or ichord ends");
                return;
            }
            outcome = async {
                let line = match shared {
                    Some((socket, inbox)) => Line::Shared { socket, client: *client, inbox },
                    None => Line::Own(PeerSocket::connect(self.server, *client)?),
                };
                self.carry(line).await
            } => outcome,
        };
        match outcome {
            Ok(transfer) => self.report(&transfer, begun),
            Err(error) => {
                self.counters.add("tftp", "broken");
                tracing::error!(%client, %file, %error, "TFTP transfer not possible");
                let (who, now) = (Who::Address(client.ip()), clock::now());
                self.trace.note(who, Layer::Tftp, now, format!("{file}: not sent, {error}"));
                self.trace.trouble("broken-file", format!("{file} cannot be sent by TFTP: {error}"), now);
            }
        }
    }

    fn report(&self, transfer: &Transfer, begun: Instant) {
        let Some(end) = transfer.end_of() else { return };
        self.counters.add("tftp", end.label());
        let Self { client, file, .. } = self;
        let (octets, repeated) = (transfer.delivered(), transfer.repeated());
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let why = match end {
            End::Aborted { code, text } => Some(format!("error {code}: {text}")),
            End::Done | End::Probed | End::Silent | End::Gone | End::Late => None,
        };
        let who = Who::Address(client.ip());
        self.trace.note(
            who,
            Layer::Tftp,
            clock::now(),
            format!("{file}: {}, {octets} octets in {ms} ms", end.label()),
        );
        if matches!(end, End::Done | End::Probed) {
            self.trace.fetched(who);
            tracing::info!(%client, %file, octets, repeated, ms, "TFTP transfer {}", end.label());
        } else {
            tracing::warn!(%client, %file, octets, repeated, ms, why, "TFTP transfer {}", end.label());
        }
    }

    async fn carry(&self, line: Line) -> Result<Transfer, Broken> {
        let content = match self.files.content(&self.file).await {
            Ok(content) => content,
            Err(fault) => {
                let error = Packet::Error { code: UNDEFINED, text: "this boot file cannot be served".into() };
                line.send(&error.to_bytes()).await?;
                return Err(fault.into());
            }
        };
        let transfer = Transfer::new(&self.options, content, &self.limits, Instant::now());
        let desk = if transfer.is_lock_step() { self.desks.take() } else { None };
        let (mut line, mut transfer) = match (line, desk) {
            (Line::Own(socket), Some(desk)) => {
                return Ok(lockstep::carry(socket, transfer, Arc::clone(&self.counters), desk).await?);
            }
            shared => (shared.0, transfer),
        };
        let (mut inbox, mut datagram, mut window) = (Inbox::default(), Vec::new(), Window::default());
        let alarm = sleep_until(Instant::now().into());
        tokio::pin!(alarm);
        while let Some(deadline) = transfer.next_deadline() {
            while transfer.poll_transmit(&mut datagram) {
                if !window.segments.takes(&datagram) {
                    self.send(&line, &mut window, &mut transfer).await?;
                }
                window.segments.push(&datagram);
            }
            self.send(&line, &mut window, &mut transfer).await?;
            // deadlines mostly move on, with every answer: an alarm that rings early costs less than setting it each time
            if alarm.is_elapsed() || alarm.deadline() > deadline.into() {
                alarm.as_mut().reset(deadline.into());
            }
            tokio::select! {
                biased;
                received = line.receive(&mut inbox) => match received {
                    Ok(()) => inbox.iter().for_each(|bytes| transfer.on_datagram(bytes, Instant::now())),
                    Err(error) => on_fault(&mut transfer, error, &self.counters)?,
                },
                () = alarm.as_mut() => transfer.on_timer(Instant::now()),
            }
        }
        Ok(transfer)
    }

    /// All of a window in one call, which is one way through the kernel instead of one for each block.
    async fn send(&self, line: &Line, window: &mut Window, transfer: &mut Transfer) -> io::Result<()> {
        if window.segments.are_many() && !window.one_by_one {
            match line.send_at_once(&window.segments).await {
                Ok(false) => window.one_by_one = true,
                sent => {
                    window.segments.clear();
                    return sent.map(drop).or_else(|error| on_fault(transfer, error, &self.counters));
                }
            }
        }
        for datagram in window.segments.iter() {
            if let Err(error) = line.send(datagram).await {
                on_fault(transfer, error, &self.counters)?;
            }
        }
        window.segments.clear();
        Ok(())
    }
}

/// Only a closed port says that nobody wants the file any more. What the network or our own queue cannot take now, as
/// while a switch port comes up, is lost and comes again.
pub(super) fn on_fault(transfer: &mut Transfer, error: io::Error, counters: &Counters) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => transfer.on_unreachable(),
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::OutOfMemory
        | io::ErrorKind::WouldBlock
        | io::ErrorKind::Interrupted => counters.add("tftp", "not-sent"),
        _ if error.raw_os_error() == Some(ENOBUFS) => counters.add("tftp", "not-sent"),
        _ => return Err(error),
    }
    Ok(())
}

/// What goes to the client next.
#[derive(Default)]
struct Window {
    segments: Segments,
    /// the way to this client takes nothing else
    one_by_one: bool,
}

/// The interface's queue is full; std has no kind for it.
const ENOBUFS: i32 = 105;
