//! A site that names some of the lab's machines at a time, as a person adds nodes and takes others out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// The site with all its nodes, of which it names a part at a time.
pub(crate) struct Site {
    folder: PathBuf,
    talconfig: Value,
    ichord: Value,
}

impl Site {
    /// As it was written.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let read = |file: &str| -> Result<Value> {
            let text = fs::read_to_string(folder.join(file)).context("the site cannot be read")?;
            serde_json::from_str(&text).with_context(|| format!("the lab's {file} is not JSON"))
        };
        Ok(Self {
            folder: folder.to_owned(),
            talconfig: read("talconfig.yaml")?,
            ichord: read("ichord.yaml")?,
        })
    }

    /// As a person edits it: these nodes, and no other one.
    pub(crate) fn names_only(&self, names: &[&str]) -> Result<()> {
        let (mut talconfig, mut ichord) = (self.talconfig.clone(), self.ichord.clone());
        let is_named = |name: Option<&str>| name.is_some_and(|name| names.contains(&name));
        if let Some(nodes) = talconfig["nodes"].as_array_mut() {
            nodes.retain(|node| is_named(node["hostname"].as_str()));
        }
        if let Some(machines) = ichord["machines"].as_object_mut() {
            machines.retain(|name, _| is_named(Some(name)));
        }
        for (file, value) in [("talconfig.yaml", talconfig), ("ichord.yaml", ichord)] {
            fs::write(self.folder.join(file), format!("{value:#}\n"))
                .context("the site cannot be written")?;
        }
        Ok(())
    }
}
