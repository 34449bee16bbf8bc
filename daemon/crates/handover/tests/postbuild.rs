#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on
//! Variables that a Kustomization puts in, held against kustomize-controller's own code (`tests/oracles/flux/values`): random
//! expressions in texts of every style. Without Go the tests say so and pass, except under `CI=true`.

use handover::Variables;
use oracles::{Judge, Tool};
use serde_json::{Value, json};

struct KustomizeController(Judge);

impl KustomizeController {
    fn new() -> Option<Self> {
        Judge::of(Tool::Values, &[]).map(Self)
    }

    /// What kustomize-controller makes of the object; an error where it refuses.
    fn put_into(
        &mut self,
        object: &Value,
        variables: &[(&str, &str)],
        strict: bool,
    ) -> Result<Value, String> {
        let substitute: serde_json::Map<String, Value> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let kustomization = json!({ "metadata": { "name": "k", "namespace": "flux-system" },
            "spec": { "postBuild": { "substitute": substitute } } });
        let question = json!({ "object": object, "kustomization": kustomization, "strict": strict });
        let answer = self.0.ask(&question);
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["values"].clone()),
        }
    }
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

    fn expression(&mut self, depth: usize) -> String {
        let name = self.one(&["A", "B", "EMPTY", "N", "LIST", "MISSING", "PATH"]);
        let operator = self.one(&[
            "", "", "", "", ":-", ":=", "=", ":?", ":+", "-", "^", "^^", ",", ",,", ":", "/", "//", "/#",
            "/%", "#", "##", "%", "%%", "|", "=+",
        ]);
        let mut expression = format!("${{{name}{operator}");
        match operator {
            ":-" | ":=" | "=" | ":?" | ":+" | "-" | "=+" => {
                for _ in 0..self.below(3) {
                    expression += &self.word(depth);
                }
            }
            ":" => {
                expression += self.one(&["0", "1", "-2", " -2", "9", "x", "", "00"]);
                if self.below(2) == 0 {
                    expression += ":";
                    expression += self.one(&["0", "1", "3", "99", "x", ""]);
                }
            }
            "/" | "//" | "/#" | "/%" => {
                expression += self.one(&["a", "l", "lo", "\\/", "o", "b/", ""]);
                expression += self.one(&["/", "/", "//", ""]);
                expression += self.one(&["x", "", "\\\\", "y y"]);
            }
            "#" | "##" | "%" | "%%" => {
                expression += self.one(&[
                    "*l", "h*", "?", "[a-h]", "[^h]*", "*/", "/*", "o", "*", "\\h", "[", "x", "*[x", "]o[",
                ]);
            }
            _ => {}
        }
        if self.below(20) > 0 {
            expression += "}";
        }
        if self.below(30) == 0 { "${#".to_owned() + name + "}" } else { expression }
    }

    fn word(&mut self, depth: usize) -> String {
        if depth > 0 && self.below(3) == 0 {
            return self.expression(depth - 1);
        }
        self.one(&["x", "1", "a b", "\"", "'", ": ", "$", "ä", ",", "{x", "-1", "true", "#"]).to_owned()
    }

    fn text(&mut self) -> String {
        let mut text = String::new();
        for _ in 0..1 + self.below(3) {
            text += self.one(&[
                "", "", "x", "7", " ", "a b ", "- ", "# ", ": ", "'", "\"", "\n", "\n  ", "$$", "$", "\\",
                "[", "{", "&", "é", "\t",
            ]);
            text += &match self.below(6) {
                0 => format!(
                    "${{{}}}",
                    self.one(&[
                        "WORD0", "WORD1", "WORD2", "WORD3", "WORD4", "WORD5", "WORD6", "WORD7", "WORD8",
                        "WORD9"
                    ])
                ),
                _ => self.expression(2),
            };
            text += self.one(&["", "", "y", " ", "8", ":", " #", "\n", "'", "]", "}"]);
        }
        text
    }
}

const VARIABLES: [(&str, &str); 6] = [
    ("A", "hello"),
    ("B", "Ünder"),
    ("EMPTY", ""),
    ("N", "12"),
    ("LIST", "[a, 'b']"),
    ("PATH", "/usr/lib/x"),
];

fn ours(object: &Value, strict: bool) -> Result<Value, String> {
    let mut variables = Variables::of(&json!({}), strict);
    for (name, value) in VARIABLES {
        variables.set(name, value).unwrap();
    }
    variables.put_into(object).map_err(|error| error.to_string())
}

#[test]
fn random_expressions_are_put_in_as_kustomize_controller_does() {
    let Some(mut judge) = KustomizeController::new() else { return };
    let mut dice = Dice(11);
    let (mut taken, mut refused, mut faults) = (0, 0, Vec::new());
    for number in 0..6000 {
        let text = dice.text();
        let value = match dice.below(4) {
            0 => json!([text, "x"]),
            1 => json!({ "in": { "here": text } }),
            _ => json!(text),
        };
        let object =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" }, "data": value });
        let strict = dice.below(4) == 0;
        let theirs = judge.put_into(&object, &VARIABLES, strict);
        let ours = ours(&object, strict);
        let agree = match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => ours == theirs,
            (Err(_), Err(_)) => true,
            // kustomize itself cannot read some texts with tabs
            (_, Err(error)) if error.starts_with("failed to create resource") => continue,
            _ => false,
        };
        if !agree {
            faults.push(format!("case {number}: {}: ours {ours:?}, theirs {theirs:?}", object["data"]));
        }
        match theirs {
            Ok(_) => taken += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults, such as:\n{}",
        faults.len(),
        faults[..faults.len().min(12)].join("\n")
    );
    // neither every case nor none may end in an error
    assert!(taken > 2000 && refused > 500, "{taken} taken, {refused} refused");
}
