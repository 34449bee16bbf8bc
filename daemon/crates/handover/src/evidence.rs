//! What the cluster says about objects that do not become ready: conditions, events, their pods and last lines.
//!
//! Everything here may fail and nothing depends on it; what could not be asked is not there. No Secret is read.

use kubernetes::{Client, ObjectId};
use serde_json::Value;

/// How many lines of a container's log are taken.
const LOG: usize = 40;

/// How many lines are kept in all.
const LINES: usize = 400;

/// Collects, for each object, the lines in which the reason may be.
pub(crate) async fn collect(client: &Client, objects: &[ObjectId]) -> Vec<String> {
    let mut lines = Vec::new();
    for id in objects.iter().filter(|id| id.kind != "Secret") {
        let object = match client.object(id).await {
            Ok(Some(object)) => object,
            // nobody will say anything about the others either
            Err(error) if error.transient() => break,
            _ => continue,
        };
        lines.push(format!("{id}:"));
        conditions(&object, &mut lines);
        // events of what lies in no namespace are in this one
        let namespace = id.namespace.as_deref().unwrap_or("default");
        let mut names = vec![id.name.clone()];
        if let Some(selector) = selector(&object) {
            for pod in client.list("v1", "Pod", Some(namespace), &selector).await.unwrap_or_default() {
                names.push(text(&pod["metadata"]["name"]));
                self::pod(client, namespace, &pod, &mut lines).await;
            }
        }
        for event in client.list("v1", "Event", Some(namespace), "").await.unwrap_or_default() {
            let about = text(&event["involvedObject"]["name"]);
            // The pods of a ReplicaSet that could not even be made are told about the ReplicaSet.
            if event["type"] == "Warning" && names.iter().any(|name| about.starts_with(name.as_str())) {
                lines.push(format!(
                    "  event {}: {} {}",
                    about,
                    text(&event["reason"]),
                    text(&event["message"])
                ));
            }
        }
    }
    lines.truncate(LINES);
    lines
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// `matchLabels` as a label selector; other expressions select more than is wrong.
fn selector(object: &Value) -> Option<String> {
    let labels = object.pointer("/spec/selector/matchLabels")?.as_object()?;
    let labels: Vec<String> =
        labels.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?))).collect();
    (!labels.is_empty()).then(|| labels.join(","))
}

fn conditions(object: &Value, lines: &mut Vec<String>) {
    for condition in object["status"]["conditions"].as_array().into_iter().flatten() {
        let said = |field: &str| text(&condition[field]);
        lines.push(format!("  {}={} {} {}", said("type"), said("status"), said("reason"), said("message")));
    }
}

async fn pod(client: &Client, namespace: &str, pod: &Value, lines: &mut Vec<String>) {
    let name = text(&pod["metadata"]["name"]);
    lines.push(format!("  pod {name}: {}", text(&pod["status"]["phase"])));
    conditions(pod, lines);
    for list in ["initContainerStatuses", "containerStatuses"] {
        for status in pod["status"][list].as_array().into_iter().flatten() {
            let container = text(&status["name"]);
            let waiting = &status["state"]["waiting"];
            if waiting.is_object() {
                lines.push(format!(
                    "  {container} waits: {} {}",
                    text(&waiting["reason"]),
                    text(&waiting["message"])
                ));
            }
            for (which, state) in [("state", "ended"), ("lastState", "ended before")] {
                let ended = &status[which]["terminated"];
                if ended.is_object() {
                    lines.push(format!(
                        "  {container} {state}: {} ({}) {}",
                        text(&ended["reason"]),
                        ended["exitCode"].as_i64().unwrap_or_default(),
                        text(&ended["message"])
                    ));
                }
            }
            if status["ready"] == true || status["state"]["terminated"]["exitCode"] == 0 {
                continue;
            }
            let again = status["restartCount"].as_u64().unwrap_or(0) > 0;
            for previous in [false, true].into_iter().filter(|previous| !*previous || again) {
                if let Ok(log) = client.logs(namespace, &name, &container, LOG, previous).await {
                    lines.extend(log.lines().map(|line| format!("  {container}: {line}")));
                }
            }
        }
    }
}
