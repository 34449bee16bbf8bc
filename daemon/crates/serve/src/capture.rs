//! LLDP heard on the daemon's own ports: a Linux switch, a hypervisor's taps, the lab.
//!
//! Owned by the app, which opens it before anything is served. [`Capture::run`] has one task per port; each ends on
//! the token or when nobody takes sightings any more, and holds nothing that a cancelled task would lose. A machine
//! announces itself only once a system with LLDP runs on it, so this confirms what other sources said.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hardware::MacAddr;
use identity::{Marks, Port, Sighting, Source};
use lldp::{Change, Frame, Neighbours};
use net::{
    forwarding::{Event, ForwardingError, Watch},
    frame::{FrameError, FrameSocket, LLDP_GROUPS},
    interface::{Interface, InterfaceError},
};
use tokio::{sync::mpsc::Sender, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{clock::now, counters::Counters};

/// How often an interface that went away is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Subtype of a chassis id that is a MAC address (802.1AB-2016 table 8-2).
const CHASSIS_MAC: u8 = 4;
/// Subtype of a port id that is a MAC address (802.1AB-2016 table 8-3).
const PORT_MAC: u8 = 3;

/// A switch that runs on the daemon's own host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalSwitch {
    /// the switch's name in the site file
    pub name: String,
    /// the Linux bridge that switches, if there is one
    pub bridge: Option<String>,
    /// port name → interface; empty means every port of the bridge under its interface's name
    pub ports: BTreeMap<String, String>,
}

impl LocalSwitch {
    /// The name of the port that an interface is; `None` when the interface is none of the switch's ports.
    pub fn port_of<'a>(&'a self, interface: &'a str) -> Option<&'a str> {
        if self.ports.is_empty() {
            return Some(interface);
        }
        self.ports.iter().find(|(_, on)| *on == interface).map(|(port, _)| port.as_str())
    }
}

/// The ports cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// a packet socket
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// the bridge whose ports are meant
    #[error(transparent)]
    Bridge(#[from] ForwardingError),
}

/// The open sockets of a switch's ports.
pub struct Capture {
    switch: LocalSwitch,
    /// tells of ports that come later, when the site file does not list them
    bridge: Option<Watch>,
    ports: Vec<Listener>,
    counters: Arc<Counters>,
}

impl Capture {
    /// Opens a socket on every port that exists. Counts `frames`, `malformed`, `crowded` and `lost` under `lldp`. A listed
    /// port that does not exist yet is waited for.
    ///
    /// # Errors
    /// When packet sockets are not permitted, or the bridge does not exist.
    pub async fn open(switch: LocalSwitch, counters: Arc<Counters>) -> Result<Self, CaptureError> {
        let mut capture = Self { switch, bridge: None, ports: Vec::new(), counters };
        if let Some(bridge) = capture.switch.bridge.as_ref().filter(|_| capture.switch.ports.is_empty()) {
            let watch = Watch::open(bridge).await?;
            for port in watch.ports() {
                capture.ports.push(capture.listener(&port.name, &port.name)?);
            }
            capture.bridge = Some(watch);
        }
        for (port, interface) in &capture.switch.ports {
            capture.ports.push(capture.listener(port, interface)?);
        }
        Ok(capture)
    }

    fn listener(&self, port: &str, interface: &str) -> Result<Listener, FrameError> {
        let socket = match listen(interface) {
            Err(FrameError::Interface(InterfaceError::Missing { .. })) => {
                tracing::warn!(
                    switch = self.switch.name,
                    port,
                    interface,
                    "port is not there yet, waiting for it"
                );
                None
            }
            opened => Some(opened?),
        };
        Ok(Listener {
            port: Port::local(&self.switch.name, port),
            interface: interface.to_owned(),
            socket,
            counters: Arc::clone(&self.counters),
        })
    }

    /// Sends a sighting for every announcement, until the token is cancelled.
    pub async fn run(mut self, sightings: Sender<Sighting>, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        let mut running: BTreeMap<String, CancellationToken> = BTreeMap::new();
        for listener in std::mem::take(&mut self.ports) {
            let stop = stop.child_token();
            running.insert(listener.interface.clone(), stop.clone());
            tasks.spawn(listener.run(sightings.clone(), stop));
        }
        while let Some(mut watch) = self.bridge.take() {
            let Some(Ok(event)) = stop.run_until_cancelled(watch.next()).await else { break };
            self.bridge = Some(watch);
            match event {
                Event::Port(port) if !running.contains_key(&port.name) => {
                    match self.listener(&port.name, &port.name) {
                        Ok(listener) => {
                            let stop = stop.child_token();
                            running.insert(port.name, stop.clone());
                            tasks.spawn(listener.run(sightings.clone(), stop));
                        }
                        Err(error) => tracing::warn!(port = port.name, %error, "cannot listen on a new port"),
                    }
                }
                Event::PortRemoved(port) => {
                    if let Some(stop) = running.remove(&port.name) {
                        stop.cancel();
                    }
                }
                _ => {}
            }
        }
        while tasks.join_next().await.is_some() {}
    }
}

