//! The Go process, and asking it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use talos_config::config::MachineConfig;
use talos_config::secrets::SecretsBundle;

/// Where an already built judge may be.
const BINARY: &str = "ICHORD_ORACLE";

/// 2026-11-23T00:00:00Z.
pub(crate) const NOW: u64 = 1_795_392_000;

/// The same secrets for all tests: making them takes a while.
pub(crate) static SECRETS: LazyLock<SecretsBundle> =
    LazyLock::new(|| SecretsBundle::generate(NOW).expect("a bundle"));

pub(crate) struct Judge {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

static JUDGE: LazyLock<Option<Mutex<Judge>>> = LazyLock::new(|| start().map(Mutex::new));

/// The judge, or nothing where there is no Go; the caller returns then.
pub(crate) fn judge() -> Option<MutexGuard<'static, Judge>> {
    // a test that failed while it held the judge has left no half question behind
    JUDGE.as_ref().map(|judge| judge.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Judge {
    /// Asks one question: the answer's text, or Talos's error.
    pub(crate) fn ask(&mut self, question: &Value) -> Result<String, String> {
        writeln!(self.input, "{question}").expect("the judge listens");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the judge answers");
        let answer: Value = serde_json::from_str(&line).expect("the judge answers in JSON");
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

impl Drop for Judge {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn start() -> Option<Judge> {
    let binary = match std::env::var_os(BINARY) {
        Some(path) => PathBuf::from(path),
        None => build()?,
    };
    let mut child = Command::new(&binary)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not start: {error}", binary.display()));
    let input = child.stdin.take().expect("piped");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    Some(Judge { child, input, output })
}

fn build() -> Option<PathBuf> {
    let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join("talos-oracle");
    go(&["build", "-o", binary.to_str()?, "./validate"]).map(|_| binary)
}

/// Runs Go in the module of the oracles: what it prints, or nothing where there is no Go.
pub(crate) fn go(arguments: &[&str]) -> Option<Vec<u8>> {
    let oracles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/oracles");
    let reason = match Command::new("go").args(arguments).current_dir(&oracles).output() {
        Ok(output) if output.status.success() => return Some(output.stdout),
        Ok(output) => panic!("go {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => format!("`go` does not run ({error})"),
    };
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{reason}, and CI must not skip");
    eprintln!("skipped: {reason}, so Talos's own code cannot judge");
    None
}
