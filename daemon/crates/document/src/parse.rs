//! Text to tree. The only place that knows the YAML library and its options.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use crate::{
    finding::{Finding, Position},
    node::{Entry, Node, Place, Value},
};

/// Larger texts are refused before parsing, in bytes. The largest manifests people apply (operators with
/// their CRDs) are about 2 MiB.
pub const MAXIMUM_SIZE: usize = 16 * 1024 * 1024;

/// The largest scalar, in bytes. The largest that people write is a bundle of manifests inside a machine config, and
/// Talos takes no config near this size.
pub const MAXIMUM_SCALAR: usize = 4 * 1024 * 1024;

/// Values in one text. A site of 1,000 nodes has about 50,000; each takes some hundred bytes.
const MAXIMUM_NODES: usize = 300_000;

/// How many parser events aliases may add in total; a hand-written file adds some hundreds.
const MAXIMUM_REPLAYED: usize = 200_000;

/// Lists and mappings inside each other; the schemas in CRDs reach about 50.
const MAXIMUM_DEPTH: usize = 100;

/// The parser recurses, with 40 KiB a level in a debug build, and the threads of a runtime have 2 MiB. In bytes.
const STACK: usize = 16 * 1024 * 1024;

/// Texts whose [`depth`] is at most this are parsed on the caller's own stack.
const SHALLOW: usize = 24;

/// A parsed YAML document and the name of its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    file: String,
    root: Node,
}

impl Document {
    /// Parses a text of one document. An empty text is a document of nothing.
    pub fn parse(file: &str, text: &str) -> Result<Self, Finding> {
        let root = tree(file, text, |options| {
            serde_saphyr::from_str_with_options::<Raw>(text, options).map(|root| root.resolve(text))
        })?;
        Ok(Self { file: file.to_owned(), root })
    }

    /// Parses a text of any number of documents; empty ones are left out.
    pub fn parse_stream(file: &str, text: &str) -> Result<Vec<Self>, Finding> {
        let roots = tree(file, text, |options| {
            let roots = serde_saphyr::from_multiple_with_options::<Raw>(text, options)?;
            Ok(roots.into_iter().map(|root| root.resolve(text)).collect::<Vec<_>>())
        })?;
        let present = roots.into_iter().filter(|root| !root.is_null());
        Ok(present.map(|root| Self { file: file.to_owned(), root }).collect())
    }

    /// Parses the documents in a text that is itself a scalar of this document, such as an inline patch.
    /// Positions are those of the outer file.
    pub fn parse_inside(&self, scalar: &Node) -> Result<Vec<Self>, Finding> {
        let text = scalar.text().unwrap_or_default();
        let mut documents = Self::parse_stream(&self.file, text).map_err(|finding| {
            let at = scalar.inside(Position { line: finding.line, column: finding.column });
            Finding { line: at.line, column: at.column, ..finding }
        })?;
        for document in &mut documents {
            shift(&mut document.root, scalar);
        }
        Ok(documents)
    }

    /// The file as the person named it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The outermost value.
    pub fn root(&self) -> &Node {
        &self.root
    }

    pub(crate) fn root_mut(&mut self) -> &mut Node {
        &mut self.root
    }

    /// Where to begin stepping to a place for a finding.
    pub fn place(&self) -> Place<'_> {
        Place::root(self)
    }
}

/// The value of a plain scalar, as the parser would take it.
pub(crate) fn plain(text: String) -> Value {
    match Document::parse("", &text) {
        Ok(Document { root: Node { value: Value::Map(_) | Value::List(_), .. }, .. }) | Err(_) => {
            Value::Text(text, true)
        }
        Ok(document) => document.root.value,
    }
}

fn options() -> serde_saphyr::Options {
    let mut options = serde_saphyr::Options::default();
    // `yes` and `on` are words, `0755` is not seven hundred fifty-five
    options.strict_booleans = true;
    options.leading_zero_numbers_as_strings = true;
    options.alias_limits.max_total_replayed_events = MAXIMUM_REPLAYED;
    if let Some(budget) = options.budget.as_mut() {
        budget.max_nodes = MAXIMUM_NODES;
        budget.max_events = 4 * MAXIMUM_NODES;
        budget.max_depth = MAXIMUM_DEPTH;
        // the text itself once, and as much again through aliases
        budget.max_total_scalar_bytes = 2 * MAXIMUM_SIZE;
    }
    options
}

