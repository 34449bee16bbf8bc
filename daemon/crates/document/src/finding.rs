//! What is wrong with a file, where, and what would be right.

use std::fmt;

use serde::Serialize;

/// A place in a text, both counted from one; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Position {
    /// from one
    pub line: u32,
    /// from one, in characters
    pub column: u32,
}

impl Position {
    /// The first character.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// Whether a finding stops the file from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// the file is not used
    Error,
    /// the file is used; a person should look
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// A rule that findings name, for lists of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Rule {
    /// the short name: `slot-unknown`
    pub id: &'static str,
    /// what holds where nothing is found
    pub about: &'static str,
}

/// One thing wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// error or warning
    pub severity: Severity,
    /// the rule's short name: `slot-unknown`
    pub rule: &'static str,
    /// the file as the person named it
    pub file: String,
    /// from one; zero when the finding is about the whole file
    pub line: u32,
    /// from one, in characters; zero when the finding is about the whole file
    pub column: u32,
    /// what is wrong, a lower-case sentence
    pub message: String,
    /// what would be right
    pub fix: Option<String>,
}

impl Finding {
    /// An error at a place.
    pub fn error(
        file: impl Into<String>,
        at: Position,
        rule: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            rule,
            file: file.into(),
            line: at.line,
            column: at.column,
            message: message.into(),
            fix: None,
        }
    }

    /// An error about a whole file: it is missing, too large, unreadable.
    pub fn about_file(file: impl Into<String>, rule: &'static str, message: impl Into<String>) -> Self {
        Self::error(file, Position { line: 0, column: 0 }, rule, message)
    }

    /// The same finding as a warning.
    #[must_use]
    pub fn warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }

    /// Says what would be right.
    #[must_use]
    pub fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}[{}]: {}", self.severity, self.rule, self.message)?;
        if let Some(fix) = &self.fix {
            write!(f, "\n  fix: {fix}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Finding {}

/// Everything found in a set of files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Nothing found yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// Whether one of them stops the files from being used.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|finding| finding.severity == Severity::Error).count()
    }

    /// How many warnings there are.
    pub fn warnings(&self) -> usize {
        self.0.len() - self.errors()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many findings there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// In the order of reporting.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.0.iter()
    }

    /// Orders them by file and place and drops repeated ones, as a person reads them.
    pub fn sort(&mut self) {
        self.0.sort_by(|a, b| {
            (&a.file, a.line, a.column, a.severity, a.rule)
                .cmp(&(&b.file, b.line, b.column, b.severity, b.rule))
        });
        self.0.dedup();
    }
}

impl From<Finding> for Findings {
    fn from(finding: Finding) -> Self {
        Self(vec![finding])
    }
}

impl Extend<Finding> for Findings {
    fn extend<I: IntoIterator<Item = Finding>>(&mut self, findings: I) {
        self.0.extend(findings);
    }
}

impl FromIterator<Finding> for Findings {
    fn from_iter<I: IntoIterator<Item = Finding>>(findings: I) -> Self {
        Self(findings.into_iter().collect())
    }
}

impl IntoIterator for Findings {
    type Item = Finding;
    type IntoIter = std::vec::IntoIter<Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Findings {
    type Item = &'a Finding;
    type IntoIter = std::slice::Iter<'a, Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(finding, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Findings {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_block_that_editors_understand() {
        let finding =
            Finding::error("ichord.yaml", Position { line: 12, column: 5 }, "slot-unknown", "no such node")
                .fix("write mini01");
        assert_eq!(
            finding.to_string(),
            "ichord.yaml:12:5: error[slot-unknown]: no such node\n  fix: write mini01"
        );
        let missing =
            Finding::about_file("talsecret.yaml", "secrets-missing", "there is no such file").warning();
        assert_eq!(missing.to_string(), "talsecret.yaml: warning[secrets-missing]: there is no such file");
    }

    #[test]
    fn findings_are_read_from_the_top_of_the_file() {
        let at = |line, rule| Finding::error("a", Position { line, column: 1 }, rule, "x");
        let mut findings: Findings =
            [at(3, "c"), at(1, "a"), at(3, "c"), at(2, "b").warning()].into_iter().collect();
        findings.sort();
        assert_eq!(findings.iter().map(|finding| finding.rule).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((findings.errors(), findings.warnings(), findings.has_errors()), (2, 1, true));
    }
}
