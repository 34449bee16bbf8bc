//! The functions of sprig that work on texts, lists and numbers alone.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::print::{print, quoted};
use super::value::Value;

/// The functions here.
pub(super) const NAMES: &[&str] = &[
    "add",
    "add1",
    "all",
    "any",
    "append",
    "atoi",
    "b64dec",
    "b64enc",
    "cat",
    "ceil",
    "coalesce",
    "compact",
    "concat",
    "contains",
    "default",
    "dict",
    "div",
    "empty",
    "first",
    "floor",
    "get",
    "has",
    "hasKey",
    "hasPrefix",
    "hasSuffix",
    "indent",
    "initial",
    "int",
    "int64",
    "join",
    "keys",
    "last",
    "list",
    "lower",
    "max",
    "min",
    "mod",
    "mul",
    "nindent",
    "nospace",
    "pluck",
    "prepend",
    "quote",
    "repeat",
    "replace",
    "rest",
    "reverse",
    "round",
    "sha256sum",
    "sortAlpha",
    "split",
    "splitList",
    "splitn",
    "squote",
    "sub",
    "substr",
    "ternary",
    "title",
    "toJson",
    "toPrettyJson",
    "toRawJson",
    "toString",
    "toStrings",
    "trim",
    "trimAll",
    "trimPrefix",
    "trimSuffix",
    "trunc",
    "uniq",
    "until",
    "untilStep",
    "untitle",
    "upper",
    "values",
    "without",
];

/// How long a text made by repeating may become.
const LONGEST: usize = 1024 * 1024;

/// Calls one of [`NAMES`].
pub(super) fn call<'a>(name: &str, arguments: &[Value<'a>]) -> Result<Value<'a>, String> {
    match texts(name, arguments) {
        Some(result) => result.map(Value::Text),
        None => match numbers(name, arguments) {
            Some(result) => result.map(Value::Integer),
            None => others(name, arguments),
        },
    }
}

