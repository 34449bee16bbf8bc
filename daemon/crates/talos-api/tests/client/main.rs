//! The client against real TLS and HTTP/2 on loopback. The servers are made of the generated traits, so that both
//! ends speak from the same protocol files; `upstream` sets the client against the parts of Talos itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod calls;
mod care;
mod mirror;
mod peer;
mod upstream;
mod whom;
mod work;
