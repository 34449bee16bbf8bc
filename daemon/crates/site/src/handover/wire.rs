//! The keys of a step. A step that only waits may be written as its name.

use std::collections::BTreeMap;

use document::{Checked, TextOr};
use serde::Deserialize;

use crate::wire::Span;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Step {
    pub name: String,
    #[serde(default)]
    pub needs: Checked<Vec<String>>,
    #[serde(default)]
    pub owner: Checked<Owner>,
    #[serde(default)]
    pub timeout: Checked<Span>,
    #[serde(default)]
    pub manifests: Checked<Vec<Checked<TextOr<Url>>>>,
    #[serde(default)]
    pub pack: Checked<String>,
    #[serde(default)]
    pub values: Checked<BTreeMap<String, String>>,
    #[serde(default)]
    pub helm: Checked<Helm>,
    #[serde(default)]
    pub secrets: Checked<Vec<Checked<Secret>>>,
    #[serde(default)]
    pub flux: Checked<Flux>,
    #[serde(default)]
    pub release: Checked<StepRelease>,
    #[serde(default)]
    pub certificates: Checked<Vec<Certificates>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Owner {
    Git,
    Ichord,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Certificates {
    Hubble,
}

/// A file of another host.
#[derive(Debug, Deserialize)]
pub(crate) struct Url {
    pub url: String,
    pub sha256: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Helm {
    pub release: String,
    #[serde(default)]
    pub repositories: Vec<String>,
    #[serde(default)]
    pub chart: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Secret {
    pub name: String,
    pub namespace: String,
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    pub data: BTreeMap<String, TextOr<Connect>>,
}

/// Credentials of 1Password Connect.
#[derive(Debug, Deserialize)]
pub(crate) struct Connect {
    pub connect: String,
    #[serde(default, rename = "as")]
    pub delivery: Checked<Delivery>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Delivery {
    File,
    Environment,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Flux {
    pub url: String,
    #[serde(default)]
    pub branch: Option<String>,
    pub path: String,
    #[serde(default)]
    pub namespace: Option<String>,
    #[serde(default)]
    pub interval: Option<String>,
    #[serde(default)]
    pub operator: Checked<Operator>,
    #[serde(default)]
    pub identity: Option<String>,
    #[serde(default)]
    pub known_hosts: Option<String>,
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub password: Option<String>,
    #[serde(default)]
    pub token: Option<String>,
    #[serde(default)]
    pub age_key: Option<String>,
    #[serde(default)]
    pub wait_healthy: Checked<bool>,
    #[serde(default)]
    pub checkout: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Operator {
    #[serde(default)]
    pub version: Option<String>,
    #[serde(default)]
    pub registry: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct StepRelease {
    pub name: String,
    pub namespace: String,
    #[serde(default)]
    pub storage_namespace: Option<String>,
    pub chart: String,
    pub version: String,
    #[serde(default)]
    pub app_version: Option<String>,
    #[serde(default)]
    pub values: Option<String>,
    #[serde(default)]
    pub git: Option<String>,
    #[serde(default)]
    pub git_chart: Option<String>,
}
