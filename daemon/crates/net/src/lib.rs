//! The only room with unsafe code: packet sockets, per-packet interface information, netlink, capabilities.
