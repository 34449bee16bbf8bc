//! Shell-like variables in scalars, as the `envsubst` library of talhelper takes them.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    finding::{Finding, Findings, Position},
    node::{Node, Value},
    parse::{Document, plain},
};

/// A variable could not be substituted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubstituteError {
    /// not in the environment, and no default given
    #[error("the variable `{0}` is not set")]
    Unset(String, usize),
    /// in the environment, but empty, which talhelper refuses as well
    #[error("the variable `{0}` is set but empty")]
    Empty(String, usize),
    /// `${` without its end, or with an operator that is none
    #[error("`{0}` is not a variable reference: expected ${{NAME}} or ${{NAME:-default}}")]
    Malformed(String, usize),
}

impl SubstituteError {
    /// Where in the text the reference begins, in bytes.
    pub fn offset(&self) -> usize {
        match self {
            Self::Unset(_, at) | Self::Empty(_, at) | Self::Malformed(_, at) => *at,
        }
    }
}

/// Replaces `$NAME`, `${NAME}`, `${NAME-default}`, `${NAME:-default}`, `${NAME=default}`, `${NAME:=default}`,
/// `${NAME+other}` and `${NAME:+other}`. `$$` is a dollar sign; a dollar sign before anything else stays.
/// An unset or empty variable without a default is an error.
pub fn substitute(text: &str, environment: &BTreeMap<String, String>) -> Result<String, SubstituteError> {
    let mut result = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find('$')) {
        let dollar = at + found;
        result.push_str(text.get(at..dollar).unwrap_or_default());
        let rest = text.get(dollar + 1..).unwrap_or_default();
        let name = name_length(rest);
        at = if rest.starts_with('$') {
            result.push('$');
            dollar + 2
        } else if let Some(inner) = rest.strip_prefix('{').filter(|inner| name_length(inner) > 0) {
            let (value, length) = braced(inner, dollar, environment)?;
            result.push_str(&value);
            dollar + 2 + length
        } else if name > 0 {
            result.push_str(&required(rest.get(..name).unwrap_or_default(), dollar, environment)?);
            dollar + 1 + name
        } else {
            result.push('$');
            dollar + 1
        };
    }
    result.push_str(text.get(at..).unwrap_or_default());
    Ok(result)
}

/// The names of variables that a text refers to and that are not there, or are empty, without a default.
pub fn unset(text: &str, environment: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut environment = environment.clone();
    let mut names = BTreeSet::new();
    for line in text.lines() {
        while let Err(SubstituteError::Unset(name, _) | SubstituteError::Empty(name, _)) =
            substitute(line, &environment)
        {
            environment.insert(name.clone(), "-".to_owned());
            names.insert(name);
        }
    }
    names
}

/// Reads what follows `${`; gives the value and the length up to and with the closing brace.
fn braced(
    inner: &str,
    at: usize,
    environment: &BTreeMap<String, String>,
) -> Result<(String, usize), SubstituteError> {
    let malformed =
        || SubstituteError::Malformed(format!("${{{}", inner.lines().next().unwrap_or_default()), at);
    let end = closing_brace(inner).ok_or_else(malformed)?;
    let body = inner.get(..end).unwrap_or_default();
    let (name, operation) = body.split_at(name_length(body));
    let value = environment.get(name);
    let filled = value.filter(|value| !value.is_empty());
    let other = |from: usize| substitute(operation.get(from..).unwrap_or_default(), environment);
    let value = match operation.as_bytes() {
        [] => required(name, at, environment)?,
        [b':', b'-' | b'=', ..] => filled.cloned().map_or_else(|| other(2), Ok)?,
        [b'-' | b'=', ..] => value.cloned().map_or_else(|| other(1), Ok)?,
        [b':', b'+', ..] => filled.map_or_else(|| Ok(String::new()), |_| other(2))?,
        [b'+', ..] => value.map_or_else(|| Ok(String::new()), |_| other(1))?,
        _ => return Err(malformed()),
    };
    Ok((value, end + 1))
}

fn required(
    name: &str,
    at: usize,
    environment: &BTreeMap<String, String>,
) -> Result<String, SubstituteError> {
    match environment.get(name) {
        None => Err(SubstituteError::Unset(name.to_owned(), at)),
        Some(value) if value.is_empty() => Err(SubstituteError::Empty(name.to_owned(), at)),
        Some(value) => Ok(value.clone()),
    }
}

