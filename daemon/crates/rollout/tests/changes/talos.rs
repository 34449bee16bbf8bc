//! The rule in Talos's own source: whether a change needs a reboot. A small Go program reads it there (`tests/oracles/immediate`).

use oracles::{Judge, Tool};
use serde_json::json;

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
    // who cannot build it cannot unpack the source either
    Tool::Immediate.for_test()?;
    let source = Tool::Talosctl.unpacked().expect("Talos's module").join(SOURCE);
    let mut judge = Judge::of(Tool::Immediate, &[source.as_os_str()])?;
    let answers = questions.iter().map(|(what, changed)| {
        let answer = judge.ask(&json!({"current": BASE, "wanted": changed}));
        assert_eq!(answer["error"], "", "{what}");
        answer["live"].as_bool().expect("yes or no")
    });
    Some(answers.collect())
}
