//! Go templates, as far as people use them in patches, labels, file names and image addresses.
//!
//! talhelper hands every patch to Go's text/template with the functions of sprig and the node's config as data (talos.md
//! §5.5). This is that language without named templates and without those functions of sprig that make certificates, look
//! things up or depend on the moment; each of them is refused by name at its place. A template is parsed when the file is
//! checked and run when the config is rendered.

mod eval;
mod functions;
mod lex;
mod parse;
mod print;
mod sprig;
mod value;

use document::Position;

pub(crate) use value::Value;

use crate::config::MachineConfig;
use crate::schema;

/// What a template could not do, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct TemplateError {
    /// Where in the template.
    pub(crate) at: Position,
    /// What is wrong. The data is not repeated: it holds keys.
    pub(crate) message: String,
    /// What would be right, where that is known.
    pub(crate) fix: Option<String>,
}

/// A template that was read and can be run.
#[derive(Debug)]
pub(crate) struct Template {
    text: String,
    body: Vec<parse::Node>,
}

/// A fault at a byte of the template.
#[derive(Debug)]
pub(crate) struct Fault {
    offset: usize,
    message: String,
    fix: Option<String>,
}

impl Template {
    /// Whether there is anything to fill in; any other text stays as it is.
    pub(crate) fn is_one(text: &str) -> bool {
        text.contains("{{")
    }

    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let body = lex::lex(text).and_then(|pieces| parse::parse(&pieces));
        match body {
            Ok(body) => Ok(Self { text: text.to_owned(), body }),
            Err(fault) => Err(fault.at(text)),
        }
    }

    /// Fills it in.
    pub(crate) fn run(&self, data: &Value<'_>) -> Result<String, TemplateError> {
        eval::run(&self.body, data).map_err(|fault| fault.at(&self.text))
    }
}

/// Fills in a text if it is a template.
pub(crate) fn fill(text: &str, data: &Value<'_>) -> Result<String, TemplateError> {
    if Template::is_one(text) { Template::parse(text)?.run(data) } else { Ok(text.to_owned()) }
}

/// A config as data: its main document under the names of Go's fields, `.MachineConfig.MachineInstall.InstallImage`.
pub(crate) fn data(config: &MachineConfig) -> Value<'_> {
    Value::document(config.main_value(), schema::of(&crate::config::DocumentId::V1Alpha1))
}

impl Fault {
    pub(crate) fn new(offset: usize, message: impl Into<String>) -> Self {
        Self { offset, message: message.into(), fix: None }
    }

    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    fn at(self, text: &str) -> TemplateError {
        let before = text.get(..self.offset).unwrap_or(text);
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let at = Position {
            line: number(before.matches('\n').count() + 1),
            column: number(before.rsplit('\n').next().unwrap_or_default().chars().count() + 1),
        };
        TemplateError { at, message: self.message, fix: self.fix }
    }
}

#[cfg(test)]
mod tests;
