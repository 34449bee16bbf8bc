//! One machine's API, dialled directly and never through another machine (talos.md §6.4).

use std::{
    future::{self, Future},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream::BoxStream};
use rustls::ClientConfig;
use tokio::time::timeout;
use tonic::{Response, Status, Streaming, transport::Channel};

use crate::{
    CallError, ConnectError, Credentials, Fingerprint, ProbeError,
    connection::{self, Lost},
    proto::{
        cosi::resource::state_client::StateClient,
        machine::{
            image_service_client::ImageServiceClient, lifecycle_service_client::LifecycleServiceClient,
            machine_service_client::MachineServiceClient,
        },
        storage::storage_service_client::StorageServiceClient,
    },
    reply::{Message, Reply},
    tls,
};

/// The machine API's TCP port.
pub const PORT: u16 = 50000;

/// How long a call may take by default: Bootstrap itself waits 6 s for the machine's clock and container runtime,
/// and a machine that installs is slow to answer.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// What Talos sends and takes at most, in one message.
const MESSAGE_LIMIT: usize = 32 << 20;

/// The API of one machine. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    channel: Channel,
    deadline: Duration,
}

impl Client {
    /// To a machine in maintenance mode, which must show the key of the first contact.
    pub async fn maintenance(address: SocketAddr, fingerprint: &Fingerprint) -> Result<Self, ConnectError> {
        let config = tls::maintenance(*fingerprint)
            .map_err(|error| ProbeError::NotTls { address, reason: error.to_string() })?;
        Self::over(address, Arc::new(config), Lost::Reconnect).await
    }

    /// To a configured machine of our cluster, which must show a certificate from our authority for `address`.
    /// TLS 1.3 lets a server refuse our own certificate only after that, so the first call may fail for it.
    pub async fn configured(address: SocketAddr, credentials: &Credentials) -> Result<Self, ConnectError> {
        Self::over(address, Arc::clone(credentials.config()), Lost::Reconnect).await
    }

    /// The same over one connection: when it is lost, every later call fails. Who answered the first call answers all of
    /// them, in the same boot; nobody who took the address over meanwhile does.
    pub async fn configured_once(
        address: SocketAddr,
        credentials: &Credentials,
    ) -> Result<Self, ConnectError> {
        Self::over(address, Arc::clone(credentials.config()), Lost::Fail).await
    }

    async fn over(address: SocketAddr, config: Arc<ClientConfig>, lost: Lost) -> Result<Self, ConnectError> {
        let channel = connection::connect(address, config, lost).await?;
        Ok(Self { address, channel, deadline: DEADLINE })
    }

    /// The same client with another limit for every call; for a watch the limit is on its opening.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Whom this client talks to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn machine(&self) -> MachineServiceClient<Channel> {
        MachineServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT)
    }

    pub(crate) fn state(&self) -> StateClient<Channel> {
        StateClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT)
    }

    pub(crate) fn image_service(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone())
    }

    pub(crate) fn lifecycle(&self) -> LifecycleServiceClient<Channel> {
        LifecycleServiceClient::new(self.channel.clone())
    }

    pub(crate) fn storage(&self) -> StorageServiceClient<Channel> {
        StorageServiceClient::new(self.channel.clone())
    }

    /// A call with one reply, within the deadline.
    pub(crate) async fn unary<R>(
        &self,
        call: &'static str,
        reply: impl Future<Output = Result<Response<R>, Status>>,
    ) -> Result<R, CallError> {
        self.in_time(call, async { reply.await.map_err(|status| self.failed(call, &status)) })
            .await
            .map(Response::into_inner)
    }

    /// A call whose reply has one message per machine; none of them failed.
    pub(crate) async fn messages<R: Reply>(
        &self,
        call: &'static str,
        reply: impl Future<Output = Result<Response<R>, Status>>,
    ) -> Result<Vec<R::Message>, CallError> {
        let messages = self.unary(call, reply).await?.into_messages();
        for message in &messages {
            self.not_failed(call, message)?;
        }
        Ok(messages)
    }

    /// A call whose reply must have a message.
    pub(crate) async fn message<R: Reply>(
        &self,
        call: &'static str,
        reply: impl Future<Output = Result<Response<R>, Status>>,
    ) -> Result<R::Message, CallError> {
        let first = self.messages(call, reply).await?.into_iter().next();
        first.ok_or_else(|| self.unusable(call, "it is empty"))
    }

    /// A call with a finite stream of replies, read to its end within the deadline.
    pub(crate) async fn collected<R>(
        &self,
        call: &'static str,
        reply: impl Future<Output = Result<Response<Streaming<R>>, Status>>,
    ) -> Result<Vec<R>, CallError> {
        let read = async {
            let stream = reply.await.map_err(|status| self.failed(call, &status))?.into_inner();
            stream.try_collect().await.map_err(|status| self.failed(call, &status))
        };
        self.in_time(call, read).await
    }

    /// A call with an endless stream of replies.
    pub(crate) async fn opened<R: Send + 'static>(
        &self,
        call: &'static str,
        reply: impl Future<Output = Result<Response<Streaming<R>>, Status>>,
    ) -> Result<BoxStream<'static, Result<R, CallError>>, CallError> {
        let stream = self.unary(call, reply).await?;
        let address = self.address;
        Ok(stream.map_err(move |status| failed(address, call, &status)).boxed())
    }

    pub(crate) fn not_failed(&self, call: &'static str, message: &impl Message) -> Result<(), CallError> {
        match message.failure() {
            None => Ok(()),
            Some((node, code, message)) => {
                Err(CallError::Node { address: self.address, call, node, code, message })
            }
        }
    }

    pub(crate) fn unusable(&self, call: &'static str, reason: impl Into<String>) -> CallError {
        CallError::Reply { address: self.address, call, reason: reason.into() }
    }

    fn failed(&self, call: &'static str, status: &Status) -> CallError {
        failed(self.address, call, status)
    }

    pub(crate) async fn in_time<T>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let within = self.deadline;
        timeout(within, work).await.unwrap_or(Err(CallError::Deadline {
            address: self.address,
            call,
            within,
        }))
    }
}

/// The same stream, with the first error as its last item: what comes after one would be a history with a hole in it.
pub(crate) fn until_error<T: Send + 'static>(
    items: impl Stream<Item = Result<T, CallError>> + Send + 'static,
) -> BoxStream<'static, Result<T, CallError>> {
    let until = items.scan(false, |ended, item| {
        let item = (!*ended).then_some(item);
        *ended = matches!(item, Some(Err(_)));
        future::ready(item)
    });
    until.boxed()
}

/// A status that came over the wire has no cause on our side; tonic makes up the others, mostly as `Unknown`.
fn failed(address: SocketAddr, call: &'static str, status: &Status) -> CallError {
    match std::error::Error::source(status) {
        Some(cause) => CallError::Lost { address, call, reason: connection::told(cause) },
        None => {
            CallError::Status { address, call, code: status.code(), message: status.message().to_owned() }
        }
    }
}
