//! What ichord owns in the cluster changes with the site, by `ichord plan` and `ichord apply`: a value of the network plugin and an
//! initial Secret. What Git owns is shown and left alone, and what cannot be changed changes nothing.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use control_plane::Hands;

use crate::daemon::{Daemon, Ended};

const CONFIG: &str = "/api/v1/namespaces/kube-system/configmaps/cilium-config";
const AGENT: &str = "/apis/apps/v1/namespaces/kube-system/daemonsets/cilium";
const CREDENTIALS: &str = "/api/v1/namespaces/onepassword-connect/secrets/onepassword-connect-credentials";
const CONNECT: &str = "/apis/apps/v1/namespaces/onepassword-connect/deployments/onepassword-connect";

/// A change of the site's files: which one, what is there, and what is to be there.
type Change = (&'static str, &'static str, &'static str);

const OURS: Change = ("handover/cilium.yaml", "\"option-001\":\"\"", "\"option-001\":\"from-the-site\"");
const SECRET: Change = ("keys/connect.json", "hunter2", "hunter3");
const OF_GIT: Change = ("handover/connect.yaml", "connect-api:1.8.2", "connect-api:1.8.3");
/// The agent's selector is the first one with that label.
const FIXED: Change = (
    "handover/cilium.yaml",
    "\"matchLabels\":{\"k8s-app\":\"cilium\"}",
    "\"matchLabels\":{\"k8s-app\":\"other\"}",
);

/// Changes the site of a cluster that is handed over, and brings the changes to it.
pub(crate) async fn changes(daemon: &Daemon, hands: &Hands) -> Result<()> {
    let (site, record) = (daemon.site().to_owned(), daemon.site().with_file_name("owned.json"));
    let versions = async || {
        let mut versions = Vec::new();
        for path in [CONFIG, CREDENTIALS, CONNECT, AGENT] {
            let object = hands.get(path).await?;
            versions.push(object["metadata"]["resourceVersion"].as_str().context(path)?.to_owned());
        }
        anyhow::Ok(versions)
    };
    let before = versions().await?;
    for change in [OURS, SECRET, OF_GIT] {
        edit(&site, change)?;
    }
    let (code, planned) = daemon.plan_as_text().await?;
    ensure!(code == Some(3), "`ichord plan` ended with {code:?}: {planned}");
    for said in [
        "kubernetes, step cilium: 1 object changes\n  bootstrap ConfigMap kube-system/cilium-config\n",
        ".data.option-001: \"\" → \"from-the-site\"",
        "kubernetes, step secrets: 1 object changes\n  bootstrap Secret onepassword-connect/onepassword-connect-credentials\n",
        ".data.1password-credentials.json: hash ",
        "git       Deployment onepassword-connect/onepassword-connect (of Kustomization flux-system/",
    ] {
        ensure!(planned.contains(said), "`ichord plan` does not say {said:?}:\n{planned}");
    }
    silent(&planned)?;
    ensure!(versions().await? == before, "`ichord plan` has written something");

    let mut said = String::new();
    let ended = daemon
        .roll(&["apply"], Some(&record), &[], &mut |line| {
            said += &format!("{line}\n");
            false
        })
        .await?;
    let Ended::ByItself { code: Some(0), complaint } = &ended else {
        bail!("`ichord apply` ended with {ended:?}: {said}")
    };
    silent(&(said.clone() + complaint))?;
    for step in ["cilium", "secrets"] {
        let line = format!("kubernetes, step {step}: 1 objects written, all ready\n");
        ensure!(said.contains(&line), "`ichord apply` does not say {line:?}: {said}");
    }
    // Git owns the Deployment: whoever changes its credentials is told what to do
    let restart = "kubectl -n onepassword-connect rollout restart deployment/onepassword-connect";
    ensure!(said.contains(restart), "`ichord apply` does not say how Connect gets its credentials: {said}");
    let after = versions().await?;
    ensure!(after[0] != before[0] && after[1] != before[1], "what ichord owns is as before");
    ensure!(after[2..] == before[2..], "something else was written, too");
    let config = hands.get(CONFIG).await?;
    ensure!(config["data"]["option-001"] == "from-the-site", "{config}");

    // what is left is Git's, and no change of ours
    let (code, planned) = daemon.plan_as_text().await?;
    ensure!(
        code == Some(0) && !planned.contains("bootstrap"),
        "`ichord plan` goes on with {code:?}: {planned}"
    );
    undo(&site, OF_GIT)?;
    let (code, planned) = daemon.plan_as_text().await?;
    ensure!(code == Some(0) && !planned.contains("kubernetes"), "it is not empty ({code:?}): {planned}");

    edit(&site, FIXED)?;
    let (code, planned) = daemon.plan_as_text().await?;
    ensure!(code == Some(1) && planned.contains("  refused   "), "not refused ({code:?}): {planned}");
    let ended = daemon.roll(&["apply"], Some(&record), &[], &mut |_| false).await?;
    ensure!(
        matches!(&ended, Ended::ByItself { code: Some(1), complaint } if complaint.contains(".spec.selector")),
        "what cannot be changed was not refused: {ended:?}"
    );
    ensure!(versions().await? == after, "a refused change has written something");
    undo(&site, FIXED)?;
    daemon.tell(&["reload"]).await?;
    daemon.verify().await
}

/// No secret, in no encoding.
fn silent(said: &str) -> Result<()> {
    use base64::Engine as _;
    for secret in ["hunter2", "hunter3"] {
        let encoded = base64::prelude::BASE64_STANDARD.encode(secret);
        let told = said.contains(secret) || said.contains(encoded.trim_end_matches('='));
        ensure!(!told, "a secret is told: {said}");
    }
    Ok(())
}

fn edit(site: &Path, (file, from, to): Change) -> Result<()> {
    let path = site.join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("{file} cannot be read"))?;
    ensure!(text.contains(from), "{file} has no {from}");
    fs::write(&path, text.replacen(from, to, 1)).with_context(|| format!("{file} cannot be written"))
}

fn undo(site: &Path, (file, from, to): Change) -> Result<()> {
    edit(site, (file, to, from))
}
