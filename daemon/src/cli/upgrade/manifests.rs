//! What Talos itself puts into a cluster at its bootstrap, brought to what this version of it would put there now.

use anyhow::Context as _;
use kubernetes::{ApplyError, Outcome};
use lifecycle::Role;
use serde_json::Value;
use talos_api::{Client, Credentials, Kind, PORT};

use crate::{
    app::Loaded,
    cli::{
        Failure,
        handover::{claim, client},
        print,
    },
};

/// What Talos would put there.
const MANIFESTS: Kind = Kind { namespace: "controlplane", name: "Manifests.kubernetes.talos.dev" };

/// By whom Talos manages the fields of its objects.
const TALOS: &str = "talos";

/// Applies the manifests of a control plane; true where something changes. With `dry_run` it is only told. Nothing is removed: an
/// object that a config no longer has may be Git's by now.
pub(super) async fn sync(loaded: &Loaded, credentials: &Credentials, dry_run: bool) -> Result<bool, Failure> {
    let plan = loaded.site.plan();
    let mut nodes = plan.nodes.values();
    let first = nodes.find(|node| node.role == Role::ControlPlane).context("there is no control plane")?;
    let machine = Client::configured((first.address, PORT).into(), credentials).await?;
    let mut objects = Vec::new();
    for manifest in machine.list(MANIFESTS).await? {
        let items: Vec<Value> = manifest.read().map_err(anyhow::Error::msg)?;
        objects.extend(items);
    }
    let client = client(loaded)?.alone(claim("upgrade kubernetes")).managing_as(TALOS);
    let done = each(&client, &objects, dry_run).await;
    client.give_back().await.ok();
    done
}

async fn each(client: &kubernetes::Client, objects: &[Value], dry_run: bool) -> Result<bool, Failure> {
    let mut changes = false;
    for object in objects {
        let line = match client.apply(object, dry_run).await {
            Ok(applied) => match applied.outcome {
                Outcome::Unchanged => continue,
                Outcome::Created => format!("{}: made\n", applied.object),
                Outcome::Changed(fields) => format!("{}: {}\n", applied.object, fields.join(", ")),
            },
            // somebody has adopted it
            Err(ApplyError::Conflict { object, conflicts }) => {
                let whose: Vec<String> = conflicts.iter().map(ToString::to_string).collect();
                print(&format!("{object}: stays as it is ({})\n", whose.join(", ")))?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        changes = true;
        print(&line)?;
    }
    Ok(changes)
}
