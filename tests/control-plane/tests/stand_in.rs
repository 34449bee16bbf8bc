#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on
//! The stand-in answers as the real API server was recorded to.
//!
//! The code, the refusal's words, who manages which fields, and what moved a version must be the same. An object may
//! have less than the real one, which fills in defaults that the stand-in does not know, and nothing else.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use control_plane::{Exchange, Normaliser, Transcript};
use kubernetes_stand_in::{State, router};
use serde_json::{Value, json};
use tower::ServiceExt as _;

async fn send(router: &Router, method: &str, path: &str, media_type: &str, body: String) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).header("content-type", media_type);
    let answer = router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let code = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (code, serde_json::from_slice(&body).unwrap_or_default())
}

/// What is different about an answer; nothing when it is true.
fn difference(recorded: &Exchange, code: u16, answer: &Value) -> Option<String> {
    if code != recorded.code {
        return Some(format!("code {code} instead of {}: {}", recorded.code, answer["message"]));
    }
    let real = &recorded.answer;
    if real["kind"] == "Status" {
        let told = |status: &Value| {
            json!([
                status["reason"],
                status["message"],
                status["details"]["causes"],
                status["details"]["kind"]
            ])
        };
        return (told(real) != told(answer)).then(|| format!("{} instead of {}", told(answer), told(real)));
    }
    let managers = |object: &Value| {
        let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
        // What controllers write comes when they come to it.
        let entries = entries.filter(|entry| entry["subresource"].is_null()).cloned();
        // When is left out by the real one as long as nothing but the managers changed.
        let mut told: Vec<String> = entries
            .map(|mut entry| {
                entry["time"] = Value::Null;
                entry.to_string()
            })
            .collect();
        told.sort();
        told
    };
    if managers(real) != managers(answer) {
        return Some(format!("managers {:#?} instead of {:#?}", managers(answer), managers(real)));
    }
    let (mut answer, mut real) = (answer.clone(), real.clone());
    if matches!(real["kind"].as_str(), Some("Deployment" | "DaemonSet" | "CustomResourceDefinition")) {
        // Their controllers move the version when they come to it.
        for object in [&mut answer, &mut real] {
            object["metadata"]["resourceVersion"] = Value::Null;
        }
    }
    let mut more = Vec::new();
    beyond(&answer, &real, &mut String::new(), &mut more);
    (!more.is_empty()).then(|| format!("has {more:?}"))
}

/// Where `answer` says something that `real` does not.
fn beyond(answer: &Value, real: &Value, path: &mut String, found: &mut Vec<String>) {
    if matches!(path.as_str(), ".metadata.managedFields" | ".status") {
        return;
    }
    let length = path.len();
    match (answer, real) {
        (Value::Object(answer), Value::Object(real)) => {
            for (name, value) in answer {
                path.push('.');
                path.push_str(name);
                beyond(value, real.get(name).unwrap_or(&Value::Null), path, found);
                path.truncate(length);
            }
        }
        (Value::Array(answer), Value::Array(real)) if answer.len() == real.len() => {
            for (index, (answer, real)) in answer.iter().zip(real).enumerate() {
                path.push_str(&format!("[{index}]"));
                beyond(answer, real, path, found);
                path.truncate(length);
            }
        }
        _ if answer == real => {}
        _ => found.push(format!("{path} {answer}, not {real}")),
    }
}

#[tokio::test]
async fn the_stand_in_answers_as_the_real_one_did() {
    let cases = Transcript::all().unwrap();
    let (mut compared, mut faults) = (0, Vec::new());
    for case in cases {
        let router = router(State::new());
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": case.name } });
        let path = format!("/api/v1/namespaces/{}?fieldManager=test", case.name);
        let apply = "application/apply-patch+yaml";
        assert_eq!(send(&router, "PATCH", &path, apply, namespace.to_string()).await.0, 201);

        let (mut normaliser, mut told) = (Normaliser::default(), Vec::new());
        for (index, exchange) in case.exchanges.iter().enumerate() {
            let (path, body) = (case.path(exchange), case.body(exchange));
            let (code, answer) = send(&router, &exchange.method, &path, &exchange.media_type, body).await;
            let answer = normaliser.normalise(&case, &answer);
            if let Some(difference) = difference(exchange, code, &answer) {
                told.push(format!("{} request {}: {difference}", case.name, index + 1));
            }
        }
        match (case.stand_in.is_empty(), told.is_empty()) {
            (true, _) => {
                compared += 1;
                faults.extend(told);
            }
            (false, false) => {}
            (false, true) => faults.push(format!("{}: the stand-in is no other any more", case.name)),
        }
    }
    assert!(compared >= 40, "only {compared} cases were compared");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
