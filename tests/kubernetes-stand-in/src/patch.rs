//! JSON Patch, as far as clients need it: `test`, `add`, `replace` and `remove` of members of objects.
//!
//! Who manages the fields stays as it was: nothing that is tested here asks for that afterwards.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::status::Status;

/// The object afterwards.
pub(crate) fn patched(object: &Value, body: &[u8]) -> Result<Value, Status> {
    let operations: Vec<Value> = serde_json::from_slice(body)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    let mut object = object.clone();
    for operation in &operations {
        let path = operation["path"].as_str().unwrap_or_default();
        let value = &operation["value"];
        let lost = || Status::unprocessable(format!("testing value {path} failed: test failed"));
        let missing = || Status::unprocessable(format!("the path {path} does not exist"));
        let (parent, member) = path.rsplit_once('/').ok_or_else(missing)?;
        match operation["op"].as_str() {
            Some("test") => {
                if object.pointer(path).unwrap_or(&Value::Null) != value {
                    return Err(lost());
                }
            }
            Some(op @ ("add" | "replace" | "remove")) => {
                let parent = object.pointer_mut(parent).and_then(Value::as_object_mut).ok_or_else(missing)?;
                if op != "add" && !parent.contains_key(member) {
                    return Err(missing());
                }
                match op {
                    "remove" => parent.shift_remove(member),
                    _ => parent.insert(member.to_owned(), value.clone()),
                };
            }
            _ => return Err(Status::bad_request("this stand-in does not know the operation")),
        }
    }
    Ok(object)
}

/// What an eviction is answered with where it is done.
pub(crate) fn evicted() -> (StatusCode, Value) {
    (StatusCode::CREATED, json!({ "kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201 }))
}
