#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on
//! Steps against the stand-in over real TLS.

#[path = "../../kubernetes/tests/server/mod.rs"]
mod server;

use std::time::Duration;

use handover::{
    Cause, Check, Owner, Pace, Step, StepRelease, changes,
    helm::{Chart, Identity, Record},
    run_step, verify,
};
use kubernetes::{Access, ApplyError, Client, Outcome};
use kubernetes_stand_in::Node;
use serde_json::{Value, json};
use server::Server;

const QUICK: Pace = Pace { poll: Duration::from_millis(5), timeout: Duration::from_secs(20) };

/// An operator as people ship it, with the order wrong on purpose: the object before its definition, a Secret
/// after the pods that need it, and everything before the namespace.
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
        boot_id: "b".to_owned(),
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
            "Secret widgets/token created",
            "Deployment widgets/operator created",
            "Widget widgets/first created",
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
    server.state.apply_as("someone", &deployment).unwrap();

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
    assert!(shown.contains(".spec.replicas of someone"), "{shown}");
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

fn release() -> StepRelease {
    StepRelease {
        identity: Identity::of("operator", "widgets"),
        chart: Chart {
            name: "operator".to_owned(),
            version: "1.0.0".to_owned(),
            app_version: "1".to_owned(),
        },
        values: serde_json::Map::new(),
    }
}

#[tokio::test]
async fn a_step_in_place_of_a_chart_leaves_helms_marks_and_its_record_once() {
    let server = server_with_node().await;
    let client = server.client();
    let test_pod = "\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: check, annotations: {helm.sh/hook: test}}\n\
                    ---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";
    let step = step(&(OPERATOR.to_owned() + test_pod)).into_release(release()).unwrap();
    let first = run_step(&client, &step).await.unwrap();
    let told: Vec<String> = first.objects.iter().map(ToString::to_string).collect();
    assert_eq!(told.last().unwrap(), "Secret widgets/sh.helm.release.v1.operator.v1 created");
    assert!(!told.iter().any(|line| line.contains("check")), "{told:?}");
    let secret = server.state.object("Secret", "widgets", "sh.helm.release.v1.operator.v1").unwrap();
    let record = Record::read(&secret).unwrap();
    assert_eq!((record.revision, record.status.as_str()), (1, "deployed"));
    // What the chart left without a namespace goes into the release's.
    let map = server.state.object("ConfigMap", "widgets", "c").unwrap();
    assert_eq!(map["metadata"]["annotations"]["meta.helm.sh/release-name"], "operator");

    let before = versions(&server);
    let second = run_step(&client, &step).await.unwrap();
    assert_eq!(second.mutations, 0, "{:?}", second.objects);
    let verified = verify(&client, &step).await;
    assert!(verified.healthy(), "{verified:?}");
    assert_eq!(versions(&server), before);
}

#[tokio::test]
async fn a_hook_that_would_have_to_run_is_refused() {
    let text =
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j, annotations: {helm.sh/hook: pre-install}}\n";
    let error = step(text).into_release(release()).unwrap_err();
    assert!(error.iter().any(|finding| finding.to_string().contains("Job j is a hook (pre-install)")));
}

#[tokio::test]
async fn the_record_is_left_only_when_everything_is_ready() {
    let server = server_with_node().await;
    server.state.hold("Deployment", "widgets", "operator");
    let mut step = step(OPERATOR).into_release(release()).unwrap();
    step.pace.timeout = Duration::from_millis(100);
    run_step(&server.client(), &step).await.unwrap_err();
    assert!(server.state.object("Secret", "widgets", "sh.helm.release.v1.operator.v1").is_none());
}

#[tokio::test]
async fn what_flux_has_adopted_is_looked_at_and_never_written() {
    let server = server_with_node().await;
    let client = server.client();
    let step_one = step(OPERATOR).into_release(release()).unwrap();
    run_step(&client, &step_one).await.unwrap();
    // Flux goes on with another image, and takes the object over.
    let deployment = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "operator",
        "namespace": "widgets", "labels": { "helm.toolkit.fluxcd.io/name": "operator", "helm.toolkit.fluxcd.io/namespace": "widgets" } } });
    server.state.apply_as("helm-controller", &deployment).unwrap();
    let before = versions(&server);
    let changed = step(&OPERATOR.replace("operator:1", "operator:2")).into_release(release()).unwrap();
    let outcome = run_step(&client, &changed).await.unwrap();
    let told: Vec<String> = outcome.objects.iter().map(ToString::to_string).collect();
    assert!(
        told.contains(&"Deployment widgets/operator left to HelmRelease widgets/operator".to_owned()),
        "{told:?}"
    );
    assert_eq!((outcome.mutations, versions(&server)), (0, before));
}

