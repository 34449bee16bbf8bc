//! A step whose daemon is killed after any single request goes on from there, and writes everything once.

use std::{path::Path, time::Duration};

use control_plane::{Cluster, ControlPlane, Proxy, packs};
use handover::{
    Pace, Step, StepRelease,
    helm::{Chart, Identity, Record},
    run_step, verify,
};
use kubernetes::{Client, ObjectId};
use serde_json::{Map, Value};

const PACE: Pace = Pace { poll: Duration::from_millis(50), timeout: Duration::from_secs(120) };

/// One of every phase, in wrong order, with everything that the server completes.
const SMALL: &str = "
apiVersion: example.org/v1
kind: Store
metadata: {name: main, namespace: NAME}
spec: {size: 3}
---
apiVersion: v1
kind: Secret
metadata: {name: token, namespace: NAME}
stringData: {token: hunter2}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NAME}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: stores.NAME.example.org}
spec:
  group: NAME.example.org
  scope: Namespaced
  names: {kind: Store, plural: stores, singular: store, listKind: StoreList}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
---
apiVersion: v1
kind: Namespace
metadata: {name: NAME}
";

fn small(name: &str) -> Step {
    step(
        name,
        &SMALL
            .replace("apiVersion: example.org", &format!("apiVersion: {name}.example.org"))
            .replace("NAME", name),
    )
}

/// What External Secrets brings, in kind and size, without the pods that nobody runs here.
fn large(name: &str) -> Step {
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n");
    let mut objects = packs::external_secrets_definitions(packs::Size::Full, name);
    for mut object in packs::external_secrets() {
        match object["kind"].as_str() {
            Some("Deployment" | "ValidatingWebhookConfiguration") => continue,
            Some("ClusterRole" | "ClusterRoleBinding") => {
                let own = format!("{}-{name}", object["metadata"]["name"].as_str().unwrap());
                object["metadata"]["name"] = Value::from(own.clone());
                if object["kind"] == "ClusterRoleBinding" {
                    object["roleRef"]["name"] = Value::from(own);
                }
            }
            _ => object["metadata"]["namespace"] = Value::from(name),
        }
        objects.push(object);
    }
    step(name, &(namespace + &packs::manifest(&objects)))
}

fn step(name: &str, text: &str) -> Step {
    let step = Step::parse(name, &[(format!("{name}.yaml"), text.to_owned())]).unwrap();
    let chart = Chart { name: "small".to_owned(), version: "1.0.0".to_owned(), app_version: "1".to_owned() };
    let release = StepRelease { identity: Identity::of("small", name), chart, values: Map::new() };
    Step { pace: PACE, ..step.into_release(release).unwrap() }
}

/// The version of each object that is there, and of the release's record.
async fn versions(client: &Client, step: &Step) -> Vec<(ObjectId, String)> {
    let record = ObjectId {
        api_version: "v1".to_owned(),
        kind: "Secret".to_owned(),
        namespace: Some(step.name.clone()),
        name: "sh.helm.release.v1.small.v1".to_owned(),
    };
    let mut versions = Vec::new();
    for id in step.manifests.iter().map(|manifest| &manifest.id).chain([&record]) {
        // what its kind does not define yet is not there
        let Ok(Some(object)) = client.object(id).await else { continue };
        // a definition's and a namespace's status is written by the server itself
        let version = match id.kind.as_str() {
            "CustomResourceDefinition" => &object["metadata"]["generation"],
            "Namespace" => &object["metadata"]["uid"],
            _ => &object["metadata"]["resourceVersion"],
        };
        versions.push((id.clone(), version.to_string()));
    }
    versions
}

/// Takes the definitions away: a server with thousands of them does nothing else any more.
async fn forget(plane: &ControlPlane, step: &Step) {
    let definitions = step.manifests.iter().filter(|manifest| manifest.id.kind == "CustomResourceDefinition");
    for definition in definitions {
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{}", definition.id.name);
        let (code, answer) = plane.send("DELETE", &path, "application/json", String::new()).await.unwrap();
        assert_eq!(code, 200, "{answer}");
    }
}

/// A server that has defined and forgotten so many kinds is started anew: it keeps something of each.
const WORN: usize = 40;

/// Goes on as the daemon does: a server that is busy for longer than a request may take is asked again.
async fn to_its_end(client: &Client, step: &Step) {
    loop {
        match run_step(client, step).await {
            Ok(_) => return,
            Err(error) if error.transient() => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Kills a run after each request, the last of which is done or not (`done`); tells how many there were.
async fn each(plane: &mut ControlPlane, make: impl Fn(&str) -> Step, prefix: &str, done: bool) -> usize {
    let client = plane.client().unwrap();
    let proxy = Proxy::start(plane).await.unwrap();
    for requests in 0.. {
        let step = make(&format!("{prefix}{requests}"));
        let hasty = proxy.client(plane).unwrap();
        proxy.cut_after(requests, done);
        let finished = tokio::select! {
            biased;
            outcome = run_step(&hasty, &step) => { outcome.unwrap(); true }
            // dropped where it stands, as a killed process is
            () = proxy.cut() => false,
        };
        let before = versions(&client, &step).await;
        to_its_end(&client, &step).await;
        let after = versions(&client, &step).await;
        assert_eq!(after.len(), step.manifests.len() + 1);
        for (id, version) in &before {
            let now = after.iter().find(|(other, _)| other == id).map(|(_, version)| version);
            assert_eq!(now, Some(version), "{id} was written twice after {requests} requests");
        }
        let verified = verify(&client, &step).await;
        assert!(verified.healthy(), "after {requests} requests: {verified:?}");
        let records = client.list("v1", "Secret", Some(&step.name), "owner=helm,name=small").await.unwrap();
        let states: Vec<_> = records.iter().map(|secret| Record::read(secret).unwrap().status).collect();
        assert_eq!(states, ["deployed"], "after {requests} requests");
        forget(plane, &step).await;
        if finished {
            return requests;
        }
        if requests % WORN == WORN - 1 {
            println!("{prefix}: {requests} so far");
            plane.kill_apiserver();
            plane.start_apiserver().await.unwrap();
        }
    }
    unreachable!()
}

pub(crate) async fn a_step_killed_after_any_request_goes_on_and_writes_everything_once(
    plane: &mut ControlPlane,
) {
    let requests = each(plane, small, "done-", true).await;
    assert!(requests > 25, "{requests}");
    println!("a small step was killed after each of {requests} requests");
}

/// The same without the last request, and in full size, on a server of its own that only this is asked of.
pub(crate) async fn so_does_one_of_full_size(program: &Path) {
    let arguments = ["--watch-cache=false", "--etcd-compaction-interval=30s"].map(str::to_owned);
    let cluster = Cluster { arguments: arguments.into(), ..Cluster::default() };
    let mut plane = ControlPlane::start_for(program, &cluster).await.unwrap();
    each(&mut plane, small, "lost-", false).await;
    let requests = each(&mut plane, large, "large", true).await;
    println!("a step of External Secrets' size was killed after each of {requests} requests");
}
