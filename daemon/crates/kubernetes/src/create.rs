//! Creating what must not be applied: objects that others count by their names, such as a Helm release record.

use hyper::header::{ACCEPT, CONTENT_TYPE};
use serde_json::Value;

use crate::{
    apply::FIELD_MANAGER,
    client::{Answer, Client},
    error::{ApplyError, RequestError},
    object::ObjectId,
};

impl Client {
    /// Creates an object; `false` when there is one of its name, which stays as it is.
    pub async fn create(&self, object: &Value) -> Result<bool, ApplyError> {
        self.may_write().await?;
        self.create_at_once(object).await
    }

    /// The same without asking who may write.
    pub(crate) async fn create_at_once(&self, object: &Value) -> Result<bool, ApplyError> {
        let id = ObjectId::try_from(object)?;
        let path = self.collection(&id).await?;
        let request =
            hyper::Request::post(format!("{path}?fieldManager={FIELD_MANAGER}&fieldValidation=Strict"))
                .header(CONTENT_TYPE, "application/json")
                .header(ACCEPT, "application/json")
                .body(object.to_string().into_bytes())
                .map_err(|error| RequestError::Unreadable {
                    what: id.to_string(),
                    detail: error.to_string(),
                })?;
        let Answer { code, body } = self.send(request).await?;
        if code == 201 {
            return Ok(true);
        }
        let status: Value = serde_json::from_slice(&body).unwrap_or_default();
        if code == 409 && status["reason"] == "AlreadyExists" {
            return Ok(false);
        }
        Err(RequestError::refused(id.to_string(), code, &body, id.kind == "Secret").into())
    }
}