/// Functions that give a text.
fn texts(name: &str, arguments: &[Value<'_>]) -> Option<Result<String, String>> {
    let text = |at: usize| text(arguments, at);
    let count = |at: usize| integer(arguments, at);
    Some(match name {
        "lower" => text(0).map(|text| text.to_lowercase()),
        "upper" => text(0).map(|text| text.to_uppercase()),
        "title" => text(0).map(|text| words(&text, |c| c.to_uppercase().collect())),
        "untitle" => text(0).map(|text| words(&text, |c| c.to_lowercase().collect())),
        "trim" => text(0).map(|text| text.trim().to_owned()),
        "nospace" => text(0).map(|text| text.split_whitespace().collect()),
        "trimAll" => text(0).and_then(|set| {
            let text = self::text(arguments, 1)?;
            Ok(text.trim_matches(|c| set.contains(c)).to_owned())
        }),
        "trimPrefix" => {
            pair(arguments).map(|(part, text)| text.strip_prefix(&*part).unwrap_or(&text).to_owned())
        }
        "trimSuffix" => {
            pair(arguments).map(|(part, text)| text.strip_suffix(&*part).unwrap_or(&text).to_owned())
        }
        "replace" => {
            pair(arguments).and_then(|(old, new)| Ok(self::text(arguments, 2)?.replace(&*old, &new)))
        }
        "repeat" => count(0).and_then(|n| {
            let (text, n) = (self::text(arguments, 1)?, usize::try_from(n).unwrap_or_default());
            if text.len().saturating_mul(n) > LONGEST {
                Err("that is too much".to_owned())
            } else {
                Ok(text.repeat(n))
            }
        }),
        "indent" => indented(arguments),
        "nindent" => indented(arguments).map(|text| format!("\n{text}")),
        "trunc" => count(0).and_then(|n| {
            let text = self::text(arguments, 1)?;
            let length = usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
            let cut = if n < 0 {
                text.get(text.len().saturating_sub(length)..)
            } else {
                text.get(..length.min(text.len()))
            };
            cut.map(str::to_owned).ok_or_else(|| "the text would be cut inside a character".to_owned())
        }),
        "substr" => count(0).and_then(|from| {
            let (to, text) = (integer(arguments, 1)?, self::text(arguments, 2)?);
            let from = usize::try_from(from).unwrap_or_default();
            let to = usize::try_from(to).unwrap_or(text.len()).min(text.len());
            text.get(from.min(to)..to)
                .map(str::to_owned)
                .ok_or_else(|| "the text would be cut inside a character".to_owned())
        }),
        "quote" => each(arguments, quoted),
        "squote" => each(arguments, |text| format!("'{text}'")),
        "cat" => each(arguments, str::to_owned),
        "join" => text(0).and_then(|separator| {
            let items = match arguments.get(1) {
                Some(Value::List(items)) => items.iter().map(print).collect::<Result<Vec<_>, _>>()?,
                Some(other) => vec![print(other)?],
                None => return Err("it takes a separator and a list".to_owned()),
            };
            Ok(items.join(&separator))
        }),
        "toString" => one(arguments).and_then(print),
        "b64enc" => text(0).map(|text| STANDARD.encode(text)),
        "b64dec" => text(0).and_then(|text| {
            let bytes = STANDARD.decode(text).map_err(|_| "that is not base64".to_owned())?;
            String::from_utf8(bytes).map_err(|_| "that is not text in base64".to_owned())
        }),
        "sha256sum" => text(0).map(|text| hex::encode(Sha256::digest(text))),
        "toJson" | "toRawJson" => one(arguments).and_then(json).map(|json| json.to_string()),
        "toPrettyJson" => one(arguments)
            .and_then(json)
            .and_then(|json| serde_json::to_string_pretty(&json).map_err(|error| error.to_string())),
        _ => return None,
    })
}

/// Functions that give a whole number.
fn numbers(name: &str, arguments: &[Value<'_>]) -> Option<Result<i64, String>> {
    let all = || (0..arguments.len()).map(|at| integer(arguments, at)).collect::<Result<Vec<_>, _>>();
    let fold = |from: Option<i64>, step: fn(i64, i64) -> Option<i64>| {
        let numbers = all()?;
        let (first, rest) = match from {
            Some(first) => (first, numbers.as_slice()),
            None => match numbers.split_first() {
                Some((first, rest)) => (*first, rest),
                None => return Err("it takes numbers".to_owned()),
            },
        };
        let result = rest.iter().try_fold(first, |sum, &number| step(sum, number));
        result.ok_or_else(|| "there is no such number".to_owned())
    };
    Some(match name {
        "add" => fold(Some(0), i64::checked_add),
        "add1" => fold(Some(1), i64::checked_add),
        "sub" => fold(None, i64::checked_sub),
        "mul" => fold(None, i64::checked_mul),
        "div" => fold(None, i64::checked_div),
        "mod" => fold(None, i64::checked_rem),
        "max" => fold(None, |a, b| Some(a.max(b))),
        "min" => fold(None, |a, b| Some(a.min(b))),
        "int" | "int64" | "atoi" => integer(arguments, 0).or(Ok(0)),
        _ => return None,
    })
}

fn others<'a>(name: &str, arguments: &[Value<'a>]) -> Result<Value<'a>, String> {
    let truth = |value: bool| Ok(Value::Bool(value));
    match name {
        "contains" => pair(arguments).and_then(|(part, text)| truth(text.contains(&*part))),
        "hasPrefix" => pair(arguments).and_then(|(part, text)| truth(text.starts_with(&*part))),
        "hasSuffix" => pair(arguments).and_then(|(part, text)| truth(text.ends_with(&*part))),
        "empty" => one(arguments).and_then(|value| truth(value.is_empty())),
        "all" => truth(arguments.iter().all(|value| !value.is_empty())),
        "any" => truth(arguments.iter().any(|value| !value.is_empty())),
        "default" => match arguments {
            [default, value] if value.is_empty() => Ok(default.clone()),
            [_, value] => Ok(value.clone()),
            [default] => Ok(default.clone()),
            _ => Err("it takes a default and a value".to_owned()),
        },
        "coalesce" => Ok(arguments.iter().find(|value| !value.is_empty()).cloned().unwrap_or(Value::Nil)),
        "ternary" => match arguments {
            [yes, no, Value::Bool(which)] => Ok(if *which { yes.clone() } else { no.clone() }),
            _ => Err("it takes two values and a boolean".to_owned()),
        },
        "list" => Ok(Value::List(arguments.to_vec())),
        "dict" => {
            let entries = arguments.chunks(2).map(|entry| match entry {
                [key, value] => Ok((print(key)?, value.clone())),
                _ => Ok((print(&entry[0])?, Value::Text(String::new()))),
            });
            entries.collect::<Result<BTreeMap<_, _>, String>>().map(Value::Map)
        }
        "get" | "hasKey" => match arguments {
            [Value::Map(map), Value::Text(key)] if name == "hasKey" => truth(map.contains_key(key)),
            [Value::Map(map), Value::Text(key)] => {
                Ok(map.get(key).cloned().unwrap_or_else(|| Value::Text(String::new())))
            }
            _ => Err("it takes a mapping and a key".to_owned()),
        },
        "keys" | "values" => match arguments {
            [Value::Map(map)] if name == "keys" => {
                Ok(Value::List(map.keys().cloned().map(Value::Text).collect()))
            }
            [Value::Map(map)] => Ok(Value::List(map.values().cloned().collect())),
            _ => Err("it takes a mapping".to_owned()),
        },
        "pluck" => match arguments.split_first() {
            Some((Value::Text(key), maps)) => {
                let found = maps.iter().filter_map(|map| match map {
                    Value::Map(map) => map.get(key).cloned(),
                    _ => None,
                });
                Ok(Value::List(found.collect()))
            }
            _ => Err("it takes a key and mappings".to_owned()),
        },
        "split" | "splitn" | "splitList" => split(name, arguments),
        "until" | "untilStep" => until(name, arguments),
        "toStrings" => {
            let texts = items(arguments, 0)?.iter().map(|item| print(item).map(Value::Text));
            texts.collect::<Result<_, _>>().map(Value::List)
        }
        "ceil" | "floor" | "round" => {
            let number = match arguments.first() {
                Some(Value::Float(number)) => *number,
                #[allow(clippy::cast_precision_loss)] // as Go does it
                _ => integer(arguments, 0)? as f64,
            };
            Ok(Value::Float(match name {
                "ceil" => number.ceil(),
                "floor" => number.floor(),
                _ => number.round(),
            }))
        }
        _ => lists(name, arguments),
    }
}

