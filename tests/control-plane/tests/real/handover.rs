//! A hand-over step on the real API server: twice, through an outage, and on to Helm's own upgrade.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use control_plane::ControlPlane;
use handover::{
    Cause, Pace, Step, StepRelease,
    helm::{Chart, Identity, Record},
    run_step, verify,
};
use kubernetes::{ApplyError, Claim, Client, ObjectId};
use oracles::{Judge, Tool};
use serde_json::{Map, Value, json};

/// As a chart is rendered, with everything in it that needs no controller to become ready.
const OBJECTS: &str = r"
apiVersion: external.example.org/v1
kind: Store
metadata: {name: main}
spec: {vaults: {Automation: 1}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {mode: kubernetes, 'yes': 'on'}
---
apiVersion: v1
kind: Secret
metadata: {name: token}
stringData: {token: hunter2}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: operator}
---
apiVersion: v1
kind: Service
metadata: {name: operator}
spec: {selector: {app: operator}, ports: [{name: https, port: 443, targetPort: 10250}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: operator}
subjects: [{kind: ServiceAccount, name: operator, namespace: external}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: operator}
rules: [{apiGroups: [''], resources: [secrets], verbs: [get]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: store-validate}
webhooks:
  - name: validate.external.example.org
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Ignore
    clientConfig: {service: {name: operator, namespace: external, path: /validate}}
    rules: [{apiGroups: [none.example.org], apiVersions: [v1], operations: [CREATE], resources: [things], scope: Cluster}]
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: stores.external.example.org}
spec:
  group: external.example.org
  scope: Cluster
  names: {kind: Store, plural: stores, singular: store, listKind: StoreList}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, properties: {vaults: {type: object, additionalProperties: {type: integer}}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: external}
";

const COUNT: usize = 10;

fn step(text: &str) -> Step {
    let step = Step::parse("external", &[("external.yaml".to_owned(), text.to_owned())]).unwrap();
    let release = StepRelease {
        identity: Identity::of("external", "external"),
        chart: Chart {
            name: "external".to_owned(),
            version: "1.0.0".to_owned(),
            app_version: "1".to_owned(),
        },
        values: Map::new(),
    };
    let mut step = step.into_release(release).unwrap();
    step.pace = Pace { poll: Duration::from_millis(100), timeout: Duration::from_secs(120) };
    step
}

async fn versions(client: &Client, step: &Step) -> Vec<(ObjectId, Value)> {
    let mut versions = Vec::new();
    for manifest in &step.manifests {
        let object = client.object(&manifest.id).await.unwrap().expect("it is there");
        versions.push((manifest.id.clone(), object["metadata"]["resourceVersion"].clone()));
    }
    versions
}

/// The records of the release, the oldest first.
async fn records(client: &Client) -> Vec<Record> {
    let secrets = client.list("v1", "Secret", Some("external"), "owner=helm,name=external").await.unwrap();
    let mut records: Vec<Record> = secrets.iter().map(|secret| Record::read(secret).unwrap()).collect();
    records.sort_by_key(|record| record.revision);
    records
}

pub(crate) async fn a_step_arrives_stays_and_goes_on_to_helm(plane: &mut ControlPlane) {
    let client = plane.client().unwrap();
    let step = step(OBJECTS);
    let nothing = verify(&client, &step).await;
    assert_eq!((nothing.mutations(), nothing.faults.len()), (COUNT + 1, 0), "{nothing:?}");

    // The API server goes away in the middle, and everything is written once all the same.
    let mut first = Step { release: None, ..step.clone() };
    first.manifests.retain(|manifest| {
        ["Namespace", "ServiceAccount", "ConfigMap", "ClusterRole"].contains(&manifest.id.kind.as_str())
    });
    run_step(&client, &first).await.unwrap();
    plane.kill_apiserver();
    let error = run_step(&client, &step).await.unwrap_err();
    assert!(error.transient(), "{error}");
    plane.start_apiserver().await.unwrap();
    let rest = run_step(&client, &step).await.unwrap();
    assert_eq!(rest.mutations, COUNT + 1 - 4, "{:#?}", rest.objects);

    let before = versions(&client, &step).await;
    let again = run_step(&client, &step).await.unwrap();
    assert_eq!(again.mutations, 0, "{:#?}", again.objects);
    let verified = verify(&client, &step).await;
    assert!(verified.healthy(), "{verified:#?}");
    assert_eq!(versions(&client, &step).await, before, "a second run moves no version");

    let changed = self::step(&OBJECTS.replace("mode: kubernetes", "mode: cluster-pool"));
    let outcome = run_step(&client, &changed).await.unwrap();
    let told: Vec<String> = (outcome.objects.iter().map(ToString::to_string))
        .filter(|line| !line.ends_with("unchanged"))
        .collect();
    assert_eq!(told, ["ConfigMap external/settings changed (.data.mode)"]);

    helm_goes_on(plane, &client).await;
}

/// Helm finds our record in the cluster, upgrades from it, and removes what the next chart has not any more, as
/// helm-controller does through the same code.
async fn helm_goes_on(plane: &ControlPlane, client: &Client) {
    let told: Vec<_> =
        records(client).await.iter().map(|record| (record.revision, record.status.clone())).collect();
    assert_eq!(told, [(1, "deployed".to_owned())]);

    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {mode: kubernetes, revision: {{ .Release.Revision | quote }}}\n";
    let question = json!({
        "ask": "upgrade", "name": "external", "namespace": "external", "kubeconfig": plane.kubeconfig().unwrap(), "values": {},
        "chart": { "metadata": { "name": "external", "version": "1.0.1", "apiVersion": "v2" },
            "templates": [{ "name": "templates/settings.yaml", "data": BASE64_STANDARD.encode(template) }] },
    });
    let answer = Judge::of(Tool::Helm, &[]).unwrap().ask(&question);
    assert_eq!(answer["error"], Value::Null, "{answer}");

    let told: Vec<_> = (records(client).await.iter())
        .map(|record| {
            (
                record.revision,
                record.status.clone(),
                record.chart.version.clone(),
                record.apply_method.clone(),
            )
        })
        .collect();
    let record = |revision, status: &str, version: &str| {
        (revision, status.to_owned(), version.to_owned(), "ssa".to_owned())
    };
    assert_eq!(told, [record(1, "superseded", "1.0.0"), record(2, "deployed", "1.0.1")]);
    let id = |kind: &str, name: &str, namespace: Option<&str>| ObjectId {
        api_version: "v1".to_owned(),
        kind: kind.to_owned(),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    };
    let settings = client.object(&id("ConfigMap", "settings", Some("external"))).await.unwrap().unwrap();
    assert_eq!(settings["data"]["revision"], "2");
    // It was in the record's manifest and is not in the new chart: so Helm knew what was there before.
    assert!(client.object(&id("ServiceAccount", "operator", Some("external"))).await.unwrap().is_none());
}

/// What cannot be changed, of each kind of which the server itself has the last word.
const FIXED: &str = r"
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: fixed}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: 'i:1', resources: {limits: {cpu: 1000m}}}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: fixed}
spec:
  replicas: 0
  selector: {matchLabels: {app: app}}
  template: {metadata: {labels: {app: app}}, spec: {containers: [{name: a, image: 'i:1'}]}}
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: fixed}
spec: {clusterIP: None, selector: {app: app}, ports: [{port: 80}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: app, namespace: fixed}
roleRef: {kind: Role, name: one, apiGroup: rbac.authorization.k8s.io}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: fixed}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1024Mi}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: fixed}
immutable: true
data: {a: b}
---
apiVersion: v1
kind: Namespace
metadata: {name: fixed}
";

