//! What the commands that give out credentials share: where the file goes, how long it is good for, and that nobody else
//! may read it.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use talos_config::pki::renew::RenewError;
use zeroize::Zeroizing;

use super::{Failure, print};
use crate::app::{self, Loaded};

/// Where credentials go.
#[derive(Debug, Args)]
pub(crate) struct Destination {
    /// write a new file; one that is there is never replaced
    #[arg(long, value_name = "FILE", conflicts_with = "renew")]
    out: Option<PathBuf>,
    /// replace the certificate in this file, which must be of this cluster; everything else in it stays
    #[arg(long, value_name = "FILE")]
    renew: Option<PathBuf>,
}

impl Destination {
    /// Makes the text, or renews the one that is there, and puts it where it belongs.
    pub(crate) fn put(
        &self,
        make: impl FnOnce() -> anyhow::Result<Zeroizing<String>>,
        renew: impl FnOnce(&str) -> Result<Zeroizing<String>, RenewError>,
    ) -> Result<(), Failure> {
        match (&self.out, &self.renew) {
            (_, Some(path)) => {
                let name = path.display();
                let old = fs::read_to_string(path).with_context(|| format!("{name} cannot be read"))?;
                let new = renew(&Zeroizing::new(old)).with_context(|| format!("{name} stays as it is"))?;
                replace(path, &new)?;
                print(&format!("{name}: renewed\n"))
            }
            (Some(path), None) => {
                create(path, &make()?).map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => {
                        anyhow!(
                            "{} is there and stays; renew it with --renew, or remove it first",
                            path.display()
                        )
                    }
                    _ => anyhow!(error).context(format!("{} cannot be written", path.display())),
                })?;
                print(&format!("{}: made\n", path.display()))
            }
            (None, None) => print(&make()?),
        }
    }
}

/// Makes a new file that only its owner may read, whole or not at all.
pub(crate) fn create(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).inspect_err(|_| {
        // half a file would be in the way of a whole one
        fs::remove_file(path).ok();
    })
}

/// Puts a new text in the place of a file, so that at every moment one of the two is there.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    // a link stays one: what it points to is replaced
    let path = fs::canonicalize(path).with_context(|| format!("{} cannot be found", path.display()))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    create(&new, text).with_context(|| format!("{} cannot be written", new.display()))?;
    fs::rename(&new, &path).inspect_err(|_| {
        fs::remove_file(&new).ok();
    })?;
    Ok(())
}

/// For how long a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetime(pub(crate) Duration);

impl FromStr for Lifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HOUR: u64 = 3_600;
        // what Talos calls a year, too
        const UNITS: [(char, u64); 3] = [('h', HOUR), ('d', 24 * HOUR), ('y', 8_760 * HOUR)];
        // longer than the authority itself lives
        const MOST: u64 = 10 * 8_760 * HOUR;
        let unit = UNITS.iter().find_map(|&(letter, seconds)| Some((text.strip_suffix(letter)?, seconds)));
        let seconds = unit.and_then(|(number, seconds)| number.parse::<u64>().ok()?.checked_mul(seconds));
        match seconds {
            Some(seconds @ 1..=MOST) => Ok(Self(Duration::from_secs(seconds))),
            Some(_) => Err("write at least an hour and at most ten years".to_owned()),
            None => Err("write a whole number of hours, days or years: 8h, 30d, 1y".to_owned()),
        }
    }
}

/// A site with its secrets, or its faults on standard error.
pub(crate) fn loaded(directory: &Path) -> Result<Loaded, Failure> {
    app::load(directory).map_err(|error| Failure::of_site(&error))
}

/// Seconds since 1970, for certificates.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_whole_numbers_of_a_unit() {
        let hours = |text: &str| text.parse::<Lifetime>().map(|lifetime| lifetime.0.as_secs() / 3_600);
        assert_eq!((hours("8h"), hours("30d"), hours("1y")), (Ok(8), Ok(720), Ok(8_760)));
        for text in ["", "h", "1", "1.5h", "-1h", "1w", "0h", "11y", "99999999999999999999y"] {
            assert!(hours(text).is_err(), "{text}");
        }
    }
}
