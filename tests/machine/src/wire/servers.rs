//! Which ports are open: after every turn they follow what the model is.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::json;
use talos_api::proto::{
    cluster::cluster_service_server::ClusterServiceServer,
    cosi::resource::state_server::StateServer,
    machine::{
        image_service_server::ImageServiceServer, lifecycle_service_server::LifecycleServiceServer,
        machine_service_server::MachineServiceServer,
    },
    securityapi::security_service_server::SecurityServiceServer,
    storage::storage_service_server::StorageServiceServer,
};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tonic::service::Routes;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    apid,
    etcd::RealEtcds,
    events::Events,
    kubelet::{self, Kubelets},
    kubernetes,
    link::Link,
    lldp,
    machine_api::Api,
    peers, pki,
    pki::Identity,
    server::{self, Clients, Server, Speaks},
    trustd::Trustd,
    world::World,
};
use crate::model::{Caller, Config, Machine, Role, ServerIdentity, fingerprint};

/// etcd's client and peer ports, and the kubelets' door to the stand-in.
const PEER_PORTS: [u16; 3] = [2379, 2380, KUBELETS];
const KUBELETS: u16 = 10250;
/// Messages up to 32 MiB (talos.md §6).
const LONGEST: usize = 32 << 20;

/// The certificate that trustd gave to this worker.
pub(super) type WorkerIdentity = Arc<Mutex<Option<Identity>>>;

/// The open ports.
pub(super) struct Servers {
    world: Arc<World>,
    events: Events,
    link: Link,
    lldp_every: Duration,
    worker: WorkerIdentity,
    /// what the API port shows now
    shown: ServerIdentity,
    machine_api: Vec<Server>,
    peers: Vec<Server>,
    api_server: Option<Server>,
    /// what the API server knows; lost with the process
    pub(super) cluster: kubernetes_stand_in::State,
    /// the real API server, where one stands behind this machine instead
    pub(super) real: Option<Kubelets>,
    /// the real etcd, where one stands behind this machine
    etcd: Option<Arc<RealEtcds>>,
    /// the etcd cluster it belongs to
    cluster_id: Option<u64>,
    lldp: Option<Server>,
    hears: Option<Server>,
}

/// What the ports depend on.
struct Wanted {
    identity: ServerIdentity,
    config: Option<Config>,
    hostname: String,
    address: Option<IpAddr>,
    control_plane: bool,
    api_server: bool,
    cluster: Option<u64>,
    lldp: bool,
    hears: bool,
}

impl Wanted {
    fn of(machine: &Machine) -> Self {
        let address = machine.address();
        let etcd = machine.storage().system.as_ref().and_then(|system| system.etcd.as_ref());
        Self {
            // nobody reaches a machine without an address
            identity: address.map_or(ServerIdentity::Closed, |_| machine.server_identity()),
            config: machine.config().cloned(),
            hostname: machine.hostname().unwrap_or_default().to_owned(),
            address,
            control_plane: machine.config().is_some_and(|config| config.role == Role::ControlPlane),
            api_server: machine.has_api_server(),
            cluster: etcd.map(|data| data.cluster.id),
            lldp: !machine.lldp_links().is_empty(),
            hears: machine.hears_lldp(),
        }
    }

    /// The names in the machine API's certificate (§3.4).
    fn names(&self) -> Vec<String> {
        let config = self.config.as_ref();
        let shared = config.into_iter().flat_map(|config| &config.virtual_addresses);
        let extra = config.into_iter().flat_map(|config| config.certificate_names.iter().cloned());
        let own = self.address.map(|address| address.to_string());
        let hostname = Some(self.hostname.clone()).filter(|name| !name.is_empty());
        own.into_iter().chain(hostname).chain(shared.map(|(_, ip)| ip.to_string())).chain(extra).collect()
    }
}

impl Servers {
    pub(super) fn new(
        world: Arc<World>,
        events: Events,
        link: Link,
        lldp_every: Duration,
        worker: WorkerIdentity,
        real: Option<Kubelets>,
        etcd: Option<Arc<RealEtcds>>,
    ) -> Self {
        Self {
            world,
            events,
            link,
            lldp_every,
            worker,
            shown: ServerIdentity::Closed,
            machine_api: Vec::new(),
            peers: Vec::new(),
            api_server: None,
            cluster: kubernetes_stand_in::State::new(),
            real,
            etcd,
            cluster_id: None,
            lldp: None,
            hears: None,
        }
    }

