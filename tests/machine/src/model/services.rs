//! ServiceList, and what it means for the machine's readiness (talos.md §8.1, §9.1, §9.7).

use super::{
    config::{Part, Role},
    machine::Machine,
    node::Etcd,
    request::Service,
};

/// A service as it is told. A machine looks at its services whenever anything happens, so no text is copied here.
struct Told<'a> {
    id: &'static str,
    state: &'static str,
    healthy: Option<bool>,
    message: &'a str,
}

fn told<'a>(id: &'static str, state: &'static str, healthy: Option<bool>, message: &'a str) -> Told<'a> {
    Told { id, state, healthy, message }
}

/// A service of Talos's own that is up when its cause is.
fn plain(id: &'static str, up: bool) -> Told<'static> {
    if up {
        told(id, "Running", Some(true), "Health check successful")
    } else {
        told(id, "Waiting", None, "Waiting for service \"cri\" to be \"up\"")
    }
}

impl Told<'_> {
    /// It does not keep the boot sequence from ending.
    fn is_started(&self) -> bool {
        self.state == "Running" && (self.healthy == Some(true) || self.id.starts_with("ext-"))
    }

    /// What MachineStatus says of it.
    fn problem(&self) -> Option<&'static str> {
        match (self.state, self.healthy) {
            ("Running", Some(false)) => Some("not healthy"),
            ("Running", _) => None,
            _ => Some("not running"),
        }
    }
}

impl Machine {
    /// ServiceList, by id.
    pub(crate) fn services(&self, now: u64) -> Vec<Service> {
        let mut services = Vec::new();
        self.each_service(now, &mut |Told { id, state, healthy, message }: Told<'_>| {
            services.push(Service { id: id.into(), state: state.into(), healthy, message: message.into() });
        });
        services
    }

    /// Every service by id.
    fn each_service(&self, now: u64, look: &mut dyn FnMut(Told<'_>)) {
        let Some(node) = self.node() else {
            ["apid", "containerd", "machined", "udevd"].iter().for_each(|id| look(plain(id, true)));
            return;
        };
        let control_plane = node.config.role == Role::ControlPlane;
        look(plain("apid", node.apid));
        look(plain("auditd", true));
        look(plain("containerd", true));
        look(plain("cri", node.cri));
        look(plain("dashboard", true));
        if control_plane {
            look(self.etcd_service(now));
        }
        for (id, runs) in node.extension_services() {
            look(if runs {
                told(id, "Running", None, "Started task")
            } else {
                told(id, "Waiting", None, "Waiting for extension service config")
            });
        }
        look(match node.is_up(Part::Kubelet) {
            true => plain("kubelet", node.cri),
            false => told("kubelet", "Preparing", None, "Running pre state"),
        });
        look(plain("machined", true));
        look(plain("syslogd", true));
        if control_plane {
            look(plain("trustd", node.apid));
        }
        look(plain("udevd", true));
    }

    fn etcd_service(&self, now: u64) -> Told<'_> {
        match self.node().map(|node| &node.etcd) {
            Some(Etcd::Preparing { bootstrap: false }) => {
                told("etcd", "Preparing", None, "Running pre state")
            }
            Some(Etcd::Preparing { bootstrap: true }) => {
                told("etcd", "Preparing", None, "Creating service runner")
            }
            Some(Etcd::Starting { .. }) => told("etcd", "Running", None, "Started task"),
            Some(Etcd::Running { .. }) => {
                let healthy = self.etcd_is_healthy(now);
                let message = if healthy { "Health check successful" } else { "context deadline exceeded" };
                told("etcd", "Running", Some(healthy), message)
            }
            Some(Etcd::Finished) => told("etcd", "Finished", None, "Service finished successfully"),
            Some(Etcd::Failed { reason }) => told("etcd", "Failed", Some(false), reason),
            Some(Etcd::Waiting | Etcd::Absent) | None => {
                told("etcd", "Waiting", None, "Waiting for service \"cri\" to be \"up\", time sync")
            }
        }
    }

    /// Whether no service keeps the boot sequence from ending.
    pub(crate) fn all_started(&self, now: u64) -> bool {
        let mut all = true;
        self.each_service(now, &mut |service| all &= service.is_started());
        all
    }

    /// Whether MachineStatus has no unmet condition.
    pub(crate) fn is_ready(&self, now: u64) -> bool {
        let Some(node) = self.node() else { return true };
        let api_server = node.api_server || node.config.role != Role::ControlPlane;
        let mut ready = node.time_synced && node.node_ready && api_server;
        if ready {
            self.each_service(now, &mut |service| ready &= service.problem().is_none());
        }
        ready
    }

    /// MachineStatus's unmet conditions: name and reason (§9.6, §9.7).
    pub(crate) fn unmet_conditions(&self, now: u64) -> Vec<(&'static str, String)> {
        let Some(node) = self.node() else {
            return Vec::new();
        };
        let mut unmet = Vec::new();
        if !node.time_synced {
            unmet.push(("time", "time is not synced".to_owned()));
        }
        let mut problems = Vec::new();
        self.each_service(now, &mut |service| {
            problems.extend(service.problem().map(|problem| format!("{} {problem}", service.id)));
        });
        if !problems.is_empty() {
            unmet.push(("services", problems.join(", ")));
        }
        if node.config.role == Role::ControlPlane && !node.api_server {
            unmet.push(("staticPods", format!("kube-system/kube-apiserver-{} not ready", node.hostname)));
        }
        if !node.node_ready {
            unmet.push(("nodeReady", format!("node {:?} status is not ready", node.hostname)));
        }
        unmet
    }
}
