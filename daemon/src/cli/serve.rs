//! `ichord serve`: the daemon.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, Socket};
use crate::app::{self, BootPorts, Options, log};

/// Runs the daemon for one site, until SIGTERM or SIGINT.
///
/// Keeps two capabilities (NET_RAW, NET_BIND_SERVICE) and gives up the rest, reads the site, checks it,
/// opens every socket, and only then answers anybody. SIGHUP (or `ichord reload`) reads the site again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ichord serve profiles/home-ops --state /var/lib/ichord")]
pub(crate) struct Serve {
    /// the site's folder
    site: PathBuf,
    /// where the daemon keeps its state
    #[arg(long, env = "STATE_DIRECTORY", default_value = "/var/lib/ichord", value_name = "DIR")]
    state: PathBuf,
    #[command(flatten)]
    socket: Socket,
    /// the port of HTTP boot on each provisioning network
    #[arg(long, default_value_t = 80, value_name = "PORT")]
    http_port: u16,
    /// the port of HTTPS boot there, where the site has an authority for it
    #[arg(long, default_value_t = 443, value_name = "PORT")]
    https_port: u16,
    /// what log lines look like
    #[arg(long, value_enum, default_value = "text")]
    log: log::Format,
    /// die once at every place that this file does not name yet (for the lab)
    #[arg(long, env = "ICHORD_CRASH_LEDGER", hide = true, value_name = "FILE")]
    crash_ledger: Option<PathBuf>,
}

impl Serve {
    pub(crate) fn run(self) -> Result<(), Failure> {
        log::start(self.log)?;
        app::drop_capabilities()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let options = Options {
            site: self.site,
            state: self.state,
            socket: self.socket.socket,
            ports: BootPorts { http: self.http_port, https: self.https_port },
            crash_ledger: self.crash_ledger,
        };
        runtime.block_on(app::run(options)).map_err(|error| match error.downcast_ref() {
            Some(fault) => Failure::of_site(fault),
            None => error.into(),
        })
    }
}
