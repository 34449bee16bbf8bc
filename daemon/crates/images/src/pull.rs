//! What a site needs and does not have yet: fetched, judged by its digest, and only then given its name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use boot::{AssetName, AssetNameError, catalogue::DISCOVERY};
use hardware::Architecture;
use serde::Deserialize;

use crate::{
    discovery::{DiscoveryError, DiscoveryImage},
    download::{Client, DownloadError, Progress},
    folder::{Content, Digest, Folder, FolderError, digest_of, parse_sums},
    package::{PackageError, files_of_package},
    sources::{KernelPackage, Sources, TalosSource},
};

/// One kind of machine's image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// the factory's id, 64 hexadecimal digits
    pub schematic: String,
    /// the schematic's own text, where the site has it: the factory must be told it once
    pub text: Option<String>,
    /// the Talos version with its `v`
    pub version: String,
    /// of the kernel
    pub architecture: Architecture,
    /// for firmware that only starts signed files: one such file more
    pub secure_boot: bool,
}

/// How a file got there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulled {
    /// it was there
    Here,
    /// its digest was known beforehand
    Checked,
    /// it was fetched for the first time, and must be the same ever after
    Pinned,
}

/// An image was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// the network
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// the disk, or a wrong digest
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// the package with the bootloaders
    #[error("{package}: {source}")]
    Package {
        /// which
        package: String,
        /// why
        source: PackageError,
    },
    /// the discovery image
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// a name that no URL of ours can carry
    #[error(transparent)]
    Name(#[from] AssetNameError),
    /// nobody has it
    #[error("no source has schematic {schematic}{}; the catalogue has: {have}", from.as_deref().map(|name| format!(" under the name {name}")).unwrap_or_default())]
    NoSource {
        /// what was looked for
        schematic: String,
        /// the wanted source
        from: Option<String>,
        /// all there are
        have: String,
    },
    /// the factory makes another id of the text than we do
    #[error(
        "{url} calls the schematic {theirs}, not {ours}: it is not the same image; is the factory newer than this program?"
    )]
    OtherSchematic {
        /// where it was told
        url: String,
        /// its name for it
        theirs: String,
        /// ours
        ours: String,
    },
    /// the source's list does not have the file
    #[error("{url} does not list {file}")]
    NotListed {
        /// the list
        url: String,
        /// the file in its words
        file: String,
    },
    /// a release whose command line nobody knows
    #[error(
        "the catalogue does not know the kernel command line of Talos {version} for {architecture}: fetch it from a factory, or add it to the catalogue"
    )]
    NoCommandLine {
        /// Talos
        version: String,
        /// `amd64` or `arm64`
        architecture: &'static str,
    },
    /// a file that is not what it was when it was fetched first
    #[error(
        "{name} was fetched before with sha256 {pinned}, now it is {found}: somebody replaced it. It is not kept; if that is right, remove its line from pins.txt in the images folder"
    )]
    Replaced {
        /// the file
        name: AssetName,
        /// then
        pinned: Digest,
        /// now
        found: Digest,
    },
}

impl Need {
    /// The files of this image, as they are called here.
    pub fn files(&self) -> Vec<String> {
        let architecture = self.architecture.name();
        let mut files = vec![
            format!("kernel-{architecture}"),
            format!("initramfs-{architecture}.xz"),
            format!("cmdline-metal-{architecture}"),
        ];
        if self.secure_boot {
            files.push(format!("metal-{architecture}-secureboot-uki.efi"));
        }
        files
    }

    /// The same by the names they are served under.
    pub fn names(&self) -> Result<Vec<AssetName>, AssetNameError> {
        let name = |file: String| AssetName::image(&self.schematic, &self.version, &file);
        self.files().into_iter().map(name).collect()
    }
}

/// Fetches what is missing of all of it. What is there and right is left alone.
pub async fn pull(
    client: &Client,
    folder: &Folder,
    sources: &Sources,
    needs: &[Need],
    from: Option<&str>,
    progress: &dyn Progress,
) -> Result<Vec<(AssetName, Content, Pulled)>, PullError> {
    let mut pulled = Vec::new();
    for need in needs {
        let source = sources.talos(&need.schematic, from).ok_or_else(|| PullError::NoSource {
            schematic: need.schematic.clone(),
            from: from.map(str::to_owned),
            have: sources.names().collect::<Vec<_>>().join(", "),
        })?;
        pulled.extend(pull_image(client, folder, source, need, progress).await?);
    }
    let architectures: BTreeSet<Architecture> = needs.iter().map(|need| need.architecture).collect();
    pulled.extend(pull_bootloaders(client, folder, sources, &architectures, progress).await?);
    Ok(pulled)
}