#[tokio::test]
async fn verify_tells_what_a_run_would_do_and_writes_nothing() {
    let server = server_with_node().await;
    let client = server.client();
    let step_one = step(OPERATOR).into_release(release()).unwrap();
    let nothing = verify(&client, &step_one).await;
    assert_eq!(
        (nothing.mutations(), nothing.faults.len()),
        (6, 0),
        "five objects and the record: {nothing:?}"
    );
    assert_eq!(server.state.counters().mutations(), 0);

    run_step(&client, &step_one).await.unwrap();
    server.state.hold("Deployment", "widgets", "operator");
    let changed = step(&OPERATOR.replace("size: 3", "size: 4")).into_release(release()).unwrap();
    let verified = verify(&client, &changed).await;
    let told: Vec<String> = verified.objects.iter().map(ToString::to_string).collect();
    assert_eq!(verified.mutations(), 1);
    assert!(told.contains(&"Widget widgets/first changed (.spec.size)".to_owned()), "{told:?}");
    assert_eq!(verified.faults.len(), 1);
    assert!(verified.faults[0].to_string().contains("Deployment widgets/operator"));
    assert_eq!(server.state.counters().mutations(), 6);
}

/// Faults as a cluster shows them: what is put there, and the failure that is found.
#[tokio::test]
async fn a_step_without_objects_waits_for_every_node() {
    let server = server_with_node().await;
    let name = "mini01".to_owned();
    let nodes = |names: Vec<String>| {
        let mut step = Step::empty("nodes");
        step.pace = Pace { poll: Duration::from_millis(5), timeout: Duration::from_millis(50) };
        step.check = Some(Check::Nodes { names, families: 1 });
        step.origin = ("ichord.yaml".to_owned(), 7);
        step
    };
    assert_eq!(run_step(&server.client(), &nodes(vec![name.clone()])).await.unwrap().mutations, 0);
    let missing = nodes(vec![name, "mini09".to_owned()]);
    let told = run_step(&server.client(), &missing).await.unwrap_err().to_string();
    assert!(
        told.contains("ichord.yaml:7: Node mini09") && told.contains("has not registered itself"),
        "{told}"
    );
    let verified = verify(&server.client(), &missing).await;
    assert_eq!((verified.mutations(), verified.faults.len()), (0, 1));
}

#[tokio::test]
async fn what_is_to_stay_ours_and_flux_manages_is_refused() {
    let server = server_with_node().await;
    let step = step(OPERATOR);
    run_step(&server.client(), &step).await.unwrap();
    let labelled = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "token", "namespace": "widgets",
        "labels": { "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system" } } });
    server.state.apply_as("kustomize-controller", &labelled).unwrap();
    assert_eq!(run_step(&server.client(), &step).await.unwrap().mutations, 0, "Git's by default");
    let ours = Step { owner: Owner::Us, ..step };
    let told = run_step(&server.client(), &ours).await.unwrap_err().to_string();
    assert!(told.contains("Kustomization flux-system/apps manages it as well"), "{told}");
    assert!(told.contains("`owner: git`"), "{told}");
}

