//! Every socket of the daemon: opened eagerly, so that what is wrong shows before anything is answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use boot::{BootView, Catalogue, LocalBootRules, catalogue::Image};
use net::{capabilities::Capability, interface::Interface};
use reconciler::{Cluster, Handle};
use serve::{
    advertise::Advertise,
    announce::Announce,
    capture::{Capture, LocalSwitch},
    counters::Counters,
    dhcp::Dhcp,
    forwarding::Forwarding,
    hearing::Hearing,
    http::{BootServer, Limits, Secure},
    local_boot::LocalBoots,
    neighbours::{Ground, Neighbours},
    snmp::{AskedSwitch, Poller},
    tftp::{self, Bootloaders, SERVER_PORT, Tftp},
    trace::Trace,
};
use site::{DhcpMode, Network, Site};
use store::Store;
use talos_config::{pem::CertificateAndKey, pki};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    authority::Authority,
    leases::{Leases, lease},
    pumps::Ends,
};

/// Packet sockets for DHCP's answers, LLDP and ARP probes; ports 67, 69 and 80.
pub(crate) const NEEDED: &[Capability] = &[Capability::NetRaw, Capability::NetBindService];

/// A month, in seconds: time enough to bring another authority to the machines.
const EXPIRES_SOON: u64 = 30 * 24 * 3600;

/// Of the boot server at each of our addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BootPorts {
    pub(crate) http: u16,
    pub(crate) https: u16,
}

/// What the sockets are connected to.
pub(crate) struct Links {
    pub(crate) ends: Ends,
    pub(crate) boot_view: watch::Receiver<Arc<BootView>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) trace: Arc<Trace>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) ports: BootPorts,
}

/// Open, not yet answering.
pub(crate) struct Sockets {
    dhcp: Vec<Dhcp<Leases>>,
    tftp: Vec<Tftp>,
    http: Vec<(TcpListener, BootServer<Authority>)>,
    https: Vec<(TcpListener, Secure, BootServer<Authority>)>,
    captures: Vec<Capture>,
    forwarding: Vec<Forwarding>,
    advertise: Vec<Advertise>,
    announce: Vec<Announce>,
    neighbours: Vec<Neighbours>,
    pollers: Vec<Poller>,
    hearing: Vec<Hearing>,
    ends: Ends,
}

/// What the open sockets take from the site in force.
pub(crate) struct Settings {
    catalogue: watch::Sender<Arc<Catalogue>>,
    /// our address and the configurations, by the interface of each network that has DHCP
    dhcp: BTreeMap<String, (Ipv4Addr, watch::Sender<Vec<dhcp::Config>>)>,
    /// our address and where machines may be, by interface
    grounds: BTreeMap<String, (Ipv4Addr, watch::Sender<Ground>)>,
    local_boots: watch::Sender<Arc<LocalBootRules>>,
    ports: BootPorts,
}

impl Settings {
    /// Whether the sockets that are open for one site are those that another one needs.
    pub(crate) fn fit(old: &Site, new: &Site) -> bool {
        let opened = |network: &Network| {
            (
                network.interface.clone(),
                network.subnet,
                network.dhcp,
                network.relayed,
                network.router_advertisement,
                network.tftp_single_port,
                network.announce,
            )
        };
        old.networks().iter().map(opened).eq(new.networks().iter().map(opened))
            && opened_switches(old).eq(opened_switches(new))
            && old.https() == new.https()
    }

    /// Goes on with another site, which [fits](Self::fit).
    pub(crate) fn follow(&self, site: &Site, catalogue: Arc<Catalogue>) {
        self.catalogue.send_replace(catalogue);
        self.local_boots.send_replace(Arc::new(local_boot_rules(site)));
        for (interface, (server, configs)) in &self.dhcp {
            configs.send_replace(dhcp_configs(site, interface, *server, self.ports));
        }
        for (interface, (server, ground)) in &self.grounds {
            let networks = site.networks().iter();
            let network = networks.filter(|it| !it.relayed).find(|it| it.interface == *interface);
            if let Some(network) = network {
                ground.send_replace(ground_of(site, network, *server));
            }
        }
    }
}

/// Where the site's images lie: in its own folder, else in the daemon's state.
pub(crate) fn images_folder(site: &Site, state: &Path) -> PathBuf {
    site.images().map_or_else(|| state.join("images"), Path::to_owned)
}

