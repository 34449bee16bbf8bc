//! What a real API server answered, one case a file: requests that people wrote and answers that were recorded.
//!
//! What differs from run to run is replaced before it is compared: identities, times, addresses. Versions become `r1`,
//! `r2`, … in the order in which they were seen, so that it stays visible when one moved.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};

/// Where the transcripts lie.
pub fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/transcripts"))
}

/// One case.
#[derive(Debug, Clone, PartialEq)]
pub struct Transcript {
    /// The file's name without its ending; the case has a namespace of this name.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// Where the stand-in is known to be another, and why; empty where it is not.
    pub stand_in: String,
    /// In their order.
    pub exchanges: Vec<Exchange>,
}

/// One request, and what came back.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// Such as `PATCH`.
    pub method: String,
    /// With the query. `NAMESPACE` stands for the case's own.
    pub path: String,
    /// The body's media type.
    pub media_type: String,
    /// The body.
    pub body: Value,
    /// The status code.
    pub code: u16,
    /// The answer without what differs from run to run.
    pub answer: Value,
}

impl Transcript {
    /// Every recorded case, in the order of their names.
    pub fn all() -> Result<Vec<Transcript>> {
        let mut files: Vec<_> =
            fs::read_dir(folder())?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
        files.sort();
        files.iter().map(|file| Transcript::read(file).with_context(|| file.display().to_string())).collect()
    }

    fn read(file: &Path) -> Result<Transcript> {
        let name = file.file_stem().and_then(|name| name.to_str()).context("its name is not text")?;
        let found: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let exchanges: Vec<Exchange> = (found["exchanges"].as_array().into_iter().flatten())
            .map(|exchange| Exchange {
                method: text(&exchange["method"]),
                path: text(&exchange["path"]),
                media_type: text(&exchange["type"]),
                body: exchange["body"].clone(),
                code: exchange["code"].as_u64().and_then(|code| code.try_into().ok()).unwrap_or(0),
                answer: in_order(exchange["answer"].clone()),
            })
            .collect();
        ensure!(!exchanges.is_empty(), "there is no exchange in it");
        Ok(Transcript {
            name: name.to_owned(),
            about: text(&found["about"]),
            stand_in: text(&found["stand-in"]),
            exchanges,
        })
    }

    /// Writes the file anew.
    pub fn write(&self) -> Result<()> {
        let exchanges: Vec<Value> = (self.exchanges.iter())
            .map(|exchange| {
                json!({ "method": exchange.method, "path": exchange.path, "type": exchange.media_type,
                    "body": exchange.body, "code": exchange.code, "answer": exchange.answer })
            })
            .collect();
        let mut file = json!({ "about": self.about });
        if !self.stand_in.is_empty() {
            file["stand-in"] = json!(self.stand_in);
        }
        file["exchanges"] = json!(exchanges);
        let text = serde_json::to_string_pretty(&file)? + "\n";
        Ok(fs::write(folder().join(format!("{}.json", self.name)), text)?)
    }

    /// The path with the case's namespace in it.
    pub fn path(&self, exchange: &Exchange) -> String {
        exchange.path.replace("NAMESPACE", &self.name)
    }

    /// The body as it is sent.
    pub fn body(&self, exchange: &Exchange) -> String {
        exchange.body.to_string().replace("NAMESPACE", &self.name)
    }
}

/// Takes out of the answers of one case what differs from run to run.
#[derive(Debug, Default)]
pub struct Normaliser {
    versions: Vec<String>,
}

impl Normaliser {
    /// The answer as it is recorded.
    pub fn normalise(&mut self, case: &Transcript, answer: &Value) -> Value {
        let text = answer.to_string().replace(&case.name, "NAMESPACE");
        let mut answer = serde_json::from_str(&text).unwrap_or_default();
        self.walk(&mut answer);
        in_order(answer)
    }

    fn walk(&mut self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (name, value) in map.iter_mut() {
                    let fixed = match (name.as_str(), &*value) {
                        ("uid", Value::String(_)) => Some(json!("UID")),
                        ("creationTimestamp" | "time" | "lastTransitionTime", Value::String(_)) => {
                            Some(json!("TIME"))
                        }
                        ("clusterIP", Value::String(_)) => Some(json!("ADDRESS")),
                        ("clusterIPs", Value::Array(list)) => Some(json!(vec!["ADDRESS"; list.len()])),
                        ("resourceVersion", Value::String(version)) => Some(json!(self.version(version))),
                        ("message", Value::String(message)) => Some(json!(without_times(message))),
                        _ => None,
                    };
                    match fixed {
                        Some(fixed) => *value = fixed,
                        None => self.walk(value),
                    }
                }
                sort(map);
            }
            Value::Array(items) => {
                items.iter_mut().for_each(|item| self.walk(item));
                // Conflicts with several managers come in no order, as Go's maps have none.
                if items.iter().all(|item| item["reason"] == "FieldManagerConflict") {
                    items.sort_by_key(ToString::to_string);
                }
            }
            _ => {}
        }
    }

    fn version(&mut self, version: &str) -> String {
        let known = self.versions.iter().position(|known| known == version);
        let index = known.unwrap_or_else(|| {
            self.versions.push(version.to_owned());
            self.versions.len() - 1
        });
        format!("r{}", index + 1)
    }
}

/// Field managers come by the second in which they were there, so whether one stands before the other is a matter of luck.
fn in_order(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => map.values_mut().for_each(|value| *value = in_order(value.take())),
        Value::Array(items) => {
            items.iter_mut().for_each(|item| *item = in_order(item.take()));
            if items.iter().all(|item| item["manager"].is_string() && item["fieldsV1"].is_object()) {
                items.sort_by_key(ToString::to_string);
            }
        }
        _ => {}
    }
    value
}

/// The order of keys means nothing; the same one in every recording makes changes readable.
fn sort(map: &mut Map<String, Value>) {
    let mut entries: Vec<(String, Value)> = std::mem::take(map).into_iter().collect();
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    map.extend(entries);
}

/// `… using apps/v1 at 2026-11-23T16:00:00Z` without the time.
fn without_times(message: &str) -> String {
    let mut parts = message.split(" at 20");
    let mut found = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        found.push_str(" at TIME");
        found.push_str(part.split_once('Z').map_or(part, |(_, rest)| rest));
    }
    found
}
