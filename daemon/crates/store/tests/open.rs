#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on
//! What `open` refuses, and that it says so.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::json;
use store::{OpenError, Store, Transaction};

#[test]
fn the_file_and_its_companions_are_for_the_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let _store = Store::open(&path).unwrap();
    for file in fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
}

#[test]
fn a_second_daemon_is_kept_out_until_the_first_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let first = Store::open(&path).unwrap();
    let also_first = first.clone();
    let error = Store::open(&path).unwrap_err();
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    assert!(matches!(error, OpenError::Locked { .. }));
    drop(first);
    assert!(Store::open(&path).is_err(), "a clone still has it");
    drop(also_first);
    Store::open(&path).unwrap();
}

#[tokio::test]
async fn what_a_newer_ichord_wrote_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let store = Store::open(&path).unwrap();
    let put = vec![("k".to_owned(), json!({ "version": 1 }))];
    store.commit(Transaction { put, ..Transaction::default() }).await.unwrap();
    drop(store);
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 4").unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(Store::open(&path), Err(OpenError::Newer { found: 4, known: 3, .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_file_of_the_first_version_is_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    drop(Store::open(&path).unwrap());
    let first = "ALTER TABLE leases DROP COLUMN relayed; DROP TABLE lease_journal; PRAGMA user_version = 1;
        INSERT INTO leases (address, mac, state, granted, expires) VALUES ('10.0.0.1', NULL, 'declined', 1, 2)";
    rusqlite::Connection::open(&path).unwrap().execute_batch(first).unwrap();
    let leases = Store::open(&path).unwrap().leases().await.unwrap();
    assert_eq!((leases.len(), &*leases[0].state, &leases[0].relayed), (1, "declined", &None));
}

#[test]
fn another_programs_database_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(Store::open(&path), Err(OpenError::Foreign { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    fs::write(&path, "not a database, and longer than the header of one would be: ".repeat(4)).unwrap();
    assert!(matches!(Store::open(&path), Err(OpenError::Damaged { .. })));

    let path = directory.path().join("pages.db");
    let store = Store::open(&path).unwrap();
    for n in 0..200 {
        let put = vec![(format!("key/{n}"), json!({ "version": 1, "text": "x".repeat(200) }))];
        store.commit(Transaction { put, ..Transaction::default() }).await.unwrap();
    }
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    assert!(matches!(Store::open(&path), Err(OpenError::Damaged { .. })));
}

#[test]
fn a_directory_that_does_not_exist_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("absent/state.db");
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }) && error.to_string().contains("absent"), "{error}");
}
