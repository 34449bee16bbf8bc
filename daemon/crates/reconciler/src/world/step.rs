//! One hand-over step against the real API server.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use handover::StepError;
use kubernetes::{Access, Claim, Client};
use lifecycle::StepOutcome;
use talos_config::pki::kubernetes_admin;

use super::talos::{Cluster, unix_seconds};

/// An administrator certificate for the length of one step.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

pub(super) async fn run_step(cluster: &Cluster, name: &str) -> StepOutcome {
    match attempt(cluster, name).await {
        Ok(summary) => StepOutcome::Done { summary },
        Err(reason) => StepOutcome::Failed { reason },
    }
}

/// The step of a cluster that was taken over: whether it is in place. Nothing is written.
pub(super) async fn look_at_step(cluster: &Cluster, name: &str) -> StepOutcome {
    match looked(cluster, name).await {
        Ok(summary) => StepOutcome::Done { summary },
        Err(reason) => StepOutcome::Failed { reason },
    }
}

async fn looked(cluster: &Cluster, name: &str) -> Result<String, String> {
    let step = cluster.steps.iter().find(|step| step.name == name);
    let step = step.ok_or_else(|| format!("the site has no step {name}"))?;
    let client = api_server(cluster, None)?;
    match client.ready().await {
        Ok(true) => {}
        Ok(false) => return Err("the API server answers and is not ready yet".to_owned()),
        Err(error) => return Err(error.to_string()),
    }
    let verified = handover::verify(&client, step).await;
    if verified.healthy() {
        return Ok(format!("{} objects, all in place: nothing was written", verified.objects.len()));
    }
    let first = verified.faults.first().map(|fault| format!(" ({fault})")).unwrap_or_default();
    Err(format!(
        "the cluster was taken over, so nothing is written to it: {} objects would be, and {} are not as they should \
         be{first}. `ichord handover verify` says which, `ichord handover run` writes them",
        verified.mutations(),
        verified.faults.len()
    ))
}

/// A client of the API server at the endpoint, or of the one at an address of its own.
pub(super) fn api_server(cluster: &Cluster, address: Option<SocketAddr>) -> Result<Client, String> {
    let authority = &cluster.secrets.kubernetes;
    let admin = kubernetes_admin(authority, unix_seconds(), LIFETIME).map_err(|error| error.to_string())?;
    let access = Access {
        endpoint: &cluster.site.cluster().endpoint,
        authority: &authority.certificate,
        certificate: &admin.certificate,
        key: admin.key.expose(),
        address,
    };
    Client::new(access).map_err(|error| error.to_string())
}

/// What the step changed, or why it is not in place, in words.
async fn attempt(cluster: &Cluster, name: &str) -> Result<String, String> {
    let step = cluster.steps.iter().find(|step| step.name == name);
    let step = step.ok_or_else(|| format!("the site has no step {name}"))?;
    // a daemon that comes back under the same name goes on at once: there is one for a state directory
    let claim = Claim::of(&format!("ichord serve of {}", cluster.site.name()));
    let client = api_server(cluster, None)?.alone(claim);
    match client.ready().await {
        Ok(true) => {}
        Ok(false) => return Err("the API server answers and is not ready yet".to_owned()),
        Err(error) => return Err(error.to_string()),
    }
    let outcome = handover::run_step(&client, step).await;
    if let Err(error) = client.give_back().await {
        tracing::debug!(%error, "the claim on the cluster is not given back; it ends by itself");
    }
    let outcome = outcome.map_err(|error| match bundle(cluster, &error) {
        Some(path) => format!("{error}\n  more: {}", path.display()),
        None => error.to_string(),
    })?;
    let mut summary = format!("{} objects, {} of them written", outcome.objects.len(), outcome.mutations);
    outcome.notes.iter().for_each(|note| summary += &format!("; {note}"));
    Ok(summary)
}

/// Writes down what the cluster said about objects that did not become ready; the latest of each step is kept.
fn bundle(cluster: &Cluster, error: &StepError) -> Option<PathBuf> {
    let folder = cluster.bundles.as_ref()?;
    match error.bundle(folder) {
        Ok(path) => path,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "what the cluster said cannot be written down");
            None
        }
    }
}
