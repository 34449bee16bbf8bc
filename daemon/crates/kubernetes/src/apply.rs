//! Server-side apply, by the rules of handover.md §7: no force, and nothing sent that changes nothing.

use hyper::header::{ACCEPT, CONTENT_TYPE};
use serde_json::Value;

use crate::{
    client::{Answer, Client},
    difference::differences,
    error::{ApplyError, FieldConflict, RequestError},
    object::ObjectId,
};

/// The name under which we manage fields.
pub const FIELD_MANAGER: &str = "ichord";

/// What an apply did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There was no such object.
    Created,
    /// These fields got other values, such as `.spec.replicas`; values are not told, they may be secret.
    Changed(Vec<String>),
    /// It was so already.
    Unchanged,
}

/// An applied object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Which one.
    pub object: ObjectId,
    /// What happened.
    pub outcome: Outcome,
    /// The object's version afterwards; of a dry run, before it (empty for an object that does not exist).
    pub resource_version: String,
}

impl Client {
    /// Makes `object` so, as the field manager [`FIELD_MANAGER`], never taking a field from another manager.
    ///
    /// Asks with a dry run first and sends nothing when that changes nothing, so that a repeated apply
    /// leaves no trace in the cluster. With `dry_run` it ends there.
    pub async fn apply(&self, object: &Value, dry_run: bool) -> Result<Applied, ApplyError> {
        let id = ObjectId::try_from(object)?;
        let live = self.object(&id).await?;
        self.apply_over(live.as_ref(), object, dry_run).await
    }

    /// The same over what was just read of the object.
    pub async fn apply_over(
        &self,
        live: Option<&Value>,
        object: &Value,
        dry_run: bool,
    ) -> Result<Applied, ApplyError> {
        let id = ObjectId::try_from(object)?;
        let answer = match live {
            Some(live) => {
                let proposed = self.patch(&id, object, true, false).await?;
                let fields = differences(live, &proposed);
                if fields.is_empty() {
                    let resource_version = version(live);
                    return Ok(Applied { object: id, outcome: Outcome::Unchanged, resource_version });
                }
                if dry_run {
                    let resource_version = version(live);
                    return Ok(Applied { object: id, outcome: Outcome::Changed(fields), resource_version });
                }
                self.patch(&id, object, false, false).await?
            }
            None => self.patch(&id, object, dry_run, false).await?,
        };
        let outcome = match live {
            // What really happened: somebody may have been there between the two requests.
            Some(live) => match differences(live, &answer) {
                fields if fields.is_empty() => Outcome::Unchanged,
                fields => Outcome::Changed(fields),
            },
            None => Outcome::Created,
        };
        Ok(Applied { object: id, outcome, resource_version: version(&answer) })
    }

    /// Changes an object by a JSON Patch, which may begin with tests of what is there. `false` when a test did not hold
    /// or somebody else was quicker: nothing has changed then.
    pub async fn patch_json(&self, id: &ObjectId, operations: &Value) -> Result<bool, ApplyError> {
        self.may_write().await?;
        self.patch_json_at_once(id, operations).await
    }

    /// The same without asking who may write.
    pub(crate) async fn patch_json_at_once(
        &self,
        id: &ObjectId,
        operations: &Value,
    ) -> Result<bool, ApplyError> {
        let what = id.to_string();
        let path = self.path(id).await?;
        let request = hyper::Request::patch(format!("{path}?fieldManager={FIELD_MANAGER}"))
            .header(CONTENT_TYPE, "application/json-patch+json")
            .header(ACCEPT, "application/json")
            .body(operations.to_string().into_bytes())
            .map_err(|error| RequestError::Unreadable { what: what.clone(), detail: error.to_string() })?;
        let Answer { code, body } = self.send(request).await?;
        match code {
            200 => Ok(true),
            // a failed test is 422 with a message of the patch library; a lost race is 409
            409 => Ok(false),
            422 if String::from_utf8_lossy(&body).contains("testing value") => Ok(false),
            code => Err(RequestError::refused(what, code, &body, id.kind == "Secret").into()),
        }
    }

    /// What an object would be if it were applied; with `taking` also over what others manage. Nothing is written.
    pub async fn propose(&self, object: &Value, taking: bool) -> Result<Value, ApplyError> {
        self.patch(&ObjectId::try_from(object)?, object, true, taking).await
    }

    async fn patch(
        &self,
        id: &ObjectId,
        object: &Value,
        dry_run: bool,
        force: bool,
    ) -> Result<Value, ApplyError> {
        let what = id.to_string();
        let unreadable = |detail: String| RequestError::Unreadable { what: what.clone(), detail };
        if !dry_run {
            self.may_write().await?;
        }
        let path = self.path(id).await?;
        // Strict: a misspelt field is an error and not silently dropped.
        let dry = if dry_run { "&dryRun=All" } else { "" };
        let request = hyper::Request::patch(format!(
            "{path}?fieldManager={}&force={force}&fieldValidation=Strict{dry}",
            self.manager()
        ))
        .header(CONTENT_TYPE, "application/apply-patch+yaml")
        .header(ACCEPT, "application/json")
        .body(object.to_string().into_bytes())
        .map_err(|error| unreadable(error.to_string()))?;
        let Answer { code, body } = self.send(request).await?;
        if matches!(code, 200 | 201) {
            return Ok(self.json(&what, &body)?);
        }
        let conflicts = conflicts(code, &body);
        if conflicts.is_empty() {
            Err(RequestError::refused(what, code, &body, id.kind == "Secret").into())
        } else {
            Err(ApplyError::Conflict { object: id.clone(), conflicts })
        }
    }
}

fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()
}

/// The owners in a 409: `details.causes[]` with the reason FieldManagerConflict and a message of the form
/// `conflict with "helm" using apps/v1 at 2026-11-23T16:00:00Z`.
fn conflicts(code: u16, body: &[u8]) -> Vec<FieldConflict> {
    let status: Value = match code {
        409 => serde_json::from_slice(body).unwrap_or_default(),
        _ => return Vec::new(),
    };
    (status["details"]["causes"].as_array().into_iter().flatten())
        .filter(|cause| cause["reason"] == "FieldManagerConflict")
        .map(|cause| {
            let message = cause["message"].as_str().unwrap_or_default();
            let manager = message.split('"').nth(1).unwrap_or(message);
            let field = cause["field"].as_str().unwrap_or_default();
            FieldConflict { manager: manager.to_owned(), field: field.to_owned() }
        })
        .collect()
}
