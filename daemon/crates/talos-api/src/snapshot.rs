//! etcd's database as a file, written while it comes: it may be larger than memory. etcd sends the database and then
//! the SHA-256 of it, so that a snapshot that was cut off or damaged on its way is told from a whole one.

use std::{io, net::SocketAddr};

use futures_util::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::{CallError, Client, proto::machine};

const CALL: &str = "EtcdSnapshot";
const SHA256: usize = 32;

/// There is no snapshot; what was written is not one and must not be kept.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// the machine did not give it, or stopped in the middle
    #[error(transparent)]
    Call(#[from] CallError),
    /// it could not be written where the caller wants it
    #[error("the etcd snapshot from {address} cannot be written: {error}")]
    Write {
        /// whose snapshot
        address: SocketAddr,
        /// in the system's words
        #[source]
        error: io::Error,
    },
}

impl Client {
    /// Writes a snapshot of this machine's etcd database to `into`, flushes it, and returns its size in bytes. It is
    /// what etcd's own restore takes, the checksum at its end included. The client's limit is on every piece, not on
    /// the whole. To be asked of a healthy member with a vote.
    pub async fn etcd_snapshot(&self, into: &mut (impl AsyncWrite + Unpin)) -> Result<u64, SnapshotError> {
        let mut machine = self.machine();
        let mut pieces = self.opened(CALL, machine.etcd_snapshot(machine::EtcdSnapshotRequest {})).await?;
        let write = |error| SnapshotError::Write { address: self.address(), error };
        let (mut size, mut hash) = (0, Sha256::new());
        // The last bytes seen, which may be the checksum and are not part of what it is of.
        let mut held = Vec::new();
        while let Some(piece) = self.in_time(CALL, async { Ok(pieces.next().await) }).await? {
            let piece = piece?;
            self.not_failed(CALL, &piece)?;
            into.write_all(&piece.bytes).await.map_err(write)?;
            size += piece.bytes.len() as u64;
            held.extend(piece.bytes);
            let database = held.len().saturating_sub(SHA256);
            hash.update(&held[..database]);
            held.drain(..database);
        }
        into.flush().await.map_err(write)?;
        if size <= SHA256 as u64 || hash.finalize()[..] != held[..] {
            let reason = format!("its {size} bytes do not end in their checksum: cut off or damaged");
            return Err(self.unusable(CALL, reason).into());
        }
        Ok(size)
    }
}
