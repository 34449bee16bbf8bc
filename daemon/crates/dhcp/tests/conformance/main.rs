//! Expectations about single DHCP messages, in the style of ISC Forge: `table.txt` is the whole of it.
//!
//! [`stage`] plays the steps of a row against the server, [`says`] holds its last answer to what the row
//! expects. The language is explained at the top of the table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod says;
mod stage;
mod words;

use stage::Stage;

const TABLE: &str = include_str!("table.txt");

struct Row<'a> {
    name: &'a str,
    steps: &'a str,
    expected: &'a str,
}

fn rows() -> Vec<Row<'static>> {
    let lines = TABLE.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let parts: Vec<&str> = line.split('|').map(str::trim).collect();
            let [name, steps, expected] = parts[..] else { panic!("three columns: {line}") };
            Row { name, steps, expected }
        })
        .collect()
}

/// Every fault of one row.
fn play(row: &Row<'_>) -> Vec<String> {
    let mut stage = Stage::default();
    let mut faults = Vec::new();
    for step in row.steps.split(';') {
        stage.play(step.trim()).unwrap_or_else(|error| panic!("{}: {step}: {error}", row.name));
        faults.extend(stage.always());
    }
    for word in row.expected.split_whitespace() {
        faults.extend(says::holds(&stage, word).err());
    }
    faults
}

#[test]
fn every_row_of_the_table_holds() {
    let mut wrong = Vec::new();
    for row in rows() {
        let faults = play(&row);
        if !faults.is_empty() {
            wrong.push(format!("{}\n    {}\n    {}", row.name, row.steps, faults.join("\n    ")));
        }
    }
    assert!(wrong.is_empty(), "{} rows do not hold:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_table_is_large_and_names_each_row_once() {
    let rows = rows();
    assert!(rows.len() >= 120, "{} rows", rows.len());
    let mut names: Vec<&str> = rows.iter().map(|row| row.name).collect();
    names.sort_unstable();
    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1]);
    }
}

/// A table whose rows cannot fail would prove nothing.
#[test]
fn a_wrong_expectation_is_found() {
    let discover = "DISCOVER m1 pxe";
    for expected in [
        "ACK",
        "silence",
        "(no-pool)",
        "yi=.101",
        "to=frame:m2",
        "to=broadcast",
        "51=3601s",
        "1=255.255.0.0",
        "3=-",
        "12=*",
        "file=other",
        "last=82",
        "stored=.100:bound:m1",
        "probe=.100",
        "size<=299",
    ] {
        let row = Row { name: "wrong", steps: discover, expected };
        assert_eq!(play(&row).len(), 1, "{expected}");
    }
    let right = "OFFER (booting) yi=.100 to=frame:m1 51=3600s 1=255.255.255.0 3=* 12=- stored=none size<=548";
    assert_eq!(play(&Row { name: "right", steps: discover, expected: right }), [""; 0]);
}
