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

    /// Writes the value behind `key:` or `-`, with the line's end. `indent` is where the key or the dash stands.
    fn write(&self, out: &mut String, indent: usize, in_list: bool) {
        // what is in a list stands behind the dash, everything else at the next stop
        let inner = if in_list { indent + 2 } else { INDENT * ((indent + INDENT) / INDENT) };
        match self {
            Self::Text(text) => {
                out.push(' ');
                scalar(out, text, inner);
                if !out.ends_with('\n') {
                    out.push('\n');
                }
            }
            Self::Bare(text) => out.extend([" ", text, "\n"]),
            Self::List(items) if items.is_empty() => out.push_str(" []\n"),
            Self::Mapping(mapping) if mapping.0.is_empty() => out.push_str(" {}\n"),
            Self::List(_) | Self::Mapping(_) => {
                let mut block = String::new();
                self.write_block(&mut block, inner);
                out.push(if in_list { ' ' } else { '\n' });
                out.push_str(if in_list { block.trim_start_matches(' ') } else { &block });
            }
        }
    }

    /// Writes the lines of a list or mapping.
    fn write_block(&self, out: &mut String, indent: usize) {
        match self {
            Self::Text(_) | Self::Bare(_) => {}
            Self::Mapping(mapping) => mapping.write(out, indent),
            Self::List(items) => {
                for item in items {
                    spaces(out, indent);
                    out.push('-');
                    item.write(out, indent, true);
                }
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
            scalar(out, key, indent);
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
        "", "~", "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE", ".nan", ".NaN",
        ".NAN", ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF", "y", "Y",
        "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off", "OFF",
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

/// `2001-01-01`, `2001-01-01 10:00:00` and `2001-01-01T10:00:00Z`: Go makes a time of what is a date.
fn is_timestamp(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let (day, time) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
    let lengths = year.len() == 4 && month.len() <= 2 && day.len() <= 2;
    let (true, Some(year), Some(month), Some(day)) = (lengths, number(year), number(month), number(day))
    else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
        && match time.split_at_checked(1) {
            None => true,
            Some((" ", clock)) => is_clock(clock),
            Some(("T" | "t", clock)) => match clock.strip_suffix('Z') {
                Some(clock) => is_clock(clock),
                None => clock.rfind(['+', '-']).is_some_and(|at| {
                    let (clock, zone) = clock.split_at(at);
                    let zone = zone.get(1..).and_then(|zone| zone.split_once(':'));
                    let two = |text: &str| text.len() == 2 && number(text).is_some();
                    is_clock(clock) && zone.is_some_and(|(hours, minutes)| two(hours) && two(minutes))
                }),
            },
            Some(_) => false,
        }
}

/// `10:00:00.5`.
fn is_clock(text: &str) -> bool {
    let (text, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let parts: Vec<Option<u16>> = text.split(':').map(number).collect();
    let digits = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    digits && matches!(parts.as_slice(), [Some(..24), Some(..60), Some(..60)])
}

/// A number of digits alone, and few of them.
fn number(text: &str) -> Option<u16> {
    (text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
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

/// What the library writes without an escape. Its unicode ends where UTF-8 begins to need four bytes.
fn printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
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
        && !text.ends_with(' ')
        && !text.contains(" \n")
}

/// Writes a block. Like the library it loses a line break at the very beginning.
fn literal(out: &mut String, text: &str, indent: usize) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push_str(&INDENT.to_string());
    }
    match text.strip_suffix('\n') {
        None => out.push('-'),
        Some(body) if body.is_empty() || body.ends_with('\n') => out.push('+'),
        Some(_) => {}
    }
    let (mut begins_line, mut ends_header) = (true, true);
    for character in text.chars() {
        if character == '\n' {
            (begins_line, ends_header) = (true, false);
        } else if begins_line {
            if ends_header {
                out.push('\n');
            }
            spaces(out, indent);
            (begins_line, ends_header) = (false, false);
        }
        out.push(character);
    }
}

fn double_quoted(out: &mut String, text: &str) {
    // the library takes every character for a byte order mark once the first one is
    let marked = text.starts_with('\u{feff}');
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            other if printable(other) && !marked => out.push(other),
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