async fn pull_image(
    client: &Client,
    folder: &Folder,
    source: &TalosSource,
    need: &Need,
    progress: &dyn Progress,
) -> Result<Vec<(AssetName, Content, Pulled)>, PullError> {
    let mut all = Vec::new();
    let mut missing = Vec::new();
    for name in need.names()? {
        match folder.content(&name)? {
            Some(content) => all.push((name, content, Pulled::Here)),
            None => missing.push(name),
        }
    }
    if missing.is_empty() {
        return Ok(all);
    }
    if let (Some(url), Some(text)) = (&source.schematics, &need.text) {
        tell_schematic(client, url, text, &need.schematic).await?;
    }
    let listed = match source.sums_url(&need.schematic, &need.version) {
        Some(url) => {
            let text = client.text(&url).await?;
            let sums = parse_sums(&text).map_err(|line| DownloadError::Answer {
                url: url.clone(),
                why: format!("line {line} is not a digest and a file name"),
            })?;
            Some((url, sums))
        }
        None => None,
    };
    let mut published = BTreeMap::new();
    for name in missing {
        let file = name.file().to_owned();
        if file.starts_with("cmdline-") && source.makes_command_lines() {
            let line = source.command_line(&need.version, need.architecture).ok_or_else(|| {
                PullError::NoCommandLine {
                    version: need.version.clone(),
                    architecture: need.architecture.name(),
                }
            })?;
            let content = folder.take_bytes(&name, line.as_bytes(), None)?;
            published.insert(name.clone(), content.clone());
            all.push((name, content, Pulled::Checked));
            continue;
        }
        let expected = match &listed {
            Some((url, sums)) => {
                let theirs = source.name_of(&file);
                let digest = sums.get(theirs).copied();
                Some(
                    digest
                        .ok_or_else(|| PullError::NotListed { url: url.clone(), file: theirs.to_owned() })?,
                )
            }
            None => None,
        };
        let url = source.url(&need.schematic, &need.version, need.architecture, &file);
        let (content, how) = fetch(client, folder, &name, &url, expected, progress).await?;
        published.insert(name.clone(), content.clone());
        all.push((name, content, how));
    }
    folder.publish(&published)?;
    Ok(all)
}

/// A factory makes no images of a schematic that it was never told.
async fn tell_schematic(client: &Client, url: &str, text: &str, ours: &str) -> Result<(), PullError> {
    #[derive(Deserialize)]
    struct Answer {
        id: String,
    }
    let body = client.post(url, "application/yaml", text).await?;
    let answer: Answer = serde_json::from_str(&body).map_err(|error| DownloadError::Answer {
        url: url.to_owned(),
        why: format!("expected the id of a schematic: {error}"),
    })?;
    if answer.id == ours {
        Ok(())
    } else {
        Err(PullError::OtherSchematic { url: url.to_owned(), theirs: answer.id, ours: ours.to_owned() })
    }
}

/// One file into `.content`: against its known digest, else against what it was before, else pinned now.
async fn fetch(
    client: &Client,
    folder: &Folder,
    name: &AssetName,
    url: &str,
    listed: Option<Digest>,
    progress: &dyn Progress,
) -> Result<(Content, Pulled), PullError> {
    let pinned = folder.pin(name)?;
    let expected = listed.or(pinned);
    // the content may be there without its name
    if let Some(digest) = expected
        && let Ok(content) = digest_of(&folder.path_of(digest))
        && content.digest == digest
    {
        return Ok((content, Pulled::Here));
    }
    let partial = folder.partial(url);
    let resumed = fs::metadata(&partial).is_ok_and(|data| data.len() > 0);
    let mut content = fetch_once(client, folder, name, url, &partial, expected, progress).await;
    // two halves of different files: only a whole one says whether the server has the right one
    if resumed && matches!(content, Err(PullError::Folder(FolderError::WrongDigest { .. }))) {
        content = fetch_once(client, folder, name, url, &partial, expected, progress).await;
    }
    let content = content.map_err(|error| match (error, listed, pinned) {
        (PullError::Folder(FolderError::WrongDigest { found, .. }), None, Some(pinned)) => {
            PullError::Replaced { name: name.clone(), pinned, found }
        }
        (error, ..) => error,
    })?;
    folder.set_pin(name, content.digest)?;
    Ok((content, if expected.is_some() { Pulled::Checked } else { Pulled::Pinned }))
}

