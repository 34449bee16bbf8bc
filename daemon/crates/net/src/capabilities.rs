//! Which of root's powers the process holds, and how it gives up the others (capabilities(7)).
//!
//! `daemon` calls [`keep_only`] before its runtime starts threads: the kernel keeps these sets per thread.

use std::{collections::BTreeSet, fmt};

use caps::{CapSet, CapsHashSet, errors::CapsError};

/// What this program can have a use for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// packet sockets: LLDP capture, ARP probes, DHCP answers to clients without an address
    NetRaw,
    /// UDP 67, 69 and HTTP 80
    NetBindService,
    /// changing interfaces; only the lab needs it
    NetAdmin,
}

impl Capability {
    const ALL: [Self; 3] = [Self::NetRaw, Self::NetBindService, Self::NetAdmin];

    fn kernel(self) -> caps::Capability {
        match self {
            Self::NetRaw => caps::Capability::CAP_NET_RAW,
            Self::NetBindService => caps::Capability::CAP_NET_BIND_SERVICE,
            Self::NetAdmin => caps::Capability::CAP_NET_ADMIN,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetRaw => "CAP_NET_RAW",
            Self::NetBindService => "CAP_NET_BIND_SERVICE",
            Self::NetAdmin => "CAP_NET_ADMIN",
        })
    }
}

/// The process lacks a capability, or cannot give the others up.
#[derive(Debug, thiserror::Error)]
pub enum CapabilityError {
    /// a needed one is not there
    #[error(
        "the capability {} is missing; start the service by its systemd unit (AmbientCapabilities=), \
         run as root, or grant it to the program: setcap {}+ep PROGRAM",
        join(.missing, " "), join(.missing, ",").to_lowercase()
    )]
    Missing {
        /// which
        missing: BTreeSet<Capability>,
    },
    /// other threads would keep what this one gives up
    #[error("capabilities must be given up before other threads are started; {threads} are running")]
    Threads {
        /// how many
        threads: usize,
    },
    /// the kernel refused
    #[error("cannot read or change the capabilities of this process")]
    Kernel(#[source] CapsError),
    /// `/proc` is not there
    #[error("cannot count the threads of this process in /proc")]
    Proc(#[source] std::io::Error),
}

fn join(list: &BTreeSet<Capability>, separator: &str) -> String {
    list.iter().map(Capability::to_string).collect::<Vec<_>>().join(separator)
}

/// What the calling thread can use now.
///
/// # Errors
/// When the kernel does not answer.
pub fn held() -> Result<BTreeSet<Capability>, CapabilityError> {
    let effective = caps::read(None, CapSet::Effective).map_err(CapabilityError::Kernel)?;
    Ok(Capability::ALL.into_iter().filter(|one| effective.contains(&one.kernel())).collect())
}

/// Checks that everything needed is there.
///
/// # Errors
/// [`CapabilityError::Missing`] with those that are not.
pub fn require(needed: &[Capability]) -> Result<(), CapabilityError> {
    let held = held()?;
    let missing: BTreeSet<_> = needed.iter().copied().filter(|one| !held.contains(one)).collect();
    if missing.is_empty() { Ok(()) } else { Err(CapabilityError::Missing { missing }) }
}

/// Gives up every capability but those of the list, for good: no program started from here gets any, not
/// even a set-user-ID one. Those of the list that are not held stay missing.
///
/// # Errors
/// When threads are running already, or the kernel refuses.
pub fn keep_only(list: &[Capability]) -> Result<(), CapabilityError> {
    let threads = std::fs::read_dir("/proc/self/task").map_err(CapabilityError::Proc)?.count();
    if threads > 1 {
        return Err(CapabilityError::Threads { threads });
    }
    restrict(list)
}

/// [`keep_only`] for the calling thread.
fn restrict(list: &[Capability]) -> Result<(), CapabilityError> {
    let failed = CapabilityError::Kernel;
    let wanted: CapsHashSet = list.iter().map(|one| one.kernel()).collect();
    caps::clear(None, CapSet::Ambient).map_err(failed)?;
    caps::clear(None, CapSet::Inheritable).map_err(failed)?;
    // the bounding set can be lowered only by who holds CAP_SETPCAP; no_new_privs below closes it to the others
    if caps::has_cap(None, CapSet::Effective, caps::Capability::CAP_SETPCAP).map_err(failed)? {
        let bounding = caps::read(None, CapSet::Bounding).map_err(failed)?;
        for one in bounding.difference(&wanted) {
            caps::drop(None, CapSet::Bounding, *one).map_err(failed)?;
        }
    }
    let permitted = caps::read(None, CapSet::Permitted).map_err(failed)?;
    let kept: CapsHashSet = permitted.intersection(&wanted).copied().collect();
    caps::set(None, CapSet::Effective, &kept).map_err(failed)?;
    caps::set(None, CapSet::Permitted, &kept).map_err(failed)?;
    nix::sys::prctl::set_no_new_privs()
        .map_err(|error| CapabilityError::Kernel(CapsError::from(error.to_string())))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{
        frame::{FrameError, FrameSocket},
        udp::{BindError, DhcpSocket},
    };

    /// Runs with the capabilities of a thread of its own, which end with it.
    fn apart(body: impl FnOnce() + Send + 'static) {
        thread::spawn(body).join().unwrap();
    }

    #[test]
    fn only_those_of_the_list_are_kept() {
        apart(|| {
            let before = held().unwrap();
            restrict(&[Capability::NetBindService]).unwrap();
            let expected: BTreeSet<_> =
                before.intersection(&BTreeSet::from([Capability::NetBindService])).copied().collect();
            assert_eq!(held().unwrap(), expected);
            assert!(caps::read(None, CapSet::Ambient).unwrap().is_empty());
            assert!(caps::read(None, CapSet::Inheritable).unwrap().is_empty());
            assert!(nix::sys::prctl::get_no_new_privs().unwrap());
            // they do not come back
            assert!(caps::raise(None, CapSet::Permitted, caps::Capability::CAP_NET_RAW).is_err());
        });
    }

    #[test]
    fn a_missing_one_is_named_with_the_way_to_grant_it() {
        apart(|| {
            restrict(&[]).unwrap();
            let error = require(&[Capability::NetRaw, Capability::NetBindService]).unwrap_err().to_string();
            assert!(error.contains("CAP_NET_RAW CAP_NET_BIND_SERVICE is missing"), "{error}");
            assert!(error.contains("setcap cap_net_raw,cap_net_bind_service+ep"), "{error}");
            assert!(require(&[]).is_ok());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let opened = FrameSocket::open("lo", 0x88cc, &[]);
                assert!(matches!(opened, Err(FrameError::NotPermitted { .. })), "{opened:?}");
                // the first port without a capability is for the host to say
                let first: u16 = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
                    .ok()
                    .and_then(|text| text.trim().parse().ok())
                    .unwrap();
                if first > 67 {
                    let bound = DhcpSocket::bind(67, None);
                    assert!(matches!(bound, Err(BindError::NotPermitted { port: 67 })), "{bound:?}");
                }
            });
        });
    }

    #[test]
    fn other_threads_would_keep_theirs() {
        apart(|| assert!(matches!(keep_only(&[]), Err(CapabilityError::Threads { .. }))));
    }
}
