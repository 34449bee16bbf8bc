//! The machine API: who may call what, in which order a call is checked, and the texts of refusal
//! (talos.md §6.3, §6.7, §6.10, §9.2).

use std::collections::BTreeSet;

use super::{
    config::{Config, Role},
    etcd_calls::{LEAVE_TRIES, NO_LEADER},
    machine::{Machine, State},
    node::{Leave, Timer},
    request::{ApplyMode, Request, Response},
    status::{Caller, Code, Status},
};

/// How long a TRY lasts when nobody confirms it (talos.md §1.5), in milliseconds.
const TRIAL: u64 = 60_000;

impl Machine {
    /// A call to the machine API.
    ///
    /// # Errors
    /// The gRPC status of the real thing; [`Code::Unavailable`] where TCP or TLS would fail.
    pub fn call(&mut self, caller: &Caller, request: Request, now: u64) -> Result<Response, Status> {
        let answer = match &self.state {
            State::Maintenance { .. } => self.call_maintenance(request, now),
            State::Configured(node) if node.apid => {
                let roles = roles_of(caller, &node.config.os_ca.fingerprint)?;
                if !allowed(&request, &roles) {
                    return Err(Status::not_authorized());
                }
                self.call_configured(request, &roles, now)
            }
            _ => Err(unavailable("connection refused")),
        };
        if matches!(self.state, State::Configured(_)) {
            self.settle(now);
        }
        answer
    }

    /// Whether this caller may ask this of a machine with its config.
    pub(super) fn admits(&self, caller: &Caller, request: &Request) -> Result<(), Status> {
        match &self.state {
            State::Maintenance { .. } => Err(Status::not_authorized()),
            State::Configured(node) if node.apid => {
                match allowed(request, &roles_of(caller, &node.config.os_ca.fingerprint)?) {
                    true => Ok(()),
                    false => Err(Status::not_authorized()),
                }
            }
            _ => Err(unavailable("connection refused")),
        }
    }

    /// In maintenance everybody is a reader who may also apply a config; a client certificate is not
    /// even asked for (§6.7, as of 1.13).
    fn call_maintenance(&mut self, request: Request, now: u64) -> Result<Response, Status> {
        let reader = BTreeSet::from(["os:reader".to_owned()]);
        match request {
            Request::ApplyConfiguration { data, dry_run, .. } => {
                self.apply_in_maintenance(&data, dry_run, now)
            }
            request if allowed(&request, &reader) => self.read(request, &reader, now),
            _ => Err(Status::not_authorized()),
        }
    }

    fn apply_in_maintenance(&mut self, data: &[u8], dry_run: bool, now: u64) -> Result<Response, Status> {
        if let State::Maintenance { accepted: Some(_), .. } = &self.state {
            return Err(Status::new(
                Code::FailedPrecondition,
                "configuration was already applied and node is rebooting, cannot apply more configuration \
                 changes until next reboot",
            ));
        }
        // REBOOT is turned into NO_REBOOT here (1.13)
        let mode = ApplyMode::NoReboot;
        let config = Config::read(data, Some(&self.hardware.disks))?;
        if dry_run {
            let details =
                "Dry run summary:\nApplied configuration without a reboot (skipped in dry-run).".to_owned();
            return Ok(Response::Applied { mode, details });
        }
        // a config without the v1alpha1 document is legal and leaves the machine where it is (§2.1)
        if let Some(config) = config {
            self.accept(config, now);
        }
        Ok(Response::Applied { mode, details: "Applied configuration without a reboot".to_owned() })
    }

    fn call_configured(
        &mut self,
        request: Request,
        roles: &BTreeSet<String>,
        now: u64,
    ) -> Result<Response, Status> {
        match request {
            Request::ApplyConfiguration { data, mode, dry_run } => {
                self.apply_configured(&data, mode, dry_run, now)
            }
            Request::Bootstrap => self.call_bootstrap(now),
            Request::EtcdRecover { snapshot } => self.keep_snapshot(snapshot),
            Request::BootstrapRecovered => self.bootstrap_recovered(now),
            Request::Reboot { power_cycle } => {
                self.leave_soon(Leave::Reboot { through_firmware: power_cycle }, now);
                Ok(Response::Accepted)
            }
            Request::PacketCapture => Ok(Response::Accepted),
            Request::Shutdown => {
                self.leave_soon(Leave::PowerOff, now);
                Ok(Response::Accepted)
            }
            Request::ImagePull { reference } => self.pull(&reference),
            Request::InstallUpgrade { reference } => self.begin_upgrade(&reference, now),
            Request::Upgrade { reference } => self.upgrade_itself(&reference, now),
            Request::Reset { graceful, reboot, partitions } => self.reset(graceful, reboot, partitions, now),
            Request::EtcdRemoveMember { id } => {
                self.control_plane_only("etcd remove member")?;
                self.remove_member(id, now)
            }
            Request::EtcdLeave => self.leave_etcd(now),
            Request::EtcdForfeit => self.forfeit(now),
            request => self.read(request, roles, now),
        }
    }

