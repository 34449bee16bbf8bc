//! The expressions that Flux's `envsubst` knows, with its own readings of them: `${name}`, defaults, cases, parts, replacements.
//!
//! Some are other than a shell's: `${a:+b}` and `${a-b}` are defaults like `${a:-b}`, and counting is by bytes.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::pattern;
use ExpressionError::Malformed;

/// An expression that cannot be put in place. Values are not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// what Flux refuses, too
    #[error("`${{` begins an expression that cannot be read ({0}); `$${{` is a text")]
    Malformed(&'static str),
    /// in strict mode
    #[error("the variable `{0}` is not set")]
    Unset(String),
    /// it cuts a character in two, or ends before it begins
    #[error("a part of a value ends before it begins, or in the middle of a character")]
    Part,
}

/// How deep expressions may lie in each other.
const DEEPEST: usize = 32;

/// The variables.
#[derive(Clone, Copy)]
pub(super) struct Values<'v> {
    pub(super) of: &'v BTreeMap<String, Zeroizing<String>>,
    /// whether one that is not there is an error, and not empty
    pub(super) strict: bool,
}

/// The text with values in the places of expressions.
pub(super) fn put(text: &str, values: Values<'_>) -> Result<String, ExpressionError> {
    let mut reader = Reader { rest: text, values, depth: 0 };
    let mut out = String::new();
    while let Some(sign) = reader.rest.chars().next() {
        if let Some(rest) = reader.rest.strip_prefix("${") {
            reader.rest = rest;
            out += &reader.expression()?;
        } else if let Some(rest) = reader.rest.strip_prefix("$$") {
            out.push('$');
            reader.rest = rest;
        } else {
            out.push(sign);
            reader.skip(sign);
        }
    }
    Ok(out)
}

struct Reader<'t, 'v> {
    rest: &'t str,
    values: Values<'v>,
    depth: usize,
}

