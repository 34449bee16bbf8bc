//! `ichord kubeconfig`: what `kubectl` needs to reach the cluster, made from its secrets alone.

use std::path::PathBuf;

use clap::Args;
use talos_config::pki::{self, renew};

use super::{
    Failure,
    credentials::{Destination, Lifetime, loaded, now},
};
use crate::app::Loaded;

/// Makes an administrator's kubeconfig. Needs neither the daemon nor the cluster.
///
/// It goes to standard output, or into a new file that only you may read.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ichord kubeconfig profiles/home-ops --out ~/.kube/home-ops
  ichord kubeconfig profiles/home-ops --renew ~/.kube/home-ops
  ichord kubeconfig profiles/home-ops --valid-for 8h > today.yaml")]
pub(crate) struct Kubeconfig {
    /// the site's folder
    site: PathBuf,
    /// for how long, in hours, days or years: `8h`, `30d`, `1y`
    #[arg(long, value_name = "TIME", default_value = "1y")]
    valid_for: Lifetime,
    #[command(flatten)]
    destination: Destination,
}

impl Kubeconfig {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let Loaded { site, secrets, .. } = loaded(&self.site)?;
        let client = pki::kubernetes_admin(&secrets.kubernetes, now(), self.valid_for.0)?;
        let cluster = site.cluster();
        self.destination.put(
            || Ok(pki::kubeconfig(&cluster.cluster_name, &cluster.endpoint, &secrets.kubernetes, &client)?),
            |text| renew::kubeconfig(text, &secrets.kubernetes, &client),
        )
    }
}