/// Runs the parser where there is stack enough, so that depth is bounded by the budget and not by the caller.
fn tree<T: Send>(
    file: &str,
    text: &str,
    parse: impl FnOnce(serde_saphyr::Options) -> Result<T, serde_saphyr::Error> + Send,
) -> Result<T, Finding> {
    if text.len() > MAXIMUM_SIZE {
        let message = format!("the file has {} bytes; at most {MAXIMUM_SIZE} are read", text.len());
        return Err(Finding::about_file(file, "yaml-too-large", message));
    }
    // most texts are small and flat, and a site of a thousand nodes has thousands of them
    if depth(text) <= SHALLOW {
        return parse(options()).map_err(|error| finding(file, error));
    }
    let no_thread = || Finding::about_file(file, "yaml", "no thread could be started to parse it");
    std::thread::scope(|scope| {
        let parser = std::thread::Builder::new().name("yaml".into()).stack_size(STACK);
        let thread = parser.spawn_scoped(scope, || parse(options()).map_err(|error| finding(file, error)));
        thread.map_err(|_| no_thread())?.join().map_err(|_| no_thread())?
    })
}

/// How many lists and mappings can be inside each other in a text, at most; without end where aliases could be.
///
/// A line can open two levels (a mapping in the list of a key beside it), one more for each `- ` or `? ` in it, and one for
/// each bracket. They stay open while the lines after it are indented further; brackets count as if they stayed for ever.
fn depth(text: &str) -> usize {
    if text.contains('&') {
        return usize::MAX;
    }
    let mut brackets = 0;
    let mut open: Vec<(usize, usize)> = Vec::new();
    let (mut levels, mut deepest) = (0, 0);
    for line in text.lines() {
        let content = line.trim_start_matches([' ', '\t']);
        if content.is_empty() {
            continue;
        }
        let indentation = line.len() - content.len();
        while let Some(&(before, opened)) = open.last()
            && before >= indentation
        {
            levels -= opened;
            open.pop();
        }
        let compact = content.split([' ', '\t']).filter(|word| matches!(*word, "-" | "?")).count();
        open.push((indentation, 2 + compact));
        levels += 2 + compact;
        brackets += content.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count();
        deepest = deepest.max(levels);
    }
    deepest + brackets
}

fn finding(file: &str, error: serde_saphyr::Error) -> Finding {
    let error = error.without_snippet();
    let at = error.location().map_or(Position::START, position);
    // worded for the person who wrote the file, not for the programmer
    let mut message =
        error.render_with_options(serde_saphyr::RenderOptions::new(&serde_saphyr::UserMessageFormatter));
    // the finding says where; the library says it again
    if let Some(end) = message.find(" at line ") {
        message.truncate(end);
    }
    let finding = Finding::error(file, at, "yaml", message);
    match error {
        serde_saphyr::Error::DuplicateMappingKey { .. } => finding.fix("keep one of the two"),
        serde_saphyr::Error::MultipleDocuments { .. } => {
            finding.fix("keep one document, without a second `---`")
        }
        _ => finding,
    }
}

fn position(location: Location) -> Position {
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Position { line: number(location.line()), column: number(location.column()) }
}

fn shift(node: &mut Node, scalar: &Node) {
    node.position = scalar.inside(node.position);
    node.text_start = node.text_start.map(|start| scalar.inside(start));
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| shift(item, scalar)),
        Value::Map(entries) => {
            for entry in entries {
                entry.key_position = scalar.inside(entry.key_position);
                shift(&mut entry.node, scalar);
            }
        }
        _ => {}
    }
}

/// What serde-saphyr gives: the value and both its places.
struct Raw(Spanned<RawValue>);

enum RawValue {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Raw>),
    Map(Vec<(Spanned<String>, Raw)>),
}

