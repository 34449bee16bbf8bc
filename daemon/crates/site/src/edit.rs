//! Small changes to `ichord.yaml` by the program itself: comments, order and everything else stay as people wrote it.
//!
//! Every change replaces or inserts text at the place of one value; what cannot be changed so is said and left alone.

use std::collections::BTreeMap;

use document::{Document, Entry, Finding, Node, Value};
use hardware::SwitchPort;

/// A changed text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edited {
    /// the whole file
    pub text: String,
    /// what was changed, one line each
    pub changes: Vec<String>,
    /// what was left as it is, and why
    pub left: Vec<String>,
}

/// Writes where each node's machine is plugged in.
///
/// # Errors
/// When the text is not YAML.
pub fn write_ports(file: &str, text: &str, ports: &BTreeMap<String, SwitchPort>) -> Result<Edited, Finding> {
    let mut edited = Edited { text: text.to_owned(), ..Edited::default() };
    for (name, port) in ports {
        // positions move with every change
        let document = Document::parse(file, &edited.text)?;
        match place_of(document.root(), name, port) {
            Ok(None) => {}
            Ok(Some(change)) => {
                let said = match &change.was {
                    Some(was) => format!("{name}: {was} → {port}"),
                    None => format!("{name}: {port}"),
                };
                match apply(&edited.text, &change) {
                    Some(text) => {
                        edited.text = text;
                        edited.changes.push(said);
                    }
                    None => {
                        edited.left.push(format!("{name}: its line could not be read; write `port: {port}`"))
                    }
                }
            }
            Err(reason) => edited.left.push(format!("{name}: {reason}")),
        }
    }
    Ok(edited)
}

/// Calls a switch by another name, wherever a port is on it.
///
/// # Errors
/// When the text is not YAML.
pub fn rename_switch(file: &str, text: &str, old: &str, new: &str) -> Result<Edited, Finding> {
    let mut edited = Edited { text: text.to_owned(), ..Edited::default() };
    let document = Document::parse(file, text)?;
    let mut changes: Vec<Change> = Vec::new();
    for entry in document.root().get("machines").map(Node::entries).unwrap_or_default() {
        let Some(port) = entry.node.get("port") else { continue };
        let values = if port.items().is_empty() { std::slice::from_ref(port) } else { port.items() };
        for value in values {
            let Some(was) = value.text() else { continue };
            let Some((switch, rest)) = was.split_once('/').filter(|(switch, _)| *switch == old) else {
                continue;
            };
            edited.changes.push(format!("{}: {switch}/{rest} → {new}/{rest}", entry.key));
            changes.push(Change::replace(value, was, format!("{new}/{rest}")));
        }
    }
    for relay in document.root().get("relays").map(Node::items).unwrap_or_default() {
        if let Some(name) = relay.get("switch").filter(|name| name.text() == Some(old)) {
            edited.changes.push(format!("a relay's switch {old} → {new}"));
            changes.push(Change::replace(name, old, new.to_owned()));
        }
    }
    for switch in document.root().get("switches").map(Node::items).unwrap_or_default() {
        if let Some(name) = switch.get("name").filter(|name| name.text() == Some(old)) {
            edited.changes.push(format!("switch {old} → {new}"));
            changes.push(Change::replace(name, old, new.to_owned()));
        }
    }
    // from the end, so that the places before stay where they are
    changes.sort_by_key(|change| std::cmp::Reverse((change.line, change.column)));
    for change in &changes {
        match apply(&edited.text, change) {
            Some(text) => edited.text = text,
            None => edited.left.push(format!("line {} could not be read; change it by hand", change.line)),
        }
    }
    Ok(edited)
}

/// One change at one place, both counted from one.
struct Change {
    line: u32,
    column: u32,
    /// what must stand there; `None` inserts
    was: Option<String>,
    text: String,
    /// a line of its own, before the line of the place (or after the last)
    own_line: bool,
}

impl Change {
    fn replace(node: &Node, was: &str, text: String) -> Self {
        let (line, column) = (node.position.line, node.position.column);
        Self { line, column, was: Some(was.to_owned()), text, own_line: false }
    }
}

