//! A step that stands in for a chart: its objects get Helm's marks, and when all of them are ready Helm's record.

use document::{Finding, Findings};
use jiff::Timestamp;
use kubernetes::{ApplyError, Client, Outcome};
use serde_json::{Map, Value, json};

use crate::{
    helm::{self, Chart, Identity, Record, Rendered},
    manifest::Step,
    order,
};

/// Which chart a step stands in for.
#[derive(Clone, PartialEq)]
pub struct StepRelease {
    /// Under which names Git will look for it.
    pub identity: Identity,
    /// What it is.
    pub chart: Chart,
    /// The values it was rendered with.
    pub values: Map<String, Value>,
}

impl std::fmt::Debug for StepRelease {
    /// Without the values: there may be secrets in them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let StepRelease { identity, chart, .. } = self;
        f.debug_struct("StepRelease")
            .field("identity", identity)
            .field("chart", chart)
            .finish_non_exhaustive()
    }
}

const HOOK: &str = "helm.sh/hook";

impl Step {
    /// Makes the step one that stands in for a chart. Test pods are left out; a hook that would have to run is refused.
    pub fn into_release(mut self, release: StepRelease) -> Result<Step, Findings> {
        let mut findings = Findings::new();
        let hook = |object: &Value| object["metadata"]["annotations"][HOOK].as_str().map(str::to_owned);
        self.manifests.retain(|manifest| {
            hook(&manifest.object).is_none_or(|hook| !hook.split(',').any(|event| event.trim() == "test"))
        });
        for manifest in &mut self.manifests {
            if let Some(hook) = hook(&manifest.object) {
                let message = format!(
                    "line {}: {} is a hook ({hook}), and nothing runs hooks",
                    manifest.line, manifest.id
                );
                let finding = Finding::about_file(manifest.file.as_str(), "manifest-hook", message);
                findings.push(
                    finding.fix(
                        "render the chart without it, or make it a step of its own without the annotation",
                    ),
                );
                continue;
            }
            if manifest.id.namespace.is_none() && order::namespaced(&manifest.id) {
                manifest.object["metadata"]["namespace"] = json!(release.identity.namespace);
                manifest.id.namespace = Some(release.identity.namespace.clone());
            }
            helm::stamp(&mut manifest.object, &release.identity);
            manifest.in_release = true;
        }
        self.release = Some(release);
        if findings.has_errors() { Err(findings) } else { Ok(self) }
    }
}

impl StepRelease {
    /// The release as it is recorded when everything is in place.
    pub(crate) fn record(&self, step: &Step, now: Timestamp) -> helm::Release {
        let chart = &self.chart.name;
        // Where the source is not known any more, the file's name says what a person can look for.
        let source = |file: &str| file.rsplit('/').next().unwrap_or_default().to_owned();
        helm::Release {
            identity: self.identity.clone(),
            revision: 1,
            chart: self.chart.clone(),
            values: self.values.clone(),
            objects: (step.manifests.iter().filter(|manifest| manifest.in_release))
                .map(|manifest| Rendered {
                    source: format!("{chart}/templates/{}", source(&manifest.file)),
                    object: manifest.object.clone(),
                })
                .collect(),
            deployed: now,
        }
    }

    /// The records of this release, the latest first. What cannot be read is somebody else's Secret.
    pub(crate) async fn records(&self, client: &Client) -> Result<Vec<Record>, ApplyError> {
        let Identity { name, storage, .. } = &self.identity;
        let labels = format!("owner=helm,name={name}");
        let secrets = client.list("v1", "Secret", Some(storage.as_str()), &labels).await?;
        let mut records: Vec<Record> =
            secrets.iter().filter_map(|secret| Record::read(secret).ok()).collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.revision));
        Ok(records)
    }

    /// Leaves the record unless there is one: a release that Helm knows is Helm's to count.
    pub(crate) async fn leave_record(&self, client: &Client, record: &Value) -> Result<Outcome, ApplyError> {
        if let Some(latest) = self.records(client).await?.first() {
            if latest.chart.version != self.chart.version {
                let Record { identity, revision, status, chart, .. } = latest;
                tracing::warn!(
                    release = identity.name,
                    revision,
                    status,
                    recorded = chart.version,
                    ours = self.chart.version,
                    "Helm's record names another version of the chart"
                );
            }
            return Ok(Outcome::Unchanged);
        }
        Ok(if client.create(record).await? { Outcome::Created } else { Outcome::Unchanged })
    }
}