    /// Calls that change nothing.
    fn read(&self, request: Request, roles: &BTreeSet<String>, now: u64) -> Result<Response, Status> {
        match request {
            Request::Version => {
                let tag = self.os().map(|os| os.image.version.clone()).unwrap_or_default();
                Ok(Response::Version { tag })
            }
            Request::Hostname => Ok(Response::Hostname(self.hostname().unwrap_or_default().to_owned())),
            Request::ServiceList => Ok(Response::Services(self.services(now))),
            Request::Memory => Ok(Response::Memory { bytes: self.hardware.memory }),
            Request::Disks => Ok(Response::Disks {
                disks: self.hardware.disks.clone(),
                system: self.storage.system.as_ref().map(|system| system.dev_path.clone()),
            }),
            Request::Get { namespace, kind, id } => {
                let found = self.resources(&namespace, &kind, roles, now)?;
                let one: Vec<_> = found.into_iter().filter(|resource| resource.id == id).collect();
                if one.is_empty() {
                    let text = format!("resource {kind}({namespace}/{id}@undefined) doesn't exist");
                    return Err(Status::new(Code::NotFound, text));
                }
                Ok(Response::Resources(one))
            }
            Request::List { namespace, kind } => {
                Ok(Response::Resources(self.resources(&namespace, &kind, roles, now)?))
            }
            Request::EtcdMemberList { local } => {
                self.control_plane_only("member list")?;
                let data = self.running_etcd()?;
                let learns = data.cluster.members.get(&data.me).is_some_and(|member| member.learner);
                // its own etcd does not tell; without `local` Talos asks the other control planes
                if local && learns {
                    let text = "etcdserver: rpc not supported for learner";
                    return Err(Status::new(Code::Unknown, text));
                }
                // Talos wants a leader also where it asks the own member only (`WithRequireLeader`)
                if self.leader(now).is_none() {
                    return Err(Status::new(Code::Unknown, NO_LEADER));
                }
                let members = data.cluster.members.iter().map(|(&id, member)| (id, member.clone())).collect();
                Ok(Response::Members(members))
            }
            Request::EtcdStatus => {
                self.control_plane_only("etcd status")?;
                let data = self.running_etcd()?;
                Ok(Response::EtcdStatus {
                    member: data.me,
                    leader: self.leader(now).unwrap_or(0),
                    learner: data.cluster.members.get(&data.me).is_some_and(|member| member.learner),
                    index: data.cluster.revision,
                })
            }
            Request::EtcdSnapshot => self.snapshot(),
            Request::Kubeconfig => {
                self.control_plane_only("kubeconfig")?;
                Ok(Response::Kubeconfig)
            }
            Request::Events => Ok(Response::Accepted),
            Request::Read { path } => match (path.as_str(), self.boot_id()) {
                ("/proc/sys/kernel/random/boot_id", Some(id)) => Ok(Response::File(format!("{id}\n"))),
                _ => Err(Status::new(Code::Unknown, format!("stat {path}: no such file or directory"))),
            },
            Request::HealthCheck => {
                self.control_plane_only("cluster health check")?;
                Ok(Response::Accepted)
            }
            _ => Err(Status::not_authorized()),
        }
    }

    fn apply_configured(
        &mut self,
        data: &[u8],
        mode: ApplyMode,
        dry_run: bool,
        now: u64,
    ) -> Result<Response, Status> {
        let recent = self.os().is_some_and(|os| is_at_least(&os.image.version, (1, 14)));
        if recent && mode == ApplyMode::Reboot {
            let text = "the REBOOT mode is not supported, please use AUTO or NO_REBOOT modes instead";
            return Err(Status::new(Code::Unimplemented, text));
        }
        let Some(config) = Config::read(data, Some(&self.hardware.disks))? else {
            let text = "the applied machine configuration doesn't contain v1alpha1 config";
            return Err(Status::new(Code::InvalidArgument, text));
        };
        let needs_boot = !recent && self.node().is_some_and(|node| config.needs_boot_after(&node.config));
        let used = match mode {
            ApplyMode::Auto if needs_boot => ApplyMode::Reboot,
            ApplyMode::Auto => ApplyMode::NoReboot,
            ApplyMode::NoReboot if needs_boot => {
                let text = "this config change can't be applied in immediate mode";
                return Err(Status::new(Code::InvalidArgument, text));
            }
            mode => mode,
        };
        if dry_run {
            return Ok(Response::Applied { mode: used, details: "Dry run summary:".to_owned() });
        }
        let text = config.text.clone();
        if mode != ApplyMode::Try
            && let Some(system) = &mut self.storage.system
        {
            system.state = Some(text);
        }
        let (details, trial) = match used {
            ApplyMode::Reboot => ("Applied configuration with a reboot", false),
            ApplyMode::Staged => ("Staged configuration to be applied after the next reboot", false),
            ApplyMode::Try => ("Applied configuration temporarily", true),
            ApplyMode::Auto | ApplyMode::NoReboot => ("Applied configuration without a reboot", false),
        };
        if used == ApplyMode::Reboot {
            self.leave_soon(Leave::Reboot { through_firmware: false }, now);
        } else if used != ApplyMode::Staged
            && let Some(node) = self.node_mut()
        {
            let before = std::mem::replace(&mut node.config, config);
            node.before_trial = if trial { Some(node.before_trial.take().unwrap_or(before)) } else { None };
            self.parts_follow(now);
        }
        if trial {
            self.after_exactly(now, TRIAL, super::machine::Timer::Node(Timer::TrialOver));
        }
        Ok(Response::Applied { mode: used, details: details.to_owned() })
    }

