//! Something in front of the API server that is cut off after some request, as a daemon is killed in the middle.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use http_body_util::BodyExt as _;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE};
use kubernetes::{Access, Client};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    ControlPlane, Hands,
    tls::{self, Identity},
};

/// Another address of the API server, for one life of a daemon. It ends when this is dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// How long requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// So many are, and then none.
    Requests(usize),
    /// All are until so many of them were writes; the next write is not, and nothing after it.
    Writes(usize),
}

struct State {
    until: Until,
    /// whether the first that is not answered is done all the same
    done: bool,
    passed: Mutex<Passed>,
    cut: watch::Sender<bool>,
}

#[derive(Default)]
struct Passed {
    requests: usize,
    writes: usize,
    is_over: bool,
}

/// What becomes of a request.
enum Fate {
    Answered,
    DoneOnly,
    Lost,
}

impl Proxy {
    /// Starts one; `done`: the first request that is not answered is done all the same.
    pub async fn start(plane: &ControlPlane, until: Until, done: bool) -> Result<Proxy> {
        let read = |name: &str| std::fs::read_to_string(plane.folder.path().join(name));
        let (certificates, key) = (read("server.crt")?, read("server.key")?);
        let identity = Identity { certificates: &certificates, key: &key };
        let state = Arc::new(State { until, done, passed: Mutex::default(), cut: watch::Sender::new(false) });
        let (shared, hands) = (Arc::clone(&state), plane.hands());
        let answer = move |request| pass(request, Arc::clone(&shared), hands.clone());
        let (address, task) = tls::serve(SocketAddr::from(([127, 0, 0, 1], 0)), identity, answer).await?;
        Ok(Proxy { address, state, task })
    }

    /// Waits until a request is not answered.
    pub async fn cut(&self) {
        // the sender is ours, so this ends with a cut only
        self.state.cut.subscribe().wait_for(|is_cut| *is_cut).await.ok();
    }

    /// How many requests were answered, and how many of them were writes.
    pub fn passed(&self) -> (usize, usize) {
        let passed = self.state.passed.lock().unwrap_or_else(PoisonError::into_inner);
        (passed.requests, passed.writes)
    }

    /// A client that goes through here.
    pub fn client(&self, plane: &ControlPlane) -> Result<Client> {
        Ok(Client::new(Access { address: Some(self.address), ..plane.access() })?)
    }
}

impl State {
    fn fate(&self, is_write: bool) -> Fate {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if passed.is_over {
            return Fate::Lost;
        }
        passed.is_over = match self.until {
            Until::Requests(limit) => passed.requests >= limit,
            Until::Writes(limit) => is_write && passed.writes >= limit,
        };
        match passed.is_over {
            true if self.done => Fate::DoneOnly,
            true => Fate::Lost,
            false => {
                passed.requests += 1;
                passed.writes += usize::from(is_write);
                Fate::Answered
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(request: Request<Incoming>, state: Arc<State>, hands: Hands) -> Option<Response<String>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query()?.as_str().to_owned();
    let media_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let body = String::from_utf8(body.collect().await.ok()?.to_bytes().to_vec()).ok()?;
    let fate = state.fate(head.method != Method::GET && !path.contains("dryRun=All"));
    if matches!(fate, Fate::Lost) {
        state.cut.send_replace(true);
        return None;
    }
    let sent = hands.raw(head.method.as_str(), &path, media_type.unwrap_or("application/json"), body).await;
    if matches!(fate, Fate::DoneOnly) {
        state.cut.send_replace(true);
        return None;
    }
    let (code, text) = sent.ok()?;
    Response::builder().status(StatusCode::from_u16(code).ok()?).body(text).ok()
}