/// What is to be changed so that the node is on the port; nothing when it is.
fn place_of(root: &Node, name: &str, port: &SwitchPort) -> Result<Option<Change>, String> {
    let Some(machines) = root.entry("machines") else {
        return Err("the file has no `machines:`".to_owned());
    };
    let Some(entry) = machines.node.entry(name) else {
        return add_node(&machines.node, name, port).map(Some);
    };
    let node = &entry.node;
    match node.get("port") {
        Some(written) if !written.items().is_empty() => {
            let all: Vec<&str> = written.items().iter().filter_map(Node::text).collect();
            match all.contains(&port.to_string().as_str()) {
                true => Ok(None),
                false => Err(format!("it has several ports ({}); {port} is none of them", all.join(", "))),
            }
        }
        Some(written) => match written.text() {
            Some(was) if was == port.to_string() => Ok(None),
            Some(was) => Ok(Some(Change::replace(written, was, port.to_string()))),
            None => Err(format!("its `port:` is empty; write `port: {port}`")),
        },
        None => add_port(entry, port).map(Some),
    }
}

fn add_port(entry: &Entry, port: &SwitchPort) -> Result<Change, String> {
    let node = &entry.node;
    let Some(first) = node.entries().first() else {
        return Err(format!("its entry is empty; write `port: {port}`"));
    };
    let (line, column) = (first.key_position.line, first.key_position.column);
    // in a block mapping the keys stand below their node's name; in `{ … }` beside it
    let own_line = line > entry.key_position.line && node.position == first.key_position;
    let text = if own_line {
        format!("port: {}", spelled(port, false))
    } else {
        format!("port: {}, ", spelled(port, true))
    };
    Ok(Change { line, column, was: None, text, own_line })
}

fn add_node(machines: &Node, name: &str, port: &SwitchPort) -> Result<Change, String> {
    let Value::Map(entries) = &machines.value else {
        return Err(format!("`machines:` is empty; write `{name}: {{ port: {port} }}` below it"));
    };
    let Some(first) = entries.first() else {
        return Err(format!("`machines:` is empty; write `{name}: {{ port: {port} }}` below it"));
    };
    let (line, column) = (first.key_position.line, first.key_position.column);
    let own_line = machines.position == first.key_position;
    let entry = format!("{name}: {{ port: {} }}", spelled(port, true));
    let text = if own_line { entry } else { format!("{entry}, ") };
    Ok(Change { line, column, was: None, text, own_line })
}

/// With quotes where YAML would read something else.
fn spelled(port: &SwitchPort, in_flow: bool) -> String {
    let text = port.to_string();
    let special = |c: char| in_flow && matches!(c, ',' | '[' | ']' | '{' | '}');
    let plain = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.ends_with(':')
        && !text.contains(special)
        && !text.contains(|c: char| c.is_control());
    if plain { text } else { format!("'{}'", text.replace('\'', "''")) }
}

