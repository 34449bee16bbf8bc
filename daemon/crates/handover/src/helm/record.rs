//! The release record: a Secret in which Helm keeps one revision as base64 of gzip of JSON.

use std::{
    fmt,
    io::{Read as _, Write as _},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Identity;

/// The type of the Secret.
const TYPE: &str = "helm.sh/release.v1";

/// The API server stores no Secret whose values are together larger.
const LARGEST: usize = 1 << 20;

/// What is unpacked at most: many times the largest record there can be, and no bomb.
const UNPACKED: u64 = 64 << 20;

/// A chart as far as Helm compares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// Such as `cilium`.
    pub name: String,
    /// Such as `1.20.1`.
    pub version: String,
    /// The version of what is in it, often the same; may be empty.
    pub app_version: String,
}

/// An object that was rendered from a chart, and from which of its files.
#[derive(Clone, PartialEq)]
pub struct Rendered {
    /// Such as `cilium/templates/cilium-agent/daemonset.yaml`.
    pub source: String,
    /// The object as it was applied.
    pub object: Value,
}

/// A release that is in place.
#[derive(Clone, PartialEq)]
pub struct Release {
    /// Under which names.
    pub identity: Identity,
    /// Its number; a first one is 1.
    pub revision: u32,
    /// Which chart.
    pub chart: Chart,
    /// The values a person gave, without the chart's own defaults.
    pub values: Map<String, Value>,
    /// What is in place of it, without what a chart keeps in `crds/` and without hooks.
    pub objects: Vec<Rendered>,
    /// When it was complete.
    pub deployed: Timestamp,
}

impl fmt::Debug for Release {
    /// Without values and objects: there may be secrets in both.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Release { identity, revision, chart, objects, deployed, .. } = self;
        f.debug_struct("Release")
            .field("identity", identity)
            .field("revision", revision)
            .field("chart", chart)
            .field("objects", &objects.len())
            .field("deployed", deployed)
            .finish_non_exhaustive()
    }
}

/// What a record in the cluster says, whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The release, and where its record lies.
    pub identity: Identity,
    /// Its number.
    pub revision: u32,
    /// Helm's word: `deployed`, `superseded`, `failed`, `pending-install`, …
    pub status: String,
    /// Which chart.
    pub chart: Chart,
    /// `ssa`, `csa`, or empty, which means the same as `csa`.
    pub apply_method: String,
}

/// A record cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The API server would not take it.
    #[error(
        "the release record of {release} has {bytes} bytes, and a Secret may have {LARGEST}: leave CustomResourceDefinitions out of the pack, into a step of their own"
    )]
    TooLarge {
        /// Which one.
        release: String,
        /// Its size.
        bytes: usize,
    },
    /// It is not one.
    #[error("{secret} is not a Helm release record: {reason}")]
    Unreadable {
        /// The Secret.
        secret: String,
        /// Why; never its content.
        reason: String,
    },
    /// Memory cannot be compressed.
    #[error("the release record cannot be compressed")]
    Compress(#[source] std::io::Error),
}

impl Release {
    /// The name of the record's Secret.
    pub fn secret_name(&self) -> String {
        format!("sh.helm.release.v1.{}.v{}", self.identity.name, self.revision)
    }

    /// The record as Helm 4 writes it. Written only when everything is in place: a record that says anything but
    /// `deployed` would be taken for an operation that somebody broke off.
    pub fn secret(&self) -> Result<Value, RecordError> {
        let Release { identity, revision, chart, values, deployed, .. } = self;
        let deployed = deployed.to_string();
        let release = json!({
            "name": identity.name,
            "info": {
                "first_deployed": deployed,
                "last_deployed": deployed,
                "description": "Install complete",
                "status": "deployed",
            },
            "chart": {
                "metadata": {
                    "name": chart.name,
                    "version": chart.version,
                    "apiVersion": "v2",
                    "appVersion": chart.app_version,
                },
                "lock": null,
                // Helm upgrades from the manifest, not from the templates of what was there before.
                "templates": [],
                "values": {},
                "schema": null,
                "schemamodtime": "0001-01-01T00:00:00Z",
                "files": [],
            },
            "config": values,
            "manifest": self.manifest(),
            "version": revision,
            "namespace": identity.namespace,
            "apply_method": "ssa",
        });
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(release.to_string().as_bytes()).map_err(RecordError::Compress)?;
        let text = BASE64_STANDARD.encode(packed.finish().map_err(RecordError::Compress)?);
        if text.len() > LARGEST {
            return Err(RecordError::TooLarge { release: identity.name.clone(), bytes: text.len() });
        }
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": self.secret_name(),
                "namespace": identity.storage,
                "labels": {
                    "name": identity.name,
                    "owner": "helm",
                    "status": "deployed",
                    "version": revision.to_string(),
                },
            },
            "type": TYPE,
            // Helm's own base64, and around it that of every Secret.
            "data": { "release": BASE64_STANDARD.encode(text) },
        }))
    }

    /// The objects as documents of YAML. Each is in JSON, in which no text can be taken for a number or a date,
    /// and in which no line of a value can look like the end of a document.
    fn manifest(&self) -> String {
        let documents = self.objects.iter();
        documents.map(|Rendered { source, object }| format!("---\n# Source: {source}\n{object}\n")).collect()
    }
}

