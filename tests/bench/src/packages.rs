//! Other people's servers out of Debian packages, unpacked into a cache and never installed: they would start as services.
//!
//! The machine's own apt downloads and verifies them.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};

/// Written last: a folder without it is the rest of an interrupted download.
const COMPLETE: &str = ".complete";

/// A folder into which packages were unpacked.
pub(crate) struct Unpacked(PathBuf);

impl Unpacked {
    /// A program with the libraries it needs, all in one folder; downloaded unless they are there already.
    pub(crate) fn of(packages: &[&str]) -> anyhow::Result<Self> {
        let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache/ichord"));
        let cache = env::var_os("ICHORD_CACHE").map(PathBuf::from).or_else(home);
        let cache = cache.context("neither ICHORD_CACHE nor HOME says where downloads may be kept")?;
        let folder = cache.join("packages/bench").join(packages.join("+"));
        if folder.join(COMPLETE).exists() {
            return Ok(Self(folder));
        }
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let download = tempfile::tempdir().context("cannot make a folder for a download")?;
        run("apt-get", ["download"].iter().chain(packages).map(OsStr::new), download.path())?;
        for entry in fs::read_dir(download.path())?.flatten().map(|entry| entry.path()) {
            if entry.extension().is_some_and(|extension| extension == "deb") {
                run(
                    "dpkg-deb",
                    [OsStr::new("-x"), entry.as_os_str(), folder.as_os_str()].into_iter(),
                    download.path(),
                )?;
            }
        }
        fs::write(folder.join(COMPLETE), "")?;
        Ok(Self(folder))
    }

    /// A program of it, which finds its libraries.
    pub(crate) fn program(&self, path: &str) -> anyhow::Result<Command> {
        let program = self.0.join(path);
        ensure!(program.exists(), "the packages have no {path}");
        let mut command = Command::new(program);
        let mut libraries = Vec::new();
        for parent in ["lib", "usr/lib"].map(|parent| self.0.join(parent)) {
            // one folder an architecture
            libraries.extend(fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
        command.env("LD_LIBRARY_PATH", env::join_paths(libraries)?);
        Ok(command)
    }
}

/// A program of this machine, also one that is only root's.
pub(crate) fn installed(name: &str, package: &str) -> anyhow::Result<Command> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|program| program.is_file());
    found.map(Command::new).with_context(|| format!("there is no {name}: install the package {package}"))
}

fn run<'a>(program: &str, arguments: impl Iterator<Item = &'a OsStr>, folder: &Path) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{program} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
