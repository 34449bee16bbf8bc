//! Values as Go prints them.

use super::value::Value;

/// As `{{ … }}` and `%v` print it.
pub(super) fn print(value: &Value<'_>) -> Result<String, String> {
    Ok(match value {
        Value::Nil => "<no value>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => float(*number),
        Value::Text(text) => text.clone(),
        Value::List(items) => {
            let items = items.iter().map(print).collect::<Result<Vec<_>, _>>()?;
            format!("[{}]", items.join(" "))
        }
        Value::Map(map) => {
            let entries = map.iter().map(|(key, value)| Ok(format!("{key}:{}", print(value)?)));
            format!("map[{}]", entries.collect::<Result<Vec<_>, String>>()?.join(" "))
        }
        Value::Struct { .. } | Value::Opaque(_) => return Err(format!("{} cannot be printed", value.kind())),
    })
}

/// Go's shortest form of a number: an exponent only for very large and very small ones.
fn float(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 || (1e-4..1e21).contains(&size) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

/// A text in quotes, as `%q` and sprig's `quote` write it.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The verbs people use: `%s %v %d %q %t %x %f %%`, with a width, zeros, `-`, and a precision.
pub(super) fn format(pattern: &str, arguments: &[Value<'_>]) -> Result<String, String> {
    let mut result = String::new();
    let mut arguments = arguments.iter();
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let end = rest.find(|c: char| c.is_alphabetic() || c == '%').ok_or("the pattern ends in `%`")?;
        let (flags, tail) = rest.split_at(end);
        let verb = tail.chars().next().unwrap_or('%');
        rest = &tail[verb.len_utf8()..];
        if verb == '%' {
            result.push('%');
            continue;
        }
        let argument = arguments.next().ok_or("there are fewer values than the pattern needs")?;
        result.push_str(&verb_of(verb, flags, argument)?);
    }
    if arguments.next().is_some() {
        return Err("there are more values than the pattern needs".to_owned());
    }
    result.push_str(rest);
    Ok(result)
}

fn verb_of(verb: char, flags: &str, argument: &Value<'_>) -> Result<String, String> {
    let left = flags.starts_with('-');
    let flags = flags.trim_start_matches('-');
    let (width, precision) = match flags.split_once('.') {
        Some((width, precision)) => (width, Some(precision)),
        None => (flags, None),
    };
    let number = |text: &str| match text {
        "" => Ok(0),
        text => text
            .parse::<usize>()
            .ok()
            .filter(|&n| n <= 1000)
            .ok_or_else(|| format!("`%{flags}{verb}` is not supported")),
    };
    let precision = precision.map(number).transpose()?;
    let text = match (verb, argument) {
        ('v' | 's', value) => print(value)?,
        ('q', value) => quoted(&print(value)?),
        ('d', Value::Integer(number)) => number.to_string(),
        ('x', Value::Integer(number)) => format!("{number:x}"),
        ('x', Value::Text(text)) => hex::encode(text),
        ('t', Value::Bool(value)) => value.to_string(),
        ('f', Value::Float(number)) => format!("{number:.*}", precision.unwrap_or(6)),
        (verb, value) => return Err(format!("`%{verb}` cannot print {}", value.kind())),
    };
    let text = match (precision, verb) {
        (Some(longest), 's' | 'v') => text.chars().take(longest).collect(),
        _ => text,
    };
    let zeros = width.starts_with('0') && !left && matches!(argument, Value::Integer(_) | Value::Float(_));
    let missing = number(width)?.saturating_sub(text.chars().count());
    Ok(match (left, zeros, text.strip_prefix('-')) {
        (true, ..) => text + &" ".repeat(missing),
        (_, true, Some(digits)) => format!("-{}{digits}", "0".repeat(missing)),
        (_, true, None) => "0".repeat(missing) + &text,
        _ => " ".repeat(missing) + &text,
    })
}
