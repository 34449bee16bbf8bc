//! A release's values as helm-controller puts them together: those of its references in their order, then its own.

use serde_json::{Map, Value};

use super::{
    path::{self, PathError, Reading},
    tree::{self, Mapping},
};

/// Values that are being put together.
pub struct Composed {
    own: Mapping,
    all: Mapping,
}

impl Composed {
    /// With what the release says itself.
    pub fn of(own: &Map<String, Value>) -> Composed {
        Composed { own: tree::mapping(own), all: tree::mapping(&Map::new()) }
    }

    /// Takes the values of a whole file.
    pub fn add(&mut self, values: &Map<String, Value>) {
        self.all = tree::merged(&self.all, &tree::mapping(values));
    }

    /// Puts one value at a path, as `helm --set` reads both, or the value as it is (`literal`).
    ///
    /// It wins over the release's own values where it is the first to touch their part of the tree. Where another
    /// reference has been there before, and at the top of the tree, the release's own win: helm-controller takes
    /// them last, and what it was told to replace was a copy then.
    pub fn set(&mut self, path: &str, value: &str, literal: bool) -> Result<(), PathError> {
        self.all = tree::merged(&self.all, &self.own);
        let quote = ['\'', '"'];
        let quoted = quote.iter().any(|quote| value.starts_with(*quote) && value.ends_with(*quote));
        match (literal, quoted) {
            (true, _) => path::set(&self.all, path, &escaped(value), Reading::Text),
            (false, true) => path::set(&self.all, path, value.trim_matches(quote), Reading::Text),
            (false, false) => path::set(&self.all, path, value, Reading::Typed),
        }
    }

    /// What the chart is rendered with.
    pub fn values(self) -> Map<String, Value> {
        tree::values(&tree::merged(&self.all, &self.own))
    }
}

/// What `helm --set` would take for its own signs.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for sign in value.chars() {
        if ['\\', ',', '[', ']', '{', '}'].contains(&sign) {
            text.push('\\');
        }
        text.push(sign);
    }
    text
}
