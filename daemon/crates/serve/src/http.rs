//! The boot server: scripts, the question what to boot, and files of the catalogue. Nothing else.
//!
//! It stands on the provisioning network, where anybody may knock: a connection that says nothing is
//! closed, there are only so many at once, and what is not in the catalogue has no name. One task
//! accepts, one task serves each connection; all end when told to, those that are sending within
//! [`DRAIN`].

mod ask;
mod assets;
mod connection;
mod discovery;
mod signed;
mod tls;
mod wire;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use ::boot::{Catalogue, script, script::Base};
use axum::{
    Extension, Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

pub use connection::DRAIN;
pub use tls::{Secure, TlsError};

use crate::{
    authority::BootAuthority,
    clock,
    counters::Counters,
    discoveries::Discoveries,
    local_boot::LocalBoots,
    trace::{Layer, Trace, Who},
    whereabouts::Whereabouts,
};

/// What clients may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// connections at once; a rack boots with one or two each
    pub connections: usize,
    /// until the head of a request is complete, also of the next one on a kept connection
    pub header: Duration,
    /// how long the entry script and the discovery image listen for LLDP, in seconds
    pub lldp_wait: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 1024, header: Duration::from_secs(10), lldp_wait: script::LLDP_WAIT_SECONDS }
    }
}

/// The boot server without its listener.
pub struct BootServer<A> {
    /// answers `/boot/ask`
    pub authority: Arc<A>,
    /// what can be fetched; a new one takes effect with the next request
    pub catalogue: watch::Receiver<Arc<Catalogue>>,
    /// where machines ask from
    pub whereabouts: mpsc::Sender<Whereabouts>,
    /// how machines are sent to their own disks
    pub local_boots: LocalBoots,
    /// which machines were sent to find out their switch port
    pub discoveries: Arc<Mutex<Discoveries>>,
    /// what happened
    pub counters: Arc<Counters>,
    /// what happened to whom
    pub trace: Arc<Trace>,
    /// what clients may take
    pub limits: Limits,
}

impl<A> fmt::Debug for BootServer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootServer").field("limits", &self.limits).finish_non_exhaustive()
    }
}

// by hand: the authority itself need not be Clone
impl<A> Clone for BootServer<A> {
    fn clone(&self) -> Self {
        Self {
            authority: Arc::clone(&self.authority),
            catalogue: self.catalogue.clone(),
            whereabouts: self.whereabouts.clone(),
            local_boots: self.local_boots.clone(),
            discoveries: Arc::clone(&self.discoveries),
            counters: Arc::clone(&self.counters),
            trace: Arc::clone(&self.trace),
            limits: self.limits,
        }
    }
}

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
struct Ends {
    /// ours, as the client reached it: scripts lead back to it
    local: SocketAddr,
    peer: SocketAddr,
    /// whether they speak HTTPS
    secure: bool,
}

impl Ends {
    /// As scripts name it.
    fn base(self) -> Base {
        Base { address: self.local, secure: self.secure }
    }
}

impl<A: BootAuthority> BootServer<A> {
    /// Serves on the listener until told to stop.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let (limits, counters) = (self.limits, Arc::clone(&self.counters));
        connection::accept_all(listener, None, self.router(), limits, counters, shutdown).await;
    }

    /// The same by HTTPS.
    pub async fn serve_secure(self, listener: TcpListener, tls: Secure, shutdown: CancellationToken) {
        let (limits, counters) = (self.limits, Arc::clone(&self.counters));
        let tls = Some(tls.acceptor());
        connection::accept_all(listener, tls, self.router(), limits, counters, shutdown).await;
    }

    fn router(self) -> Router {
        let (counters, trace) = (Arc::clone(&self.counters), Arc::clone(&self.trace));
        Router::new()
            .route("/boot.ipxe", get(entry::<A>))
            .route("/boot/ask", get(ask::ask::<A>))
            .route(::boot::discovery::PATH, post(discovery::report::<A>))
            .route("/uki/{mac}/{file}", get(signed::image::<A>))
            .route("/ipxe/{file}", get(assets::ipxe::<A>))
            .route("/assets/{schematic}/{version}/{file}", get(assets::image::<A>))
            .layer(middleware::from_fn(move |request, next| {
                count(Arc::clone(&counters), Arc::clone(&trace), request, next)
            }))
            .with_state(self)
    }
}

/// The entry script, which leads back to the address it was fetched from.
async fn entry<A: BootAuthority>(
    State(server): State<BootServer<A>>,
    Extension(ends): Extension<Ends>,
) -> Response {
    text(StatusCode::OK, script::entry(ends.base(), server.limits.lldp_wait))
}

/// Counts and logs what was answered.
async fn count(counters: Arc<Counters>, trace: Arc<Trace>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    // without its query, which has serial numbers
    let path = request.uri().path().to_owned();
    let ends = request.extensions().get::<Ends>().copied();
    let peer = ends.map(|ends| tracing::field::display(ends.peer));
    let response = next.run(request).await;
    let label = match response.status() {
        StatusCode::BAD_REQUEST => "400",
        StatusCode::NOT_FOUND => "404",
        StatusCode::METHOD_NOT_ALLOWED => "405",
        StatusCode::RANGE_NOT_SATISFIABLE => "416",
        status if status.is_success() => "2xx",
        status if status.is_redirection() => "3xx",
        status if status.is_client_error() => "4xx",
        _ => "5xx",
    };
    counters.add("http", label);
    let status = response.status().as_u16();
    if let Some(ends) = ends {
        remember(&trace, ends.peer.ip().to_canonical(), &format!("{method} {path}"), status);
    }
    if response.status().is_server_error() {
        tracing::warn!(peer, %method, path, status, "boot request");
    } else {
        tracing::debug!(peer, %method, path, status, "boot request");
    }
    response
}

/// The line of one request in its machine's conversation.
fn remember(trace: &Trace, peer: IpAddr, asked: &str, status: u16) {
    let (who, now) = (Who::Address(peer), clock::now());
    trace.note(who, Layer::Http, now, format!("{asked}: {status}"));
    trace.fetched(who);
    // but not the one that is named to be missed
    if status == 404 && !asked.ends_with(&format!("/{}", ::dhcp::NO_FILE)) {
        let asked: String = asked.chars().take(200).collect();
        trace.trouble("missing-file", format!("{peer} asks by HTTP for {asked:?}, which is not there"), now);
    }
}

/// A short text: a script, or a sentence about what is wrong.
fn text(status: StatusCode, text: impl Into<String>) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))];
    let never = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (status, kind, never, text.into()).into_response()
}

#[cfg(test)]
mod tests;