/// Functions that take a list.
fn lists<'a>(name: &str, arguments: &[Value<'a>]) -> Result<Value<'a>, String> {
    let list = |items: Vec<Value<'a>>| Ok(Value::List(items));
    if name == "has" {
        let (needle, items) = (arguments.first().unwrap_or(&Value::Nil), items(arguments, 1)?);
        return Ok(Value::Bool(items.contains(needle)));
    }
    if name == "concat" {
        let parts = (0..arguments.len()).map(|at| items(arguments, at));
        return list(parts.collect::<Result<Vec<_>, _>>()?.concat());
    }
    let items = items(arguments, 0)?;
    let more = arguments.get(1..).unwrap_or_default();
    match name {
        "first" => Ok(items.first().cloned().unwrap_or(Value::Nil)),
        "last" => Ok(items.last().cloned().unwrap_or(Value::Nil)),
        "rest" => list(items.get(1..).unwrap_or_default().to_vec()),
        "initial" => list(items.get(..items.len().saturating_sub(1)).unwrap_or_default().to_vec()),
        "append" => list([items, more].concat()),
        "prepend" => list([more, items].concat()),
        "reverse" => list(items.iter().rev().cloned().collect()),
        "without" => list(items.iter().filter(|item| !more.contains(item)).cloned().collect()),
        "compact" => list(items.iter().filter(|item| !item.is_empty()).cloned().collect()),
        "uniq" => {
            let mut unique: Vec<Value<'a>> = Vec::new();
            for item in items {
                if !unique.contains(item) {
                    unique.push(item.clone());
                }
            }
            list(unique)
        }
        _ => {
            let mut texts = items.iter().map(print).collect::<Result<Vec<_>, _>>()?;
            texts.sort();
            list(texts.into_iter().map(Value::Text).collect())
        }
    }
}

fn split<'a>(name: &str, arguments: &[Value<'a>]) -> Result<Value<'a>, String> {
    let separator = text(arguments, 0)?;
    let (limit, text) = match name {
        "splitn" => (usize::try_from(integer(arguments, 1)?).unwrap_or_default(), text(arguments, 2)?),
        _ => (usize::MAX, text(arguments, 1)?),
    };
    let parts: Vec<String> = if separator.is_empty() {
        text.chars().map(String::from).collect()
    } else {
        text.splitn(limit, &*separator).map(str::to_owned).collect()
    };
    Ok(if name == "splitList" {
        Value::List(parts.into_iter().map(Value::Text).collect())
    } else {
        Value::Map(
            parts.into_iter().enumerate().map(|(at, part)| (format!("_{at}"), Value::Text(part))).collect(),
        )
    })
}

