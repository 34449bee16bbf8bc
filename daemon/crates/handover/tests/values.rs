#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on
//! Values from ConfigMaps and Secrets, held against helm-controller's own code (`tests/oracles/flux/values`).
//!
//! What wins there depends on which parts of the values had been touched before, so that a table by hand would not do: random
//! references are put together by both. Without Go the tests say so and pass, except under `CI=true`.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use handover::helm::Composed;
use oracles::{Judge, Tool};
use serde_json::{Map, Value, json};

struct HelmController(Judge);

impl HelmController {
    fn new() -> Option<Self> {
        Judge::of(Tool::Values, &[]).map(Self)
    }

    /// What helm-controller makes of it; `None` where it refuses.
    fn values(&mut self, case: &Case) -> Option<Value> {
        let named = |index: usize| format!("o{index}");
        let (mut maps, mut secrets, mut references) = (Map::new(), Map::new(), Vec::new());
        for (index, reference) in case.references.iter().enumerate() {
            let (name, secret) = (named(index), index % 2 == 1);
            let mut wire = json!({ "kind": if secret { "Secret" } else { "ConfigMap" }, "name": name, "literal": reference.literal });
            if let Some(path) = &reference.path {
                wire["targetPath"] = json!(path);
            }
            references.push(wire);
            match secret {
                true => secrets.insert(
                    name,
                    json!({ "data": { "values.yaml": BASE64_STANDARD.encode(&reference.text) } }),
                ),
                false => maps.insert(name, json!({ "data": { "values.yaml": reference.text } })),
            };
        }
        let question =
            json!({ "values": case.own, "references": references, "maps": maps, "secrets": secrets });
        let answer = self.0.ask(&question);
        answer["error"].is_null().then(|| answer["values"].clone())
    }
}

#[derive(Debug)]
struct Case {
    own: Value,
    references: Vec<Reference>,
}

#[derive(Debug)]
struct Reference {
    /// a whole file as JSON, or the value for a path
    text: String,
    path: Option<String>,
    literal: bool,
}

fn ours(case: &Case) -> Option<Value> {
    let mut composed = Composed::of(case.own.as_object().unwrap());
    for Reference { text, path, literal } in &case.references {
        match path {
            Some(path) => composed.set(path, text, *literal).ok()?,
            None => composed.add(serde_json::from_str::<Value>(text).unwrap().as_object().unwrap()),
        }
    }
    Some(Value::Object(composed.values()))
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn tree(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 4 } else { 8 }) {
            0 => json!("t"),
            1 => json!(7),
            2 => json!(false),
            3 => Value::Null,
            4 => (0..self.below(3)).map(|_| self.tree(depth - 1)).collect(),
            _ => self.mapping(depth - 1),
        }
    }

    fn mapping(&mut self, depth: usize) -> Value {
        let entries = (0..self.below(4)).map(|_| (self.one(&["a", "b", "c.d"]).to_owned(), self.tree(depth)));
        Value::Object(entries.collect())
    }

    fn path(&mut self) -> String {
        let mut path = self.one(&["a", "b", "c\\.d", "new"]).to_owned();
        for _ in 0..self.below(4) {
            path += self.one(&[".a", ".b", ".c\\.d", "[0]", "[1]", "[3]", "[0].b", ".", "[x]", "[70000]"]);
        }
        path
    }

    fn value(&mut self) -> String {
        let values = [
            "",
            "x",
            "7",
            "-7",
            "+7",
            "007",
            "0",
            "true",
            "Null",
            "9223372036854775808",
            "{a,1,true}",
            "{}",
            "{a",
            "{a}b",
            "a,b=1",
            "a,",
            "\"7\"",
            "'a,b'",
            "'",
            "a\\,b",
            "[1]",
            "a.b=c",
            "\\",
            "line\nline",
            "ä",
            "a,c\\.d[1].b=2",
            "{x},a.b=3",
        ];
        self.one(&values).to_owned()
    }
}

#[test]
fn random_references_are_put_together_as_helm_controller_does() {
    let Some(mut judge) = HelmController::new() else { return };
    let mut dice = Dice(7);
    let (mut taken, mut refused, mut paths) = (0, 0, 0);
    for number in 0..3000 {
        let own = dice.mapping(3);
        let references = (0..1 + dice.below(4)).map(|_| match dice.below(2) {
            0 => Reference { text: dice.mapping(3).to_string(), path: None, literal: false },
            _ => Reference { text: dice.value(), path: Some(dice.path()), literal: dice.below(4) == 0 },
        });
        let case = Case { own, references: references.collect() };
        let (ours, theirs) = (ours(&case), judge.values(&case));
        assert_eq!(ours, theirs, "case {number}: {case:?}");
        match theirs {
            Some(_) => taken += 1,
            None => refused += 1,
        }
        paths += usize::from(case.references.iter().any(|reference| reference.path.is_some()));
    }
    // neither every case nor none may end in an error
    assert!(
        taken > 600 && refused > 300 && paths > 1500,
        "{taken} taken, {refused} refused, {paths} with paths"
    );
}

#[test]
fn a_single_value_wins_where_nobody_was_before() {
    // the documentation's own example, and the two cases in which its sentence does not hold
    let set = |own: Value, file: Option<Value>, path: &str| {
        let mut composed = Composed::of(own.as_object().unwrap());
        if let Some(file) = file {
            composed.add(file.as_object().unwrap());
        }
        composed.set(path, "9", false).unwrap();
        Value::Object(composed.values())
    };
    assert_eq!(set(json!({ "a": { "b": 1 } }), None, "a.b"), json!({ "a": { "b": 9 } }));
    assert_eq!(
        set(json!({ "a": { "b": 1 } }), Some(json!({ "a": { "c": 2 } })), "a.b"),
        json!({ "a": { "b": 1, "c": 2 } })
    );
    assert_eq!(set(json!({ "a": 1 }), None, "a"), json!({ "a": 1 }));
}

#[test]
fn what_cannot_be_set_is_told_without_the_value() {
    for (path, value, says) in [
        ("a", "x,hunter2", "comma"),
        ("a", "{hunter2", "comma or bracket"),
        ("s[0]", "hunter2", "no list"),
        ("s.t", "hunter2", "no mapping"),
        ("l[x]", "hunter2", "number"),
        ("l[65537]", "hunter2", "65536"),
        (&"a.".repeat(40), "hunter2", "30 parts"),
    ] {
        let mut composed = Composed::of(json!({ "s": "text" }).as_object().unwrap());
        let error = composed.set(path, value, false).unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("hunter2"), "{error}");
    }
}
