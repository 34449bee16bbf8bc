//! `images/catalogue.yaml`: what can be booted, and the URLs it comes from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use document::{Document, Finding, Findings, Keys};
use hardware::Architecture;
use serde::Deserialize;

use crate::folder::Digest;

/// The catalogue that is built in.
const BUILT_IN: &str = include_str!("../../../../images/catalogue.yaml");
/// What it is called in findings.
const BUILT_IN_NAME: &str = "images/catalogue.yaml";

/// Everything that can be fetched.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sources {
    /// where images of Talos come from, the preferred one first
    pub talos: Vec<TalosSource>,
    /// the network bootloaders
    pub ipxe: Bootloaders,
    /// the kernel of the discovery image, by architecture
    #[serde(default)]
    pub discovery: BTreeMap<String, KernelPackage>,
    /// what Talos pulls by itself, by its minor release
    pub pulls: BTreeMap<String, Pulls>,
}

/// One place that has images of Talos.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TalosSource {
    /// for `--from`
    pub name: String,
    /// the only schematic it has
    #[serde(default)]
    pub only: Option<String>,
    /// of one file, with places to fill in
    pub url: String,
    /// where a schematic is told to it
    #[serde(default)]
    pub schematics: Option<String>,
    /// its list of digests
    #[serde(default)]
    pub sums: Option<String>,
    /// its own names of files
    #[serde(default)]
    pub names: BTreeMap<String, String>,
    /// console arguments by architecture, where it has no files with the command line
    #[serde(default)]
    pub consoles: BTreeMap<String, String>,
    /// the other arguments by Talos minor release
    #[serde(default)]
    pub arguments: BTreeMap<String, String>,
}

/// The bootloaders: files of one Debian package.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootloaders {
    /// its file name
    pub package: String,
    /// of the whole package
    pub sha256: Digest,
    /// where it lies, the first that answers is taken
    pub urls: Vec<String>,
    /// the folder in it
    pub folder: String,
    /// by the architecture of the machines they boot
    pub files: BTreeMap<String, Vec<String>>,
}

/// A Debian package with a kernel.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelPackage {
    /// its file name
    pub package: String,
    /// of the whole package
    pub sha256: Digest,
    /// where it lies, the first that answers is taken
    pub urls: Vec<String>,
}

/// What one Talos pulls by itself.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Pulls {
    /// on control planes
    pub etcd: String,
    /// unless it is switched off
    pub coredns: String,
    /// where it is the pod network
    pub flannel: String,
    /// the container that holds a pod's namespaces
    pub pause: String,
}

/// The catalogue cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourcesError(Findings);

impl Sources {
    /// The catalogue that came with the program.
    pub fn built_in() -> Result<Self, SourcesError> {
        Self::parse(BUILT_IN_NAME, BUILT_IN)
    }

    /// Reads a catalogue of somebody's own.
    pub fn parse(file: &str, text: &str) -> Result<Self, SourcesError> {
        let fault = |finding: Finding| {
            let mut findings = Findings::new();
            findings.push(finding);
            SourcesError(findings)
        };
        let document = Document::parse(file, text).map_err(fault)?;
        match document.decode(Keys::Strict) {
            (Some(sources), findings) if !findings.has_errors() => Ok(sources),
            (_, findings) => Err(SourcesError(findings)),
        }
    }

    /// The source for a schematic: the named one, else the first that has it.
    pub fn talos(&self, schematic: &str, from: Option<&str>) -> Option<&TalosSource> {
        self.talos.iter().find(|source| {
            from.is_none_or(|name| name == source.name)
                && source.only.as_deref().is_none_or(|only| only == schematic)
        })
    }

    /// The names of all sources of Talos.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.talos.iter().map(|source| source.name.as_str())
    }

    /// The bootloaders for machines of these architectures.
    pub fn bootloaders(&self, architectures: &BTreeSet<Architecture>) -> BTreeSet<String> {
        let of = |architecture: &Architecture| self.ipxe.files.get(architecture.name());
        architectures.iter().filter_map(of).flatten().cloned().collect()
    }
}

