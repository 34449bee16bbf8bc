//! `ichord apply`: a changed site is brought to its nodes, one after another, and into the cluster.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use rollout::order::{Record, Task};

use super::{
    Failure,
    book::{Book, place},
    cluster,
    credentials::loaded,
    rolling::{go, now_ms},
    running::administrator,
};

/// Brings a changed site to its nodes, one at a time, and then into the cluster.
///
/// A node that has to boot is emptied first where Kubernetes answers (cordoned, its pods evicted), and let pods on again when it is
/// back; while volumes of Longhorn lack replicas, no node goes down and no next one begins. A drain that does not end is told, and a
/// person decides.
///
/// Control planes come before workers and the one that leads etcd comes last of them. Nothing begins before every node
/// answers and etcd is whole; each node has to be as well as it was before the next one is touched, and the first that does
/// not come back within a quarter of an hour ends it. When a change cannot be made in place, nothing is changed anywhere. A command that
/// was killed goes on where it was when it is given again. After the nodes, what ichord owns in the cluster is written and waited for
/// (steps of `owner: ichord`, and the Secrets whose values the site names); nothing is removed there, and what Git owns is left alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 0 when every node has what the site wants, 1 when a person has to look, 2 when the site has faults.

Examples:
  ichord plan profiles/home-ops            what it would do
  ichord apply profiles/home-ops mini03    one node first
  ichord apply profiles/home-ops           and the others")]
pub(crate) struct Apply {
    /// the site's folder
    site: PathBuf,
    /// one node only
    node: Option<String>,
    /// etcd may stand still while one of its one or two members boots again
    #[arg(long)]
    accept_downtime: bool,
    /// nodes boot again with everything that runs on them, and nothing is moved elsewhere before
    #[arg(long)]
    without_drain: bool,
    /// where it remembers how far it is [default: ichord/apply-SITE.json in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

impl Apply {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let loaded = loaded(&self.site)?;
        let name = loaded.site.name();
        if let Some(node) = &self.node
            && !loaded.site.plan().nodes.keys().any(|known| known.0 == *node)
        {
            return Err(anyhow!("{node} is not in the site").into());
        }
        let path = match &self.record {
            Some(path) => path.clone(),
            None => place(&format!("apply-{name}"))?,
        };
        let book = Book::open(path)?;
        let mut record = book.read()?.unwrap_or_else(|| Record::new(None, false, now_ms()));
        // whoever gives the command again has looked
        record.since = now_ms();
        record.only.clone_from(&self.node);
        record.accepts_downtime = self.accept_downtime;
        record.task = Task::Apply;
        record.keep_pods(self.without_drain);
        let credentials = administrator(&loaded.secrets)?;
        go(&loaded, &credentials, &book, record, "apply").await?;
        // one node is one node
        if self.node.is_some() { Ok(()) } else { cluster::write(&loaded).await }
    }
}
