//! The machine's network interface: addresses and routes by netlink, gratuitous ARP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, anyhow};
use futures_util::TryStreamExt;
use hardware::MacAddr;
use ipnet::IpNet;
use net::frame::FrameSocket;
use rtnetlink::{AddressMessageBuilder, Handle, LinkUnspec, RouteMessageBuilder};

/// One interface.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) mac: MacAddr,
    index: u32,
    handle: Handle,
}

impl Link {
    /// The interface of this name in the process's namespace, brought up.
    pub(super) async fn open(name: &str) -> anyhow::Result<Self> {
        let found = net::interface::Interface::named(name)?;
        let mac = found.mac.ok_or_else(|| anyhow!("{name} is not an Ethernet interface"))?;
        let (connection, handle, _) = rtnetlink::new_connection().context("no netlink")?;
        tokio::spawn(connection);
        let link = Self { name: name.to_owned(), mac, index: found.index, handle };
        let up = LinkUnspec::new_with_index(link.index).up().build();
        link.handle.link().set(up).execute().await.with_context(|| format!("cannot set {name} up"))?;
        // the machine talks to its own addresses by way of the loopback
        if let Ok(loopback) = net::interface::Interface::named("lo") {
            let up = LinkUnspec::new_with_index(loopback.index).up().build();
            link.handle.link().set(up).execute().await.context("cannot set lo up")?;
        }
        Ok(link)
    }

    /// Gives the interface this address and no other, and a default route.
    pub(super) async fn set_address(&self, address: IpNet, gateway: Option<Ipv4Addr>) -> anyhow::Result<()> {
        self.flush().await?;
        self.add(address.addr(), address.prefix_len()).await?;
        if let Some(gateway) = gateway {
            let route =
                RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).output_interface(self.index).build();
            let added = self.handle.route().add(route).replace().execute().await;
            added.with_context(|| format!("cannot route by way of {gateway}"))?;
        }
        Ok(())
    }

    /// Takes all IPv4 addresses off.
    pub(super) async fn flush(&self) -> anyhow::Result<()> {
        let mut all = self.handle.address().get().set_link_index_filter(self.index).execute();
        let mut found = Vec::new();
        while let Some(address) = all.try_next().await.context("cannot list addresses")? {
            if address.header.family == rtnetlink::packet_route::AddressFamily::Inet {
                found.push(address);
            }
        }
        for address in found {
            // the kernel takes secondary addresses away with their first
            self.handle.address().del(address).execute().await.ok();
        }
        Ok(())
    }

    async fn add(&self, address: IpAddr, prefix: u8) -> anyhow::Result<()> {
        let request = self.handle.address().add(self.index, address, prefix).replace();
        request.execute().await.with_context(|| format!("cannot add {address} to {}", self.name))
    }

    /// Adds a virtual address and tells the segment.
    pub(super) async fn take(&self, address: IpAddr) -> anyhow::Result<()> {
        self.add(address, if address.is_ipv4() { 32 } else { 128 }).await?;
        if let IpAddr::V4(address) = address {
            let socket = FrameSocket::sender(&self.name)?;
            // twice: a switch may be learning at that moment
            for _ in 0..2 {
                socket.send(&gratuitous_arp(self.mac, address)).await.context("cannot send ARP")?;
            }
        }
        Ok(())
    }

    /// Takes a virtual address off.
    pub(super) async fn release(&self, address: IpAddr) {
        let message = match address {
            IpAddr::V4(v4) => {
                AddressMessageBuilder::<Ipv4Addr>::new().index(self.index).address(v4, 32).build()
            }
            IpAddr::V6(v6) => {
                AddressMessageBuilder::<Ipv6Addr>::new().index(self.index).address(v6, 128).build()
            }
        };
        // it is gone already when the machine's own address was taken off
        self.handle.address().del(message).execute().await.ok();
    }
}

/// An ARP announcement: a request for the own address (RFC 5227 §3).
fn gratuitous_arp(mac: MacAddr, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(mac.0);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(mac.0);
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}
