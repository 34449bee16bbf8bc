//! `ichord images discovery`: the image for machines whose switch port nothing else tells.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ::images::{Client, Digest, DiscoveryImage, Folder, download::Pace, keep_discovery, pull_kernel_package};
use anyhow::{Context as _, anyhow};
use boot::{AssetName, catalogue::DISCOVERY};
use hardware::Architecture;

use super::{Failure, Opened, Place, bar, print};

/// The agent's program.
const AGENT: &str = "ichord-discovery";

pub(super) async fn make(
    place: &Place,
    package: Option<&Path>,
    sha256: Option<Digest>,
    agent: Option<PathBuf>,
) -> Result<(), Failure> {
    let opened = place.open()?;
    let agent = match agent {
        Some(agent) => agent,
        None => std::env::current_exe().context("where is this program?")?.with_file_name(AGENT),
    };
    let agent = fs::read(&agent).with_context(|| {
        format!(
            "cannot read the agent {}; name it with --agent. It is built with RUSTFLAGS='-C target-feature=+crt-static' \
             cargo build --release -p discovery --target x86_64-unknown-linux-gnu",
            agent.display()
        )
    })?;
    let package = kernel(&opened, package, sha256).await?;
    let image = DiscoveryImage::make(&package, &agent).map_err(|error| anyhow!(error))?;
    for name in &image.left_out {
        eprintln!("ichord: the driver {name} needs something that is not in the package, and is left out");
    }
    let mut text = String::new();
    for (name, content, _) in keep_discovery(&opened.folder, &image)? {
        text += &format!("{name}\n  sha256 {}, {} octets\n", content.digest, content.size);
    }
    print(&format!(
        "{text}a kernel and {} drivers; `ichord reload` takes the image into use\n",
        image.drivers
    ))
}

/// The kernel package: what somebody brought, else the catalogue's; its digest is known either way.
async fn kernel(opened: &Opened, package: Option<&Path>, sha256: Option<Digest>) -> Result<Vec<u8>, Failure> {
    let listed = opened.sources.discovery.get(Architecture::Amd64.name());
    let Some(path) = package else {
        let listed = listed.context("the catalogue names no kernel package; name one with --package")?;
        let client = Client::new(Pace::default())?;
        return Ok(pull_kernel_package(&client, &opened.folder, listed, &bar::Bar::default()).await?);
    };
    let expected = sha256.or_else(|| listed.map(|listed| listed.sha256));
    let expected = expected.context("the catalogue names no kernel package; say its digest with --sha256")?;
    let name = AssetName::image(DISCOVERY, "package", "kernel.deb").map_err(|error| anyhow!(error))?;
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    opened.folder.take_bytes(&name, &bytes, Some(expected)).with_context(|| {
        format!("{}: another kernel than the catalogue's is named with its --sha256", path.display())
    })?;
    Ok(bytes)
}

/// The files of every discovery image in the folder.
pub(super) fn names(folder: &Folder) -> Result<Vec<AssetName>, Failure> {
    let root = folder.root().join(DISCOVERY);
    let entries = match fs::read_dir(&root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(anyhow!(error).context(format!("cannot read {}", root.display())).into()),
    };
    let mut names = Vec::new();
    for version in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        for file in ["kernel-amd64", "initramfs-amd64.xz", "cmdline-metal-amd64"] {
            names.extend(AssetName::image(DISCOVERY, &version, file));
        }
    }
    names.sort();
    Ok(names)
}
