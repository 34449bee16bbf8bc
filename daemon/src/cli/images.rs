//! `ichord images`: what the site's machines boot, fetched, checked, and carried to where there is no internet.

mod bar;
mod discovery;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use ::images::{
    Bundle, Client, Digest, Folder, Need, PullList, Pulled, Sources, download::Pace, import_package, pull,
    pulled_images, stick_image, stick_script, write_bundle,
};
use anyhow::{Context as _, anyhow};
use boot::AssetName;
use clap::{Args, Subcommand};
use hardware::Architecture;
use site::Site;
use talos_config::secrets::SecretsBundle;

use super::{Failure, print};
use crate::app::{self, Disk};

/// Boot images: kernels, initramfs, bootloaders.
///
/// Which Talos version, schematic and architecture a site needs follows from its talconfig.yaml; where they come from
/// says the catalogue (images/catalogue.yaml in the repository, built in).
#[derive(Debug, Args)]
pub(crate) struct Images {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch what is missing. A download that was cut off goes on where it was; a wrong file is never kept
    #[command(after_help = "Example:\n  ichord images pull profiles/home-ops")]
    Pull {
        #[command(flatten)]
        place: Place,
        /// fetch Talos from this source of the catalogue
        #[arg(long, value_name = "NAME")]
        from: Option<String>,
    },
    /// Take in a bundle of another machine, or a Debian package with the bootloaders
    #[command(
        after_help = "Examples:\n  ichord images import profiles/home-ops home-ops.bundle\n  ichord images import profiles/home-ops ipxe_1.21.1+git20250501.dad20602+dfsg-1_all.deb"
    )]
    Import {
        #[command(flatten)]
        place: Place,
        /// the bundle, or the package
        file: PathBuf,
        /// refuse any other bundle; `ichord images bundle` prints the digest
        #[arg(long, value_name = "DIGEST")]
        sha256: Option<Digest>,
    },
    /// Read every file again and compare it with its digest
    #[command(after_help = "Example:\n  ichord images verify profiles/home-ops")]
    Verify {
        #[command(flatten)]
        place: Place,
    },
    /// Show what the site needs, and what of it is there
    #[command(after_help = "Example:\n  ichord images list profiles/home-ops")]
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Make a USB stick for machines whose firmware cannot boot from the network (UEFI)
    #[command(
        after_help = "Examples:\n  ichord images usb profiles/home-ops --out stick.img\n  dd if=stick.img of=/dev/sdX bs=4M conv=fsync"
    )]
    Usb {
        #[command(flatten)]
        place: Place,
        /// where to write the image of the whole stick
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// the daemon's address, where no DHCP answer of ours names it
        #[arg(long, value_name = "ADDRESS")]
        server: Option<Ipv4Addr>,
    },
    /// Make the image that a machine boots whose switch port nothing else tells: it listens for LLDP and reports
    #[command(
        after_help = "Examples:\n  ichord images discovery profiles/home-ops\n  ichord images discovery profiles/home-ops --package linux-image-6.12.118+deb13-amd64_6.12.118-1_amd64.deb"
    )]
    Discovery {
        #[command(flatten)]
        place: Place,
        /// the Debian kernel package, where there is no internet; it must be the catalogue's
        #[arg(long, value_name = "FILE")]
        package: Option<PathBuf>,
        /// the digest of another kernel package than the catalogue's
        #[arg(long, value_name = "DIGEST", requires = "package")]
        sha256: Option<Digest>,
        /// the agent; by default `ichord-discovery` beside this program
        #[arg(long, value_name = "FILE")]
        agent: Option<PathBuf>,
    },
    /// Put all that the site boots into one file, with the list of container images that are pulled later
    #[command(after_help = "Example:\n  ichord images bundle profiles/home-ops --out home-ops.bundle")]
    Bundle {
        #[command(flatten)]
        place: Place,
        /// where to write it
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// Whose images, and where they lie.
#[derive(Debug, Args)]
struct Place {
    /// the site's folder
    site: PathBuf,
    /// where the daemon keeps its state; the images are in it unless the site names another folder
    #[arg(long, env = "STATE_DIRECTORY", default_value = "/var/lib/ichord", value_name = "DIR")]
    state: PathBuf,
    /// a catalogue of your own
    #[arg(long, value_name = "FILE")]
    catalogue: Option<PathBuf>,
}

impl Images {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Pull { place, from } => pull_all(&place, from.as_deref()).await,
            Command::Import { place, file, sha256 } => import(&place, &file, sha256),
            Command::Verify { place } => verify(&place),
            Command::List { place } => list(&place),
            Command::Usb { place, out, server } => usb(&place, &out, server),
            Command::Discovery { place, package, sha256, agent } => {
                discovery::make(&place, package.as_deref(), sha256, agent).await
            }
            Command::Bundle { place, out } => bundle(&place, &out),
        }
    }
}

