//! The hand-over's steps as a person writes them: what each applies, what it needs, and who owns it afterwards.
//!
//! Everything here is data; what the files, programs and references of a step bring is read by the command line.

mod check;
mod convert;
mod order;
pub(crate) mod wire;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use document::{Finding, Position};

pub(crate) use check::check;
pub(crate) use convert::steps;

/// The order in which a cluster is brought up. A step of such a name needs the nearest one before it that the site has,
/// unless it says what it needs.
pub const FOUNDING: [&str; 12] = [
    "api",
    "cilium",
    "nodes",
    "dns",
    "namespaces",
    "secrets",
    "external-secrets",
    "onepassword-connect",
    "secret-store",
    "flux",
    "sync",
    "adoption",
];

/// One step of the hand-over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandoverStep {
    /// unique in the site
    pub name: String,
    /// the steps that must be done before it
    pub needs: Vec<String>,
    /// who owns its objects in the end
    pub owner: Owner,
    /// what its name stands for besides objects
    pub wait: Option<Wait>,
    /// how long it may take, where that is not the default
    pub timeout: Option<Duration>,
    /// what it applies, in this order
    pub sources: Vec<Source>,
    /// Secrets whose values lie elsewhere
    pub secrets: Vec<SecretSource>,
    /// how Flux is told about the repository
    pub sync: Option<Sync>,
    /// the Helm release that the objects were rendered from, for Git to go on with
    pub release: Option<StepRelease>,
    /// whether the cluster's certificates for Hubble are made for it
    pub hubble: bool,
    /// the file that describes it
    pub file: String,
    /// where in it
    pub at: Position,
}

/// Who owns a step's objects in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Owner {
    /// Git, as soon as Flux has adopted them; they are only looked at from then on
    #[default]
    Git,
    /// the daemon; Flux touching them is an error
    Ichord,
}

/// What a step waits for that is no object of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// the API server is ready, and lets us do everything
    Api,
    /// every node of the cluster is there and Ready
    Nodes,
    /// the cluster's DNS answers
    Dns,
    /// Git has adopted what it owns; reports, and never stops the hand-over
    Adoption,
}

/// Where objects come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// a file
    File(PathBuf),
    /// every YAML file of a folder; where it has a kustomization, what `kubectl kustomize` makes of it
    Folder(PathBuf),
    /// a file of another host, which must have this digest
    Url {
        /// where
        url: String,
        /// 64 hexadecimal digits
        sha256: String,
    },
    /// a pack, with values for its parameters
    Pack {
        /// the pack's file
        file: PathBuf,
        /// parameter → value as written
        values: BTreeMap<String, String>,
    },
    /// a chart, rendered by the user's `helm` with the names and values that Flux will use
    Helm {
        /// the file with the HelmRelease
        release: PathBuf,
        /// the files with the HelmRepository or OCIRepository, where they are others
        repositories: Vec<PathBuf>,
        /// a chart on disk, instead of what the repository names
        chart: Option<PathBuf>,
    },
}

impl Source {
    /// What a person calls it.
    pub fn shown(&self) -> String {
        match self {
            Source::File(path) | Source::Folder(path) => path.display().to_string(),
            Source::Url { url, .. } => url.clone(),
            Source::Pack { file, .. } => file.display().to_string(),
            Source::Helm { release, .. } => release.display().to_string(),
        }
    }
}

/// A Secret that is put together from values which lie elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSource {
    /// its name
    pub name: String,
    /// its namespace
    pub namespace: String,
    /// its type
    pub kind: String,
    /// key → value
    pub data: BTreeMap<String, SecretValue>,
    /// where it is described
    pub at: Position,
}

/// Where a value lies, and what it is made into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretValue {
    /// a file beside the site, `op://vault/item/field`, `env:NAME`, or `credential:NAME`
    pub reference: Reference,
    /// whether it is the credentials of 1Password Connect, and how Connect reads them
    pub connect: Option<ConnectFrom>,
}

/// How 1Password Connect reads its credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectFrom {
    /// from a mounted file: charts of 2.3 and later
    File,
    /// from an environment variable: charts before 2.3
    Environment,
}

/// A value that lies elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference(pub(crate) PathBuf);

impl Reference {
    /// Where [`Files::read`](crate::Files::read) finds it.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// How Flux is told about the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sync {
    /// the repository: `ssh://git@host/owner/name` or `https://host/owner/name`
    pub url: String,
    /// the branch
    pub branch: String,
    /// the folder in it: `./clusters/home-ops`
    pub path: String,
    /// Flux's namespace, which is also the name of its objects
    pub namespace: String,
    /// who makes Flux's own objects
    pub mode: SyncMode,
    /// how often it looks
    pub interval: String,
    /// what the repository wants to see
    pub credentials: Credentials,
    /// the private key of SOPS's age
    pub age_key: Option<Reference>,
    /// whether everything must be healthy, not only applied
    pub wait_healthy: bool,
    /// a clone of the repository on this host, for comparing versions
    pub checkout: Option<PathBuf>,
}

/// Who makes Flux's own objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncMode {
    /// the hand-over: a GitRepository and a Kustomization, as `flux bootstrap` does
    Manifests,
    /// the flux-operator, from a FluxInstance
    Operator {
        /// a version or a range: `2.x`
        version: String,
        /// where its images are
        registry: String,
    },
}

/// What a repository wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// nothing: it is public
    None,
    /// a deploy key
    Key {
        /// the private key
        identity: Reference,
        /// the host's keys
        known_hosts: Reference,
    },
    /// a password or a personal token
    Password {
        /// whose
        username: String,
        /// the password
        password: Reference,
    },
    /// a token of its own
    Bearer(Reference),
}

/// A chart that a step stands in for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRelease {
    /// the release's name: `cilium`
    pub name: String,
    /// where it is installed
    pub namespace: String,
    /// where Helm keeps its records
    pub storage_namespace: String,
    /// the chart's name
    pub chart: String,
    /// the chart's version
    pub version: String,
    /// the version of what is in the chart
    pub app_version: String,
    /// the values it was rendered with
    pub values: Option<PathBuf>,
    /// the file in which Git has the HelmRelease
    pub git: Option<PathBuf>,
    /// the chart that Git's HelmRelease means, to compare what it renders with what is installed
    pub git_chart: Option<GitChart>,
}

/// The chart of a HelmRelease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GitChart {
    /// as Git pins it, fetched by `helm`
    Pinned,
    /// on disk
    File(PathBuf),
}

impl HandoverStep {
    /// An error about the step, where the site describes it.
    pub fn error(&self, rule: &'static str, message: impl Into<String>) -> Finding {
        Finding::error(self.file.as_str(), self.at, rule, message)
    }
}
