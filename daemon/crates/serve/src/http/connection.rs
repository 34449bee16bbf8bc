//! Accepting connections, serving each in its own task, and letting them go.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::{Ends, Limits};
use crate::counters::Counters;

/// How long files that are being sent may take when the server stops.
pub const DRAIN: Duration = Duration::from_secs(5);
/// After a failed accept, most likely for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Serves every connection until told to stop, then waits for those that are in the middle of a file.
pub(super) async fn accept_all(
    listener: TcpListener,
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
        match accepted {
            Ok((stream, place)) => {
                let counters = Arc::clone(&counters);
                connections.spawn(serve(
                    stream,
                    place,
                    router.clone(),
                    limits.header,
                    counters,
                    shutdown.clone(),
                ));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a boot client");
                sleep(ACCEPT_AGAIN).await;
            }
        }
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
    Ok((stream, place))
}

async fn serve(
    stream: TcpStream,
    place: Option<OwnedSemaphorePermit>,
    router: Router,
    header: Duration,
    counters: Arc<Counters>,
    shutdown: CancellationToken,
) {
    let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { return };
    // scripts are small and the client waits for each
    stream.set_nodelay(true).ok();
    let service = router.map_request(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Ends { local, peer });
        request
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(connection);
    let end = tokio::select! {
        end = connection.as_mut() => end,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(DRAIN, connection).await.unwrap_or_else(|_| {
                tracing::warn!(%peer, "a boot client was cut off in the middle of a file");
                Ok(())
            })
        }
    };
    if let Err(error) = end {
        if error.is_parse() {
            counters.add("http", "malformed");
        }
        // EDK2 and iPXE often just reset a connection they are done with
        tracing::debug!(%peer, %error, "a boot client's connection ended");
    }
    drop(place);
}
