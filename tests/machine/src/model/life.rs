//! Power, firmware, kernel, maintenance, installation, reboots: the life of the machine up to the
//! point where it runs with a config; from there `node` goes on.

use std::collections::BTreeSet;

use super::{
    config::{Config, kernel_parameters},
    disk::SystemDisk,
    hardware::{BootOrder, Image},
    machine::{Happening, Instruction, Machine, Os, Stage, State, Timer},
};

/// What the installer writes for the boot loader, and what is on the ISO.
const INSTALLED_CMDLINE: &str = "talos.platform=metal console=tty0 slab_nomerge pti=on";

impl Machine {
    /// Gives the machine power: the firmware starts.
    pub fn power_on(&mut self, now: u64) {
        if matches!(self.state, State::Off) {
            self.enter_firmware(now);
        }
    }

    /// Takes the power away. Memory is lost; the disks stay.
    pub fn power_off(&mut self, _now: u64) {
        if !matches!(self.state, State::Off) {
            self.enter(State::Off);
        }
    }

    /// Its next boot, and only that, is from the network, whatever its firmware's order is: what a service processor is told.
    pub fn boot_from_network_next(&mut self) {
        self.network_next = true;
    }

    /// Starts at the kernel, when the firmware part is someone else's (a real firmware before `--as-init`).
    pub fn boot_kernel(&mut self, image: Image, cmdline: String, from_network: bool, now: u64) {
        let os = Os {
            extensions: self.factory.extensions(image.schematic.as_deref()),
            image,
            boot_id: self.chance.uuid(),
            since: now,
            cmdline,
        };
        self.counters.boots += 1;
        self.counters.network_boots += u32::from(from_network);
        let booted = Happening::Booted { boot_id: os.boot_id.clone(), from_network };
        self.enter(State::Booting { os });
        self.say(booted);
        let boot = self.pace.boot;
        self.after(now, boot, Timer::OsUp);
    }

    /// The answer to [`Happening::AsksTheNetwork`]; ignored when the firmware does not wait for one.
    pub fn boot(&mut self, instruction: Instruction, now: u64) {
        let State::Firmware { attempt } = self.state else {
            return;
        };
        match instruction {
            Instruction::Talos { image, cmdline, intact: true } => {
                self.boot_kernel(image, cmdline, true, now)
            }
            Instruction::Talos { intact: false, .. } => {
                let reason = "the downloaded image has not the digest it should have".to_owned();
                self.say(Happening::Failed { reason });
                self.boot_disk_or_ask_again(attempt, now);
            }
            Instruction::LocalDisk | Instruction::Nothing => self.boot_disk_or_ask_again(attempt, now),
            Instruction::Retry { after } => self.after_exactly(now, after, Timer::Firmware),
        }
    }

    pub(crate) fn due(&mut self, timer: Timer, now: u64) {
        match (timer, &self.state) {
            (Timer::Firmware, &State::Firmware { attempt }) => self.firmware_decides(attempt, now),
            (Timer::OsUp, State::Booting { .. }) => self.os_up(now),
            (Timer::ApplySettled, State::Maintenance { .. }) => self.apply_settled(now),
            (Timer::InstallDone, State::Installing { .. }) => self.install_done(now),
            (Timer::UpgradeDone, State::Configured(_)) => self.upgrade_done(),
            (Timer::RebootDone, &State::Rebooting { through_firmware }) => {
                self.reboot_done(through_firmware, now)
            }
            (Timer::FailurePause, _) => self.reboot(true, now),
            (Timer::BootTimeout, State::Configured(node)) if node.is_running => {}
            (Timer::BootTimeout, State::Configured(_) | State::Halted) => {
                self.say(Happening::Failed { reason: "the boot sequence timed out".into() });
                self.reboot(true, now);
            }
            (Timer::Node(timer), State::Configured(_)) => self.node_due(timer, now),
            // a timer of a state that is over
            _ => {}
        }
    }

    fn enter_firmware(&mut self, now: u64) {
        self.enter(State::Firmware { attempt: 0 });
        let delay = self.pace.firmware;
        self.after(now, delay, Timer::Firmware);
    }

    /// The firmware goes through its boot order.
    fn firmware_decides(&mut self, attempt: u32, now: u64) {
        if let Some(iso) = self.hardware.iso.clone() {
            match self.storage.system {
                Some(_) => self.boot_disk(now),
                None => self.boot_kernel(iso, INSTALLED_CMDLINE.to_owned(), false, now),
            }
            return;
        }
        let disk_first =
            self.hardware.boot_order == BootOrder::DiskFirst && !std::mem::take(&mut self.network_next);
        if attempt == 0 && disk_first && self.storage.system.is_some() {
            self.boot_disk(now);
            return;
        }
        let attempt = attempt + 1;
        self.state = State::Firmware { attempt };
        self.say(Happening::AsksTheNetwork { attempt });
    }

    fn boot_disk_or_ask_again(&mut self, attempt: u32, now: u64) {
        if self.storage.system.is_some() {
            self.boot_disk(now);
        } else {
            let retry = self.pace.firmware_retry;
            self.state = State::Firmware { attempt };
            self.after(now, retry, Timer::Firmware);
        }
    }

    fn boot_disk(&mut self, now: u64) {
        if let Some(system) = &self.storage.system {
            let image = system.image.clone();
            self.boot_kernel(image, INSTALLED_CMDLINE.to_owned(), false, now);
        }
    }

