//! Text that must not be seen: tokens and private keys on their way between files, memory and machines.
//!
//! `Debug` says only that something is there, and the memory is wiped when the value is dropped. Whoever needs the text
//! says so with [`Secret::expose`], which is easy to find in a review.

use std::fmt;

use zeroize::Zeroizing;

/// A token, a private key in PEM or another secret text.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes text into custody.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Zeroizing<String>> for Secret {
    fn from(text: Zeroizing<String>) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "Secret(empty)" } else { "Secret(..)" })
    }
}
