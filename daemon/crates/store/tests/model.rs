#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on
//! The store against a map in memory that does the same: every answer must be equal, also after reopening,
//! and the watch must tell exactly what happened.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};
use store::{Change, CommitError, Compare, Entry, LogLine, Store, Transaction, WatchError};

/// The map.
#[derive(Default)]
struct Model {
    revision: u64,
    compacted: u64,
    entries: BTreeMap<String, Entry>,
    changes: Vec<Change>,
    log: Vec<(u64, Value)>,
}

impl Model {
    fn found(&self, key: &str) -> u64 {
        self.entries.get(key).map_or(0, |entry| entry.mod_revision)
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<u64, String> {
        let mut keys = BTreeSet::new();
        let mut written = transaction.put.iter().map(|(key, _)| key).chain(&transaction.delete);
        if let Some(twice) = written.find(|key| !keys.insert((*key).clone())) {
            return Err(format!("twice {twice}"));
        }
        if let Some(conflict) =
            transaction.compare.iter().find(|one| self.found(&one.key) != one.mod_revision)
        {
            return Err(format!("conflict {} {}", conflict.key, self.found(&conflict.key)));
        }
        let revision = self.revision + 1;
        let mut changes = BTreeMap::new();
        for (key, value) in &transaction.put {
            let create_revision = self.entries.get(key).map_or(revision, |entry| entry.create_revision);
            let entry =
                Entry { key: key.clone(), value: value.clone(), create_revision, mod_revision: revision };
            changes.insert(key.clone(), Change::Put(entry.clone()));
            self.entries.insert(key.clone(), entry);
        }
        for key in &transaction.delete {
            if self.entries.remove(key).is_some() {
                changes.insert(key.clone(), Change::Deleted { key: key.clone(), revision });
            }
        }
        if !changes.is_empty() {
            self.revision = revision;
        }
        self.changes.extend(changes.into_values());
        self.log.extend(transaction.append.iter().map(|line| (line.at, line.json.clone())));
        Ok(self.revision)
    }
}

#[derive(Debug, Clone)]
enum Action {
    /// Compares are given as "as it is" (true) or one off (false), so that both outcomes are common.
    Commit {
        compare: Vec<(String, bool)>,
        put: Vec<(String, u8)>,
        delete: Vec<String>,
        append: u8,
    },
    Compact(u64),
    Reopen,
}

fn key() -> impl Strategy<Value = String> {
    // Few keys, so that they meet; one prefix of another; characters that SQL's LIKE would misread.
    prop::sample::select(vec!["n/a", "n/ab", "n/b", "n%", "n_", "m/ü", ""]).prop_map(str::to_owned)
}

fn action() -> impl Strategy<Value = Action> {
    let commit = (
        prop::collection::vec((key(), prop::bool::weighted(0.8)), 0..2),
        prop::collection::vec((key(), any::<u8>()), 0..3),
        prop::collection::vec(key(), 0..2),
        0..3u8,
    )
        .prop_map(|(compare, put, delete, append)| Action::Commit { compare, put, delete, append });
    prop_oneof![12 => commit, 1 => (0..6u64).prop_map(Action::Compact), 1 => Just(Action::Reopen)]
}

async fn check(actions: Vec<Action>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let mut store = Store::open(&path).unwrap();
    let mut model = Model::default();
    for (step, action) in actions.into_iter().enumerate() {
        match action {
            Action::Commit { compare, put, delete, append } => {
                let compare = compare
                    .into_iter()
                    .map(|(key, right)| {
                        let mod_revision = model.found(&key) + u64::from(!right);
                        Compare { key, mod_revision }
                    })
                    .collect();
                let put =
                    put.into_iter().map(|(key, value)| (key, json!({ "version": 1, "n": value }))).collect();
                let append =
                    (0..append).map(|n| LogLine { at: step as u64, json: json!([step, n]) }).collect();
                let transaction = Transaction { compare, put, delete, append };
                let answer = store.commit(transaction.clone()).await.map_err(|error| match error {
                    CommitError::Conflict { key, found, .. } => format!("conflict {key} {found}"),
                    CommitError::Twice { key } => format!("twice {key}"),
                    CommitError::Store(error) => panic!("{error}"),
                });
                assert_eq!(answer, model.commit(&transaction));
            }
            Action::Compact(keep) => {
                model.compacted = model.compacted.max(model.revision.saturating_sub(keep));
                assert_eq!(store.compact(keep).await.unwrap(), model.compacted);
            }
            Action::Reopen => {
                drop(store);
                store = Store::open(&path).unwrap();
            }
        }
    }

    assert_eq!(store.revision(), model.revision);
    for prefix in ["", "n", "n/", "n/a", "n%", "m/ü", "z"] {
        let expected: Vec<_> =
            model.entries.values().filter(|entry| entry.key.starts_with(prefix)).cloned().collect();
        assert_eq!(store.list(prefix).await.unwrap(), expected, "list {prefix:?}");
        let expected: Vec<_> = (model.changes.iter())
            .filter(|change| change.key().starts_with(prefix) && change.revision() > model.compacted)
            .cloned()
            .collect();
        let mut watch = store.watch(prefix, model.compacted + 1);
        for change in expected {
            assert_eq!(watch.next().await.unwrap(), change, "watch {prefix:?}");
        }
    }
    for key in ["n/a", "m/ü", "absent"] {
        assert_eq!(store.get(key).await.unwrap().as_ref(), model.entries.get(key));
    }
    if model.compacted > 0 {
        let error = store.watch("", model.compacted).next().await.unwrap_err();
        assert!(matches!(error, WatchError::Compacted { compacted } if compacted == model.compacted));
    }
    let log: Vec<_> =
        store.log_from(0, usize::MAX).await.unwrap().into_iter().map(|line| (line.at, line.json)).collect();
    assert_eq!(log, model.log);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn the_store_does_what_a_map_does(actions in prop::collection::vec(action(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(check(actions));
    }
}
