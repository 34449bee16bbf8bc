#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on
//! Steps against the stand-in over real TLS.

#[path = "../../kubernetes/tests/server/mod.rs"]
mod server;

use std::time::Duration;

use handover::{Cause, Pace, Step, run_step};
use kubernetes::{Access, ApplyError, Client, Outcome};
use kubernetes_stand_in::Node;
use serde_json::{Value, json};
use server::Server;

const QUICK: Pace = Pace { poll: Duration::from_millis(5), timeout: Duration::from_secs(20) };

/// An operator as people ship it, with the order wrong on purpose: the object before its definition, and
/// everything before the namespace.
const OPERATOR: &str = r"
apiVersion: example.org/v1
kind: Widget
metadata:
  name: first
  namespace: widgets
spec: {size: 3}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: operator
  namespace: widgets
spec:
  replicas: 2
  selector: {matchLabels: {app: operator}}
  template:
    metadata: {labels: {app: operator}}
    spec:
      containers:
        - {name: operator, image: 'example.org/operator:1', ports: [{containerPort: 8080}]}
---
apiVersion: v1
kind: Secret
metadata: {name: token, namespace: widgets, creationTimestamp: null}
stringData: {token: hunter2}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {kind: Widget, plural: widgets, singular: widget}
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
status: {conditions: []}
---
apiVersion: v1
kind: Namespace
metadata: {name: widgets}
";

fn step(text: &str) -> Step {
    let files = [("handover/operator.yaml".to_owned(), text.to_owned())];
    let mut step = Step::parse("operator", &files).unwrap();
    step.pace = QUICK;
    step
}

async fn server_with_node() -> Server {
    let server = Server::start().await;
    let addresses = vec!["172.29.51.11".parse().unwrap()];
    server.state.register_node(&Node {
        name: "mini01".to_owned(),
        addresses,
        control_plane: true,
        ready: true,
    });
    server
}

/// Every object's name and resource version.
fn versions(server: &Server) -> Vec<(Value, Value)> {
    let objects = server.state.objects();
    objects
        .iter()
        .map(|object| (object["metadata"]["name"].clone(), object["metadata"]["resourceVersion"].clone()))
        .collect()
}

#[tokio::test]
async fn a_step_brings_its_objects_in_an_order_that_works_and_a_second_run_writes_nothing() {
    let server = server_with_node().await;
    let (client, step) = (server.client(), step(OPERATOR));
    let first = run_step(&client, &step).await.unwrap();
    let order: Vec<String> = first.objects.iter().map(ToString::to_string).collect();
    assert_eq!(
        order,
        [
            "Namespace widgets created",
            "CustomResourceDefinition widgets.example.org created",
            "Widget widgets/first created",
            "Deployment widgets/operator created",
            "Secret widgets/token created",
        ]
    );
    assert_eq!((first.mutations, server.state.counters().mutations()), (5, 5));
    let secret = server.state.object("Secret", "widgets", "token").unwrap();
    assert_eq!(secret["data"], json!({ "token": "aHVudGVyMg==" }));

    let before = versions(&server);
    let second = run_step(&client, &step).await.unwrap();
    assert!(second.objects.iter().all(|object| object.outcome == Outcome::Unchanged), "{:?}", second.objects);
    assert_eq!((second.mutations, server.state.counters().mutations()), (0, 5));
    assert_eq!(server.state.counters().unchanged, 0, "nothing but dry runs was sent");
    assert_eq!(versions(&server), before);
}

#[tokio::test]
async fn only_what_differs_is_written() {
    let server = server_with_node().await;
    let client = server.client();
    run_step(&client, &step(OPERATOR)).await.unwrap();
    let outcome = run_step(&client, &step(&OPERATOR.replace("operator:1", "operator:2"))).await.unwrap();
    assert_eq!(outcome.mutations, 1);
    let told: Vec<String> = outcome.objects.iter().map(ToString::to_string).collect();
    let expected = "Deployment widgets/operator changed (.spec.template.spec.containers[0].image)";
    assert!(told.iter().any(|line| line == expected), "{told:?}");
}

