//! The patterns of `${name#pattern}` and its like: `*`, `?`, `[a-z]`, `[^a]` and `\`, which also match a `/`.

/// Without the head that matches; `None` where that would cut a character in two, which Flux does by bytes.
pub(super) fn without_head(value: &str, pattern: &str, longest: bool) -> Option<String> {
    value.get(head(value, pattern, longest)..).map(str::to_owned)
}

/// Without the tail that matches; the pattern is turned around sign by sign, brackets and all.
pub(super) fn without_tail(value: &str, pattern: &str, longest: bool) -> Option<String> {
    let turned = |text: &str| text.chars().rev().collect::<String>();
    without_head(&turned(value), &turned(pattern), longest).map(|rest| turned(&rest))
}

/// How many bytes the longest or shortest head that matches has, 0 without one; an ill-formed pattern matches nothing.
fn head(value: &str, pattern: &str, longest: bool) -> usize {
    let mut found = 0;
    for end in (1..=value.len()).rev() {
        // each byte of a character that is cut off counts as a sign of its own
        let whole = (0..=end).rev().find(|end| value.is_char_boundary(*end)).unwrap_or_default();
        let cut = char::REPLACEMENT_CHARACTER.to_string().repeat(end - whole);
        match matches(pattern, &(value.get(..whole).unwrap_or_default().to_owned() + &cut)) {
            None => return 0,
            Some(true) if longest => return end,
            Some(true) => found = end,
            Some(false) => {}
        }
    }
    found
}

/// `None` where the pattern is ill-formed, as far as it is come to.
fn matches(mut pattern: &str, mut name: &str) -> Option<bool> {
    'pattern: while !pattern.is_empty() {
        let (star, chunk, rest) = chunk(pattern);
        pattern = rest;
        if star && chunk.is_empty() {
            return Some(true);
        }
        if let Some(left) = matched(chunk, name)?
            && (left.is_empty() || !pattern.is_empty())
        {
            name = left;
            continue;
        }
        if star {
            let starts = name.char_indices().skip(1).map(|(start, _)| start);
            for start in starts.chain((!name.is_empty()).then_some(name.len())) {
                if let Some(left) = matched(chunk, name.get(start..).unwrap_or_default())? {
                    if pattern.is_empty() && !left.is_empty() {
                        continue;
                    }
                    name = left;
                    continue 'pattern;
                }
            }
        }
        return Some(false);
    }
    Some(name.is_empty())
}

/// Whether the pattern begins with stars, what follows to the next star, and the rest.
fn chunk(pattern: &str) -> (bool, &str, &str) {
    let without = pattern.trim_start_matches('*');
    let star = without.len() < pattern.len();
    let (mut in_range, mut escaped) = (false, false);
    let end = without.char_indices().find(|(_, sign)| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        match sign {
            '\\' => escaped = true,
            '[' => in_range = true,
            ']' => in_range = false,
            '*' => return !in_range,
            _ => {}
        }
        false
    });
    let (chunk, rest) = without.split_at(end.map_or(without.len(), |(end, _)| end));
    (star, chunk, rest)
}

/// What is left of the text behind a chunk that it begins with.
fn matched<'a>(mut chunk: &str, mut text: &'a str) -> Option<Option<&'a str>> {
    while let Some(sign) = chunk.chars().next() {
        let Some(first) = text.chars().next() else { return Some(None) };
        let rest = text.get(first.len_utf8()..).unwrap_or_default();
        chunk = chunk.get(sign.len_utf8()..).unwrap_or_default();
        match sign {
            '[' => {
                let (is_in, behind) = range(chunk, first)?;
                if !is_in {
                    return Some(None);
                }
                chunk = behind;
            }
            '?' => {}
            sign => {
                let wanted = match sign {
                    '\\' => {
                        let wanted = chunk.chars().next()?;
                        chunk = chunk.get(wanted.len_utf8()..).unwrap_or_default();
                        wanted
                    }
                    sign => sign,
                };
                if wanted != first {
                    return Some(None);
                }
            }
        }
        text = rest;
    }
    Some(Some(text))
}

/// Whether a sign is among those in brackets, and what follows them.
fn range(chunk: &str, sign: char) -> Option<(bool, &str)> {
    let (negated, mut chunk) = match chunk.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, chunk),
    };
    let (mut is_in, mut count) = (false, 0);
    loop {
        if let (Some(rest), true) = (chunk.strip_prefix(']'), count > 0) {
            return Some((is_in != negated, rest));
        }
        let (low, rest) = one(chunk)?;
        chunk = rest;
        let mut high = low;
        if let Some(rest) = chunk.strip_prefix('-') {
            (high, chunk) = one(rest)?;
        }
        is_in |= (low..=high).contains(&sign);
        count += 1;
    }
}

/// A sign in brackets; something must follow it.
fn one(chunk: &str) -> Option<(char, &str)> {
    let chunk = match chunk.chars().next()? {
        '-' | ']' => return None,
        '\\' => chunk.get(1..)?,
        _ => chunk,
    };
    let sign = chunk.chars().next()?;
    let rest = chunk.get(sign.len_utf8()..)?;
    (!rest.is_empty()).then_some((sign, rest))
}
