//! `ichord talosconfig`: what `talosctl` needs to reach the cluster, made from its secrets alone.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use talos_config::pki::{self, Role, renew};

use super::{
    Failure,
    credentials::{Destination, Lifetime, loaded, now},
};
use crate::app::Loaded;

/// Makes a talosconfig with a client certificate of its own. Needs neither the daemon nor the cluster.
///
/// Its endpoints are the control planes' own addresses, and its nodes all nodes. It goes to standard output, or into a new
/// file that only you may read.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ichord talosconfig profiles/home-ops --out ~/.talos/config
  ichord talosconfig profiles/home-ops --renew ~/.talos/config
  ichord talosconfig profiles/home-ops --role reader --valid-for 8h > reader.yaml")]
pub(crate) struct Talosconfig {
    /// the site's folder
    site: PathBuf,
    /// what the holder may do
    #[arg(long, value_enum, default_value_t = Holder::Admin)]
    role: Holder,
    /// for how long, in hours, days or years: `8h`, `30d`, `1y`
    #[arg(long, value_name = "TIME", default_value = "1y")]
    valid_for: Lifetime,
    #[command(flatten)]
    destination: Destination,
}

/// What Talos knows as roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Holder {
    /// everything
    Admin,
    /// everything but secrets and what cannot be undone
    Operator,
    /// look only
    Reader,
    /// take a backup of etcd
    EtcdBackup,
}

impl Talosconfig {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let Loaded { site, secrets, .. } = loaded(&self.site)?;
        let role = match self.role {
            Holder::Admin => Role::Admin,
            Holder::Operator => Role::Operator,
            Holder::Reader => Role::Reader,
            Holder::EtcdBackup => Role::EtcdBackup,
        };
        let client = pki::talos_client(&secrets.os, role, now(), self.valid_for.0)?;
        let cluster = site.cluster();
        let addresses = |control_planes_only: bool| -> Vec<_> {
            let nodes = cluster.nodes.iter().filter(|node| node.control_plane || !control_planes_only);
            nodes.filter_map(talos_config::talconfig::Node::address).collect()
        };
        self.destination.put(
            || {
                Ok(pki::talosconfig(
                    &cluster.cluster_name,
                    &addresses(true),
                    &addresses(false),
                    &secrets.os,
                    &client,
                )?)
            },
            |text| renew::talosconfig(text, &secrets.os, &client),
        )
    }
}
