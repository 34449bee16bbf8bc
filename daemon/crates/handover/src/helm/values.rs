//! Values that a chart does not know. Helm takes them without a word, and they have no effect.

use document::{Findings, Node, Place, nearest};
use serde_json::{Map, Value};

/// An error for each key that the chart has no default for, where the chart has defaults beside it.
pub fn unknown_values(place: Place<'_>, defaults: &Value, chart: &Value) -> Findings {
    let mut findings = Findings::new();
    // a chart's parts have values of their own, which are not among its defaults
    let parts: Vec<&str> = (chart["dependencies"].as_array().into_iter().flatten())
        .filter_map(|part| part["alias"].as_str().or_else(|| part["name"].as_str()))
        .collect();
    if let Some(defaults) = defaults.as_object() {
        below(place, defaults, "", &parts, &mut findings);
    }
    findings
}

fn below(
    place: Place<'_>,
    defaults: &Map<String, Value>,
    path: &str,
    parts: &[&str],
    findings: &mut Findings,
) {
    // an empty mapping is one that takes any key
    if defaults.is_empty() {
        return;
    }
    for entry in place.node().map(Node::entries).unwrap_or_default() {
        let key = entry.key.as_str();
        if path.is_empty() && (key == "global" || parts.contains(&key)) {
            continue;
        }
        match defaults.get(key) {
            Some(Value::Object(defaults)) => {
                below(place.key(key), defaults, &format!("{path}{key}."), parts, findings);
            }
            Some(_) => {}
            None => {
                let message = format!("the chart has no value {path}{key}, so it would have no effect");
                let finding = place.name(key).error("release-value-unknown", message);
                let meant = nearest(key, defaults.keys().map(String::as_str));
                // `automount` for `autoMount` is the kind that nobody sees
                let same = defaults.keys().find(|other| other.eq_ignore_ascii_case(key)).map(String::as_str);
                findings.push(match same.or(meant) {
                    Some(meant) => finding.fix(format!("did you mean `{path}{meant}`?")),
                    None => finding.fix("take it out; `helm show values` lists what there is"),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use document::Document;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_that_the_chart_does_not_know_is_told_at_its_place() {
        let text = "cgroup:\n  automount: { enabled: false }\nenable-lb-ipam: true\nannotations: { any: x }\npart: { x: 1 }\nglobal: { y: 1 }\ndevices: [a]\n";
        let document = Document::parse("helmrelease.yaml", text).unwrap();
        let defaults =
            json!({ "cgroup": { "autoMount": { "enabled": true } }, "annotations": {}, "devices": "" });
        let chart = json!({ "dependencies": [{ "name": "part" }] });
        let told: Vec<String> = unknown_values(document.place(), &defaults, &chart)
            .iter()
            .map(|finding| finding.to_string())
            .collect();
        assert_eq!(
            told,
            [
                "helmrelease.yaml:2:3: error[release-value-unknown]: the chart has no value cgroup.automount, so it would have no effect\n  fix: did you mean `cgroup.autoMount`?",
                "helmrelease.yaml:3:1: error[release-value-unknown]: the chart has no value enable-lb-ipam, so it would have no effect\n  fix: take it out; `helm show values` lists what there is",
            ]
        );
    }
}