    /// The kernel is up: parameters, then the config (talos.md §7.1 to §7.5).
    fn os_up(&mut self, now: u64) {
        if self.does_not_come_up(now) {
            return;
        }
        let State::Booting { os } = &self.state else {
            return;
        };
        let os = os.clone();
        let parameters = kernel_parameters(&os.cmdline);
        for (key, value) in [("talos.platform", "metal"), ("slab_nomerge", ""), ("pti", "on")] {
            if self.own_kernel && parameters.get(key) != Some(&value) {
                let wanted = if value.is_empty() { key.to_owned() } else { format!("{key}={value}") };
                self.fail(format!("the kernel command line lacks {wanted}"), now);
                return;
            }
        }
        if let Some(wipe) = parameters.get("talos.experimental.wipe") {
            let labels = wipe.strip_prefix("system:").unwrap_or_default().split(',');
            self.wipe(&labels.filter(|label| !label.is_empty()).map(str::to_owned).collect());
            self.reboot(true, now);
            return;
        }
        if parameters.get("talos.halt_if_installed") == Some(&"1") && self.storage.system.is_some() {
            self.enter(State::Halted);
            let timeout = self.pace.boot_timeout;
            self.after_exactly(now, timeout, Timer::BootTimeout);
            return;
        }
        let state = self.storage.system.as_ref().and_then(|system| system.state.clone());
        match state.and_then(|text| self.config_of(&text)) {
            Some(config) => self.start_node(os, config, now),
            None => {
                let fingerprint = self.chance.uuid();
                self.enter(State::Maintenance { os, fingerprint, accepted: None });
            }
        }
    }

    fn config_of(&mut self, text: &str) -> Option<Config> {
        if self.read_last.as_ref().is_none_or(|config| config.text != text) {
            self.read_last = Config::read(text.as_bytes(), None).ok()?.map(Box::new);
        }
        self.read_last.as_deref().cloned()
    }

    /// A config was accepted in maintenance: the reply goes out, a moment later the port closes.
    pub(crate) fn accept(&mut self, config: Config, now: u64) {
        if let State::Maintenance { accepted, .. } = &mut self.state {
            self.read_last = Some(Box::new(config.clone()));
            *accepted = Some(Box::new(config));
            self.counters.configs_applied += 1;
            self.say(Happening::ConfigApplied);
            self.say(Happening::Stage(Stage::Installing));
            let settle = self.pace.apply_settle;
            self.after(now, settle, Timer::ApplySettled);
        }
    }

    fn apply_settled(&mut self, now: u64) {
        let State::Maintenance { os, accepted: Some(config), .. } = &self.state else {
            return;
        };
        let (os, config) = (os.clone(), config.clone());
        if let Some(system) = &mut self.storage.system {
            // Talos is on the disk: the boot goes on with the new config, without an install (§7.5)
            system.state = Some(config.text.clone());
            self.start_node(os, *config, now);
            return;
        }
        let Some(disk) = config.install_target(&self.hardware.disks) else {
            self.fail("the install disk does not exist".into(), now);
            return;
        };
        let disk = disk.dev_path.clone();
        self.enter(State::Installing { os, config });
        self.say(Happening::Installing { disk });
        let install = self.pace.install;
        self.after(now, install, Timer::InstallDone);
    }

    fn install_done(&mut self, now: u64) {
        let State::Installing { os, config } = &self.state else {
            return;
        };
        let Some(disk) = config.install_target(&self.hardware.disks) else {
            return;
        };
        // without an installer image Talos takes its own default one, which has no extensions (§2.6)
        let default = || Image { schematic: None, version: os.image.version.clone() };
        self.storage.system = Some(SystemDisk {
            dev_path: disk.dev_path.clone(),
            image: config.installer.as_deref().map_or_else(default, Image::from_installer),
            fallback: None,
            state: Some(config.text.clone()),
            etcd: None,
        });
        self.storage.used = None;
        self.counters.installs += 1;
        self.say(Happening::Installed);
        self.reboot(false, now);
    }

    /// Leaves the running kernel: by kexec into the own disk, or through the firmware.
    pub(crate) fn reboot(&mut self, through_firmware: bool, now: u64) {
        self.enter(State::Rebooting { through_firmware });
        let kexec = self.pace.kexec;
        self.after(now, kexec, Timer::RebootDone);
    }

    fn reboot_done(&mut self, through_firmware: bool, now: u64) {
        if !through_firmware && self.storage.system.is_some() {
            self.boot_disk(now);
        } else {
            self.enter_firmware(now);
        }
    }

    /// Wipes partitions by label, or the whole system disk when none is named (§6.9).
    pub(crate) fn wipe(&mut self, labels: &BTreeSet<String>) {
        if labels.is_empty() {
            self.storage.system = None;
        } else if let Some(system) = &mut self.storage.system {
            if labels.contains("STATE") {
                system.state = None;
            }
            if labels.contains("EPHEMERAL") {
                system.etcd = None;
            }
        }
        self.say(Happening::Wiped);
    }

    /// A fatal error of a sequence: a pause for people to read, then a reboot (§7.5).
    pub(crate) fn fail(&mut self, reason: String, now: u64) {
        self.say(Happening::Failed { reason });
        self.enter(State::Rebooting { through_firmware: true });
        let pause = self.pace.failure_pause;
        self.after(now, pause, Timer::FailurePause);
    }
}
