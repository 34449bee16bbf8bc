//! Two network namespaces with a virtual cable between them: servers on one end, the load on the other.
//!
//! Nothing of the machine's own network is touched, and its ports are free for everybody. With the value go the namespaces.

use std::{
    io,
    net::Ipv4Addr,
    process::{Child, Command},
    sync::Arc,
};

use anyhow::Context as _;
use ipnet::Ipv4Net;
use net::namespace::{self, Namespace};

/// The servers' address.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 2);
const PREFIX: u8 = 24;

/// The two ends.
pub(crate) struct Cable {
    server: Namespace,
    client: Arc<Namespace>,
}

impl Cable {
    /// Lays it.
    pub(crate) fn lay() -> anyhow::Result<Self> {
        let make = || -> io::Result<Self> {
            let (server, client) = (Namespace::create()?, Arc::new(Namespace::create()?));
            let other = Arc::clone(&client);
            server.run(|| async move {
                namespace::cable(["srv", "cli"], [None, None]).await?;
                other.take("cli").await?;
                namespace::address("srv", net(SERVER)?).await
            })??;
            client.run(|| async {
                namespace::up("cli").await?;
                namespace::address("cli", net(CLIENT)?).await
            })??;
            server.run(|| namespace::carrier("srv"))??;
            Ok(Self { server, client })
        };
        make().context(
            "no network for the measurement: run it as root, or with `unshare -rn` before the command",
        )
    }

    /// Starts a program at the servers' end.
    pub(crate) fn serve(&self, mut command: Command) -> anyhow::Result<Child> {
        let name = command.get_program().to_string_lossy().into_owned();
        self.server
            .run(move || async move { command.spawn() })?
            .with_context(|| format!("{name} does not start"))
    }

    /// Does something at the clients' end; threads that it starts are there, too.
    pub(crate) fn load<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        self.client.run(move || async move { work() })?
    }
}

fn net(address: Ipv4Addr) -> io::Result<Ipv4Net> {
    Ipv4Net::new(address, PREFIX).map_err(io::Error::other)
}
