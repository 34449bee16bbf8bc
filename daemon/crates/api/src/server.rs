//! The listening side. Owns one task a connection; all end when the token is cancelled.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::{Stream, StreamExt as _};
use hardware::MacAddr;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use lifecycle::Assertion;
use serde::Deserialize;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::wire::{
    ClaimOrder, Complaint, Conversation, Deploy, Deployed, Event, Explain, Explained, Ordered, Ports,
    Problem, Recover, Reloaded, SnapshotTaken, Status, TakeOver, TakenOver,
};

/// A client that has not sent its request line by then is not one of ours.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);

/// How long a shutdown waits for requests that are being answered.
const DRAIN: Duration = Duration::from_secs(2);

/// What stands behind the API.
pub trait Backend: Send + Sync + 'static {
    /// The picture of the world.
    fn status(&self) -> impl Future<Output = Status> + Send;
    /// Grants install permits.
    fn deploy(&self, request: Deploy) -> impl Future<Output = Result<Deployed, Refusal>> + Send;
    /// Every port, with who is seen there.
    fn ports(&self) -> impl Future<Output = Result<Ports, Refusal>> + Send;
    /// Everything about the machines that are meant; none when nobody knows one.
    fn explain(&self, request: Explain) -> impl Future<Output = Result<Vec<Explained>, Refusal>> + Send;
    /// Changes who holds a slot.
    fn order(&self, request: ClaimOrder) -> impl Future<Output = Result<Ordered, Refusal>> + Send;
    /// Takes a running cluster over, or says what would be.
    fn take_over(&self, request: TakeOver) -> impl Future<Output = Result<TakenOver, Refusal>> + Send;
    /// Keeps a snapshot of etcd.
    fn snapshot(&self) -> impl Future<Output = Result<SnapshotTaken, Refusal>> + Send;
    /// Begins etcd anew from a snapshot.
    fn recover(&self, request: Recover) -> impl Future<Output = Result<Ordered, Refusal>> + Send;
    /// Reads the site's files again and goes on with them if they have no faults.
    fn reload(&self) -> impl Future<Output = Result<Reloaded, Refusal>> + Send;
    /// What one machine said and was told.
    fn trace(&self, mac: MacAddr) -> impl Future<Output = Result<Conversation, Refusal>> + Send;
    /// What is wrong on the network, as far as can be seen.
    fn doctor(&self) -> impl Future<Output = Vec<Complaint>> + Send;
    /// Whether the cluster is well: everybody in it is asked now.
    fn health(&self) -> impl Future<Output = Vec<Assertion>> + Send;
    /// Somebody on the socket does not speak HTTP; to be counted.
    fn malformed(&self);
    /// The journal from `from` on, oldest first; with `follow` it does not end.
    fn events(&self, from: u64, follow: bool) -> impl Stream<Item = Event> + Send + 'static;
}

/// A request that was understood and not done, with the reason for the person who asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// The socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// somebody answers there
    #[error("{path} is in use by a running ichord: stop it, or give --socket another path")]
    InUse {
        /// the socket
        path: PathBuf,
    },
    /// the file system says no
    #[error("the admin socket {path} cannot be opened: {source}")]
    Io {
        /// the socket
        path: PathBuf,
        /// why
        source: io::Error,
    },
}

