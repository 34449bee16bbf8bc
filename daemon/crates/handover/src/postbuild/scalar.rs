//! A text as Flux writes it in YAML before it puts variables in, and as it is read afterwards.

use document::Document;
use serde_json::Value;

/// What is around a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Context {
    /// the value of a key
    Value,
    /// an item of a list
    Item,
}

impl Context {
    fn lead(self) -> &'static str {
        match self {
            Context::Value => "k: ",
            Context::Item => "- ",
        }
    }
}

/// Signs that a plain text cannot begin with.
const INDICATORS: &str = "#,[]{}&*!|>'\"%@`";

/// The text behind its key or dash.
pub(super) fn written(text: &str, context: Context) -> String {
    let style = if text.contains('\n') { literal(text) } else { None };
    context.lead().to_owned() + &style.unwrap_or_else(|| one_line(text))
}

/// The key of something.
pub(super) fn written_key(key: &str) -> String {
    one_line(key) + ": x"
}

/// What comes of it; `None` where it is no YAML, or not the same kind of thing any more.
pub(super) fn read(written: &str, context: Context) -> Option<Value> {
    let root = Document::parse("", written).ok()?.root().to_json();
    let read = inside(context, root)?;
    Some(match &read {
        Value::String(text)
            if written.strip_prefix(context.lead()).is_some_and(|plain| plain.trim() == text) =>
        {
            older(text).unwrap_or(read)
        }
        _ => read,
    })
}

fn inside(context: Context, root: Value) -> Option<Value> {
    match (context, root) {
        (Context::Value, Value::Object(mut entries)) if entries.len() == 1 => entries.shift_remove("k"),
        (Context::Item, Value::Array(mut items)) if items.len() == 1 => items.pop(),
        _ => None,
    }
}

/// What a plain text is in YAML 1.1, which Flux reads, where it is only a text in YAML 1.2.
fn older(text: &str) -> Option<Value> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Some(Value::Bool(true)),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Some(Value::Bool(false)),
        _ => {}
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = digits.replace('_', "");
    let radix = |prefix: &str, radix| i64::from_str_radix(digits.strip_prefix(prefix)?, radix).ok();
    let number =
        radix("0x", 16).or_else(|| radix("0o", 8)).or_else(|| radix("0b", 2)).or_else(|| radix("0", 8));
    let number =
        number.or_else(|| digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?);
    number.map(|number: i64| Value::from(sign * number))
}

/// The key that comes of it.
pub(super) fn key(written: &str) -> Option<String> {
    let document = Document::parse("", written).ok()?;
    let Value::Object(entries) = document.root().to_json() else { return None };
    let mut entries = entries.into_iter();
    match (entries.next(), entries.next()) {
        (Some((key, Value::String(text))), None) if text == "x" => Some(key),
        _ => None,
    }
}

/// Several lines as they are; `None` where they cannot stand so.
fn literal(text: &str) -> Option<String> {
    let cannot = |line: &str| line.ends_with(' ') || line.chars().any(is_special);
    let lines: Vec<&str> = text.split('\n').collect();
    if lines.iter().any(|line| cannot(line)) {
        return None;
    }
    let hint = if text.starts_with([' ', '\n']) { "2" } else { "" };
    let end = match text.strip_suffix('\n') {
        None => "-",
        Some(rest) if rest.is_empty() || rest.ends_with('\n') => "+",
        Some(_) => "",
    };
    let body: String = (text.strip_suffix('\n').unwrap_or(text).split('\n'))
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("\n  {line}") })
        .collect();
    Some(format!("|{hint}{end}{body}\n"))
}

fn one_line(text: &str) -> String {
    if text.contains('\n') || text.chars().any(is_special) {
        return double_quoted(text);
    }
    let blank_or_end = |sign: Option<char>| sign.is_none_or(|sign| sign == ' ');
    let first = text.chars().next();
    let begins = first.is_some_and(|first| {
        INDICATORS.contains(first) || (matches!(first, '-' | '?' | ':') && blank_or_end(text.chars().nth(1)))
    });
    let inside = text.contains(": ") || text.ends_with(':') || text.contains(" #");
    let is_plain = !begins
        && !inside
        && !text.starts_with(' ')
        && !text.ends_with(' ')
        && !text.starts_with("---")
        && !text.starts_with("...");
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

/// What only double quotes can hold.
fn is_special(sign: char) -> bool {
    sign.is_control() || matches!(sign, '\u{feff}' | '\u{2028}' | '\u{2029}')
}

fn double_quoted(text: &str) -> String {
    // its escapes are YAML's, too
    Value::String(text.to_owned()).to_string()
}
