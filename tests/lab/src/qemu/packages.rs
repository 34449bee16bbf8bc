//! Debian packages, unpacked into a cache and never installed: kernel, boot loaders, iPXE, busybox.
//!
//! The machine's own apt downloads and verifies them. iPXE comes from trixie, whose build knows LLDP: through the
//! machine's own sources with the suite replaced, and with lists of its own, so that nothing of the machine changes.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

/// Where Debian's package sources are described.
const SOURCES: [&str; 2] = ["/etc/apt/sources.list", "/etc/apt/sources.list.d"];
/// Written last: a folder without it is the rest of an interrupted download.
const COMPLETE: &str = ".complete";

/// Which release a package is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    /// what the machine itself runs
    Own,
    /// Debian 13
    Trixie,
    /// Debian 13 for AArch64
    Arm64,
}

/// The cache.
#[derive(Debug, Clone)]
pub(crate) struct Packages {
    cache: PathBuf,
}

impl Packages {
    /// `$ICHORD_CACHE`, or the user's cache folder.
    pub(crate) fn open() -> Result<Self> {
        let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache/ichord"));
        let cache = env::var_os("ICHORD_CACHE").map(PathBuf::from).or_else(home);
        let cache = cache.context("neither ICHORD_CACHE nor HOME says where downloads may be kept")?;
        fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
        // apt wants absolute paths
        let cache = cache.canonicalize().with_context(|| format!("cannot find {}", cache.display()))?;
        Ok(Self { cache })
    }

    /// The folder with the unpacked package; it is downloaded unless it is there already.
    pub(crate) fn unpacked(&self, package: &str, suite: Suite) -> Result<PathBuf> {
        let release = match suite {
            Suite::Own => "own",
            Suite::Trixie => "trixie",
            Suite::Arm64 => "trixie-arm64",
        };
        let folder = self.cache.join("packages").join(release).join(package);
        if folder.join(COMPLETE).exists() {
            return Ok(folder);
        }
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        let download = tempfile::tempdir_in(&self.cache).context("cannot make a folder for a download")?;
        let apt = self.apt(suite)?;
        run("apt-get", apt.iter().map(String::as_str).chain(["download", package]), download.path())?;
        let archive = only_deb(download.path())?;
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        run("dpkg-deb", [OsStr::new("-x"), archive.as_os_str(), folder.as_os_str()], download.path())?;
        fs::write(folder.join(COMPLETE), "")
            .with_context(|| format!("cannot write into {}", folder.display()))?;
        Ok(folder)
    }

    /// A package as it comes, without being unpacked.
    pub(crate) fn archive(&self, package: &str) -> Result<PathBuf> {
        let folder = self.cache.join("archives").join(package);
        if folder.join(COMPLETE).exists() {
            return only_deb(&folder);
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        run("apt-get", ["download", package], &folder)?;
        fs::write(folder.join(COMPLETE), "")
            .with_context(|| format!("cannot write into {}", folder.display()))?;
        only_deb(&folder)
    }

    /// The name of the newest package that `meta` depends on and that begins with `prefix`.
    pub(crate) fn behind(&self, meta: &str, prefix: &str, suite: Suite) -> Result<String> {
        let output = Command::new("apt-cache")
            .args(self.apt(suite)?)
            .args(["depends", "--no-recommends", "--no-suggests", meta])
            .output()
            .context("cannot start apt-cache: real firmware is booted with Debian's packages")?;
        let text = String::from_utf8_lossy(&output.stdout);
        dependency(&text, prefix)
            .map(str::to_owned)
            .ok_or_else(|| anyhow!("apt knows no {meta}; run `apt-get update`, or is this no Debian?"))
    }

    /// Options that make apt look at a suite; for a foreign one its lists are fetched first.
    fn apt(&self, suite: Suite) -> Result<Vec<String>> {
        if suite == Suite::Own {
            return Ok(Vec::new());
        }
        let home = self.cache.join(if suite == Suite::Arm64 { "apt-arm64" } else { "apt-trixie" });
        for part in ["parts", "lists/partial", "archives/partial"] {
            fs::create_dir_all(home.join(part)).with_context(|| format!("cannot make {}", home.display()))?;
        }
        let mut options = vec![
            "-oDir::Etc::SourceList=/dev/null".to_owned(),
            format!("-oDir::Etc::SourceParts={}", home.join("parts").display()),
            format!("-oDir::State::Lists={}", home.join("lists").display()),
            format!("-oDir::Cache={}", home.display()),
        ];
        if suite == Suite::Arm64 {
            options.extend(["-oAPT::Architecture=arm64", "-oAPT::Architectures=arm64"].map(str::to_owned));
        }
        write_sources(&home.join("parts"))?;
        run("apt-get", options.iter().map(String::as_str).chain(["-q", "update"]), &home)?;
        Ok(options)
    }
}

/// Copies the machine's Debian sources with every release name replaced by trixie's.
fn write_sources(parts: &Path) -> Result<()> {
    let mut files: Vec<PathBuf> = Vec::new();
    for source in SOURCES.map(PathBuf::from) {
        if source.is_dir() {
            let entries =
                fs::read_dir(&source).with_context(|| format!("cannot read {}", source.display()))?;
            files.extend(entries.flatten().map(|entry| entry.path()));
        } else if source.is_file() {
            files.push(source);
        }
    }
    let mut written = 0;
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let (Some(name), Some(text)) = (file.file_name(), for_trixie(&text)) else { continue };
        fs::write(parts.join(name), text)
            .with_context(|| format!("cannot write into {}", parts.display()))?;
        written += 1;
    }
    if written == 0 {
        bail!("no Debian source among {SOURCES:?}: trixie's iPXE cannot be fetched");
    }
    Ok(())
}

/// A sources file with its Debian release replaced; nothing when it is not one of Debian's own.
fn for_trixie(text: &str) -> Option<String> {
    const RELEASES: [&str; 4] = ["bullseye", "bookworm", "trixie", "forky"];
    let ours = text.contains("debian.org") || text.contains("/debian");
    let release = RELEASES.into_iter().find(|release| text.contains(release))?;
    ours.then(|| text.replace(release, "trixie"))
}

/// Reads `apt-cache depends`: the first real package whose name begins with `prefix`.
fn dependency<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("Depends:"))
        .map(str::trim)
        .find(|name| name.starts_with(prefix))
}

fn only_deb(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download brought no package")
}

/// Runs a program in a folder to its end; what it said is in the error.
pub(crate) fn run<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
    folder: &Path,
) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} failed ({}): {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debians_own_sources_change_their_release() {
        let text = "URIs: http://deb.debian.org/debian\nSuites: bookworm bookworm-updates\n";
        let changed = for_trixie(text).unwrap();
        assert_eq!(changed, "URIs: http://deb.debian.org/debian\nSuites: trixie trixie-updates\n");
        assert_eq!(for_trixie("deb https://deb.example.com/node nodistro main"), None);
        assert_eq!(for_trixie("deb http://archive.ubuntu.com/ubuntu noble main"), None);
    }

    #[test]
    fn the_kernel_behind_the_meta_package() {
        let text = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(dependency(text, "linux-image-"), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(dependency("linux-image-cloud-amd64\n", "linux-image-"), None);
    }
}
