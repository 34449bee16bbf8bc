//! What Flux has in hand, how far it is, and what it waits for.

use std::fmt;

use kubernetes::{ApplyError, Client, ObjectId, Readiness, readiness};
use serde_json::Value;

/// Every kind that Flux reports on, sources first: what depends on them waits for them.
const KINDS: [(&str, &str); 7] = [
    ("source.toolkit.fluxcd.io/v1", "GitRepository"),
    ("source.toolkit.fluxcd.io/v1", "OCIRepository"),
    ("source.toolkit.fluxcd.io/v1", "Bucket"),
    ("source.toolkit.fluxcd.io/v1", "HelmRepository"),
    ("source.toolkit.fluxcd.io/v1", "HelmChart"),
    ("kustomize.toolkit.fluxcd.io/v1", "Kustomization"),
    ("helm.toolkit.fluxcd.io/v2", "HelmRelease"),
];

/// One of Flux's objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// which
    pub object: ObjectId,
    /// how far it is
    pub state: State,
    /// why it is not further; empty when it is
    pub reason: String,
    /// what is fetched or applied, as Flux writes it: `main@sha1:…`, a chart's version; may be empty
    pub revision: String,
}

/// How far one of Flux's objects is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// it is as the repository says
    Ready,
    /// a controller is at it
    Busy,
    /// it says that it has failed, for now or for good
    Failed,
    /// a person has stopped it
    Suspended,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// sources, then what they bring
    pub entries: Vec<Entry>,
}

/// How far the whole is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Level {
    /// Flux has applied nothing yet
    Nothing,
    /// the revision is applied, and something is still on its way
    Synced {
        /// what is on its way
        busy: Vec<String>,
    },
    /// everything is ready
    Healthy,
    /// something has failed or is stopped
    Degraded {
        /// what, each with its reason
        blocking: Vec<String>,
    },
}

impl Entry {
    /// Whether nothing is in its way.
    pub fn healthy(&self) -> bool {
        self.state == State::Ready
    }

    fn of(object: &Value) -> Option<Entry> {
        let id = ObjectId::try_from(object).ok()?;
        let ready = (object["status"]["conditions"].as_array().into_iter().flatten())
            .find(|condition| condition["type"] == "Ready");
        // a HelmRepository of the OCI kind has no status: nothing is fetched before a chart is
        let silent = object["kind"] == "HelmRepository" && object["spec"]["type"] == "oci";
        let (state, reason) = match readiness(object) {
            _ if object["spec"]["suspend"] == true => (State::Suspended, "it is suspended".to_owned()),
            Readiness::Ready => (State::Ready, String::new()),
            _ if silent => (State::Ready, String::new()),
            Readiness::Failed(reason) => (State::Failed, reason),
            Readiness::Waiting(reason) => {
                // Unknown is under way; False is a failure that is tried again
                let failed = ready.is_some_and(|ready| {
                    ready["status"] == "False"
                        && !matches!(ready["reason"].as_str(), Some("DependencyNotReady" | "Progressing"))
                });
                (if failed { State::Failed } else { State::Busy }, reason)
            }
        };
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let revision = text("/status/lastAppliedRevision")
            .or_else(|| text("/status/artifact/revision"))
            .or_else(|| text("/status/history/0/chartVersion"))
            .unwrap_or_default();
        Some(Entry { object: id, state, reason, revision })
    }
}

impl Report {
    /// How far the whole is.
    pub fn level(&self) -> Level {
        let told = |wanted: &[State]| -> Vec<String> {
            let entries = self.entries.iter().filter(|entry| wanted.contains(&entry.state));
            entries.map(|entry| format!("{}: {}", entry.object, entry.reason)).collect()
        };
        let applied = self
            .entries
            .iter()
            .any(|entry| entry.object.kind == "Kustomization" && !entry.revision.is_empty());
        let (blocking, busy) = (told(&[State::Failed, State::Suspended]), told(&[State::Busy]));
        match (applied, blocking.is_empty(), busy.is_empty()) {
            (false, true, _) => Level::Nothing,
            (_, false, _) => Level::Degraded { blocking },
            (true, true, false) => Level::Synced { busy },
            (true, true, true) => Level::Healthy,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Level::Nothing => f.write_str("Flux has applied nothing yet"),
            Level::Synced { busy } => {
                write!(f, "synced: the revision is applied; on their way: {}", busy.join("; "))
            }
            Level::Healthy => f.write_str("healthy: everything that Git brings is ready"),
            Level::Degraded { blocking } => write!(f, "degraded: {}", blocking.join("; ")),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Ready => "ready",
            State::Busy => "busy",
            State::Failed => "failed",
            State::Suspended => "suspended",
        };
        write!(f, "{state:<9}  {}", self.object)?;
        if !self.revision.is_empty() {
            write!(f, "  {}", self.revision)?;
        }
        if !self.reason.is_empty() {
            write!(f, "  {}", self.reason)?;
        }
        Ok(())
    }
}

/// Asks for everything that Flux has in hand. A kind that the cluster does not serve has no objects.
pub async fn report(client: &Client) -> Result<Report, ApplyError> {
    let mut entries = Vec::new();
    for (version, kind) in KINDS {
        match client.list(version, kind, None, "").await {
            Ok(objects) => entries.extend(objects.iter().filter_map(Entry::of)),
            Err(ApplyError::UnknownKind { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Report { entries })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kustomization(name: &str, status: &str, reason: &str, revision: &str) -> Entry {
        let object = json!({ "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": { "name": name, "namespace": "flux-system" },
            "status": { "lastAppliedRevision": revision,
                "conditions": [{ "type": "Ready", "status": status, "reason": reason, "message": "m" }] } });
        Entry::of(&object).unwrap()
    }

    #[test]
    fn there_are_three_levels_and_one_before_them() {
        let level = |entries: Vec<Entry>| Report { entries }.level();
        let good = || kustomization("apps", "True", "ReconciliationSucceeded", "main@sha1:a");
        assert_eq!(level(Vec::new()), Level::Nothing);
        assert_eq!(level(vec![kustomization("apps", "Unknown", "Progressing", "")]), Level::Nothing);
        assert_eq!(level(vec![good()]), Level::Healthy);
        let waiting = kustomization("db", "False", "DependencyNotReady", "");
        assert!(
            matches!(level(vec![good(), waiting]), Level::Synced { busy } if busy.len() == 1 && busy[0].contains("flux-system/db"))
        );
        let failed = kustomization("db", "False", "BuildFailed", "");
        let told = level(vec![good(), failed]).to_string();
        assert_eq!(told, "degraded: Kustomization flux-system/db: Ready is False (BuildFailed: m)");
    }

    #[test]
    fn what_a_person_has_stopped_is_told() {
        let object = json!({ "apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease",
            "metadata": { "name": "cilium", "namespace": "kube-system" }, "spec": { "suspend": true },
            "status": { "history": [{ "chartVersion": "1.20.1" }] } });
        let entry = Entry::of(&object).unwrap();
        assert_eq!(entry.state, State::Suspended);
        assert_eq!(entry.to_string(), "suspended  HelmRelease kube-system/cilium  1.20.1  it is suspended");
    }
}
