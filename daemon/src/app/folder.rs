//! A site's folder: read, checked, and remembered word for word, so that it can be gone on with later.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use document::Findings;
use handover::Step;
use serde::{Deserialize, Serialize};
use site::{Files, Site};
use talos_config::secrets::SecretsBundle;

use super::{certificates, outside, sealed, steps::steps};

/// A checked site with its secrets.
pub(crate) struct Loaded {
    pub(crate) site: Site,
    pub(crate) secrets: SecretsBundle,
    /// the hand-over's objects
    pub(crate) steps: Vec<Step>,
    /// warnings only
    pub(crate) findings: Findings,
    /// everything that was read to get there
    pub(crate) copy: Copy,
}

/// Every file of a site as it was read, secrets included: to be kept sealed, never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Copy {
    directory: PathBuf,
    /// `None` is a file that was looked for and not there
    files: BTreeMap<PathBuf, Option<String>>,
    /// the variables that the files name
    environment: BTreeMap<String, String>,
}

/// Why there is no site.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// the files have faults
    #[error("{0}")]
    Faults(Findings),
    /// the secrets cannot be had
    #[error(transparent)]
    Secrets(#[from] anyhow::Error),
}

/// The disk, through the user's own programs where a file is encrypted or kept elsewhere.
pub(crate) struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        outside::read(path).unwrap_or_else(|| sealed::read(path))
    }

    fn exists(&self, path: &Path) -> bool {
        sealed::exists(path)
    }
}

/// Reads a site from disk.
pub(crate) fn load(directory: &Path) -> Result<Loaded, LoadError> {
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let recorder = Recorder { inner: &Disk, seen: RefCell::default() };
    let (site, secrets, steps, findings) = read(directory, &recorder, &environment)?;
    let files = recorder.seen.into_inner();
    let named = |name: &str| files.values().flatten().any(|text| names(text, name));
    let environment = environment.into_iter().filter(|(name, _)| named(name)).collect();
    let copy = Copy { directory: directory.to_owned(), files, environment };
    Ok(Loaded { site, secrets, steps, findings, copy })
}

/// A site with placeholders for what is not there: secrets, and variables of the environment.
pub(crate) struct Sketch {
    pub(crate) site: Site,
    pub(crate) secrets: SecretsBundle,
    /// what stands in for what, for a person; empty when all is there
    pub(crate) placeholders: Vec<String>,
}

/// Reads a site from disk to look at its configs.
pub(crate) fn sketch(directory: &Path) -> Result<Sketch, LoadError> {
    let mut environment: BTreeMap<String, String> = std::env::vars().collect();
    let recorder = Recorder { inner: &Disk, seen: RefCell::default() };
    // what is missing is found out by reading; the faults come with the second reading
    Site::load(directory, &recorder, &environment).map(drop).ok();
    let mut placeholders = Vec::new();
    for text in recorder.seen.into_inner().values().flatten() {
        for name in document::unset(text, &environment) {
            environment
                .insert(name.clone(), format!("placeholder-{}", name.to_lowercase().replace('_', "-")));
            placeholders.push(format!("the variable {name}"));
        }
    }
    let (site, _) = Site::load(directory, &Disk, &environment).map_err(LoadError::Faults)?;
    let secrets = if Disk.exists(site.secrets()) {
        read(directory, &Disk, &environment)?.1
    } else {
        placeholders.push(format!("the secrets {}", site.secrets().display()));
        SecretsBundle::placeholders()
    };
    let site = site.for_cluster(secrets.cluster_id.clone());
    Ok(Sketch { site, secrets, placeholders })
}

impl Copy {
    /// The site as it was when the copy was made.
    pub(crate) fn load(self) -> Result<Loaded, LoadError> {
        let (site, secrets, steps, findings) = read(&self.directory, &self, &self.environment)?;
        Ok(Loaded { site, secrets, steps, findings, copy: self })
    }
}

fn read(
    directory: &Path,
    files: &dyn Files,
    environment: &BTreeMap<String, String>,
) -> Result<(Site, SecretsBundle, Vec<Step>, Findings), LoadError> {
    let (site, findings) = Site::load(directory, files, environment).map_err(LoadError::Faults)?;
    let (mut steps, warnings) = steps(&site, files).map_err(LoadError::Faults)?;
    let mut findings = findings;
    findings.extend(warnings.iter().cloned());
    let path = site.secrets().to_owned();
    let text = files.read(&path).map_err(|error| {
        let missing = error.kind() == io::ErrorKind::NotFound;
        let hint = format!("; `ichord secrets new {}` makes them", directory.display());
        let hint = if missing { hint.as_str() } else { "" };
        anyhow::Error::new(error).context(format!("the secrets {} cannot be read{hint}", path.display()))
    })?;
    let text = zeroize::Zeroizing::new(text);
    let secrets = SecretsBundle::from_yaml(&text)
        .with_context(|| format!("{} is not a secrets bundle", path.display()))?;
    certificates::add(&site, &secrets, &mut steps).context("the certificates of Hubble cannot be made")?;
    handover::restart_with_secrets(&mut steps, secrets.cluster_secret.expose().as_bytes());
    let site = site.for_cluster(secrets.cluster_id.clone());
    Ok((site, secrets, steps, findings))
}

/// Whether a text has `$NAME` or `${NAME`; rather one variable too many than one missing.
fn names(text: &str, name: &str) -> bool {
    text.split('$').skip(1).any(|rest| rest.strip_prefix('{').unwrap_or(rest).starts_with(name))
}

/// Remembers what was read through it.
struct Recorder<'a> {
    inner: &'a dyn Files,
    seen: RefCell<BTreeMap<PathBuf, Option<String>>>,
}

impl Files for Recorder<'_> {
    fn read(&self, path: &Path) -> io::Result<String> {
        // the site's check and the hand-over both ask, and a program need not run twice
        if let Some(Some(text)) =
            self.seen.borrow().get(path).filter(|text| text.as_ref().is_some_and(|text| !text.is_empty()))
        {
            return Ok(text.clone());
        }
        let text = self.inner.read(path)?;
        self.seen.borrow_mut().insert(path.to_owned(), Some(text.clone()));
        Ok(text)
    }

    fn exists(&self, path: &Path) -> bool {
        let exists = self.inner.exists(path);
        let mut seen = self.seen.borrow_mut();
        // a file that is only asked for and never read must still be there in the copy
        let entry = seen.entry(path.to_owned()).or_insert(None);
        if exists && entry.is_none() {
            *entry = Some(String::new());
        }
        exists
    }
}

impl Files for Copy {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.files.get(path).cloned().flatten().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn exists(&self, path: &Path) -> bool {
        self.files.get(path).is_some_and(Option::is_some)
    }
}