fn until<'a>(name: &str, arguments: &[Value<'a>]) -> Result<Value<'a>, String> {
    let (from, to, step) = match name {
        "until" => (0, integer(arguments, 0)?, 1),
        _ => (integer(arguments, 0)?, integer(arguments, 1)?, integer(arguments, 2)?),
    };
    let step = match usize::try_from(step) {
        Ok(step) if step > 0 && to.saturating_sub(from) <= 100_000 => step,
        _ => return Err("these bounds are not supported".to_owned()),
    };
    Ok(Value::List((from..to).step_by(step).map(Value::Integer).collect()))
}

fn one<'b, 'a>(arguments: &'b [Value<'a>]) -> Result<&'b Value<'a>, String> {
    match arguments {
        [one] => Ok(one),
        _ => Err("it takes one value".to_owned()),
    }
}

fn text(arguments: &[Value<'_>], at: usize) -> Result<String, String> {
    match arguments.get(at) {
        Some(Value::Text(text)) => Ok(text.clone()),
        Some(other) => Err(format!("value {} must be a text and is {}", at + 1, other.kind())),
        None => Err("a value is missing".to_owned()),
    }
}

/// The first two, both texts.
fn pair(arguments: &[Value<'_>]) -> Result<(String, String), String> {
    Ok((text(arguments, 0)?, text(arguments, 1)?))
}

fn integer(arguments: &[Value<'_>], at: usize) -> Result<i64, String> {
    match arguments.get(at) {
        Some(Value::Integer(number)) => Ok(*number),
        #[allow(clippy::cast_possible_truncation)] // as Go does it
        Some(Value::Float(number)) => Ok(*number as i64),
        Some(Value::Bool(value)) => Ok(i64::from(*value)),
        Some(Value::Text(text)) => text.parse().map_err(|_| "a text is no whole number".to_owned()),
        Some(other) => Err(format!("value {} must be a number and is {}", at + 1, other.kind())),
        None => Err("a number is missing".to_owned()),
    }
}

fn items<'b, 'a>(arguments: &'b [Value<'a>], at: usize) -> Result<&'b [Value<'a>], String> {
    match arguments.get(at) {
        Some(Value::List(items)) => Ok(items),
        Some(Value::Nil) => Ok(&[]),
        Some(other) => Err(format!("value {} must be a list and is {}", at + 1, other.kind())),
        None => Err("a list is missing".to_owned()),
    }
}

fn each(arguments: &[Value<'_>], write: impl Fn(&str) -> String) -> Result<String, String> {
    let there = arguments.iter().filter(|value| **value != Value::Nil);
    let texts = there.map(|value| print(value).map(|text| write(&text))).collect::<Result<Vec<_>, _>>()?;
    Ok(texts.join(" "))
}

fn indented(arguments: &[Value<'_>]) -> Result<String, String> {
    let (spaces, text) = (integer(arguments, 0)?, text(arguments, 1)?);
    let pad = " ".repeat(usize::try_from(spaces).unwrap_or_default().min(1000));
    Ok(format!("{pad}{}", text.replace('\n', &format!("\n{pad}"))))
}

fn words(text: &str, change: impl Fn(char) -> String) -> String {
    let mut begins = true;
    let mut result = String::new();
    for character in text.chars() {
        if begins {
            result.push_str(&change(character));
        } else {
            result.push(character);
        }
        begins = character.is_whitespace();
    }
    result
}

fn json(value: &Value<'_>) -> Result<Json, String> {
    Ok(match value {
        Value::Nil => Json::Null,
        Value::Bool(value) => Json::from(*value),
        Value::Integer(number) => Json::from(*number),
        Value::Float(number) => Json::from(*number),
        Value::Text(text) => Json::from(text.as_str()),
        Value::List(items) => Json::Array(items.iter().map(json).collect::<Result<_, _>>()?),
        Value::Map(map) => {
            let entries = map.iter().map(|(key, value)| Ok((key.clone(), json(value)?)));
            Json::Object(entries.collect::<Result<_, String>>()?)
        }
        Value::Struct { .. } | Value::Opaque(_) => {
            return Err(format!("{} cannot be written as JSON", value.kind()));
        }
    })
}
