//! `ichord upgrade`: another version of Talos or of Kubernetes comes to a cluster that runs.

mod kubernetes;
mod manifests;
mod talos;

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::anyhow;
use clap::{Args, Subcommand};
use talos_api::{Client, Credentials, PORT};
use tokio::task::JoinSet;

use super::Failure;
use crate::app::Loaded;

/// Brings another version of Talos or of Kubernetes to a cluster that runs, one node at a time.
///
/// Without --to it is the version that talconfig.yaml names: write the new one there and give the command. With --to it may be one on the
/// way there. What would change is shown first, and what must not be is refused before anything is touched.
#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Talos(talos::Talos),
    Kubernetes(kubernetes::Kubernetes),
}

impl Upgrade {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Talos(talos) => talos.run().await,
            What::Kubernetes(kubernetes) => kubernetes.run().await,
        }
    }
}

/// Asks every node the same, all at once.
async fn each<T: Send + 'static, F: Future<Output = anyhow::Result<T>> + Send + 'static>(
    loaded: &Loaded,
    credentials: &Credentials,
    ask: fn(Client) -> F,
) -> anyhow::Result<BTreeMap<String, anyhow::Result<T>>> {
    let mut asked = JoinSet::new();
    for (name, node) in loaded.site.plan().nodes {
        let (address, credentials) = (SocketAddr::new(node.address, PORT), credentials.clone());
        asked.spawn(async move {
            let answer = match Client::configured(address, &credentials).await {
                Ok(client) => ask(client).await,
                Err(error) => Err(error.into()),
            };
            (name.0, answer)
        });
    }
    let mut answers = BTreeMap::new();
    while let Some(ended) = asked.join_next().await {
        let (name, answer) = ended?;
        answers.insert(name, answer);
    }
    Ok(answers)
}

/// What must not be, each with the way out.
fn refused(reasons: &[String]) -> Failure {
    anyhow!("nothing was changed:\n  {}", reasons.join("\n  ")).into()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        _upgrade: Upgrade,
    }

    #[test]
    fn the_examples_of_the_help_are_understood() {
        let is_understood =
            |words: &str| Command::try_parse_from(["upgrade"].into_iter().chain(words.split(' '))).is_ok();
        for words in [
            "talos s --dry-run",
            "talos s mini03 mini02",
            "talos s --to v1.13.9",
            "talos s mini01 --accept-downtime --without-drain --record f",
            "kubernetes s --dry-run",
            "kubernetes s --to 1.36.3",
        ] {
            assert!(is_understood(words), "{words}");
        }
        for words in
            ["talos", "talos s --to latest", "kubernetes s --to 1.36", "kubernetes s mini01", "etcd s"]
        {
            assert!(!is_understood(words), "{words}");
        }
    }
}
