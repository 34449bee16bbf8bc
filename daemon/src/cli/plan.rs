//! `ichord plan`: what the site would change on the nodes that run.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::anyhow;
use clap::Args;
use rollout::{Class, NEVER_REBOOTS, NodePlan, versions::Minor};
use serde_json::{Value, json};

use super::{
    Failure, cluster,
    credentials::loaded,
    print,
    running::{Running, ask},
};

/// Under which the changes in the cluster stand beside the nodes.
const KUBERNETES: &str = "kubernetes";

/// Shows what a changed site would change on each node and in the cluster, and what that takes.
///
/// Every node is asked for the config that it runs with. Each place that would be another one has a class: `live` is taken
/// while the node runs, `reboot` when it boots again, `reinstall` when Talos's installer runs again, and `refused` cannot be
/// changed in place. `bootstrap` is ichord's to change, `git` is changed by a commit. In the cluster ichord owns the steps that say
/// `owner: ichord` and the Secrets whose values the site names. Secrets are shown as hashes. Nothing is changed, and the daemon is
/// not asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 0 when nothing changes, 3 when something does, 1 when a node or the cluster cannot be asked or a change in the cluster
cannot be made, 2 when the site has faults.

Examples:
  ichord plan profiles/home-ops
  ichord plan profiles/home-ops mini01
  ichord plan profiles/home-ops --json | jq '.mini01.class'")]
pub(crate) struct Plan {
    /// the site's folder
    site: PathBuf,
    /// one node only
    node: Option<String>,
    /// as JSON
    #[arg(long)]
    json: bool,
}

impl Plan {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let loaded = loaded(&self.site)?;
        let answers = ask(&loaded.site, &loaded.secrets, self.node.as_deref()).await?;
        let inside = match self.node {
            None => cluster::ask(&loaded).await?,
            Some(_) => cluster::Inside::default(),
        };
        if self.json {
            let mut json = as_json(&answers);
            if self.node.is_none() {
                json[KUBERNETES] = inside.as_json();
            }
            print(&format!("{json}\n"))?;
        } else {
            print(&(text(&answers) + &inside.text()))?;
        }
        let silent: Vec<&str> =
            answers.iter().filter(|(_, it)| it.is_err()).map(|(name, _)| name.as_str()).collect();
        if !silent.is_empty() {
            return Err(anyhow!("{} could not be asked", silent.join(", ")).into());
        }
        if inside.silent.is_some() {
            return Err(anyhow!("the cluster could not be asked").into());
        }
        if inside.faults() > 0 {
            return Err(anyhow!("what stands there as refused cannot be changed in the cluster").into());
        }
        let changes =
            inside.changes() || answers.values().flatten().any(|running| !running.plan.changes.is_empty());
        if changes { Err(Failure::Changes) } else { Ok(()) }
    }
}

fn text(answers: &BTreeMap<String, anyhow::Result<Running>>) -> String {
    let mut text = String::new();
    for (name, answer) in answers {
        match answer {
            Ok(Running { talos, plan }) => {
                text += &format!("{name} ({talos}): {}\n", headline(talos, plan));
                for line in plan
                    .changes
                    .iter()
                    .flat_map(|it| it.to_string().lines().map(str::to_owned).collect::<Vec<_>>())
                {
                    text += &format!("  {line}\n");
                }
            }
            Err(error) => text += &format!("{name}: cannot be asked: {error:#}\n"),
        }
    }
    text
}

fn headline(talos: &str, plan: &NodePlan) -> String {
    let count = match plan.changes.len() {
        1 => "1 change".to_owned(),
        count => format!("{count} changes"),
    };
    let by_itself = Minor::parse(talos).is_some_and(|talos| talos < NEVER_REBOOTS);
    match plan.class() {
        None => "nothing changes".to_owned(),
        Some(Class::Live) => format!("{count}, live"),
        Some(Class::Reboot) if by_itself => format!("{count}, and it boots again"),
        Some(Class::Reboot) => format!("{count}, in force when it boots again, which Talos leaves to you"),
        Some(Class::Reinstall) => format!("{count}, some of which only Talos's installer brings"),
        Some(Class::Refused) => format!("{count}, some of which cannot be made in place"),
    }
}

fn as_json(answers: &BTreeMap<String, anyhow::Result<Running>>) -> Value {
    let nodes = answers.iter().map(|(name, answer)| {
        let value = match answer {
            Ok(Running { talos, plan }) => {
                json!({ "talos": talos, "class": plan.class(), "changes": plan.changes })
            }
            Err(error) => json!({ "error": format!("{error:#}") }),
        };
        (name.clone(), value)
    });
    Value::Object(nodes.collect())
}

#[cfg(test)]
mod tests {
    use talos_config::config::MachineConfig;

    use super::*;

    fn running(talos: &str, wanted: &str) -> anyhow::Result<Running> {
        let read = |text: &str| MachineConfig::from_yaml(text).expect(text);
        let old = read(
            "machine: {type: worker, nodeLabels: {zone: a}, env: {A: '1'}, token: abcdef.0123456789abcdef}",
        );
        let plan = rollout::plan(&old, &read(wanted), None, b"key").expect("two configs");
        Ok(Running { talos: talos.to_owned(), plan })
    }

    #[test]
    fn a_node_says_what_changes_and_what_that_takes() {
        let label =
            "machine: {type: worker, nodeLabels: {zone: b}, env: {A: '1'}, token: abcdef.0123456789abcdef}";
        let env = "machine: {type: worker, nodeLabels: {zone: a}, token: abcdef.0123456789abcdef}";
        let role = "machine: {type: controlplane, nodeLabels: {zone: a}, env: {A: '1'}, token: abcdef.0123456789abcdef}";
        let same =
            "machine: {type: worker, nodeLabels: {zone: a}, env: {A: '1'}, token: abcdef.0123456789abcdef}";
        let answers = BTreeMap::from([
            ("a".to_owned(), running("v1.13.9", label)),
            ("b".to_owned(), running("v1.13.9", env)),
            ("c".to_owned(), running("v1.14.0", env)),
            ("d".to_owned(), running("v1.13.9", same)),
            ("e".to_owned(), Err(anyhow!("nobody answers"))),
            ("f".to_owned(), running("v1.13.9", role)),
        ]);
        let text = text(&answers);
        let expected = "\
a (v1.13.9): 1 change, live
  live      bootstrap machine.nodeLabels.zone: \"a\" → \"b\"
b (v1.13.9): 1 change, and it boots again
  reboot    bootstrap machine.env: a section of 1 goes
c (v1.14.0): 1 change, in force when it boots again, which Talos leaves to you
  reboot    bootstrap machine.env: a section of 1 goes
d (v1.13.9): nothing changes
e: cannot be asked: nobody answers
f (v1.13.9): 1 change, some of which cannot be made in place
  refused   bootstrap machine.type: \"worker\" → \"controlplane\"
                      └ take the node out";
        assert!(text.starts_with(expected), "{text}");
        let json = as_json(&answers);
        assert_eq!(json["a"]["class"], "live");
        assert_eq!(json["b"]["changes"][0]["path"], json!(["machine", "env"]));
        assert_eq!(json["d"]["class"], Value::Null);
        assert_eq!(json["e"]["error"], "nobody answers");
    }
}
