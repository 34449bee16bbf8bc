//! Which Kubernetes a Talos runs, and which Talos may follow which, by Talos's own package: once as its release 1.13 has it, and once
//! as the newest one has it whose modules are published, which knows 1.14 (`tests/oracles/compatibility`).

use oracles::{Judge, Tool};
use rollout::upgrade::{Node, refusals};
use serde_json::{Value, json};
use talos_config::versions::{Contract, KubernetesVersion, TalosVersion};

/// Who judges, and the newest Talos that it knows.
const PINS: [(&str, Tool, u16); 2] =
    [("1.13", Tool::Compatibility, 13), ("newest", Tool::NewestCompatibility, 14)];

/// The oldest Talos that Talos's own package knows; configs of those before 1.8 are not made here.
const THEIR_OLDEST: u16 = 2;

/// Why not, in Talos's words.
fn refuses(judge: &mut Judge, question: &Value) -> Option<String> {
    let answer = judge.ask(question);
    let reason = answer["refused"].as_str().expect("a reason or none");
    (!reason.is_empty()).then(|| reason.to_owned())
}

#[test]
fn talos_runs_the_kubernetes_that_the_table_says_and_no_other() {
    for (pin, tool, newest) in PINS {
        let Some(mut judge) = Judge::of(tool, &[]) else { return };
        let (mut runs, mut refused, mut asked) = (0, 0, 0);
        for talos in 0..=20 {
            for (minor, patch) in (15..=45).flat_map(|minor| [0, 1, 42, 98].map(|patch| (minor, patch))) {
                let contract = Contract::new(1, talos);
                let kubernetes = KubernetesVersion { major: 1, minor, patch };
                let question =
                    json!({ "talos": format!("{contract}.3"), "kubernetes": kubernetes.to_string() });
                let theirs = refuses(&mut judge, &question);
                asked += 1;
                if contract.is_known() && talos <= newest {
                    let ours = contract.check_kubernetes(kubernetes).err();
                    let words = || format!("{question}: ours {ours:?}, theirs {theirs:?}");
                    assert_eq!(ours.is_some(), theirs.is_some(), "{pin}: {}", words());
                    (runs, refused) = (runs + u32::from(ours.is_none()), refused + u32::from(ours.is_some()));
                } else if (THEIR_OLDEST..=newest).contains(&talos) {
                    // known there, and too old for configs of ours: not judged here, and refused where a config is asked for
                    assert!(contract.to_generate().is_err(), "{contract} is missing in our table");
                } else {
                    // what nobody there knows is not judged here either, but for what a newer package of theirs knows
                    let reason = theirs.expect("an unknown Talos is refused");
                    assert!(reason.contains("is not supported"), "{pin}: {question}: {reason}");
                    assert!(!contract.is_known() || talos > newest, "{contract} is known here alone");
                }
            }
        }
        assert!(runs > 100 && refused > 100 && asked == 21 * 31 * 4, "{pin}: {runs}, {refused}, {asked}");
        // one of the two judges everything in our table
        assert!(Contract::known().1.minor <= PINS.map(|pin| pin.2).into_iter().max().unwrap_or_default());
    }
}

/// Ours is the stricter one by these, and by nothing else: one minor version at a time (theirs lets some be left out), never an older
/// one (theirs lets some come back), and no patch of it either.
#[test]
fn talos_takes_every_step_that_is_not_refused_here() {
    for (pin, tool, newest) in PINS {
        let Some(mut judge) = Judge::of(tool, &[]) else { return };
        let oldest = Contract::known().0.minor;
        let mut allowed = 0;
        for (host, target) in (oldest..=newest).flat_map(|host| (oldest..=newest).map(move |to| (host, to))) {
            for (from, to) in [("0", "9"), ("9", "0"), ("9", "9"), ("0", "9-rc.0")] {
                let read = |text: String| text.parse::<TalosVersion>().expect("a version");
                let (from, to) = (read(format!("v1.{host}.{from}")), read(format!("v1.{target}.{to}")));
                let node = Node { name: "n".to_owned(), talos: from.clone(), kubernetes: Vec::new() };
                let ours = refusals(&[node], &to);
                let question = json!({ "talos": to.to_string(), "host": from.to_string() });
                let theirs = refuses(&mut judge, &question);
                let stricter = target > host + 1 || to < from;
                match theirs {
                    Some(reason) => assert!(!ours.is_empty(), "{pin}: {question}: theirs is {reason}"),
                    None => assert_eq!(!ours.is_empty(), stricter, "{pin}: {question}: {ours:?}"),
                }
                allowed += u32::from(ours.is_empty());
            }
        }
        assert!(allowed > 20, "{pin}: {allowed}");
    }
}
