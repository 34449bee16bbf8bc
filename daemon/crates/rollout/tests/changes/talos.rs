//! The rule in Talos's own source: whether a change needs a reboot. A small Go program reads it there (`tests/oracles/immediate`).

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::planned;
use crate::cases::{BASE, CASES};

/// Where the rule is in Talos's module.
const SOURCE: &str = "internal/app/machined/pkg/runtime/v1alpha1/v1alpha1_runtime.go";

#[test]
fn talos_reboots_for_what_the_plan_says_and_for_nothing_else() {
    let mut questions: Vec<(String, String)> =
        CASES.iter().map(|case| (case.what.to_owned(), case.changed())).collect();
    questions.extend(sections().map(|section| (format!("without {section}"), without(section))));
    let Some(answers) = asked(&questions) else { return };
    assert_eq!(answers.len(), questions.len());
    let mut reboots = 0;
    for ((what, changed), live) in questions.iter().zip(answers) {
        let plan = planned(BASE, changed);
        assert!(!plan.changes.is_empty(), "{what} changes nothing");
        assert_eq!(plan.reboots(), !live, "{what}: {:#?}", plan.changes);
        reboots += u32::from(!live);
    }
    assert!(reboots > 10, "{reboots}");
}

/// Every key of `machine` in the config, to be left out.
fn sections() -> impl Iterator<Item = &'static str> {
    let machine = BASE.lines().skip_while(|line| *line != "machine:").skip(1);
    let machine = machine.take_while(|line| *line != "cluster:");
    machine.filter_map(|line| {
        let key = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?;
        key.split(':').next()
    })
}

fn without(section: &str) -> String {
    let mut leaving = false;
    let mut text = String::new();
    for line in BASE.lines() {
        let is_deeper = line.starts_with("    ");
        leaving = line.starts_with(&format!("  {section}:")) || (leaving && is_deeper);
        if !leaving {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// Asks the rule whether each change is taken without a reboot; nothing where there is no Go.
fn asked(questions: &[(String, String)]) -> Option<Vec<bool>> {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("talos-immediate");
    let module = go(&["-C", "talosctl", "mod", "download", "-json", "github.com/siderolabs/talos"])?;
    go(&["build", "-o", program.to_str().expect("a path"), "./immediate"])?;
    let module: Value = serde_json::from_slice(&module).expect("go speaks JSON");
    let source = PathBuf::from(module["Dir"].as_str().expect("a folder")).join(SOURCE);
    let mut child = Command::new(&program)
        .arg(&source)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the judge starts");
    let (mut input, mut output) =
        (child.stdin.take().expect("piped"), BufReader::new(child.stdout.take().expect("piped")));
    let answers = questions.iter().map(|(what, changed)| {
        writeln!(input, "{}", json!({"current": BASE, "wanted": changed})).expect("the judge listens");
        let mut line = String::new();
        output.read_line(&mut line).expect("the judge answers");
        let answer: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{what}: {error}: {line}"));
        assert_eq!(answer["error"], "", "{what}");
        answer["live"].as_bool().expect("yes or no")
    });
    let answers = answers.collect();
    drop(input);
    assert!(child.wait().expect("it ends").success());
    Some(answers)
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
    eprintln!("skipped: {reason}, so Talos's own rule cannot judge");
    None
}
