//! The calling side: one connection a call.

use std::{
    io,
    path::{Path, PathBuf},
};

use futures_util::{Stream, StreamExt as _, stream};
use hardware::MacAddr;
use http_body_util::{BodyExt as _, BodyStream, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use lifecycle::Assertion;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use crate::wire::{
    ClaimOrder, Complaint, Conversation, Deploy, Deployed, Event, Explain, Explained, Ordered, Ports,
    Problem, Recover, Reloaded, SnapshotTaken, Status, TakeOver, TakenOver,
};

/// A call that was not answered with what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// nobody listens
    #[error("no ichord answers on {path} ({source}): is `ichord serve` running, and is --socket right?")]
    NotRunning {
        /// the socket
        path: PathBuf,
        /// why
        source: io::Error,
    },
    /// the daemon understood and said no
    #[error("{0}")]
    Refused(String),
    /// the connection broke
    #[error("the connection to ichord broke: {0}")]
    Broken(#[from] hyper::Error),
    /// the two do not speak the same version
    #[error("ichord's answer was not understood ({0}): are the command and the daemon of one version?")]
    Malformed(String),
}

/// Calls a running daemon.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// For the daemon that listens there; nothing is connected yet.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// The picture of the world.
    pub async fn status(&self) -> Result<Status, CallError> {
        answer(self.send("GET", "/v1/status", None::<&()>).await?).await
    }

    /// Grants install permits.
    pub async fn deploy(&self, request: &Deploy) -> Result<Deployed, CallError> {
        answer(self.send("POST", "/v1/deploy", Some(request)).await?).await
    }

    /// Every port, with who is seen there.
    pub async fn ports(&self) -> Result<Ports, CallError> {
        answer(self.send("GET", "/v1/ports", None::<&()>).await?).await
    }

    /// Everything about the machines that are meant.
    pub async fn explain(&self, request: &Explain) -> Result<Vec<Explained>, CallError> {
        answer(self.send("POST", "/v1/explain", Some(request)).await?).await
    }

    /// Changes who holds a slot.
    pub async fn order(&self, request: &ClaimOrder) -> Result<Ordered, CallError> {
        answer(self.send("POST", "/v1/claims", Some(request)).await?).await
    }

    /// Takes a running cluster over, or says what would be.
    pub async fn take_over(&self, request: &TakeOver) -> Result<TakenOver, CallError> {
        answer(self.send("POST", "/v1/takeover", Some(request)).await?).await
    }

    /// Keeps a snapshot of etcd now.
    pub async fn snapshot(&self) -> Result<SnapshotTaken, CallError> {
        answer(self.send("POST", "/v1/snapshot", None::<&()>).await?).await
    }

    /// Begins etcd anew from a snapshot.
    pub async fn recover(&self, request: &Recover) -> Result<Ordered, CallError> {
        answer(self.send("POST", "/v1/recover", Some(request)).await?).await
    }

    /// Reads the site's files again.
    pub async fn reload(&self) -> Result<Reloaded, CallError> {
        answer(self.send("POST", "/v1/reload", None::<&()>).await?).await
    }

    /// What one machine said and was told.
    pub async fn trace(&self, mac: MacAddr) -> Result<Conversation, CallError> {
        answer(self.send("GET", &format!("/v1/trace?mac={mac}"), None::<&()>).await?).await
    }

    /// Whether the cluster is well.
    pub async fn health(&self) -> Result<Vec<Assertion>, CallError> {
        answer(self.send("GET", "/v1/health", None::<&()>).await?).await
    }

    /// What is wrong on the network.
    pub async fn doctor(&self) -> Result<Vec<Complaint>, CallError> {
        answer(self.send("GET", "/v1/doctor", None::<&()>).await?).await
    }

    /// The journal from `from` on; with `follow` the stream ends with the daemon.
    pub async fn events(
        &self,
        from: u64,
        follow: bool,
    ) -> Result<impl Stream<Item = Result<Event, CallError>> + use<>, CallError> {
        let path = format!("/v1/events?from={from}&follow={follow}");
        let response = self.send("GET", &path, None::<&()>).await?;
        if response.status() != StatusCode::OK {
            return Err(problem(response).await);
        }
        let frames = Box::pin(BodyStream::new(response.into_body()));
        Ok(stream::unfold((frames, Vec::new()), |(mut frames, mut rest)| async move {
            loop {
                if let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    let event = serde_json::from_slice(&line);
                    let event = event.map_err(|error| CallError::Malformed(error.to_string()));
                    return Some((event, (frames, rest)));
                }
                match frames.next().await? {
                    Ok(frame) => rest.extend(frame.into_data().unwrap_or_default()),
                    Err(error) => return Some((Err(CallError::Broken(error)), (frames, Vec::new()))),
                }
            }
        }))
    }

    async fn send<T: Serialize>(
        &self,
        method: &str,
        path: &str,
        body: Option<&T>,
    ) -> Result<Response<Incoming>, CallError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| CallError::NotRunning { path: self.socket.clone(), source })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // a broken connection shows in the call as well
            connection.await.ok();
        });
        let malformed = |error: &dyn std::fmt::Display| CallError::Malformed(error.to_string());
        let body =
            body.map(serde_json::to_vec).transpose().map_err(|error| malformed(&error))?.unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "ichord")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| malformed(&error))?;
        Ok(sender.send_request(request).await?)
    }
}

async fn answer<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, CallError> {
    if response.status() != StatusCode::OK {
        return Err(problem(response).await);
    }
    let body = response.into_body().collect().await?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| CallError::Malformed(error.to_string()))
}

async fn problem(response: Response<Incoming>) -> CallError {
    let status = response.status();
    match response.into_body().collect().await {
        Ok(body) => match serde_json::from_slice::<Problem>(&body.to_bytes()) {
            Ok(problem) => CallError::Refused(problem.error),
            Err(_) => CallError::Malformed(format!("HTTP {status}")),
        },
        Err(error) => CallError::Broken(error),
    }
}
