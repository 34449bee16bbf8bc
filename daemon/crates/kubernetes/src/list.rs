//! Many objects at once, and what their containers said.

use serde_json::{Value, json};

use crate::{
    client::{Client, root},
    error::{ApplyError, RequestError},
};

impl Client {
    /// The objects of a kind in a namespace, or in all of them. `labels` is a selector such as `owner=helm,name=cilium`;
    /// an empty one takes all. Everything comes in one answer: nothing that is asked for here is long.
    pub async fn list(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        labels: &str,
    ) -> Result<Vec<Value>, ApplyError> {
        let plural = self.resource(api_version, kind).await?.plural;
        let root = root(api_version);
        let mut path = match namespace {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
            None => format!("{root}/{plural}"),
        };
        if !labels.is_empty() {
            path += &format!("?labelSelector={labels}");
        }
        let list = self.document(&path).await?;
        let items = list["items"].as_array().into_iter().flatten().cloned();
        // Lists of built-in kinds do not repeat the type in every item.
        Ok(items
            .map(|mut item| {
                item["apiVersion"] = json!(api_version);
                item["kind"] = json!(kind);
                item
            })
            .collect())
    }

    /// The last lines that a container wrote; with `previous`, before it was started anew.
    pub async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        lines: usize,
        previous: bool,
    ) -> Result<String, RequestError> {
        let path = format!(
            "/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&tailLines={lines}&previous={previous}"
        );
        let answer = self.get(&path).await?;
        match answer.code {
            200 => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
            code => Err(RequestError::refused(format!("the log of {pod}"), code, &answer.body, false)),
        }
    }
}
