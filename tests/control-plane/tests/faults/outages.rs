//! What goes away in the middle: the API server while a step waits, a node that reboots, and a node that is emptied.

use std::time::Duration;

use control_plane::{ControlPlane, Controllers, Hands, packs};
use handover::{Check, Pace, Step, run_step};
use kubernetes::{DrainError, Patience};
use serde_json::{Value, json};

/// Longer than anything here takes on a busy machine.
const PACE: Pace = Pace { poll: Duration::from_millis(200), timeout: Duration::from_secs(240) };

const PATIENCE: Patience = Patience { poll: Duration::from_millis(200), timeout: Duration::from_secs(240) };

fn step(objects: &[Value]) -> Step {
    let text = packs::manifest(objects);
    Step { pace: PACE, ..Step::parse("outage", &[("outage.yaml".to_owned(), text)]).unwrap() }
}

fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })
}

async fn network(hands: &Hands, node: &str, state: &str) {
    let state = json!({ "metadata": { "annotations": { "test/network": state } } });
    hands.merge(&format!("/api/v1/nodes/{node}"), &state).await.unwrap();
}

pub(crate) async fn is_ready(hands: &Hands, node: &str) -> bool {
    let node = hands.get(&format!("/api/v1/nodes/{node}")).await.unwrap_or_default();
    let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// The step waits for pods, the API server is killed and comes back, and then the pods come: the same run ends well.
pub(crate) async fn the_api_server_restarts_while_a_step_waits(
    plane: &mut ControlPlane,
    controllers: &mut Controllers,
) {
    let client = plane.client().unwrap();
    let mut pods = packs::deployment("late", "outage", &json!({ "app": "late" }), "late.test/late:1");
    pods["spec"]["template"]["metadata"]["annotations"] = json!({ "test/reason": "ContainerCreating" });
    let step = step(&[namespace("outage"), pods]);
    let running = tokio::spawn(async move { run_step(&client, &step).await });
    let hands = plane.hands();
    let path = "/apis/apps/v1/namespaces/outage/deployments/late";
    let written = async || (hands.get(path).await.ok()?["status"]["replicas"] == 1).then_some(());
    controllers.until("the pods of the step", written).await.unwrap();
    plane.kill_apiserver();
    plane.start_apiserver().await.unwrap();
    assert!(!running.is_finished(), "an API server that is away does not end a step that waits");
    let well = json!([{ "op": "remove", "path": "/spec/template/metadata/annotations" }]);
    let sent = hands.send("PATCH", path, "application/json-patch+json", well.to_string()).await.unwrap();
    assert_eq!(sent.0, 200, "{}", sent.1);
    let outcome = running.await.unwrap().unwrap();
    assert_eq!(outcome.mutations, 2, "{:?}", outcome.objects);
}

/// One node gets its network while another reboots; the step ends when both are back.
pub(crate) async fn a_node_reboots_while_a_step_waits_for_all(
    plane: &ControlPlane,
    controllers: &mut Controllers,
) {
    let (client, hands) = (plane.client().unwrap(), plane.hands());
    let mut step = Step::empty("nodes");
    step.pace = PACE;
    step.check = Some(Check::Nodes { names: ["bare", "worker1"].map(str::to_owned).into(), families: 1 });
    let running = tokio::spawn(async move { run_step(&client, &step).await });
    let down = async || (!is_ready(&hands, "worker1").await).then_some(());
    network(&hands, "worker1", "down").await;
    controllers.until("worker1 going down", down).await.unwrap();
    network(&hands, "bare", "up").await;
    let up = async || is_ready(&hands, "bare").await.then_some(());
    controllers.until("the network of bare", up).await.unwrap();
    assert!(!running.is_finished(), "a node is down");
    network(&hands, "worker1", "up").await;
    running.await.unwrap().unwrap();
    assert!(is_ready(&hands, "worker1").await);
}

/// Evictions by the real API server and its budgets.
pub(crate) async fn a_node_is_emptied_and_what_keeps_it_from_that_is_told(
    plane: &ControlPlane,
    controllers: &mut Controllers,
) {
    let (client, hands) = (plane.client().unwrap(), plane.hands());
    let selector = json!({ "app": "many" });
    let mut pods = packs::deployment("many", "drained", &selector, "many.test/many:1");
    pods["spec"]["replicas"] = json!(6);
    let budget = |least: u32| {
        json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": { "name": "many", "namespace": "drained" },
        "spec": { "minAvailable": least, "selector": { "matchLabels": selector } } })
    };
    run_step(&client, &step(&[namespace("drained"), pods, budget(6)])).await.unwrap();
    let path = "/apis/policy/v1/namespaces/drained/poddisruptionbudgets/many";
    let counted = async || (hands.get(path).await.ok()?["status"]["currentHealthy"] == 6).then_some(());
    controllers.until("the budget", counted).await.unwrap();

    // a budget that never allows it: the drain ends, and names the pods and the budget
    let short = Patience { timeout: Duration::from_secs(2), ..PATIENCE };
    let error = client.drain("worker2", short).await.unwrap_err();
    let shown = error.to_string();
    let DrainError::Late { left, .. } = error else { panic!("{shown}") };
    assert!(left.keys().any(|(namespace, _)| namespace == "drained"), "{shown}");
    assert!(shown.contains("The disruption budget many needs 6 healthy pods"), "{shown}");
    let node = async |name: &str| hands.get(&format!("/api/v1/nodes/{name}")).await.unwrap();
    assert_eq!(node("worker2").await["spec"]["unschedulable"], true);

    // one that allows a few at a time
    run_step(&client, &step(&[budget(4)])).await.unwrap();
    assert!(client.drain("worker2", PATIENCE).await.unwrap() > 0);
    let left =
        hands.get("/api/v1/namespaces/drained/pods?fieldSelector=spec.nodeName%3Dworker2").await.unwrap();
    assert_eq!(left["items"], json!([]));
    client.cordon("worker2", false).await.unwrap();
    assert!(node("worker2").await["spec"]["unschedulable"] != true);

    // what nobody would start anew is told before anything is done
    let alone = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "alone" },
        "spec": { "nodeName": "worker1", "containers": [{ "name": "a", "image": "a.test/a:1" }] } });
    hands.create("/api/v1/namespaces/drained/pods", &alone).await.unwrap();
    let error = client.drain("worker1", PATIENCE).await.unwrap_err();
    assert!(
        matches!(&error, DrainError::Unmanaged { pods, .. } if pods == &[("drained".to_owned(), "alone".to_owned())]),
        "{error}"
    );
    assert!(node("worker1").await["spec"]["unschedulable"] != true);
}
