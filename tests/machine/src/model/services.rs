//! ServiceList, and what it means for the machine's readiness (talos.md §8.1, §9.1, §9.7).

use super::{config::Role, machine::Machine, node::Etcd, request::Service};

fn service(id: &str, state: &str, healthy: Option<bool>, message: &str) -> Service {
    Service { id: id.to_owned(), state: state.to_owned(), healthy, message: message.to_owned() }
}

/// A service of Talos's own that is up when its cause is.
fn plain(id: &str, up: bool) -> Service {
    if up {
        service(id, "Running", Some(true), "Health check successful")
    } else {
        service(id, "Waiting", None, "Waiting for service \"cri\" to be \"up\"")
    }
}

impl Machine {
    /// ServiceList, by id.
    pub(crate) fn services(&self, now: u64) -> Vec<Service> {
        let Some(node) = self.node() else {
            return ["apid", "containerd", "machined", "udevd"].iter().map(|id| plain(id, true)).collect();
        };
        let control_plane = node.config.role == Role::ControlPlane;
        let mut services = vec![
            plain("apid", node.apid),
            plain("auditd", true),
            plain("containerd", true),
            plain("cri", node.cri),
            plain("dashboard", true),
        ];
        if control_plane {
            services.push(self.etcd_service(now));
        }
        for (name, runs) in node.extension_services() {
            let id = format!("ext-{name}");
            services.push(if runs {
                service(&id, "Running", None, "Started task")
            } else {
                service(&id, "Waiting", None, "Waiting for extension service config")
            });
        }
        services.extend([plain("kubelet", node.cri), plain("machined", true), plain("syslogd", true)]);
        if control_plane {
            services.push(plain("trustd", node.apid));
        }
        services.push(plain("udevd", true));
        services
    }

    fn etcd_service(&self, now: u64) -> Service {
        match self.node().map(|node| &node.etcd) {
            Some(Etcd::Preparing { bootstrap: false }) => {
                service("etcd", "Preparing", None, "Running pre state")
            }
            Some(Etcd::Preparing { bootstrap: true }) => {
                service("etcd", "Preparing", None, "Creating service runner")
            }
            Some(Etcd::Starting { .. }) => service("etcd", "Running", None, "Started task"),
            Some(Etcd::Running { .. }) => {
                let healthy = self.etcd_is_healthy(now);
                let message = if healthy { "Health check successful" } else { "context deadline exceeded" };
                service("etcd", "Running", Some(healthy), message)
            }
            Some(Etcd::Failed { reason }) => service("etcd", "Failed", Some(false), reason),
            Some(Etcd::Waiting | Etcd::Absent) | None => {
                service("etcd", "Waiting", None, "Waiting for service \"cri\" to be \"up\", time sync")
            }
        }
    }

    /// Services that keep the boot sequence from ending.
    pub(crate) fn unstarted(&self, now: u64) -> Vec<String> {
        let up = |service: &Service| {
            service.state == "Running" && (service.healthy == Some(true) || service.id.starts_with("ext-"))
        };
        self.services(now).into_iter().filter(|service| !up(service)).map(|service| service.id).collect()
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
        let problem = |service: Service| match (service.state.as_str(), service.healthy) {
            ("Running", Some(false)) => Some(format!("{} not healthy", service.id)),
            ("Running", _) => None,
            _ => Some(format!("{} not running", service.id)),
        };
        let problems: Vec<String> = self.services(now).into_iter().filter_map(problem).collect();
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
