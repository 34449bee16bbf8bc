//! What the machine writes down: its kernel's messages, and the output of its services.

use futures_util::{StreamExt as _, stream::BoxStream};
use tonic::{Response, Status, Streaming};

use crate::{
    CallError, Client,
    client::until_error,
    proto::{common, machine},
    reply::Message as _,
};

/// Text in pieces; a piece need not end with a line. Ends with the first error.
pub type Text = BoxStream<'static, Result<Vec<u8>, CallError>>;

impl Client {
    /// The output of a service of Talos (`etcd`, `kubelet`, `ext-lldpd` …): its last `lines`, or all of it. With
    /// `follow` the stream goes on for as long as the machine and the caller want. The client's limit is on its
    /// opening.
    pub async fn logs(&self, service: &str, lines: Option<u16>, follow: bool) -> Result<Text, CallError> {
        let request = machine::LogsRequest {
            namespace: "system".to_owned(),
            id: service.to_owned(),
            driver: common::ContainerDriver::Containerd.into(),
            follow,
            // Below zero means all; zero means none.
            tail_lines: lines.map_or(-1, i32::from),
        };
        let mut machine = self.machine();
        self.text("Logs", machine.logs(request)).await
    }

    /// The kernel's messages since the machine was booted. With `follow` the stream goes on with new ones. The
    /// client's limit is on its opening.
    pub async fn dmesg(&self, follow: bool) -> Result<Text, CallError> {
        let mut machine = self.machine();
        self.text("Dmesg", machine.dmesg(machine::DmesgRequest { follow, tail: false })).await
    }

    async fn text(
        &self,
        call: &'static str,
        reply: impl Future<Output = Result<Response<Streaming<common::Data>>, Status>>,
    ) -> Result<Text, CallError> {
        let address = self.address();
        let pieces = self.opened(call, reply).await?.map(move |piece| {
            let piece = piece?;
            match piece.failure() {
                None => Ok(piece.bytes),
                Some((node, code, message)) => Err(CallError::Node { address, call, node, code, message }),
            }
        });
        Ok(until_error(pieces))
    }
}
