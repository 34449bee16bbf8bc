//! The API server of a control plane: the Kubernetes stand-in behind the cluster's own TLS.

use std::net::IpAddr;

use kubernetes_stand_in::{Node, State, StaticPod, router};

use super::{
    pki,
    server::{self, Clients, Server, Speaks},
};
use crate::model::{Authority, Config, NodeReport, manifests};

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
    bring(&state, config);
    let app = router(state);
    let clients = Clients::Of(ca.certificate.clone());
    server::serve(config.endpoint_port, identity, clients, Speaks::Http1, move |_| Some(app.clone())).await
}

/// What Talos puts into a cluster where it is missing; what is there already it leaves alone.
fn bring(state: &State, config: &Config) {
    for (_, objects) in manifests(config) {
        for object in objects.as_array().into_iter().flatten() {
            let text =
                |pointer| object.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default();
            let (kind, namespace, name) =
                (text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
            if state.object(kind, namespace, name).is_none() {
                // what this API server does not know, nobody here asks for
                state.apply_as("talos", object).ok();
            }
        }
    }
}

/// A kubelet's word.
pub(super) fn register(state: &State, report: &NodeReport) {
    let node = Node {
        name: report.name.clone(),
        addresses: report.addresses.clone(),
        control_plane: report.control_plane,
        ready: report.ready,
        boot_id: report.boot_id.clone(),
    };
    state.register_kubelet(&node, &report.kubelet);
    let pods = report.static_pods.iter();
    let pods: Vec<StaticPod> = pods
        .map(|pod| StaticPod { component: pod.component.clone(), image: pod.image.clone(), ready: pod.ready })
        .collect();
    state.register_static_pods(&report.name, &pods);
}
