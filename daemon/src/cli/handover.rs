//! `ichord handover`: the hand-over by hand.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use handover::{Step, StepError};
use kubernetes::{Access, Claim, Client};
use talos_config::pki::kubernetes_admin;

use super::{Failure, print, whoever_asks};
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
    Run(Run),
    Verify(Verify),
}

/// Runs every step, in its order, until one does not come to its end; by hand, as the daemon does it by itself.
///
/// What is in place already is left as it is, so it may be run as often as one likes. The daemon tries again by itself
/// what may go away; this does not. Exit code 1 when a step stops. One `ichord` at a time writes: where the daemon or another
/// command does, this one says who it is and since when, and writes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ichord handover run profiles/home-ops --step flux")]
struct Run {
    /// the site's folder
    site: PathBuf,
    /// one step only
    #[arg(long, value_name = "STEP")]
    step: Option<String>,
    /// the folder for what the cluster says when a step stops
    #[arg(long, value_name = "FOLDER")]
    bundle: Option<PathBuf>,
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
            HandoverCommand::Run(command) => command.run().await,
            HandoverCommand::Verify(command) => command.run().await,
        }
    }
}

/// The site's steps, or the one that is meant.
fn chosen<'a>(loaded: &'a Loaded, only: Option<&str>) -> Result<Vec<&'a Step>, Failure> {
    let steps: Vec<_> =
        loaded.steps.iter().filter(|step| only.is_none_or(|only| step.name == only)).collect();
    match only {
        Some(name) if steps.is_empty() => Err(anyhow!("the site has no step {name}").into()),
        _ => Ok(steps),
    }
}

impl Run {
    async fn run(self) -> Result<(), Failure> {
        let loaded = app::load(&self.site).map_err(|error| Failure::of_site(&error))?;
        let client = client(&loaded)?.alone(claim("handover run"));
        let done = self.steps(&loaded, &client).await;
        // what it owns is as it should be; that it says so later is no failure
        client.give_back().await.ok();
        done
    }

    async fn steps(&self, loaded: &Loaded, client: &Client) -> Result<(), Failure> {
        for step in chosen(loaded, self.step.as_deref())? {
            let outcome = match handover::run_step(client, step).await {
                Ok(outcome) => outcome,
                Err(error) => return Err(self.stopped(&error)),
            };
            let (objects, written) = (outcome.objects.len(), outcome.mutations);
            let mut text = format!("{}: {objects} objects, {written} of them written\n", step.name);
            outcome.notes.iter().for_each(|note| text += &format!("  {note}\n"));
            print(&text)?;
        }
        Ok(())
    }

    fn stopped(&self, error: &StepError) -> Failure {
        let told = anyhow!("{error}");
        match self.bundle.as_ref().map(|folder| error.bundle(folder)) {
            None | Some(Ok(None)) => told.into(),
            Some(Ok(Some(path))) => anyhow!("{told}\n  more: {}", path.display()).into(),
            Some(Err(fault)) => anyhow!("{told}\n  what the cluster says cannot be written: {fault}").into(),
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
        let steps = chosen(&loaded, self.step.as_deref())?;
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

/// By whom the cluster is written to.
pub(super) fn claim(command: &str) -> Claim {
    Claim::of(&format!("`ichord {command}` of {}, process {},", whoever_asks(), std::process::id()))
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
