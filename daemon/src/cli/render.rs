//! `ichord render`: the machine configs as files, and what differs from files that are there.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use site::{Rendered, Site};
use talos_config::{config::MachineConfig, difference::differences, secrets::SecretsBundle};

use super::{Failure, credentials::loaded, print};
use crate::app::{self, Loaded};

/// Where talhelper writes, too.
const FOLDER: &str = "clusterconfig";
const TALOSCONFIG: &str = "talosconfig";
const IGNORED: &str = ".gitignore";

/// Writes the machine config of every node, as the daemon would push it.
///
/// The files are those of `talhelper genconfig`: one a node, a talosconfig, and a .gitignore that names them all. They hold the
/// cluster's secrets; they are made with mode 0600. With --diff nothing is written unless --out says where.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 1 when --diff finds a difference, 2 when the site has faults.\n\nExamples:\n  ichord render profiles/home-ops\n  ichord render profiles/home-ops --node mini01 --out /dev/shm/configs\n  ichord render profiles/home-ops --diff clusterconfig\n  ichord render profiles/home-ops --placeholders --out /tmp/configs"
)]
pub(crate) struct Render {
    /// the site's folder
    site: PathBuf,
    /// one node only
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// where to write them; ./clusterconfig unless there is --diff
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// show what differs from the configs in this folder, without secrets
    #[arg(long, value_name = "DIR")]
    diff: Option<PathBuf>,
    /// where secrets or variables are missing, write what belongs there instead
    #[arg(long)]
    placeholders: bool,
}

impl Render {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let (site, secrets) = self.site()?;
        let rendered = match &secrets {
            Some(secrets) => site.render(secrets)?,
            None => site.render(&SecretsBundle::placeholders())?,
        };
        let wanted: Vec<&Rendered> = rendered
            .iter()
            .filter(|config| self.node.as_deref().is_none_or(|name| name == config.node))
            .collect();
        if wanted.is_empty() {
            return Err(anyhow!("{} is not in the site", self.node.as_deref().unwrap_or("a node")).into());
        }
        unique(&rendered)?;
        let out = match (&self.out, &self.diff) {
            (Some(out), _) => Some(out.clone()),
            (None, Some(_)) => None,
            (None, None) => Some(PathBuf::from(FOLDER)),
        };
        if let Some(out) = &out {
            write_all(out, &wanted)?;
            if let Some(secrets) = secrets.as_ref().filter(|_| self.node.is_none()) {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                write(&out.join(TALOSCONFIG), &site.talosconfig(secrets, now)?)?;
            }
            let names = rendered.iter().map(|config| config.file.as_str()).chain([TALOSCONFIG]);
            ignore(&out.join(IGNORED), &names.collect::<Vec<_>>())?;
        }
        match &self.diff {
            Some(folder) => compare(folder, &wanted),
            None => Ok(()),
        }
    }

    /// The site with its secrets; without them where placeholders stand in.
    fn site(&self) -> Result<(Site, Option<SecretsBundle>), Failure> {
        if !self.placeholders {
            let Loaded { site, secrets, .. } = loaded(&self.site)?;
            return Ok((site, Some(secrets)));
        }
        let sketch = app::sketch(&self.site).map_err(|error| Failure::of_site(&error))?;
        for place in &sketch.placeholders {
            eprintln!("a placeholder stands for {place}");
        }
        let real = sketch.secrets != SecretsBundle::placeholders();
        Ok((sketch.site, real.then_some(sketch.secrets)))
    }
}

/// Two nodes with one file would be one node.
fn unique(rendered: &[Rendered]) -> Result<(), Failure> {
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for config in rendered {
        if let Some(other) = names.insert(&config.file, &config.node) {
            let message = format!("{other} and {} have the same file name {}", config.node, config.file);
            return Err(anyhow!("{message}; put {{{{ .Hostname }}}} into `filenameTmpl`").into());
        }
    }
    Ok(())
}

fn write_all(out: &Path, configs: &[&Rendered]) -> Result<(), Failure> {
    for config in configs {
        write(&out.join(&config.file), &config.text)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = || format!("{} cannot be written", path.display());
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(failed)?;
    }
    let mut file = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(failed)?;
    file.write_all(text.as_bytes()).with_context(failed)?;
    print(&format!("{}\n", path.display()))
}

/// Adds the names that no line there covers, as talhelper does.
fn ignore(path: &Path, names: &[&str]) -> Result<(), Failure> {
    let failed = || format!("{} cannot be written", path.display());
    let there = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(anyhow!(error).context(failed()).into()),
    };
    let covered = |name: &str| there.lines().any(|line| covers(line.trim().trim_start_matches('/'), name));
    let mut text = there.clone();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for name in names.iter().filter(|name| !covered(name)) {
        text.push_str(name);
        text.push('\n');
    }
    if text != there {
        fs::write(path, text).with_context(failed)?;
    }
    Ok(())
}

/// Whether a line of a .gitignore is about a file: the name itself, or with `*` for any characters.
fn covers(line: &str, name: &str) -> bool {
    let Some((first, rest)) = line.split_once('*') else { return line == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = left.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    left.ends_with(last)
}

/// Shows what the configs here have otherwise than the files in a folder.
fn compare(folder: &Path, configs: &[&Rendered]) -> Result<(), Failure> {
    let mut same = true;
    for config in configs {
        let path = folder.join(&config.file);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                same = false;
                print(&format!("{}: is not there\n", path.display()))?;
                continue;
            }
            Err(error) => {
                return Err(anyhow!(error).context(format!("{} cannot be read", path.display())).into());
            }
        };
        let not_a_config = || format!("{} is not a machine config", path.display());
        let old = MachineConfig::from_yaml(&text).with_context(not_a_config)?;
        let new = MachineConfig::from_yaml(&config.text).with_context(not_a_config)?;
        let found = differences(&old, &new);
        if !found.is_empty() {
            same = false;
            print(&format!("{}:\n", path.display()))?;
        }
        for difference in found {
            print(&format!("{difference}\n"))?;
        }
    }
    if same { Ok(()) } else { Err(Failure::Differs) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_stars_covers_names() {
        for (line, name, expected) in [
            ("a.yaml", "a.yaml", true),
            ("*.yaml", "a.yaml", true),
            ("home-*.y*l", "home-a.yaml", true),
            ("*", "talosconfig", true),
            ("*.yml", "a.yaml", false),
            ("b*", "a.yaml", false),
            ("", "a.yaml", false),
        ] {
            assert_eq!(covers(line, name), expected, "{line} {name}");
        }
    }
}
