//! The calls that every machine answers for itself: who it is, what runs on it, and what we make it do.

use std::fmt;

use crate::{CallError, Client, Kubeconfig, proto::machine};

/// What runs on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// of Talos: `v1.13.9`
    pub tag: String,
    /// `amd64` or `arm64`
    pub arch: String,
    /// `metal`, `aws` …
    pub platform: String,
    /// `metal`, `cloud`, `container`
    pub mode: String,
}

/// A service of Talos itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// `etcd`, `kubelet`, `apid`, `ext-lldpd` …
    pub id: String,
    /// `Running`, `Preparing`, `Waiting`, `Failed` …
    pub state: String,
    /// `None` for a service without a health check, or not checked yet
    pub healthy: Option<bool>,
    /// of the last health check, or the last event
    pub message: String,
}

impl Service {
    /// Whether it runs and its health check, if it has one, is content.
    pub fn is_up(&self) -> bool {
        self.state == "Running" && self.healthy != Some(false)
    }
}

/// How a new machine config is put into force (talos.md §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyMode {
    /// Without a reboot where that is possible. Always right, in maintenance mode too.
    Auto,
    /// Only if no reboot is needed.
    NoReboot,
    /// At the next reboot.
    Staged,
    /// Now, and back again after a minute unless it is applied once more.
    Try,
    /// By a reboot; 1.14 refuses it. Older machines answer that this is what they do.
    Reboot,
}

impl From<ApplyMode> for machine::apply_configuration_request::Mode {
    fn from(mode: ApplyMode) -> Self {
        match mode {
            ApplyMode::Auto => Self::Auto,
            ApplyMode::NoReboot => Self::NoReboot,
            ApplyMode::Staged => Self::Staged,
            ApplyMode::Try => Self::Try,
            ApplyMode::Reboot => Self::Reboot,
        }
    }
}

impl From<machine::apply_configuration_request::Mode> for ApplyMode {
    fn from(mode: machine::apply_configuration_request::Mode) -> Self {
        use machine::apply_configuration_request::Mode;
        match mode {
            Mode::Auto => Self::Auto,
            Mode::NoReboot => Self::NoReboot,
            Mode::Staged => Self::Staged,
            Mode::Try => Self::Try,
            Mode::Reboot => Self::Reboot,
        }
    }
}

/// What the machine did with a config.
#[derive(Clone, PartialEq, Eq)]
pub struct Applied {
    /// the mode that was really used
    pub mode: ApplyMode,
    /// For people. After a dry run the difference, with whatever secrets it touches.
    pub details: String,
    /// faults that did not stop it
    pub warnings: Vec<String>,
}

impl fmt::Debug for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applied")
            .field("mode", &self.mode)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// How a machine goes down to come up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebootMode {
    /// by kexec where the machine can
    Default,
    /// through the firmware, so that it may netboot
    PowerCycle,
    /// at once, without stopping anything first (Talos 1.12 and later; older ones do the default)
    Force,
}

/// What a reset erases (talos.md §6.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wipe {
    /// These partitions of the system disk, by label; an empty list is refused here, because the machine would
    /// take it for the whole disk. With `STATE` and `EPHEMERAL` Talos stays installed and comes up in maintenance
    /// mode.
    Partitions(Vec<String>),
    /// The whole system disk: the machine must netboot afterwards.
    SystemDisk,
    /// These disks, by path, and nothing of the system.
    UserDisks(Vec<String>),
}

/// A reset: the machine leaves the cluster and forgets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    /// Drain the node and leave etcd first. Fails on the last etcd member.
    pub graceful: bool,
    /// come up again, instead of staying off
    pub reboot: bool,
    /// what is erased
    pub wipe: Wipe,
}

impl Reset {
    fn request(self) -> Result<machine::ResetRequest, &'static str> {
        use machine::reset_request::WipeMode;
        let spec = |label| machine::ResetPartitionSpec { label, wipe: true };
        let (mode, partitions, disks) = match self.wipe {
            Wipe::Partitions(labels) if labels.is_empty() => {
                return Err("not sent: a reset of no partitions would erase the whole disk");
            }
            Wipe::Partitions(labels) => {
                (WipeMode::SystemDisk, labels.into_iter().map(spec).collect(), Vec::new())
            }
            Wipe::SystemDisk => (WipeMode::SystemDisk, Vec::new(), Vec::new()),
            Wipe::UserDisks(disks) => (WipeMode::UserDisks, Vec::new(), disks),
        };
        Ok(machine::ResetRequest {
            graceful: self.graceful,
            reboot: self.reboot,
            system_partitions_to_wipe: partitions,
            user_disks_to_wipe: disks,
            mode: mode.into(),
        })
    }
}

impl Client {
    /// What runs on the machine. Talos 1.12 and older do not answer this in maintenance mode (`Unimplemented`).
    pub async fn version(&self) -> Result<Version, CallError> {
        let mut machine = self.machine();
        let reply = self.message("Version", machine.version(())).await?;
        let (version, platform) = (reply.version.unwrap_or_default(), reply.platform.unwrap_or_default());
        Ok(Version { tag: version.tag, arch: version.arch, platform: platform.name, mode: platform.mode })
    }

