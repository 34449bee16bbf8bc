//! Why a machine was not switched.

use std::io;

use crate::PinError;

/// Why a machine was not switched, or why nobody knows whether it was.
#[derive(Debug, thiserror::Error)]
pub enum PowerError {
    /// nobody is there
    #[error("{address} cannot be reached: {source}")]
    Connect {
        /// where
        address: String,
        /// why
        #[source]
        source: io::Error,
    },
    /// no TLS
    #[error("{address} does not speak TLS as it should: {reason}")]
    Tls {
        /// where
        address: String,
        /// why
        reason: String,
    },
    /// another certificate, or it cannot be kept
    #[error(transparent)]
    Pin(#[from] PinError),
    /// wrong name or password
    #[error("{address} does not let {username} in: are `username` and `password` under `power` right?")]
    Refused {
        /// where
        address: String,
        /// who
        username: String,
    },
    /// it answered, and not as hoped
    #[error("{address} says {status} to {what}{said}")]
    Answer {
        /// where
        address: String,
        /// what was asked
        what: String,
        /// HTTP's number
        status: u16,
        /// its words, with what leads there
        said: String,
    },
    /// what it answered cannot be used
    #[error("{address}: {reason}")]
    Odd {
        /// where
        address: String,
        /// what is wrong
        reason: String,
    },
    /// it took too long
    #[error("{what} has not ended after {seconds} s")]
    Late {
        /// what
        what: String,
        /// how long it had
        seconds: u64,
    },
    /// Wake-on-LAN does one thing only
    #[error("Wake-on-LAN can only switch a machine on: {what}")]
    OnlyOn {
        /// what was wanted, and who has to do it
        what: String,
    },
    /// whom to wake is unknown
    #[error("no card of {node} is known yet: add `mac:` to it in ichord.yaml, or switch it on by hand")]
    NoCard {
        /// which node
        node: String,
    },
    /// the packet did not leave
    #[error("the packet cannot leave by {interface}: {source}")]
    Send {
        /// where
        interface: String,
        /// why
        #[source]
        source: io::Error,
    },
    /// the program cannot be started
    #[error("{program} cannot be started: {source}")]
    Start {
        /// which
        program: String,
        /// why
        #[source]
        source: io::Error,
    },
    /// the program says no
    #[error("{program} ended with {status}{said}")]
    Hook {
        /// which
        program: String,
        /// how
        status: String,
        /// its last line
        said: String,
    },
}
