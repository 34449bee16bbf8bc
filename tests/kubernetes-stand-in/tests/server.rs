#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on
//! The stand-in by the API server's rules.

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use http_body_util::BodyExt as _;
use kubernetes_stand_in::{Node, State, router};
use serde_json::{Value, json};
use tower::ServiceExt as _;

async fn send(router: &Router, request: Request<Body>) -> (StatusCode, Value) {
    let answer = router.clone().oneshot(request).await.unwrap();
    let code = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body))))
}

async fn get(router: &Router, path: &str) -> (StatusCode, Value) {
    send(router, Request::get(path).body(Body::empty()).unwrap()).await
}

async fn apply(router: &Router, path: &str, query: &str, object: &Value) -> (StatusCode, Value) {
    let request = Request::patch(format!("{path}?{query}"))
        .header("content-type", "application/apply-patch+yaml")
        .body(Body::from(object.to_string()))
        .unwrap();
    send(router, request).await
}

const MAP: &str = "/api/v1/namespaces/default/configmaps/c";

fn map(data: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c" }, "data": data })
}

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/app";

fn deployment(containers: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "app" },
        "spec": {
            "selector": { "matchLabels": { "app": "app" } },
            "template": { "metadata": { "labels": { "app": "app" } }, "spec": { "containers": containers } },
        },
    })
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

/// The `fieldsV1` of a manager.
fn fields(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    entries
        .iter()
        .find(|entry| entry["manager"] == manager)
        .map_or(Value::Null, |entry| entry["fieldsV1"].clone())
}

#[tokio::test]
async fn the_same_apply_twice_changes_nothing() {
    let state = State::new();
    let router = router(state.clone());
    let (code, first) = apply(&router, MAP, "fieldManager=ichord", &map(&json!({ "a": "1" }))).await;
    assert_eq!(code, StatusCode::CREATED);
    assert_eq!(fields(&first, "ichord"), json!({ "f:data": { "f:a": {} } }));
    let (code, second) = apply(&router, MAP, "fieldManager=ichord", &map(&json!({ "a": "1" }))).await;
    assert_eq!((code, &second), (StatusCode::OK, &first));
    let (_, read) = get(&router, MAP).await;
    assert_eq!(read, first);
    let counters = state.counters();
    assert_eq!((counters.created, counters.changed, counters.unchanged, counters.reads), (1, 0, 1, 1));
    assert_eq!(counters.mutations(), 1);
}

#[tokio::test]
async fn a_changed_value_moves_the_version_and_a_dropped_field_goes_away() {
    let router = router(State::new());
    let (_, first) = apply(&router, MAP, "fieldManager=ichord", &map(&json!({ "a": "1", "b": "2" }))).await;
    let (_, second) = apply(&router, MAP, "fieldManager=ichord", &map(&json!({ "a": "3" }))).await;
    assert!(version(&second) > version(&first));
    assert_eq!(second["data"], json!({ "a": "3" }));
    assert_eq!(second["metadata"]["uid"], first["metadata"]["uid"]);
    // Without any data the mapping itself goes.
    let (_, third) = apply(&router, MAP, "fieldManager=ichord", &map(&Value::Null)).await;
    assert_eq!(third["data"], Value::Null);
}

