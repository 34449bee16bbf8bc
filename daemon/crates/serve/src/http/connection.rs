//! Accepting connections, serving each in its own task, and letting them go.
//!
//! HTTP/1.1 is spoken here and not by a library, because a file goes from the page cache into the connection without
//! passing through this process ([`wire`](super::wire)); a library wants to see its octets, which costs four times
//! the work. Everything that is not the connection itself is the router's.

use std::{io, sync::Arc, time::Duration};

use ::boot::http::{Head, HeadError, LONGEST_HEAD};
use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderValue, Method, Request, Response, StatusCode, header},
};
use futures_util::stream::unfold;
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::{
    Ends, Limits, text,
    wire::{FilePart, STALLED, Wire},
};
use crate::counters::Counters;

/// How long files that are being sent may take when the server stops.
pub const DRAIN: Duration = Duration::from_secs(5);
/// After a failed accept, most likely for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// A body is read so far ahead of who takes it.
const PIECE: usize = 16 << 10;
/// A client that is refused while it still sends hears why only if it is listened to for a moment.
const LINGER: Duration = Duration::from_secs(1);

/// Serves every connection until told to stop, then waits for those that are in the middle of a file.
pub(super) async fn accept_all(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    counters: Arc<Counters>,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a boot client");
                sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { continue };
        let task = Task {
            ends: Ends { local, peer, secure: tls.is_some() },
            router: router.clone(),
            header: limits.header,
            counters: Arc::clone(&counters),
            place,
            shutdown: shutdown.clone(),
        };
        match &tls {
            None => connections.spawn(task.serve(stream)),
            Some(tls) => connections.spawn(task.agree_and_serve(tls.clone(), stream)),
        };
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Waits for a place first, so that clients wait in the kernel's queue and not as our tasks.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, Option<OwnedSemaphorePermit>)> {
    // the semaphore is never closed, so there always is a permit
    let place = Arc::clone(places).acquire_owned().await.ok();
    let (stream, _) = listener.accept().await?;
    // scripts are small and the client waits for each
    stream.set_nodelay(true).ok();
    Ok((stream, place))
}

/// What a connection is served with.
struct Task {
    ends: Ends,
    router: Router,
    header: Duration,
    counters: Arc<Counters>,
    place: Option<OwnedSemaphorePermit>,
    shutdown: CancellationToken,
}

impl Task {
    /// TLS first; a client that does not trust us, or agrees to nothing in time, is let go.
    async fn agree_and_serve(self, tls: TlsAcceptor, stream: TcpStream) {
        let peer = self.ends.peer;
        let agreed = tokio::select! {
            () = self.shutdown.cancelled() => return,
            agreed = timeout(self.header, tls.accept(stream)) => agreed,
        };
        match agreed {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(error)) => {
                self.counters.add("http", "tls-refused");
                tracing::warn!(%peer, %error, "a boot client and HTTPS do not agree: does its firmware trust the site's authority, and has it ECDHE?");
            }
            Err(_too_long) => self.counters.add("http", "tls-refused"),
        }
    }

    async fn serve<S: Wire>(self, stream: S) {
        let Self { ends, router, header, counters, place, shutdown } = self;
        let received = Vec::new();
        let connection =
            Connection { stream, ends, router, header, counters, received, body_left: 0, is_1_1: true };
        connection.serve(place, shutdown).await;
    }
}

/// One client's connection.
struct Connection<S> {
    stream: S,
    ends: Ends,
    router: Router,
    header: Duration,
    counters: Arc<Counters>,
    /// what has come and was not read yet
    received: Vec<u8>,
    /// octets of the body that nobody wanted yet
    body_left: u64,
    /// as the client speaks
    is_1_1: bool,
}

/// A request whose body may still come.
struct Asked {
    request: Request<Body>,
    /// where the body goes, if there is one
    body: Option<mpsc::Sender<io::Result<Bytes>>>,
    keeps: bool,
    /// whether the body comes only when it is asked for
    waits: bool,
}

/// Why a connection ends before the client wants it.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Head(#[from] HeadError),
    #[error("the target of the request is no path")]
    Target,
    #[error(transparent)]
    Stream(#[from] io::Error),
}

impl Broken {
    /// What the client is told, if it can be told anything.
    fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Head(error) => StatusCode::from_u16(error.status()).ok(),
            Self::Target => Some(StatusCode::BAD_REQUEST),
            Self::Stream(_) => None,
        }
    }
}

impl<S: Wire> Connection<S> {
    async fn serve(mut self, place: Option<OwnedSemaphorePermit>, shutdown: CancellationToken) {
        let peer = self.ends.peer;
        if let Err(error) = self.answer_all(&shutdown).await {
            if let Some(status) = error.status() {
                self.counters.add("http", "malformed");
                self.refuse(status, &error).await.ok();
            }
            // EDK2 and iPXE often just reset a connection they are done with
            tracing::debug!(%peer, %error, "a boot client's connection ended");
        }
        drop(place);
    }

