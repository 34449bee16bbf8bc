#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on
//! The client against the stand-in over real TLS.

mod server;

use std::time::Duration;

use kubernetes::{
    Access, AccessError, ApplyError, Client, FieldConflict, ObjectId, Outcome, RequestError, WaitError,
};
use kubernetes_stand_in::Node;
use serde_json::{Value, json};
use server::Server;

/// How often the tests look, and how long at most.
const POLL: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(20);

fn map(data: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c", "namespace": "default" }, "data": data })
}

fn id(object: &Value) -> ObjectId {
    ObjectId::try_from(object).unwrap()
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "app", "namespace": "default" },
        "spec": {
            "selector": { "matchLabels": { "app": "app" } },
            "template": {
                "metadata": { "labels": { "app": "app" } },
                "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
            },
        },
    })
}

fn node(name: &str, ready: bool) -> Node {
    let addresses = vec!["172.29.51.11".parse().unwrap(), "fd00::11".parse().unwrap()];
    Node { name: name.to_owned(), addresses, control_plane: true, ready, boot_id: "b".to_owned() }
}

#[tokio::test]
async fn the_server_is_asked_whether_it_is_ready_and_who_it_is() {
    let server = Server::start().await;
    let client = server.client();
    assert!(client.ready().await.unwrap());
    server.state.set_ready(false);
    assert!(!client.ready().await.unwrap());
    assert_eq!(client.version().await.unwrap(), "v1.36.3");
    let system = server.state.object("Namespace", "", "kube-system").unwrap();
    assert_eq!(client.cluster_uid().await.unwrap(), system["metadata"]["uid"].as_str().unwrap());
    assert!(client.serves("apps/v1", "Deployment").await.unwrap());
    assert!(!client.serves("apps/v1", "Widget").await.unwrap());
    assert!(!client.serves("example.org/v1", "Widget").await.unwrap());
}

#[tokio::test]
async fn only_the_right_server_and_the_right_client_meet() {
    let (server, stranger) = (Server::start().await, Server::start().await);
    let other_name = Access { endpoint: "https://other.test:6443", ..server.access() };
    let other_authority = Access { authority: &stranger.authority, ..server.access() };
    let other_client = Access { certificate: &stranger.certificate, key: &stranger.key, ..server.access() };
    for (access, says) in [
        (other_name, "certificate not valid for name \"other.test\""),
        // Both authorities have the same name, as every Kubernetes CA has.
        (other_authority, "invalid peer certificate: BadSignature"),
        // TLS 1.3 tells the client only when it reads; how it says so depends on who is faster.
        (other_client, "does not answer: "),
    ] {
        let error = Client::new(access).unwrap().ready().await.unwrap_err();
        assert!(matches!(&error, RequestError::Unreachable { .. }) && error.transient(), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    let (certificate, key) = server.another_client();
    let ours = Access { certificate: &certificate, key: &key, ..server.access() };
    assert!(Client::new(ours).unwrap().ready().await.unwrap());
    // As Talos labels Ed25519 keys.
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    let talos = key.replace("PRIVATE KEY", "ED25519 PRIVATE KEY");
    let error = Client::new(Access { key: &talos, ..server.access() }).unwrap_err();
    assert!(format!("{error:?}").contains("InconsistentKeys"), "read, and found not to fit: {error:?}");
}

#[tokio::test]
async fn pieces_that_do_not_make_a_client_are_named() {
    let server = Server::start().await;
    for endpoint in ["http://cluster.test:6443", "cluster.test", "https://", "https://a b"] {
        let access = Access { endpoint, ..server.access() };
        assert!(matches!(Client::new(access), Err(AccessError::Endpoint(_))), "{endpoint}");
    }
    for authority in ["", "no PEM", &server.key] {
        let access = Access { authority, ..server.access() };
        assert!(matches!(Client::new(access), Err(AccessError::Authority)));
    }
    for (certificate, key) in [("", server.key.as_str()), (server.certificate.as_str(), "")] {
        let error = Client::new(Access { certificate, key, ..server.access() }).unwrap_err();
        assert!(matches!(error, AccessError::Identity(_)));
    }
    let shown = format!("{:?}", server.client());
    assert!(shown.contains("cluster.test") && !shown.contains("PRIVATE KEY"));
}

#[tokio::test]
async fn an_apply_creates_then_changes_nothing_then_changes_what_differs() {
    let server = Server::start().await;
    let client = server.client();
    let first = client.apply(&map(&json!({ "a": "1" })), true).await.unwrap();
    assert_eq!((first.outcome, server.state.counters().mutations()), (Outcome::Created, 0), "a dry run");
    let first = client.apply(&map(&json!({ "a": "1" })), false).await.unwrap();
    assert_eq!(first.outcome, Outcome::Created);

    let again = client.apply(&map(&json!({ "a": "1" })), false).await.unwrap();
    assert_eq!((again.outcome, &again.resource_version), (Outcome::Unchanged, &first.resource_version));
    assert_eq!(server.state.counters().unchanged, 0, "not even sent");

    let changed = map(&json!({ "a": "2", "b": "1" }));
    let fields = || Outcome::Changed(vec![".data.a".to_owned(), ".data.b".to_owned()]);
    let dry = client.apply(&changed, true).await.unwrap();
    assert_eq!((dry.outcome, &dry.resource_version), (fields(), &first.resource_version));
    let real = client.apply(&changed, false).await.unwrap();
    assert_eq!(real.outcome, fields());
    assert_ne!(real.resource_version, first.resource_version);
    assert_eq!(client.object(&real.object).await.unwrap().unwrap()["data"], json!({ "a": "2", "b": "1" }));
    assert_eq!(server.state.counters().mutations(), 2);
}

#[tokio::test]
async fn a_field_of_another_manager_is_left_alone_and_its_owner_named() {
    let server = Server::start().await;
    let client = server.client();
    server.state.apply_as("helm-controller", &map(&json!({ "a": "1", "b": "1" }))).unwrap();
    let error = client.apply(&map(&json!({ "a": "2", "b": "1", "c": "1" })), false).await.unwrap_err();
    assert!(!error.transient());
    let shown = error.to_string();
    let ApplyError::Conflict { object, conflicts } = error else { panic!("{error}") };
    assert_eq!(object.to_string(), "ConfigMap default/c");
    let expected = FieldConflict { manager: "helm-controller".to_owned(), field: ".data.a".to_owned() };
    assert_eq!(conflicts, [expected]);
    assert!(shown.contains(".data.a of helm-controller"), "{shown}");
    assert_eq!(
        server.state.object("ConfigMap", "default", "c").unwrap()["data"],
        json!({ "a": "1", "b": "1" })
    );
}

#[tokio::test]
async fn refusals_tell_what_was_asked_and_do_not_quote_secrets() {
    let server = Server::start().await;
    let client = server.client();
    let widget = json!({ "apiVersion": "example.org/v1", "kind": "Widget", "metadata": { "name": "w" } });
    let error = client.apply(&widget, false).await.unwrap_err();
    assert!(matches!(&error, ApplyError::UnknownKind { kind, .. } if kind == "Widget"), "{error}");

    let mut elsewhere = map(&json!({}));
    elsewhere["metadata"]["namespace"] = json!("absent");
    let error = client.apply(&elsewhere, false).await.unwrap_err();
    assert!(error.to_string().contains("namespaces \"absent\" not found") && !error.transient(), "{error}");

    let mut broken = deployment();
    broken["spec"]["selector"] = json!({ "matchLabels": { "app": "other" } });
    let error = client.apply(&broken, false).await.unwrap_err();
    assert!(
        error.to_string().contains("Deployment default/app: ")
            && error.to_string().contains("does not match"),
        "{error}"
    );

    let secret =
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "data": { "a": 4711 } });
    let error = client.apply(&secret, false).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("4711"), "{error:?}");
}

