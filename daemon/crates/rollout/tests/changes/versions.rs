//! Which Kubernetes a Talos runs, and which Talos may follow which, by Talos's own package: once as its release 1.13 has it, and once
//! as the newest one has it whose modules are published, which knows 1.14 (`tests/oracles/compatibility`).

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rollout::upgrade::{Node, refusals};
use serde_json::{Value, json};
use talos_config::versions::{Contract, KubernetesVersion, TalosVersion};

use crate::talos::go;

/// What pins the package: a name, the module, the judge's source as it is seen there, and the newest Talos that it knows.
const PINS: [(&str, &str, &str, u16); 2] =
    [("1.13", ".", "./compatibility", 13), ("newest", "talhelper", "../compatibility/main.go", 14)];

/// The oldest Talos that Talos's own package knows; configs of those before 1.8 are not made here.
const THEIR_OLDEST: u16 = 2;

struct Judge {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Judge {
    /// Nothing where there is no Go.
    fn start(pin: &str, module: &str, source: &str) -> Option<Self> {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("talos-compatibility-{pin}"));
        go(&["-C", module, "build", "-o", program.to_str().expect("a path"), source])?;
        let mut child = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the judge starts");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("piped"));
        Some(Self { child, input, output: BufReader::new(output) })
    }

    /// Why not, in Talos's words.
    fn refuses(&mut self, question: &Value) -> Option<String> {
        writeln!(self.input.as_mut().expect("piped"), "{question}").expect("the judge listens");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the judge answers");
        let answer: Value = serde_json::from_str(&line).expect("the judge answers in JSON");
        let reason = answer["refused"].as_str().expect("a reason or none");
        (!reason.is_empty()).then(|| reason.to_owned())
    }

    fn end(mut self) {
        self.input = None;
        assert!(self.child.wait().expect("it ends").success());
    }
}

#[test]
fn talos_runs_the_kubernetes_that_the_table_says_and_no_other() {
    for (pin, module, source, newest) in PINS {
        let Some(mut judge) = Judge::start(pin, module, source) else { return };
        let (mut runs, mut refused, mut asked) = (0, 0, 0);
        for talos in 0..=20 {
            for (minor, patch) in (15..=45).flat_map(|minor| [0, 1, 42, 98].map(|patch| (minor, patch))) {
                let contract = Contract::new(1, talos);
                let kubernetes = KubernetesVersion { major: 1, minor, patch };
                let question =
                    json!({ "talos": format!("{contract}.3"), "kubernetes": kubernetes.to_string() });
                let theirs = judge.refuses(&question);
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
        judge.end();
        assert!(runs > 100 && refused > 100 && asked == 21 * 31 * 4, "{pin}: {runs}, {refused}, {asked}");
        // one of the two judges everything in our table
        assert!(Contract::known().1.minor <= PINS.map(|pin| pin.3).into_iter().max().unwrap_or_default());
    }
}

/// Ours is the stricter one by these, and by nothing else: one minor version at a time (theirs lets some be left out), never an older
/// one (theirs lets some come back), and no patch of it either.
#[test]
fn talos_takes_every_step_that_is_not_refused_here() {
    for (pin, module, source, newest) in PINS {
        let Some(mut judge) = Judge::start(pin, module, source) else { return };
        let oldest = Contract::known().0.minor;
        let mut allowed = 0;
        for (host, target) in (oldest..=newest).flat_map(|host| (oldest..=newest).map(move |to| (host, to))) {
            for (from, to) in [("0", "9"), ("9", "0"), ("9", "9"), ("0", "9-rc.0")] {
                let read = |text: String| text.parse::<TalosVersion>().expect("a version");
                let (from, to) = (read(format!("v1.{host}.{from}")), read(format!("v1.{target}.{to}")));
                let node = Node { name: "n".to_owned(), talos: from.clone(), kubernetes: Vec::new() };
                let ours = refusals(&[node], &to);
                let question = json!({ "talos": to.to_string(), "host": from.to_string() });
                let theirs = judge.refuses(&question);
                let stricter = target > host + 1 || to < from;
                match theirs {
                    Some(reason) => assert!(!ours.is_empty(), "{pin}: {question}: theirs is {reason}"),
                    None => assert_eq!(!ours.is_empty(), stricter, "{pin}: {question}: {ours:?}"),
                }
                allowed += u32::from(ours.is_empty());
            }
        }
        judge.end();
        assert!(allowed > 20, "{pin}: {allowed}");
    }
}
