//! etcd from a snapshot, after its quorum is lost for ever (talos.md §9.2): the snapshot is handed to one control plane
//! without etcd data, which is then told to begin from it.

use std::io;

use futures_util::{
    FutureExt as _, StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::oneshot,
};

use crate::{
    CallError, Client,
    proto::{common, machine},
};

/// Of one message; the machine takes more, but a piece is a copy in memory.
const PIECE: usize = 64 << 10;

/// The machine does not have the snapshot.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// it did not take it
    #[error(transparent)]
    Call(#[from] CallError),
    /// it could not be read here; the machine was left without the rest
    #[error("the etcd snapshot cannot be read: {0}")]
    Read(#[source] io::Error),
}

impl Client {
    /// Hands a snapshot to a control plane whose etcd has no data. It is only kept there; see
    /// [`Client::bootstrap_recovered`]. The client's limit is on the whole, so a large one wants a longer limit
    /// ([`Client::with_deadline`]).
    pub async fn etcd_recover(
        &self,
        snapshot: impl AsyncRead + Send + Unpin + 'static,
    ) -> Result<(), RecoverError> {
        let (pieces, fault) = pieces(snapshot);
        let mut machine = self.machine();
        // In a box, or the compiler does not see that the whole may be spawned.
        let reply = machine.etcd_recover(pieces).boxed();
        tokio::select! {
            reply = self.messages("EtcdRecover", reply) => Ok(reply.map(drop)?),
            Ok(error) = fault => Err(RecoverError::Read(error)),
        }
    }

    /// Starts etcd on this machine from the snapshot that was handed to it. Like [`Client::bootstrap`] it makes a new
    /// cluster and must happen once. The snapshot's checksum is verified, unless it is a database file that was copied
    /// from a disk and has none.
    pub async fn bootstrap_recovered(&self, copied_from_disk: bool) -> Result<(), CallError> {
        let request =
            machine::BootstrapRequest { recover_etcd: true, recover_skip_hash_check: copied_from_disk };
        let mut machine = self.machine();
        self.messages("Bootstrap", machine.bootstrap(request)).await?;
        Ok(())
    }
}

/// The snapshot in pieces, and the error that ended them too early. They stay without an end then: the end of the stream
/// would tell the machine that this was all of it.
fn pieces(
    snapshot: impl AsyncRead + Send + Unpin + 'static,
) -> (BoxStream<'static, common::Data>, oneshot::Receiver<io::Error>) {
    let (broken, fault) = oneshot::channel();
    let pieces = stream::unfold((snapshot, broken), |(mut snapshot, broken)| async move {
        let mut bytes = Vec::with_capacity(PIECE);
        match (&mut snapshot).take(PIECE as u64).read_to_end(&mut bytes).await {
            Ok(0) => None,
            Ok(_) => Some((common::Data { metadata: None, bytes }, (snapshot, broken))),
            Err(error) => {
                // Whoever does not listen any more has given the call up.
                broken.send(error).ok();
                std::future::pending().await
            }
        }
    });
    (pieces.boxed(), fault)
}
