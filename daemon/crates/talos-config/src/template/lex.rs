//! A template's text into plain pieces and the words of its actions.

use super::Fault;

/// A piece of a template.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    /// Text that stays as it is, trimmed where an action asks for it.
    Text(String),
    /// What stands between `{{` and `}}`.
    Action(Vec<Token>),
}

/// A word in an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Where it begins, in bytes of the template.
    pub(super) at: usize,
    /// Whether space stands before it: `$x .A` are two things, `$x.A` is one.
    pub(super) apart: bool,
}

/// What kind of word it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// `.` alone.
    Dot,
    /// `.Name`.
    Field(String),
    /// `$name`, or `$` with an empty name.
    Variable(String),
    /// A function or keyword.
    Word(String),
    Text(String),
    Integer(i64),
    Float(f64),
    Open,
    Close,
    Pipe,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

/// Cuts a template into pieces.
pub(super) fn lex(text: &str) -> Result<Vec<Piece>, Fault> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut trim_left = false;
    while let Some(found) = rest(text, at).find("{{") {
        let open = at + found;
        let inner = open + 2;
        let trims_before = rest(text, inner).strip_prefix('-').is_some_and(|rest| rest.starts_with(is_space));
        push_text(&mut pieces, text.get(at..open).unwrap_or_default(), trim_left, trims_before);
        let begin = if trims_before { inner + 1 } else { inner };
        let after = rest(text, begin).trim_start_matches(is_space);
        let end = if after.starts_with("/*") {
            comment(text, text.len() - after.len())?
        } else {
            let (tokens, end) = tokens(text, begin)?;
            pieces.push(Piece::Action(tokens));
            end
        };
        (trim_left, at) = (end.0, end.1);
    }
    push_text(&mut pieces, rest(text, at), trim_left, false);
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, trim_left: bool, trim_right: bool) {
    let text = if trim_left { text.trim_start_matches(is_space) } else { text };
    let text = if trim_right { text.trim_end_matches(is_space) } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Skips a comment; gives whether the text behind is trimmed, and where it begins.
fn comment(text: &str, at: usize) -> Result<(bool, usize), Fault> {
    let unclosed = || Fault::new(at, "the comment is not closed").fix("end it with `*/}}`");
    let end = at + rest(text, at).find("*/").ok_or_else(unclosed)? + 2;
    closing(text, end).ok_or_else(unclosed)
}

/// Whether an action ends here: the trimming, and where the text behind begins.
fn closing(text: &str, at: usize) -> Option<(bool, usize)> {
    let here = rest(text, at);
    if here.starts_with("}}") {
        return Some((false, at + 2));
    }
    let trimmed = here.trim_start_matches(is_space);
    let end = text.len() - trimmed.len();
    (trimmed.len() < here.len() && trimmed.starts_with("-}}")).then_some((true, end + 3))
}

/// The words of an action, the trimming behind it, and where the text behind begins.
fn tokens(text: &str, begin: usize) -> Result<(Vec<Token>, (bool, usize)), Fault> {
    let mut tokens = Vec::new();
    let mut at = begin;
    let mut apart = true;
    loop {
        if let Some(end) = closing(text, at) {
            return Ok((tokens, end));
        }
        let here = rest(text, at);
        let Some(character) = here.chars().next() else {
            return Err(
                Fault::new(begin.saturating_sub(2), "the action is not closed").fix("end it with `}}`")
            );
        };
        if is_space(character) {
            apart = true;
            at += character.len_utf8();
            continue;
        }
        let (kind, length) = token(here).map_err(|message| Fault::new(at, message))?;
        tokens.push(Token { kind, at, apart });
        apart = false;
        at += length;
    }
}

fn token(here: &str) -> Result<(Kind, usize), String> {
    for (text, kind) in [
        ("(", Kind::Open),
        (")", Kind::Close),
        ("|", Kind::Pipe),
        (",", Kind::Comma),
        (":=", Kind::Declare),
        ("=", Kind::Assign),
    ] {
        if here.starts_with(text) {
            return Ok((kind, text.len()));
        }
    }
    let name = |from: usize| {
        let rest = here.get(from..).unwrap_or_default();
        rest.get(..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()))
            .unwrap_or_default()
    };
    match here.chars().next() {
        Some('.') if here[1..].starts_with(|c: char| c.is_ascii_digit()) => number(here),
        Some('.') => Ok(match name(1) {
            "" => (Kind::Dot, 1),
            field => (Kind::Field(field.to_owned()), field.len() + 1),
        }),
        Some('$') => Ok((Kind::Variable(name(1).to_owned()), name(1).len() + 1)),
        Some('"') => quoted(here),
        Some('`') => match here[1..].find('`') {
            Some(end) => Ok((Kind::Text(here[1..=end].to_owned()), end + 2)),
            None => Err("the raw text is not closed".to_owned()),
        },
        Some(c) if c.is_ascii_digit() || c == '+' || c == '-' => number(here),
        Some(c) if c.is_alphabetic() || c == '_' => Ok((Kind::Word(name(0).to_owned()), name(0).len())),
        Some(c) => Err(format!("`{c}` has no meaning in a template")),
        None => Err("the action is not closed".to_owned()),
    }
}

fn number(here: &str) -> Result<(Kind, usize), String> {
    let body = here.strip_prefix(['+', '-']).unwrap_or(here);
    let signed = here.len() - body.len();
    let end = body.find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_').unwrap_or(body.len());
    let text = here.get(..signed + end).unwrap_or_default();
    let plain = text.replace('_', "");
    let integer = match plain.trim_start_matches(['+', '-']).get(..2) {
        Some("0x" | "0X") => i64::from_str_radix(&plain.replacen(['x', 'X'], "", 1), 16).ok(),
        Some("0o" | "0O") => i64::from_str_radix(&plain.replacen(['o', 'O'], "", 1), 8).ok(),
        _ => plain.parse().ok(),
    };
    if let Some(integer) = integer {
        return Ok((Kind::Integer(integer), text.len()));
    }
    match plain.parse::<f64>() {
        Ok(float) if end > 0 => Ok((Kind::Float(float), text.len())),
        _ => Err(format!("`{text}` is not a number")),
    }
}

/// A text in double quotes, with Go's escapes.
fn quoted(here: &str) -> Result<(Kind, usize), String> {
    let mut text = String::new();
    let mut characters = here.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((Kind::Text(text), at + 1)),
            '\n' => break,
            '\\' => {
                let escaped = characters.next().map(|(_, c)| c);
                text.push(match escaped {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('r') => '\r',
                    Some(c @ ('"' | '\\' | '\'')) => c,
                    Some(c @ ('x' | 'u')) => {
                        let length = if c == 'x' { 2 } else { 4 };
                        let digits: String = characters.by_ref().take(length).map(|(_, c)| c).collect();
                        let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                        code.ok_or_else(|| format!("`\\{c}{digits}` is no character"))?
                    }
                    Some(c) => return Err(format!("there is no escape `\\{c}`")),
                    None => break,
                });
            }
            other => text.push(other),
        }
    }
    Err("the text in quotes is not closed".to_owned())
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn rest(text: &str, at: usize) -> &str {
    text.get(at..).unwrap_or_default()
}