/// A site, its images folder, and the catalogue.
struct Opened {
    site: Site,
    folder: Folder,
    sources: Sources,
}

impl Place {
    fn open(&self) -> Result<Opened, Failure> {
        let environment: BTreeMap<String, String> = std::env::vars().collect();
        let (site, _) = Site::load(&self.site, &Disk, &environment).map_err(|findings| {
            eprintln!("{findings}");
            Failure::Faults
        })?;
        let sources = match &self.catalogue {
            None => Sources::built_in(),
            Some(path) => {
                let name = path.display().to_string();
                let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
                Sources::parse(&name, &text)
            }
        };
        let sources = sources.map_err(|findings| {
            eprintln!("{findings}");
            Failure::Faults
        })?;
        let folder = Folder::open(&app::images_folder(&site, &self.state))?;
        Ok(Opened { site, folder, sources })
    }
}

impl Opened {
    fn needs(&self) -> Vec<Need> {
        let need = |set: site::ImageSet| Need {
            text: self.site.schematic(&set.schematic),
            secure_boot: self.site.is_secure_boot(&set),
            schematic: set.schematic,
            version: set.version,
            architecture: set.architecture,
        };
        self.site.image_sets().into_iter().map(need).collect()
    }

    fn architectures(&self) -> BTreeSet<Architecture> {
        self.site.image_sets().into_iter().map(|set| set.architecture).collect()
    }

    /// Every file the site needs, and the discovery image if there is one.
    fn names(&self) -> Result<Vec<AssetName>, Failure> {
        let mut names = Vec::new();
        for need in self.needs() {
            names.extend(need.names()?);
        }
        for file in self.sources.bootloaders(&self.architectures()) {
            names.push(AssetName::ipxe(&file)?);
        }
        names.extend(discovery::names(&self.folder)?);
        Ok(names)
    }
}

async fn pull_all(place: &Place, from: Option<&str>) -> Result<(), Failure> {
    let opened = place.open()?;
    let client = Client::new(Pace::default())?;
    let bar = bar::Bar::default();
    let Opened { folder, sources, .. } = &opened;
    let pulled = pull(&client, folder, sources, &opened.needs(), from, &bar).await?;
    let mut text = String::new();
    for (name, content, how) in &pulled {
        let how = match how {
            Pulled::Here => "was there",
            Pulled::Checked => "fetched, its digest was known",
            Pulled::Pinned => "fetched for the first time; from now on it must have this digest",
        };
        text += &format!("{name}\n  sha256 {}, {} octets: {how}\n", content.digest, content.size);
    }
    print(&text)
}

fn import(place: &Place, file: &Path, sha256: Option<Digest>) -> Result<(), Failure> {
    let opened = place.open()?;
    if file.extension().is_some_and(|extension| extension == "deb") {
        let package = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let taken = import_package(&opened.folder, &opened.sources, &package, &opened.architectures())?;
        let names: Vec<String> = taken.iter().map(|(name, ..)| name.to_string()).collect();
        return print(&format!("imported {}\n", names.join(", ")));
    }
    let bundle = Bundle::import(&opened.folder, file, sha256)?;
    let mut text = String::new();
    for file in &bundle.files {
        text += &format!("{}\n  sha256 {}, {} octets\n", file.name, file.sha256, file.size);
    }
    let images = bundle.pulls.len() + bundle.handover_pulls.len();
    text += &format!(
        "the {images} container images that are pulled later are listed in {}\n",
        opened.folder.root().join("oci-images.txt").display()
    );
    print(&text)
}

