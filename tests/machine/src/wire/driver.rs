//! The machine's turn: advance the model, do what happened, let the ports follow, write the disk, sleep until
//! something is due or somebody called.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ipnet::IpNet;
use serde_json::json;
use tokio::task::{AbortHandle, JoinSet};

use super::{
    client,
    dhcp::{Asker, Speaker},
    disk::{Disk, Medium},
    etcd::{self, RealEtcds},
    events::Events,
    firmware::{self, Firm, Second},
    install::Installer,
    kubelet::Kubelets,
    kubernetes,
    link::Link,
    peers,
    servers::{Servers, WorkerIdentity},
    trustd,
    world::World,
};
use crate::model::{
    Config, Factory, Happening, Hardware, Image, Machine, NodeReport, Pace, PeerAnswer, PeerCall,
    PeerRefusal, Stage,
};

/// The port of etcd's clients.
const ETCD: u16 = 2379;

/// What the process is told.
pub struct Options {
    /// how the events call this machine
    pub name: String,
    /// the interface that boots; it must exist in this namespace
    pub interface: String,
    /// the box
    pub hardware: Hardware,
    /// how long things take
    pub pace: Pace,
    /// what the images contain
    pub factory: Factory,
    /// versions of Talos that do not come up on it
    pub doomed: BTreeSet<String>,
    /// where the disk's contents are kept
    pub disk: Medium,
    /// where the machine's life begins
    pub start: Start,
    /// how long a second of iPXE's `sleep` takes
    pub second: Duration,
    /// between two LLDP frames of lldpd
    pub lldp_every: Duration,
    /// the API server behind its port while it is a control plane; without one it is the stand-in in this process
    pub api_server: Option<SocketAddr>,
    /// the program of a real etcd behind it while it is a control plane
    pub etcd: Option<PathBuf>,
}

/// Where the machine's life begins, and what a reboot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// the simulated firmware; reboots stay in this process
    Firmware,
    /// this process is the system that a real firmware started; a reboot ends it
    Kernel {
        /// what was booted
        image: Image,
        /// the real kernel's command line
        cmdline: String,
        /// whether it came over the network
        from_network: bool,
        /// the beginning of a bootable disk, gzip, which the installer writes
        installer: PathBuf,
    },
}

/// How the machine's life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// it has no power
    PowerOff,
    /// the firmware shall start again; only with [`Start::Kernel`]
    Reboot,
}

/// Runs the machine from power on until `power` is over (power off), or it shut itself down.
///
/// # Errors
/// When the interface, a port or the disk cannot be used.
pub async fn run(options: Options, power: impl Future<Output = ()>) -> anyhow::Result<Ended> {
    let mut disk = Disk::open(&options.disk)?;
    let link = Link::open(&options.interface).await?;
    link.flush().await?;
    let (storage, counters) = disk.contents();
    let seed = u64::from(firmware::fresh_transaction()?) << 32 | u64::from(firmware::fresh_transaction()?);
    let mut machine = Machine::new(options.hardware, options.pace, seed)
        .with_factory(options.factory)
        .with_doomed(options.doomed)
        .with_storage(storage, counters);
    if options.start != Start::Firmware {
        machine = machine.with_foreign_kernel();
    }
    let etcd = match (&options.etcd, &options.disk) {
        (Some(program), Medium::File(disk)) => {
            machine = machine.with_real_etcd();
            Some(Arc::new(RealEtcds::beside(program.clone(), disk)))
        }
        _ => None,
    };
    let world = Arc::new(World::new(machine));
    let events = Events::of(&options.name);
    let worker = WorkerIdentity::default();
    let servers = Servers::new(
        Arc::clone(&world),
        events.clone(),
        link.clone(),
        options.lldp_every,
        Arc::clone(&worker),
        options.api_server.map(Kubelets::new),
        etcd.clone(),
    );
    let mut driver = Driver {
        world: Arc::clone(&world),
        events: events.clone(),
        link: link.clone(),
        second: Second(options.second),
        worker,
        servers,
        tasks: JoinSet::new(),
        before_boot: None,
        addressed: None,
        gateway: Arc::default(),
        reported: BTreeMap::new(),
        installer: None,
        etcd: etcd.clone(),
    };
    if let Some(etcd) = etcd {
        driver.tasks.spawn(etcd.mirror(Arc::clone(&world)));
    }
    match options.start {
        Start::Firmware => {
            events.say("power-on", json!({}));
            world.turn(|machine, now| machine.power_on(now));
        }
        Start::Kernel { image, cmdline, from_network, installer } => {
            driver.installer = Some(Installer { image: installer, disk: options.disk });
            world.turn(|machine, now| machine.boot_kernel(image, cmdline, from_network, now));
        }
    }
    tokio::pin!(power);
    let ended = loop {
        match driver.turn(&mut disk).await {
            Ok(None) => {}
            Ok(Some(ended)) => break Ok(ended),
            Err(error) => break Err(error),
        }
        let due = world.look(Machine::next_deadline).map_or(Duration::from_secs(3600), |at| {
            world.at(at).saturating_duration_since(std::time::Instant::now())
        });
        tokio::select! {
            () = &mut power => break Ok(Ended::PowerOff),
            () = world.wake.notified() => {}
            () = tokio::time::sleep(due) => {}
            Some(_) = driver.tasks.join_next() => {}
        }
    };
    world.turn(|machine, now| machine.power_off(now));
    // a machine without power answers nobody
    link.flush().await.ok();
    let last = if matches!(ended, Ok(Ended::Reboot)) { "reset" } else { "power-off" };
    events.say(last, json!({ "calls": world.calls() }));
    ended
}