fn name_length(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
}

fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 1_u32;
    for (index, character) in text.char_indices() {
        match character {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(index);
        }
    }
    None
}

impl Document {
    /// Substitutes variables in every key and scalar; comments are not touched, they are gone by now. A
    /// plain scalar may become a number or boolean. Returns an error for each variable that is not there.
    pub fn substitute(&mut self, environment: &BTreeMap<String, String>) -> Findings {
        let mut findings = Findings::new();
        let file = self.file().to_owned();
        walk(self.root_mut(), environment, &file, &mut findings);
        findings
    }
}

fn walk(node: &mut Node, environment: &BTreeMap<String, String>, file: &str, findings: &mut Findings) {
    let replaced = match &node.value {
        Value::Text(text, was_plain) if text.contains('$') => match substitute(text, environment) {
            Ok(new) if *was_plain => Some(plain(new)),
            Ok(new) => Some(Value::Text(new, false)),
            Err(error) => {
                let before = text.get(..error.offset()).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                let at = node.inside(Position { line: number(line), column: number(column) });
                findings.push(report(file, at, &error));
                None
            }
        },
        _ => None,
    };
    if let Some(value) = replaced {
        node.value = value;
        node.substituted = true;
    }
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| walk(item, environment, file, findings)),
        Value::Map(entries) => {
            for entry in entries {
                if entry.key.contains('$') {
                    match substitute(&entry.key, environment) {
                        Ok(key) => entry.key = key,
                        Err(error) => findings.push(report(file, entry.key_position, &error)),
                    }
                }
                walk(&mut entry.node, environment, file, findings);
            }
        }
        _ => {}
    }
}

fn report(file: &str, at: Position, error: &SubstituteError) -> Finding {
    let finding = Finding::error(file, at, "variable", error.to_string());
    match error {
        SubstituteError::Unset(name, _) | SubstituteError::Empty(name, _) => finding.fix(format!(
            "set it in talenv.yaml or the environment, give a default ${{{name}:-…}}, or write $$ for a dollar sign"
        )),
        SubstituteError::Malformed(..) => finding,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn environment() -> BTreeMap<String, String> {
        [("A", "one"), ("N", "3"), ("E", ""), ("B_2", "two")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into()
    }

    #[test]
    fn the_forms_of_the_shell() {
        for (text, expected) in [
            ("$A ${A} x${B_2}y", "one one xtwoy"),
            ("${U:-d} ${U-d} ${E:-d} ${E-d}", "d d d "),
            ("${U:=d}${A:+x}${U:+x}${E+x}", "dxx"),
            ("${U:-${A}}/${U:-a{b}c}", "one/a{b}c"),
            ("$$A costs 5$ {{ $. }} ${ A }", "$A costs 5$ {{ $. }} ${ A }"),
        ] {
            assert_eq!(substitute(text, &environment()).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        assert_eq!(substitute("ab ${U}", &environment()), Err(SubstituteError::Unset("U".into(), 3)));
        assert_eq!(substitute("$E", &environment()), Err(SubstituteError::Empty("E".into(), 0)));
        assert!(matches!(substitute("${A", &environment()), Err(SubstituteError::Malformed(..))));
        assert!(matches!(substitute("${A^^}", &environment()), Err(SubstituteError::Malformed(..))));
    }

    #[test]
    fn what_is_missing_is_named() {
        let names = unset("$A ${U} ${U:-d} $E\n${V}: ${A\n$W\n", &environment());
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["E", "U", "V", "W"]);
    }

    #[test]
    fn documents_keep_places_and_types() {
        let text = "# ${NOBODY}\na: ${N}\nb: \"${N}\"\n${A}: x\nc: |-\n  ok\n   ${U}\n";
        let mut document = Document::parse("f", text).unwrap();
        let findings = document.substitute(&environment());
        assert_eq!(
            findings.iter().map(|f| (f.line, f.column, f.rule)).collect::<Vec<_>>(),
            [(7, 4, "variable")]
        );
        assert_eq!(document.root().get("a").unwrap().value, Value::Integer(3, "3".into()));
        assert_eq!(document.root().get("b").unwrap().value, Value::Text("3".into(), false));
        assert_eq!(document.root().get("one").unwrap().text(), Some("x"));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[$A{}:\\-+=é U]{0,40}") {
            let _ = substitute(&text, &environment());
        }
    }
}