/// The text with the change; `None` when something else stands there.
fn apply(text: &str, change: &Change) -> Option<String> {
    let line = usize::try_from(change.line).ok()?.checked_sub(1)?;
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(start..)?;
    let column = usize::try_from(change.column).ok()?.checked_sub(1)?;
    let inside: usize = rest.chars().take(column).map(char::len_utf8).sum();
    let (before, after) = text.split_at_checked(start + inside)?;
    if change.own_line {
        let indent = " ".repeat(column);
        let (before, after) = text.split_at_checked(start)?;
        return Some(format!("{before}{indent}{}\n{after}", change.text));
    }
    let Some(was) = &change.was else {
        return Some(format!("{before}{}{after}", change.text));
    };
    for (quote, written) in [("", was.clone()), ("\"", format!("\"{was}\"")), ("'", format!("'{was}'"))] {
        if let Some(after) = after.strip_prefix(&written) {
            return Some(format!("{before}{quote}{}{quote}{after}", change.text));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# where everything is
site: home
machines:   # rack 4
  mini01: { port: sw1/Eth1/1 }   # top
  mini02:
    # the one that blinks
    port: \"sw1/Eth1/2\"
    bmc: 64:4b:f0:00:00:99
  mini03: { mac: \"64:4b:f0:00:00:03\" }
  mini04:
    mac: 64:4b:f0:00:00:04
  mini05: { port: [sw1/Eth1/5, sw2/Eth1/5] }
switches:
  - name: sw1
    also: [00:1c:73:00:00:01]
relays:
  - { address: 10.0.0.1, circuit: '{port}', switch: sw1, port: 'Eth1/{port}' }
deploy: ask
";

    fn ports(list: &[(&str, &str)]) -> BTreeMap<String, SwitchPort> {
        list.iter().map(|(name, port)| ((*name).to_owned(), port.parse().unwrap())).collect()
    }

    #[test]
    fn only_what_changes_changes() {
        let now = ports(&[
            ("mini01", "sw1/Eth1/7"),
            ("mini02", "sw1/Eth1/8"),
            ("mini03", "sw1/Eth1/3"),
            ("mini04", "sw1/Port 4"),
            ("mini05", "sw9/Eth1/5"),
            ("mini06", "sw1/Eth1/6"),
        ]);
        let edited = write_ports("ichord.yaml", FILE, &now).unwrap();
        let expected = FILE
            .replace("machines:   # rack 4\n", "machines:   # rack 4\n  mini06: { port: sw1/Eth1/6 }\n")
            .replace("{ port: sw1/Eth1/1 }   # top", "{ port: sw1/Eth1/7 }   # top")
            .replace("\"sw1/Eth1/2\"", "\"sw1/Eth1/8\"")
            .replace("{ mac: \"64:4b:f0:00:00:03\" }", "{ port: sw1/Eth1/3, mac: \"64:4b:f0:00:00:03\" }")
            .replace("    mac: 64:4b:f0:00:00:04", "    port: sw1/Port 4\n    mac: 64:4b:f0:00:00:04");
        assert_eq!(edited.text, expected);
        assert_eq!(
            edited.changes,
            [
                "mini01: sw1/Eth1/1 → sw1/Eth1/7",
                "mini02: sw1/Eth1/2 → sw1/Eth1/8",
                "mini03: sw1/Eth1/3",
                "mini04: sw1/Port 4",
                "mini06: sw1/Eth1/6",
            ]
        );
        assert_eq!(
            edited.left,
            ["mini05: it has several ports (sw1/Eth1/5, sw2/Eth1/5); sw9/Eth1/5 is none of them"]
        );
        // a second time there is nothing to do
        let again = write_ports("ichord.yaml", &edited.text, &now).unwrap();
        assert_eq!((again.text, again.changes.len()), (edited.text, 0));
    }

    #[test]
    fn a_switch_gets_another_name_everywhere() {
        let edited = rename_switch("ichord.yaml", FILE, "sw1", "leaf-1.example.com").unwrap();
        let expected = FILE.replace("sw1", "leaf-1.example.com");
        assert_eq!(edited.text, expected);
        assert_eq!(edited.changes.len(), 5);
        let none = rename_switch("ichord.yaml", FILE, "sw", "x").unwrap();
        assert_eq!((none.text.as_str(), none.changes.len()), (FILE, 0));
        let ranges =
            rename_switch("f", "machines: { n1..3: { port: 'sw1/Eth1/1..3' } }\n", "sw1", "sw2").unwrap();
        assert_eq!(ranges.text, "machines: { n1..3: { port: 'sw2/Eth1/1..3' } }\n");
    }

    #[test]
    fn flow_mappings_and_odd_names_stay_yaml() {
        let text = "machines: { a: { mac: 64:4b:f0:00:00:03 } }\n";
        let now = ports(&[("a", "sw1/Eth1/1,2"), ("b", "sw1/x: y")]);
        let edited = write_ports("f", text, &now).unwrap();
        assert_eq!(
            edited.text,
            "machines: { b: { port: 'sw1/x: y' }, a: { port: 'sw1/Eth1/1,2', mac: 64:4b:f0:00:00:03 } }\n"
        );
        let empty = write_ports("f", "site: x\n", &now).unwrap();
        assert_eq!((empty.changes.len(), empty.left.len()), (0, 2));
        assert!(write_ports("f", "a: [", &now).is_err());
    }
}
