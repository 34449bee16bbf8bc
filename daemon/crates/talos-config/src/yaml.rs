//! YAML as Talos reads and writes it, into values and back.
//!
//! Talos's reader is Go's: words like `yes` and `on` are text, `0755` is octal where a number is wanted and the written text
//! where a string is. Reading keeps every spelling (crate `document`), and what is ambiguous is quoted when it is written.

use document::{Document, Node};
use serde_json::Value;
use zeroize::Zeroizing;

/// Why a text could not be read or written. Scalars of the text are not repeated: they may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct YamlError {
    /// Line of the fault, from 1.
    pub line: u32,
    /// Column of the fault, from 1.
    pub column: u32,
    /// What is wrong.
    pub reason: String,
}

impl YamlError {
    pub(crate) fn at(node: &Node, reason: impl Into<String>) -> Self {
        Self { line: node.position.line, column: node.position.column, reason: reason.into() }
    }
}

/// Reads a stream of YAML documents with their positions and spellings. Empty documents are left out, as Talos does.
pub fn read(text: &str) -> Result<Vec<Document>, YamlError> {
    Document::parse_stream("", text).map_err(|finding| YamlError {
        line: finding.line,
        column: finding.column,
        reason: finding.message,
    })
}

/// Reads exactly one YAML document.
pub fn read_one(text: &str) -> Result<Document, YamlError> {
    let mut all = read(text)?.into_iter();
    match (all.next(), all.next()) {
        (Some(document), None) => Ok(document),
        (Some(_), Some(second)) => {
            Err(YamlError::at(second.root(), "there is a second document where one is needed"))
        }
        (None, _) => Err(YamlError { line: 1, column: 1, reason: "there is no document".to_owned() }),
    }
}

/// Writes a stream of documents, separated by `---`.
///
/// Four spaces of indentation, like Talos. The text is wiped when dropped, because machine configs hold keys.
pub fn write(documents: &[Value]) -> Result<Zeroizing<String>, YamlError> {
    let mut text = Zeroizing::new(String::new());
    for (at, document) in documents.iter().enumerate() {
        if at > 0 {
            text.push_str("---\n");
        }
        let one = serde_saphyr::to_string_with_options(document, writing()).map_err(|error| YamlError {
            line: 1,
            column: 1,
            reason: error.to_string(),
        })?;
        text.push_str(&Zeroizing::new(one));
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(text)
}

fn writing() -> serde_saphyr::SerializerOptions {
    serde_saphyr::ser_options! {
        indent_step: 4,
        compact_list_indent: false,
        // a certificate is one long word; folding has nothing to win and trailing spaces to lose
        folded_wrap_chars: usize::MAX,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Value {
        read_one(text).unwrap_or_else(|error| panic!("{error}: {text}")).root().to_json()
    }

    #[test]
    fn text_that_go_would_take_for_something_else_is_quoted() {
        let words = [
            "yes",
            "no",
            "on",
            "off",
            "y",
            "n",
            "True",
            "null",
            "~",
            "",
            "0755",
            "0o755",
            "0x1F",
            "1_000",
            "12:34",
            "1:20:30",
            "1.10",
            "1e3",
            ".5",
            ".inf",
            ".NaN",
            "2001-01-01",
            "2001-12-14t21:59:43.10-05:00",
            "=",
            "<<",
            "- a",
            "a: b",
            "# c",
            "&a",
            "*a",
            "!t",
            "%d",
            "@a",
            "`a",
            "{a",
            "[a",
            " a",
            "a ",
            "-",
            "?",
            ":",
            "---",
        ];
        for word in words {
            let text = write(&[json!({"key": word})]).expect("writes");
            let written = text.strip_prefix("key: ").expect("one key").trim_end();
            assert!(written.starts_with(['\'', '"']), "{word} is written as {written}");
            assert_eq!(value(&text), json!({"key": word}));
        }
    }

    #[test]
    fn several_documents_and_empty_ones() {
        let text = "\u{feff}---\na: 1\n---\n---\n# nothing\n---\r\nb: &x [1]\r\nc: *x\r\n";
        let values: Vec<Value> = read(text).expect("reads").iter().map(|one| one.root().to_json()).collect();
        assert_eq!(values, [json!({"a": 1}), json!({"b": [1], "c": [1]})]);
        assert_eq!(read_one(text).expect_err("two").line, 7);
        assert!(read_one("").is_err());
    }

    #[test]
    fn a_fault_is_reported_at_its_place_without_the_text() {
        let error = read("ok: 1\ntoken: secret\ntoken: secret\n").expect_err("twice");
        assert_eq!((error.line, error.column), (3, 1));
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_survives_writing_and_reading(text in any::<String>(), key in "[a-zA-Z0-9._/-]{1,20}") {
            let original = json!({key: [text]});
            let written = write(std::slice::from_ref(&original)).expect("writes");
            prop_assert_eq!(value(&written), original);
        }

        #[test]
        fn long_lines_survive(words in prop::collection::vec("[ a-z0-9:#'\"-]{1,30}", 1..30), newline in any::<bool>()) {
            let original = json!({"text": words.join(if newline { "\n" } else { " " })});
            let written = write(std::slice::from_ref(&original)).expect("writes");
            prop_assert_eq!(value(&written), original);
        }
    }
}
