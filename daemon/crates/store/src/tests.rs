//! Group commit, a full disk, watching, leases and pruning.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;

fn put(key: &str, value: Value) -> Transaction {
    Transaction { put: vec![(key.to_owned(), value)], ..Transaction::default() }
}

fn fresh() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    (directory, path)
}

/// A store whose file may not grow any more, which is how SQLite sees a full disk.
fn full(path: &Path) -> Store {
    let database = schema::open(path).unwrap();
    let pages: i64 = database.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    database.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    Store::start(database).unwrap()
}

#[tokio::test]
async fn requests_that_wait_together_are_judged_one_by_one() {
    let (_directory, path) = fresh();
    let database = schema::open(&path).unwrap();
    // Everything is in the queue before the thread begins, so it is one batch for sure.
    let (requests, queue) = mpsc::channel(8);
    let (publish, state) = latest::channel(database.state);
    let absent = || vec![Compare { key: "leader".to_owned(), mod_revision: 0 }];
    let mut answers = Vec::new();
    for candidate in ["a", "b", "c"] {
        let (reply, answer) = oneshot::channel();
        let transaction = Transaction { compare: absent(), ..put("leader", json!(candidate)) };
        requests.send(Request::Commit { transaction, reply }).await.unwrap();
        answers.push(answer);
    }
    let (reply, leader) = oneshot::channel();
    requests.send(Request::Read(Read::Get { key: "leader".to_owned(), reply })).await.unwrap();
    drop(requests);
    let book = database.lease_book().unwrap();
    thread::spawn(move || writer::run(database, book, queue, publish)).join().unwrap();

    let mut won = Vec::new();
    for answer in answers {
        won.push(answer.await.unwrap());
    }
    assert_eq!(won[0].as_ref().unwrap(), &1);
    for lost in &won[1..] {
        assert!(matches!(lost, Err(CommitError::Conflict { expected: 0, found: 1, .. })), "{lost:?}");
    }
    assert_eq!(leader.await.unwrap().unwrap().unwrap().value, json!("a"));
    assert_eq!(state.borrow().revision, 1);
}

#[tokio::test]
async fn a_full_disk_is_named_and_leaves_nothing_half_written() {
    let (_directory, path) = fresh();
    let store = Store::open(&path).unwrap();
    store.commit(put("a", json!({ "version": 1 }))).await.unwrap();
    drop(store);

    let store = full(&path);
    let big = Transaction {
        put: vec![("b".to_owned(), json!("small")), ("c".to_owned(), json!("x".repeat(1 << 20)))],
        append: vec![LogLine { at: 1, json: json!({}) }],
        ..Transaction::default()
    };
    let error = store.commit(big.clone()).await.unwrap_err();
    assert!(matches!(error, CommitError::Store(StoreError::Full { .. })), "{error:?}");
    assert_eq!(store.list("").await.unwrap().len(), 1);
    assert_eq!((store.revision(), store.log_tail(9).await.unwrap()), (1, Vec::new()));
    // What needs no new page still works on the same handle.
    let delete = Transaction { delete: vec!["a".to_owned()], ..Transaction::default() };
    assert_eq!(store.commit(delete).await.unwrap(), 2);
    drop(store);

    // Somebody made space.
    let store = Store::open(&path).unwrap();
    assert_eq!(store.commit(big).await.unwrap(), 3);
    assert_eq!(store.get("b").await.unwrap().unwrap().create_revision, 3);
}

