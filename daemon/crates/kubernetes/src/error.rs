//! What can go wrong, and whether it may go away by itself.

use std::fmt;

use serde_json::Value;

use crate::{
    alone::Holder,
    object::{ObjectError, ObjectId},
};

/// The pieces of a kubeconfig do not make a client.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The endpoint is no `https` address.
    #[error("the Kubernetes endpoint {0:?} is not an https address such as https://172.29.51.10:6443")]
    Endpoint(String),
    /// The CA is no certificate in PEM.
    #[error("the Kubernetes CA is not a certificate in PEM form")]
    Authority,
    /// Certificate and key do not work together, or one is malformed.
    #[error("the client certificate and its key cannot be used")]
    Identity(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A request failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No answer: no connection, no trust, or too late.
    #[error("{endpoint} does not answer: {detail}")]
    Unreachable {
        /// Who was asked.
        endpoint: String,
        /// Why, from the outermost cause to the innermost.
        detail: String,
    },
    /// The API server said no.
    #[error("the API server refuses {what}: {message} (status {code})")]
    Refused {
        /// What was asked for.
        what: String,
        /// The HTTP status.
        code: u16,
        /// The API server's word for it, such as `Forbidden`; may be empty.
        reason: String,
        /// Its sentence. For Secrets only its beginning, because it may quote what was sent.
        message: String,
    },
    /// The answer was not what the API promises.
    #[error("the answer to {what} cannot be read: {detail}")]
    Unreadable {
        /// What was asked for.
        what: String,
        /// Why; never the answer itself.
        detail: String,
    },
}

/// What an apply on a real server says with code 500 when the object is at fault.
const TYPED: &str = "failed to create typed patch object";

impl RequestError {
    /// Whether trying again later may help: the server is away, starting, or has too much to do.
    pub fn transient(&self) -> bool {
        match self {
            RequestError::Unreachable { .. } => true,
            RequestError::Refused { code, message, .. } => {
                // 409 without a field's owner is a race of two writers.
                matches!(code, 409 | 429) || (*code >= 500 && !message.contains(TYPED))
            }
            RequestError::Unreadable { .. } => false,
        }
    }

    /// The causes of a failed connection lie several libraries deep; the innermost is the one that helps.
    pub(crate) fn unreachable(endpoint: &str, error: &dyn std::error::Error) -> Self {
        let mut causes: Vec<String> = vec![error.to_string()];
        let mut source = error.source();
        while let Some(error) = source {
            let cause = error.to_string();
            // Some of them repeat what is below them.
            if causes.last().is_none_or(|last| !last.contains(&cause)) {
                causes.push(cause);
            }
            source = error.source();
        }
        RequestError::Unreachable { endpoint: endpoint.to_owned(), detail: causes.join(": ") }
    }

    /// Reads the Status of a refusal. `secret`: the sentence may quote secret values.
    pub(crate) fn refused(what: String, code: u16, body: &[u8], secret: bool) -> Self {
        let status: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
        let message = match text("message") {
            // Health checks and proxies answer in plain text.
            message if message.is_empty() => String::from_utf8_lossy(body).chars().take(200).collect(),
            message if secret && message.contains(TYPED) => format!("{TYPED}: a value has the wrong type"),
            _ if secret && !matches!(code, 403 | 404) => {
                let fields: Vec<&str> = (status["details"]["causes"].as_array().into_iter().flatten())
                    .filter_map(|cause| cause["field"].as_str())
                    .collect();
                format!(
                    "the server's sentence is withheld, it may quote the secret; fields: {}",
                    fields.join(", ")
                )
            }
            message => message,
        };
        RequestError::Refused { what, code, reason: text("reason"), message }
    }
}

/// A field that somebody else manages and has another value for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldConflict {
    /// The field manager, such as `helm-controller`.
    pub manager: String,
    /// The field, such as `.spec.replicas`.
    pub field: String,
}

impl fmt::Display for FieldConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.field, self.manager)
    }
}

/// An object was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It is not an object.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The API server serves no such kind.
    #[error(
        "the API server knows no kind {kind} in {api_version}: its CustomResourceDefinition is missing, or serves another version"
    )]
    UnknownKind {
        /// The version asked for.
        api_version: String,
        /// The kind asked for.
        kind: String,
    },
    /// Fields belong to somebody else.
    #[error("{object} has fields that others manage ({}): leave them out of the manifest, or let that manager give them up", list(.conflicts))]
    Conflict {
        /// The object.
        object: ObjectId,
        /// Which fields, and whose.
        conflicts: Vec<FieldConflict>,
    },
    /// Somebody else writes.
    #[error("another ichord writes to this cluster: {0}")]
    Held(Box<Holder>),
    /// The request failed otherwise.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl ApplyError {
    /// Whether trying again later may help.
    pub fn transient(&self) -> bool {
        match self {
            ApplyError::Request(error) => error.transient(),
            ApplyError::Held(_) => true,
            _ => false,
        }
    }
}

fn list(conflicts: &[FieldConflict]) -> String {
    conflicts.iter().map(FieldConflict::to_string).collect::<Vec<_>>().join(", ")
}

/// An object did not become ready.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// It says itself that it will not.
    #[error("{object} has failed: {reason}")]
    Failed {
        /// The object.
        object: ObjectId,
        /// In its own words.
        reason: String,
    },
    /// Time is over.
    #[error("{object} is not ready after {seconds} s: {reason}")]
    Late {
        /// The object.
        object: ObjectId,
        /// How long was waited.
        seconds: u64,
        /// What it was waiting for last.
        reason: String,
    },
    /// It cannot be asked.
    #[error(transparent)]
    Ask(#[from] ApplyError),
}

impl WaitError {
    /// Whether trying again later may help.
    pub fn transient(&self) -> bool {
        match self {
            WaitError::Failed { .. } => false,
            WaitError::Late { .. } => true,
            WaitError::Ask(error) => error.transient(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, message: &str, secret: bool) -> RequestError {
        let body = serde_json::json!({ "reason": "R", "message": message,
            "details": { "causes": [{ "field": "data.password", "message": message }] } });
        RequestError::refused("Secret a/b".to_owned(), code, body.to_string().as_bytes(), secret)
    }

    #[test]
    fn what_may_go_away_by_itself_is_told_from_what_will_not() {
        for (code, transient) in
            [(400, false), (403, false), (404, false), (422, false), (429, true), (500, true), (503, true)]
        {
            assert_eq!(refused(code, "m", false).transient(), transient, "{code}");
        }
        // A real server answers 500 when the object does not fit its schema.
        assert!(
            !refused(500, "failed to create typed patch object (a/b; v1, Kind=Secret): x", false).transient()
        );
    }

    #[test]
    fn a_secret_is_not_quoted() {
        for message in ["failed to create typed patch object (): hunter2", "Invalid value: hunter2"] {
            for code in [400, 422, 500] {
                let shown = refused(code, message, true).to_string();
                assert!(!shown.contains("hunter2"), "{shown}");
            }
        }
        assert!(refused(422, "Invalid value", true).to_string().contains("data.password"));
        assert!(refused(403, "secrets is forbidden", true).to_string().contains("forbidden"));
    }

    #[test]
    fn an_answer_that_is_no_status_is_shown_shortened() {
        let error = RequestError::refused("x".to_owned(), 502, "bad gateway ".repeat(90).as_bytes(), false);
        assert!(error.to_string().contains("bad gateway") && error.to_string().len() < 300);
    }
}