#[tokio::test]
async fn waiting_ends_with_readiness_or_with_what_is_missing() {
    let server = Server::start().await;
    let client = server.client();
    let app = deployment();
    let absent = client.wait(&id(&app), POLL, POLL * 3).await.unwrap_err();
    assert!(
        matches!(&absent, WaitError::Late { reason, .. } if reason.contains("does not exist")),
        "{absent}"
    );

    client.apply(&app, false).await.unwrap();
    let late = client.wait(&id(&app), POLL, POLL * 3).await.unwrap_err();
    assert!(late.to_string().contains("Deployment default/app is not ready") && late.transient(), "{late}");
    assert!(late.to_string().contains("0 of 1 replicas are available"), "{late}");

    let waiting = tokio::spawn({
        let (client, id) = (client.clone(), id(&app));
        async move { client.wait(&id, POLL, PATIENCE).await }
    });
    server.state.register_node(&node("mini01", true));
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_definition_is_waited_for_until_its_kind_can_be_used() {
    let server = Server::start().await;
    let client = server.client();
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "widgets.example.org" },
        "spec": {
            "group": "example.org", "scope": "Namespaced",
            "names": { "kind": "Widget", "plural": "widgets", "singular": "widget" },
            "versions": [{ "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object" } } }],
        },
    });
    let widget = json!({ "apiVersion": "example.org/v1", "kind": "Widget", "metadata": { "name": "w" } });
    assert!(matches!(client.apply(&widget, false).await, Err(ApplyError::UnknownKind { .. })));
    client.apply(&crd, false).await.unwrap();
    client.wait(&id(&crd), POLL, PATIENCE).await.unwrap();
    let applied = client.apply(&widget, false).await.unwrap();
    assert_eq!(applied.outcome, Outcome::Created);
    // Without a namespace of its own it went where kubectl would put it.
    assert!(server.state.object("Widget", "default", "w").is_some());
    client.wait(&applied.object, POLL, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_away_for_a_while_is_waited_for() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::start().await;
    let address = listener.local_addr().unwrap();
    let client = Client::new(Access { address: Some(address), ..server.access() }).unwrap();
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.wait(&id(&map(&json!({}))), POLL, PATIENCE).await }
    });
    server.client().apply(&map(&json!({})), false).await.unwrap();
    // The first two connections are dropped, as by a server that restarts; then they are passed on.
    for _ in 0..2 {
        drop(listener.accept().await.unwrap());
    }
    let target = server.address;
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let mut to = tokio::net::TcpStream::connect(target).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
        }
    });
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn nodes_are_told_with_addresses_and_readiness() {
    let server = Server::start().await;
    server.state.register_node(&node("mini01", true));
    server.state.register_node(&Node { control_plane: false, ..node("mini02", false) });
    let nodes = server.client().nodes().await.unwrap();
    let told: Vec<_> =
        nodes.iter().map(|node| (node.name.as_str(), node.ready, node.control_plane)).collect();
    assert_eq!(told, [("mini01", true, true), ("mini02", false, false)]);
    assert_eq!(nodes[0].addresses, node("mini01", true).addresses);
}
