//! The `Status` objects that say no, in the API server's own words.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{apply::Conflict, fields, kinds::Kind};

/// A refusal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Status {
    code: StatusCode,
    reason: &'static str,
    message: String,
    details: Value,
}

impl Status {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>, details: Value) -> Self {
        Status { code, reason, message: message.into(), details }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn conflict(&self) -> bool {
        self.code == StatusCode::CONFLICT
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Status::new(StatusCode::BAD_REQUEST, "BadRequest", message, json!({}))
    }

    /// A patch that cannot be made.
    pub(crate) fn unprocessable(message: impl Into<String>) -> Self {
        Status::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message, json!({}))
    }

    /// A pod whose budget does not let it go.
    pub(crate) fn budget(name: &str) -> Self {
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        let cause = json!({ "reason": "DisruptionBudget", "message": format!("The disruption budget {name} needs 1 healthy pods and has 1 currently") });
        Status::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message, json!({ "causes": [cause] }))
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Status::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message, json!({}))
    }

    /// An object that does not fit its type. The server has no reason for it, and does not call it the client's fault.
    pub(crate) fn untyped(message: impl Into<String>) -> Self {
        Status::new(StatusCode::INTERNAL_SERVER_ERROR, "", message, json!({}))
    }

    /// The URL leads nowhere, for instance to a kind that no CRD defines yet.
    pub(crate) fn no_resource() -> Self {
        let message = "the server could not find the requested resource";
        Status::new(StatusCode::NOT_FOUND, "NotFound", message, json!({}))
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} not found", kind.resource());
        let details = json!({ "name": name, "group": kind.group, "kind": kind.plural });
        Status::new(StatusCode::NOT_FOUND, "NotFound", message, details)
    }

    pub(crate) fn exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", kind.resource());
        let details = json!({ "name": name, "group": kind.group, "kind": kind.plural });
        Status::new(StatusCode::CONFLICT, "AlreadyExists", message, details)
    }

    pub(crate) fn method(method: &str) -> Self {
        let message = format!("the server does not allow this method on the requested resource: {method}");
        Status::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message, json!({}))
    }

    pub(crate) fn media_type(found: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: application/apply-patch+yaml (got {found:?})"
        );
        Status::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message, json!({}))
    }

    pub(crate) fn invalid(kind: &str, group: &str, name: &str, field: &str, message: &str) -> Self {
        let what = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let reason = match message.split(':').next().unwrap_or_default() {
            "Required value" => "FieldValueRequired",
            "Too long" => "FieldValueTooLong",
            "Unsupported value" => "FieldValueNotSupported",
            _ => "FieldValueInvalid",
        };
        let causes = json!([{ "reason": reason, "message": message, "field": field }]);
        let details = json!({ "name": name, "group": group, "kind": kind, "causes": causes });
        let message = format!("{what} {name:?} is invalid: {field}: {message}");
        Status::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message, details)
    }

    pub(crate) fn modified(kind: &Kind, name: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: the object has been modified; please apply your changes to the latest version and try again",
            kind.resource()
        );
        let details = json!({ "name": name, "group": kind.group, "kind": kind.plural });
        Status::new(StatusCode::CONFLICT, "Conflict", message, details)
    }

    pub(crate) fn apply_conflict(conflicts: &[Conflict]) -> Self {
        let causes: Vec<_> = conflicts
            .iter()
            .map(|Conflict { manager, path }| {
                json!({
                    "reason": "FieldManagerConflict",
                    "message": format!("conflict with {manager}"),
                    "field": fields::printed(path),
                })
            })
            .collect();
        let message = match conflicts {
            [Conflict { manager, path }] => {
                format!("Apply failed with 1 conflict: conflict with {manager}: {}", fields::printed(path))
            }
            many => {
                let mut managers: Vec<_> = many.iter().map(|conflict| &conflict.manager).collect();
                managers.sort();
                managers.dedup();
                let lines: Vec<_> = managers
                    .into_iter()
                    .map(|manager| {
                        let paths: Vec<_> = (many.iter())
                            .filter(|conflict| &conflict.manager == manager)
                            .map(|conflict| format!("- {}", fields::printed(&conflict.path)))
                            .collect();
                        format!("conflicts with {manager}:\n{}", paths.join("\n"))
                    })
                    .collect();
                format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
            }
        };
        Status::new(StatusCode::CONFLICT, "Conflict", message, json!({ "causes": causes }))
    }
}

impl IntoResponse for Status {
    fn into_response(self) -> Response {
        let body = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": Some(self.reason).filter(|reason| !reason.is_empty()),
            "details": self.details,
            "code": self.code.as_u16(),
        });
        (self.code, Json(body)).into_response()
    }
}
