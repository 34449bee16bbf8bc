//! Another version of Kubernetes comes to every node, part by part; what must not come changes nothing, an API server that does not
//! come up is the last thing that is touched, and goes on with the next version.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{called, edited, killed, names, refused};
use crate::access;
use crate::daemon::Ended;
use crate::story::{Story, say};

/// What the cluster is founded with.
pub(super) const FIRST: &str = "v1.35.4";
/// Nothing comes up from its images on these machines.
pub(super) const DOOMED: &str = "v1.36.1";
const SECOND: &str = "v1.36.2";

const COMMAND: [&str; 2] = ["upgrade", "kubernetes"];
const STATIC_PODS: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// In the order in which they come, and whether workers have it, too.
const PARTS: [(&str, bool); 5] = [
    ("kube-apiserver", false),
    ("kube-controller-manager", false),
    ("kube-scheduler", false),
    ("kube-proxy", false),
    ("kubelet", true),
];

/// Talos runs Kubernetes 1.32 to 1.37 here.
pub(super) async fn upgraded(story: &mut Story, folder: &Path) -> Result<()> {
    let names = names(story);
    let client = access::kubernetes(story, folder).await?;
    for (version, because) in [
        ("1.34.9", "does not go back"),
        ("1.37.0", "one minor version at a time: `--to 1.36.…` first"),
        ("1.38.0", "`ichord upgrade talos` first"),
    ] {
        refused(story, None, &COMMAND, &["--to", version], because).await?;
    }
    runs(&client, &names, FIRST).await?;
    stops(story, &names).await?;

    edited(story.site(), |site| site["kubernetesVersion"] = json!(SECOND))?;
    let before = called(&story.boxes, &names, "ApplyConfiguration");
    let all = story.restarts;
    // every kind of step, and with restarts every step: before it is done, and while it is waited for
    let is_step = |line: &str| {
        let begins = line.contains(" becomes ") && (all || line.starts_with(&names[0]));
        begins || (all && line.contains("is not ready with")) || line.starts_with("DaemonSet")
    };
    let steps =
        killed::again_and_again(story, None, &COMMAND, &[], is_step, |_| false, async |_| Ok(())).await?;
    ordered(&steps.lines, &names)?;
    ensure!(
        steps.lines.iter().any(|line| line.starts_with("DaemonSet") && line.contains("kube-proxy")),
        "what Talos itself brings was not applied: {:?}",
        steps.lines
    );
    runs(&client, &names, SECOND).await?;
    let of = names.clone();
    story
        .until("every box to write down that it was given its configs", move |_, boxes| {
            let now = called(boxes, &of, "ApplyConfiguration");
            // one of an API server has been changed before; who had a command that died in between was given it again
            of.iter().all(|name| {
                let parts = if name.contains("-cp-") { PARTS.len() } else { 1 };
                (parts..=2 * parts).contains(&(now[name] - before[name]))
            })
        })
        .await?;
    let planned = story.daemon()?.plan().await?;
    ensure!(planned.is_empty(), "something is still to be changed: {planned:#?}");
    say(
        &json!({ "event": "kubernetes-upgraded", "steps": steps.lines.len(), "command-killed": steps.kills }),
    );
    Ok(())
}

/// A version whose API server does not come up: its node is the only one that is touched.
async fn stops(story: &mut Story, names: &[String]) -> Result<()> {
    let before = called(&story.boxes, names, "ApplyConfiguration");
    let more = ["--to", DOOMED.trim_start_matches('v'), "--patience", "3"];
    let ended = story.daemon()?.roll(&COMMAND, None, &more, &mut |_| false).await?;
    let said = format!("kube-apiserver of {} is not ready with", names[0]);
    let Ended::ByItself { code: Some(1), complaint } = &ended else {
        anyhow::bail!("it did not end with an API server that does not come up: {ended:?}")
    };
    ensure!(
        complaint.contains(&said) && complaint.contains("nothing more is changed"),
        "it says {complaint}"
    );
    let (names, complaint) = (names.to_owned(), complaint.trim().to_owned());
    story
        .until("one box to write down that it was given a config, and no other one", move |_, boxes| {
            let now = called(boxes, &names, "ApplyConfiguration");
            names.iter().enumerate().all(|(at, name)| now[name] - before[name] == usize::from(at == 0))
        })
        .await?;
    say(&json!({ "event": "stopped", "because": complaint }));
    Ok(())
}

/// API servers before everything else, kubelets last, control planes before workers, and never two at once.
fn ordered(steps: &[String], names: &[String]) -> Result<()> {
    let mut expected = Vec::new();
    for (part, of_workers) in PARTS {
        let has = |name: &&String| of_workers || name.contains("-cp-");
        expected.extend(names.iter().filter(has).map(|name| format!("{name}: {part} becomes ")));
    }
    let changes: Vec<&String> = steps.iter().filter(|line| line.contains(" becomes ")).collect();
    let matches = changes.len() == expected.len()
        && changes
            .iter()
            .zip(&expected)
            .all(|(line, begin)| line.starts_with(begin) && line.ends_with(SECOND));
    ensure!(matches, "the parts came in this order: {changes:#?}");
    Ok(())
}

/// Everything is ready and runs this version, by Kubernetes' own word.
async fn runs(client: &kubernetes::Client, names: &[String], version: &str) -> Result<()> {
    let mut kubelets = BTreeMap::new();
    for node in client.list("v1", "Node", None, "").await? {
        kubelets.insert(text(&node, "/metadata/name"), text(&node, "/status/nodeInfo/kubeletVersion"));
    }
    let expected: BTreeMap<String, String> =
        names.iter().map(|name| (name.clone(), version.to_owned())).collect();
    ensure!(kubelets == expected, "the kubelets are {kubelets:?}");
    let pods = client.list("v1", "Pod", Some("kube-system"), "tier=control-plane").await?;
    for name in names.iter().filter(|name| name.contains("-cp-")) {
        for component in STATIC_PODS {
            let named = format!("{component}-{name}");
            let pod = pods.iter().find(|pod| text(pod, "/metadata/name") == named);
            let pod = pod.with_context(|| format!("there is no {named}"))?;
            let (image, is_ready) =
                (text(pod, "/spec/containers/0/image"), text(pod, "/status/conditions/0/status"));
            ensure!(
                image.ends_with(&format!(":{version}")) && is_ready == "True",
                "{named}: {image} {is_ready}"
            );
        }
    }
    let proxies = client.list("apps/v1", "DaemonSet", Some("kube-system"), "k8s-app=kube-proxy").await?;
    let proxy = proxies.first().context("there is no kube-proxy")?;
    let image = text(proxy, "/spec/template/spec/containers/0/image");
    ensure!(image.ends_with(&format!(":{version}")), "kube-proxy runs {image}");
    let managers: Vec<String> = proxy["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|entry| entry["operation"] == "Apply")
        .map(|entry| text(entry, "/manager"))
        .collect();
    ensure!(managers == ["talos"], "kube-proxy is managed by {managers:?}");
    Ok(())
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
