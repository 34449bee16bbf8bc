//! The provisioning network: one bridge, one port on it per machine, all through rtnetlink.
//!
//! The bridge is the switch and its ends of the veth pairs are the switch ports; the other ends become `eth0` in the
//! networks of the machines. `group_fwd_mask` stays 0: LLDP ends at the port it arrives on, as on a real switch.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, anyhow};
use futures_util::TryStreamExt;
use hardware::MacAddr;
use rtnetlink::packet_route::link::{BridgeStpState, LinkAttribute};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, new_connection};

/// The bridge's name; `ichord.yaml` of the lab's site names it too.
pub(crate) const BRIDGE: &str = "br0";
/// What the machine sees as its only network card.
pub(crate) const CARD: &str = "eth0";
/// The host's address on the provisioning network, with its prefix length.
pub(crate) const HOST: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 77, 0, 1), 24);

/// The local interface behind the `number`th port (from 1) of the switch.
pub(crate) fn port_interface(number: usize) -> String {
    format!("p{number}")
}

/// Builds links in the network of this process.
pub(crate) struct Wires {
    handle: Handle,
}

impl Wires {
    /// Opens a netlink socket; its task ends with the runtime.
    pub(crate) fn open() -> Result<Self> {
        let (connection, handle, _) = new_connection().context("cannot open a netlink socket")?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Loopback and the bridge with the host's address.
    pub(crate) async fn lay_bridge(&self) -> Result<()> {
        self.up("lo").await?;
        let bridge =
            LinkBridge::new(BRIDGE).stp_state(BridgeStpState::Disabled).forward_delay(0).up().build();
        self.handle.link().add(bridge).execute().await.context("cannot make the bridge")?;
        let index = self.index(BRIDGE).await?;
        self.handle
            .address()
            .add(index, IpAddr::V4(HOST.0), HOST.1)
            .execute()
            .await
            .context("cannot give the bridge its address")
    }

    /// One wire: `port` on the bridge, its far end the network card of the machine whose network `holder` keeps.
    pub(crate) async fn plug(&self, port: &str, mac: MacAddr, holder: u32) -> Result<()> {
        let far = format!("{port}m");
        let link = self.handle.link();
        link.add(LinkVeth::new(port, &far).build())
            .execute()
            .await
            .with_context(|| format!("cannot make the wire {port}"))?;
        let card = LinkUnspec::new_with_name(&far).address(mac.0.to_vec()).build();
        link.set(card).execute().await.with_context(|| format!("cannot set the address {mac} on {far}"))?;
        let index = self.index(&far).await?;
        let there = LinkUnspec::new_with_index(index).name(CARD.to_owned()).setns_by_pid(holder).build();
        link.set(there)
            .execute()
            .await
            .with_context(|| format!("cannot move {far} into the network of process {holder}"))?;
        self.attach(port).await
    }

    /// Makes an existing interface a port of the bridge.
    pub(crate) async fn attach(&self, port: &str) -> Result<()> {
        let bridge = self.index(BRIDGE).await?;
        let index = self.index(port).await?;
        let member = LinkUnspec::new_with_index(index).controller(bridge).up().build();
        self.handle
            .link()
            .set(member)
            .execute()
            .await
            .with_context(|| format!("cannot make {port} a port of {BRIDGE}"))
    }

    /// A card as it is at power-on: link down and up again (the switch forgets what it learned), no addresses. With
    /// another hardware address it is another card.
    pub(crate) async fn power_on_card(&self, mac: Option<MacAddr>) -> Result<()> {
        self.up("lo").await?;
        let index = self.index(CARD).await?;
        let link = self.handle.link();
        link.set(LinkUnspec::new_with_index(index).down().build())
            .execute()
            .await
            .context("cannot take the card down")?;
        if let Some(mac) = mac {
            let card = LinkUnspec::new_with_index(index).address(mac.0.to_vec()).build();
            link.set(card)
                .execute()
                .await
                .with_context(|| format!("cannot give the card the address {mac}"))?;
        }
        let mut old = self.handle.address().get().set_link_index_filter(index).execute();
        while let Some(address) = old.try_next().await.context("cannot list the card's addresses")? {
            // an IPv6 address may be gone already: the kernel removes them when the link goes down
            self.handle.address().del(address).execute().await.ok();
        }
        link.set(LinkUnspec::new_with_index(index).up().build())
            .execute()
            .await
            .context("cannot bring the card up")
    }

    /// A card without power.
    pub(crate) async fn power_off_card(&self) -> Result<()> {
        let index = self.index(CARD).await?;
        self.handle
            .link()
            .set(LinkUnspec::new_with_index(index).down().build())
            .execute()
            .await
            .context("cannot take the card down")
    }

    /// The switch's end of a wire, down when the machine at the other end has no power: a machine that is switched off
    /// and another one that is switched on at once would else be one flicker of the link, which the kernel may not tell.
    pub(crate) async fn set_link(&self, port: &str, up: bool) -> Result<()> {
        let index = self.index(port).await?;
        let link = LinkUnspec::new_with_index(index);
        let link = if up { link.up() } else { link.down() }.build();
        self.handle
            .link()
            .set(link)
            .execute()
            .await
            .with_context(|| format!("cannot switch the link of {port}"))
    }

    /// The host forgets which card had which address: the next round's machines get the same ones.
    pub(crate) async fn forget_neighbours(&self) -> Result<()> {
        let index = self.index(BRIDGE).await?;
        let down = LinkUnspec::new_with_index(index).down().build();
        self.handle.link().set(down).execute().await.context("cannot take the bridge down")?;
        self.up(BRIDGE).await
    }

    async fn up(&self, name: &str) -> Result<()> {
        let index = self.index(name).await?;
        let up = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().set(up).execute().await.with_context(|| format!("cannot bring {name} up"))
    }

    async fn index(&self, name: &str) -> Result<u32> {
        let mut found = self.handle.link().get().match_name(name.to_owned()).execute();
        let link = found.try_next().await.with_context(|| format!("no interface {name}"))?;
        Ok(link.ok_or_else(|| anyhow!("no interface {name}"))?.header.index)
    }

    /// The hardware address of an interface here.
    pub(crate) async fn hardware_address(&self, name: &str) -> Result<MacAddr> {
        let mut found = self.handle.link().get().match_name(name.to_owned()).execute();
        let link = found.try_next().await.with_context(|| format!("no interface {name}"))?;
        link.into_iter()
            .flat_map(|link| link.attributes)
            .find_map(|attribute| match attribute {
                LinkAttribute::Address(bytes) => <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr),
                _ => None,
            })
            .ok_or_else(|| anyhow!("interface {name} has no hardware address"))
    }
}