/// A bound socket that does not serve yet. Its file is removed when it is dropped.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Binds the socket with mode 0660. A left-over file of a daemon that died is replaced.
    pub async fn bind(path: &Path) -> Result<Self, ListenError> {
        let io = |source| ListenError::Io { path: path.to_owned(), source };
        match UnixStream::connect(path).await {
            Ok(_) => return Err(ListenError::InUse { path: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(io)?
            }
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(io)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(io)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves until cancelled.
    pub async fn serve<B: Backend>(self, backend: Arc<B>, stop: CancellationToken) {
        let service = TowerToHyperService::new(router(Arc::clone(&backend), stop.clone()));
        let graceful = GracefulShutdown::new();
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    // out of file descriptors, mostly: one lost connection, not the end
                    Err(error) => {
                        tracing::warn!(%error, "a connection to the admin socket could not be accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let connection = builder.serve_connection(TokioIo::new(stream), service.clone()).into_owned();
            let connection = graceful.watch(connection);
            let backend = Arc::clone(&backend);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    if error.downcast_ref().is_some_and(hyper::Error::is_parse) {
                        backend.malformed();
                    }
                    tracing::debug!(%error, "an admin connection ended early");
                }
            });
        }
        if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::debug!("admin connections were still open at shutdown");
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

struct Served<B> {
    backend: Arc<B>,
    stop: CancellationToken,
}

fn router<B: Backend>(backend: Arc<B>, stop: CancellationToken) -> Router {
    Router::new()
        .route("/v1/status", get(status::<B>))
        .route("/v1/deploy", post(deploy::<B>))
        .route("/v1/ports", get(ports::<B>))
        .route("/v1/explain", post(explain::<B>))
        .route("/v1/claims", post(order::<B>))
        .route("/v1/takeover", post(take_over::<B>))
        .route("/v1/snapshot", post(snapshot::<B>))
        .route("/v1/recover", post(recover::<B>))
        .route("/v1/reload", post(reload::<B>))
        .route("/v1/trace", get(trace::<B>))
        .route("/v1/doctor", get(doctor::<B>))
        .route("/v1/health", get(health::<B>))
        .route("/v1/events", get(events::<B>))
        .with_state(Arc::new(Served { backend, stop }))
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (StatusCode::CONFLICT, Json(Problem { error: self.0 })).into_response()
    }
}

async fn status<B: Backend>(State(served): State<Arc<Served<B>>>) -> Json<Status> {
    Json(served.backend.status().await)
}

async fn deploy<B: Backend>(
    State(served): State<Arc<Served<B>>>,
    Json(request): Json<Deploy>,
) -> Result<Json<Deployed>, Refusal> {
    served.backend.deploy(request).await.map(Json)
}

async fn ports<B: Backend>(State(served): State<Arc<Served<B>>>) -> Result<Json<Ports>, Refusal> {
    served.backend.ports().await.map(Json)
}

async fn explain<B: Backend>(
    State(served): State<Arc<Served<B>>>,
    Json(request): Json<Explain>,
) -> Result<Json<Vec<Explained>>, Refusal> {
    served.backend.explain(request).await.map(Json)
}

async fn order<B: Backend>(
    State(served): State<Arc<Served<B>>>,
    Json(request): Json<ClaimOrder>,
) -> Result<Json<Ordered>, Refusal> {
    served.backend.order(request).await.map(Json)
}

async fn take_over<B: Backend>(
    State(served): State<Arc<Served<B>>>,
    Json(request): Json<TakeOver>,
) -> Result<Json<TakenOver>, Refusal> {
    served.backend.take_over(request).await.map(Json)
}

async fn snapshot<B: Backend>(State(served): State<Arc<Served<B>>>) -> Result<Json<SnapshotTaken>, Refusal> {
    served.backend.snapshot().await.map(Json)
}

async fn recover<B: Backend>(
    State(served): State<Arc<Served<B>>>,
    Json(request): Json<Recover>,
) -> Result<Json<Ordered>, Refusal> {
    served.backend.recover(request).await.map(Json)
}

async fn reload<B: Backend>(State(served): State<Arc<Served<B>>>) -> Result<Json<Reloaded>, Refusal> {
    served.backend.reload().await.map(Json)
}

#[derive(Deserialize)]
struct Of {
    mac: MacAddr,
}

async fn trace<B: Backend>(
    State(served): State<Arc<Served<B>>>,
    Query(of): Query<Of>,
) -> Result<Json<Conversation>, Refusal> {
    served.backend.trace(of.mac).await.map(Json)
}

async fn health<B: Backend>(State(served): State<Arc<Served<B>>>) -> Json<Vec<Assertion>> {
    Json(served.backend.health().await)
}

async fn doctor<B: Backend>(State(served): State<Arc<Served<B>>>) -> Json<Vec<Complaint>> {
    Json(served.backend.doctor().await)
}

#[derive(Deserialize)]
struct From {
    #[serde(default)]
    from: u64,
    #[serde(default)]
    follow: bool,
}

/// One JSON object a line (NDJSON).
async fn events<B: Backend>(State(served): State<Arc<Served<B>>>, Query(query): Query<From>) -> Response {
    let lines = served.backend.events(query.from, query.follow).map(|event| {
        serde_json::to_vec(&event).map(|mut line| {
            line.push(b'\n');
            line
        })
    });
    let stop = served.stop.clone();
    let body = Body::from_stream(lines.take_until(async move { stop.cancelled().await }));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}