/// The images, every one that a node of the site boots among them. Reads all of them, which may take seconds.
pub(crate) fn catalogue(site: &Site, state: &Path) -> anyhow::Result<Arc<Catalogue>> {
    let directory = images_folder(site, state);
    anyhow::ensure!(
        directory.is_dir(),
        "there is no images folder {}: `ichord images pull {}` fetches it, or name another with `images` in ichord.yaml",
        directory.display(),
        site.directory().display()
    );
    let catalogue = Catalogue::load(&directory)?;
    for set in site.image_sets() {
        let image = catalogue.image(&set.schematic, &set.version, set.architecture)?;
        boot::script::check_cmdline(&kernel_command_line(site, image))
            .context("kernel-args in ichord.yaml")?;
        if site.is_secure_boot(&set) {
            let file = format!("metal-{}-secureboot-uki.efi", set.architecture.name());
            let name = boot::AssetName::image(&set.schematic, &set.version, &file)?;
            anyhow::ensure!(
                catalogue.get(&name).is_some(),
                "{} has no {name}, which machines with Secure Boot start: `ichord images pull {}` fetches it",
                directory.display(),
                site.directory().display()
            );
        }
    }
    Ok(Arc::new(catalogue))
}

/// The image's own arguments, then the site's.
pub(crate) fn kernel_command_line(site: &Site, image: &Image) -> String {
    let own = image.cmdline.split_ascii_whitespace();
    own.chain(site.kernel_args().iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
}

/// Opens everything the site asks for.
pub(crate) async fn open(
    site: &Site,
    handle: &Handle,
    store: &Store,
    cluster: watch::Receiver<Arc<Cluster>>,
    links: Links,
) -> anyhow::Result<(Sockets, Settings)> {
    let Links { ends, boot_view, counters, trace, catalogue, ports } = links;
    let stored: Vec<_> = store.leases().await?.iter().filter_map(lease).collect();
    let (catalogues, catalogue) = watch::channel(catalogue);
    let (local_boots, rules) = watch::channel(Arc::new(local_boot_rules(site)));
    let mut settings = Settings {
        catalogue: catalogues,
        dhcp: BTreeMap::new(),
        grounds: BTreeMap::new(),
        local_boots,
        ports,
    };
    let local_boots = LocalBoots::new(rules, boot_view.clone());
    let authority = Arc::new(Authority {
        handle: handle.clone(),
        cluster,
        catalogue: catalogue.clone(),
        trace: Arc::clone(&trace),
    });
    let discoveries = Arc::default();
    let bootloaders = Arc::new(Bootloaders::new(catalogue.clone()));
    let mut sockets = Sockets {
        dhcp: Vec::new(),
        tftp: Vec::new(),
        http: Vec::new(),
        https: Vec::new(),
        captures: Vec::new(),
        forwarding: Vec::new(),
        advertise: Vec::new(),
        announce: Vec::new(),
        neighbours: Vec::new(),
        pollers: Vec::new(),
        hearing: Vec::new(),
        ends,
    };

    // a network behind relays comes in on the interface of another
    for network in site.networks().iter().filter(|network| !network.relayed) {
        let server = server_address(network)?;
        if network.dhcp != DhcpMode::Off {
            let (config, configs) = watch::channel(dhcp_configs(site, &network.interface, server, ports));
            settings.dhcp.insert(network.interface.clone(), (server, config));
            let links = serve::dhcp::Links {
                view: boot_view.clone(),
                local_boots: local_boots.clone(),
                sightings: sockets.ends.sightings.clone(),
                whereabouts: sockets.ends.whereabouts.clone(),
                counters: Arc::clone(&counters),
                trace: Arc::clone(&trace),
            };
            let leases = Leases(store.clone());
            let dhcp = Dhcp::bind(&network.interface, configs, stored.clone(), leases, links)?;
            dhcp.alone().await?;
            sockets.dhcp.push(dhcp);
            let single = network.tftp_single_port;
            sockets.tftp.push(listen_tftp(server, single, &bootloaders, &counters, &trace)?);
        }
        let (ground, grounds) = watch::channel(ground_of(site, network, server));
        settings.grounds.insert(network.interface.clone(), (server, ground));
        sockets.neighbours.push(Neighbours::open(
            &network.interface,
            grounds,
            boot_view.clone(),
            sockets.ends.whereabouts.clone(),
            Arc::clone(&trace),
        )?);
        let asks = network.dhcp != DhcpMode::Authoritative;
        sockets.hearing.extend(Hearing::open(&network.interface, network.subnet, asks)?);
        if network.router_advertisement {
            sockets.advertise.push(Advertise::open(&network.interface)?);
        }
        if network.announce {
            sockets.announce.push(Announce::open(&network.interface)?);
        }
        let address = SocketAddr::from((server, ports.http));
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("HTTP boot cannot listen on {address}: is another web server running on this host?")
        })?;
        let boot_server = BootServer {
            authority: Arc::clone(&authority),
            catalogue: catalogue.clone(),
            whereabouts: sockets.ends.whereabouts.clone(),
            local_boots: local_boots.clone(),
            discoveries: Arc::clone(&discoveries),
            counters: Arc::clone(&counters),
            trace: Arc::clone(&trace),
            limits: Limits::default(),
        };
        if let Some(https) = site.https() {
            sockets
                .https
                .push(listen_https(server, ports.https, &https.authority, boot_server.clone()).await?);
        }
        sockets.http.push((listener, boot_server));
    }
    for switch in site.switches().iter().filter(|switch| switch.bridge.is_some()) {
        let local = LocalSwitch {
            name: switch.name.clone(),
            bridge: switch.bridge.clone(),
            ports: switch.ports.clone(),
        };
        sockets.captures.push(Capture::open(local.clone(), Arc::clone(&counters)).await?);
        sockets.forwarding.extend(Forwarding::open(local).await?);
    }
    let asked = site.switches().iter().filter_map(|switch| Some((&switch.name, switch.snmp.as_ref()?)));
    for (name, snmp) in asked {
        let community = snmp.community.expose().clone();
        let switch = AskedSwitch { name: name.clone(), address: snmp.address, community };
        let poller = Poller::open(switch, somebody_looks(handle), Arc::clone(&counters)).await;
        sockets.pollers.push(poller.context("no socket for SNMP")?);
    }
    Ok((sockets, settings))
}

