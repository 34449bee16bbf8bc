//! Texts that were written to do harm: an error each, and little memory on the way to it.
//!
//! The memory is the kernel's count of this process, so everything is in one test, one text after the other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use document::{Document, MAXIMUM_SIZE};

const MIB: usize = 1024 * 1024;

/// More than this a refused text never takes beyond itself, in bytes.
const MOST: usize = 96 * MIB;

/// More than this the largest accepted one never takes, in bytes.
const LARGEST: usize = 256 * MIB;

/// Each list has the one before it ten times.
fn laughs(levels: usize) -> String {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..levels {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text += &format!("a{level}: &a{level} [{aliases}]\n");
    }
    text
}

/// Each list has the one before it once: deep without a deep line.
fn ladder(levels: usize) -> String {
    let steps = (1..levels).map(|level| format!("a{level}: &a{level} [*a{}]\n", level - 1));
    String::from("a0: &a0 [x]\n") + &steps.collect::<String>()
}

fn merges(levels: usize) -> String {
    let mut text = String::from("m0: &m0 {a: 1, b: 2}\n");
    for level in 1..levels {
        let aliases = vec![format!("*m{}", level - 1); 10].join(", ");
        text += &format!("m{level}: &m{level}\n  <<: [{aliases}]\n");
    }
    text
}

fn harmful() -> Vec<(&'static str, String)> {
    let scalar = "x".repeat(10 * MIB);
    let block = "  0123456789012345678901234567890123456789012345678901234567890123\n".repeat(10 * MIB / 67);
    vec![
        ("a billion laughs", laughs(12)),
        (
            "one large text again and again",
            format!("a: &a {}\nb: [{}]\n", "x".repeat(MIB), "*a, ".repeat(1_000)),
        ),
        ("a ladder of aliases", ladder(5_000)),
        ("a ladder just below the limit of replays", ladder(600)),
        ("merges of merges", merges(12)),
        ("an alias of itself", "a: &a [*a]\n".to_owned()),
        ("deep brackets", "[".repeat(MIB)),
        ("deep braces", "{a: ".repeat(MIB)),
        ("deep dashes", "- ".repeat(MIB)),
        ("deep indentation", (0..3_000).map(|level| " ".repeat(level) + "a:\n").collect()),
        ("a key twice", "a: 1\na: 2\n".to_owned()),
        ("a key twice, deep inside", "l:\n  - x: {y: 1, z: 2, y: 3}\n".to_owned()),
        ("a plain scalar of 10 MB", format!("a: {scalar}\n")),
        ("a quoted scalar of 10 MB", format!("a: \"{scalar}\"\n")),
        ("a block of 10 MB", format!("a: |\n{block}")),
        ("a key of 10 MB", format!("? {scalar}\n: 1\n")),
        ("a storm of documents", "---\na\n".repeat(20_000)),
        ("a storm of empty documents", "---\n".repeat(20_000)),
        ("a list of nothing but commas", format!("[{}]", "a,".repeat(350_000))),
        ("a list without end", "- a\n".repeat(350_000)),
        ("lists of nothing", "- []\n".repeat(350_000)),
        ("anchors without end", (0..100_000).map(|n| format!("- &a{n} x\n")).collect()),
        ("larger than is read", " ".repeat(MAXIMUM_SIZE + 1)),
    ]
}

/// What the process has now, and the most it ever had since the last question, in bytes.
fn memory() -> (usize, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| -> usize {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    };
    (of("VmRSS:"), of("VmHWM:"))
}

/// How much more memory something takes at its height than before.
fn height<T>(of: impl FnOnce() -> T) -> (T, usize) {
    // the kernel forgets the highest mark of this process
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let (before, _) = memory();
    let value = of();
    let (_, most) = memory();
    (value, most.saturating_sub(before))
}

#[test]
fn harmful_texts_are_errors_and_not_memory() {
    let mut wrong = Vec::new();
    for (name, text) in harmful() {
        // both ways lead through the same parser; documents without end are only possible in a stream
        let ways: &[bool] = if name.contains("documents") { &[false, true] } else { &[false] };
        for &stream in ways {
            let (refused, most) = height(|| {
                let parsed = if stream {
                    Document::parse_stream("f.yaml", &text).map(drop)
                } else {
                    Document::parse("f.yaml", &text).map(drop)
                };
                parsed.err()
            });
            match refused {
                None => wrong.push(format!("{name} is accepted (stream: {stream}), at {} MiB", most / MIB)),
                Some(finding) if most > MOST || finding.message.len() > 1_000 => wrong.push(format!(
                    "{name} takes {} MiB and says {} bytes (stream: {stream})",
                    most / MIB,
                    finding.message.len()
                )),
                Some(finding) => assert!(finding.to_string().starts_with("f.yaml"), "{name}: {finding}"),
            }
        }
    }
    // what people have: a scalar of the size of a bundle of manifests, and many small nodes
    let bundle = format!("contents: |\n{}", "  line of a manifest\n".repeat(3 * MIB / 21));
    assert!(Document::parse("f", &bundle).is_ok(), "a manifest of 3 MiB");
    let many = "- {name: a, value: 1}\n".repeat(50_000);
    let (read, most) = height(|| Document::parse("f", &many));
    let items = read.expect("150,000 nodes").root().items().len();
    assert_eq!(items, 50_000);
    if most > LARGEST {
        wrong.push(format!("150,000 nodes take {} MiB", most / MIB));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
