//! From the spelling in a file to the value Go makes of it, which depends on what the place holds.
//!
//! `0644` is 420 as a file's permissions, but `0644` as a label; `yes` is true for a switch, but a word elsewhere.

use document::Value as Written;
use document::{Entry, Node};
use serde_json::{Map, Number, Value};

use super::{Shape, fields};

/// What Talos reads at a place of the given shape.
pub(crate) fn value(node: &Node, shape: &Shape) -> Value {
    match (shape, &node.value) {
        (_, Written::Null) => Value::Null,
        (Shape::Pointer(inner), _) => value(node, inner),
        (Shape::Struct { name, .. }, Written::Map(entries)) => {
            let fields = fields(name);
            object(entries, |entry| match fields.get(&entry.key) {
                Some(field) => value(&entry.node, &field.shape),
                None => value(&entry.node, &Shape::Any),
            })
        }
        (Shape::Map(inner), Written::Map(entries)) => object(entries, |entry| value(&entry.node, inner)),
        (Shape::Arguments, Written::Map(entries)) => object(entries, |entry| match &entry.node.value {
            Written::List(items) => items.iter().map(|item| value(item, &Shape::Text)).collect(),
            _ => value(&entry.node, &Shape::Text),
        }),
        (Shape::List { element, .. }, Written::List(items)) => {
            items.iter().map(|item| value(item, element)).collect()
        }
        (_, Written::Map(entries)) => object(entries, |entry| value(&entry.node, &Shape::Any)),
        (_, Written::List(items)) => items.iter().map(|item| value(item, &Shape::Any)).collect(),
        (Shape::Text, _) => Value::from(node.text().unwrap_or_default()),
        (Shape::Integer | Shape::Any | Shape::Unknown, Written::Text(text, true)) => {
            integer(text).map_or_else(|| Value::from(text.as_str()), Value::Number)
        }
        (Shape::Bool, Written::Text(text, true)) => {
            boolean(text).map_or_else(|| Value::from(text.as_str()), Value::Bool)
        }
        (
            Shape::Size
            | Shape::Opaque
            | Shape::Overwritten
            | Shape::Word(_)
            | Shape::Duration
            | Shape::Bytes
            | Shape::Url,
            Written::Integer(_, spelling) | Written::Float(_, spelling) | Written::Bool(_, spelling),
        ) => {
            // `80` as a port stays a number, `1.10` does not become 1.1
            let natural = node.to_json();
            let text = natural.to_string();
            if text == *spelling { natural } else { Value::from(spelling.as_str()) }
        }
        _ => node.to_json(),
    }
}

fn object(entries: &[Entry], read: impl Fn(&Entry) -> Value) -> Value {
    Value::Object(entries.iter().map(|entry| (entry.key.clone(), read(entry))).collect::<Map<_, _>>())
}

/// The switches of YAML 1.1, which Go still accepts where a boolean is wanted.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// A whole number as Go reads it: underscores, and octal after a leading zero.
fn integer(text: &str) -> Option<Number> {
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, digits.get(2..)?),
        Some("0o" | "0O") => (8, digits.get(2..)?),
        Some("0b" | "0B") => (2, digits.get(2..)?),
        Some(_) if digits.starts_with('0') => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    if !digits.starts_with(|digit: char| digit.is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        0_i64.checked_sub_unsigned(magnitude).map(Number::from)
    } else {
        Some(Number::from(magnitude))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::MachineConfig;

    #[test]
    fn the_place_decides_what_is_read() {
        let text = "machine:\n  nodeLabels: {a: 0755, b: 1.10, c: yes, d: 1_000, e: 5, f: true}\n  sysctls: {x: 0x1F}\n  \
                    files: [{path: /var/a, permissions: 0644, content: 7, op: create}]\n  \
                    install: {wipe: no, disk: on}\n  kubelet: {extraConfig: {a: 0755, b: yes, c: 1_000, d: '0755', e: -0x10}, \
                    extraArgs: {v: 2, feature-gates: [A=true, 1.10]}}\n";
        let config = MachineConfig::from_yaml(text).expect("reads");
        let machine = &config.v1alpha1().expect("there")["machine"];
        let labels = json!({"a": "0755", "b": "1.10", "c": "yes", "d": "1_000", "e": "5", "f": "true"});
        assert_eq!(machine["nodeLabels"], labels);
        assert_eq!(machine["sysctls"], json!({"x": "0x1F"}));
        assert_eq!(machine["files"][0]["permissions"], json!(0o644));
        assert_eq!(machine["files"][0]["content"], json!("7"));
        assert_eq!(machine["install"], json!({"wipe": false, "disk": "on"}));
        let kubelet = &machine["kubelet"];
        assert_eq!(kubelet["extraConfig"], json!({"a": 0o755, "b": "yes", "c": 1000, "d": "0755", "e": -16}));
        assert_eq!(kubelet["extraArgs"], json!({"v": "2", "feature-gates": ["A=true", "1.10"]}));
    }

    #[test]
    fn numbers_of_go() {
        let read = |text: &str| integer(text).map(|number| number.to_string());
        assert_eq!(read("0755").as_deref(), Some("493"));
        assert_eq!(read("-0b11").as_deref(), Some("-3"));
        assert_eq!(read("1_000").as_deref(), Some("1000"));
        assert_eq!(read("00").as_deref(), Some("0"));
        for text in ["08", "0x", "1.5", "abc", "--1", "+-1", "99999999999999999999", ""] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
