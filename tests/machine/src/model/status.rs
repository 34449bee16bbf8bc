//! How a call ends when it does not succeed, and who is allowed to call.

use std::collections::BTreeSet;

/// The gRPC codes this machine answers with (numbers of the gRPC specification).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// 2
    Unknown = 2,
    /// 3
    InvalidArgument = 3,
    /// 5
    NotFound = 5,
    /// 6
    AlreadyExists = 6,
    /// 7
    PermissionDenied = 7,
    /// 9
    FailedPrecondition = 9,
    /// 12
    Unimplemented = 12,
    /// 13
    Internal = 13,
    /// 14; also what a client sees when nobody listens or TLS fails
    Unavailable = 14,
}

/// A refused call: code and text as on the real thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct Status {
    /// gRPC code
    pub code: Code,
    /// the text a person sees
    pub message: String,
}

impl Status {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// talos.md §6.10
    pub(crate) fn not_authorized() -> Self {
        Self::new(Code::PermissionDenied, "not authorized")
    }
}

/// Who calls the machine API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// no client certificate
    Anonymous,
    /// a client certificate whose extended key usage is exactly clientAuth (talos.md §3.3)
    Client {
        /// [`fingerprint`](super::fingerprint) of the CA that issued it
        ca: String,
        /// the O values of its subject
        roles: BTreeSet<String>,
    },
}

impl Caller {
    /// The administrator of the cluster with this CA.
    pub fn admin(ca: &str) -> Self {
        Self::Client { ca: ca.to_owned(), roles: BTreeSet::from(["os:admin".to_owned()]) }
    }
}

/// What a TLS probe of port 50000 sees (talos.md §6.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerIdentity {
    /// nobody listens
    Closed,
    /// the self-made certificate of maintenance mode; no client certificate is asked for
    Maintenance {
        /// differs at every boot
        fingerprint: String,
    },
    /// a certificate issued by this CA; a client certificate is demanded
    Issued {
        /// [`fingerprint`](super::fingerprint) of the CA
        ca: String,
    },
}