impl<'t, 'v> Reader<'t, 'v> {
    /// What stands behind `${`, to its brace.
    fn expression(&mut self) -> Result<String, ExpressionError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Malformed("too many in each other"));
        }
        let put = self.inside();
        self.depth -= 1;
        put
    }

    fn inside(&mut self) -> Result<String, ExpressionError> {
        if self.take("#") {
            let name = self.name().ok_or(Malformed("a name belongs behind `#`"))?;
            self.brace()?;
            return Ok(self.needed(name)?.len().to_string());
        }
        let name = self.name().ok_or(Malformed("there is no name"))?;
        match self.peek() {
            Some(':') => match self.rest.chars().nth(1) {
                Some('=' | '-' | '?' | '+') => self.default(name, 2),
                // its own reader of what follows goes wrong there
                Some(sign) if !sign.is_ascii() => Err(Malformed("`:` is followed by a number")),
                _ => self.part(name),
            },
            Some('=') => self.default(name, 1),
            Some(sign @ (',' | '^')) => {
                let twice = self.twice(sign);
                self.brace()?;
                let value = self.needed(name)?;
                Ok(cased(value, sign == '^', twice))
            }
            Some('/') => self.replacement(name),
            Some(sign @ ('#' | '%')) => {
                let longest = self.twice(sign);
                let pattern = self.word(|sign| sign != '}', false)?;
                self.brace()?;
                let value = self.needed(name)?;
                let rest = match sign {
                    '#' => pattern::without_head(value, &pattern, longest),
                    _ => pattern::without_tail(value, &pattern, longest),
                };
                rest.ok_or(ExpressionError::Part)
            }
            _ => {
                self.brace()?;
                Ok(self.needed(name)?.to_owned())
            }
        }
    }

    /// `:-`, `=` and the like: all of them are defaults where the value is empty.
    fn default(&mut self, name: &str, sign: usize) -> Result<String, ExpressionError> {
        self.rest = self.rest.get(sign..).unwrap_or_default();
        let mut words = String::new();
        while self.peek() != Some('}') {
            words += &self.word(|sign| sign != '}', false)?;
        }
        self.brace()?;
        let value = self.values.of.get(name).map_or("", |value| value.as_str());
        Ok(if value.is_empty() { words } else { value.to_owned() })
    }

    /// `${name:from}` and `${name:from:length}`.
    fn part(&mut self, name: &str) -> Result<String, ExpressionError> {
        self.take(":");
        let from = self.word(|sign| sign != ':' && sign != '}', false)?;
        let mut length = None;
        match self.peek() {
            Some('}') => self.brace()?,
            Some(':') => {
                // however many
                self.rest = self.rest.trim_start_matches(':');
                length = Some(self.word(|sign| sign != '}', false)?);
                self.brace()?;
            }
            _ => return Err(Malformed("a part ends in `}`")),
        }
        let value = self.needed(name)?;
        cut(value, &from, length.as_deref()).map(str::to_owned).ok_or(ExpressionError::Part)
    }

    /// `${name/old/new}`, `//` everywhere, `/#` at the beginning, `/%` at the end.
    fn replacement(&mut self, name: &str) -> Result<String, ExpressionError> {
        self.take("/");
        let how = self.peek().filter(|sign| matches!(sign, '/' | '#' | '%'));
        if let Some(sign) = how {
            self.skip(sign);
        }
        let old = self.word(|sign| sign != '/', true)?;
        if self.peek() != Some('/') {
            return Err(Malformed("what replaces it is missing"));
        }
        self.rest = self.rest.trim_start_matches('/');
        let new = match self.peek() {
            Some('}') => None,
            _ => Some(self.word(|sign| sign != '}', true)?),
        };
        self.brace()?;
        let value = self.needed(name)?;
        let word = new.clone().unwrap_or_default();
        Ok(match how {
            None => value.replacen(&*old, &word, 1),
            Some('/') => value.replace(&*old, &word),
            // with nothing to put there these two do nothing
            Some(_) if new.is_none() => value.to_owned(),
            Some('#') if value.starts_with(&*old) => value.replacen(&*old, &word, 1),
            Some('%') if value.ends_with(&*old) => {
                value.strip_suffix(&*old).unwrap_or(value).to_owned() + &word
            }
            Some(_) => value.to_owned(),
        })
    }

    /// Another expression, or a text of such signs; at least one.
    fn word(&mut self, belongs: impl Fn(char) -> bool, escapes: bool) -> Result<String, ExpressionError> {
        if let Some(rest) = self.rest.strip_prefix("${") {
            self.rest = rest;
            return self.expression();
        }
        let mut word = String::new();
        while let Some(sign) = self.peek() {
            if self.rest.starts_with("${") {
                break;
            }
            let escaped =
                ["$$", "\\/", "\\\\"].into_iter().find(|pair| escapes && self.rest.starts_with(pair));
            if let Some(pair) = escaped {
                word.push_str(pair.get(1..).unwrap_or_default());
                self.take(pair);
            } else if belongs(sign) {
                word.push(sign);
                self.skip(sign);
            } else {
                break;
            }
        }
        if word.is_empty() { Err(Malformed("a word is missing")) } else { Ok(word) }
    }

    fn name(&mut self) -> Option<&'t str> {
        let end = self.rest.find(|sign: char| !(sign.is_alphanumeric() || sign == '_'));
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        Some(name).filter(|name| !name.is_empty())
    }

    fn needed(&self, name: &str) -> Result<&'v str, ExpressionError> {
        match self.values.of.get(name) {
            Some(value) => Ok(value.as_str()),
            None if self.values.strict => Err(ExpressionError::Unset(name.to_owned())),
            None => Ok(""),
        }
    }

    fn brace(&mut self) -> Result<(), ExpressionError> {
        if self.take("}") { Ok(()) } else { Err(Malformed("its brace is missing")) }
    }

    /// Takes the sign once or twice; whether twice.
    fn twice(&mut self, sign: char) -> bool {
        self.skip(sign);
        let again = self.peek() == Some(sign);
        if again {
            self.skip(sign);
        }
        again
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn skip(&mut self, sign: char) {
        self.rest = self.rest.get(sign.len_utf8()..).unwrap_or_default();
    }

    fn take(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

fn cased(value: &str, upper: bool, all: bool) -> String {
    let case = |text: &str| if upper { text.to_uppercase() } else { text.to_lowercase() };
    let first = value.chars().next().map_or(0, char::len_utf8);
    let (head, rest) = value.split_at(if all { value.len() } else { first });
    case(head) + rest
}

/// A part by bytes; all of it where the numbers are none, `None` where it cannot be.
fn cut<'a>(value: &'a str, from: &str, length: Option<&str>) -> Option<&'a str> {
    let Ok(from) = number(from) else { return Some(value) };
    let whole = i64::try_from(value.len()).ok()?;
    let from = if from < 0 { (whole + from).max(0) } else { from };
    let end = match length.map(number) {
        None => whole,
        Some(Err(())) => return Some(value),
        Some(Ok(length)) => from.checked_add(length)?.min(whole),
    };
    if from == end || (from >= whole && end >= whole) {
        return Some("");
    }
    value.get(usize::try_from(from).ok()?..usize::try_from(end).ok()?)
}

fn number(text: &str) -> Result<i64, ()> {
    text.parse().map_err(drop)
}