struct Driver {
    world: Arc<World>,
    events: Events,
    link: Link,
    second: Second,
    worker: WorkerIdentity,
    servers: Servers,
    tasks: JoinSet<()>,
    /// the firmware, or the system's DHCP client
    before_boot: Option<AbortHandle>,
    /// the address that is on the link for the system
    addressed: Option<IpNet>,
    gateway: Arc<Mutex<Option<Ipv4Addr>>>,
    reported: BTreeMap<String, NodeReport>,
    /// when the disk and the firmware are real
    installer: Option<Installer>,
    /// the real one
    etcd: Option<Arc<RealEtcds>>,
}

impl Driver {
    /// One turn; whether it was the last.
    async fn turn(&mut self, disk: &mut Disk) -> anyhow::Result<Option<Ended>> {
        let happenings = self.world.turn(|machine, now| machine.advance(now));
        if let (Some(installer), true) = (&self.installer, happenings.contains(&Happening::Installed)) {
            // before the contents that say so
            installer.run()?;
        }
        // the disk first: what was said to others must not be forgotten by a power cut
        let (storage, counters) = self.world.look(|machine| (machine.storage().clone(), machine.counters()));
        disk.write(&storage, counters)?;
        let mut ended = None;
        for happening in happenings {
            self.events.happened(&happening);
            match happening {
                Happening::Stage(Stage::Off) => ended = Some(Ended::PowerOff),
                // the real firmware is between two kernels, also where Talos would kexec
                Happening::Stage(Stage::Rebooting) if self.installer.is_some() => ended = Some(Ended::Reboot),
                _ => {}
            }
            self.handle(happening).await?;
        }
        self.address().await?;
        if let Some(etcd) = &self.etcd {
            etcd.follow(&self.world, &self.events).await?;
        }
        self.servers.follow().await?;
        self.world.turned();
        Ok(ended)
    }

    async fn handle(&mut self, happening: Happening) -> anyhow::Result<()> {
        match happening {
            Happening::AsksTheNetwork { .. } => self.start_firmware(),
            Happening::Booted { .. } => self.start_dhcp().await?,
            Happening::Stage(Stage::Rebooting | Stage::Off) => {
                self.stop_before_boot();
                self.addressed = None;
                self.link.flush().await?;
            }
            Happening::VirtualAddress { address, held: true } => self.link.take(address).await?,
            Happening::VirtualAddress { address, held: false } => self.link.release(address).await,
            Happening::NodeReported(report) => self.node_reported(report),
            Happening::ApiServer(false) => self.reported.clear(),
            Happening::Peer { ticket, to, call } => self.ask(ticket, to, call),
            _ => {}
        }
        Ok(())
    }

    /// A kubelet's word for the API server here, which knows whether there is a network on that node.
    fn node_reported(&mut self, report: NodeReport) {
        if let Some(kubelets) = self.servers.real.clone() {
            let (world, events) = (Arc::clone(&self.world), self.events.clone());
            let own = world.look(|machine| machine.config()?.kubernetes_ca.clone().zip(machine.address()));
            let Some((ca, own)) = own else { return };
            self.tasks.spawn(async move {
                match kubelets.report(&ca, own, &report).await {
                    Ok(ready) => world.turn(|machine, _| machine.network_of(&report.name, ready)),
                    // the next report will do
                    Err(error) => {
                        events.say("node-not-registered", json!({ "reason": format!("{error:#}") }))
                    }
                }
            });
            return;
        }
        // control planes share no objects here: the plugin may have been given to another one, as whose nodes are ready shows
        let runs = self.servers.cluster.has_network() || self.reported.values().any(|other| other.ready);
        self.world.turn(|machine, _| machine.network_of(&report.name, runs));
        // only news: every registration is a write that others see
        if self.reported.get(&report.name) != Some(&report) {
            kubernetes::register(&self.servers.cluster, &report);
            self.reported.insert(report.name.clone(), report);
        }
    }