async fn fetch_once(
    client: &Client,
    folder: &Folder,
    name: &AssetName,
    url: &str,
    partial: &std::path::Path,
    expected: Option<Digest>,
    progress: &dyn Progress,
) -> Result<Content, PullError> {
    client.fetch(&name.to_string(), url, partial, expected.is_some(), progress).await?;
    Ok(folder.take(name, partial, expected)?)
}

async fn pull_bootloaders(
    client: &Client,
    folder: &Folder,
    sources: &Sources,
    architectures: &BTreeSet<Architecture>,
    progress: &dyn Progress,
) -> Result<Vec<(AssetName, Content, Pulled)>, PullError> {
    let mut all = Vec::new();
    let mut missing = BTreeSet::new();
    for file in sources.bootloaders(architectures) {
        let name = AssetName::ipxe(&file)?;
        match folder.content(&name)? {
            Some(content) => all.push((name, content, Pulled::Here)),
            None => {
                missing.insert(file);
            }
        }
    }
    if missing.is_empty() {
        return Ok(all);
    }
    let name = AssetName::ipxe(&sources.ipxe.package)?;
    let expected = sources.ipxe.sha256;
    let mut last = None;
    for url in &sources.ipxe.urls {
        match fetch(client, folder, &name, url, Some(expected), progress).await {
            Ok(_) => {
                all.extend(unpack(folder, sources, &missing)?);
                return Ok(all);
            }
            Err(error) => {
                progress.again(&error.to_string());
                last = Some(error);
            }
        }
    }
    Err(last.unwrap_or_else(|| PullError::NoSource {
        schematic: sources.ipxe.package.clone(),
        from: None,
        have: "no URL of it".to_owned(),
    }))
}

/// The kernel package of the discovery image: the catalogue's own, its octets.
pub async fn pull_kernel_package(
    client: &Client,
    folder: &Folder,
    package: &KernelPackage,
    progress: &dyn Progress,
) -> Result<Vec<u8>, PullError> {
    // it has no name that is served: it is only what the image is made of
    let name = AssetName::image(DISCOVERY, "package", &package.package)?;
    let mut last = None;
    for url in &package.urls {
        match fetch(client, folder, &name, url, Some(package.sha256), progress).await {
            Ok(_) => {
                let path = folder.path_of(package.sha256);
                return Ok(fs::read(&path).map_err(crate::folder::disk("read", &path))?);
            }
            Err(error) => {
                progress.again(&error.to_string());
                last = Some(error);
            }
        }
    }
    Err(last.unwrap_or_else(|| PullError::NoSource {
        schematic: package.package.clone(),
        from: None,
        have: "no URL of it".to_owned(),
    }))
}

/// Gives the files of a discovery image their names.
pub fn keep_discovery(
    folder: &Folder,
    image: &DiscoveryImage,
) -> Result<Vec<(AssetName, Content, Pulled)>, PullError> {
    let mut published = BTreeMap::new();
    for (name, bytes) in image.files()? {
        let content = folder.take_bytes(&name, bytes, None)?;
        published.insert(name, content);
    }
    folder.publish(&published)?;
    Ok(published.into_iter().map(|(name, content)| (name, content, Pulled::Checked)).collect())
}

/// The bootloaders out of a package that somebody brought; it must be the one of the catalogue.
pub fn import_package(
    folder: &Folder,
    sources: &Sources,
    package: &[u8],
    architectures: &BTreeSet<Architecture>,
) -> Result<Vec<(AssetName, Content, Pulled)>, PullError> {
    let name = AssetName::ipxe(&sources.ipxe.package)?;
    folder.take_bytes(&name, package, Some(sources.ipxe.sha256))?;
    unpack(folder, sources, &sources.bootloaders(architectures))
}

/// From the package in `.content` to files with names.
fn unpack(
    folder: &Folder,
    sources: &Sources,
    files: &BTreeSet<String>,
) -> Result<Vec<(AssetName, Content, Pulled)>, PullError> {
    let path = folder.path_of(sources.ipxe.sha256);
    let package = fs::read(&path).map_err(crate::folder::disk("read", &path))?;
    let found = files_of_package(&package, &sources.ipxe.folder, files.iter().map(String::as_str))
        .map_err(|source| PullError::Package { package: sources.ipxe.package.clone(), source })?;
    let mut published = BTreeMap::new();
    for (file, bytes) in found {
        let name = AssetName::ipxe(&file)?;
        let content = folder.take_bytes(&name, &bytes, None)?;
        published.insert(name, content);
    }
    folder.publish(&published)?;
    Ok(published.into_iter().map(|(name, content)| (name, content, Pulled::Checked)).collect())
}
