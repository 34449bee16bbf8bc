//! The canonical YAML of a schematic, byte for byte as Go's `yaml.v3` writes it.
//!
//! A digest forgives nothing, so scalars are quoted by the rules of that library and no others: text that it would read back
//! as something else goes into double quotes, text that is not allowed unquoted goes into single ones.

use std::fmt::Write as _;

use serde_json::Value;

use super::Schematic;

/// Spaces a level.
const INDENT: usize = 4;

/// The text of a schematic. Empty parts are left out, `customization` never.
pub(super) fn schematic(schematic: &Schematic) -> String {
    let mut root = Mapping::default();
    root.text("owner", &schematic.owner);
    let overlay = &schematic.overlay;
    if *overlay != super::Overlay::default() {
        let mut part = Mapping::default();
        part.0.push(("image".to_owned(), Item::Text(overlay.image.clone())));
        part.0.push(("name".to_owned(), Item::Text(overlay.name.clone())));
        if !overlay.options.is_empty() {
            part.0.push(("options".to_owned(), Item::of(&Value::Object(overlay.options.clone()))));
        }
        root.0.push(("overlay".to_owned(), Item::Mapping(part)));
    }
    root.0.push(("customization".to_owned(), Item::Mapping(customization(schematic))));
    let mut out = String::new();
    root.write(&mut out, 0);
    out
}

fn customization(schematic: &Schematic) -> Mapping {
    let from = &schematic.customization;
    let mut part = Mapping::default();
    part.text("embeddedMachineConfiguration", &from.embedded_machine_configuration);
    part.texts("extraKernelArgs", &from.extra_kernel_args);
    if !from.meta.is_empty() {
        let values = from.meta.iter().map(|meta| {
            let value = Item::Text(meta.value.clone());
            Item::Mapping(Mapping(vec![
                ("key".to_owned(), Item::Bare(meta.key.to_string())),
                ("value".to_owned(), value),
            ]))
        });
        part.0.push(("meta".to_owned(), Item::List(values.collect())));
    }
    let mut extensions = Mapping::default();
    extensions.texts("officialExtensions", &from.system_extensions.official_extensions);
    part.mapping("systemExtensions", extensions);
    part.text("bootloader", &from.bootloader);
    let mut secureboot = Mapping::default();
    secureboot.text("enrollKeys", &from.secureboot.enroll_keys);
    if from.secureboot.include_well_known_certificates {
        secureboot.0.push(("includeWellKnownCertificates".to_owned(), Item::Bare("true".to_owned())));
    }
    part.mapping("secureboot", secureboot);
    if from.disk_image.sector_size != 0 {
        let size = Item::Bare(from.disk_image.sector_size.to_string());
        part.mapping("diskImage", Mapping(vec![("sectorSize".to_owned(), size)]));
    }
    part
}

/// Keys and values in their order.
#[derive(Default)]
struct Mapping(Vec<(String, Item)>);

enum Item {
    Text(String),
    /// A number or a boolean.
    Bare(String),
    List(Vec<Item>),
    Mapping(Mapping),
}

impl Item {
    /// Any value; Go writes the keys of its maps sorted.
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Bare("null".to_owned()),
            Value::Bool(_) | Value::Number(_) => Self::Bare(value.to_string()),
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(items) => Self::List(items.iter().map(Self::of).collect()),
            Value::Object(map) => {
                let mut entries: Vec<_> =
                    map.iter().map(|(key, value)| (key.clone(), Self::of(value))).collect();
                entries.sort_by(|(left, _), (right, _)| left.cmp(right));
                Self::Mapping(Mapping(entries))
            }
        }
    }

    /// Writes the value behind `key:` or `-`, with the line's end.
    fn write(&self, out: &mut String, indent: usize, in_list: bool) {
        match self {
            Self::Text(text) => {
                out.push(' ');
                scalar(out, text, indent + INDENT);
                out.push('\n');
            }
            Self::Bare(text) => {
                out.push(' ');
                out.push_str(text);
                out.push('\n');
            }
            Self::List(items) if items.is_empty() => out.push_str(" []\n"),
            Self::Mapping(mapping) if mapping.0.is_empty() => out.push_str(" {}\n"),
            Self::List(items) => {
                out.push('\n');
                for item in items {
                    spaces(out, indent + INDENT);
                    out.push('-');
                    item.write(out, indent + INDENT, true);
                }
            }
            Self::Mapping(mapping) if in_list => {
                // the first key stands behind the dash, the others below it
                let mut rest = String::new();
                mapping.write(&mut rest, indent + 2);
                out.push(' ');
                out.push_str(rest.trim_start_matches(' '));
            }
            Self::Mapping(mapping) => {
                out.push('\n');
                mapping.write(out, indent + INDENT);
            }
        }
    }
}

impl Mapping {
    fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.0.push((key.to_owned(), Item::Text(text.to_owned())));
        }
    }

    fn texts(&mut self, key: &str, texts: &[String]) {
        if !texts.is_empty() {
            let items = texts.iter().cloned().map(Item::Text).collect();
            self.0.push((key.to_owned(), Item::List(items)));
        }
    }

    fn mapping(&mut self, key: &str, mapping: Self) {
        if !mapping.0.is_empty() {
            self.0.push((key.to_owned(), Item::Mapping(mapping)));
        }
    }

    fn write(&self, out: &mut String, indent: usize) {
        for (key, item) in &self.0 {
            spaces(out, indent);
            scalar(out, key, indent + INDENT);
            out.push(':');
            item.write(out, indent, false);
        }
    }
}

