//! Which image a machine runs, beside its version.

use serde::Deserialize;

use crate::{CallError, Client, Kind};

/// What is in the image: an entry an extension, and one for the schematic itself.
const EXTENSION_STATUSES: Kind = Kind { namespace: "runtime", name: "ExtensionStatuses.runtime.talos.dev" };

#[derive(Deserialize)]
struct Extension {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
}

impl Client {
    /// The image factory's name for what is in the image that runs; nothing where it was made elsewhere.
    pub async fn schematic(&self) -> Result<Option<String>, CallError> {
        let extensions = self.list(EXTENSION_STATUSES).await?;
        let mut read = extensions.iter().filter_map(|it| it.read::<Extension>().ok());
        let schematic = read.find(|it| it.metadata.name == "schematic");
        Ok(schematic.map(|it| it.metadata.version).filter(|id| !id.is_empty()))
    }
}
