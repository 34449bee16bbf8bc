//! What makes a cluster of an API server: the controller manager, the scheduler, and kwok in place of the kubelets.

use std::{fs, time::Duration};

use anyhow::Result;
use oracles::Tool;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{ControlPlane, Hands, PATIENCE, process::Process};

/// What kwok does with nodes and pods.
const STAGES: &str = include_str!("stages.yaml");

/// Running controllers; they end when this is dropped.
pub struct Controllers {
    parts: Vec<Process>,
}

impl Controllers {
    /// Whether kwok is built; the others are parts of the control plane's program.
    pub fn is_built() -> Result<bool> {
        Ok(Tool::Kwok.if_built()?.is_some())
    }

    /// Starts all three.
    pub fn start(plane: &ControlPlane) -> Result<Controllers> {
        let folder = plane.folder.path();
        let kubeconfig = format!("--kubeconfig={}", plane.kubeconfig()?.display());
        let file = |option: &str, name: &str| format!("--{option}={}", folder.join(name).display());
        let manager = [
            kubeconfig.clone(),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            "--allocate-node-cidrs=true".to_owned(),
            "--cluster-cidr=10.244.0.0/16,fd00:10:244::/56".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16,fd00:96::/112".to_owned(),
            file("root-ca-file", "ca.crt"),
            file("service-account-private-key-file", "accounts.key"),
        ];
        let scheduler = [kubeconfig.clone(), "--leader-elect=false".to_owned(), "--secure-port=0".to_owned()];
        let stages = folder.join("stages.yaml");
        fs::write(&stages, STAGES)?;
        let kwok = [
            kubeconfig,
            format!("--config={}", stages.display()),
            "--manage-all-nodes=true".to_owned(),
            "--node-lease-duration-seconds=40".to_owned(),
        ];
        let home = [("HOME", folder.display().to_string())];
        Ok(Controllers {
            parts: vec![
                Process::start(&plane.program, "controller-manager", &manager, folder)?,
                Process::start(&plane.program, "scheduler", &scheduler, folder)?,
                Process::start_with(&Tool::Kwok.path()?, "kwok", &kwok, folder, &home)?,
            ],
        })
    }

    /// An error with the last words of one that has ended.
    pub fn alive(&mut self) -> Result<()> {
        self.parts.iter_mut().try_for_each(Process::alive)
    }

    /// Waits until `look` gives something; tells what is wrong when a part ends, or it takes too long.
    pub async fn until<T>(&mut self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> Result<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look().await {
                return Ok(found);
            }
            self.alive()?;
            if Instant::now() > end {
                let logs: Vec<String> = self.parts.iter().map(Process::last_words).collect();
                anyhow::bail!("{what} did not come in {} s:\n{}", PATIENCE.as_secs(), logs.join("\n"));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Hands {
    /// Registers a node as its kubelet does, with room for everything and without a network.
    pub async fn register(&self, name: &str, address: &str, control_plane: bool) -> Result<()> {
        let mut labels = json!({ "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" });
        if control_plane {
            labels["node-role.kubernetes.io/control-plane"] = json!("");
        }
        let room = json!({ "cpu": "8", "memory": "16Gi", "pods": "110" });
        let node = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels },
            "status": {
                "addresses": [{ "type": "InternalIP", "address": address }, { "type": "Hostname", "address": name }],
                "capacity": room, "allocatable": room,
            },
        });
        self.create("/api/v1/nodes", &node).await?;
        Ok(())
    }
}