fn spaces(out: &mut String, count: usize) {
    out.extend(std::iter::repeat_n(' ', count));
}

/// Writes a text in the style that Go chooses. `indent` is where the lines of a block stand.
fn scalar(out: &mut String, text: &str, indent: usize) {
    if !reads_as_text(text) {
        return double_quoted(out, text);
    }
    if text.contains('\n') {
        return match literal_allowed(text) {
            true => literal(out, text, indent),
            false => double_quoted(out, text),
        };
    }
    match (plain_allowed(text), single_quoted_allowed(text)) {
        (true, _) => out.push_str(text),
        (false, true) => {
            out.push('\'');
            out.push_str(&text.replace('\'', "''"));
            out.push('\'');
        }
        (false, false) => double_quoted(out, text),
    }
}

/// Whether Go reads the unquoted text as text, and older readers too.
fn reads_as_text(text: &str) -> bool {
    let words = [
        "", "~", "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE", "<<", ".nan",
        ".NaN", ".NAN", ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF", "y",
        "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off", "OFF",
    ];
    !words.contains(&text) && !is_number(text) && !is_timestamp(text) && !is_base_60(text)
}

fn is_number(text: &str) -> bool {
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return false;
    }
    let plain = text.replace('_', "");
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    let digits = |text: &str, radix: u32| !text.is_empty() && text.chars().all(|digit| digit.is_digit(radix));
    let lower = unsigned.to_ascii_lowercase();
    let prefixed = [("0x", 16), ("0o", 8), ("0b", 2)]
        .iter()
        .any(|(prefix, radix)| lower.strip_prefix(prefix).is_some_and(|rest| digits(rest, *radix)));
    prefixed || is_float(unsigned)
}

/// `digits[.digits][e±digits]` or `.digits[e±digits]`; whole numbers too.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_good = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    mantissa_good
        && exponent.is_none_or(|exponent| {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            !exponent.is_empty() && digits(exponent)
        })
}

/// `2001-01-01` and what begins like it with a time behind.
fn is_timestamp(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let number = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let day_length = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (day, time) = rest.split_at(day_length);
    number(year, 4..=4)
        && number(month, 1..=2)
        && number(day, 1..=2)
        && (time.is_empty() || (time.starts_with(['T', 't', ' ']) && time.contains(':')))
}

/// `12:34:56`, a number in YAML 1.1.
fn is_base_60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = unsigned.split(':');
    let first = parts.next().unwrap_or_default();
    let mut rest: Vec<&str> = parts.collect();
    let (Some(last), true) = (rest.pop(), first.starts_with(|first: char| first.is_ascii_digit())) else {
        return false;
    };
    let sixty = |part: &str| matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
    let (last, fraction) = last.split_once('.').unwrap_or((last, ""));
    let underscored = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    underscored(first) && underscored(fraction) && sixty(last) && rest.into_iter().all(sixty)
}

fn printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && character != '\u{feff}'
        || character >= '\u{10000}'
}

fn plain_allowed(text: &str) -> bool {
    let characters: Vec<char> = text.chars().collect();
    let blank_after = |at: usize| characters.get(at + 1).is_none_or(|next| matches!(next, ' ' | '\t' | '\n'));
    if text.starts_with("---") || text.starts_with("...") || text.starts_with(' ') || text.ends_with(' ') {
        return false;
    }
    characters.iter().enumerate().all(|(at, &character)| match character {
        '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`'
            if at == 0 =>
        {
            false
        }
        '?' | '-' if at == 0 => !blank_after(at),
        ':' => !blank_after(at),
        '#' => {
            at.checked_sub(1).and_then(|before| characters.get(before)).is_none_or(|&before| before != ' ')
        }
        '\t' => false,
        other => printable(other),
    })
}

fn single_quoted_allowed(text: &str) -> bool {
    text.chars().all(printable)
}

fn literal_allowed(text: &str) -> bool {
    text.chars().all(|character| printable(character) || character == '\t')
        && !text.starts_with([' ', '\n'])
        && !text.contains(" \n")
}

fn literal(out: &mut String, text: &str, indent: usize) {
    out.push('|');
    let body = text.trim_end_matches('\n');
    match text.len() - body.len() {
        0 => out.push('-'),
        1 => {}
        _ => out.push('+'),
    }
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            spaces(out, indent);
            out.push_str(line);
        }
    }
}

fn double_quoted(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            other if printable(other) => out.push(other),
            other => {
                // writing into a string does not fail
                match u32::from(other) {
                    code @ 0..=0xff => write!(out, "\\x{code:02X}"),
                    code @ 0x100..=0xffff => write!(out, "\\u{code:04X}"),
                    code => write!(out, "\\U{code:08X}"),
                }
                .ok();
            }
        }
    }
    out.push('"');
}