#[tokio::test]
async fn a_wait_that_runs_out_tells_the_cause_and_a_remedy() {
    let pod = |statuses: Value, conditions: Value| {
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "operator-1", "namespace": "widgets", "labels": { "app": "operator" } },
            "status": { "phase": "Pending", "containerStatuses": statuses, "conditions": conditions } })
    };
    let waiting = |reason: &str, message: &str| json!([{ "name": "operator", "ready": false, "restartCount": 2, "state": { "waiting": { "reason": reason, "message": message } } }]);
    let event = |about: &str, reason: &str, message: &str| {
        json!({ "apiVersion": "v1", "kind": "Event", "metadata": { "name": "e", "namespace": "widgets" }, "type": "Warning",
            "involvedObject": { "name": about }, "reason": reason, "message": message })
    };
    let unschedulable = |message: &str| json!([{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message }]);
    let crash = || waiting("CrashLoopBackOff", "back-off 5m0s restarting failed container");
    for (put, log, failure) in [
        (pod(waiting("ImagePullBackOff", "Back-off pulling image"), json!([])), "", "image"),
        (
            pod(waiting("ErrImagePull", "toomanyrequests: You have reached your pull rate limit"), json!([])),
            "",
            "rate-limit",
        ),
        (
            pod(waiting("ErrImagePull", "dial tcp: lookup example.org: no such host"), json!([])),
            "",
            "registry-name",
        ),
        (
            pod(
                json!([]),
                unschedulable(
                    "0/3 nodes are available: untolerated taint {node-role.kubernetes.io/control-plane: }",
                ),
            ),
            "",
            "taint",
        ),
        (
            pod(
                json!([]),
                unschedulable("0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules"),
            ),
            "",
            "anti-affinity",
        ),
        (pod(json!([]), unschedulable("0/3 nodes are available: 3 Insufficient cpu")), "", "resources"),
        (
            event(
                "operator-5d",
                "FailedCreate",
                "pods is forbidden: violates PodSecurity \"baseline:latest\"",
            ),
            "",
            "pod-security",
        ),
        (event("operator-1", "FailedMount", "x509: failed calling webhook \"validate\""), "", "webhook"),
        (event("operator-1", "NetworkNotReady", "cni plugin not initialized"), "", "no-network"),
        (pod(crash(), json!([])), "", "crash"),
        (pod(crash(), json!([])), "dial tcp 127.0.0.1:7445: connect: connection refused", "kubeprism"),
        (pod(crash(), json!([])), "required IPv6 PodCIDR not available", "pod-cidr"),
        (pod(crash(), json!([])), "unable to apply caps: operation not permitted", "capability"),
        (pod(crash(), json!([])), "credentials file is not version 2", "connect-version"),
        (pod(crash(), json!([])), "failed to FindCredentialsUniqueKey", "connect-token"),
        (pod(crash(), json!([])), "illegal base64 data at input byte 0", "connect-encoding"),
        (pod(crash(), json!([])), "read udp 10.0.0.1->169.254.116.108:53: i/o timeout", "dns-to-host"),
        (pod(crash(), json!([])), "Get https://172.29.51.10:6443: context deadline exceeded", "endpoint"),
        (pod(crash(), json!([])), "no matches for kind \"Widget\"", "no-kind"),
        (
            pod(
                json!([{ "name": "operator", "ready": false, "state": { "terminated": { "reason": "OOMKilled", "exitCode": 137 } } }]),
                json!([]),
            ),
            "",
            "out-of-memory",
        ),
    ] {
        let server = server_with_node().await;
        server.state.hold("Deployment", "widgets", "operator");
        server.state.put(&put);
        if !log.is_empty() {
            server.state.set_log("widgets", "operator-1", &format!("level=info msg=starting\n{log}\n"));
        }
        let mut late = step(OPERATOR);
        late.pace.timeout = Duration::from_millis(20);
        let error = run_step(&server.client(), &late).await.unwrap_err();
        let diagnosis = error.diagnosis.as_ref().unwrap_or_else(|| panic!("{failure}: {:?}", error.evidence));
        assert_eq!(diagnosis.failure, failure, "{:?}", error.evidence);
        let shown = error.to_string();
        assert!(shown.contains(diagnosis.cause) && shown.contains(diagnosis.remedy), "{shown}");
    }
}

/// As Talos brings its own CoreDNS before a chart of that name comes.
const DNS: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: coredns, namespace: kube-system}
spec:
  selector: {matchLabels: {k8s-app: kube-dns}}
  template:
    metadata: {labels: {k8s-app: kube-dns}}
    spec: {containers: [{name: coredns, image: 'example.org/coredns:1'}]}
";

#[tokio::test]
async fn what_nobody_can_change_is_refused_with_both_values_before_anything_is_written() {
    let server = server_with_node().await;
    let client = server.client();
    run_step(&client, &step(&format!("{DNS}---\n{OPERATOR}"))).await.unwrap();
    let before = (versions(&server), server.state.counters().mutations());

    // the chart's own selector; and in an earlier phase and in the same one there is something to write
    let new = DNS.replace("k8s-app: kube-dns", "app.kubernetes.io/instance: coredns");
    let more = OPERATOR.replace("metadata: {name: widgets}", "metadata: {name: widgets, labels: {a: b}}");
    let wanted = step(&format!("{new}---\n{}", more.replace("operator:1", "operator:2")));
    let error = run_step(&client, &wanted).await.unwrap_err();
    assert!(!error.transient());
    let told = error.to_string();
    assert!(
        told.contains(
            r#"Deployment kube-system/coredns: what cannot be changed differs: .spec.selector is {"matchLabels":{"k8s-app":"kube-dns"}}, and {"matchLabels":{"app.kubernetes.io/instance":"coredns"}} is wanted; render it as it is there"#
        ),
        "{told}"
    );
    assert_eq!((versions(&server), server.state.counters().mutations()), before, "nothing was written");
    let verified = verify(&client, &wanted).await;
    assert!(
        verified.faults.iter().any(|fault| matches!(fault.cause, Cause::Fixed(_))),
        "{:?}",
        verified.faults
    );

    // once Flux has it, it is Flux's matter
    let mut live = server.state.object("Deployment", "kube-system", "coredns").unwrap();
    live["metadata"]["labels"]["helm.toolkit.fluxcd.io/name"] = json!("coredns");
    live["metadata"]["labels"]["helm.toolkit.fluxcd.io/namespace"] = json!("kube-system");
    server.state.put(&live);
    run_step(&client, &step(&new)).await.unwrap();
}

