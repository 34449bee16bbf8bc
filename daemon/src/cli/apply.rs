//! `ichord apply`: a changed site is brought to its nodes, one after another, and into the cluster.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use rollout::order::{Record, Task};

use super::{
    Failure, cluster,
    credentials::loaded,
    rolling::{Options, Rollout, known, now_ms},
    running::{Running, ask},
};
use crate::app::Loaded;

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
    /// these nodes only
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    #[command(flatten)]
    options: Options,
}

impl Apply {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let loaded = loaded(&self.site)?;
        known(&loaded, &self.nodes)?;
        let book = self.options.book(&format!("apply-{}", loaded.site.name()))?;
        let mut record = book.read()?.unwrap_or_else(|| Record::new(Task::Apply, now_ms()));
        record.nodes = self.nodes.iter().cloned().collect();
        self.options.take_up(&mut record);
        no_other_kubernetes(&loaded).await?;
        Rollout::new(&loaded, "apply")?.go(&book, record).await?;
        // one node is one node
        if self.nodes.is_empty() { cluster::write(&loaded).await } else { Ok(()) }
    }
}

/// A kubelet must not be newer than any API server, so that another minor version comes to no node together with all the rest.
async fn no_other_kubernetes(loaded: &Loaded) -> Result<(), Failure> {
    let answers = ask(&loaded.site, &loaded.secrets, None).await?;
    // who does not answer now is waited for later
    let wants = |answer: &anyhow::Result<Running>| {
        answer.as_ref().is_ok_and(|running| running.plan.wants_another_kubernetes())
    };
    match answers.iter().find(|(_, answer)| wants(answer)) {
        Some((node, _)) => Err(anyhow!(
            "the site wants another minor version of Kubernetes than {node} runs, which comes to every API server before the \
             first kubelet: `ichord upgrade kubernetes` brings it; nothing was changed"
        )
        .into()),
        None => Ok(()),
    }
}