impl TalosSource {
    /// Where a file of an image lies.
    pub fn url(&self, schematic: &str, version: &str, architecture: Architecture, file: &str) -> String {
        let file = self.names.get(file).map_or(file, String::as_str);
        fill(&self.url, &[schematic, version, architecture.name(), file])
    }

    /// Where the list of digests of a version lies.
    pub fn sums_url(&self, schematic: &str, version: &str) -> Option<String> {
        Some(fill(self.sums.as_ref()?, &[schematic, version]))
    }

    /// What this source calls the file.
    pub fn name_of<'a>(&'a self, file: &'a str) -> &'a str {
        self.names.get(file).map_or(file, String::as_str)
    }

    /// The kernel command line, from a source that has no file with it.
    pub fn command_line(&self, version: &str, architecture: Architecture) -> Option<String> {
        let minor = minor_of(version);
        let console = self.consoles.get(architecture.name())?;
        let arguments = self.arguments.get(minor)?;
        let mut line = "talos.platform=metal".to_owned();
        // writing to a String cannot fail
        writeln!(line, " {console} {arguments}").ok();
        Some(line)
    }

    /// Whether it has no files with command lines.
    pub fn makes_command_lines(&self) -> bool {
        !self.arguments.is_empty()
    }
}

/// `v1.13.9` → `v1.13`.
pub(crate) fn minor_of(version: &str) -> &str {
    version.match_indices('.').nth(1).and_then(|(end, _)| version.get(..end)).unwrap_or(version)
}

fn fill(template: &str, values: &[&str]) -> String {
    let names = ["{schematic}", "{version}", "{arch}", "{file}"];
    names.iter().zip(values).fold(template.to_owned(), |text, (name, value)| text.replace(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";

    #[test]
    fn the_built_in_catalogue_has_the_factory_first() {
        let sources = Sources::built_in().unwrap();
        let factory = sources.talos(PLAIN, None).unwrap();
        let url = factory.url(PLAIN, "v1.13.9", Architecture::Arm64, "kernel-arm64");
        assert_eq!(url, format!("https://factory.talos.dev/image/{PLAIN}/v1.13.9/kernel-arm64"));
        assert_eq!((factory.sums_url(PLAIN, "v1.13.9"), factory.makes_command_lines()), (None, false));
    }

    #[test]
    fn releases_have_only_the_plain_image_and_their_own_names() {
        let sources = Sources::built_in().unwrap();
        let releases = sources.talos(PLAIN, Some("releases")).unwrap();
        let url = releases.url(PLAIN, "v1.13.9", Architecture::Amd64, "kernel-amd64");
        assert_eq!(url, "https://github.com/siderolabs/talos/releases/download/v1.13.9/vmlinuz-amd64");
        assert!(sources.talos("another", Some("releases")).is_none());
        let line = releases.command_line("v1.14.0-rc.1", Architecture::Arm64).unwrap();
        let begin = "talos.platform=metal console=ttyAMA0 console=tty0 slab_nomerge pti=on ";
        assert!(line.starts_with(begin), "{line}");
        assert_eq!(releases.command_line("v1.8.0", Architecture::Amd64), None);
    }

    #[test]
    fn bootloaders_are_those_of_the_machines() {
        let sources = Sources::built_in().unwrap();
        let both: BTreeSet<_> = [Architecture::Amd64, Architecture::Arm64].into();
        assert!(sources.bootloaders(&both).contains("ipxe-arm64.efi"));
        assert!(!sources.bootloaders(&[Architecture::Amd64].into()).contains("ipxe-arm64.efi"));
        assert!(sources.bootloaders(&[Architecture::Amd64].into()).contains("snponly.efi"));
    }

    #[test]
    fn there_is_a_kernel_for_the_discovery_image() {
        let sources = Sources::built_in().unwrap();
        let kernel = &sources.discovery["amd64"];
        assert!(kernel.package.starts_with("linux-image-") && kernel.package.ends_with("_amd64.deb"));
        assert!(kernel.urls.iter().all(|url| url.ends_with(&kernel.package)), "{:?}", kernel.urls);
    }

    #[test]
    fn a_fault_has_its_place() {
        let error = Sources::parse("own.yaml", "talos: []\nipxe: 7\n").unwrap_err().to_string();
        assert!(error.contains("own.yaml:2:"), "{error}");
    }
}
