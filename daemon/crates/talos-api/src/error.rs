//! What can go wrong between us and a machine, told apart by what a caller does next: ask again, look again whom
//! it talks to, or stop and tell a person.

use std::{io, net::SocketAddr, time::Duration};

use tonic::Code;

use crate::{Fingerprint, tls::Mismatch};

/// Nobody showed a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// the address answers, the port does not: still booting, or another system
    #[error("{address} refused the connection: something is there, but its machine API is not up")]
    Refused {
        /// what was dialled
        address: SocketAddr,
    },
    /// silence
    #[error("{address} did not answer within {within:?}")]
    TimedOut {
        /// what was dialled
        address: SocketAddr,
        /// how long we waited
        within: Duration,
    },
    /// no way there, or the connection ended before a certificate came
    #[error("{address} cannot be reached: {reason}")]
    Unreachable {
        /// what was dialled
        address: SocketAddr,
        /// in the system's words
        reason: String,
    },
    /// an answer that is not TLS
    #[error("{address} answers, but not in sound TLS, so it is no Talos machine: {reason}")]
    NotTls {
        /// what was dialled
        address: SocketAddr,
        /// in the TLS library's words
        reason: String,
    },
}

impl ProbeError {
    pub(crate) fn from_io(address: SocketAddr, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused { address },
            _ => Self::Unreachable { address, reason: error.to_string() },
        }
    }

    /// From a handshake that ended before a certificate was judged.
    pub(crate) fn from_handshake(address: SocketAddr, error: &io::Error) -> Self {
        match tls_error(error) {
            Some(error) => Self::NotTls { address, reason: error.to_string() },
            None => Self::from_io(address, error),
        }
    }
}

/// There is no connection to the machine we meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// nobody showed a certificate
    #[error(transparent)]
    NoAnswer(#[from] ProbeError),
    /// in maintenance mode: not the key of the first contact
    #[error(
        "{address} shows another key than before (expected fingerprint {expected}, seen {seen}): another machine \
         has this address, or this one has booted again; nothing was sent"
    )]
    WrongFingerprint {
        /// what was dialled
        address: SocketAddr,
        /// of the first contact
        expected: Fingerprint,
        /// of the certificate shown now
        seen: Fingerprint,
    },
    /// configured: a certificate that is not from our authority, not for this address, or not good now
    #[error("{address} shows a certificate that is not good for this cluster ({reason}); nothing was sent")]
    NotTrusted {
        /// what was dialled
        address: SocketAddr,
        /// in the TLS library's words
        reason: String,
    },
    /// the machine ended the handshake
    #[error("{address} ended the handshake: {reason}")]
    Handshake {
        /// what was dialled
        address: SocketAddr,
        /// in the TLS library's words
        reason: String,
    },
}

impl ConnectError {
    pub(crate) fn from_handshake(address: SocketAddr, error: &io::Error) -> Self {
        match tls_error(error) {
            Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))) => {
                match other.0.downcast_ref::<Mismatch>() {
                    Some(&Mismatch { expected, seen }) => Self::WrongFingerprint { address, expected, seen },
                    None => Self::NotTrusted { address, reason: other.0.to_string() },
                }
            }
            Some(rustls::Error::InvalidCertificate(reason)) => {
                Self::NotTrusted { address, reason: reason.to_string() }
            }
            Some(error @ rustls::Error::AlertReceived(_)) => {
                Self::Handshake { address, reason: error.to_string() }
            }
            _ => ProbeError::from_handshake(address, error).into(),
        }
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// A call did not give its result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// there was no connection to call on
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// the machine answered with an error, or could not be dialled again
    #[error("{call} on {address} failed ({code:?}): {message}")]
    Status {
        /// whom we asked
        address: SocketAddr,
        /// what we asked
        call: &'static str,
        /// the gRPC code
        code: Code,
        /// in the machine's words
        message: String,
    },
    /// the call succeeded, but the reply says that a machine failed
    #[error("{call} on {address} failed inside its reply, on {node} ({code:?}): {message}")]
    Node {
        /// whom we asked
        address: SocketAddr,
        /// what we asked
        call: &'static str,
        /// the machine that failed, as the reply names it
        node: String,
        /// the code in the reply, `Unknown` when it has none
        code: Code,
        /// in the machine's words
        message: String,
    },
    /// the connection broke before the reply; whether the call had an effect is unknown
    #[error("{call} on {address} lost its connection: {reason}")]
    Lost {
        /// whom we asked
        address: SocketAddr,
        /// what we asked
        call: &'static str,
        /// in the library's words
        reason: String,
    },
    /// no reply in time; whether the call had an effect is unknown
    #[error("{call} on {address} gave no reply within {within:?}")]
    Deadline {
        /// whom we asked
        address: SocketAddr,
        /// what we asked
        call: &'static str,
        /// how long we waited
        within: Duration,
    },
    /// a reply that cannot be used
    #[error("{call} on {address} gave an unusable reply: {reason}")]
    Reply {
        /// whom we asked
        address: SocketAddr,
        /// what we asked
        call: &'static str,
        /// what is wrong with it
        reason: String,
    },
}

