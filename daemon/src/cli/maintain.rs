//! `ichord maintain`: one node is emptied, boots again or is switched off, and is let work again when it is back.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use rollout::order::{Record, Task};

use super::{
    Failure,
    credentials::loaded,
    rolling::{Options, Rollout, known, now_ms},
};

/// Empties a node, lets it boot again or switches it off, waits until it is back and Ready, and lets pods on it again.
///
/// etcd has to be whole and keep its quorum without the node, and no volume of Longhorn may lack a replica. Pods are moved away as their
/// disruption budgets allow; a drain that does not end is told, and a person decides. A node that was switched off is waited for until
/// somebody switches it on again. A command that was killed goes on where it was when it is given again.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 0 when the node is back, 1 when a person has to look, 2 when the site has faults.

Examples:
  ichord maintain profiles/home-ops mini03 -- reboot
  ichord maintain profiles/home-ops mini03 -- shutdown       to put memory in, for instance
  ichord maintain profiles/home-ops mini01 --accept-downtime -- reboot")]
pub(crate) struct Maintain {
    /// the site's folder
    site: PathBuf,
    /// the node
    node: String,
    #[command(flatten)]
    options: Options,
    /// what is done with it
    #[arg(value_enum)]
    task: MaintainTask,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MaintainTask {
    /// it boots again
    Reboot,
    /// it is switched off, and you switch it on again
    Shutdown,
}

impl Maintain {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let loaded = loaded(&self.site)?;
        let (site, node) = (loaded.site.name(), &self.node);
        known(&loaded, std::slice::from_ref(node))?;
        let task = match self.task {
            MaintainTask::Reboot => Task::Reboot,
            MaintainTask::Shutdown => Task::Shutdown,
        };
        let book = self.options.book(&format!("maintain-{site}-{node}"))?;
        let mut record = book.read()?.unwrap_or_else(|| Record::new(task, now_ms()));
        if record.task != task && record.current.is_some() {
            let former = if record.task == Task::Shutdown { "shutdown" } else { "reboot" };
            return Err(anyhow!(
                "{node} is in the middle of a {former}: let `ichord maintain … -- {former}` end first"
            )
            .into());
        }
        record.task = task;
        record.nodes = [node.clone()].into();
        self.options.take_up(&mut record);
        Rollout::new(&loaded, "maintain")?.go(&book, record).await
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        maintain: Maintain,
    }

    #[test]
    fn the_examples_of_the_help_are_understood() {
        for (words, task) in [
            (&["s", "mini03", "--", "reboot"][..], MaintainTask::Reboot),
            (&["s", "mini03", "--", "shutdown"], MaintainTask::Shutdown),
            (&["s", "mini01", "--accept-downtime", "--", "reboot"], MaintainTask::Reboot),
            (&["s", "mini01", "reboot", "--without-drain"], MaintainTask::Reboot),
        ] {
            let words = ["maintain"].iter().chain(words);
            let command = Command::try_parse_from(words).expect("understood");
            assert_eq!(command.maintain.task, task);
        }
        assert!(Command::try_parse_from(["maintain", "s", "mini03", "--", "explode"]).is_err());
    }
}