    /// Opens and closes what changed.
    pub(super) async fn follow(&mut self) -> anyhow::Result<()> {
        let wanted = self.world.look(Wanted::of);
        if wanted.identity != self.shown {
            for server in self.machine_api.drain(..) {
                server.stop().await;
            }
            self.open_machine_api(&wanted).await?;
            self.shown = wanted.identity.clone();
        }
        if wanted.control_plane == self.peers.is_empty() {
            for server in self.peers.drain(..) {
                server.stop().await;
            }
            // a real etcd has its ports itself
            let ours = |port: &&u16| wanted.control_plane && (self.etcd.is_none() || **port == KUBELETS);
            for port in PEER_PORTS.iter().filter(ours) {
                self.peers.push(peers::serve(*port, Arc::clone(&self.world)).await?);
            }
        }
        if wanted.api_server != self.api_server.is_some() {
            match (self.api_server.take(), &wanted.config, wanted.address) {
                (Some(server), ..) => server.stop().await,
                (None, Some(config), Some(address)) => {
                    if let Some(real) = &self.real {
                        self.api_server = Some(kubelet::pass_on(config.endpoint_port, real.server()).await?);
                    } else if let Some(ca) = &config.kubernetes_ca {
                        // it is in etcd: a reboot keeps it, another cluster does not have it
                        if self.cluster_id != wanted.cluster {
                            self.cluster = kubernetes_stand_in::State::new();
                            self.cluster_id = wanted.cluster;
                        }
                        let state = self.cluster.clone();
                        let server = kubernetes::serve(config, ca, address, &wanted.hostname, state).await?;
                        self.api_server = Some(server);
                    }
                }
                _ => {}
            }
        }
        if wanted.hears != self.hears.is_some() {
            match self.hears.take() {
                Some(listener) => listener.stop().await,
                None => self.hears = Some(lldp::hear(&self.link, Arc::clone(&self.world))?),
            }
        }
        if wanted.lldp != self.lldp.is_some() {
            match self.lldp.take() {
                Some(sender) => sender.stop().await,
                None => self.lldp = Some(lldp::send(&self.link, &wanted.hostname, self.lldp_every)?),
            }
        }
        Ok(())
    }

    async fn open_machine_api(&mut self, wanted: &Wanted) -> anyhow::Result<()> {
        let api = Api(Arc::clone(&self.world), self.events.clone(), self.etcd.clone());
        let routes = Routes::new(MachineServiceServer::new(api.clone()).max_decoding_message_size(LONGEST))
            .add_service(StorageServiceServer::new(api.clone()))
            .add_service(ClusterServiceServer::new(api.clone()))
            .add_service(ImageServiceServer::new(api.clone()))
            .add_service(LifecycleServiceServer::new(api.clone()))
            .add_service(StateServer::new(api));
        let counted = axum::middleware::from_fn_with_state(Arc::clone(&self.world), apid::count);
        let router = routes.into_axum_router().layer(counted);
        match &wanted.identity {
            ServerIdentity::Closed => {}
            ServerIdentity::Maintenance { .. } => {
                let identity = pki::maintenance(&wanted.names())?;
                let print = identity.chain.first().and_then(pki::fingerprint);
                let route = move |_: &TlsStream<TcpStream>| Some(router.clone());
                let server = server::serve(50000, identity, Clients::Anybody, Speaks::Http2, route).await?;
                self.machine_api.push(server);
                self.events.say("machine-api", json!({ "mode": "maintenance", "fingerprint": print }));
            }
            ServerIdentity::Issued { ca } => {
                let Some(config) = &wanted.config else { return Ok(()) };
                let identity = if wanted.control_plane {
                    pki::talos_server(&config.os_ca, &wanted.names())?
                } else {
                    let given = self.worker.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    let Some(given) = given else { return Ok(()) };
                    given
                };
                let ca = ca.clone();
                let passes_on = axum::middleware::from_fn_with_state(Arc::clone(&self.world), apid::route);
                let router = router.layer(passes_on);
                let route = move |stream: &TlsStream<TcpStream>| {
                    Some(router.clone().layer(axum::Extension(caller(stream, &ca)?)))
                };
                let clients = Clients::Of(config.os_ca.certificate.clone());
                let server = server::serve(50000, identity.clone(), clients, Speaks::Http2, route).await?;
                self.machine_api.push(server);
                if wanted.control_plane {
                    let trustd = SecurityServiceServer::new(Trustd(Arc::clone(&self.world)));
                    let router = Routes::new(trustd).into_axum_router();
                    let route = move |_: &TlsStream<TcpStream>| Some(router.clone());
                    self.machine_api
                        .push(server::serve(50001, identity, Clients::Anybody, Speaks::Http2, route).await?);
                }
                self.events.say("machine-api", json!({ "mode": "configured", "ca": ca_name(config) }));
            }
        }
        Ok(())
    }
}

fn ca_name(config: &Config) -> String {
    fingerprint(&config.os_ca.certificate)
}

/// Who is at the other end; nobody when its certificate is for anything but being a client (talos.md §3.3).
fn caller(stream: &TlsStream<TcpStream>, ca: &str) -> Option<Caller> {
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates()?.first()?;
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let usage = certificate.extended_key_usage().ok()??.value;
    let others =
        usage.any || usage.server_auth || usage.code_signing || usage.email_protection || usage.time_stamping;
    if !usage.client_auth || others || usage.ocsp_signing || !usage.other.is_empty() {
        return None;
    }
    let organizations = certificate.subject().iter_organization();
    let roles = organizations.filter_map(|role| role.as_str().ok().map(str::to_owned)).collect();
    Some(Caller::Client { ca: ca.to_owned(), roles })
}
