//! Network namespaces with bridges and virtual cables, for tests and the lab.
//!
//! A namespace lives as long as the value (or a socket opened inside); with it go its interfaces, also when a
//! test panics. Needs root (`CAP_SYS_ADMIN`); [`test()`] finds a user namespace instead where it can.

use std::{
    future::Future,
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
    panic::resume_unwind,
    process::Command,
    thread::{self, JoinHandle},
};

use futures_util::StreamExt;
use hardware::MacAddr;
use ipnet::Ipv4Net;
use netlink_packet_route::neighbour::NeighbourState;
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, MulticastGroup};

use crate::{
    interface::Interface,
    netlink::{Connection, error},
};

/// A network namespace of its own, with its loopback up.
#[derive(Debug)]
pub struct Namespace {
    file: OwnedFd,
}

impl Namespace {
    /// Makes a new one.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_SYS_ADMIN`; else what the kernel says.
    pub fn create() -> io::Result<Self> {
        joined(thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let file = std::fs::File::open("/proc/thread-self/ns/net")?;
            runtime()?.block_on(up("lo"))?;
            Ok(Self { file: file.into() })
        }))
    }

    /// Runs a future to its end inside, on a thread and a single-threaded runtime of its own; what it spawns
    /// stays inside too. The thread's result is an error when the namespace could not be entered.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn spawn<F, T>(
        &self,
        body: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<JoinHandle<io::Result<T>>>
    where
        F: Future<Output = T>,
        T: Send + 'static,
    {
        let file = self.file.try_clone()?;
        Ok(thread::spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET)?;
            Ok(runtime()?.block_on(body()))
        }))
    }

    /// Runs a future to its end inside and waits for it; its panic goes on here.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn run<F, T>(&self, body: impl FnOnce() -> F + Send + 'static) -> io::Result<T>
    where
        F: Future<Output = T>,
        T: Send + 'static,
    {
        joined(self.spawn(body)?)
    }

    /// Moves an interface of the calling thread's namespace into this one, where it arrives down.
    ///
    /// # Errors
    /// When the interface does not exist, or what the kernel says.
    pub async fn take(&self, interface: &str) -> io::Result<()> {
        set(named(interface)?.setns_by_fd(self.file.as_raw_fd())).await
    }
}

/// Runs a test inside a namespace of its own. Without root the test program starts itself again in a user
/// namespace; where there are none either, the test is skipped with a printed reason.
///
/// # Errors
/// When the namespace cannot be made for another reason than a missing permission, or the test failed in
/// the second program.
pub fn test<F: Future<Output = ()>>(body: impl FnOnce() -> F + Send + 'static) -> io::Result<()> {
    match Namespace::create() {
        Ok(namespace) => namespace.run(body),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => again_as_root_of_a_user_namespace(),
        Err(error) => Err(error),
    }
}

fn again_as_root_of_a_user_namespace() -> io::Result<()> {
    // the test harness names each test's thread after the test
    let thread = thread::current();
    let name = thread.name().filter(|name| *name != "main");
    let unshare = || {
        let mut command = Command::new("unshare");
        command.arg("-rn");
        command
    };
    let possible = unshare().arg("true").output().is_ok_and(|output| output.status.success());
    let Some(name) = name.filter(|_| possible) else {
        println!("skipped: neither root nor user namespaces are available for a network namespace");
        return Ok(());
    };
    let status = unshare().arg(std::env::current_exe()?).args(["--exact", name, "--nocapture"]).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("{name} failed in a user namespace")))
    }
}

/// Lays a virtual cable: two interfaces in the calling thread's namespace, both up with a carrier. The
/// addresses may be left to the kernel.
///
/// # Errors
/// What the kernel says, such as that a name is taken.
pub async fn cable(ends: [&str; 2], macs: [Option<MacAddr>; 2]) -> io::Result<()> {
    let (connection, _) = Connection::open(&[])?;
    let links = connection.handle.link();
    links.add(LinkVeth::new(ends[0], ends[1]).build()).execute().await.map_err(error)?;
    for (end, mac) in ends.into_iter().zip(macs) {
        if let Some(mac) = mac {
            set(named(end)?.address(mac.0.to_vec())).await?;
        }
        up(end).await?;
    }
    // frames sent before the kernel has noticed the carrier are lost
    for end in ends {
        carrier(end).await?;
    }
    Ok(())
}

