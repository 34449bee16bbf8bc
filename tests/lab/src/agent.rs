//! The switch's SNMP agent: snmpsim, fed with what the tables of a switch say when these boxes are in these ports.
//!
//! snmpsim is other people's program and speaks other people's SNMP, so that ours is not judged by itself.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hardware::MacAddr;
use tokio::time::{Instant, sleep};

use crate::plan::SWITCH;
use crate::process::{Launcher, Process, Start, last_lines};

/// Where it answers, and to whom.
pub(crate) const ADDRESS: &str = "127.0.0.1:1161";
pub(crate) const COMMUNITY: &str = "lab-reads";

/// Its log's name.
const NAME: &str = "snmpsim";
/// Python needs its time on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);

/// Starts the agent of a switch whose ports have these names and these cards behind them, and waits until it listens.
pub(crate) async fn start(
    launcher: &Launcher,
    responder: &Path,
    folder: &Path,
    ports: &[(String, MacAddr)],
) -> Result<Process> {
    let data = folder.join("data");
    fs::create_dir_all(&data).context("cannot make a folder for the agent's data")?;
    fs::write(data.join(format!("{COMMUNITY}.snmprec")), tables(ports))
        .context("cannot write the agent's data")?;
    let log = launcher.log(NAME);
    let before = fs::metadata(&log).map(|about| about.len()).unwrap_or_default();
    let command = [
        responder.display().to_string(),
        format!("--data-dir={}", data.display()),
        format!("--cache-dir={}", folder.join("cache").display()),
        format!("--agent-udpv4-endpoint={ADDRESS}"),
        "--process-user=root".to_owned(),
        "--process-group=root".to_owned(),
    ];
    let start = Start {
        name: NAME.to_owned(),
        network: None,
        card: None,
        command: command.into(),
        environment: Vec::new(),
    };
    let mut process = launcher.start(start, None)?;
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let said = fs::read(&log).unwrap_or_default();
        let said =
            String::from_utf8_lossy(said.get(usize::try_from(before)?..).unwrap_or_default()).into_owned();
        if said.contains("Listening at UDP/IPv4 endpoint") {
            return Ok(process);
        }
        if process.has_ended()?.is_some() || Instant::now() > deadline {
            bail!("snmpsim does not listen:\n{}", last_lines(&log, 8).join("\n"));
        }
        sleep(LOOK).await;
    }
}

/// snmpsim's own format, a line an object in the order of their names: 2 is a number, 4 is text.
fn tables(ports: &[(String, MacAddr)]) -> String {
    // not the port's number, as on real switches
    let index = |port: usize| 10_001 + port;
    let ports: Vec<(usize, &(String, MacAddr))> = ports.iter().enumerate().collect();
    let mut forwarding: Vec<(MacAddr, usize)> = ports.iter().map(|(port, (_, mac))| (*mac, *port)).collect();
    forwarding.sort_unstable();
    let mut text = format!("1.3.6.1.2.1.1.5.0|4|{SWITCH}\n");
    for (port, _) in &ports {
        text += &format!("1.3.6.1.2.1.2.2.1.8.{}|2|1\n", index(*port));
    }
    for (port, _) in &ports {
        text += &format!("1.3.6.1.2.1.17.1.4.1.2.{}|2|{}\n", port + 1, index(*port));
    }
    for (mac, port) in forwarding {
        let octets = mac.0.map(|octet| octet.to_string()).join(".");
        text += &format!("1.3.6.1.2.1.17.7.1.2.2.1.2.1.{octets}|2|{}\n", port + 1);
    }
    for (port, (name, _)) in &ports {
        text += &format!("1.3.6.1.2.1.31.1.1.1.1.{}|4|{name}\n", index(*port));
    }
    text
}
