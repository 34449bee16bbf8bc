//! `talenv.yaml`: variables for talconfig, read as godotenv does for talhelper.
//!
//! It looks like YAML and is not: `KEY: value` and `KEY=value` mean the same, a value ends with its line, and in values that
//! are bare or in double quotes `$UPPER` stands for a variable further up in the same file.

use std::collections::BTreeMap;

/// Why the variables cannot be read. talhelper goes on without any of them, and without a word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct EnvironmentError {
    /// The line of the fault, from 1.
    pub line: u32,
    /// What is wrong. No value is repeated.
    pub reason: &'static str,
}

/// The variables of an env file.
pub fn environment(text: &str) -> Result<BTreeMap<String, String>, EnvironmentError> {
    let text = text.replace("\r\n", "\n");
    let text: Vec<&str> =
        text.split_inclusive('\n').map(|line| if line == "---\n" { "\n" } else { line }).collect();
    let text = text.concat();
    let mut variables = BTreeMap::new();
    let mut rest = text.as_str();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(variables);
        }
        let at = text.len() - rest.len();
        let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        let fault = |reason| EnvironmentError { line: u32::try_from(line).unwrap_or(u32::MAX), reason };
        if rest.starts_with('#') {
            rest = rest.find('\n').and_then(|end| rest.get(end..)).unwrap_or_default();
            continue;
        }
        let (key, after) = key(rest).map_err(fault)?;
        let (value, after) = value(after, &variables).map_err(fault)?;
        variables.insert(key.to_owned(), value);
        rest = after;
    }
}

fn key(text: &str) -> Result<(&str, &str), &'static str> {
    let text = match text.strip_prefix("export") {
        Some(rest) if rest.starts_with(is_blank) => rest.trim_start_matches(is_blank),
        _ => text,
    };
    let end = text.find(['=', ':']).ok_or("there is a name without a value")?;
    let name = text.get(..end).unwrap_or_default();
    if name.chars().any(|c| !(c.is_alphanumeric() || c == '_' || c == '.' || is_blank(c))) {
        return Err(
            "this is not the name of a variable: letters, digits, dots and underscores, then `:` or `=`",
        );
    }
    Ok((name.trim_end(), text.get(end + 1..).unwrap_or_default().trim_start_matches(is_blank)))
}

fn value<'a>(text: &'a str, known: &BTreeMap<String, String>) -> Result<(String, &'a str), &'static str> {
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        let end = text.find(['\n', '\r']).unwrap_or(text.len());
        let (line, rest) = text.split_at(end);
        // a comment is one only after a space
        let comment = line
            .char_indices()
            .rev()
            .find(|&(at, c)| c == '#' && line.get(..at).is_some_and(|before| before.ends_with(is_blank)));
        let line = comment.map_or(line, |(at, _)| line.get(..at).unwrap_or_default());
        return Ok((expand(line.trim_matches(is_blank), known), rest));
    };
    let inside = text.get(1..).unwrap_or_default();
    let closes = |&(at, c): &(usize, char)| {
        c == quote && !inside.get(..at).is_some_and(|before| before.ends_with('\\'))
    };
    let end = inside.char_indices().find(closes).ok_or("the value in quotes is not closed")?.0;
    let (value, rest) = inside.split_at(end);
    let value = value.trim_matches(quote);
    let value = if quote == '"' { expand(&unescaped(value), known) } else { value.to_owned() };
    Ok((value, rest.get(1..).unwrap_or_default()))
}

/// `\n` and `\r` are line ends; before anything but `$` a backslash goes away.
fn unescaped(text: &str) -> String {
    let mut result = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, if character == '\\' { characters.next() } else { None }) {
            ('\\', Some('n')) => result.push('\n'),
            ('\\', Some('r')) => result.push('\r'),
            ('\\', Some('$')) => result.push_str("\\$"),
            ('\\', Some(other)) => result.push(other),
            (other, _) => result.push(other),
        }
    }
    result
}

/// `$NAME` and `${NAME}` of capital letters, digits and underscores; nothing where there is no such variable.
fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, dollar) = rest.split_at(at);
        let after = dollar.get(1..).unwrap_or_default();
        let braced = after.strip_prefix('{');
        let name = braced.unwrap_or(after);
        let end = name
            .find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
            .unwrap_or(name.len());
        let (name, tail) = name.split_at(end);
        if let Some(before) = before.strip_suffix('\\') {
            result.push_str(before);
            result.push('$');
            rest = after;
        } else if name.is_empty() || after.starts_with('(') {
            result.push_str(before);
            result.push('$');
            rest = after;
        } else {
            result.push_str(before);
            result.push_str(known.get(name).map_or("", String::as_str));
            rest = tail.strip_prefix('}').unwrap_or(tail);
        }
    }
    result + rest
}

fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        environment(text).expect(text).into_iter().collect()
    }

    #[test]
    fn values_are_those_of_godotenv() {
        for (text, expected) in [
            ("A: b\n", "b"),
            ("---\nA: b # why\n", "b"),
            ("A=b", "b"),
            ("export A=\"b c\"", "b c"),
            ("A: 'b=c: $D' # x", "b=c: $D"),
            ("A: b#c", "b#c"),
            ("A:", ""),
            ("# A: c\n\n  A : 3\n", "3"),
            ("A: \"a\\nb \\\"q\\\" \\$X\"", "a\nb \"q\" $X"),
            ("A: \"two\nlines\"\n", "two\nlines"),
            ("A: x$lower $NONE$(cmd)", "x$lower $(cmd)"),
        ] {
            assert_eq!(read(text), [("A".to_owned(), expected.to_owned())], "{text}");
        }
        let two = read("V: v1\nW: \"${V}-$V\"\n");
        assert_eq!(two[1].1, "v1-v1");
    }

    #[test]
    fn what_is_no_variable_has_a_line() {
        let fault = |text: &str| environment(text).expect_err(text).line;
        assert_eq!(fault("A: b\nlist:\n  - x\n"), 3);
        assert_eq!(fault("A: b\n\nB: \"c\n"), 3);
        assert_eq!(fault("A: b\nno value\n"), 2);
    }
}
