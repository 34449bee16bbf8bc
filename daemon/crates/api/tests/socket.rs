//! Client and server over a real socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use api::{
    Backend, CallError, ClaimOrder, Client, Complaint, Conversation, Deploy, Deployed, Event, Explain,
    Explained, ListenError, Listener, Ordered, Ports, Recover, Refusal, Reloaded, Said, SnapshotTaken,
    Snapshots, Status, TakeOver, TakenOver,
};
use futures_util::{Stream, StreamExt as _, stream};
use hardware::MacAddr;
use lifecycle::{Assertion, Order, Verdict};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

#[derive(Default)]
struct Fake {
    malformed: AtomicU32,
}

fn event(sequence: u64) -> Event {
    Event {
        sequence,
        at: 1,
        subject: "mini01".into(),
        what: "vacant → netbooting".into(),
        evidence: vec!["sw1/Eth1/1".into()],
    }
}

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

fn conversation() -> Conversation {
    let line = Said { at: 1, last: 2, times: 3, layer: "dhcp".into(), what: "DISCOVER: OFFER".into() };
    Conversation { mac: MAC, node: Some("mini01".into()), address: None, lines: vec![line] }
}

fn complaint() -> Complaint {
    Complaint { kind: "rival".into(), what: "10.77.0.9 answers".into(), since: 1, last: 2, times: 3 }
}

impl Backend for Fake {
    async fn status(&self) -> Status {
        let view = lifecycle::View::default();
        Status {
            site: "home-ops".into(),
            version: "0".into(),
            site_fault: None,
            snapshots: Snapshots::default(),
            view,
        }
    }

    async fn deploy(&self, request: Deploy) -> Result<Deployed, Refusal> {
        match request.node.as_deref() {
            Some("mini01") => Ok(Deployed { nodes: vec!["mini01".into()] }),
            _ => Err(Refusal("mini09 is not in the site".into())),
        }
    }

    async fn ports(&self) -> Result<Ports, Refusal> {
        Ok(Ports { at: 7, ports: Vec::new(), unseen: vec!["mini01".into()], ..Ports::default() })
    }

    async fn explain(&self, request: Explain) -> Result<Vec<Explained>, Refusal> {
        match request.machine.as_str() {
            "mini01" => Ok(Vec::new()),
            other => Err(Refusal(other.to_owned())),
        }
    }

    async fn order(&self, request: ClaimOrder) -> Result<Ordered, Refusal> {
        match request.order {
            Order::Move { from, to } => Ok(Ordered { done: format!("{from} is {to}") }),
            other => Err(Refusal(format!("{other:?}"))),
        }
    }

    async fn take_over(&self, request: TakeOver) -> Result<TakenOver, Refusal> {
        let refused = request.only_look.then(|| format!("{} only looks", request.by));
        Ok(TakenOver { found: [("mini01".into(), "runs".to_owned())].into(), done: None, refused })
    }

    async fn snapshot(&self) -> Result<SnapshotTaken, Refusal> {
        Err(Refusal("no control plane gives a snapshot".into()))
    }

    async fn recover(&self, request: Recover) -> Result<Ordered, Refusal> {
        Ok(Ordered { done: format!("{} begins from {:?}", request.node, request.snapshot) })
    }

    async fn reload(&self) -> Result<Reloaded, Refusal> {
        Ok(Reloaded { site: "site".into(), warnings: Vec::new() })
    }

    async fn trace(&self, mac: MacAddr) -> Result<Conversation, Refusal> {
        if mac != MAC {
            return Err(Refusal(format!("{mac} has said nothing")));
        }
        Ok(conversation())
    }

    async fn doctor(&self) -> Vec<Complaint> {
        vec![complaint()]
    }

    async fn health(&self) -> Vec<Assertion> {
        vec![assertion()]
    }

    fn malformed(&self) {
        self.malformed.fetch_add(1, Ordering::SeqCst);
    }

