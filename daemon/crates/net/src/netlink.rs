//! One route netlink connection: the task that drives it and the few questions asked over it.
//!
//! Used by `interface`, `forwarding` and `namespace`. The task ends when the connection is dropped.

use std::io;

use futures_util::{Stream, StreamExt, TryStreamExt};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
    neighbour::NeighbourMessage,
};
use rtnetlink::{Handle, MulticastGroup, packet_core::NetlinkPayload};
use tokio::task::JoinHandle;

/// A connection whose driving task lives as long as it does.
pub(crate) struct Connection {
    pub(crate) handle: Handle,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What the kernel tells of its own accord.
pub(crate) enum Notice {
    /// something changed
    Message(RouteNetlinkMessage),
    /// the socket's buffer overflowed: changes were lost, ask anew
    Lost,
}

impl Connection {
    /// Opens a socket in the calling thread's network namespace, and a stream of notices of the groups.
    pub(crate) fn open(
        groups: &[MulticastGroup],
    ) -> io::Result<(Self, impl Stream<Item = Notice> + Unpin + use<>)> {
        let (driver, handle, notices) = rtnetlink::new_multicast_connection(groups)?;
        let notices = notices.filter_map(|(message, _)| {
            std::future::ready(match message.payload {
                NetlinkPayload::InnerMessage(inner) => Some(Notice::Message(inner)),
                NetlinkPayload::Overrun(_) => Some(Notice::Lost),
                _ => None,
            })
        });
        Ok((Self { handle, driver: tokio::spawn(driver) }, notices))
    }

    /// Every link of the namespace.
    pub(crate) async fn links(&self) -> io::Result<Vec<LinkMessage>> {
        self.handle.link().get().execute().try_collect().await.map_err(error)
    }

    /// Every neighbour of a family: for IP who answered for an address, for `Bridge` every entry of every
    /// bridge's forwarding table.
    pub(crate) async fn neighbours(&self, family: AddressFamily) -> io::Result<Vec<NeighbourMessage>> {
        let request = self.handle.neighbours().get().set_address_family(family);
        request.execute().try_collect().await.map_err(error)
    }
}

/// The kernel's number for an error, where it gave one.
pub(crate) fn error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

/// The link's name.
pub(crate) fn name(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

/// The bridge or bond the link belongs to.
pub(crate) fn controller(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) => Some(*index),
        _ => None,
    })
}
