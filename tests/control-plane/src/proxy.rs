//! Something in front of the API server that is cut off after some request, as a daemon is killed in the middle.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Result;
use http_body_util::BodyExt as _;
use hyper::{Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE};
use kubernetes::{Access, Client};
use tokio::{sync::Notify, task::JoinHandle};

use crate::{
    ControlPlane, Hands,
    tls::{self, Identity},
};

/// Another address of the API server. It ends when this is dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    count: AtomicUsize,
    /// how many requests are answered
    limit: AtomicUsize,
    /// whether the first that is not answered is done all the same
    done: AtomicUsize,
    cut: Notify,
}

impl Proxy {
    /// Starts one that lets everything through.
    pub async fn start(plane: &ControlPlane) -> Result<Proxy> {
        let read = |name: &str| std::fs::read_to_string(plane.folder.path().join(name));
        let (certificates, key) = (read("server.crt")?, read("server.key")?);
        let identity = Identity { certificates: &certificates, key: &key };
        let state = Arc::new(State { limit: usize::MAX.into(), ..State::default() });
        let (shared, hands) = (Arc::clone(&state), plane.hands());
        let answer = move |request| pass(request, Arc::clone(&shared), hands.clone());
        let (address, task) = tls::serve(SocketAddr::from(([127, 0, 0, 1], 0)), identity, answer).await?;
        Ok(Proxy { address, state, task })
    }

    /// From now on this many requests are answered, and then none; `done`: the next one is done and not answered.
    pub fn cut_after(&self, requests: usize, done: bool) {
        self.state.count.store(0, Ordering::SeqCst);
        self.state.done.store(done.into(), Ordering::SeqCst);
        self.state.limit.store(requests, Ordering::SeqCst);
    }

    /// Waits until a request is not answered.
    pub async fn cut(&self) {
        self.state.cut.notified().await;
    }

    /// A client that goes through here.
    pub fn client(&self, plane: &ControlPlane) -> Result<Client> {
        Ok(Client::new(Access { address: Some(self.address), ..plane.access() })?)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(request: Request<Incoming>, state: Arc<State>, hands: Hands) -> Option<Response<String>> {
    let (number, limit) = (state.count.fetch_add(1, Ordering::SeqCst), state.limit.load(Ordering::SeqCst));
    let is_last = number == limit && state.done.load(Ordering::SeqCst) == 1;
    if number >= limit && !is_last {
        state.cut.notify_one();
        return None;
    }
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query()?.as_str().to_owned();
    let media_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let body = String::from_utf8(body.collect().await.ok()?.to_bytes().to_vec()).ok()?;
    let (code, text) =
        hands.raw(head.method.as_str(), &path, media_type.unwrap_or("application/json"), body).await.ok()?;
    if is_last {
        state.cut.notify_one();
        return None;
    }
    Response::builder().status(StatusCode::from_u16(code).ok()?).body(text).ok()
}
