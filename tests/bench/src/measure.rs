//! What a benchmark found, and the table of it.

use std::fmt::Write as _;

/// One number, and what it is held to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measure {
    /// what was measured: `seconds`, `peak memory`
    pub(crate) what: &'static str,
    /// the number
    pub(crate) value: f64,
    /// its unit: `s`, `MB`, `/s`
    pub(crate) unit: &'static str,
    /// what it is held to
    pub(crate) limit: Limit,
}

/// Where a number must lie.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(dead_code)] // each benchmark takes the one it needs
pub(crate) enum Limit {
    /// below this one
    Below(f64),
    /// above this one
    Above(f64),
    /// nowhere in particular; it is only shown
    None,
}

impl Measure {
    /// Whether the number is where it must be.
    pub(crate) fn holds(&self) -> bool {
        match self.limit {
            Limit::Below(limit) => self.value < limit,
            Limit::Above(limit) => self.value > limit,
            Limit::None => true,
        }
    }
}

/// The table, with a line a number.
pub(crate) fn table(measures: &[(&str, Measure)]) -> String {
    let mut text = format!("{:<12}{:<24}{:>14}  {:<16}\n", "benchmark", "measure", "value", "limit");
    for (name, measure) in measures {
        let number = |value: f64| format!("{value:.2} {}", measure.unit);
        let limit = match measure.limit {
            Limit::Below(limit) => format!("< {}", number(limit)),
            Limit::Above(limit) => format!("> {}", number(limit)),
            Limit::None => String::new(),
        };
        let verdict = match (measure.limit, measure.holds()) {
            (Limit::None, _) => "",
            (_, true) => "ok",
            (_, false) => "TOO MUCH",
        };
        let verdict =
            if matches!(measure.limit, Limit::Above(_)) && !measure.holds() { "TOO LITTLE" } else { verdict };
        let value = number(measure.value);
        let line = format!("{name:<12}{:<24}{value:>14}  {limit:<16}{verdict}", measure.what);
        writeln!(text, "{}", line.trim_end()).ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_stands_beside_the_number() {
        let measure = |value, limit| ("render", Measure { what: "seconds", value, unit: "s", limit });
        let shown = table(&[
            measure(1.5, Limit::Below(2.0)),
            measure(2.5, Limit::Below(2.0)),
            measure(1.0, Limit::Above(2.0)),
        ]);
        let lines: Vec<Vec<&str>> =
            shown.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["render", "seconds", "1.50", "s", "<", "2.00", "s", "ok"]);
        assert_eq!(lines[1].last(), Some(&"MUCH"));
        assert_eq!(lines[2].last(), Some(&"LITTLE"));
    }
}
