//! `lab relay`: machines behind a relay become the nodes of the ports that its option 82 names, and nothing else tells.
//!
//! The relay is the router, too, with an interface for each machine: ISC's dhcrelay, which writes the interface's name
//! into the circuit id, or one that writes octets, as switches do. The machines are plugged in crosswise, have BIOS, which hears no LLDP, and nobody speaks LLDP anyway.

pub(crate) mod agent;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use hardware::MacAddr;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::agent::Port;
use crate::daemon::{Daemon, Form};
use crate::discovery::Crosswise;
use crate::firmware::ip;
use crate::others::shell;
use crate::plan::{self, Machine, SWITCH};
use crate::process::Launcher;
use crate::programs::Programs;
use crate::qemu::{Packages, Suite};
use crate::wires::{CARD, HOST, Wires};
use crate::{rack, site, space};

const PATIENCE: Duration = Duration::from_secs(180);
/// The relay's address on the daemon's wire.
const RELAY: &str = "10.77.0.3";
/// The relay's own card.
const RELAY_CARD: MacAddr = MacAddr([0x52, 0x54, 0x00, 0x77, 0x03, 1]);
/// The VLAN that a relay of octets has its ports in, and the module that the ports are on.
const VLAN: u16 = 77;
const MODULE: u8 = 1;

/// Arguments of *relay*.
#[derive(Debug, Args)]
pub(crate) struct Relay {
    /// A relay that writes VLAN, module and port in octets, instead of ISC's
    #[arg(long)]
    octets: bool,
    /// Take `ichord` and `machine` from beside the lab's own program instead of building them
    #[arg(long)]
    no_build: bool,
}

/// Runs it. True when every machine became what its port says.
pub(crate) fn run(arguments: &Relay) -> Result<bool> {
    let programs = if arguments.no_build { Programs::already_built()? } else { Programs::build()? };
    // a download, so before the network is left behind; the package is not installed, because it brings a service
    let agent = match arguments.octets {
        true => Agent::Octets,
        false => {
            Agent::Text(Packages::open()?.unpacked("isc-dhcp-relay", Suite::Own)?.join("usr/sbin/dhcrelay"))
        }
    };
    space::tell(async |folder| judge(&programs, &agent, folder).await.map(|()| true))
}

/// Who relays.
enum Agent {
    /// ISC's dhcrelay
    Text(PathBuf),
    /// [`agent`]
    Octets,
}

impl Agent {
    /// What is started in the relay's network, for the ports of so many machines.
    fn command(&self, programs: &Programs, machines: usize) -> String {
        let ports = (1_u8..).take(machines);
        match self {
            // -a: appends the agent's information
            Self::Text(dhcrelay) => {
                let downstream: String = ports.map(|number| format!(" -id {}", interface(number))).collect();
                format!("{} -4 -d -a --no-pid -iu {CARD}{downstream} {}", dhcrelay.display(), HOST.0)
            }
            Self::Octets => {
                let ports = ports.map(|number| Port {
                    interface: interface(number),
                    address: gateway(number),
                    vlan: VLAN,
                    module: MODULE,
                    port: number,
                });
                let ports: String = ports.map(|port| format!(" {port}")).collect();
                let lab = programs.lab.display();
                format!("{lab} relay-agent --server {} --mac {RELAY_CARD}{ports}", HOST.0)
            }
        }
    }

    /// How the site describes it.
    fn described(&self, number: u8) -> Value {
        let (circuit, remote, port) = match self {
            Self::Text(_) => ("Eth1-{port}".to_owned(), Value::Null, "Eth1/{port}"),
            Self::Octets => (
                format!("hex: 00 04 00 {VLAN:02x} {{slot:1}} {{port:1}}"),
                json!("hex: 00 06 {*:mac}"),
                "Eth{slot}/{port}",
            ),
        };
        let mut described = json!({
            "address": gateway(number),
            "from": [RELAY],
            "circuit": circuit,
            "switch": SWITCH,
            "port": port,
        });
        if !remote.is_null() {
            described["remote"] = remote;
        }
        described
    }
}

