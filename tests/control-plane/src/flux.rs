//! Flux's own controllers beside the control plane: what judges whether it takes over what it finds.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use handover::Step;
use kubernetes::Client;
use oracles::Tool;
use tokio::time::{Instant, sleep};

use crate::{
    ControlPlane, PATIENCE,
    process::{self, Process},
};

/// Running controllers; they end when this is dropped.
pub struct Flux {
    controllers: Vec<Process>,
}

/// What every one of them is told.
fn arguments() -> Vec<String> {
    ["--metrics-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0", "--events-addr=", "--log-level=info"]
        .into_iter()
        .map(str::to_owned)
        .chain(["--watch-all-namespaces=true".to_owned(), "--enable-leader-election=false".to_owned()])
        .collect()
}

impl Flux {
    /// Whether these are built. Under `CI=true` nothing may be missing.
    pub fn is_built(tools: &[Tool]) -> Result<bool> {
        for tool in tools {
            if tool.if_built()?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Defines the kinds of these controllers and starts them.
    pub async fn start(plane: &ControlPlane, tools: &[Tool]) -> Result<Flux> {
        let client = plane.client()?;
        for tool in tools {
            define(&client, *tool).await?;
        }
        Flux::start_defined(plane, tools)
    }

    /// Starts the flux-operator in a cluster that has its kinds; it installs the Flux that its own module has.
    pub fn start_operator(plane: &ControlPlane) -> Result<Flux> {
        let (tool, folder) = (Tool::FluxOperator, plane.folder.path().join("flux-operator"));
        std::fs::create_dir_all(&folder)?;
        let arguments = [
            format!("--storage-path={}", tool.unpacked()?.join("config/data").display()),
            "--metrics-addr=127.0.0.1:0".to_owned(),
            "--health-addr=127.0.0.1:0".to_owned(),
            "--web-server-port=0".to_owned(),
            "--enable-leader-election=false".to_owned(),
        ];
        // it runs with certified algorithms alone, which its image says in the environment, too
        let environment =
            [&environment(plane, &folder)?[..], &[("GODEBUG", "fips140=on".to_owned())]].concat();
        let operator = Process::start_with(&tool.path()?, tool.name(), &arguments, &folder, &environment)?;
        Ok(Flux { controllers: vec![operator] })
    }

    /// Starts these controllers in a cluster that has their kinds.
    pub fn start_defined(plane: &ControlPlane, tools: &[Tool]) -> Result<Flux> {
        let port = process::free_port()?;
        let mut controllers = Vec::new();
        for &tool in tools {
            let folder = plane.folder.path().join(tool.name());
            std::fs::create_dir_all(folder.join("storage"))?;
            let mut arguments = arguments();
            if tool == Tool::SourceController {
                arguments.extend([
                    format!("--storage-path={}", folder.join("storage").display()),
                    format!("--storage-addr=127.0.0.1:{port}"),
                    format!("--storage-adv-addr=127.0.0.1:{port}"),
                ]);
            }
            let environment = environment(plane, &folder)?;
            controllers.push(Process::start_with(
                &tool.path()?,
                tool.name(),
                &arguments,
                &folder,
                &environment,
            )?);
        }
        Ok(Flux { controllers })
    }

    /// The ends of their logs.
    pub fn last_words(&self) -> String {
        self.controllers.iter().map(Process::last_words).collect::<Vec<_>>().join("\n")
    }

    /// An error with the last words of one that has ended.
    pub fn alive(&mut self) -> Result<()> {
        self.controllers.iter_mut().try_for_each(Process::alive)
    }

    /// Waits until `look` gives something; tells what is wrong when a controller ends, or it takes too long.
    pub async fn until<T>(&mut self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> Result<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look().await {
                return Ok(found);
            }
            self.alive()?;
            if Instant::now() > end {
                bail!("{what} did not come in {} s:\n{}", PATIENCE.as_secs(), self.last_words());
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
}

fn environment(plane: &ControlPlane, folder: &Path) -> Result<[(&'static str, String); 4]> {
    Ok([
        ("KUBECONFIG", plane.kubeconfig()?.display().to_string()),
        ("RUNTIME_NAMESPACE", "flux-system".to_owned()),
        ("HOME", folder.display().to_string()),
        ("TMPDIR", folder.display().to_string()),
    ])
}

async fn define(client: &Client, tool: Tool) -> Result<()> {
    let step = Step::parse(tool.name(), &[("definitions.yaml".to_owned(), tool.definitions()?)])
        .map_err(|findings| anyhow::anyhow!("{findings}"))?;
    let step = Step { pace: handover::Pace { poll: Duration::from_millis(100), timeout: PATIENCE }, ..step };
    handover::run_step(client, &step).await.context("the definitions of Flux are not taken")?;
    Ok(())
}
