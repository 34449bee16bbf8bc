#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on
//! A daemon that is killed at any moment loses nothing that it was told is stored.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;
use store::{LogLine, Store, Transaction};

/// Tells the child half below where the store is.
const STORE: &str = "ICHORD_TEST_CRASH_STORE";

/// How many clients the child commits for at once, so that group commit is what gets killed.
const CLIENTS: u64 = 4;

/// The child half: commits a rising number per client for ever and says each number once it is stored.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the child of killed_at_any_moment_nothing_acknowledged_is_lost"]
async fn child() {
    let Ok(path) = std::env::var(STORE) else { return };
    let store = Store::open(Path::new(&path)).unwrap();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let store = store.clone();
            tokio::spawn(async move {
                let key = format!("client/{client}");
                let start =
                    store.get(&key).await.unwrap().map_or(0, |entry| entry.value["n"].as_u64().unwrap());
                for n in start + 1.. {
                    let transaction = Transaction {
                        put: vec![(key.clone(), json!({ "version": 1, "n": n }))],
                        append: vec![LogLine { at: n, json: json!([client, n]) }],
                        ..Transaction::default()
                    };
                    store.commit(transaction).await.unwrap();
                    // One write, so that lines of several clients do not mix.
                    std::io::stdout().write_all(format!("stored {client} {n}\n").as_bytes()).unwrap();
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
}

#[tokio::test]
async fn killed_at_any_moment_nothing_acknowledged_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let mut acknowledged = [0; CLIENTS as usize];
    for round in 0..10 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(STORE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Another number of commits each round: the moment of death moves through what the writer does.
        let mut left = 20 + round * 7;
        for line in lines {
            let line = line.unwrap();
            // The harness begins its own line without ending it.
            let Some((_, line)) = line.split_once("stored ") else { continue };
            let (client, n) = line.split_once(' ').unwrap();
            acknowledged[client.parse::<usize>().unwrap()] = n.parse().unwrap();
            left -= 1;
            if left == 0 {
                child.kill().unwrap(); // SIGKILL; what it had written before still comes out of the pipe
            }
        }
        child.wait().unwrap();
        assert!(left <= 0, "the child ended by itself");

        let store = Store::open(&path).unwrap();
        let log = store.log_from(0, usize::MAX).await.unwrap();
        for (client, acknowledged) in acknowledged.iter().enumerate() {
            let entry = store.get(&format!("client/{client}")).await.unwrap().unwrap();
            let stored = entry.value["n"].as_u64().unwrap();
            assert!(stored >= *acknowledged, "client {client}: told {acknowledged}, found {stored}");
            // Entry and log line went in together, so they must have survived together, with no gap.
            let lines: Vec<_> =
                log.iter().filter(|line| line.json[0] == client).map(|line| line.at).collect();
            assert_eq!(lines, (1..=stored).collect::<Vec<_>>());
        }
    }
}
