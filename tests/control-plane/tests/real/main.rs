#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on
//! The real API server answers as recorded, and takes a hand-over. With `ICHORD_RECORD=1` it is recorded anew.

mod adoption;
mod handover;
mod interrupted;

use std::time::Duration;

use control_plane::{ControlPlane, Flux, Normaliser, Transcript, program};
use kubernetes::ObjectId;
use serde_json::json;

const APPLY: &str = "application/apply-patch+yaml";

/// One after the other, because starting a control plane is what takes long.
#[tokio::test]
async fn the_real_api_server_answers_as_recorded_and_takes_a_hand_over() {
    let Some(program) = program().unwrap() else {
        eprintln!("skipped: the control plane is not built; tests/run handover builds it");
        return;
    };
    let record = std::env::var_os("ICHORD_RECORD").is_some();
    let mut plane = ControlPlane::start(&program).await.unwrap();
    answers_as_recorded(&plane, record).await;
    handover::a_step_arrives_stays_and_goes_on_to_helm(&mut plane).await;
    handover::what_nobody_can_change_is_refused_before_anything_is_written(&plane).await;
    handover::one_writes_at_a_time(&plane).await;
    interrupted::a_step_killed_after_any_request_goes_on_and_writes_everything_once(&mut plane).await;
    if !Flux::is_built(&adoption::CONTROLLERS).unwrap() {
        eprintln!("skipped: Flux's controllers are not built; tests/run handover builds them");
        return;
    }
    adoption::flux_upgrades_what_it_finds_and_becomes_its_only_owner(&plane).await;
}

/// Hours of an API server's life, so only when asked for.
#[tokio::test]
async fn a_step_of_full_size_is_killed_after_each_request() {
    let long = std::env::var_os("ICHORD_LONG").is_some();
    match program().unwrap().filter(|_| long) {
        Some(program) => interrupted::so_does_one_of_full_size(&program).await,
        None => eprintln!("skipped: ICHORD_LONG is not set, or the control plane is not built"),
    }
}

async fn answers_as_recorded(plane: &ControlPlane, record: bool) {
    let client = plane.client().unwrap();
    let mut faults = Vec::new();
    let cases = Transcript::all().unwrap();
    assert!(cases.len() >= 40, "there are {} cases", cases.len());
    for mut case in cases {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": case.name } });
        let path = format!("/api/v1/namespaces/{}?fieldManager=test", case.name);
        assert_eq!(plane.send("PATCH", &path, APPLY, namespace.to_string()).await.unwrap().0, 201);

        let mut normaliser = Normaliser::default();
        for index in 0..case.exchanges.len() {
            let exchange = case.exchanges[index].clone();
            let (path, body) = (case.path(&exchange), case.body(&exchange));
            let sent = plane.send(&exchange.method, &path, &exchange.media_type, body).await.unwrap();
            let (code, answer) = (sent.0, normaliser.normalise(&case, &sent.1));
            // What it defines is served a little later; no case is about that.
            if code < 300 && sent.1["kind"] == "CustomResourceDefinition" && !path.contains("dryRun") {
                let id = ObjectId::try_from(&sent.1).unwrap();
                client.wait(&id, Duration::from_millis(50), Duration::from_secs(60)).await.unwrap();
            }
            if !record && (code, &answer) != (exchange.code, &exchange.answer) {
                faults.push(format!(
                    "{} request {}: recorded {} {}, now {code} {answer}",
                    case.name,
                    index + 1,
                    exchange.code,
                    exchange.answer
                ));
            }
            case.exchanges[index].code = code;
            case.exchanges[index].answer = answer;
        }
        if record {
            case.write().unwrap();
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
