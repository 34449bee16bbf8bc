//! The admin API on a Unix socket: status, deploy, reload, events, trace, doctor; and its client.
//!
//! HTTP/1.1 with JSON, so that `curl --unix-socket` can speak it, too. The socket's file mode is its
//! access control: who may write to it may grant install permits. The daemon gives a [`Backend`];
//! the command line uses [`Client`].

mod client;
mod server;
mod wire;

pub use client::{CallError, Client};
pub use server::{Backend, ListenError, Listener, Refusal};
pub use wire::{
    ClaimOrder, Complaint, Conversation, Deploy, Deployed, Event, Explain, Explained, Ordered, Ports,
    Recover, Reloaded, Said, SnapshotTaken, Snapshots, Status, TakeOver, TakenOver,
};
