//! A step whose daemon is killed after any single request goes on from there, and writes everything once.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use control_plane::{Cluster, ControlPlane, Proxy, Until, packs};
use handover::{
    Pace, Step, StepRelease,
    helm::{Chart, Identity, Record},
    run_step, verify,
};
use kubernetes::{ApplyError, Client, ObjectId};
use serde_json::{Map, Value};

const PACE: Pace = Pace { poll: Duration::from_millis(50), timeout: Duration::from_secs(600) };

/// What the steps that are read are called; none is sent as it.
const NAME: &str = "name-to-be";

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

fn small() -> Step {
    let text = SMALL.replace("apiVersion: example.org", "apiVersion: NAME.example.org");
    step(&text.replace("NAME", NAME))
}

/// The step under another name. Reading two megabytes anew for each kill would take longer than everything else.
fn named(template: &Step, name: &str) -> Step {
    let mut step = Step { name: name.to_owned(), ..template.clone() };
    for manifest in &mut step.manifests {
        rename(&mut manifest.object, name);
        manifest.id = ObjectId::try_from(&manifest.object).unwrap();
    }
    if let Some(release) = &mut step.release {
        release.identity = Identity::of("small", name);
    }
    step
}

fn rename(value: &mut Value, name: &str) {
    match value {
        Value::String(text) if text.contains(NAME) => *text = text.replace(NAME, name),
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, name)),
        Value::Object(entries) => entries.values_mut().for_each(|entry| rename(entry, name)),
        _ => {}
    }
}

/// What External Secrets brings, in kind and size, without the pods that nobody runs here.
fn large() -> Step {
    let name = NAME;
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
    step(&(namespace + &packs::manifest(&objects)))
}

fn step(text: &str) -> Step {
    let step = Step::parse(NAME, &[("step.yaml".to_owned(), text.to_owned())]).unwrap();
    let chart = Chart { name: "small".to_owned(), version: "1.0.0".to_owned(), app_version: "1".to_owned() };
    let release = StepRelease { identity: Identity::of("small", NAME), chart, values: Map::new() };
    Step { pace: PACE, ..step.into_release(release).unwrap() }
}