/// Waits until an interface is up and has a carrier.
///
/// # Errors
/// When it does not exist, or the kernel does not answer.
pub async fn carrier(interface: &str) -> io::Result<()> {
    let (_connection, mut notices) = Connection::open(&[MulticastGroup::Link])?;
    while !Interface::named(interface).map_err(io::Error::other)?.running {
        notices.next().await.ok_or(io::ErrorKind::UnexpectedEof)?;
    }
    Ok(())
}

/// Makes a bridge of existing interfaces and sets it up. It never forwards LLDP, as a real switch does not.
///
/// # Errors
/// When a port does not exist, or what the kernel says.
pub async fn bridge(name: &str, ports: &[&str]) -> io::Result<()> {
    let (connection, _) = Connection::open(&[])?;
    connection.handle.link().add(LinkBridge::new(name).build()).execute().await.map_err(error)?;
    for port in ports {
        attach(port, name).await?;
    }
    up(name).await
}

/// Makes an interface a port of a bridge.
///
/// # Errors
/// When one of them does not exist, or what the kernel says.
pub async fn attach(port: &str, bridge: &str) -> io::Result<()> {
    set(named(port)?.controller(index(bridge)?)).await
}

/// Takes an interface off its bridge.
///
/// # Errors
/// When it does not exist, or what the kernel says.
pub async fn release(port: &str) -> io::Result<()> {
    set(named(port)?.nocontroller()).await
}

/// Sets an interface up.
///
/// # Errors
/// When it does not exist, or what the kernel says.
pub async fn up(interface: &str) -> io::Result<()> {
    set(named(interface)?.up()).await
}

/// Sets an interface down; the other end of its cable loses the carrier.
///
/// # Errors
/// When it does not exist, or what the kernel says.
pub async fn down(interface: &str) -> io::Result<()> {
    set(named(interface)?.down()).await
}

/// Deletes an interface, and with it the other end of its cable.
///
/// # Errors
/// When it does not exist, or what the kernel says.
pub async fn delete(interface: &str) -> io::Result<()> {
    let (connection, _) = Connection::open(&[])?;
    connection.handle.link().del(index(interface)?).execute().await.map_err(error)
}

/// Gives an interface an IPv4 address.
///
/// # Errors
/// When it does not exist, or what the kernel says.
pub async fn address(interface: &str, net: Ipv4Net) -> io::Result<()> {
    let (connection, _) = Connection::open(&[])?;
    let address: Ipv4Addr = net.addr();
    let request = connection.handle.address().add(index(interface)?, address.into(), net.prefix_len());
    request.execute().await.map_err(error)
}

/// Makes the kernel sure that an address is behind this Ethernet address, as it is of one that just spoke.
///
/// # Errors
/// When the interface does not exist, or what the kernel says.
pub async fn neighbour(interface: &str, address: Ipv4Addr, mac: MacAddr) -> io::Result<()> {
    let (connection, _) = Connection::open(&[])?;
    let request = connection.handle.neighbours().add(index(interface)?, address.into());
    let request = request.link_layer_address(&mac.0).state(NeighbourState::Reachable);
    request.execute().await.map_err(error)
}

async fn set(change: LinkMessageBuilder<LinkUnspec>) -> io::Result<()> {
    let (connection, _) = Connection::open(&[])?;
    connection.handle.link().set(change.build()).execute().await.map_err(error)
}

fn named(interface: &str) -> io::Result<LinkMessageBuilder<LinkUnspec>> {
    index(interface).map(LinkUnspec::new_with_index)
}

fn index(interface: &str) -> io::Result<u32> {
    Ok(Interface::named(interface).map_err(io::Error::other)?.index)
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// The result of a thread; its panic goes on in this one.
fn joined<T>(thread: JoinHandle<io::Result<T>>) -> io::Result<T> {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}