#[tokio::test]
async fn another_managers_field_is_refused_with_its_name_shared_when_equal_and_taken_by_force() {
    let state = State::new();
    let router = router(state.clone());
    apply(&router, MAP, "fieldManager=flux", &map(&json!({ "a": "1", "b": "1" }))).await;
    let before = get(&router, MAP).await;

    let (code, status) = apply(&router, MAP, "fieldManager=ichord", &map(&json!({ "a": "2" }))).await;
    assert_eq!(code, StatusCode::CONFLICT);
    assert_eq!(status["message"], "Apply failed with 1 conflict: conflict with \"flux\": .data.a");
    assert_eq!(
        status["details"]["causes"],
        json!([{ "reason": "FieldManagerConflict", "message": "conflict with \"flux\"", "field": ".data.a" }])
    );
    let (_, status) = apply(&router, MAP, "fieldManager=ichord", &map(&json!({ "a": "2", "b": "2" }))).await;
    assert_eq!(
        status["message"],
        "Apply failed with 2 conflicts: conflicts with \"flux\":\n- .data.a\n- .data.b"
    );
    assert_eq!(get(&router, MAP).await, before, "a refused apply leaves no trace");
    assert_eq!(state.counters().conflicts, 2);

    // An equal value is shared; what both have stays when one gives it up.
    let (code, shared) = apply(&router, MAP, "fieldManager=ichord", &map(&json!({ "a": "1" }))).await;
    assert_eq!((code, fields(&shared, "ichord")), (StatusCode::OK, json!({ "f:data": { "f:a": {} } })));
    let (_, given_up) = apply(&router, MAP, "fieldManager=flux", &map(&json!({ "b": "1" }))).await;
    assert_eq!(given_up["data"], json!({ "a": "1", "b": "1" }));

    let both = map(&json!({ "a": "1", "b": "9" }));
    let (code, forced) = apply(&router, MAP, "fieldManager=ichord&force=true", &both).await;
    assert_eq!((code, &forced["data"]["b"]), (StatusCode::OK, &json!("9")));
    assert_eq!(fields(&forced, "flux"), Value::Null, "flux had only b, and lost it");
}

#[tokio::test]
async fn containers_are_merged_by_name_and_their_lists_as_a_whole() {
    let router = router(State::new());
    let ours = deployment(&json!([
        { "name": "app", "image": "app:1", "args": ["a", "b"], "ports": [{ "containerPort": 80 }] },
    ]));
    let (code, created) = apply(&router, DEPLOYMENT, "fieldManager=ichord", &ours).await;
    assert_eq!(code, StatusCode::CREATED, "{created}");
    assert_eq!(
        fields(&created, "ichord")["f:spec"],
        json!({
            "f:selector": {},
            "f:template": {
                "f:metadata": { "f:labels": { "f:app": {} } },
                "f:spec": { "f:containers": { "k:{\"name\":\"app\"}": {
                    ".": {}, "f:args": {}, "f:image": {}, "f:name": {},
                    "f:ports": { "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": { ".": {}, "f:containerPort": {} } },
                } } },
            },
        })
    );

    // A sidecar by somebody else, who names neither our container nor its fields.
    let mut theirs = deployment(&json!([{ "name": "sidecar", "image": "sidecar:1" }]));
    let (code, merged) = apply(&router, DEPLOYMENT, "fieldManager=mesh", &theirs).await;
    assert_eq!(code, StatusCode::OK, "{merged}");
    let names = |object: &Value| -> Vec<String> {
        let containers = object["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        containers.iter().map(|container| container["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&merged), ["app", "sidecar"]);
    assert_eq!(merged["metadata"]["generation"], 2);

    // Our next version of the image does not touch it.
    let mut next = ours.clone();
    next["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:2");
    let (_, updated) = apply(&router, DEPLOYMENT, "fieldManager=ichord", &next).await;
    assert_eq!(names(&updated), ["app", "sidecar"]);
    assert_eq!(updated["spec"]["template"]["spec"]["containers"][0]["image"], "app:2");

    // The image of ours is a conflict for them, under the path people know; so is a selector, as a whole.
    theirs["spec"]["template"]["spec"]["containers"] = json!([{ "name": "app", "image": "evil" }]);
    let (_, status) = apply(&router, DEPLOYMENT, "fieldManager=mesh", &theirs).await;
    assert_eq!(
        status["message"],
        "Apply failed with 1 conflict: conflict with \"ichord\": .spec.template.spec.containers[name=\"app\"].image"
    );
    theirs["spec"]["selector"] = json!({ "matchLabels": { "app": "other" } });
    let (_, status) = apply(&router, DEPLOYMENT, "fieldManager=other", &theirs).await;
    assert!(status["message"].as_str().unwrap().contains("- .spec.selector\n"), "{status}");
}

