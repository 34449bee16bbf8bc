//! The programs the lab starts: built by the lab itself, from the same checkout and in the same profile.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use oracles::Tool;

/// Where the programs are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// the daemon under test
    pub(crate) ichord: PathBuf,
    /// the simulated machine
    pub(crate) machine: PathBuf,
    /// the lab itself, for its children
    pub(crate) lab: PathBuf,
    /// the real etcd, where one stands behind the machines
    pub(crate) etcd: Option<PathBuf>,
}

impl Programs {
    /// Builds the daemon and the machine beside the running lab and returns the paths.
    pub(crate) fn build() -> Result<Self> {
        let lab = env::current_exe().context("cannot find the lab's own program")?;
        let (target, release) = target_of(&lab)?;
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from(env!("CARGO")));
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "-p", "ichord", "-p", "machine", "--manifest-path"]);
        build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml"));
        build.arg("--target-dir").arg(target);
        if release {
            build.arg("--release");
        }
        let status = build.status().context("cannot start cargo to build ichord and the machine")?;
        if !status.success() {
            bail!("ichord and the simulated machine could not be built, see above");
        }
        Self::beside(lab)
    }

    /// Takes programs that somebody else built, all in one folder with this one.
    pub(crate) fn already_built() -> Result<Self> {
        Self::beside(env::current_exe().context("cannot find the lab's own program")?)
    }

    /// The same with a real etcd behind the machines.
    pub(crate) fn with_real_etcd(mut self) -> Result<Self> {
        let built = Tool::Etcd.if_built()?;
        self.etcd = Some(
            built
                .context("etcd is not built, which takes some minutes once: cargo run -p oracles -- etcd")?,
        );
        Ok(self)
    }

    fn beside(lab: PathBuf) -> Result<Self> {
        let programs = Self {
            ichord: lab.with_file_name("ichord"),
            machine: lab.with_file_name("machine"),
            lab,
            etcd: None,
        };
        for program in [&programs.ichord, &programs.machine] {
            if !program.is_file() {
                bail!("{} is not there; run the lab without --no-build", program.display());
            }
        }
        Ok(programs)
    }
}

/// The target directory that `program` was built into, and whether with optimisations.
fn target_of(program: &Path) -> Result<(PathBuf, bool)> {
    let profile = program.parent().context("the lab's program lies in no folder")?;
    let target = profile.parent().context("the lab's program lies in no target directory")?;
    match profile.file_name().and_then(|name| name.to_str()) {
        Some("release") => Ok((target.to_owned(), true)),
        Some("debug") => Ok((target.to_owned(), false)),
        _ => bail!(
            "{} was not built by `cargo run`, so it cannot build its companions; put ichord and machine beside it \
             and add --no-build",
            program.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn companions_are_built_as_the_lab_was() {
        let (target, release) = target_of(Path::new("/w/target/release/lab")).unwrap();
        assert_eq!((target.as_path(), release), (Path::new("/w/target"), true));
        let (target, release) = target_of(Path::new("/elsewhere/debug/lab")).unwrap();
        assert_eq!((target.as_path(), release), (Path::new("/elsewhere"), false));
        assert!(target_of(Path::new("/usr/bin/lab")).is_err());
    }
}
