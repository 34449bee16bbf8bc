//! An administrator's way to Kubernetes, by what `ichord` makes for a person.

use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kubernetes::{Access, Client};

use crate::plan::VIRTUAL_ADDRESS;
use crate::story::Story;

/// By `ichord kubeconfig`.
pub(crate) async fn kubernetes(story: &mut Story, folder: &Path) -> Result<Client> {
    let path = folder.join("kubeconfig");
    story.daemon()?.kubeconfig(&path).await?;
    let text = std::fs::read_to_string(&path).context("there is no kubeconfig")?;
    let pem = |key: &str| pem(&text, key).context("in the kubeconfig");
    Ok(Client::new(Access {
        endpoint: &format!("https://{VIRTUAL_ADDRESS}:6443"),
        authority: &pem("certificate-authority-data")?,
        certificate: &pem("client-certificate-data")?,
        key: &pem("client-key-data")?,
        address: None,
    })?)
}

/// The base64 behind a key.
fn pem(text: &str, key: &str) -> Result<String> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{key}: ")));
    let line = line.with_context(|| format!("there is no {key}"))?;
    let bytes = BASE64_STANDARD.decode(line.trim_matches('"')).context("this is not base64")?;
    String::from_utf8(bytes).context("this is no PEM")
}
