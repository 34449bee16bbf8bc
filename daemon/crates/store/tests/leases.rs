#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on
//! Leases against a list that does the same, whichever of them are in the table and whichever in the journal: after every
//! batch, after reopening, and after a death between two batches.

use std::collections::BTreeSet;

use hardware::MacAddr;
use proptest::prelude::*;
use store::{LeaseBatch, LeaseRow, Store};

fn row(address: u8, mac: Option<u8>, granted: u64) -> LeaseRow {
    LeaseRow {
        address: [10, 0, 0, address].into(),
        mac: mac.map(|last| MacAddr([2, 0, 0, 0, 0, last])),
        hostname: None,
        relayed: None,
        state: if mac.is_some() { "bound" } else { "declined" }.into(),
        granted,
        expires: granted + 3_600_000,
    }
}

/// What the documentation of `commit_leases` says, on a list.
fn model(rows: &[LeaseRow], batch: &LeaseBatch) -> Option<Vec<LeaseRow>> {
    let mut after: Vec<LeaseRow> = rows.to_vec();
    let free = |rows: &mut Vec<LeaseRow>, row: &LeaseRow| {
        rows.retain(|old| {
            let same_machine = row.mac.is_some() && old.mac == row.mac;
            !(same_machine || old.address == row.address && old.mac.is_none())
        });
    };
    after.retain(|old| !batch.remove.contains(&old.address));
    batch.put.iter().for_each(|row| free(&mut after, row));
    after.extend(batch.put.iter().cloned());
    let (addresses, macs): (BTreeSet<_>, BTreeSet<_>) = after
        .iter()
        .map(|row| (row.address, row.mac.map_or_else(|| row.address.to_string(), |mac| mac.to_string())))
        .unzip();
    (addresses.len() == after.len() && macs.len() == after.len()).then(|| {
        after.sort_by_key(|row| row.address.to_string());
        after
    })
}

fn batch() -> impl Strategy<Value = (Vec<u8>, Vec<(u8, Option<u8>)>)> {
    // many machines on few addresses, so that they meet; up to more than goes straight into the table
    let row = (0..24_u8, prop::option::weighted(0.9, 0..30_u8));
    (prop::collection::vec(0..24_u8, 0..6), prop::collection::vec(row, 1..16))
}

#[derive(Debug, Clone)]
enum Action {
    Commit(Vec<u8>, Vec<(u8, Option<u8>)>),
    Reopen,
    Die,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![8 => batch().prop_map(|(remove, put)| Action::Commit(remove, put)), 1 => Just(Action::Reopen), 1 => Just(Action::Die)]
}

async fn check(actions: Vec<Action>) {
    let directory = tempfile::tempdir().unwrap();
    let mut path = directory.path().join("state.db");
    let mut store = Store::open(&path).unwrap();
    let mut expected: Vec<LeaseRow> = Vec::new();
    for (number, action) in actions.into_iter().enumerate() {
        match action {
            Action::Commit(remove, put) => {
                // an address is put once in a batch, as a map of changes has it
                let mut seen = BTreeSet::new();
                let put = put.into_iter().filter(|(address, _)| seen.insert(*address));
                let batch = LeaseBatch {
                    remove: remove.into_iter().map(|last| [10, 0, 0, last].into()).collect(),
                    put: put.map(|(address, mac)| row(address, mac, number as u64)).collect(),
                };
                let after = model(&expected, &batch);
                assert_eq!(
                    store.commit_leases(batch.clone()).await.is_ok(),
                    after.is_some(),
                    "{batch:?} on {expected:?}"
                );
                expected = after.unwrap_or(expected);
            }
            Action::Reopen => {
                drop(store);
                store = Store::open(&path).unwrap();
            }
            // the files as they are on the disk at this moment, for the next daemon
            Action::Die => {
                let next = directory.path().join(format!("{number}.db"));
                for end in ["", "-wal"] {
                    let from =
                        path.with_file_name(format!("{}{end}", path.file_name().unwrap().to_str().unwrap()));
                    let to = next.with_file_name(format!("{number}.db{end}"));
                    std::fs::copy(from, to).unwrap();
                }
                drop(store);
                path = next;
                store = Store::open(&path).unwrap();
            }
        }
        assert_eq!(store.leases().await.unwrap(), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn leases_are_what_a_list_has(actions in prop::collection::vec(action(), 1..24)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(check(actions));
    }
}