fn verify(place: &Place) -> Result<(), Failure> {
    let opened = place.open()?;
    // what the daemon would do when it starts, in its words
    let catalogue = app::catalogue(&opened.site, &place.state)?;
    let rotten = opened.folder.rotten()?;
    if let Some(path) = rotten.first() {
        return Err(anyhow!(
            "{} is not what its name says: remove it, and pull again if a file is missing then",
            path.display()
        )
        .into());
    }
    let missing = missing(&opened)?;
    if let Some(name) = missing.first() {
        return Err(anyhow!(
            "{name} is missing in {}: `ichord images pull {}` fetches it",
            opened.folder.root().display(),
            place.site.display()
        )
        .into());
    }
    print(&format!("{} files are what their digests say\n", catalogue.assets().count()))
}

fn missing(opened: &Opened) -> Result<Vec<AssetName>, Failure> {
    let mut missing = Vec::new();
    for name in opened.names()? {
        if opened.folder.content(&name)?.is_none() {
            missing.push(name);
        }
    }
    Ok(missing)
}

fn list(place: &Place) -> Result<(), Failure> {
    let opened = place.open()?;
    let mut text = String::new();
    for name in opened.names()? {
        text += &match opened.folder.content(&name)? {
            Some(content) => format!("{name}\n  sha256 {}, {} octets\n", content.digest, content.size),
            None if opened.folder.served(&name).exists() => {
                format!("{name}\n  wrong: it is not what its list of digests says\n")
            }
            None => format!("{name}\n  missing\n"),
        };
    }
    print(&text)
}

fn bundle(place: &Place, out: &Path) -> Result<(), Failure> {
    let opened = place.open()?;
    let pulls = pulls(&opened)?;
    if !pulls.complete {
        eprintln!(
            "ichord: the catalogue does not know what Talos {} pulls by itself (etcd, CoreDNS, pause); the list lacks that",
            opened.site.cluster().talos
        );
    }
    let (bundle, whole) = write_bundle(&opened.folder, &opened.names()?, &pulls, out)?;
    print(&format!(
        "{}{}: {} files, {} octets, sha256 {}\n",
        bundle.list_of_pulls(),
        out.display(),
        bundle.files.len(),
        whole.size,
        whole.digest
    ))
}

/// From the machine configs themselves. Their secrets are of no interest, so any will do.
fn pulls(opened: &Opened) -> Result<PullList, Failure> {
    let Opened { site, sources, .. } = opened;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let configs = site.render(&SecretsBundle::generate(now)?)?;
    let (steps, _) = app::steps(site, &Disk).map_err(|findings| {
        eprintln!("{findings}");
        Failure::Faults
    })?;
    let manifests = steps.iter().flat_map(|step| &step.manifests).map(|manifest| &manifest.object);
    let version = site.cluster().talos.to_string();
    let texts = configs.iter().map(|config| config.text.as_str());
    pulled_images(sources, &version, texts, manifests).map_err(|finding| anyhow!("{finding}").into())
}

/// Firmware looks for these names, and these builds of iPXE have network drivers of their own.
const ON_STICK: [(&str, &str); 2] = [("BOOTX64.EFI", "ipxe-amd64.efi"), ("BOOTAA64.EFI", "ipxe-arm64.efi")];

fn usb(place: &Place, out: &Path, server: Option<Ipv4Addr>) -> Result<(), Failure> {
    let opened = place.open()?;
    let mut found = Vec::new();
    for (name, file) in ON_STICK {
        let asset = AssetName::ipxe(file)?;
        if opened.folder.content(&asset)?.is_some() {
            let path = opened.folder.served(&asset);
            found.push((name, fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?));
        }
    }
    if found.is_empty() {
        return Err(anyhow!(
            "none of {} is in {}: `ichord images pull {}` fetches them",
            ON_STICK.map(|(_, file)| format!("ipxe/{file}")).join(", "),
            opened.folder.root().display(),
            place.site.display()
        )
        .into());
    }
    let files: Vec<(&str, &[u8])> = found.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let image = stick_image(&files, &stick_script(server))?;
    fs::write(out, &image).with_context(|| format!("cannot write {}", out.display()))?;
    print(&format!("{}: {} octets, to be written to a stick as they are\n", out.display(), image.len()))
}