impl Raw {
    fn resolve(self, source: &str) -> Node {
        let Self(Spanned { value, referenced, defined }) = self;
        let spelling = spelling(source, defined);
        let or_value = |value: String| spelling.map_or(value, str::to_owned);
        let quoted = spelling.is_some_and(|spelling| spelling.starts_with(['"', '\'']));
        let value = match value {
            RawValue::Null => Value::Null,
            RawValue::Bool(value) => Value::Bool(value, or_value(value.to_string())),
            RawValue::Integer(value) => Value::Integer(value, or_value(value.to_string())),
            RawValue::Float(value) => Value::Float(value, or_value(value.to_string())),
            RawValue::Text(text) => {
                let plain = spelling == Some(text.as_str());
                Value::Text(text, plain)
            }
            RawValue::List(items) => {
                Value::List(items.into_iter().map(|item| item.resolve(source)).collect())
            }
            RawValue::Map(entries) => {
                let entries = entries.into_iter().map(|(key, node)| Entry {
                    key_position: position(key.referenced),
                    key: key.value,
                    node: node.resolve(source),
                });
                Value::Map(entries.collect())
            }
        };
        let start = position(defined);
        Node {
            block: !quoted && matches!(&value, Value::Text(text, false) if text.contains('\n')),
            value,
            position: position(referenced),
            text_start: (referenced == defined)
                .then_some(Position { column: start.column + u32::from(quoted), ..start }),
            substituted: false,
        }
    }
}

/// The characters of a scalar in the source; `None` when the library gives no byte range.
fn spelling(source: &str, location: Location) -> Option<&str> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
    source.get(start..end)
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

