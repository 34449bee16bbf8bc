//! How long things take, in milliseconds, and the small spread that a seed gives them.

use seeded::Numbers;

/// Durations in milliseconds. A test shortens what only costs time and keeps what is a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// power on to the firmware's first DHCP packet
    pub firmware: u64,
    /// the firmware found nothing to boot, until it asks again
    pub firmware_retry: u64,
    /// kernel start to the machine API (maintenance) or to the first service (configured)
    pub boot: u64,
    /// an accepted config in maintenance or an accepted reboot, until the port closes: replies go out
    pub apply_settle: u64,
    /// pulling and running the installer
    pub install: u64,
    /// the port closed to the next kernel's first instruction (kexec)
    pub kexec: u64,
    /// first service to the machine API with the config's certificates
    pub apid: u64,
    /// first service to a healthy `cri`
    pub cri: u64,
    /// first service to a synchronised clock
    pub time_sync: u64,
    /// pulling the etcd image; a Bootstrap lives only in memory for so long (talos.md §9.2)
    pub etcd_pull: u64,
    /// starting etcd on its data directory
    pub etcd_start: u64,
    /// between two attempts to join (talos.md §9.1: about 3 s)
    pub etcd_join_every: u64,
    /// joining in vain until the service fails (EtcdJoinTimeout, talos.md §1.5)
    pub etcd_join_timeout: u64,
    /// between two attempts to promote the own learner (talos.md §9.3)
    pub promote_every: u64,
    /// how long the promotion is attempted; it lives in memory (talos.md §9.3)
    pub promote_for: u64,
    /// between two words of an etcd member to another
    pub heartbeat: u64,
    /// the etcd lease behind a virtual address (talos.md §2.5)
    pub virtual_address_lease: u64,
    /// healthy etcd to an answering API server
    pub api_server: u64,
    /// another image of a static pod or the kubelet to what runs from it
    pub static_pod: u64,
    /// between two attempts of a worker to get its certificate from trustd
    pub certificate_every: u64,
    /// between two reports of a kubelet to the API server
    pub node_report: u64,
    /// everything up to a Ready node, where a CNI is there
    pub node_ready: u64,
    /// a fatal error to the reboot (talos.md §7.5: 10 s)
    pub failure_pause: u64,
    /// start of all services, after which the machine reboots (BootTimeout, talos.md §1.5)
    pub boot_timeout: u64,
}

impl Pace {
    /// For tests: seconds become tens of milliseconds; the long limits stay what they are.
    pub fn fast() -> Self {
        Self {
            firmware: 20,
            firmware_retry: 300,
            boot: 80,
            apply_settle: 250,
            install: 300,
            kexec: 80,
            apid: 40,
            cri: 60,
            time_sync: 50,
            etcd_pull: 300,
            etcd_start: 60,
            etcd_join_every: 150,
            promote_every: 200,
            heartbeat: 100,
            virtual_address_lease: 2_000,
            api_server: 200,
            static_pod: 200,
            certificate_every: 200,
            node_report: 500,
            node_ready: 100,
            failure_pause: 500,
            ..Self::real()
        }
    }

    /// The order of magnitude of a real machine.
    pub fn real() -> Self {
        Self {
            firmware: 8_000,
            firmware_retry: 15_000,
            boot: 20_000,
            apply_settle: 1_500,
            install: 45_000,
            kexec: 6_000,
            apid: 4_000,
            cri: 6_000,
            time_sync: 5_000,
            etcd_pull: 15_000,
            etcd_start: 4_000,
            etcd_join_every: 3_000,
            etcd_join_timeout: 30 * 60_000,
            promote_every: 15_000,
            promote_for: 10 * 60_000,
            heartbeat: 1_000,
            virtual_address_lease: 60_000,
            api_server: 25_000,
            static_pod: 8_000,
            certificate_every: 5_000,
            node_report: 10_000,
            node_ready: 10_000,
            failure_pause: 10_000,
            boot_timeout: 70 * 60_000,
        }
    }
}

/// Seeded randomness: the same seed makes the same machine.
#[derive(Debug, Clone)]
pub(crate) struct Chance(Numbers);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Numbers::new(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.draw()
    }

    /// The duration with up to a quarter on top, so that machines do not march in step.
    pub(crate) fn spread(&mut self, duration: u64) -> u64 {
        duration + self.next() % (duration / 4 + 1)
    }

    /// A random UUID in text form (RFC 9562 version 4), such as the kernel's boot id.
    pub(crate) fn uuid(&mut self) -> String {
        let (high, low) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            (low >> 48) & 0x3fff | 0x8000,
            low & 0xffff_ffff_ffff
        )
    }
}