    async fn answer_all(&mut self, shutdown: &CancellationToken) -> Result<(), Broken> {
        loop {
            let asked = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                // a client that says nothing, or not all in time, is let go
                asked = timeout(self.header, self.next()) => asked.unwrap_or(Ok(None))?,
            };
            let Some(asked) = asked else { return Ok(()) };
            let peer = self.ends.peer;
            let keeps = {
                let answer = self.answer(asked, shutdown);
                tokio::pin!(answer);
                tokio::select! {
                    keeps = answer.as_mut() => keeps?,
                    () = shutdown.cancelled() => timeout(DRAIN, answer).await.unwrap_or_else(|_| {
                        tracing::warn!(%peer, "a boot client was cut off in the middle of a file");
                        Ok(false)
                    })?,
                }
            };
            if !keeps {
                return self.hang_up().await;
            }
        }
    }

    /// The head of the next request; `None` when the client has none.
    async fn next(&mut self) -> Result<Option<Asked>, Broken> {
        loop {
            if let Some(head) = Head::parse(&self.received)? {
                let mut request = Request::builder().method(head.method).uri(head.target);
                for (name, value) in &head.fields {
                    request = request.header(*name, *value);
                }
                let (mut body, mut into) = (Body::empty(), None);
                if head.length > 0 {
                    let (sender, pieces) = mpsc::channel(1);
                    body = Body::from_stream(unfold(pieces, async |mut pieces| {
                        Some((pieces.recv().await?, pieces))
                    }));
                    into = Some(sender);
                }
                let mut request = request.body(body).map_err(|_| Broken::Target)?;
                request.extensions_mut().insert(self.ends);
                let (keeps, waits, octets) = (head.keeps, head.waits, head.octets);
                (self.body_left, self.is_1_1) = (head.length, head.is_1_1);
                self.received.drain(..octets);
                return Ok(Some(Asked { request, body: into, keeps, waits }));
            }
            self.received.reserve(LONGEST_HEAD / 16);
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Hands a request to the router and its answer to the client; whether another one may follow.
    async fn answer(&mut self, asked: Asked, shutdown: &CancellationToken) -> Result<bool, Broken> {
        let Asked { request, body, keeps, waits } = asked;
        let only_head = request.method() == Method::HEAD;
        let answer = self.router.clone().oneshot(request);
        tokio::pin!(answer);
        let response = match body {
            None => answer.await,
            Some(into) => {
                if waits {
                    self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
                }
                tokio::select! {
                    biased;
                    response = answer.as_mut() => response,
                    fed = self.feed(into) => {
                        fed?;
                        answer.await
                    }
                }
            }
        };
        let Ok(response) = response;
        // where nobody wanted the body, the next request is somewhere behind it
        let keeps = keeps && self.body_left == 0 && !shutdown.is_cancelled();
        self.send(response, only_head, keeps).await?;
        Ok(keeps)
    }

    /// Brings the body piece by piece to who takes it.
    async fn feed(&mut self, into: mpsc::Sender<io::Result<Bytes>>) -> Result<(), Broken> {
        while self.body_left > 0 {
            // who needs no more of it answers without
            let Ok(place) = into.reserve().await else { return Ok(()) };
            if self.received.is_empty() {
                self.received.reserve(PIECE);
                if self.stream.read_buf(&mut self.received).await? == 0 {
                    place.send(Err(io::ErrorKind::UnexpectedEof.into()));
                    return Ok(());
                }
            }
            let length = usize::try_from(self.body_left).unwrap_or(usize::MAX).min(self.received.len());
            let rest = self.received.split_off(length);
            place.send(Ok(Bytes::from(std::mem::replace(&mut self.received, rest))));
            self.body_left -= length as u64;
        }
        Ok(())
    }

    async fn send(&mut self, response: Response<Body>, only_head: bool, keeps: bool) -> Result<(), Broken> {
        let (mut parts, body) = response.into_parts();
        let part = parts.extensions.remove::<FilePart>();
        // all but files are short texts of ours
        let body = match &part {
            Some(_) => Bytes::new(),
            None => body.collect().await.map_err(io::Error::other)?.to_bytes(),
        };
        let fields = &mut parts.headers;
        if !fields.contains_key(header::CONTENT_LENGTH) {
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        let what_follows = HeaderValue::from_static(if keeps { "keep-alive" } else { "close" });
        if keeps != self.is_1_1 {
            fields.insert(header::CONNECTION, what_follows);
        }
        let now = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
        let version = if self.is_1_1 { "1.1" } else { "1.0" };
        let mut octets = format!("HTTP/{version} {}\r\ndate: {now}\r\n", parts.status).into_bytes();
        for (name, value) in &parts.headers {
            octets.extend_from_slice(name.as_str().as_bytes());
            octets.extend_from_slice(b": ");
            octets.extend_from_slice(value.as_bytes());
            octets.extend_from_slice(b"\r\n");
        }
        octets.extend_from_slice(b"\r\n");
        match part {
            Some(part) if !only_head => Ok(self.stream.send_file(&octets, &part).await?),
            _ => {
                if !only_head {
                    octets.extend_from_slice(&body);
                }
                timeout(STALLED, self.stream.write_all(&octets)).await.map_err(io::Error::from)??;
                Ok(self.stream.flush().await?)
            }
        }
    }

    /// Says why a request cannot even be read.
    async fn refuse(&mut self, status: StatusCode, why: &Broken) -> Result<(), Broken> {
        self.send(text(status, format!("{why}\n")), false, false).await?;
        // what else it says is unknown
        self.body_left = u64::MAX;
        self.hang_up().await
    }

    /// Ends the connection. A client that still sends is listened to for a moment: else it sees a reset and no answer.
    async fn hang_up(&mut self) -> Result<(), Broken> {
        self.stream.shutdown().await?;
        if self.body_left > 0 {
            let mut rest = [0; 4096];
            let listen = async {
                while self.stream.read(&mut rest).await? > 0 {}
                io::Result::Ok(())
            };
            timeout(LINGER, listen).await.map_err(io::Error::from)??;
        }
        Ok(())
    }
}
