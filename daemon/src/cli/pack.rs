//! `ichord pack`: objects that were rendered before, for sites without a chart registry.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};

use super::{Failure, print};
use crate::app::{self, Disk, LoadError};

/// Makes and shows packs: a step's objects in one file that names its own digest.
#[derive(Debug, Args)]
pub(crate) struct Pack {
    #[command(subcommand)]
    command: PackCommand,
}

#[derive(Debug, Subcommand)]
enum PackCommand {
    Build(Build),
    Import(Import),
    Show(Show),
    Diff(Diff),
}

/// Freezes what a step of a site applies: its charts, kustomizations, downloads and files.
///
/// Values of Secrets never go into a pack.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ichord pack build profiles/home-ops cilium --out cilium.pack
  ichord pack build profiles/home-ops cilium --parameters parameters.yaml --out cilium.pack")]
struct Build {
    /// the site's folder
    site: PathBuf,
    /// the step
    step: String,
    /// the file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// what may be chosen later, and where it goes
    #[arg(long, value_name = "FILE")]
    parameters: Option<PathBuf>,
    /// the version of what is in it; of a chart, the chart's
    #[arg(long, value_name = "VERSION")]
    content_version: Option<String>,
}

/// Takes a pack into a site's folder `packs`, under a name with its digest.
#[derive(Debug, Args)]
struct Import {
    /// the site's folder
    site: PathBuf,
    /// the pack
    pack: PathBuf,
}

/// Shows what is in a pack: objects, images, and what may be chosen.
#[derive(Debug, Args)]
struct Show {
    /// the pack
    pack: PathBuf,
}

/// Shows what another pack has differently, by object and field; never values.
///
/// Exit code 1 when they differ.
#[derive(Debug, Args)]
struct Diff {
    /// the pack before
    before: PathBuf,
    /// the pack after
    after: PathBuf,
}

impl Pack {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.command {
            PackCommand::Build(command) => command.run(),
            PackCommand::Import(command) => command.run(),
            PackCommand::Show(command) => command.run(),
            PackCommand::Diff(command) => command.run(),
        }
    }
}

fn faults(findings: document::Findings) -> Failure {
    Failure::of_site(&LoadError::Faults(findings))
}

fn read(path: &Path) -> Result<handover::Pack, Failure> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    handover::Pack::parse(&path.display().to_string(), &text).map_err(faults)
}

impl Build {
    fn run(self) -> Result<(), Failure> {
        let environment = std::env::vars().collect();
        let (site, _) = site::Site::load(&self.site, &Disk, &environment).map_err(faults)?;
        let (step, release) = app::frozen(&site, &self.step, &Disk).map_err(faults)?;
        let parameters = match &self.parameters {
            Some(path) => {
                let text =
                    fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
                Some((path.display().to_string(), text))
            }
            None => None,
        };
        let parameters = parameters.as_ref().map(|(file, text)| (file.as_str(), text.as_str()));
        let version =
            self.content_version.or_else(|| release.as_ref().map(|release| release.chart.version.clone()));
        let version = version.ok_or_else(|| anyhow!("no chart says the version: add --content-version"))?;
        let pack = handover::Pack::build(&self.step, &version, &step, release.as_ref(), parameters);
        let pack = pack.map_err(faults)?;
        fs::write(&self.out, pack.to_string())
            .with_context(|| format!("{} cannot be written", self.out.display()))?;
        print(&format!(
            "{} {}: {} objects, {}\n",
            pack.name(),
            pack.version(),
            pack.ids().count(),
            pack.digest()
        ))
    }
}

impl Import {
    fn run(self) -> Result<(), Failure> {
        let pack = read(&self.pack)?;
        let folder = self.site.join("packs");
        let digest = pack.digest();
        let short: String = digest.trim_start_matches("sha256:").chars().take(12).collect();
        let name = format!("{}-{}-{short}.pack", pack.name(), pack.version());
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(folder.join(&name), pack.to_string()))
            .with_context(|| format!("{} cannot be written", folder.display()))?;
        print(&format!("packs/{name}\n"))
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let pack = read(&self.pack)?;
        let mut text = format!("{} {}\n{}\n", pack.name(), pack.version(), pack.digest());
        if let Some(release) = pack.release() {
            let (identity, chart) = (release.identity, release.chart);
            text += &format!(
                "release {}/{} of {} {}\n",
                identity.namespace, identity.name, chart.name, chart.version
            );
        }
        text += &pack.ids().map(|id| format!("  {id}\n")).collect::<String>();
        text += &pack.images().iter().map(|image| format!("image {image}\n")).collect::<String>();
        for (name, parameter) in pack.parameters() {
            text += &format!("parameter {name}: {:?} {}\n", parameter.kind, parameter.about).to_lowercase();
        }
        print(&text)
    }
}

impl Diff {
    fn run(self) -> Result<(), Failure> {
        let (before, after) = (read(&self.before)?, read(&self.after)?);
        let differences = before.differences(&after);
        print(&differences.iter().map(|difference| format!("{difference}\n")).collect::<String>())?;
        if differences.is_empty() { Ok(()) } else { Err(Failure::Differs) }
    }
}
