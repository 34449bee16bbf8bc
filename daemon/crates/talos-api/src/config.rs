//! The config that a machine runs with, word for word as it was given. It is full of secrets.

use zeroize::Zeroizing;

use crate::{CallError, Client, Kind};

const MACHINE_CONFIGS: Kind = Kind { namespace: "config", name: "MachineConfigs.config.talos.dev" };

/// The one in force; the one on the disk, which a staged one waits in, is another.
const ACTIVE: &str = "v1alpha1";

impl Client {
    /// The machine config in force; `None` while the machine has none. Only an administrator may see it.
    pub async fn running_config(&self) -> Result<Option<Zeroizing<String>>, CallError> {
        let Some(resource) = self.get(MACHINE_CONFIGS, ACTIVE).await? else { return Ok(None) };
        // one text, which holds the documents
        let text: String = resource.read().map_err(|_| {
            // what is wrong with it could be said in its words
            self.unusable("MachineConfigs", "the config in force is not told as a text")
        })?;
        Ok(Some(Zeroizing::new(text)))
    }
}