#[tokio::test]
async fn a_dry_run_answers_as_if_and_stores_nothing() {
    let state = State::new();
    let router = router(state.clone());
    let (code, object) =
        apply(&router, MAP, "fieldManager=ichord&dryRun=All", &map(&json!({ "a": "1" }))).await;
    assert_eq!((code, &object["data"]["a"]), (StatusCode::CREATED, &json!("1")));
    assert_eq!(get(&router, MAP).await.0, StatusCode::NOT_FOUND);
    let (_, before) = apply(&router, MAP, "fieldManager=ichord", &map(&json!({ "a": "1" }))).await;
    let (_, object) = apply(&router, MAP, "fieldManager=ichord&dryRun=All", &map(&json!({ "a": "2" }))).await;
    assert_eq!((version(&object), &object["data"]["a"]), (version(&before), &json!("2")));
    assert_eq!(get(&router, MAP).await.1, before);
    assert_eq!((state.counters().dry_runs, state.counters().mutations()), (2, 1));
}

#[tokio::test]
async fn a_kind_exists_once_its_definition_is_established() {
    let state = State::new();
    let router = router(state.clone());
    let path = "/apis/example.org/v1/widgets/w";
    let widget = json!({ "apiVersion": "example.org/v1", "kind": "Widget", "metadata": { "name": "w" },
        "spec": { "parts": [{ "id": 1, "of": "a" }], "tags": ["x"] } });
    let (code, status) = apply(&router, path, "fieldManager=ichord", &widget).await;
    let message = "the server could not find the requested resource";
    assert_eq!((code, &status["message"]), (StatusCode::NOT_FOUND, &json!(message)));

    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "widgets.example.org" },
        "spec": {
            "group": "example.org", "scope": "Cluster",
            "names": { "kind": "Widget", "plural": "widgets", "singular": "widget" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                "type": "object",
                "properties": { "spec": { "type": "object", "properties": { "parts": {
                    "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                    "items": { "type": "object" },
                } } } },
            } } }],
        },
    });
    let path_crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.org";
    let (code, created) = apply(&router, path_crd, "fieldManager=ichord", &crd).await;
    assert_eq!(
        (code, &created["status"]),
        (StatusCode::CREATED, &Value::Null),
        "not established in the same breath"
    );
    let (_, resources) = get(&router, "/apis/example.org/v1").await;
    assert_eq!(resources["resources"][0]["kind"], "Widget");

    let (code, created) = apply(&router, path, "fieldManager=ichord", &widget).await;
    assert_eq!(code, StatusCode::CREATED, "{created}");
    assert_eq!(
        fields(&created, "ichord"),
        json!({ "f:spec": { "f:parts": { "k:{\"id\":1}": { ".": {}, "f:id": {}, "f:of": {} } }, "f:tags": {} } })
    );
}

