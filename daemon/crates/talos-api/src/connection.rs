//! A gRPC channel over a connection whose other end was proved. The channel reconnects by itself, through the same
//! proof, unless whoever asked wants this one connection only.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};

use crate::{ConnectError, ProbeError, dial::dial};

/// The TCP connection and the handshake each get this long. Machines are one switch away.
const CONNECT: Duration = Duration::from_secs(5);

/// What a channel does when its connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// the next call connects anew
    Reconnect,
    /// every later call fails: what was learnt over the connection holds for nobody else
    Fail,
}

pub(crate) async fn connect(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    lost: Lost,
) -> Result<Channel, ConnectError> {
    let unusable = |reason: String| ConnectError::from(ProbeError::Unreachable { address, reason });
    // The scheme says what the connector below returns to gRPC: plain HTTP/2, because the TLS is inside of it.
    let endpoint =
        Endpoint::from_shared(format!("http://{address}")).map_err(|error| unusable(error.to_string()))?;
    let was_connected = Arc::new(AtomicBool::new(false));
    let connector = tower::service_fn(move |_| {
        let config = Arc::clone(&config);
        let again = was_connected.swap(true, Ordering::Relaxed);
        async move {
            if again && lost == Lost::Fail {
                let reason = "the connection was lost".to_owned();
                return Err(ProbeError::Unreachable { address, reason }.into());
            }
            secure(address, config).await.map(TokioIo::new)
        }
    });
    endpoint.connect_with_connector(connector).await.map_err(|error| {
        let known = causes(&error).find_map(|cause| cause.downcast_ref::<ConnectError>());
        known.cloned().unwrap_or_else(|| unusable(told(&error)))
    })
}

async fn secure(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, ConnectError> {
    let stream = dial(address, CONNECT).await?;
    let name = ServerName::IpAddress(address.ip().into());
    timeout(CONNECT, TlsConnector::from(config).connect(name, stream))
        .await
        .map_err(|_| ProbeError::TimedOut { address, within: CONNECT })?
        .map_err(|error| ConnectError::from_handshake(address, &error))
}

/// An error and what caused it, outermost first.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// The chain of causes in one line, each text once.
pub(crate) fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut told = Vec::<String>::new();
    for text in causes(error).map(ToString::to_string) {
        if !told.last().is_some_and(|last| last.contains(&text)) {
            told.push(text);
        }
    }
    told.join(": ")
}