#[tokio::test]
async fn a_watch_waits_for_what_it_asked_for_and_misses_nothing() {
    let (_directory, path) = fresh();
    let store = Store::open(&path).unwrap();
    let mut watch = store.watch("nodes/", 0);
    let reader = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.len() < 600 {
            seen.push(watch.next().await.unwrap().key().to_owned());
        }
        seen
    });
    // More changes than one read of a watch takes, between others it does not want.
    for n in 0..600 {
        let mut transaction = put(&format!("nodes/{n:03}"), json!(n));
        transaction.put.push((format!("other/{n}"), json!(n)));
        store.commit(transaction).await.unwrap();
    }
    assert_eq!(reader.await.unwrap(), (0..600).map(|n| format!("nodes/{n:03}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_watch_from_a_snapshot_goes_on_where_it_ended() {
    let (_directory, path) = fresh();
    let store = Store::open(&path).unwrap();
    store.commit(put("a", json!(1))).await.unwrap();
    let snapshot = store.snapshot("").await.unwrap();
    let mut watch = store.watch("", snapshot.revision + 1);
    store.commit(Transaction { delete: vec!["a".to_owned()], ..Transaction::default() }).await.unwrap();
    assert_eq!(watch.next().await.unwrap(), Change::Deleted { key: "a".to_owned(), revision: 2 });
}

fn lease(last: u8, mac: Option<u8>) -> LeaseRow {
    LeaseRow {
        address: [172, 29, 51, last].into(),
        mac: mac.map(|last| hardware::MacAddr([0x64, 0x4b, 0xf0, 0, 0, last])),
        hostname: Some(format!("mini{last:02}")),
        relayed: Some("10.8.0.1 0101aa".to_owned()),
        state: "bound".into(),
        granted: 1_000,
        expires: 1_700_000_000_000,
    }
}

#[tokio::test]
async fn one_address_is_never_leased_to_two_machines() {
    let (_directory, path) = fresh();
    let store = Store::open(&path).unwrap();
    store.commit_leases(vec![lease(101, Some(1)), lease(102, Some(2))]).await.unwrap();

    let error = store.commit_leases(vec![lease(103, Some(3)), lease(101, Some(4))]).await.unwrap_err();
    assert!(matches!(error, LeaseError::Taken { address } if address == lease(101, None).address));
    assert_eq!(store.leases().await.unwrap(), [lease(101, Some(1)), lease(102, Some(2))], "all or nothing");

    // Renewal, moving to another address, and trading addresses are no conflicts.
    store.commit_leases(vec![lease(101, Some(1)), lease(104, Some(2))]).await.unwrap();
    store.commit_leases(vec![lease(104, Some(1)), lease(101, Some(2))]).await.unwrap();
    assert_eq!(store.leases().await.unwrap(), [lease(101, Some(2)), lease(104, Some(1))]);

    // A declined address belongs to nobody; several of them may exist.
    let freed = |put: Vec<LeaseRow>| LeaseBatch { remove: put.iter().map(|row| row.address).collect(), put };
    store.commit_leases(freed(vec![lease(104, Some(2)), lease(101, Some(1))])).await.unwrap();
    assert_eq!(
        store.leases().await.unwrap(),
        [lease(101, Some(1)), lease(104, Some(2))],
        "traded when freed"
    );
    let error = store.commit_leases(freed(vec![lease(105, Some(5)), lease(106, Some(5))])).await.unwrap_err();
    assert!(matches!(error, LeaseError::Taken { .. }), "one machine has one lease");
    let remove = vec![lease(101, None).address, lease(104, None).address];
    let put = vec![lease(101, None), lease(104, None)];
    store.commit_leases(LeaseBatch { remove, put }).await.unwrap();
    store.commit_leases(vec![lease(101, Some(9))]).await.unwrap();
    assert_eq!(store.leases().await.unwrap(), [lease(101, Some(9)), lease(104, None)]);
    drop(store);

    // A person reads them.
    let shown: String = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row(
            "SELECT address || ' ' || mac || ' ' || expires_at FROM leases WHERE mac NOT NULL",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(shown, "172.29.51.101 64:4b:f0:00:00:09 2023-11-14T22:13:20Z");
}

#[tokio::test]
async fn the_leases_of_a_rack_go_through_the_journal_and_are_in_the_table_at_the_end() {
    let (_directory, path) = fresh();
    let store = Store::open(&path).unwrap();
    let rack: Vec<LeaseRow> = (1..100).map(|last| lease(last, Some(last))).collect();
    store.commit_leases(rack.clone()).await.unwrap();
    let count = |table: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        rusqlite::Connection::open(&path).unwrap().query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("leases"), count("lease_journal")), (0, 1));
    assert_eq!(store.leases().await.unwrap().len(), rack.len());
    drop(store);
    assert_eq!((count("leases"), count("lease_journal")), (99, 0));
}

#[tokio::test]
async fn the_log_is_pruned_by_age_or_count_and_never_counts_anew() {
    let (_directory, path) = fresh();
    let store = Store::open(&path).unwrap();
    let lines = |from: u64| (from..from + 10).map(|at| LogLine { at, json: json!(at) }).collect();
    store.commit(Transaction { append: lines(0), ..Transaction::default() }).await.unwrap();
    assert_eq!(store.revision(), 0, "log lines alone change no entry");

    let at = |entries: Vec<LogEntry>| entries.iter().map(|entry| entry.at).collect::<Vec<_>>();
    assert_eq!(at(store.log_tail(3).await.unwrap()), [7, 8, 9]);
    assert_eq!(at(store.log_from(9, 1).await.unwrap()), [8]);
    assert_eq!(store.prune_log(KeepLog::default()).await.unwrap(), 0);
    assert_eq!(store.prune_log(KeepLog { since: Some(4), newest: None }).await.unwrap(), 4);
    assert_eq!(store.prune_log(KeepLog { since: None, newest: Some(2) }).await.unwrap(), 4);
    assert_eq!(at(store.log_tail(9).await.unwrap()), [8, 9]);
    assert_eq!(store.prune_log(KeepLog { since: None, newest: Some(0) }).await.unwrap(), 2);
    drop(store);

    let store = Store::open(&path).unwrap();
    store.commit(Transaction { append: lines(20), ..Transaction::default() }).await.unwrap();
    assert_eq!(store.log_tail(1).await.unwrap()[0].sequence, 20);
    assert_eq!(store.log_sequence(), 20);
}

#[tokio::test]
async fn an_entry_a_person_broke_is_named() {
    let (_directory, path) = fresh();
    drop(Store::open(&path).unwrap());
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("INSERT INTO entries VALUES ('nodes/mini01', '{half', 1, 1)")
        .unwrap();
    let error = Store::open(&path).unwrap().get("nodes/mini01").await.unwrap_err();
    assert!(error.to_string().contains("nodes/mini01"), "{error}");
}

#[tokio::test]
async fn a_follower_of_the_log_waits_and_passes_over_what_is_pruned() {
    let (_directory, path) = fresh();
    let store = Store::open(&path).unwrap();
    let line = |at| Transaction { append: vec![LogLine { at, json: json!(at) }], ..Transaction::default() };
    for at in 1..=4 {
        store.commit(line(at)).await.unwrap();
    }
    store.prune_log(KeepLog { since: None, newest: Some(0) }).await.unwrap();
    let mut follow = store.follow_log(2);
    let reader =
        tokio::spawn(async move { [follow.next().await.unwrap().at, follow.next().await.unwrap().at] });
    store.commit(line(5)).await.unwrap();
    store.commit(line(6)).await.unwrap();
    assert_eq!(reader.await.unwrap(), [5, 6]);
}
