//! What ichord owns inside the cluster, for `plan` and `apply`: the steps that say `owner: ichord`, and the Secrets whose values
//! the site itself names. What Git owns is shown where it differs, and left alone.

use anyhow::anyhow;
use handover::{ObjectChange, Step, StepChanges};
use kubernetes::Client;
use serde_json::{Value, json};

use super::{
    Failure,
    handover::{claim, client},
    print,
};
use crate::app::Loaded;

/// What would change in the cluster.
#[derive(Default)]
pub(crate) struct Inside {
    /// what `apply` would do
    pub(crate) ours: Vec<StepChanges>,
    /// what only a commit does
    pub(crate) of_git: Vec<StepChanges>,
    /// why it cannot be asked
    pub(crate) silent: Option<String>,
}

/// The parts of the steps that `apply` writes.
fn owned(loaded: &Loaded) -> Vec<Step> {
    loaded.steps.iter().filter_map(Step::owned).collect()
}

/// Holds everything that the steps bring against the cluster.
pub(crate) async fn ask(loaded: &Loaded) -> Result<Inside, Failure> {
    let (client, owned) = (client(loaded)?, owned(loaded));
    let mut inside = Inside::default();
    match client.ready().await {
        Ok(true) => {}
        // without anything of ours there is nothing to miss
        _ if owned.is_empty() => return Ok(inside),
        Ok(false) => inside.silent = Some("the API server answers and is not ready yet".to_owned()),
        Err(error) => inside.silent = Some(error.to_string()),
    }
    if inside.silent.is_some() {
        return Ok(inside);
    }
    let key = loaded.secrets.cluster_secret.expose().as_bytes();
    for step in &owned {
        inside.ours.push(handover::changes(&client, step, key).await);
    }
    for step in &loaded.steps {
        let mut rest = step.clone();
        let ours = owned.iter().find(|owned| owned.name == step.name);
        rest.manifests.retain(|it| ours.is_none_or(|ours| !ours.manifests.iter().any(|our| our.id == it.id)));
        let mut changes = handover::changes(&client, &rest, key).await;
        // what is not there, or not Git's yet, is a matter of the hand-over
        changes.objects.retain(|change| change.owner.is_some());
        changes.faults.clear();
        inside.of_git.push(changes);
    }
    Ok(inside)
}

impl Inside {
    /// Whether `apply` would write something.
    pub(crate) fn changes(&self) -> bool {
        self.ours.iter().any(|step| !step.objects.is_empty())
    }

    /// Whether something is in the way of an `apply`.
    pub(crate) fn faults(&self) -> usize {
        self.ours.iter().map(|step| step.faults.len()).sum()
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if let Some(reason) = &self.silent {
            return format!("kubernetes: cannot be asked: {reason}\n");
        }
        for step in self.ours.iter().chain(&self.of_git) {
            if step.objects.is_empty() && step.faults.is_empty() {
                continue;
            }
            let count = match step.objects.len() {
                1 => "1 object changes".to_owned(),
                count => format!("{count} objects change"),
            };
            text += &format!("kubernetes, step {}: {count}\n", step.step);
            for object in &step.objects {
                object.to_string().lines().for_each(|line| text += &format!("  {line}\n"));
            }
            step.faults.iter().for_each(|fault| text += &format!("  refused   {fault}\n"));
        }
        text
    }

    pub(crate) fn as_json(&self) -> Value {
        let change = |change: &ObjectChange| {
            let fields = change
                .fields
                .iter()
                .map(|field| json!({ "path": field.path, "old": field.old, "new": field.new }));
            json!({ "object": change.object.to_string(), "phase": change.phase(), "fields": fields.collect::<Vec<_>>() })
        };
        let steps = self.ours.iter().chain(&self.of_git).filter(|step| !step.objects.is_empty());
        let steps = steps.map(|step| {
            let changes: Vec<Value> = step.objects.iter().map(change).collect();
            json!({ "step": step.step, "changes": changes })
        });
        json!({ "error": self.silent, "steps": steps.collect::<Vec<_>>() })
    }
}

/// Writes what is ours and has changed, step by step, and waits until it is ready. Nothing is removed.
pub(crate) async fn write(loaded: &Loaded) -> Result<(), Failure> {
    let steps = owned(loaded);
    if steps.is_empty() {
        return Ok(());
    }
    let client = client(loaded)?.alone(claim("apply"));
    let done = each(&steps, &client).await;
    // what it owns is as it should be; that it says so later is no failure
    client.give_back().await.ok();
    done
}

async fn each(steps: &[Step], client: &Client) -> Result<(), Failure> {
    for step in steps {
        let outcome = handover::run_step(client, step).await.map_err(|error| anyhow!("{error}"))?;
        if outcome.mutations > 0 {
            let mut text =
                format!("kubernetes, step {}: {} objects written, all ready\n", step.name, outcome.mutations);
            outcome.notes.iter().for_each(|note| text += &format!("  {note}\n"));
            print(&text)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use handover::FieldChange;
    use kubernetes::ObjectId;

    use super::*;

    #[test]
    fn what_is_ours_and_what_is_gits_are_told_apart() {
        let object = ObjectId {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            namespace: Some("kube-system".to_owned()),
            name: "cilium-config".to_owned(),
        };
        let field = |old: &str, new: &str| FieldChange {
            path: ".data.mtu".to_owned(),
            old: old.to_owned(),
            new: new.to_owned(),
        };
        let changed = ObjectChange { object, fields: vec![field("\"1500\"", "\"9000\"")], owner: None };
        let step = |name: &str, objects: Vec<ObjectChange>| StepChanges {
            step: name.to_owned(),
            objects,
            faults: Vec::new(),
        };
        let inside = Inside {
            ours: vec![step("cilium", vec![changed]), step("secrets", Vec::new())],
            ..Inside::default()
        };
        assert_eq!(
            inside.text(),
            "kubernetes, step cilium: 1 object changes\n  bootstrap ConfigMap kube-system/cilium-config\n              .data.mtu: \"1500\" → \"9000\"\n"
        );
        assert!(inside.changes());
        assert_eq!(inside.as_json()["steps"][0]["changes"][0]["phase"], "bootstrap");
        let silent = Inside { silent: Some("nobody answers".to_owned()), ..Inside::default() };
        assert_eq!(silent.text(), "kubernetes: cannot be asked: nobody answers\n");
        assert!(!silent.changes());
    }
}
