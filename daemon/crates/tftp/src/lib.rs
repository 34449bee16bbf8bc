//! TFTP as a boot server speaks it: datagrams in, datagrams and deadlines out, time passed in.
//!
//! Firmware that cannot do HTTP takes the road from here: it reads one bootloader and starts it.
//! [`packet`] touches the bytes, [`transfer`] sends one file to one client. `serve` has the sockets.
//!
//! Read requests only: RFC 1350 with the options of RFC 2347, 2348, 2349 and 7440.

pub mod packet;
pub mod transfer;

pub use packet::{Mode, Options, Packet, ParseError, Request};
pub use transfer::{End, Limits, Transfer};

/// TFTP servers listen here.
pub const SERVER_PORT: u16 = 69;
