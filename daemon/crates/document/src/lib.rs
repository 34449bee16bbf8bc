//! YAML with positions, and findings that name file, line, column, rule and fix.
//!
//! The first station of everything a person writes: `site` and `talos-config` parse their files here
//! into a [`Document`], decode it with serde, and report every fault as a [`Finding`] at its place.
//!
//! serde-saphyr parses (strict booleans, duplicate keys and alias bombs refused); the tree keeps the
//! position of every key and value, and its own serde deserializer keeps reading after a fault, which
//! serde on top of a parser cannot.

mod decode;
mod finding;
mod nearest;
mod node;
mod parse;
mod reader;
mod substitute;

pub use decode::{Both, Checked, Keys, TextOr};
pub use finding::{Finding, Findings, Position, Rule, Severity};
pub use nearest::nearest;
pub use node::{Entry, Node, Place, Value};
pub use parse::{Document, MAXIMUM_SCALAR, MAXIMUM_SIZE};
pub use substitute::{SubstituteError, substitute, unset};