#[tokio::test]
async fn workloads_become_ready_after_the_request_and_only_with_nodes() {
    let state = State::new();
    let router = router(state.clone());
    let app = deployment(&json!([{ "name": "app", "image": "a" }]));
    let (_, created) = apply(&router, DEPLOYMENT, "fieldManager=ichord", &app).await;
    assert_eq!(created["status"], Value::Null);
    assert_eq!(get(&router, DEPLOYMENT).await.1["status"]["conditions"][0]["status"], "False", "no node yet");
    let addresses = vec!["172.29.51.11".parse().unwrap()];
    let node = Node {
        name: "mini01".to_owned(),
        addresses,
        control_plane: true,
        ready: true,
        boot_id: "b".to_owned(),
    };
    state.register_node(&node);
    state.hold("Deployment", "default", "app");
    assert_eq!(get(&router, DEPLOYMENT).await.1["status"]["conditions"][0]["status"], "False", "held");
    state.release("Deployment", "default", "app");
    let ready = get(&router, DEPLOYMENT).await.1;
    assert_eq!(ready["status"]["conditions"][0]["status"], "True");
    assert_eq!(get(&router, DEPLOYMENT).await.1, ready, "and then nothing moves any more");

    let (_, nodes) = get(&router, "/api/v1/nodes").await;
    let address = json!({ "type": "InternalIP", "address": "172.29.51.11" });
    assert_eq!(nodes["items"][0]["status"]["addresses"][0], address);
    let at = version(&nodes["items"][0]);
    state.register_node(&node);
    assert_eq!(version(&get(&router, "/api/v1/nodes/mini01").await.1), at, "the same again is no change");
    state.remove_node("mini01");
    assert_eq!(get(&router, "/api/v1/nodes/mini01").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_the_api_server_refuses_is_refused_in_its_words() {
    let state = State::new();
    let router = router(state.clone());
    let good = map(&json!({ "a": "1" }));
    let with = |pointer: &str, value: Value| {
        let mut object = good.clone();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[field] = value;
        object
    };
    let default = "fieldManager=ichord";
    for (path, query, object, code, says) in [
        (MAP, "", good.clone(), 422, "fieldManager: Required value"),
        (MAP, "fieldManager=ichord&dryRun=yes", good.clone(), 422, "Unsupported value"),
        (MAP, default, with("/metadata/name", json!("other")), 400, "does not match the name on the URL"),
        (MAP, default, with("/metadata/namespace", json!("other")), 400, "does not match the namespace"),
        (MAP, default, with("/metadata/managedFields", json!([{}])), 400, "managedFields must be nil"),
        (MAP, default, with("/metadata/resourceVersion", json!("9999")), 409, "the object has been modified"),
        (MAP, default, with("/kind", json!("Secret")), 400, "invalid object type"),
        (
            MAP,
            default,
            with("/data/a", json!(1)),
            500,
            ".data.a: expected string, got &value.valueUnstructured{Value:1}",
        ),
        (
            "/api/v1/namespaces/absent/configmaps/c",
            default,
            good.clone(),
            404,
            "namespaces \"absent\" not found",
        ),
        (
            "/api/v1/namespaces/default/nothings/p",
            default,
            good.clone(),
            404,
            "could not find the requested resource",
        ),
        ("/api/v1/configmaps/c", default, good.clone(), 404, "could not find the requested resource"),
        (DEPLOYMENT, default, deployment(&json!([])), 422, "spec.template.spec.containers: Required value"),
        (
            DEPLOYMENT,
            default,
            deployment(&json!([{ "name": "a", "env": [{ "name": "X" }, { "name": "X" }] }])),
            500,
            "containers[name=\"a\"].env: duplicate entries for key [name=\"X\"]",
        ),
        (DEPLOYMENT, default, deployment(&json!([{ "image": "a" }])), 500, "omits key field \"name\""),
    ] {
        let (found, status) = apply(&router, path, query, &object).await;
        let message = status["message"].as_str().unwrap();
        assert!(found.as_u16() == code && message.contains(says), "{path}: {found} {message}");
        assert_eq!((&status["kind"], &status["code"]), (&json!("Status"), &json!(code)));
    }
    assert_eq!(state.counters().mutations(), 0);

    apply(&router, DEPLOYMENT, default, &deployment(&json!([{ "name": "a" }]))).await;
    let mut other = deployment(&json!([{ "name": "a" }]));
    for pointer in ["/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
        *other.pointer_mut(pointer).unwrap() = json!({ "app": "other" });
    }
    let (code, status) = apply(&router, DEPLOYMENT, default, &other).await;
    assert_eq!(code.as_u16(), 422);
    assert!(status["message"].as_str().unwrap().contains("field is immutable"), "{status}");

    let (code, _) = send(&router, Request::delete(MAP).body(Body::empty()).unwrap()).await;
    assert_eq!(code, StatusCode::METHOD_NOT_ALLOWED);
    let (code, _) =
        send(&router, Request::patch(format!("{MAP}?{default}")).body(Body::from("{}")).unwrap()).await;
    assert_eq!(code, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn health_version_and_lists() {
    let state = State::new();
    let router = router(state.clone());
    assert_eq!(get(&router, "/readyz").await, (StatusCode::OK, json!("ok")));
    state.set_ready(false);
    assert_eq!(get(&router, "/readyz").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(get(&router, "/livez").await.0, StatusCode::OK);
    state.set_version("v1.35.4");
    let (_, version) = get(&router, "/version").await;
    assert_eq!((&version["gitVersion"], &version["minor"]), (&json!("v1.35.4"), &json!("35")));

    let mut labelled = map(&json!({}));
    labelled["metadata"]["labels"] = json!({ "app": "x" });
    apply(&router, MAP, "fieldManager=ichord", &labelled).await;
    for (path, count) in [
        ("/api/v1/namespaces", 4),
        ("/api/v1/configmaps", 1),
        ("/api/v1/namespaces/default/configmaps", 1),
        ("/api/v1/namespaces/kube-system/configmaps", 0),
        ("/api/v1/configmaps?labelSelector=app%3Dx", 1),
        ("/api/v1/configmaps?labelSelector=app%3Dy", 0),
    ] {
        let (code, list) = get(&router, path).await;
        assert_eq!((code, list["items"].as_array().unwrap().len()), (StatusCode::OK, count), "{path}");
    }
    assert_eq!(get(&router, "/api/v1/configmaps?watch=true").await.0, StatusCode::BAD_REQUEST);
    let clusters =
        [State::new(), State::new()].map(|state| state.object("Namespace", "", "kube-system").unwrap());
    assert_ne!(clusters[0]["metadata"]["uid"], clusters[1]["metadata"]["uid"]);
}

#[tokio::test]
async fn a_body_may_be_yaml_and_string_data_becomes_data() {
    let router = router(State::new());
    let yaml = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\nstringData:\n  user: admin\n";
    let request = Request::patch("/api/v1/namespaces/default/secrets/s?fieldManager=ichord")
        .header("content-type", "application/apply-patch+yaml")
        .body(Body::from(yaml))
        .unwrap();
    let (code, secret) = send(&router, request).await;
    assert_eq!(code, StatusCode::CREATED, "{secret}");
    assert_eq!((&secret["data"], &secret["stringData"]), (&json!({ "user": "YWRtaW4=" }), &Value::Null));
}

#[tokio::test]
async fn there_is_a_network_when_what_brings_one_runs() {
    let state = State::new();
    let agent = |volume: &str| {
        json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "agent", "namespace": "kube-system" },
            "spec": { "selector": { "matchLabels": { "app": "agent" } }, "template": {
                "metadata": { "labels": { "app": "agent" } }, "spec": { "hostNetwork": true,
                "tolerations": [{ "operator": "Exists" }], "containers": [{ "name": "agent", "image": "agent" }],
                "volumes": [{ "name": "v", "hostPath": { "path": volume } }] } } } })
    };
    state.apply_as("test", &agent("/run/proxy")).unwrap();
    let node = |name: &str| Node {
        name: name.to_owned(),
        addresses: vec![[10, 0, 0, 1].into()],
        control_plane: false,
        ready: false,
        boot_id: "b".to_owned(),
    };
    state.register_node(&node("a"));
    assert!(!state.has_network(), "a proxy brings none");
    state.apply_as("test", &agent("/etc/cni/net.d")).unwrap();
    assert!(state.has_network());
    state.hold("DaemonSet", "kube-system", "agent");
    assert!(!state.has_network(), "its pods do not run");
    state.release("DaemonSet", "kube-system", "agent");
    state.remove_node("a");
    assert!(!state.has_network(), "there is nowhere to run");
}