pub(crate) async fn what_nobody_can_change_is_refused_before_anything_is_written(plane: &ControlPlane) {
    let client = plane.client().unwrap();
    let step = |text: &str| {
        let mut step = Step::parse("fixed", &[("fixed.yaml".to_owned(), text.to_owned())]).unwrap();
        step.pace = Pace { poll: Duration::from_millis(100), timeout: Duration::from_secs(120) };
        step
    };
    let first = step(FIXED);
    // nothing runs pods here, so that nobody waits for the job: the objects are there, and that is what matters
    let (namespaces, rest): (Vec<_>, Vec<_>) =
        first.manifests.iter().partition(|manifest| manifest.id.kind == "Namespace");
    for manifest in namespaces.into_iter().chain(rest) {
        client.apply(&manifest.object, false).await.unwrap();
    }
    let before = versions(&client, &first).await;
    let verified = verify(&client, &first).await;
    assert_eq!(verified.mutations(), 0, "{verified:?}");
    assert!(
        !verified.faults.iter().any(|fault| matches!(fault.cause, Cause::Fixed(_))),
        "{:?}",
        verified.faults
    );

    let other = FIXED
        .replace("image: 'i:1', resources", "image: 'i:2', resources")
        .replace("matchLabels: {app: app}", "matchLabels: {app: app, more: x}")
        .replace("labels: {app: app}}, spec", "labels: {app: app, more: x}}, spec")
        .replace("clusterIP: None", "clusterIP: 10.96.7.7")
        .replace("name: one", "name: two")
        .replace("ReadWriteOnce", "ReadWriteMany")
        .replace("data: {a: b}", "data: {a: c}")
        .replace("metadata: {name: fixed}", "metadata: {name: fixed, labels: {new: label}}");
    let error = run_step(&client, &step(&other)).await.unwrap_err().to_string();
    for said in [
        "Job fixed/once: what cannot be changed differs: .spec.template.spec.containers[0]",
        r#"Deployment fixed/app: what cannot be changed differs: .spec.selector is {"matchLabels":{"app":"app"}}"#,
        r#"Service fixed/headless: what cannot be changed differs: .spec.clusterIP is "None", and "10.96.7.7" is wanted"#,
        "RoleBinding fixed/app: what cannot be changed differs: .roleRef is",
        "PersistentVolumeClaim fixed/data: what cannot be changed differs: .spec.accessModes",
        "ConfigMap fixed/settings: what cannot be changed differs: .data is another one",
    ] {
        assert!(error.contains(said), "{said}: {error}");
    }
    assert_eq!(versions(&client, &first).await, before, "nothing was written");

    // the server would have refused each of them
    for manifest in step(&other).manifests.iter().filter(|manifest| manifest.id.kind != "Namespace") {
        let error = client.apply(&manifest.object, true).await.expect_err("it is immutable").to_string();
        assert!(error.contains("(status 422)"), "{}: {error}", manifest.id);
    }
}

pub(crate) async fn one_writes_at_a_time(plane: &ControlPlane) {
    let claim = |holder: &str, seconds| Claim {
        holder: holder.to_owned(),
        lasts: Duration::from_secs(seconds),
        ..Claim::of("test")
    };
    let map = |value: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "written", "namespace": "default" }, "data": { "by": value } });
    let client = plane.client().unwrap();
    let (first, second) = (client.alone(claim("first", 600)), client.alone(claim("second", 600)));
    first.apply(&map("first"), false).await.unwrap();
    let error = second.apply(&map("second"), false).await.expect_err("the first one writes").to_string();
    assert!(error.contains("another ichord writes to this cluster: first, since 20"), "{error}");
    first.give_back().await.unwrap();
    second.apply(&map("second"), false).await.unwrap();
    second.give_back().await.unwrap();

    // one that dies with the claim in its hand
    let dying = client.alone(claim("dying", 1));
    dying.apply(&map("dying"), false).await.unwrap();
    drop(dying);
    while let Err(error) = first.apply(&map("heir"), false).await {
        assert!(matches!(error, ApplyError::Held(_)), "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    first.give_back().await.unwrap();
}