#[tokio::test]
async fn what_is_made_once_is_made_where_it_is_missing_and_never_changed() {
    let server = server_with_node().await;
    let client = server.client();
    let made = |value: &str| {
        let secret = handover::secret(
            "made",
            "kube-system",
            "Opaque",
            &vec![("tls.key".to_owned(), value.to_owned().into())],
        );
        let mut step = step(OPERATOR);
        step.add_once(secret, "ichord.yaml", 7).unwrap();
        step
    };
    assert_eq!(run_step(&client, &made("first")).await.unwrap().mutations, 6);
    let before = versions(&server);
    // another life makes another one, and keeps it to itself
    let second = run_step(&client, &made("second")).await.unwrap();
    assert_eq!((second.mutations, second.objects.len()), (0, 6));
    assert_eq!(verify(&client, &made("third")).await.mutations(), 0);
    assert_eq!(versions(&server), before);
    assert_eq!(made("first").digest(), made("second").digest());
}

#[tokio::test]
async fn a_plan_tells_each_field_of_ours_and_an_apply_writes_just_those() {
    let server = server_with_node().await;
    let client = server.client();
    let text = |mode: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings, namespace: kube-system}}\ndata: {{mode: {mode}, same: x}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: other, namespace: kube-system}}\ndata: {{a: b}}\n"
        )
    };
    let ours = |mode: &str, secret: &str| {
        let mut step = step(&text(mode));
        step.owner = Owner::Us;
        step.origin = ("ichord.yaml".to_owned(), 3);
        let data = vec![("token".to_owned(), secret.to_owned().into())];
        step.add(handover::secret("token", "kube-system", "Opaque", &data), "ichord.yaml", 5).unwrap();
        step
    };
    run_step(&client, &ours("tunnel", "hunter2")).await.unwrap();
    let before = versions(&server);
    assert_eq!(changes(&client, &ours("tunnel", "hunter2"), b"key").await.objects, []);

    let wanted = ours("native", "hunter3");
    let found = changes(&client, &wanted, b"key").await;
    assert!(found.faults.is_empty(), "{:?}", found.faults);
    let told: Vec<String> = found.objects.iter().map(ToString::to_string).collect();
    assert_eq!(
        told[0],
        "bootstrap ConfigMap kube-system/settings\n            .data.mode: \"tunnel\" → \"native\""
    );
    assert!(
        told[1].starts_with("bootstrap Secret kube-system/token\n            .data.token: hash "),
        "{}",
        told[1]
    );
    assert!(!told[1].contains("hunter") && !told[1].contains("aHVudGVy"), "{}", told[1]);
    let hashes: Vec<&str> = told[1].split("hash ").skip(1).collect();
    assert_ne!(hashes[0].trim_end_matches(" → "), hashes[1], "another value has another hash");
    assert_eq!(versions(&server), before, "a plan writes nothing");

    // as Git owns a step, only the Secret that the site itself names is ours
    let mut of_git = wanted.clone();
    of_git.owner = Owner::Git;
    let kinds: Vec<String> =
        of_git.owned().unwrap().manifests.iter().map(|manifest| manifest.id.kind.clone()).collect();
    assert_eq!(kinds, ["Secret"]);
    assert!(step(OPERATOR).owned().is_none(), "a Secret in a file is the file's");
    assert_eq!(run_step(&client, &of_git.owned().unwrap()).await.unwrap().mutations, 1);
    assert_eq!(run_step(&client, &wanted).await.unwrap().mutations, 1);
    assert_eq!(changes(&client, &wanted, b"key").await.objects, []);

    // what Flux has adopted is shown, and is Git's
    let mut live = server.state.object("ConfigMap", "kube-system", "settings").unwrap();
    live["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/name"] = json!("apps");
    live["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/namespace"] = json!("flux-system");
    server.state.put(&live);
    let found = changes(&client, &ours("tunnel", "hunter3"), b"key").await;
    let told = found.objects[0].to_string();
    assert!(
        told.starts_with("git       ConfigMap kube-system/settings (of ") && told.contains("by a commit"),
        "{told}"
    );
}
