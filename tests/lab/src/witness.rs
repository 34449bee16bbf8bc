//! Somebody who asks one living control plane all the time who etcd's members are, beside what the daemon does.
//!
//! It ends with an error when that one does not tell any more.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use talos_api::{Client, Credentials, EtcdMember};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::story::Story;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(50);
/// For one answer.
pub(crate) const ANSWER: Duration = Duration::from_secs(3);

/// The witness, who looks until it is asked what it saw.
pub(crate) struct Witness {
    looks: mpsc::UnboundedReceiver<Vec<EtcdMember>>,
    task: JoinHandle<Result<()>>,
}

impl Witness {
    pub(crate) fn begin(address: SocketAddr, credentials: Credentials) -> Self {
        let (tell, looks) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let client = Client::configured(address, &credentials).await?.with_deadline(ANSWER);
            loop {
                // not its own copy alone: an answer needs a leader
                match client.etcd_members(false).await {
                    Ok(members) => {
                        if tell.send(members).is_err() {
                            return Ok(());
                        }
                    }
                    // between two leaders, for a moment
                    Err(error) => tracing::debug!(%error, "etcd did not tell its members"),
                }
                sleep(PAUSE).await;
            }
        });
        Self { looks, task }
    }

    /// Everything that it saw, look by look.
    pub(crate) async fn end(mut self) -> Result<Vec<Vec<EtcdMember>>> {
        let mut seen = Vec::new();
        while let Ok(look) = self.looks.try_recv() {
            seen.push(look);
        }
        if self.task.is_finished() {
            self.task.await.context("the witness fell over")??;
            bail!("the witness stopped looking");
        }
        self.task.abort();
        Ok(seen)
    }
}

/// What the members are called.
pub(crate) fn names<'a>(members: impl Iterator<Item = &'a EtcdMember>) -> BTreeSet<String> {
    members.map(|member| member.hostname.clone()).collect()
}

/// What `ichord talosconfig` makes for a person.
pub(crate) async fn credentials(story: &mut Story, folder: &Path) -> Result<Credentials> {
    let path = folder.join("talosconfig");
    story.daemon()?.talosconfig(&path).await?;
    let text = std::fs::read_to_string(&path).context("there is no talosconfig")?;
    let pem = |key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{key}: ")));
        let line = line.with_context(|| format!("the talosconfig has no {key}"))?;
        let bytes =
            BASE64_STANDARD.decode(line.trim_matches('"')).context("the talosconfig is not base64")?;
        String::from_utf8(bytes).context("the talosconfig holds no PEM")
    };
    Ok(Credentials::from_pem(&pem("ca")?, &pem("crt")?, &pem("key")?)?)
}
