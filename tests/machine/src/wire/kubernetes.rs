//! The API server of a control plane: the Kubernetes stand-in behind the cluster's own TLS.

use std::net::IpAddr;

use kubernetes_stand_in::{Node, State, router};

use super::{
    pki,
    server::{self, Clients, Server, Speaks},
};
use crate::model::{Authority, Config, NodeReport};

/// Serves the stand-in on 6443 to holders of a client certificate of the Kubernetes CA. The certificate names
/// the endpoint and the virtual addresses, as Talos's does (talos.md §2.5).
pub(super) async fn serve(
    config: &Config,
    ca: &Authority,
    address: IpAddr,
    hostname: &str,
    state: State,
) -> anyhow::Result<Server> {
    let mut names = vec![address.to_string(), hostname.to_owned(), config.endpoint_host.clone()];
    names.extend(
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"].map(str::to_owned),
    );
    names.extend(config.virtual_addresses.iter().map(|(_, address)| address.to_string()));
    let identity = pki::kubernetes_server(ca, &names)?;
    let app = router(state);
    let clients = Clients::Of(ca.certificate.clone());
    server::serve(config.endpoint_port, identity, clients, Speaks::Http1, move |_| Some(app.clone())).await
}

/// A kubelet's word.
pub(super) fn register(state: &State, report: &NodeReport) {
    state.register_node(&Node {
        name: report.name.clone(),
        addresses: report.addresses.clone(),
        control_plane: report.control_plane,
        ready: report.ready,
        boot_id: report.boot_id.clone(),
    });
    if report.control_plane {
        state.register_static_pods(&report.name);
    }
}