fn listen(interface: &str) -> Result<FrameSocket, FrameError> {
    FrameSocket::open(interface, lldp::ETHERTYPE, &LLDP_GROUPS)
}

/// One port.
struct Listener {
    port: Port,
    interface: String,
    socket: Option<FrameSocket>,
    counters: Arc<Counters>,
}

impl Listener {
    async fn run(mut self, sightings: Sender<Sighting>, stop: CancellationToken) {
        let mut neighbours = Neighbours::default();
        while let Some(Some(bytes)) = stop.run_until_cancelled(self.frame()).await {
            let Some(sighting) = self.sighting(&bytes, &mut neighbours, now()) else { continue };
            match stop.run_until_cancelled(sightings.send(sighting)).await {
                Some(Ok(())) => {}
                _ => break,
            }
        }
    }

    /// The next frame; waits for the interface when it is gone. `None` when it can never be listened on.
    async fn frame(&mut self) -> Option<Vec<u8>> {
        loop {
            let Some(socket) = &self.socket else {
                match listen(&self.interface) {
                    Ok(socket) => self.socket = Some(socket),
                    Err(FrameError::Interface(InterfaceError::Missing { .. })) => sleep(LOOK).await,
                    Err(error) => {
                        tracing::error!(port = %self.port, %error, "LLDP is no longer heard on this port");
                        return None;
                    }
                }
                continue;
            };
            match socket.recv().await {
                Ok(frame) => {
                    let lost = socket.lost().unwrap_or_default();
                    self.counters.add_many("lldp", "lost", u64::from(lost));
                    return Some(frame);
                }
                Err(error) => {
                    tracing::debug!(port = %self.port, %error, "the port went down");
                    if let Some(frame) = heard_again(socket).await {
                        return Some(frame);
                    }
                    self.socket = None;
                }
            }
        }
    }

    /// What a frame says, if it is worth telling.
    fn sighting(&self, bytes: &[u8], neighbours: &mut Neighbours, now: u64) -> Option<Sighting> {
        self.counters.add("lldp", "frames");
        let frame = match Frame::parse(bytes) {
            Ok(frame) => frame,
            Err(error) => {
                self.counters.add("lldp", "malformed");
                tracing::debug!(port = %self.port, %error, "LLDP frame dropped");
                return None;
            }
        };
        neighbours.expire(now);
        let sighting = sighting(&self.port, &frame, now);
        match neighbours.heard(&self.interface, frame, now) {
            Change::TooMany => {
                self.counters.add("lldp", "crowded");
                tracing::debug!(port = %self.port, "LLDP frame dropped: too many neighbours on the port");
                None
            }
            Change::Nothing => None,
            change => {
                if change != Change::Refreshed {
                    tracing::info!(port = %self.port, machine = %sighting.machine, raw = sighting.raw, ?change, "LLDP neighbour");
                }
                Some(sighting)
            }
        }
    }
}

/// The first frame after the interface went down, when it comes back; `None` when it was deleted, and this socket
/// with it, even if another of the same name is there.
async fn heard_again(socket: &FrameSocket) -> Option<Vec<u8>> {
    let was = socket.interface();
    let gone = async {
        while Interface::named(&was.name).is_ok_and(|is| is.index == was.index) {
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        frame = async {
            loop {
                if let Ok(frame) = socket.recv().await {
                    return frame;
                }
            }
        } => Some(frame),
        () = gone => None,
    }
}

/// The sighting that an announcement on a port is. Its sender is whatever it calls itself: the sending address, and
/// a chassis or port id that is an address.
fn sighting(port: &Port, frame: &Frame, now: u64) -> Sighting {
    let said = &frame.announcement;
    let address = |id: &[u8]| <[u8; 6]>::try_from(id).ok().map(MacAddr);
    let mut machine = Marks::of_mac(frame.source);
    machine.macs.extend(address(&said.chassis.id).filter(|_| said.chassis.subtype == CHASSIS_MAC));
    machine.macs.extend(address(&said.port.id).filter(|_| said.port.subtype == PORT_MAC));
    Sighting {
        lifetime: Duration::from_secs(u64::from(said.ttl)),
        raw: format!(
            "chassis {} (subtype {}), port {} (subtype {}), system {:?}",
            said.chassis,
            said.chassis.subtype,
            said.port,
            said.port.subtype,
            said.system_name.as_deref().unwrap_or_default()
        ),
        ..Sighting::new(Source::Lldp, machine, now).on(Some(frame.source), port.clone())
    }
}
