//! `ichord handover`: the hand-over by hand.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use kubernetes::{Access, Client};
use talos_config::pki::kubernetes_admin;

use super::{Failure, print};
use crate::app::{self, Loaded};

/// An administrator certificate for the length of one command.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Looks after the objects that the hand-over brings.
#[derive(Debug, Args)]
pub(crate) struct Handover {
    #[command(subcommand)]
    command: HandoverCommand,
}

#[derive(Debug, Subcommand)]
enum HandoverCommand {
    Verify(Verify),
}

/// Goes through every step without writing and shows what a run would change.
///
/// A healthy cluster shows nothing but the number of objects. Exit code 1 when a run would write something, when something
/// is not ready, or when it cannot be asked.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ichord handover verify profiles/home-ops")]
struct Verify {
    /// the site's folder
    site: PathBuf,
    /// one step only
    #[arg(long, value_name = "STEP")]
    step: Option<String>,
}

impl Handover {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.command {
            HandoverCommand::Verify(command) => command.run().await,
        }
    }
}

impl Verify {
    async fn run(self) -> Result<(), Failure> {
        let loaded = app::load(&self.site).map_err(|error| Failure::of_site(&error))?;
        let client = client(&loaded)?;
        if !client.ready().await? {
            return Err(anyhow!("the API server answers and is not ready yet").into());
        }
        let wanted = |name: &str| self.step.as_deref().is_none_or(|step| step == name);
        let steps: Vec<_> = loaded.steps.iter().filter(|step| wanted(&step.name)).collect();
        if let (Some(name), true) = (&self.step, steps.is_empty()) {
            return Err(anyhow!("the site has no step {name}").into());
        }
        let (mut mutations, mut faults) = (0, 0);
        for step in steps {
            let verified = handover::verify(&client, step).await;
            let (writes, wrong) = (verified.mutations(), verified.faults.len());
            let mut text = format!("{}: {} objects, {writes} to write\n", step.name, verified.objects.len());
            for object in &verified.objects {
                match (&object.owner, &object.outcome) {
                    (None, kubernetes::Outcome::Unchanged) => {}
                    (Some(_), _) => text += &format!("  {object}\n"),
                    (None, kubernetes::Outcome::Created) => {
                        text += &format!("  {} would be created\n", object.object)
                    }
                    (None, kubernetes::Outcome::Changed(fields)) => {
                        text += &format!("  {} would change: {}\n", object.object, fields.join(", "));
                    }
                }
            }
            for fault in &verified.faults {
                text += &format!("  {fault}\n");
            }
            print(&text)?;
            mutations += writes;
            faults += wrong;
        }
        match (mutations, faults) {
            (0, 0) => Ok(()),
            _ => {
                Err(anyhow!("a run would write {mutations} objects; {faults} are not as they should be")
                    .into())
            }
        }
    }
}

/// A client of the site's cluster, with a certificate from its own secrets.
pub(super) fn client(loaded: &Loaded) -> Result<Client, Failure> {
    let authority = &loaded.secrets.kubernetes;
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let admin = kubernetes_admin(authority, now, LIFETIME).context("no client certificate can be issued")?;
    Ok(Client::new(Access {
        endpoint: &loaded.site.cluster().endpoint,
        authority: &authority.certificate,
        certificate: &admin.certificate,
        key: admin.key.expose(),
        address: None,
    })?)
}
