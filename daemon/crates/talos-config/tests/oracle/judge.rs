//! Talos's own code, and asking it.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use oracles::Tool;
use serde_json::{Value, json};
use talos_config::config::MachineConfig;
use talos_config::secrets::SecretsBundle;

/// 2026-11-23T00:00:00Z.
pub(crate) const NOW: u64 = 1_795_392_000;

/// The same secrets for all tests: making them takes a while.
pub(crate) static SECRETS: LazyLock<SecretsBundle> =
    LazyLock::new(|| SecretsBundle::generate(NOW).expect("a bundle"));

pub(crate) struct Judge(oracles::Judge);

static JUDGE: LazyLock<Option<Mutex<Judge>>> =
    LazyLock::new(|| oracles::Judge::of(Tool::Validate, &[]).map(Judge).map(Mutex::new));

/// The judge, or nothing where there is no Go; the caller returns then.
pub(crate) fn judge() -> Option<MutexGuard<'static, Judge>> {
    // a test that failed while it held the judge has left no half question behind
    JUDGE.as_ref().map(|judge| judge.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Judge {
    /// Asks one question: the answer's text, or Talos's error.
    pub(crate) fn ask(&mut self, question: &Value) -> Result<String, String> {
        let answer = self.0.ask(question);
        match answer["error"].as_str().expect("an error or none") {
            "" => Ok(answer["text"].as_str().expect("a text").to_owned()),
            error => Err(error.to_owned()),
        }
    }

    /// Strictly decodes and validates a config as `talosctl validate --strict --mode metal`.
    pub(crate) fn check(&mut self, config: &str) -> Result<(), String> {
        self.ask(&json!({"ask": "check", "config": config})).map(drop)
    }

    /// Reads a config strictly and writes it again in Talos's form.
    pub(crate) fn decode(&mut self, config: &str) -> Result<String, String> {
        self.ask(&json!({"ask": "decode", "config": config}))
    }
}

/// The documents of a config in an order of their own, to be compared.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let config = MachineConfig::from_yaml(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let mut documents = config.documents().to_vec();
    documents.sort_by_key(|document| (document["kind"].to_string(), document["name"].to_string()));
    documents
}
