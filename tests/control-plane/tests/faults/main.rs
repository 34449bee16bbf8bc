#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on
//! Faults that people meet, made in a real cluster: a step that runs out of time or is refused tells the right cause.
//!
//! What the API server, the controllers and the scheduler say about them is their own; what kubelets and operators would
//! say is put into the status of pods (by kwok) and of objects.

mod cases;
mod outages;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use cases::Case;
use control_plane::{ControlPlane, Controllers, Hands, program};
use handover::{Pace, Step, StepError, run_step};
use kubernetes::Client;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

/// Long enough for most; a case that is not that far says nothing wrong, and its step is run again.
const PACE: Pace = Pace { poll: Duration::from_millis(200), timeout: Duration::from_secs(4) };

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

#[tokio::test]
async fn every_fault_is_told_with_its_cause_and_outages_are_outlived() {
    let Some(program) = program().unwrap() else {
        eprintln!("skipped: the control plane is not built; tests/run handover builds it");
        return;
    };
    if !Controllers::is_built().unwrap() {
        eprintln!("skipped: kwok is not built; tests/run handover builds it");
        return;
    }
    let mut plane = ControlPlane::start(&program).await.unwrap();
    let mut controllers = Controllers::start(&plane).unwrap();
    let hands = plane.hands();
    for (name, network) in [("cp1", "up"), ("worker1", "up"), ("worker2", "up"), ("bare", "down")] {
        hands.register(name, "192.0.2.1", name == "cp1").await.unwrap();
        let network = serde_json::json!({ "metadata": { "annotations": { "test/network": network } } });
        hands.merge(&format!("/api/v1/nodes/{name}"), &network).await.unwrap();
    }
    let taint = serde_json::json!({ "spec": { "taints": [{ "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule" }] } });
    hands.merge("/api/v1/nodes/cp1", &taint).await.unwrap();

    // while a node is not ready no pod is put there, and the scheduler's word for that would stay
    let waiting = async || {
        let nodes = hands.get("/api/v1/nodes").await.ok()?;
        let taints = |node: &serde_json::Value| node["spec"]["taints"].as_array().map_or(0, Vec::len);
        let count = |name: &str| {
            let mut nodes = nodes["items"].as_array().into_iter().flatten();
            nodes.find(|node| node["metadata"]["name"] == name).map_or(usize::MAX, taints)
        };
        (count("worker1") == 0 && count("worker2") == 0 && count("cp1") <= 1).then_some(())
    };
    controllers.until("nodes that take pods", waiting).await.unwrap();
    for node in ["cp1", "worker1", "worker2"] {
        controllers
            .until("a node's network", async || outages::is_ready(&hands, node).await.then_some(()))
            .await
            .unwrap();
    }

    let cases = cases::all();
    let failures: BTreeSet<&str> = cases.iter().map(|case| case.failure).collect();
    assert!(failures.len() >= 20, "{failures:?}");
    for object in cases::definitions() {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        hands.create(path, &object).await.unwrap();
    }
    let (admin, nobody) = (plane.client().unwrap(), plane.client_of("nobody", "people").unwrap());
    let mut running = JoinSet::new();
    for (index, case) in cases.into_iter().enumerate() {
        let client = if case.failure == "forbidden" { nobody.clone() } else { admin.clone() };
        let (hands, case) = (hands.clone(), Arc::new(case));
        running.spawn(async move {
            let told = timeout(PATIENCE, told(&client, &hands, &case, &format!("case-{index}"))).await;
            told.unwrap_or_else(|_| panic!("{}: the cause was not found", case.failure));
        });
    }
    running.join_all().await;
    outages::a_node_reboots_while_a_step_waits_for_all(&plane, &mut controllers).await;
    outages::a_node_is_emptied_and_what_keeps_it_from_that_is_told(&plane, &mut controllers).await;
    outages::the_api_server_restarts_while_a_step_waits(&mut plane, &mut controllers).await;
}

/// Runs the case's step until its cause is told; another one is wrong.
async fn told(client: &Client, hands: &Hands, case: &Case, namespace: &str) {
    let began = Instant::now();
    case.prepare(hands, namespace).await;
    let mut step = Step::parse(namespace, &[("step.yaml".to_owned(), case.manifest(namespace))]).unwrap();
    step.pace = PACE;
    step.check = case.check.clone();
    loop {
        let error: StepError = run_step(client, &step).await.expect_err(case.failure);
        match error.diagnosis.as_ref() {
            Some(diagnosis) if diagnosis.failure == case.failure => {
                let shown = error.to_string();
                assert!(shown.contains(diagnosis.cause) && shown.contains(diagnosis.remedy), "{shown}");
                println!(
                    "{:<16} {:>5.1} s  {}",
                    case.failure,
                    began.elapsed().as_secs_f64(),
                    diagnosis.evidence
                );
                return;
            }
            None => {}
            Some(other) => {
                panic!(
                    "{}: taken for {}: {error}\n{}",
                    case.failure,
                    other.failure,
                    error.evidence.join("\n")
                )
            }
        }
        case.say(hands, namespace).await;
    }
}
