//! `lab moving`: a machine is plugged into another port, its switch gets another name, and then another switch takes its place, with
//! another chassis and other names for its ports. Each time the person is told what it is and the command that accepts it, and
//! gives that; nothing is installed, nobody is booted but by the story, and every machine stays the node that it was.
//!
//! Nothing tells a port here but what the machines hear of the switch: their firmware when they boot from the network, and when
//! they are installed their Talos, which the daemon asks. The site would let another machine take the place of a dead one, and
//! install whatever may be.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use hardware::MacAddr;
use serde_json::{Value, json};

use crate::part::Site;
use crate::plan::{self, FirmwareKind, SWITCH};
use crate::programs::Programs;
use crate::space;
use crate::story::{Story, has_come_to, say, state_of};
use crate::summary::Counted;
use crate::switch::Voice;

/// The nodes, and a port more.
const NODES: [&str; 3] = ["lab-cp-1", "lab-w-1", "lab-w-2"];
const FREE: usize = 3;

/// Long enough for whatever would take the place of a machine that is not where it should be.
const MEANWHILE: Duration = Duration::from_secs(3);

/// Arguments of *moving*.
#[derive(Debug, Args)]
pub(crate) struct Moving {
    /// Take `ichord` and `machine` from beside the lab's own program instead of building them
    #[arg(long)]
    no_build: bool,
}

/// Runs it. True when every machine is the node that it was, and was not touched.
pub(crate) fn run(arguments: &Moving) -> Result<bool> {
    let programs = if arguments.no_build { Programs::already_built()? } else { Programs::build()? };
    space::tell(async |folder| {
        let mut plan = plan::machines(1, FREE);
        // BIOS hears nothing
        plan.iter_mut().for_each(|machine| machine.firmware = FirmwareKind::UefiHttp);
        let site = |site: &mut Value| {
            site["switches"] = json!([{ "name": SWITCH }]);
            site["trust"] = json!("machine");
            site["replace"] = json!("same-port");
            site["timing"]["replace-after"] = json!("1s");
            site["timing"]["listen"] = json!("1s");
        };
        let mut story = Story::prepare(&programs, folder, plan, Vec::new(), site).await?;
        Site::read(story.site())?.names_only(&NODES)?;
        let chapter = "machines and switches are moved";
        story.begin(chapter).await?;
        story.switch_on(&[0, 1, 2]).await?;
        placed(&mut story, |node| format!("{SWITCH}/Eth1/{}", node + 1)).await?;
        story.founded_once()?;
        let before = counted(&story);
        let mut moved = Moved { story, boots: BTreeMap::new() };
        moved.another_port().await?;
        moved.another_name().await?;
        moved.another_switch().await?;
        moved.untouched(&before)?;
        moved.story.end(chapter).await?;
        say(&json!({ "event": "summary", "passed": true }));
        Ok(true)
    })
}

struct Moved {
    story: Story,
    /// how often the story switched each off and on
    boots: BTreeMap<&'static str, u32>,
}

impl Moved {
    /// A worker is plugged into a free port, which is written into the site; then back, which the person has written before.
    async fn another_port(&mut self) -> Result<()> {
        let (node, mac) = (1, self.story.boxes.machine(NODES[1])?.mac);
        self.cycle(node, FREE).await?;
        let folder = self.story.site().display().to_string();
        let way = format!("`ichord ports --write {folder}`");
        let said = format!(
            "the machine of {} is seen on {SWITCH}/Eth1/4, which the site gives to nobody",
            NODES[node]
        );
        self.told(&[node], &[&said, &way]).await?;
        ensure!(self.doctor().await?.contains("cable: the machine of"), "`ichord doctor` does not tell it");
        self.accept(&["ports", "--write", &folder], &["lab-w-1: sw1/Eth1/2 → sw1/Eth1/4"]).await?;
        placed(&mut self.story, |node| format!("{SWITCH}/Eth1/{}", if node == 1 { 4 } else { node + 1 }))
            .await?;
        say(&json!({ "event": "moved", "machine": mac, "told": said }));

        let path = self.story.site().join("ichord.yaml");
        let text = fs::read_to_string(&path).context("the site cannot be read")?;
        fs::write(&path, text.replace("sw1/Eth1/4", "sw1/Eth1/2")).context("the site cannot be written")?;
        self.story.daemon()?.tell(&["reload"]).await?;
        self.told(&[node], &["is seen on sw1/Eth1/4", "and not on sw1/Eth1/2"]).await?;
        self.cycle(node, node).await?;
        placed(&mut self.story, |node| format!("{SWITCH}/Eth1/{}", node + 1)).await
    }

    /// The switch gets another name.
    async fn another_name(&mut self) -> Result<()> {
        self.story.switch_is(&Voice { name: "leaf1".to_owned(), ..Voice::default() }).await?;
        let folder = self.story.site().display().to_string();
        let way = format!("`ichord ports --rename-switch sw1=leaf1 {folder}`");
        // also without the daemon
        let said = match self.story.daemon()?.verify_cabling().await {
            Ok(()) => anyhow::bail!("the switch has another name, and `ichord ports --verify` is content"),
            Err(error) => format!("{error:#}"),
        };
        ensure!(said.contains("sw1 is called leaf1 now") && said.contains(&way), "it says {said}");
        self.told(&[0, 1, 2], &["sw1 is called leaf1 now", &way]).await?;
        let words = self.doctor().await?;
        ensure!(words.contains("switch: sw1 is called leaf1 now"), "`ichord doctor` says {words}");
        let rename = ["ports", "--rename-switch", "sw1=leaf1", &folder];
        self.accept(&rename, &["switch sw1 → leaf1", "lab-cp-1: sw1/Eth1/1 → leaf1/Eth1/1"]).await?;
        placed(&mut self.story, |node| format!("leaf1/Eth1/{}", node + 1)).await?;
        self.story.daemon()?.verify_cabling().await?;
        say(&json!({ "event": "renamed", "told": words }));
        Ok(())
    }

