//! The hand-over on a real API server: many objects written and looked at again, and what the steps take by themselves.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use control_plane::{ControlPlane, packs, program};
use handover::{Pace, Step, run_step};
use kubernetes::Client;
use serde_json::{Value, json};

use crate::{
    measure::{Limit, Measure},
    memory::Watch,
};

pub(crate) const NAME: &str = "handover";
pub(crate) const ABOUT: &str =
    "writes 500 objects to a real API server, and goes through steps that are done";

const OBJECTS: usize = 500;

/// Of the clock: most of it is the API server's own work.
const WRITTEN: f64 = 10.0;

/// What all steps of the founding order may take where there is nothing to wait for.
const OVERHEAD: f64 = 2.0;

/// Of this process, which has all the steps and their texts at once.
const MEGABYTES: f64 = 100.0;

const PACE: Pace = Pace { poll: Duration::from_millis(50), timeout: Duration::from_secs(300) };

pub(crate) fn run() -> anyhow::Result<Vec<Measure>> {
    let program =
        program()?.context("the control plane is not built: cargo run -p oracles -- control-plane")?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let plane = ControlPlane::start(&program).await?;
        let client = plane.client()?;
        let memory = Watch::begin();
        let many = step("many", &many())?;
        let first = timed(&client, &many, OBJECTS + 1).await?;
        let again = timed(&client, &many, 0).await?;

        let mut steps = Vec::new();
        for (name, objects) in founding() {
            steps.push(step(name, &objects)?);
        }
        for step in &steps {
            timed(&client, step, step.manifests.len()).await?;
        }
        let mut overhead = 0.0;
        for step in &steps {
            overhead += timed(&client, step, 0).await?;
        }
        let memory = memory.end()?;
        let objects: usize = steps.iter().map(|step| step.manifests.len()).sum();
        let bare = |what, value, unit| Measure { what, value, unit, limit: Limit::None };
        Ok(vec![
            Measure { limit: Limit::Below(WRITTEN), ..bare("500 objects written", first, "s") },
            bare("looked at again", again, "s"),
            bare("objects of the founding steps", objects as f64, ""),
            Measure { limit: Limit::Below(OVERHEAD), ..bare("those steps, all done", overhead, "s") },
            Measure { limit: Limit::Below(MEGABYTES), ..bare("private memory, at most", memory, "MB") },
        ])
    })
}

fn step(name: &str, objects: &[Value]) -> anyhow::Result<Step> {
    let step = Step::parse(name, &[(format!("{name}.yaml"), packs::manifest(objects))])
        .map_err(|findings| anyhow::anyhow!("{findings}"))?;
    Ok(Step { pace: PACE, ..step })
}

/// Runs a step that must write this many objects; tells the seconds.
async fn timed(client: &Client, step: &Step, writes: usize) -> anyhow::Result<f64> {
    let began = Instant::now();
    let outcome = run_step(client, step).await?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(outcome.mutations == writes, "{}: {} objects were written", step.name, outcome.mutations);
    Ok(seconds)
}

/// Objects as repositories have them, in one namespace.
fn many() -> Vec<Value> {
    let mut objects =
        vec![json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "many" } })];
    for number in 0..OBJECTS {
        let metadata = json!({ "name": format!("object-{number}"), "namespace": "many" });
        objects.push(match number % 5 {
            0 | 1 => json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "a": "b".repeat(500) } }),
            2 => json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": { "a": "YQ==" } }),
            3 => json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }),
            _ => json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata,
                "rules": [{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"] }] }),
        });
    }
    objects
}

/// What the steps bring, without pods and without what waits for them: nothing runs here.
fn founding() -> Vec<(&'static str, Vec<Value>)> {
    let waits = ["Deployment", "DaemonSet", "ValidatingWebhookConfiguration"];
    let quiet = |objects: Vec<Value>| -> Vec<Value> {
        objects.into_iter().filter(|object| !waits.iter().any(|kind| object["kind"] == *kind)).collect()
    };
    let spaces = ["external-secrets", "onepassword-connect"];
    let spaces =
        spaces.map(|name| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }));
    let secrets =
        [packs::external_secrets_definitions(packs::Size::Full, ""), packs::external_secrets()].concat();
    vec![
        ("cilium", quiet(packs::cilium())),
        ("namespaces", spaces.to_vec()),
        ("external-secrets", quiet(secrets)),
        ("onepassword-connect", quiet(packs::connect())),
        ("flux", quiet(packs::flux())),
    ]
}