/// Switches that the daemon runs on, or asks. Of others the site only says what they are called.
fn opened_switches(site: &Site) -> impl Iterator<Item = &site::Switch> {
    site.switches().iter().filter(|switch| switch.bridge.is_some() || switch.snmp.is_some())
}

/// Whether a slot has no machine that works: then a place that is not known may be one of its machine.
fn somebody_looks(handle: &Handle) -> watch::Receiver<bool> {
    let mut published = handle.published();
    let looks = |picture: &reconciler::Published| {
        picture.view.nodes.values().any(|node| !matches!(node.state.as_str(), "configured" | "ready"))
    };
    let first = looks(&published.borrow_and_update());
    let (send, somebody) = watch::channel(first);
    // ends with the reconciler, which drops the other end
    tokio::spawn(async move {
        while published.changed().await.is_ok() {
            let now = looks(&published.borrow_and_update());
            send.send_if_modified(|before| std::mem::replace(before, now) != now);
        }
    });
    somebody
}

impl Sockets {
    /// Answers until the token is cancelled.
    pub(crate) fn spawn(self, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        for dhcp in self.dhcp {
            tasks.spawn(dhcp.run(stop.clone()));
        }
        for tftp in self.tftp {
            tasks.spawn(tftp.run(stop.clone()));
        }
        for (listener, boot_server) in self.http {
            tasks.spawn(boot_server.serve(listener, stop.clone()));
        }
        for (listener, secure, boot_server) in self.https {
            tasks.spawn(boot_server.serve_secure(listener, secure, stop.clone()));
        }
        for capture in self.captures {
            tasks.spawn(capture.run(self.ends.sightings.clone(), stop.clone()));
        }
        for advertise in self.advertise {
            tasks.spawn(advertise.run(stop.clone()));
        }
        for poller in self.pollers {
            tasks.spawn(poller.run(self.ends.sightings.clone(), stop.clone()));
        }
        for announce in self.announce {
            tasks.spawn(announce.run(stop.clone()));
        }
        for neighbours in self.neighbours {
            tasks.spawn(neighbours.run(stop.clone()));
        }
        for hearing in self.hearing {
            tasks.spawn(hearing.run(self.ends.hearsay.clone(), stop.clone()));
        }
        for forwarding in self.forwarding {
            tasks.spawn(forwarding.run(self.ends.sightings.clone(), stop.clone()));
        }
    }
}

