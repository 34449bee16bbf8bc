//! The functions of Go's templates themselves, and what there is no place for.

use std::cmp::Ordering;

use super::print;
use super::value::Value;

/// The functions here.
pub(super) const NAMES: &[&str] =
    &["and", "eq", "ge", "gt", "index", "le", "len", "lt", "ne", "not", "or", "print", "printf", "println"];

/// Functions of Go and sprig that are refused by name: they make keys or random values, look at the clock, the network or
/// the environment, or work on Go's own types.
pub(super) const MISSING: &[&str] = &[
    "adler32sum",
    "ago",
    "bcrypt",
    "buildCustomCert",
    "call",
    "chunk",
    "date",
    "dateInZone",
    "dateModify",
    "date_in_zone",
    "date_modify",
    "decryptAES",
    "deepCopy",
    "deepEqual",
    "derivePassword",
    "duration",
    "durationRound",
    "encryptAES",
    "env",
    "expandenv",
    "fail",
    "fromJson",
    "genCA",
    "genCAWithKey",
    "genPrivateKey",
    "genSelfSignedCert",
    "genSelfSignedCertWithKey",
    "genSignedCert",
    "genSignedCertWithKey",
    "getHostByName",
    "hello",
    "html",
    "htmlDate",
    "htmlDateInZone",
    "htpasswd",
    "js",
    "kindIs",
    "kindOf",
    "merge",
    "mergeOverwrite",
    "mustAppend",
    "mustChunk",
    "mustCompact",
    "mustDateModify",
    "mustDeepCopy",
    "mustFirst",
    "mustFromJson",
    "mustHas",
    "mustInitial",
    "mustLast",
    "mustMerge",
    "mustMergeOverwrite",
    "mustPrepend",
    "mustPush",
    "mustRegexFind",
    "mustRegexFindAll",
    "mustRegexMatch",
    "mustRegexReplaceAll",
    "mustRegexReplaceAllLiteral",
    "mustRegexSplit",
    "mustRest",
    "mustReverse",
    "mustSlice",
    "mustToDate",
    "mustToJson",
    "mustToPrettyJson",
    "mustToRawJson",
    "mustUniq",
    "mustWithout",
    "must_date_modify",
    "now",
    "osBase",
    "osClean",
    "osDir",
    "osExt",
    "osIsAbs",
    "randAlpha",
    "randAlphaNum",
    "randAscii",
    "randBytes",
    "randInt",
    "randNumeric",
    "regexFind",
    "regexFindAll",
    "regexMatch",
    "regexQuoteMeta",
    "regexReplaceAll",
    "regexReplaceAllLiteral",
    "regexSplit",
    "semver",
    "semverCompare",
    "seq",
    "shuffle",
    "slice",
    "toDate",
    "tuple",
    "typeIs",
    "typeIsLike",
    "typeOf",
    "unixEpoch",
    "urlJoin",
    "urlParse",
    "urlquery",
    "uuidv4",
];

/// Calls one of [`NAMES`].
pub(super) fn call<'a>(name: &str, arguments: &[Value<'a>]) -> Result<Value<'a>, String> {
    let needs = |n: usize| (arguments.len() == n).then_some(()).ok_or_else(|| format!("it takes {n} values"));
    match name {
        // all that decide have been looked at before
        "and" | "or" => arguments.last().cloned().ok_or_else(|| "it takes at least one value".to_owned()),
        "not" => needs(1).map(|()| Value::Bool(!arguments[0].is_true())),
        "eq" => match arguments.split_first() {
            Some((first, rest)) if !rest.is_empty() => {
                for other in rest {
                    if compare(first, other, true)? == Ordering::Equal {
                        return Ok(Value::Bool(true));
                    }
                }
                Ok(Value::Bool(false))
            }
            _ => Err("it takes at least two values".to_owned()),
        },
        "ne" | "lt" | "le" | "gt" | "ge" => {
            needs(2)?;
            let order = compare(&arguments[0], &arguments[1], name == "ne")?;
            Ok(Value::Bool(match name {
                "ne" => order.is_ne(),
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            }))
        }
        "len" => {
            needs(1)?;
            let length = match &arguments[0] {
                Value::Text(text) => text.len(),
                Value::List(items) => items.len(),
                Value::Map(map) => map.len(),
                other => return Err(format!("{} has no length", other.kind())),
            };
            Ok(Value::Integer(i64::try_from(length).unwrap_or(i64::MAX)))
        }
        "index" => {
            let (first, keys) = arguments.split_first().ok_or("it takes at least one value")?;
            keys.iter().try_fold(first.clone(), |value, key| index(&value, key))
        }
        "print" => sprint(arguments).map(Value::Text),
        "println" => {
            let texts = arguments.iter().map(print::print).collect::<Result<Vec<_>, _>>()?;
            Ok(Value::Text(texts.join(" ") + "\n"))
        }
        _ => match arguments.split_first() {
            Some((Value::Text(pattern), rest)) => print::format(pattern, rest).map(Value::Text),
            _ => Err("it takes a pattern and values".to_owned()),
        },
    }
}

/// Go's `Sprint`: a space only between two values that are no texts.
fn sprint(arguments: &[Value<'_>]) -> Result<String, String> {
    let mut result = String::new();
    let mut before_is_text = true;
    for argument in arguments {
        let is_text = matches!(argument, Value::Text(_));
        if !is_text && !before_is_text {
            result.push(' ');
        }
        result.push_str(&print::print(argument)?);
        before_is_text = is_text;
    }
    Ok(result)
}

fn index<'a>(value: &Value<'a>, key: &Value<'a>) -> Result<Value<'a>, String> {
    match (value, key) {
        (Value::List(items), Value::Integer(at)) => {
            let found = usize::try_from(*at).ok().and_then(|at| items.get(at));
            found.cloned().ok_or_else(|| format!("there is no element {at} of {}", items.len()))
        }
        // Go's zero value of a mapping of texts
        (Value::Map(map), Value::Text(key)) => Ok(map.get(key).cloned().unwrap_or_else(|| {
            let texts = map.values().all(|value| matches!(value, Value::Text(_)));
            if texts { Value::Text(String::new()) } else { Value::Nil }
        })),
        (value, key) => Err(format!("{} cannot be asked for {}", value.kind(), key.kind())),
    }
}

fn compare(one: &Value<'_>, other: &Value<'_>, for_equality: bool) -> Result<Ordering, String> {
    let of = |equal: bool| if equal { Ordering::Equal } else { Ordering::Less };
    match (one, other) {
        (Value::Text(one), Value::Text(other)) => Ok(one.cmp(other)),
        (Value::Integer(one), Value::Integer(other)) => Ok(one.cmp(other)),
        (Value::Float(one), Value::Float(other)) => {
            one.partial_cmp(other).ok_or_else(|| "not a number".to_owned())
        }
        (Value::Bool(one), Value::Bool(other)) if for_equality => Ok(of(one == other)),
        (Value::Nil, Value::Nil) if for_equality => Ok(Ordering::Equal),
        (Value::Nil, _) | (_, Value::Nil) if for_equality => Ok(Ordering::Less),
        _ => Err(format!("{} and {} cannot be compared", one.kind(), other.kind())),
    }
}