    fn stop_before_boot(&mut self) {
        if let Some(task) = self.before_boot.take() {
            task.abort();
        }
    }

    fn start_firmware(&mut self) {
        self.stop_before_boot();
        let firm = Firm {
            world: Arc::clone(&self.world),
            link: self.link.clone(),
            events: self.events.clone(),
            second: self.second,
        };
        self.before_boot = Some(self.tasks.spawn(async move {
            let instruction = firmware::attempt(&firm).await;
            firm.world.with(|machine, now| machine.boot(instruction, now));
        }));
    }

    /// The system asks for an address of its own; what the firmware had is forgotten.
    async fn start_dhcp(&mut self) -> anyhow::Result<()> {
        self.stop_before_boot();
        self.addressed = None;
        self.link.flush().await?;
        self.world.turn(|machine, _| machine.set_lease(None));
        let (world, link, events) = (Arc::clone(&self.world), self.link.clone(), self.events.clone());
        let gateway = Arc::clone(&self.gateway);
        let uuid = world.look(|machine| machine.hardware().uuid);
        self.before_boot = Some(self.tasks.spawn(async move {
            loop {
                let Ok(xid) = firmware::fresh_transaction() else { return };
                let asker = Asker { speaker: Speaker::System, mac: link.mac, uuid, xid, secs: 0 };
                match client::lease(&link, asker, false).await {
                    Ok(lease) => {
                        let details = json!({ "by": "System", "address": lease.address.addr() });
                        events.say("dhcp-bound", details);
                        *gateway.lock().unwrap_or_else(PoisonError::into_inner) = lease.gateway;
                        world.with(|machine, _| machine.set_lease(Some(lease.address)));
                        return;
                    }
                    Err(error) => events.say("dhcp-failed", json!({ "reason": format!("{error:#}") })),
                }
            }
        }));
        Ok(())
    }

    /// The link has the address that the system wants: static, or from DHCP.
    async fn address(&mut self) -> anyhow::Result<()> {
        let (wanted, shared) = self.world.look(|machine| {
            let runs = machine.boot_id().is_some();
            (machine.network().filter(|_| runs), machine.virtual_addresses())
        });
        if wanted.is_some() && wanted != self.addressed {
            if let Some(wanted) = wanted {
                let gateway = *self.gateway.lock().unwrap_or_else(PoisonError::into_inner);
                self.link.set_address(wanted, gateway).await?;
                for address in shared {
                    self.link.take(address).await?;
                }
            }
            self.addressed = wanted;
        }
        Ok(())
    }

    fn ask(&mut self, ticket: u64, to: IpAddr, call: PeerCall) {
        let (world, worker) = (Arc::clone(&self.world), Arc::clone(&self.worker));
        let (events, real) = (self.events.clone(), self.etcd.is_some());
        self.tasks.spawn(async move {
            let result = match &call {
                PeerCall::Certificate { token } => match own_names(&world) {
                    Some((config, names)) => {
                        match trustd::ask(to, token, &config.os_ca.certificate, &names).await {
                            Ok(identity) => {
                                *worker.lock().unwrap_or_else(PoisonError::into_inner) = Some(identity);
                                Ok(PeerAnswer::Certificate)
                            }
                            Err(error) => {
                                events.say("no-certificate", json!({ "reason": format!("{error:#}") }));
                                Err(PeerRefusal::Unreachable)
                            }
                        }
                    }
                    None => Err(PeerRefusal::Unreachable),
                },
                call if real && call.port() == ETCD => etcd::ask(to, call).await,
                call => peers::ask(to, call).await,
            };
            world.with(|machine, now| machine.peer_answer(ticket, result, now));
        });
    }
}

/// What a worker wants in its certificate.
fn own_names(world: &World) -> Option<(Config, Vec<String>)> {
    world.look(|machine| {
        let config = machine.config()?.clone();
        let mut names = vec![machine.address()?.to_string(), machine.hostname()?.to_owned()];
        names.extend(config.certificate_names.iter().cloned());
        Some((config, names))
    })
}