    /// Another make of switch takes its place.
    async fn another_switch(&mut self) -> Result<()> {
        let chassis = Some(MacAddr([0x02, 0, 0, 0, 0x99, 1]));
        let ports: fn(usize) -> String = |number| format!("Port {}", number + 21);
        let voice = Voice { name: "core9".to_owned(), chassis, ports: Some(ports) };
        self.story.switch_is(&voice).await?;
        let folder = self.story.site().display().to_string();
        let way = format!("`ichord ports --write {folder}`");
        self.told(&[0, 1, 2], &["leaf1 was replaced by core9", &way]).await?;
        let words = self.story.daemon()?.tell(&["ports"]).await?;
        ensure!(words.contains("lab-w-2 (Eth1/3 → Port 23)"), "`ichord ports` says {words}");
        self.accept(&["ports", "--write", &folder], &["lab-cp-1: leaf1/Eth1/1 → core9/Port 21"]).await?;
        placed(&mut self.story, |node| format!("core9/Port {}", node + 21)).await?;
        self.story.daemon()?.verify_cabling().await?;
        say(&json!({ "event": "replaced", "told": words }));
        Ok(())
    }

    /// Switched off in one port and on in another one.
    async fn cycle(&mut self, node: usize, port: usize) -> Result<()> {
        let name = NODES[node];
        self.story.boxes.power_off(name, &self.story.ports).await?;
        self.story.boxes.power_on(name, &self.story.ports, port).await?;
        *self.boots.entry(name).or_default() += 1;
        Ok(())
    }

    /// `ichord status` says all of this of these nodes, which are ready, and nothing comes of it meanwhile.
    async fn told(&mut self, nodes: &[usize], words: &[&str]) -> Result<()> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let nodes = nodes.to_owned();
        let is_told = move |status: &api::Status, _: &crate::boxes::Boxes| {
            nodes.iter().all(|&node| {
                let view = status.view.nodes.get(&NODES[node].into());
                let told = view.and_then(|view| view.displaced.as_deref()).unwrap_or_default();
                words.iter().all(|word| told.contains(word))
            }) && NODES.iter().all(|name| state_of(status, name) == "ready")
        };
        let again = is_told.clone();
        self.story.until("a person to be told where the machines are", is_told).await?;
        self.story.stays(MEANWHILE, "everybody is the node that it was", again).await
    }

    async fn doctor(&mut self) -> Result<String> {
        self.story.daemon()?.tell(&["doctor"]).await
    }

    /// The command that was named, and `ichord reload`.
    async fn accept(&mut self, command: &[&str], says: &[&str]) -> Result<()> {
        let said = self.story.daemon()?.tell(command).await?;
        ensure!(says.iter().all(|words| said.contains(words)), "`ichord {}` says {said}", command.join(" "));
        self.story.daemon()?.tell(&["reload"]).await.map(drop)
    }

    /// Nobody was installed, wiped or given a config since, and nobody booted but where the story did it.
    fn untouched(&self, before: &BTreeMap<String, Counted>) -> Result<()> {
        for name in NODES {
            let was = before.get(name).copied().unwrap_or_default();
            let expected =
                Counted { boots: was.boots + self.boots.get(name).copied().unwrap_or_default(), ..was };
            let seen = self.story.boxes.record(name);
            ensure!(seen.counted == expected, "{name} counted {:?}, and not {expected:?}", seen.counted);
            ensure!(seen.wipes == 0 && seen.counted.installs == 1, "{name} was wiped or installed again");
            let is = self.story.boxes.is(name, &self.story.ports.plan)?;
            ensure!(is == [name], "{name} is {is:?} by its own disk");
        }
        self.story.founded_once()
    }
}

/// Every node is ready, its machine is the one that belongs to it, and nothing is wrong with the port, which is called so.
async fn placed(story: &mut Story, port: impl Fn(usize) -> String) -> Result<()> {
    let mut expected = Vec::new();
    for (node, name) in NODES.into_iter().enumerate() {
        expected.push((name, story.boxes.machine(name)?.mac, port(node)));
    }
    story
        .until("every node to be ready, and in its place", move |status, _| {
            has_come_to(status, "handed over")
                && expected.iter().all(|(name, mac, port)| {
                    state_of(status, name) == "ready"
                        && status.view.nodes.get(&(*name).into()).is_some_and(|node| {
                            node.macs.contains(mac)
                                && node.port.as_ref() == Some(port)
                                && node.displaced.is_none()
                                && node.warning.is_none()
                                && node.rival.is_none()
                        })
                })
        })
        .await
}

fn counted(story: &Story) -> BTreeMap<String, Counted> {
    story.boxes.records().iter().map(|(name, seen)| (name.clone(), seen.counted)).collect()
}