    /// The checks of §9.2 in their order.
    pub(super) fn call_bootstrap(&mut self, now: u64) -> Result<Response, Status> {
        let refuse = |code, text: &str| Err(Status::new(code, text));
        let has_data = self.data().is_some();
        let Some(node) = self.node() else {
            return Err(Status::not_authorized());
        };
        if !node.cri {
            return refuse(Code::FailedPrecondition, "bootstrap is not available yet");
        }
        if node.config.role == Role::Worker {
            return refuse(Code::Unimplemented, "bootstrap is only available on control plane nodes");
        }
        if !node.config.has_etcd_ca {
            return refuse(Code::InvalidArgument, "etcd is not configured, bootstrap is not possible");
        }
        if !node.time_synced {
            return refuse(Code::FailedPrecondition, "time is not in sync yet");
        }
        if has_data {
            return refuse(Code::AlreadyExists, "etcd data directory is not empty");
        }
        self.bootstrap(now);
        Ok(Response::Accepted)
    }

    fn reset(
        &mut self,
        graceful: bool,
        reboot: bool,
        partitions: BTreeSet<String>,
        now: u64,
    ) -> Result<Response, Status> {
        let mut leaves_etcd = None;
        if graceful && let Ok(data) = self.running_etcd() {
            let me = data.me;
            // the last member cannot leave (§6.9)
            self.remove_member(me, now)?;
            leaves_etcd = Some(LEAVE_TRIES);
        }
        self.leave_soon(Leave::Reset { partitions, reboot, leaves_etcd }, now);
        Ok(Response::Accepted)
    }

    pub(super) fn control_plane_only(&self, what: &str) -> Result<(), Status> {
        match self.node() {
            Some(node) if node.config.role == Role::ControlPlane => Ok(()),
            _ => {
                let text = format!("{what} is only available on control plane nodes");
                Err(Status::new(Code::Unimplemented, text))
            }
        }
    }
}

fn unavailable(why: &str) -> Status {
    Status::new(Code::Unavailable, format!("connection error: {why}"))
}

pub(super) fn is_at_least(version: &str, wanted: (u32, u32)) -> bool {
    let mut numbers =
        version.trim_start_matches('v').split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}

/// The roles of a caller whose certificate this server's CA issued; TLS fails for everybody else.
fn roles_of(caller: &Caller, ca: &str) -> Result<BTreeSet<String>, Status> {
    match caller {
        Caller::Anonymous => Err(unavailable("remote error: tls: certificate required")),
        Caller::Client { ca: issuer, .. } if issuer != ca => {
            Err(unavailable("remote error: tls: unknown certificate authority"))
        }
        Caller::Client { roles, .. } => Ok(roles.clone()),
    }
}

/// §6.10
fn allowed(request: &Request, roles: &BTreeSet<String>) -> bool {
    let any = |wanted: &[&str]| wanted.iter().any(|role| roles.contains(*role));
    match request {
        Request::Version
        | Request::Hostname
        | Request::ServiceList
        | Request::Memory
        | Request::Events
        | Request::HealthCheck
        | Request::Get { .. }
        | Request::List { .. }
        | Request::Disks => any(&["os:admin", "os:operator", "os:reader"]),
        Request::EtcdMemberList { .. } | Request::EtcdStatus => {
            any(&["os:admin", "os:operator", "os:reader", "os:etcd:backup"])
        }
        Request::EtcdSnapshot => any(&["os:admin", "os:operator", "os:etcd:backup"]),
        Request::Reboot { .. } | Request::Shutdown | Request::PacketCapture | Request::ImagePull { .. } => {
            any(&["os:admin", "os:operator"])
        }
        Request::ApplyConfiguration { .. }
        | Request::Bootstrap
        | Request::EtcdRecover { .. }
        | Request::BootstrapRecovered
        | Request::Reset { .. }
        | Request::InstallUpgrade { .. }
        | Request::Upgrade { .. }
        | Request::EtcdRemoveMember { .. }
        | Request::EtcdLeave
        | Request::EtcdForfeit
        | Request::Read { .. }
        | Request::Kubeconfig => any(&["os:admin"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        let versions =
            [("v1.14.0-rc.1", true), ("v1.13.9", false), ("1.9.1", false), ("v2.0.0", true), ("", false)];
        for (version, recent) in versions {
            assert_eq!(is_at_least(version, (1, 14)), recent, "{version}");
        }
    }
}