/// On the address that our DHCP answers name, for firmware that has no HTTP.
fn listen_tftp(
    server: Ipv4Addr,
    single_port: bool,
    bootloaders: &Arc<Bootloaders>,
    counters: &Arc<Counters>,
    trace: &Arc<Trace>,
) -> anyhow::Result<Tftp> {
    let address = SocketAddr::from((server, SERVER_PORT));
    let ports = if single_port { tftp::Ports::Single } else { tftp::Ports::Own };
    let limits = tftp::Limits { ports, ..tftp::Limits::default() };
    let (files, counters, trace) = (Arc::clone(bootloaders), Arc::clone(counters), Arc::clone(trace));
    Tftp::bind(address, files, counters, trace, limits).with_context(|| {
        format!("TFTP cannot listen on {address}: is another TFTP server running on this host?")
    })
}

/// With a certificate for the address, made now.
async fn listen_https(
    server: Ipv4Addr,
    port: u16,
    authority: &CertificateAndKey,
    boot_server: BootServer<Authority>,
) -> anyhow::Result<(TcpListener, Secure, BootServer<Authority>)> {
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default();
    let ends = pki::valid_until(&authority.certificate)?;
    anyhow::ensure!(now < ends, "the authority of `https` has expired: no machine would believe it");
    if ends - now < EXPIRES_SOON {
        tracing::warn!(days = (ends - now) / (24 * 3600), "the authority of `https` expires soon");
    }
    let own = pki::boot::server(authority, server.into()).context("HTTPS boot has no certificate")?;
    let secure = Secure::new(&own, authority)?;
    let address = SocketAddr::from((server, port));
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("HTTPS boot cannot listen on {address}: is another web server running on this host?")
    })?;
    Ok((listener, secure, boot_server))
}

/// Our own address on a network: the interface's first one in the subnet.
fn server_address(network: &Network) -> anyhow::Result<Ipv4Addr> {
    let interface = Interface::named(&network.interface)?;
    let ours =
        interface.addresses.iter().map(|net| net.addr()).find(|address| network.subnet.contains(address));
    ours.with_context(|| {
        let have: Vec<String> = interface.addresses.iter().map(ToString::to_string).collect();
        format!(
            "interface {} has no address in {}, it has {}: give it one there, or mend `subnet`",
            network.interface,
            network.subnet,
            if have.is_empty() { "none".to_owned() } else { have.join(", ") }
        )
    })
}

/// The interface's own network first, then those that relays bring there.
fn dhcp_configs(site: &Site, interface: &str, server: Ipv4Addr, ports: BootPorts) -> Vec<dhcp::Config> {
    let mut networks: Vec<&Network> =
        site.networks().iter().filter(|network| network.interface == interface).collect();
    networks.sort_by_key(|network| network.relayed);
    networks.into_iter().map(|network| dhcp_config(site, network, server, ports)).collect()
}

/// Where machines of a network may be found.
fn ground_of(site: &Site, network: &Network, server: Ipv4Addr) -> Ground {
    let virtual_address = match site.plan().virtual_address {
        Some(IpAddr::V4(address)) => Some(address),
        _ => None,
    };
    let never = [server].into_iter().chain(virtual_address).chain(network.gateway).collect();
    Ground { subnet: network.subnet, never, pool: network.pool.map(|pool| (pool.first, pool.last)) }
}

fn local_boot_rules(site: &Site) -> LocalBootRules {
    let site::LocalBoots { nodes, models } = site.local_boots();
    LocalBootRules { nodes, models }
}

fn dhcp_config(site: &Site, network: &Network, server: Ipv4Addr, ports: BootPorts) -> dhcp::Config {
    let plan = site.plan();
    let v4 = |address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    let nodes: BTreeSet<Ipv4Addr> = plan.nodes.values().filter_map(|node| v4(node.address)).collect();
    let others = plan.virtual_address.into_iter().filter_map(v4).chain([server]);
    dhcp::Config {
        mode: match network.dhcp {
            DhcpMode::Authoritative => dhcp::Mode::Authoritative,
            DhcpMode::Proxy => dhcp::Mode::Proxy,
            DhcpMode::Off => dhcp::Mode::Off,
        },
        subnet: network.subnet,
        relayed: network.relayed,
        server,
        http_port: ports.http,
        https: site.https().map(|https| dhcp::Https { port: ports.https, ipxe: https.ipxe }),
        signed: site.is_secure_boot_only(),
        pool: network.pool.map(|pool| pool.first..=pool.last),
        pool_for: if network.pool_for_any { dhcp::PoolFor::Any } else { dhcp::PoolFor::NetbootClients },
        excluded: others.chain(nodes.iter().copied()).collect(),
        nodes,
        probe: true,
        gateway: network.gateway,
        dns: network.dns.clone(),
        ntp: network.ntp.clone(),
        domain: None,
        timing: dhcp::Timing::default(),
    }
}
