#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on
//! A node is emptied and let pods on again, on the stand-in.

mod server;

use std::time::Duration;

use kubernetes::{DrainError, Patience};
use kubernetes_stand_in::Node;
use serde_json::{Value, json};
use server::Server;

const POLL: Duration = Duration::from_millis(5);

fn pod(name: &str, node: &str, owner: Option<&str>) -> Value {
    let owners: Vec<Value> =
        owner.iter().map(|kind| json!({ "kind": kind, "name": "o", "controller": true })).collect();
    json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "ownerReferences": owners },
        "spec": { "nodeName": node }, "status": { "phase": "Running" } })
}

async fn server() -> Server {
    let server = Server::start().await;
    for name in ["one", "two"] {
        let addresses = vec!["10.0.0.1".parse().unwrap()];
        let node = Node {
            name: name.to_owned(),
            addresses,
            control_plane: false,
            ready: true,
            boot_id: "b".to_owned(),
        };
        server.state.register_node(&node);
    }
    for (name, node, owner) in [
        ("web", "one", Some("ReplicaSet")),
        ("held", "one", Some("StatefulSet")),
        ("agent", "one", Some("DaemonSet")),
        ("elsewhere", "two", Some("ReplicaSet")),
    ] {
        server.state.put(&pod(name, node, owner));
    }
    server
}

fn open(server: &Server, node: &str) -> bool {
    server.state.object("Node", "", node).unwrap()["spec"]["unschedulable"] != true
}

fn pods(server: &Server) -> Vec<String> {
    let pods = server.state.objects().into_iter().filter(|object| object["kind"] == "Pod");
    pods.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_node_is_emptied_but_for_its_own_pods_and_opened_again() {
    let server = server().await;
    let client = server.client();
    let patience = Patience { poll: POLL, timeout: Duration::from_secs(20) };
    assert_eq!(client.drain("one", patience).await.unwrap(), 2);
    assert_eq!(pods(&server), ["agent", "elsewhere"]);
    assert!(!open(&server, "one") && open(&server, "two"));
    // a kubelet that comes back leaves it closed, and twice is once
    let addresses = vec!["10.0.0.1".parse().unwrap()];
    server.state.register_node(&Node {
        name: "one".to_owned(),
        addresses,
        control_plane: false,
        ready: true,
        boot_id: "b".to_owned(),
    });
    assert!(!open(&server, "one"));
    assert_eq!(client.drain("one", patience).await.unwrap(), 0);
    client.cordon("one", false).await.unwrap();
    assert!(open(&server, "one"));
}

#[tokio::test]
async fn a_budget_that_never_allows_it_is_told_and_the_node_stays_closed() {
    let server = server().await;
    server.state.hold("Pod", "default", "held");
    let client = server.client();
    let hasty = Patience { poll: POLL, timeout: Duration::from_millis(50) };
    let error = client.drain("one", hasty).await.unwrap_err();
    assert!(matches!(&error, DrainError::Late { left, .. } if left.len() == 1), "{error}");
    let told = error.to_string();
    assert!(told.contains("default/held") && told.contains("disruption budget"), "{told}");
    assert!(!open(&server, "one"));
    server.state.release("Pod", "default", "held");
    let patience = Patience { poll: POLL, timeout: Duration::from_secs(20) };
    assert_eq!(client.drain("one", patience).await.unwrap(), 1);
    assert_eq!(pods(&server), ["agent", "elsewhere"]);
}

#[tokio::test]
async fn pods_that_nobody_would_start_anew_stop_it_before_anything_is_done() {
    let server = server().await;
    server.state.put(&pod("lone", "one", None));
    let patience = Patience { poll: POLL, timeout: Duration::from_secs(20) };
    let error = server.client().drain("one", patience).await.unwrap_err();
    assert!(
        matches!(&error, DrainError::Unmanaged { .. }) && error.to_string().contains("default/lone"),
        "{error}"
    );
    assert!(open(&server, "one") && pods(&server).len() == 5);
}
