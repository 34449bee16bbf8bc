//! A TCP connection to a machine, with the failures told apart that mean different things to a provisioner.

use std::{net::SocketAddr, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, time::timeout};

use crate::ProbeError;

/// A machine that lost power sends nothing, so an idle stream of events must find out by itself: it is given up
/// after about 45 s. HTTP/2 pings are no alternative, because a Go server takes frequent ones for an attack.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(15))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);

pub(crate) async fn dial(address: SocketAddr, within: Duration) -> Result<TcpStream, ProbeError> {
    let stream = timeout(within, TcpStream::connect(address))
        .await
        .map_err(|_| ProbeError::TimedOut { address, within })?
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::TimedOut => ProbeError::TimedOut { address, within },
            _ => ProbeError::from_io(address, &error),
        })?;
    let options =
        stream.set_nodelay(true).and_then(|()| SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE));
    options.map_err(|error| ProbeError::from_io(address, &error))?;
    Ok(stream)
}