/// The version of each object that is there, and of the release's record.
async fn versions(client: &Client, step: &Step) -> BTreeMap<ObjectId, String> {
    let record = ObjectId {
        api_version: "v1".to_owned(),
        kind: "Secret".to_owned(),
        namespace: Some(step.name.clone()),
        name: "sh.helm.release.v1.small.v1".to_owned(),
    };
    let mut versions = BTreeMap::new();
    'ids: for id in step.manifests.iter().map(|manifest| &manifest.id).chain([&record]) {
        let object = loop {
            match client.object(id).await {
                Ok(Some(object)) => break object,
                Ok(None) | Err(ApplyError::UnknownKind { .. }) => continue 'ids,
                Err(error) if error.transient() => {}
                Err(error) => panic!("{error}"),
            }
        };
        // a definition's and a namespace's status is written by the server itself
        let version = match id.kind.as_str() {
            "CustomResourceDefinition" => &object["metadata"]["generation"],
            "Namespace" => &object["metadata"]["uid"],
            _ => &object["metadata"]["resourceVersion"],
        };
        versions.insert(id.clone(), version.to_string());
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

/// A server that has defined and forgotten so many times is started anew: it keeps something of each.
const WORN: usize = 20;

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

/// One life of a daemon, which is killed at a request; tells whether it came to the step's end before, and what it did.
async fn life(plane: &ControlPlane, step: &Step, until: Until, done: bool) -> (bool, (usize, usize)) {
    loop {
        let proxy = Proxy::start(plane, until, done).await.unwrap();
        let hasty = proxy.client(plane).unwrap();
        let outcome = tokio::select! {
            biased;
            // dropped where it stands, as a killed process is
            () = proxy.cut() => return (false, proxy.passed()),
            outcome = run_step(&hasty, step) => outcome,
        };
        match outcome {
            Ok(_) => return (true, proxy.passed()),
            // the server was busy for too long: this one was not killed where it should be
            Err(error) if error.transient() => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// What was there before is as it was.
fn untouched(before: &BTreeMap<ObjectId, String>, after: &BTreeMap<ObjectId, String>, when: &str) {
    for (id, version) in before {
        assert_eq!(after.get(id), Some(version), "{id} was written twice, {when}");
    }
}

/// Everything is there and ready, and a second run has nothing to write.
async fn whole(client: &Client, step: &Step, when: &str) {
    assert_eq!(versions(client, step).await.len(), step.manifests.len() + 1, "{when}");
    let verified = verify(client, step).await;
    assert!(verified.healthy(), "{when}: {verified:?}");
    let records = client.list("v1", "Secret", Some(&step.name), "owner=helm,name=small").await.unwrap();
    let states: Vec<_> = records.iter().map(|secret| Record::read(secret).unwrap().status).collect();
    assert_eq!(states, ["deployed"], "{when}");
}

/// Kills a run at each of its points and lets the next one go to the end, each time with everything new. The request at which
/// it is killed is done or not (`done`) and never answered. Tells how many kills there were.
async fn each(
    plane: &mut ControlPlane,
    template: &Step,
    prefix: &str,
    until: impl Fn(usize) -> Until,
    done: bool,
) -> usize {
    let client = plane.client().unwrap();
    for kills in 0.. {
        let step = named(template, &format!("{prefix}{kills}"));
        let (finished, _) = life(plane, &step, until(kills), done).await;
        let when = format!("after the kill at {:?}", until(kills));
        let before = versions(&client, &step).await;
        to_its_end(&client, &step).await;
        untouched(&before, &versions(&client, &step).await, &when);
        whole(&client, &step, &when).await;
        forget(plane, &step).await;
        if finished {
            return kills;
        }
        if kills % WORN == WORN - 1 {
            println!("{prefix}: {} kills so far", kills + 1);
            plane.kill_apiserver();
            plane.start_apiserver().await.unwrap();
        }
    }
    unreachable!()
}

/// Kills one daemon after the other on the same cluster: each gets one request further than the one before it, and goes on from
/// what that one left. So every request of every length of a run is the last one once. Tells how many kills there were.
async fn one_after_the_other(plane: &ControlPlane, template: &Step, name: &str, done: bool) -> usize {
    let client = plane.client().unwrap();
    let step = named(template, name);
    let mut before = BTreeMap::new();
    for requests in 0.. {
        let (finished, _) = life(plane, &step, Until::Requests(requests), done).await;
        let after = versions(&client, &step).await;
        let when = format!("by the life of {requests} requests");
        untouched(&before, &after, &when);
        before = after;
        if requests % WORN == WORN - 1 {
            println!("{name}: {} kills so far, {} objects there", requests + 1, before.len());
        }
        if finished {
            whole(&client, &step, &when).await;
            forget(plane, &step).await;
            return requests;
        }
    }
    unreachable!()
}

pub(crate) async fn a_step_killed_after_any_request_goes_on_and_writes_everything_once(
    plane: &mut ControlPlane,
) {
    let requests = each(plane, &small(), "done-", Until::Requests, true).await;
    assert!(requests > 25, "{requests}");
    println!("a small step was killed after each of {requests} requests");
}

/// The same without the last request, and in full size, on a server of its own that only this is asked of.
///
/// In full size a run is killed in two ways. At each of its writes, done and not answered, each time with everything new, and the
/// next one goes to the end: between two writes the cluster stays as it is, so these are all the states that a kill can leave. And
/// at each request, one life after the other on the same cluster, once with the last request done and once without it.
pub(crate) async fn so_does_one_of_full_size(program: &Path) {
    let arguments = ["--watch-cache=false", "--etcd-compaction-interval=30s"].map(str::to_owned);
    let cluster = Cluster { arguments: arguments.into(), ..Cluster::default() };
    let mut plane = ControlPlane::start_for(program, &cluster).await.unwrap();
    each(&mut plane, &small(), "lost-", Until::Requests, false).await;

    let (large, begun) = (large(), Instant::now());
    let step = named(&large, "whole");
    let (finished, (requests, writes)) = life(&plane, &step, Until::Requests(usize::MAX), true).await;
    assert!(finished && writes == step.manifests.len() + 1, "{writes} writes in {requests} requests");
    forget(&plane, &step).await;
    println!("a step of External Secrets' size takes {requests} requests, {writes} of them writes");

    for (name, done) in [("answer-lost", true), ("request-lost", false)] {
        let kills = one_after_the_other(&plane, &large, name, done).await;
        assert!(kills > 100, "{kills}");
        println!("it was killed after each of {kills} requests, one life after the other ({name})");
    }
    let kills = each(&mut plane, &large, "write", Until::Writes, true).await;
    assert_eq!(kills, writes, "a kill at each write");
    println!(
        "and at each of {kills} writes, each time with everything new; {} s in all",
        begun.elapsed().as_secs()
    );
}