async fn judge(programs: &Programs, agent: &Agent, folder: &Path) -> Result<()> {
    let place = |name| space::place(folder, name);
    let (site, state, logs, disks) = (place("site")?, place("state")?, place("logs")?, place("disks")?);
    let launcher = Launcher { lab: programs.lab.clone(), logs };
    let mut plan = plan::machines(1, 1);
    for (number, machine) in (1..).zip(&mut plan) {
        machine.address = far(number, 11).parse()?;
    }
    let wires = Wires::open()?;
    wires.lay_bridge().await?;
    let router = launcher.hold_network("relay-network").await?;
    wires.plug("relay", RELAY_CARD, router.pid).await?;
    let (mut networks, mut script) =
        (Vec::new(), format!("ip addr add {RELAY}/24 dev {CARD} && ip link set {CARD} up"));
    for (number, machine) in (1_u8..).zip(&plan) {
        let network = launcher.hold_network(&machine.name).await?;
        let (inside, there) = (router.pid.to_string(), network.pid.to_string());
        let port = interface(number);
        ip(&["link", "add", &port, "netns", &inside, "type", "veth", "peer", "name", CARD, "netns", &there])
            .await?;
        ip(&["route", "add", &format!("{}/24", far(number, 0)), "via", RELAY]).await?;
        script += &format!(" && ip addr add {}/24 dev {port} && ip link set {port} up", gateway(number));
        networks.push(network);
    }
    let command = agent.command(programs, plan.len());
    script += &format!(" && echo 1 >/proc/sys/net/ipv4/ip_forward && exec {command}");
    let mut relay = launcher.start(shell("relay", router.pid, script), None)?;

    rack::write_simulated_site(&site, &plan, site::Dhcp::Ours)?;
    relayed(&site.join("ichord.yaml"), &plan, agent)?;
    without_shared_address(&site.join("talconfig.yaml"), &plan)?;
    site::write_images(&site.join("images"), &site::ImageFiles::stand_ins())?;
    let mut daemon =
        Daemon::new(launcher.clone(), programs.ichord.clone(), site, Form::Plain { state, ledger: None });
    daemon.prepare().await?;
    daemon.start()?;
    daemon.ready().await?;

    let began = Instant::now();
    let networks_of: Vec<u32> = networks.iter().map(|network| network.pid).collect();
    let mut boxes = Crosswise::power_on(&launcher, programs, &plan, &networks_of, &disks, &[])?;
    boxes.until_installed(&launcher, began + PATIENCE).await?;
    boxes.are_what_their_ports_say(&plan, &disks)?;
    let nodes = daemon.status().await.context("the daemon does not answer")?.view.nodes;
    for machine in &plan {
        let told = nodes.get(&machine.name.as_str().into()).and_then(|node| node.port.clone());
        let port = format!("{SWITCH}/{}", machine.port);
        ensure!(told.as_deref() == Some(&port), "{} was not claimed by its port: {told:?}", machine.name);
    }
    println!("{}", json!({ "event": "summary", "passed": true, "seconds": began.elapsed().as_secs() }));
    boxes.power_off().await?;
    daemon.process()?.stop().await?;
    relay.crash().await.ok();
    Ok(())
}

/// What the relay writes into the circuit id; no interface's name may have a slash.
fn interface(number: u8) -> String {
    format!("Eth1-{number}")
}

/// The relay's own address there.
fn gateway(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 78, number, 1)
}

/// An address behind one of the relay's interfaces.
fn far(number: u8, host: u8) -> String {
    format!("10.78.{number}.{host}")
}

/// The site with a network behind each interface, and option 82 as the only source: the site trusts no machine's word,
/// so a control plane that is installed was vouched for by the relay.
fn relayed(path: &Path, plan: &[Machine], agent: &Agent) -> Result<()> {
    let text = fs::read_to_string(path).context("the site cannot be read")?;
    let mut written: Value = serde_json::from_str(&text).context("the site is not JSON")?;
    let mut networks = written["network"].as_array().cloned().unwrap_or_default();
    let mut relays = Vec::new();
    for number in (1_u8..).take(plan.len()) {
        let mut network = networks[0].clone();
        network["subnet"] = json!(format!("{}/24", far(number, 0)));
        network["relayed"] = json!(true);
        network["gateway"] = json!(gateway(number));
        network["pool"] = json!(format!("{}-{}", far(number, 100), far(number, 199)));
        networks.push(network);
        relays.push(agent.described(number));
    }
    written["network"] = json!(networks);
    written["relays"] = json!(relays);
    written["switches"] = json!([]);
    fs::write(path, format!("{written:#}\n")).context("the site cannot be written")
}

/// One that the control planes share would have to be in the network of each.
fn without_shared_address(path: &Path, plan: &[Machine]) -> Result<()> {
    let text = fs::read_to_string(path).context("the talconfig cannot be read")?;
    let mut written: Value = serde_json::from_str(&text).context("the talconfig is not JSON")?;
    written["endpoint"] = json!(format!("https://{}:6443", plan[0].address));
    let nodes = written["nodes"].as_array_mut().into_iter().flatten();
    for card in nodes.filter_map(|node| node["networkInterfaces"][0].as_object_mut()) {
        card.remove("vip");
    }
    fs::write(path, format!("{written:#}\n")).context("the talconfig cannot be written")
}
