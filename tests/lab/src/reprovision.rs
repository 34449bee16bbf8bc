//! `lab reprovision`: a control plane that runs is installed anew by `ichord reprovision`. Its service processor is sushy-tools'
//! emulator: before the node is told to wipe itself, the processor is told that it boots from the network next, and nobody
//! touches its power. The node is itself again, and no other one was touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::{Instant, interval};

use crate::plan;
use crate::process::{Launcher, Process, Start, last_lines};
use crate::programs::Programs;
use crate::space;
use crate::story::{Story, has_come_to, say, state_of};
use crate::wires::HOST;

const CONTROL_PLANES: usize = 3;
/// Whose machine has the processor.
const NODE: usize = 1;
/// Where the processor is.
const PORT: u16 = 8443;
/// What `htpasswd -nbB admin s3cret` writes.
const ACCOUNT: &str = "admin:$2b$05$I5e1CDnU6hp/znRawhvCG.TjRqBbYXwGFLR8Kam5E.bt5/npwExEm\n";
const PASSWORD: &str = "s3cret";
/// A program in Python takes its time to start.
const STARTS: Duration = Duration::from_secs(60);

/// Arguments of *reprovision*.
#[derive(Debug, Args)]
pub(crate) struct Reprovision {
    /// sushy-tools' `sushy-emulator`; PYTHONPATH says where its libraries are
    #[arg(long)]
    sushy: PathBuf,
    /// Take `ichord` and `machine` from beside the lab's own program instead of building them
    #[arg(long)]
    no_build: bool,
}

/// Runs it. True when the node is back, its processor was told once, and nobody else was touched.
pub(crate) fn run(arguments: &Reprovision) -> Result<bool> {
    let programs = if arguments.no_build { Programs::already_built()? } else { Programs::build()? };
    space::tell(async |folder| {
        let plan = plan::machines(CONTROL_PLANES, 0);
        let name = plan[NODE].name.clone();
        let power = json!({ "redfish": {
            "address": format!("https://{}:{PORT}", HOST.0),
            "username": "admin",
            "password": "power/password",
        } });
        // the file is there before the daemon's own check looks for it
        let power_folder = space::place(&space::place(folder, "site")?, "power")?;
        fs::write(power_folder.join("password"), PASSWORD).context("the password cannot be written")?;
        let mut story = Story::prepare(&programs, folder, plan, Vec::new(), |site| {
            site["machines"][&name]["power"] = power;
        })
        .await?;
        let mut emulator = emulator(story.launcher(), folder, &arguments.sushy).await?;
        is_installed_anew(&mut story, &name).await?;
        emulator.stop().await?;
        say(&json!({ "event": "summary", "passed": true }));
        Ok(true)
    })
}

async fn is_installed_anew(story: &mut Story, name: &str) -> Result<()> {
    let chapter = "a node is installed anew";
    story.begin(chapter).await?;
    story.switch_on(&(0..CONTROL_PLANES).collect::<Vec<_>>()).await?;
    let names: Vec<String> = story.ports.plan.iter().map(|machine| machine.name.clone()).collect();
    story
        .until("the cluster to be handed over, every node ready", move |status, _| {
            has_come_to(status, "handed over") && names.iter().all(|name| state_of(status, name) == "ready")
        })
        .await?;
    let before = (story.boxes.record(name), said(story, "ComputerSystem.Reset")?);
    ensure!(nexts(story)? == 0, "it was told what it boots next without a reason");
    story.daemon()?.tell(&["reprovision", name]).await?;
    let (of, installs) = (name.to_owned(), before.0.counted.installs);
    story
        .until("the node to be installed anew and ready again", move |status, boxes| {
            let node = status.view.nodes.get(&of.as_str().into());
            let is_back = node.is_some_and(|node| node.leaving.is_none());
            boxes.record(&of).counted.installs == installs + 1 && is_back && state_of(status, &of) == "ready"
        })
        .await?;
    ensure!(nexts(story)? == 1, "its processor was told {} times", nexts(story)?);
    ensure!(said(story, "PATCH /redfish/v1/Systems/")? > 0, "the emulator was told nothing");
    ensure!(said(story, "ComputerSystem.Reset")? == before.1, "its power was touched");
    for (other, seen) in story.boxes.records() {
        let expected = if other == name { installs + 1 } else { 1 };
        ensure!(seen.counted.installs == expected, "{other} was installed {} times", seen.counted.installs);
        ensure!(seen.wipes == 0 || other == name, "{other} was wiped as well");
    }
    story.founded_once()?;
    say(&json!({ "event": "installed-anew", "node": name }));
    story.end(chapter).await
}

/// How often the processor said, when it was looked at again, that the network is next while the power stays.
fn nexts(story: &Story) -> Result<usize> {
    let log = fs::read_to_string(story.log()).context("the daemon has no log")?;
    Ok(log
        .lines()
        .filter(|line| line.contains("NetworkBoot") && line.contains("boots from the network"))
        .count())
}

/// How often the emulator was asked for this.
fn said(story: &Story, what: &str) -> Result<usize> {
    let log = fs::read_to_string(story.launcher().log("sushy")).context("the emulator has no log")?;
    Ok(log.lines().filter(|line| line.contains(what)).count())
}

/// Starts the emulator at the daemon's own address and waits until it answers.
async fn emulator(launcher: &Launcher, folder: &Path, program: &Path) -> Result<Process> {
    let folder = space::place(folder, "sushy")?;
    let key =
        rcgen::generate_simple_self_signed(vec!["bmc".to_owned()]).context("no certificate can be made")?;
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text)
            .with_context(|| format!("cannot write {}", path.display()))
            .map(|()| path.display().to_string())
    };
    let (certificate, secret) =
        (write("crt", &key.cert.pem())?, write("key", &key.signing_key.serialize_pem())?);
    let accounts = write("accounts", ACCOUNT)?;
    let settings = format!(
        "SUSHY_EMULATOR_AUTH_FILE = '{accounts}'\nSUSHY_EMULATOR_STATE_DIR = '{}'\n",
        folder.display()
    );
    let settings = write("config", &settings)?;
    let words = [
        program.display().to_string(),
        "--fake".to_owned(),
        "--interface".to_owned(),
        HOST.0.to_string(),
        "--port".to_owned(),
        PORT.to_string(),
        "--config".to_owned(),
        settings,
        "--ssl-certificate".to_owned(),
        certificate,
        "--ssl-key".to_owned(),
        secret,
    ];
    let start = Start {
        name: "sushy".to_owned(),
        network: None,
        card: None,
        command: words.into(),
        environment: Vec::new(),
    };
    let process = launcher.start(start, None)?;
    let (deadline, mut look) = (Instant::now() + STARTS, interval(Duration::from_millis(50)));
    while TcpStream::connect((HOST.0, PORT)).await.is_err() {
        let last = || last_lines(&launcher.log("sushy"), 5).join("; ");
        ensure!(Instant::now() < deadline, "the emulator does not answer: {}", last());
        look.tick().await;
    }
    Ok(process)
}