impl CallError {
    /// The gRPC code, or the one that says the same.
    pub fn code(&self) -> Code {
        match self {
            Self::Connect(ConnectError::NoAnswer(_) | ConnectError::Handshake { .. }) | Self::Lost { .. } => {
                Code::Unavailable
            }
            Self::Connect(ConnectError::WrongFingerprint { .. } | ConnectError::NotTrusted { .. }) => {
                Code::Unauthenticated
            }
            Self::Status { code, .. } | Self::Node { code, .. } => *code,
            Self::Deadline { .. } => Code::DeadlineExceeded,
            Self::Reply { .. } => Code::DataLoss,
        }
    }

    /// What the call was to bring about is there already. Talos reports a bootstrap that lost the race for the
    /// data directory as `Unknown` with the text of `AlreadyExists` (talos.md §9.2).
    pub fn is_already_exists(&self) -> bool {
        match self {
            Self::Status { code, message, .. } | Self::Node { code, message, .. } => {
                *code == Code::AlreadyExists
                    || (*code == Code::Unknown && message.contains("etcd data directory is not empty"))
            }
            _ => false,
        }
    }

    /// The same call to the same machine may succeed later: it is not up yet, busy, or not that far. A caller
    /// whose call must not happen twice looks first, because a lost reply is retryable too.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.code(),
            Code::Unavailable
                | Code::DeadlineExceeded
                | Code::FailedPrecondition
                | Code::ResourceExhausted
                | Code::Aborted
                | Code::Cancelled
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: Code, message: &str) -> CallError {
        let address = ([192, 0, 2, 1], 50000).into();
        CallError::Status { address, call: "Bootstrap", code, message: message.to_owned() }
    }

    #[test]
    fn a_bootstrap_that_was_done_is_told_from_one_that_failed() {
        assert!(status(Code::AlreadyExists, "etcd data directory is not empty").is_already_exists());
        assert!(status(Code::Unknown, "etcd data directory is not empty").is_already_exists());
        assert!(!status(Code::Unknown, "bootstrap is not allowed").is_already_exists());
        assert!(!status(Code::FailedPrecondition, "etcd data directory is not empty").is_already_exists());
    }

    #[test]
    fn only_what_may_pass_by_itself_is_retried() {
        for code in [Code::Unavailable, Code::FailedPrecondition, Code::DeadlineExceeded] {
            assert!(status(code, "").is_retryable(), "{code:?}");
        }
        for code in [Code::InvalidArgument, Code::PermissionDenied, Code::AlreadyExists, Code::Unimplemented]
        {
            assert!(!status(code, "").is_retryable(), "{code:?}");
        }
    }

    #[test]
    fn a_wrong_key_is_never_retried() {
        let address = ([192, 0, 2, 1], 50000).into();
        let (expected, seen) = (Fingerprint::of_public_key(b"a"), Fingerprint::of_public_key(b"b"));
        let error = CallError::from(ConnectError::WrongFingerprint { address, expected, seen });
        assert!(!error.is_retryable());
        assert_eq!(error.code(), Code::Unauthenticated);
    }
}
