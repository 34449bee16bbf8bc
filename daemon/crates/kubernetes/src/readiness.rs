//! Whether an object is ready, by the rules of kstatus (handover.md §8.1), from the object alone.

use serde_json::Value;

/// What an object says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It is what was asked for.
    Ready,
    /// Not yet; what it waits for.
    Waiting(String),
    /// It says that it will not be without help; why.
    Failed(String),
}

use Readiness::{Failed, Ready, Waiting};

/// Judges an object as read from the API.
pub fn readiness(object: &Value) -> Readiness {
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return Waiting("it is being deleted".to_owned());
    }
    let generation = &object["metadata"]["generation"];
    let observed = &object["status"]["observedGeneration"];
    if !observed.is_null() && !generation.is_null() && observed != generation {
        return Waiting("its controller has not seen the change yet".to_owned());
    }
    if let Some(stalled) = condition(object, "Stalled").filter(|stalled| stalled["status"] == "True") {
        return Failed(explained(stalled));
    }
    if let Some(busy) = condition(object, "Reconciling").filter(|busy| busy["status"] == "True") {
        return Waiting(explained(busy));
    }
    let group = object["apiVersion"]
        .as_str()
        .and_then(|version| version.split_once('/'))
        .map_or("", |(group, _)| group);
    match (group, object["kind"].as_str().unwrap_or_default()) {
        ("", "Namespace") => match object["status"]["phase"].as_str() {
            Some("Active") => Ready,
            phase => Waiting(format!("its phase is {}", phase.unwrap_or("not set"))),
        },
        ("", "ConfigMap" | "Secret" | "ServiceAccount") => Ready,
        ("", "Service") => service(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        ("apps", "Deployment") => deployment(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("batch", "Job") => job(object),
        ("admissionregistration.k8s.io", _) => webhooks(object),
        ("external-secrets.io", "ClusterSecretStore" | "SecretStore") => secret_store(object),
        (group, _) if group.ends_with(".toolkit.fluxcd.io") || group == "fluxcd.controlplane.io" => {
            flux(object)
        }
        _ => general(object),
    }
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// A condition in one sentence.
fn explained(condition: &Value) -> String {
    let text = |field: &str| condition[field].as_str().unwrap_or_default();
    let (kind, status, reason, message) = (text("type"), text("status"), text("reason"), text("message"));
    match (reason.is_empty(), message.is_empty()) {
        (true, true) => format!("{kind} is {status}"),
        (false, true) => format!("{kind} is {status} ({reason})"),
        _ => format!("{kind} is {status} ({reason}: {message})"),
    }
}

fn service(object: &Value) -> Readiness {
    if object["spec"]["type"] == "LoadBalancer"
        && object["spec"]["clusterIP"].as_str().is_none_or(str::is_empty)
    {
        return Waiting("it has no cluster address yet".to_owned());
    }
    Ready
}

fn definition(object: &Value) -> Readiness {
    if let Some(names) = condition(object, "NamesAccepted").filter(|names| names["status"] == "False") {
        return Failed(explained(names));
    }
    match condition(object, "Established") {
        Some(established) if established["status"] == "True" => Ready,
        Some(established) if established["status"] == "False" && established["reason"] != "Installing" => {
            Failed(explained(established))
        }
        Some(established) => Waiting(explained(established)),
        None => Waiting("it is not established yet".to_owned()),
    }
}

fn deployment(object: &Value) -> Readiness {
    let progressing = condition(object, "Progressing");
    if let Some(late) = progressing.filter(|progressing| progressing["reason"] == "ProgressDeadlineExceeded")
    {
        return Failed(explained(late));
    }
    if object["status"]["observedGeneration"].is_null() {
        return Waiting("its controller has not seen it yet".to_owned());
    }
    let count = |name: &str| object["status"][name].as_u64().unwrap_or(0);
    let wanted = object["spec"]["replicas"].as_u64().unwrap_or(1);
    let (replicas, updated) = (count("replicas"), count("updatedReplicas"));
    let (available, ready) = (count("availableReplicas"), count("readyReplicas"));
    if replicas < wanted || updated < wanted {
        return Waiting(format!("{updated} of {wanted} replicas are up to date"));
    }
    if replicas > wanted {
        return Waiting(format!("{} old replicas are still there", replicas - wanted));
    }
    if available < updated || ready < wanted {
        return Waiting(format!("{available} of {wanted} replicas are available"));
    }
    // Without a deadline there is no verdict on progress.
    let deadline = &object["spec"]["progressDeadlineSeconds"];
    let judged = !deadline.is_null() && *deadline != i32::MAX;
    if let Some(progressing) =
        progressing.filter(|progressing| judged && progressing["reason"] != "NewReplicaSetAvailable")
    {
        return Waiting(explained(progressing));
    }
    match condition(object, "Available") {
        Some(available) if available["status"] == "True" => Ready,
        Some(available) => Waiting(explained(available)),
        None => Waiting("it is not said to be available yet".to_owned()),
    }
}

fn daemon_set(object: &Value) -> Readiness {
    let status = &object["status"];
    if status["observedGeneration"].is_null() {
        return Waiting("its controller has not seen it yet".to_owned());
    }
    let Some(desired) = status["desiredNumberScheduled"].as_u64() else {
        return Waiting("its controller has not counted the nodes yet".to_owned());
    };
    for (field, what) in [
        ("currentNumberScheduled", "scheduled"),
        ("updatedNumberScheduled", "up to date"),
        ("numberAvailable", "available"),
        ("numberReady", "ready"),
    ] {
        let count = status[field].as_u64().unwrap_or(0);
        if count < desired {
            return Waiting(format!("{count} of {desired} pods are {what}"));
        }
    }
    Ready
}

fn stateful_set(object: &Value) -> Readiness {
    if object["status"]["observedGeneration"].is_null() {
        return Waiting("its controller has not seen it yet".to_owned());
    }
    let count = |name: &str| object["status"][name].as_u64().unwrap_or(0);
    let wanted = object["spec"]["replicas"].as_u64().unwrap_or(1);
    if count("readyReplicas") < wanted {
        return Waiting(format!("{} of {wanted} replicas are ready", count("readyReplicas")));
    }
    if object["spec"]["updateStrategy"]["type"] != "OnDelete" && count("updatedReplicas") < wanted {
        return Waiting(format!("{} of {wanted} replicas are up to date", count("updatedReplicas")));
    }
    Ready
}

fn job(object: &Value) -> Readiness {
    let is = |kind: &str| condition(object, kind).filter(|condition| condition["status"] == "True");
    match (is("Failed"), is("Complete")) {
        (Some(failed), _) => Failed(explained(failed)),
        (None, Some(_)) => Ready,
        (None, None) => Waiting("it has not finished".to_owned()),
    }
}

/// A webhook that refuses what it cannot judge needs a certificate by which the API server knows it; where a controller
/// puts it in, that is the last thing to come.
fn webhooks(object: &Value) -> Readiness {
    for webhook in object["webhooks"].as_array().into_iter().flatten() {
        let config = &webhook["clientConfig"];
        let closed = webhook["failurePolicy"] != "Ignore" && config["service"].is_object();
        if closed && config["caBundle"].as_str().is_none_or(str::is_empty) {
            let name = webhook["name"].as_str().unwrap_or_default();
            return Waiting(format!("the webhook {name} has no caBundle yet"));
        }
    }
    Ready
}

/// Only the reason Valid says that the provider was asked; the message says less than the store's events.
fn secret_store(object: &Value) -> Readiness {
    match condition(object, "Ready") {
        Some(ready) if ready["status"] == "True" && ready["reason"] == "Valid" => Ready,
        Some(ready) => Waiting(explained(ready)),
        None => Waiting("its controller has not looked at it yet".to_owned()),
    }
}

/// Flux's objects say nothing until a controller has seen them.
fn flux(object: &Value) -> Readiness {
    // these have no controller that would report on them
    if matches!(object["kind"].as_str(), Some("Alert" | "Provider")) {
        return Ready;
    }
    if object["spec"]["suspend"] == true {
        return Failed("it is suspended".to_owned());
    }
    match condition(object, "Ready") {
        Some(ready) if ready["status"] == "True" => Ready,
        Some(ready) if ready["reason"] == "URLInvalid" => Failed(explained(ready)),
        Some(ready) => Waiting(explained(ready)),
        None => Waiting("its controller has not looked at it yet".to_owned()),
    }
}

/// Any other kind: the condition Ready if it has one. False is not failure, controllers try again.
fn general(object: &Value) -> Readiness {
    match condition(object, "Ready") {
        Some(ready) if ready["status"] != "True" => Waiting(explained(ready)),
        _ => Ready,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn waits(object: &Value, says: &str) {
        assert!(matches!(readiness(object), Waiting(why) if why.contains(says)), "{:?}", readiness(object));
    }

    fn fails(object: &Value, says: &str) {
        assert!(matches!(readiness(object), Failed(why) if why.contains(says)), "{:?}", readiness(object));
    }

    #[test]
    fn kinds_without_a_status_are_ready_at_once() {
        for kind in ["ConfigMap", "Secret", "ServiceAccount", "Service"] {
            assert_eq!(readiness(&json!({ "apiVersion": "v1", "kind": kind })), Ready);
        }
        let role = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole" });
        assert_eq!(readiness(&role), Ready);
    }

    #[test]
    fn a_namespace_is_active_or_not() {
        let mut namespace =
            json!({ "apiVersion": "v1", "kind": "Namespace", "status": { "phase": "Active" } });
        assert_eq!(readiness(&namespace), Ready);
        namespace["metadata"]["deletionTimestamp"] = json!("2026-11-23T16:00:00Z");
        waits(&namespace, "deleted");
    }

    #[test]
    fn a_definition_is_established_or_refused() {
        let definition = |conditions: Value| {
            json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "status": { "conditions": conditions } })
        };
        waits(&definition(json!([])), "not established");
        waits(
            &definition(json!([{ "type": "Established", "status": "False", "reason": "Installing" }])),
            "Installing",
        );
        fails(
            &definition(json!([{ "type": "Established", "status": "False", "reason": "NotAccepted" }])),
            "NotAccepted",
        );
        let taken = json!([{ "type": "NamesAccepted", "status": "False", "reason": "PluralConflict", "message": "taken" }]);
        fails(&definition(taken), "PluralConflict: taken");
        assert_eq!(readiness(&definition(json!([{ "type": "Established", "status": "True" }]))), Ready);
    }

    fn deployment(replicas: u64, status: &Value) -> Value {
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "generation": 2 },
            "spec": { "replicas": replicas, "progressDeadlineSeconds": 600 }, "status": status })
    }

    #[test]
    fn a_deployment_is_ready_when_every_replica_is() {
        let conditions = json!([{ "type": "Available", "status": "True" },
            { "type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable" }]);
        let mut status = json!({ "observedGeneration": 2, "replicas": 2, "updatedReplicas": 2,
            "availableReplicas": 2, "readyReplicas": 2, "conditions": conditions });
        assert_eq!(readiness(&deployment(2, &status)), Ready);
        waits(&deployment(1, &status), "1 old replicas");
        waits(&deployment(3, &status), "2 of 3");
        status["availableReplicas"] = json!(1);
        // Available is True already with one of two.
        waits(&deployment(2, &status), "1 of 2 replicas are available");
        status["availableReplicas"] = json!(2);
        status["observedGeneration"] = json!(1);
        waits(&deployment(2, &status), "not seen the change");
        waits(&deployment(2, &json!({})), "not seen it");
        let late = json!({ "observedGeneration": 2, "conditions": [{ "type": "Progressing", "status": "False",
            "reason": "ProgressDeadlineExceeded", "message": "ReplicaSet has timed out" }] });
        fails(&deployment(2, &late), "timed out");
        let rolling = json!({ "observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1,
            "readyReplicas": 1, "conditions": [{ "type": "Available", "status": "True" },
            { "type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated" }] });
        waits(&deployment(1, &rolling), "ReplicaSetUpdated");
    }

    #[test]
    fn a_daemon_set_is_ready_when_every_node_has_its_pod() {
        let set = |status: Value| json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "generation": 1 }, "status": status });
        waits(&set(json!({})), "not seen it");
        waits(&set(json!({ "observedGeneration": 1 })), "not counted");
        let full = json!({ "observedGeneration": 1, "desiredNumberScheduled": 3, "currentNumberScheduled": 3,
            "updatedNumberScheduled": 3, "numberAvailable": 3, "numberReady": 3 });
        assert_eq!(readiness(&set(full.clone())), Ready);
        for (field, says) in [
            ("currentNumberScheduled", "scheduled"),
            ("updatedNumberScheduled", "up to date"),
            ("numberAvailable", "available"),
            ("numberReady", "ready"),
        ] {
            let mut short = full.clone();
            short[field] = json!(2);
            waits(&set(short), &format!("2 of 3 pods are {says}"));
        }
    }

    #[test]
    fn a_secret_store_is_ready_only_when_its_provider_was_asked() {
        let store = |conditions: Value| json!({ "apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "status": { "conditions": conditions } });
        waits(&store(json!([])), "not looked");
        waits(
            &store(json!([{ "type": "Ready", "status": "True", "reason": "ValidationUnknown" }])),
            "Unknown",
        );
        let refused = json!([{ "type": "Ready", "status": "False", "reason": "InvalidProviderConfig" }]);
        waits(&store(refused), "InvalidProviderConfig");
        let valid = json!([{ "type": "Ready", "status": "True", "reason": "Valid" }]);
        assert_eq!(readiness(&store(valid)), Ready);
    }

    #[test]
    fn objects_of_flux_are_not_ready_before_they_say_so() {
        let object = |kind: &str, spec: Value, conditions: Value| json!({ "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": kind, "spec": spec, "status": { "conditions": conditions } });
        waits(&object("Kustomization", json!({}), json!([])), "not looked");
        fails(&object("Kustomization", json!({ "suspend": true }), json!([])), "suspended");
        let failing =
            json!([{ "type": "Ready", "status": "False", "reason": "BuildFailed", "message": "m" }]);
        waits(&object("Kustomization", json!({}), failing), "BuildFailed: m");
        let wrong = json!([{ "type": "Ready", "status": "False", "reason": "URLInvalid" }]);
        fails(&object("GitRepository", json!({}), wrong), "URLInvalid");
        let good = json!([{ "type": "Ready", "status": "True", "reason": "ReconciliationSucceeded" }]);
        assert_eq!(readiness(&object("Kustomization", json!({}), good)), Ready);
        assert_eq!(readiness(&object("Alert", json!({}), json!([]))), Ready);
    }

    #[test]
    fn a_webhook_that_refuses_needs_its_certificate() {
        let hook = |policy: &str, bundle: &str| {
            json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                "webhooks": [{ "name": "validate.test", "failurePolicy": policy,
                    "clientConfig": { "service": { "name": "w" }, "caBundle": bundle } }] })
        };
        waits(&hook("Fail", ""), "validate.test has no caBundle");
        assert_eq!(readiness(&hook("Ignore", "")), Ready);
        assert_eq!(readiness(&hook("Fail", "bm90IG9uZQ==")), Ready);
        let outside = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "webhooks": [{ "name": "a", "clientConfig": { "url": "https://example.test" } }] });
        assert_eq!(readiness(&outside), Ready);
    }

    #[test]
    fn a_stateful_set_and_a_job_have_rules_of_their_own() {
        let set = |status: Value| json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "spec": { "replicas": 2 }, "status": status });
        waits(&set(json!({})), "not seen");
        waits(&set(json!({ "observedGeneration": 1, "readyReplicas": 1 })), "1 of 2 replicas are ready");
        waits(
            &set(json!({ "observedGeneration": 1, "readyReplicas": 2, "updatedReplicas": 1 })),
            "up to date",
        );
        assert_eq!(
            readiness(&set(json!({ "observedGeneration": 1, "readyReplicas": 2, "updatedReplicas": 2 }))),
            Ready
        );
        let job = |conditions: Value| json!({ "apiVersion": "batch/v1", "kind": "Job", "status": { "conditions": conditions } });
        waits(&job(json!([])), "not finished");
        fails(
            &job(json!([{ "type": "Failed", "status": "True", "reason": "BackoffLimitExceeded" }])),
            "Backoff",
        );
        assert_eq!(readiness(&job(json!([{ "type": "Complete", "status": "True" }]))), Ready);
    }

    #[test]
    fn other_kinds_are_asked_for_their_condition_ready() {
        let other = |conditions: Value| {
            json!({ "apiVersion": "example.org/v1", "kind": "Widget", "metadata": { "generation": 1 },
                "status": { "observedGeneration": 1, "conditions": conditions } })
        };
        assert_eq!(readiness(&other(json!([{ "type": "Ready", "status": "True" }]))), Ready);
        waits(&other(json!([{ "type": "Ready", "status": "False", "reason": "Later" }])), "Later");
        waits(&other(json!([{ "type": "Reconciling", "status": "True" }])), "Reconciling is True");
        fails(&other(json!([{ "type": "Stalled", "status": "True", "reason": "URLInvalid" }])), "URLInvalid");
        assert_eq!(readiness(&other(json!([]))), Ready);
    }
}
