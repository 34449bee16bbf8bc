//! Waiting until an object is ready. One request per look; how often is the caller's choice.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    client::Client,
    error::{ApplyError, RequestError, WaitError},
    object::ObjectId,
    readiness::{Readiness, readiness},
};

impl Client {
    /// Looks at the object every `poll` until it is ready, says that it failed, or `timeout` is over.
    ///
    /// An API server that is away for a while (a control plane reboots) is waited for like the object.
    /// A CustomResourceDefinition is ready only when discovery lists its kind, which comes a little later
    /// than its condition says.
    pub async fn wait(&self, id: &ObjectId, poll: Duration, timeout: Duration) -> Result<(), WaitError> {
        let end = Instant::now() + timeout;
        loop {
            let reason = match self.look(id).await {
                Ok(Readiness::Ready) => return Ok(()),
                Ok(Readiness::Failed(reason)) => {
                    return Err(WaitError::Failed { object: id.clone(), reason });
                }
                Ok(Readiness::Waiting(reason)) => reason,
                Err(error) if error.transient() => error.to_string(),
                Err(error) => return Err(error.into()),
            };
            if Instant::now() + poll > end {
                return Err(WaitError::Late { object: id.clone(), seconds: timeout.as_secs(), reason });
            }
            sleep(poll).await;
        }
    }

    async fn look(&self, id: &ObjectId) -> Result<Readiness, ApplyError> {
        let Some(object) = self.object(id).await? else {
            return Ok(Readiness::Waiting("it does not exist".to_owned()));
        };
        let mut found = readiness(&object);
        if found == Readiness::Ready
            && id.kind == "CustomResourceDefinition"
            && !self.discovered(&object).await?
        {
            found = Readiness::Waiting("its kind is not listed by discovery yet".to_owned());
        }
        Ok(found)
    }

    async fn discovered(&self, definition: &Value) -> Result<bool, RequestError> {
        let spec = &definition["spec"];
        let (Some(group), Some(kind)) = (spec["group"].as_str(), spec["names"]["kind"].as_str()) else {
            return Ok(true);
        };
        for version in spec["versions"].as_array().into_iter().flatten() {
            let name = version["name"].as_str().unwrap_or_default();
            if version["served"] == true && !self.serves(&format!("{group}/{name}"), kind).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