fn too_long(text: &str) -> String {
    format!("the text here has {} bytes; at most {MAXIMUM_SCALAR} are read", text.len())
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_none<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawValue, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawValue, E> {
        Ok(RawValue::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<RawValue, E> {
        Ok(RawValue::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<RawValue, E> {
        Ok(RawValue::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<RawValue, E> {
        Ok(RawValue::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<RawValue, E> {
        if value.len() > MAXIMUM_SCALAR {
            return Err(E::custom(too_long(value)));
        }
        Ok(RawValue::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<RawValue, E> {
        if value.len() > MAXIMUM_SCALAR {
            return Err(E::custom(too_long(&value)));
        }
        Ok(RawValue::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<RawValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(RawValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawValue, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry::<Spanned<String>, Raw>()? {
            if entry.0.value.len() > MAXIMUM_SCALAR {
                return Err(de::Error::custom(too_long(&entry.0.value)));
            }
            entries.push(entry);
        }
        Ok(RawValue::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Document {
        Document::parse("f.yaml", text).unwrap()
    }

    fn fault(text: &str) -> String {
        Document::parse("f.yaml", text).unwrap_err().to_string()
    }

    #[test]
    fn scalars_keep_their_spelling_and_strict_types() {
        let document = parse(
            "a: 1.10\nb: yes\nc: 0755\nd: \"1\"\ne: true\nf: ~\ng: -5\nh: 18446744073709551615\ni: &x 1.30\nj: *x\n",
        );
        let get = |key: &str| document.root().get(key).unwrap().value.clone();
        assert_eq!(get("a"), Value::Float(1.1, "1.10".into()));
        assert_eq!(get("b"), Value::Text("yes".into(), true));
        assert_eq!(get("c"), Value::Text("0755".into(), true));
        assert_eq!(get("d"), Value::Text("1".into(), false));
        assert_eq!(get("e"), Value::Bool(true, "true".into()));
        assert_eq!(get("f"), Value::Null);
        assert_eq!(get("g"), Value::Integer(-5, "-5".into()));
        assert_eq!(get("h"), Value::Integer(u64::MAX.into(), "18446744073709551615".into()));
        assert_eq!(get("j"), Value::Float(1.3, "1.30".into()));
    }

    #[test]
    fn places_are_those_of_the_file() {
        let document =
            parse("site: é\nmachines:\n  mini01: { port: sw1/Eth1 }\nlist:\n- one\n- two: 2\nempty:\n");
        let at = |place: Place<'_>| (place.position().line, place.position().column);
        let root = document.place();
        assert_eq!(at(root.key("machines").name("mini01")), (3, 3));
        assert_eq!(at(root.key("machines").key("mini01").key("port")), (3, 19));
        assert_eq!(at(root.key("list").item(1).key("two")), (6, 8));
        assert_eq!(at(root.key("empty")), (7, 1));
        // what is missing points at what lacks it
        assert_eq!(at(root.key("machines").key("mini01").key("mac").key("x")), (3, 11));
    }

    #[test]
    fn merges_and_aliases_stand_where_they_are_used() {
        let document = parse("base: &b {a: 1, c: 2}\nuse:\n  <<: *b\n  a: 5\nagain: *b\n");
        let merged = document.root().get("use").unwrap();
        assert_eq!(merged.to_json(), serde_json::json!({"a": 5, "c": 2}));
        assert_eq!(merged.entry("c").unwrap().key_position, Position { line: 3, column: 7 });
        assert_eq!(document.root().get("again").unwrap().position, Position { line: 5, column: 8 });
    }

    #[test]
    fn broken_texts_say_where() {
        assert_eq!(
            fault("a: 1\na: 2\n"),
            "f.yaml:2:1: error[yaml]: duplicate mapping key `a` is not allowed here\n  fix: keep one of the two"
        );
        assert!(fault("a: *nobody\n").starts_with("f.yaml:1:4: error[yaml]: "));
        assert!(fault("a: b: c\n").starts_with("f.yaml:1:5: error[yaml]: "));
        assert!(fault("a: 1\n---\nb: 2\n").starts_with("f.yaml:3:1: error[yaml]: "));
        assert!(fault(&" ".repeat(MAXIMUM_SIZE + 1)).starts_with("f.yaml: error[yaml-too-large]: "));
    }

    #[test]
    fn bombs_are_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let previous = level - 1;
            let aliases = vec![format!("*a{previous}"); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert!(Document::parse("f", &bomb).is_err());
        assert!(Document::parse("f", &"[".repeat(100_000)).is_err());
        assert!(Document::parse("f", &"- ".repeat(100_000)).is_err());
    }

    #[test]
    fn streams_skip_empty_documents() {
        let documents = Document::parse_stream("f", "---\na: 1\n---\n# nothing\n---\nb: 2\n").unwrap();
        assert_eq!(
            documents.iter().map(|d| d.root().entries()[0].key.as_str()).collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert_eq!(documents[1].root().position.line, 6);
    }

    #[test]
    fn a_patch_in_a_block_is_found_in_the_outer_file() {
        let document = parse("patches:\n  - |-\n    machine:\n      network: {}\n  - 'a: b: c'\n");
        let patches = document.root().get("patches").unwrap().items();
        let inner = document.parse_inside(&patches[0]).unwrap();
        let network = inner[0].root().get("machine").unwrap().entry("network").unwrap();
        assert_eq!(network.key_position, Position { line: 4, column: 7 });
        let fault = document.parse_inside(&patches[1]).unwrap_err();
        assert_eq!((fault.line, fault.column), (5, 10));
    }

    fn nested(node: &Node) -> usize {
        let inside = node.items().iter().chain(node.entries().iter().map(|entry| &entry.node));
        let own = usize::from(matches!(node.value, Value::List(_) | Value::Map(_)));
        own + inside.map(nested).max().unwrap_or_default()
    }

    #[test]
    fn the_depth_of_a_text_is_seen_before_it_is_parsed() {
        assert!(depth("machine:\n  kubelet:\n    nodeIP:\n      validSubnets: [10.0.0.0/8]\n") <= SHALLOW);
        for text in ["- ".repeat(50) + "x", "? ".repeat(50) + "x", "[".repeat(50), "{a: ".repeat(50)] {
            assert!(depth(&text) > SHALLOW, "{text}");
        }
        let indented: String = (0..50).map(|level| " ".repeat(level) + "a:\n").collect();
        assert!(depth(&indented) > SHALLOW);
        assert_eq!(depth("a: &a 1\nb: *a\n"), usize::MAX);
        assert_eq!(depth(""), 0);
    }

    proptest! {
        #[test]
        fn no_text_is_deeper_than_was_seen(text in "([ ]{0,4}(- |\\? |a: |b:|\\[|\\]|\\{|\\}|,|x)(- |\\? |a: |x|\\[|\\{|\\]|\\}){0,3}\n){1,8}") {
            for document in Document::parse_stream("f", &text).unwrap_or_default() {
                prop_assert!(nested(document.root()) <= depth(&text), "{text}");
            }
        }

        #[test]
        fn nothing_makes_it_panic(text in "[-a-c:{}\\[\\]&*!|>'\"%@`#,? \n\t0-9~<]{0,80}") {
            let _ = Document::parse_stream("f", &text);
            if let Ok(document) = Document::parse("f", &text) {
                document.root().to_json();
            }
        }
    }
}