impl Record {
    /// Reads a Secret of the API.
    pub fn read(secret: &Value) -> Result<Self, RecordError> {
        let metadata = &secret["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let unreadable = |reason: &str| RecordError::Unreadable {
            secret: format!("Secret {}/{}", text(&metadata["namespace"]), text(&metadata["name"])),
            reason: reason.to_owned(),
        };
        if secret["type"] != TYPE {
            return Err(unreadable(&format!("its type is not {TYPE}")));
        }
        let decode = |bytes: &[u8]| BASE64_STANDARD.decode(bytes).ok();
        let packed = secret["data"]["release"]
            .as_str()
            .and_then(|text| decode(text.as_bytes()))
            .and_then(|inner| decode(&inner))
            .ok_or_else(|| unreadable("data.release is not base64 of base64"))?;
        let mut plain = Vec::new();
        if packed.starts_with(&[0x1f, 0x8b, 0x08]) {
            let read = GzDecoder::new(packed.as_slice()).take(UNPACKED).read_to_end(&mut plain);
            read.map_err(|_| unreadable("it is not gzip to its end"))?;
        } else {
            // Helm 2 did not compress, and Helm reads it still.
            plain = packed;
        }
        let release: Value = serde_json::from_slice(&plain).map_err(|_| unreadable("it is not JSON"))?;
        let chart = &release["chart"]["metadata"];
        let revision = release["version"].as_u64().and_then(|revision| u32::try_from(revision).ok());
        Ok(Record {
            identity: Identity {
                name: text(&release["name"]),
                namespace: text(&release["namespace"]),
                storage: text(&metadata["namespace"]),
            },
            revision: revision.ok_or_else(|| unreadable("it has no version"))?,
            status: text(&release["info"]["status"]),
            chart: Chart {
                name: text(&chart["name"]),
                version: text(&chart["version"]),
                app_version: text(&chart["appVersion"]),
            },
            apply_method: text(&release["apply_method"]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Release {
        let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c", "namespace": "kube-system" },
            "data": { "a": "---\nhunter2" } });
        Release {
            identity: Identity { storage: "flux-system".to_owned(), ..Identity::of("cilium", "kube-system") },
            revision: 1,
            chart: Chart {
                name: "cilium".to_owned(),
                version: "1.20.1".to_owned(),
                app_version: "1.20.1".to_owned(),
            },
            values: json!({ "password": "hunter2" }).as_object().unwrap().clone(),
            objects: vec![Rendered { source: "cilium/templates/c.yaml".to_owned(), object }],
            deployed: "2026-11-27T22:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let release = release();
        let record = Record::read(&release.secret().unwrap()).unwrap();
        assert_eq!(
            record,
            Record {
                identity: release.identity,
                revision: 1,
                status: "deployed".to_owned(),
                chart: release.chart,
                apply_method: "ssa".to_owned(),
            }
        );
    }

    #[test]
    fn a_release_is_shown_without_what_may_be_secret() {
        assert!(!format!("{:?}", release()).contains("hunter2"));
    }

    #[test]
    fn what_the_api_server_would_not_store_is_refused_before() {
        let mut release = release();
        // Noise does not compress.
        let mut state = 1_u64;
        let noise: String = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'!' + u8::try_from(state >> 58).unwrap())
        })
        .take(2 << 20)
        .collect();
        release.objects[0].object["data"]["a"] = json!(noise);
        let error = release.secret().unwrap_err();
        assert!(matches!(error, RecordError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn what_is_no_record_is_told_without_its_content() {
        let good = release().secret().unwrap();
        let inner = |bytes: &[u8]| json!(BASE64_STANDARD.encode(BASE64_STANDARD.encode(bytes)));
        for (field, value, says) in [
            ("/type", json!("Opaque"), "its type is not"),
            ("/data/release", json!("%"), "base64"),
            ("/data/release", json!(BASE64_STANDARD.encode("%")), "base64"),
            ("/data/release", inner(&[0x1f, 0x8b, 0x08, 1]), "gzip"),
            ("/data/release", inner(b"hunter2"), "JSON"),
            ("/data/release", inner(b"{}"), "no version"),
        ] {
            let mut secret = good.clone();
            *secret.pointer_mut(field).unwrap() = value;
            let told = Record::read(&secret).unwrap_err().to_string();
            assert!(told.contains(says) && !told.contains("hunter2"), "{told}");
            assert!(told.starts_with("Secret flux-system/sh.helm.release.v1.cilium.v1"), "{told}");
        }
    }
}