/// As a daemon is killed, or a control plane reboots: after some request nothing is answered any more. Once the
/// request that is cut off never arrives, once it is done and only its answer is lost.
async fn interrupted(lose_answer: bool) -> usize {
    for requests in 0.. {
        let server = server_with_node().await;
        let address = server.failing(requests, lose_answer).await;
        let client = Client::new(Access { address: Some(address), ..server.access() }).unwrap();
        let mut hasty = step(OPERATOR);
        // Waiting goes on while the server is away; this is not what is looked at here.
        hasty.pace.timeout = Duration::from_millis(20);
        let run = run_step(&client, &hasty).await;
        if let Err(error) = &run {
            assert!(error.transient(), "{error}");
        }
        run_step(&server.client(), &step(OPERATOR)).await.unwrap();
        assert_eq!(server.state.counters().mutations(), 5, "after {requests} requests");
        assert_eq!(run_step(&server.client(), &step(OPERATOR)).await.unwrap().mutations, 0);
        if run.is_ok() {
            return requests;
        }
    }
    unreachable!()
}

#[tokio::test]
async fn a_step_interrupted_at_any_request_goes_on_and_writes_everything_once() {
    assert!(interrupted(false).await > 15);
    assert!(interrupted(true).await > 15);
}

#[tokio::test]
async fn what_belongs_to_another_manager_stops_the_phase_before_anything_is_written() {
    let server = server_with_node().await;
    let client = server.client();
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "widgets" } });
    server.state.apply_as("kubectl", &namespace).unwrap();
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "operator", "namespace": "widgets" },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": { "app": "operator" } },
            "template": { "metadata": { "labels": { "app": "operator" } },
                "spec": { "containers": [{ "name": "operator", "image": "example.org/operator:1" }] } },
        },
    });
    server.state.apply_as("helm-controller", &deployment).unwrap();

    let error = run_step(&client, &step(OPERATOR)).await.unwrap_err();
    assert!(!error.transient());
    assert!(
        matches!(&error.faults[..], [one] if matches!(one.cause, Cause::Apply(ApplyError::Conflict { .. })))
    );
    let shown = error.to_string();
    assert!(
        shown.starts_with(
            "the hand-over step operator stopped\n  handover/operator.yaml:9: Deployment widgets/operator: "
        ),
        "{shown}"
    );
    assert!(shown.contains(".spec.replicas of helm-controller"), "{shown}");
    // The definition's phase was over; of the last phase nothing was written.
    assert!(server.state.object("CustomResourceDefinition", "", "widgets.example.org").is_some());
    assert!(server.state.object("Secret", "widgets", "token").is_none());
    assert_eq!(server.state.object("Deployment", "widgets", "operator").unwrap()["spec"]["replicas"], 1);
}

#[tokio::test]
async fn what_does_not_become_ready_is_told_with_its_reason_and_its_line() {
    let server = server_with_node().await;
    server.state.hold("Deployment", "widgets", "operator");
    let mut late = step(OPERATOR);
    late.pace.timeout = Duration::from_millis(200);
    let error = run_step(&server.client(), &late).await.unwrap_err();
    assert!(error.transient());
    let shown = error.to_string();
    assert!(shown.contains("handover/operator.yaml:9: Deployment widgets/operator: "), "{shown}");
    assert!(shown.contains("0 of 2 replicas are available"), "{shown}");
    assert!(shown.contains("`kubectl -n widgets describe deployment operator` tells more"), "{shown}");

    server.state.release("Deployment", "widgets", "operator");
    assert_eq!(run_step(&server.client(), &step(OPERATOR)).await.unwrap().mutations, 0);
}

#[tokio::test]
async fn every_object_that_is_refused_is_told_at_once() {
    let server = Server::start().await;
    let text = "apiVersion: example.org/v1\nkind: Gadget\nmetadata: {name: g}\n---\n\
                apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: absent}\n";
    let error = run_step(&server.client(), &step(text)).await.unwrap_err();
    let shown = error.to_string();
    assert!(
        shown.contains("operator.yaml:1: Gadget g: the API server knows no kind Gadget in example.org/v1"),
        "{shown}"
    );
    assert!(
        shown.contains("operator.yaml:5: ConfigMap absent/c: ") && shown.contains("its namespace must exist"),
        "{shown}"
    );
    assert!(!error.transient());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_tried_again_later() {
    let server = Server::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let client = Client::new(Access { address: Some(nobody), ..server.access() }).unwrap();
    let error = run_step(&client, &step(OPERATOR)).await.unwrap_err();
    assert!(error.transient(), "{error}");
    assert!(error.to_string().contains("https://cluster.test:6443 does not answer"), "{error}");
}
