//! One patch, before anything is rendered.

use document::{Document, Finding, Findings, Value, nearest};

use crate::{config::MachineConfig, schema, talconfig::Patch, template::Template, versions::Contract};

/// One patch: readable and mergeable. `inline` is the scalar that holds it.
pub(in crate::talconfig) fn patch(
    patch: &Patch,
    inline: Option<(&Document, &document::Node)>,
    contract: Option<Contract>,
    findings: &mut Findings,
) {
    if Template::is_one(&patch.text) {
        // what it is can be seen when it is filled in, that is when the config is rendered
        if let Err(error) = Template::parse(&patch.text) {
            let mut finding = Finding::error(&patch.file, patch.inside(error.at), "template", error.message);
            finding.fix = error.fix;
            findings.push(finding);
        }
        return;
    }
    let parsed = match inline {
        Some((document, scalar)) => document.parse_inside(scalar),
        None => Document::parse_stream(&patch.file, &patch.text),
    };
    let documents = match parsed {
        Ok(documents) => documents,
        Err(finding) => return findings.push(finding),
    };
    for document in &documents {
        let place = document.place();
        match &document.root().value {
            Value::Map(entries) if !entries.is_empty() => unknown_keys(document, contract, findings),
            Value::List(_) if contract.is_some_and(|contract| contract < Contract::new(1, 12)) => {}
            Value::List(_) => {
                let message = "a JSON patch (RFC 6902) cannot change a config of several documents, \
                               and from Talos 1.12 on it always has several";
                let finding = place.error("patch-json", message);
                findings.push(finding.fix("write the keys to change as they are in the config"));
            }
            _ => {
                let finding = place.error("patch", "the patch is not a mapping");
                findings.push(finding.fix("begin with `machine:`, `cluster:` or `apiVersion:`"));
            }
        }
    }
}

/// Talos refuses the whole config for one key it does not know; talhelper finds that out when it renders.
fn unknown_keys(document: &Document, contract: Option<Contract>, findings: &mut Findings) {
    let Ok(config) = MachineConfig::from_documents(vec![document.root().to_json()]) else {
        let finding = document
            .place()
            .error("patch", "this is neither a part of a machine config nor a document of a kind");
        findings.push(finding.fix("begin with `machine:` or `cluster:`, or give `apiVersion` and `kind`"));
        return;
    };
    for unknown in schema::unknown_keys(&config) {
        let Some((key, way)) = unknown.path.split_last() else { continue };
        // an instruction to the patch, not a key of the config
        if key == "$patch" {
            continue;
        }
        let place = way.iter().fold(document.place(), |place, step| {
            let index = step.strip_prefix('[').and_then(|step| step.strip_suffix(']'));
            match index.and_then(|index| index.parse().ok()) {
                Some(index) => place.item(index),
                None => place.key(step),
            }
        });
        let message = match way {
            [] => format!("Talos knows no key `{key}` in {}", unknown.document),
            way => format!("Talos knows no key `{key}` in `{}` of {}", way.join("."), unknown.document),
        };
        let finding = place.name(key).error("patch-key", message);
        let finding = match nearest(key, unknown.known.iter().copied()) {
            Some(meant) => finding.fix(format!("did you mean `{meant}`?")),
            None => finding.fix(format!("it knows {}", unknown.known.join(", "))),
        };
        // the table is that of 1.13
        let newer = contract.is_some_and(|contract| contract > Contract::new(1, 13));
        findings.push(if newer { finding.warning() } else { finding });
    }
}