    fn events(&self, from: u64, follow: bool) -> impl Stream<Item = Event> + Send + 'static {
        let past = stream::iter((from..3).map(event));
        if follow { past.chain(stream::pending()).boxed() } else { past.boxed() }
    }
}

fn assertion() -> Assertion {
    Assertion { number: 1, name: "etcd to be healthy".into(), verdict: Verdict::Not("cp1: no".into()) }
}

async fn served(path: &Path) -> (Client, CancellationToken, tokio::task::JoinHandle<()>) {
    let stop = CancellationToken::new();
    let listener = Listener::bind(path).await.unwrap();
    let task = tokio::spawn(listener.serve(Arc::new(Fake::default()), stop.clone()));
    (Client::new(path), stop, task)
}

#[tokio::test]
async fn every_call_and_its_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let (client, stop, task) = served(&dir.path().join("s")).await;
    assert_eq!(client.status().await.unwrap().site, "home-ops");
    let granted = client.deploy(&Deploy { node: Some("mini01".into()), by: "ann".into() }).await.unwrap();
    assert_eq!(granted.nodes, ["mini01"]);
    let refused = client.deploy(&Deploy { node: Some("mini09".into()), by: "ann".into() }).await;
    assert!(matches!(refused, Err(CallError::Refused(reason)) if reason.contains("mini09")));
    assert_eq!(client.ports().await.unwrap().unseen, ["mini01"]);
    assert_eq!(client.explain(&Explain { machine: "mini01".into() }).await.unwrap(), []);
    let order = |order| ClaimOrder { order, by: "ann".into() };
    let moved = client.order(&order(Order::Move { from: "mini01".into(), to: "mini02".into() })).await;
    assert_eq!(moved.unwrap().done, "mini01 is mini02");
    let refused = client.order(&order(Order::Release { node: "mini01".into() })).await;
    assert!(matches!(refused, Err(CallError::Refused(reason)) if reason.contains("Release")));
    assert!(client.reload().await.unwrap().warnings.is_empty());
    assert_eq!(client.trace(MAC).await.unwrap(), conversation());
    let silent = client.trace(MacAddr([2; 6])).await;
    assert!(matches!(silent, Err(CallError::Refused(reason)) if reason.contains("has said nothing")));
    assert_eq!(client.doctor().await.unwrap(), [complaint()]);
    assert_eq!(client.health().await.unwrap(), [assertion()]);
    let events: Vec<Event> = client.events(1, false).await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(events, [event(1), event(2)]);
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_follower_does_not_hold_up_the_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let (client, stop, task) = served(&path).await;
    let mut events = Box::pin(client.events(2, true).await.unwrap());
    assert_eq!(events.next().await.unwrap().unwrap(), event(2));
    stop.cancel();
    task.await.unwrap();
    assert!(!path.exists(), "the socket's file is gone");
    while let Some(Ok(_)) = events.next().await {}
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_a_dead_ones_socket_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let (_client, stop, task) = served(&path).await;
    assert!(matches!(Listener::bind(&path).await, Err(ListenError::InUse { .. })));
    stop.cancel();
    task.await.unwrap();

    // what a killed daemon leaves behind
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let (client, stop, task) = served(&path).await;
    client.status().await.unwrap();
    stop.cancel();
    task.await.unwrap();

    assert!(matches!(Client::new(&path).status().await, Err(CallError::NotRunning { .. })));
}

#[tokio::test]
async fn garbage_is_counted_and_others_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let stop = CancellationToken::new();
    let backend = Arc::new(Fake::default());
    let listener = Listener::bind(&path).await.unwrap();
    let task = tokio::spawn(listener.serve(Arc::clone(&backend), stop.clone()));
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n").await.unwrap();
    // the server closes the connection
    stream.read_to_end(&mut Vec::new()).await.ok();
    Client::new(&path).status().await.unwrap();
    stop.cancel();
    task.await.unwrap();
    while backend.malformed.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
}
