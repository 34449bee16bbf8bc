#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on
//! Who may write: one at a time, told by name, succeeded when it has died.

mod server;

use std::time::Duration;

use kubernetes::{ApplyError, Claim, Client};
use serde_json::{Value, json};
use server::Server;

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(600);

fn claim(holder: &str, lasts: Duration) -> Claim {
    Claim { holder: holder.to_owned(), lasts, ..Claim::of("test") }
}

fn map(value: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "m", "namespace": "default" }, "data": { "a": value } })
}

fn lease(server: &Server) -> Option<Value> {
    server.state.object("Lease", "kube-system", "ichord-bootstrap").map(|lease| lease["spec"].clone())
}

fn refused(result: Result<kubernetes::Applied, ApplyError>) -> String {
    let error = result.expect_err("somebody else writes");
    assert!(error.transient() && matches!(error, ApplyError::Held(_)), "{error}");
    error.to_string()
}

#[tokio::test]
async fn the_second_is_told_who_writes_until_the_first_gives_back() {
    let server = Server::start().await;
    let (first, second) =
        (server.client().alone(claim("daemon", LONG)), server.client().alone(claim("command", LONG)));
    // whoever only looks takes nothing
    first.apply(&map("1"), true).await.unwrap();
    assert_eq!(lease(&server), None);

    first.apply(&map("1"), false).await.unwrap();
    let spec = lease(&server).unwrap();
    assert_eq!((&spec["holderIdentity"], &spec["leaseDurationSeconds"]), (&json!("daemon"), &json!(600)));
    let told = refused(second.apply(&map("2"), false).await);
    let since = spec["acquireTime"].as_str().unwrap();
    assert!(
        told.contains(&format!("another ichord writes to this cluster: daemon, since {since}")),
        "{told}"
    );
    assert!(told.contains("wait until it is done or end it there"), "{told}");
    assert!(second.create(&map("2")).await.is_err() && second.cordon("n", true).await.is_err());
    second.apply(&map("2"), true).await.unwrap();
    second.apply(&map("1"), false).await.expect("nothing would change, so nothing is asked for");

    first.give_back().await.unwrap();
    assert_eq!(lease(&server).unwrap()["holderIdentity"], Value::Null);
    second.apply(&map("2"), false).await.unwrap();
    assert_eq!(lease(&server).unwrap()["leaseTransitions"], 1);
    // the first one comes back and has to wait
    refused(first.apply(&map("3"), false).await);
    first.give_back().await.unwrap();
    assert_eq!(lease(&server).unwrap()["holderIdentity"], "command", "it gives back only its own");
}

#[tokio::test]
async fn who_comes_back_under_its_own_name_goes_on_at_once() {
    let server = Server::start().await;
    server.client().alone(claim("daemon", LONG)).apply(&map("1"), false).await.unwrap();
    let since = lease(&server).unwrap()["acquireTime"].clone();
    server.client().alone(claim("daemon", LONG)).apply(&map("2"), false).await.unwrap();
    let spec = lease(&server).unwrap();
    assert_eq!((&spec["acquireTime"], &spec["leaseTransitions"]), (&since, &json!(0)));
}

#[tokio::test]
async fn a_dead_holder_is_succeeded_and_a_living_one_with_a_slow_clock_is_not() {
    let server = Server::start().await;
    let old = |holder: &str, seconds: u64| {
        json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": "ichord-bootstrap", "namespace": "kube-system" },
            "spec": { "holderIdentity": holder, "leaseDurationSeconds": seconds, "leaseTransitions": 3,
                "acquireTime": "2026-11-27T22:00:00.000000Z", "renewTime": "2026-11-27T22:00:10.000000Z" } })
    };
    server.state.put(&old("dead", 1));
    let next = server.client().alone(claim("next", LONG));
    next.apply(&map("1"), false).await.unwrap();
    let spec = lease(&server).unwrap();
    assert_eq!((&spec["holderIdentity"], &spec["leaseTransitions"]), (&json!("next"), &json!(4)));
    assert_ne!(spec["acquireTime"], "2026-11-27T22:00:00.000000Z");
    next.give_back().await.unwrap();

    // it says a word while it is watched, by a clock of yesterday; then by the right one
    server.state.put(&old("slow", 600));
    let other = server.client().alone(claim("other", LONG));
    let waiting = tokio::spawn(async move { other.apply(&map("2"), false).await });
    let reads = server.state.counters().reads;
    while server.state.counters().reads == reads {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished(), "it watches");
    waiting.abort();
    assert_eq!(lease(&server).unwrap()["holderIdentity"], "slow");
}

#[tokio::test]
async fn a_holder_renews_and_stops_with_its_client() {
    let server = Server::start().await;
    let renewed = || lease(&server).unwrap()["renewTime"].as_str().unwrap().to_owned();
    let client: Client = server.client().alone(claim("daemon", Duration::from_secs(1)));
    client.apply(&map("1"), false).await.unwrap();
    let first = renewed();
    // nothing is written meanwhile
    while renewed() == first {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(client);
    // its last word, and after it another one may
    let next = server.client().alone(claim("next", LONG));
    while let Err(error) = next.apply(&map("2"), false).await {
        assert!(matches!(error, ApplyError::Held(_)), "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(lease(&server).unwrap()["holderIdentity"], "next");
}