    /// The services of Talos and how they are.
    pub async fn services(&self) -> Result<Vec<Service>, CallError> {
        let mut machine = self.machine();
        let reply = self.message("ServiceList", machine.service_list(())).await?;
        Ok(reply.services.into_iter().map(Service::from).collect())
    }

    /// Gives the machine its config. The config is full of secrets: in maintenance mode the caller must know
    /// whose fingerprint it pinned.
    pub async fn apply_configuration(
        &self,
        yaml: &str,
        mode: ApplyMode,
        dry_run: bool,
    ) -> Result<Applied, CallError> {
        let mut machine = self.machine();
        let request = machine::ApplyConfigurationRequest {
            data: yaml.as_bytes().to_vec(),
            mode: machine::apply_configuration_request::Mode::from(mode).into(),
            dry_run,
            try_mode_timeout: None,
        };
        let reply = self.message("ApplyConfiguration", machine.apply_configuration(request)).await?;
        Ok(Applied { mode: reply.mode().into(), details: reply.mode_details, warnings: reply.warnings })
    }

    /// Starts a new etcd cluster on this machine. The machine looks only at its own data directory, so that this
    /// is called once per cluster is the caller's duty (talos.md §9.2). Success means that etcd was started, not
    /// that it runs.
    pub async fn bootstrap(&self) -> Result<(), CallError> {
        let mut machine = self.machine();
        self.messages("Bootstrap", machine.bootstrap(machine::BootstrapRequest::default())).await?;
        Ok(())
    }

    /// The administrator's kubeconfig, made by a control plane from its config; it does not prove that the
    /// Kubernetes API is up.
    pub async fn kubeconfig(&self) -> Result<Kubeconfig, CallError> {
        const CALL: &str = "Kubeconfig";
        let mut machine = self.machine();
        let mut archive = Vec::new();
        for piece in self.collected(CALL, machine.kubeconfig(())).await? {
            self.not_failed(CALL, &piece)?;
            archive.extend(piece.bytes);
        }
        Kubeconfig::from_archive(&archive).map_err(|reason| self.unusable(CALL, reason))
    }

    /// Erases and takes the machine out of the cluster. Returns when the machine has begun.
    pub async fn reset(&self, reset: Reset) -> Result<(), CallError> {
        const CALL: &str = "Reset";
        let request = reset.request().map_err(|reason| self.unusable(CALL, reason))?;
        let mut machine = self.machine();
        self.messages(CALL, machine.reset(request)).await?;
        Ok(())
    }

    /// Returns when the machine has begun to go down.
    pub async fn reboot(&self, mode: RebootMode) -> Result<(), CallError> {
        let mode = match mode {
            RebootMode::Default => machine::reboot_request::Mode::Default,
            RebootMode::PowerCycle => machine::reboot_request::Mode::Powercycle,
            RebootMode::Force => machine::reboot_request::Mode::Force,
        };
        let mut machine = self.machine();
        self.messages("Reboot", machine.reboot(machine::RebootRequest { mode: mode.into() })).await?;
        Ok(())
    }
}

impl From<machine::ServiceInfo> for Service {
    fn from(info: machine::ServiceInfo) -> Self {
        let health =
            info.health.unwrap_or_else(|| machine::ServiceHealth { unknown: true, ..Default::default() });
        let last_event = info.events.and_then(|mut events| events.events.pop());
        Self {
            id: info.id,
            state: info.state,
            healthy: (!health.unknown).then_some(health.healthy),
            message: match last_event {
                Some(event) if health.last_message.is_empty() => event.msg,
                _ => health.last_message,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wiping_partitions_never_asks_for_everything() {
        let wipe = |labels: Vec<String>| {
            Reset { graceful: true, reboot: true, wipe: Wipe::Partitions(labels) }.request()
        };
        let request = wipe(vec!["STATE".to_owned(), "EPHEMERAL".to_owned()]).unwrap();
        assert_eq!(request.mode(), machine::reset_request::WipeMode::SystemDisk);
        let wiped: Vec<_> =
            request.system_partitions_to_wipe.iter().map(|spec| (spec.label.as_str(), spec.wipe)).collect();
        assert_eq!(wiped, [("STATE", true), ("EPHEMERAL", true)]);
        assert!(wipe(vec![]).is_err());
    }

    #[test]
    fn what_a_dry_run_shows_stays_out_of_logs() {
        let applied =
            Applied { mode: ApplyMode::Auto, details: "+ token: abcdef".to_owned(), warnings: vec![] };
        assert!(!format!("{applied:?}").contains("abcdef"));
    }

    #[test]
    fn a_service_without_a_check_is_up_when_it_runs() {
        let up = |state: &str, health: Option<machine::ServiceHealth>| {
            let id = "kubelet".to_owned();
            Service::from(machine::ServiceInfo { id, state: state.to_owned(), events: None, health }).is_up()
        };
        let health =
            |unknown, healthy| Some(machine::ServiceHealth { unknown, healthy, ..Default::default() });
        assert!(
            up("Running", None) && up("Running", health(true, false)) && up("Running", health(false, true))
        );
        assert!(!up("Running", health(false, false)));
        assert!(!up("Preparing", health(false, true)));
    }
}
