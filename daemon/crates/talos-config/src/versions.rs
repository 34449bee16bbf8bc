//! Talos versions: what a config for one looks like, and which Kubernetes goes with it.
//!
//! The site names one Talos version; from it follow the contract of the generated config, the default Kubernetes and the
//! check that both go together (talos.md §1.1, read from the releases up to 1.14.0-rc.1).

use std::fmt;
use std::str::FromStr;

/// A Talos version such as `v1.13.9` or `v1.14.0-rc.1`. Written with a leading `v`, read with or without.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TalosVersion {
    /// Major and minor, on which the config depends.
    pub contract: Contract,
    /// The patch release.
    pub patch: u16,
    /// The pre-release after the dash, or nothing. Releases sort after it (see [`PreRelease`]).
    pub pre_release: PreRelease,
}

/// The part of a version behind the dash; a release without one is the newest of its number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PreRelease {
    /// `alpha.2`, `rc.1`.
    Named(String),
    /// A release.
    None,
}

/// A Talos minor release as far as machine configs care: Talos calls it the version contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Contract {
    /// 1, so far.
    pub major: u16,
    /// The minor release.
    pub minor: u16,
}

/// A Kubernetes version such as `1.36.3`. Written without a leading `v`, read with or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubernetesVersion {
    /// 1, so far.
    pub major: u16,
    /// The minor release.
    pub minor: u16,
    /// The patch release.
    pub patch: u16,
}

/// Why a version could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// The text is not a version.
    #[error("`{0}` is not a version like `v1.13.9`")]
    Form(String),
    /// This Talos is older or newer than what is known here.
    #[error("configs for Talos {found} cannot be made; {OLDEST} to {NEWEST} can")]
    Unsupported {
        /// The contract that was asked for.
        found: Contract,
    },
    /// This Talos does not run this Kubernetes.
    #[error("Talos {talos} runs Kubernetes 1.{oldest} to 1.{newest}, not {kubernetes}")]
    Incompatible {
        /// The Talos minor release.
        talos: Contract,
        /// The Kubernetes that was asked for.
        kubernetes: KubernetesVersion,
        /// The oldest minor release of Kubernetes that this Talos runs.
        oldest: u16,
        /// The newest one.
        newest: u16,
    },
}

/// What goes with one Talos minor release.
struct Release {
    contract: Contract,
    default_kubernetes: KubernetesVersion,
    /// The minor releases of Kubernetes, oldest and newest.
    kubernetes: (u16, u16),
}

/// The oldest contract whose configs are made.
pub const OLDEST: Contract = Contract::new(1, 8);
/// The newest contract whose configs are made. Talos 1.14 accepts them (talos.md §1.2).
pub const NEWEST: Contract = Contract::new(1, 13);

/// talos.md §1.1; the row of 1.8 from the sources of pkg/machinery 1.8.3.
const RELEASES: [Release; 7] = [
    release(8, (1, 31, 2), (26, 31)),
    release(9, (1, 32, 4), (27, 32)),
    release(10, (1, 33, 6), (28, 33)),
    release(11, (1, 34, 1), (29, 34)),
    release(12, (1, 35, 4), (30, 35)),
    release(13, (1, 36, 3), (31, 36)),
    release(14, (1, 37, 0), (32, 37)),
];

const fn release(minor: u16, default_kubernetes: (u16, u16, u16), kubernetes: (u16, u16)) -> Release {
    let (major, middle, patch) = default_kubernetes;
    Release {
        contract: Contract::new(1, minor),
        default_kubernetes: KubernetesVersion { major, minor: middle, patch },
        kubernetes,
    }
}

impl Contract {
    /// The contract of a Talos minor release.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// The Kubernetes that this Talos installs when nothing else is said.
    pub fn default_kubernetes(self) -> Option<KubernetesVersion> {
        Some(self.release()?.default_kubernetes)
    }

    /// The oldest and the newest release of which is known which Kubernetes they run.
    pub fn known() -> (Self, Self) {
        let [oldest, .., newest] = &RELEASES;
        (oldest.contract, newest.contract)
    }

    /// Whether it is one of them.
    pub fn is_known(self) -> bool {
        self.release().is_some()
    }

    /// Checks that this Talos runs that Kubernetes. An unknown Talos is not judged.
    pub fn check_kubernetes(self, kubernetes: KubernetesVersion) -> Result<(), VersionError> {
        let Some(Release { kubernetes: (oldest, newest), .. }) = self.release() else {
            return Ok(());
        };
        if kubernetes.major == 1 && (*oldest..=*newest).contains(&kubernetes.minor) {
            return Ok(());
        }
        Err(VersionError::Incompatible { talos: self, kubernetes, oldest: *oldest, newest: *newest })
    }

    /// The contract to generate for this Talos: its own, or the newest known for a newer one, which still accepts it.
    pub fn to_generate(self) -> Result<Self, VersionError> {
        if self < OLDEST || self.major != 1 {
            return Err(VersionError::Unsupported { found: self });
        }
        Ok(self.min(NEWEST))
    }

    fn release(self) -> Option<&'static Release> {
        RELEASES.iter().find(|release| release.contract == self)
    }
}

impl FromStr for TalosVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let form = || VersionError::Form(text.to_owned());
        let bare = text.strip_prefix('v').unwrap_or(text);
        let (numbers, pre_release) = match bare.split_once('-') {
            Some((_, "")) => return Err(form()),
            Some((numbers, name)) => (numbers, PreRelease::Named(name.to_owned())),
            None => (bare, PreRelease::None),
        };
        let (major, minor, patch) = numbers_of(numbers).ok_or_else(form)?;
        Ok(Self { contract: Contract { major, minor }, patch: patch.unwrap_or(0), pre_release })
    }
}

impl FromStr for Contract {
    type Err = VersionError;

    /// Reads `1.13`, `v1.13` or a whole Talos version.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        text.parse::<TalosVersion>().map(|version| version.contract)
    }
}

impl FromStr for KubernetesVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        match numbers_of(text.strip_prefix('v').unwrap_or(text)) {
            Some((major, minor, Some(patch))) => Ok(Self { major, minor, patch }),
            _ => Err(VersionError::Form(text.to_owned())),
        }
    }
}

/// Reads `1.13` or `1.13.9`.
fn numbers_of(text: &str) -> Option<(u16, u16, Option<u16>)> {
    let number = |text: &str| -> Option<u16> {
        // `parse` alone would take `+1`
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    };
    let mut parts = text.split('.');
    let (major, minor) = (number(parts.next()?)?, number(parts.next()?)?);
    let patch = parts.next().map(number);
    match (patch, parts.next()) {
        (None, None) => Some((major, minor, None)),
        (Some(Some(patch)), None) => Some((major, minor, Some(patch))),
        _ => None,
    }
}

impl fmt::Display for TalosVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.contract, self.patch)?;
        match &self.pre_release {
            PreRelease::Named(name) => write!(f, "-{name}"),
            PreRelease::None => Ok(()),
        }
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}", self.major, self.minor)
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talos(text: &str) -> TalosVersion {
        text.parse().expect("a version")
    }

    #[test]
    fn versions_read_with_and_without_v_and_print_with_it() {
        assert_eq!(talos("v1.13.9").to_string(), "v1.13.9");
        assert_eq!(talos("1.13.9"), talos("v1.13.9"));
        assert_eq!(talos("v1.14.0-rc.1").to_string(), "v1.14.0-rc.1");
        assert_eq!(talos("v1.13").to_string(), "v1.13.0");
        let kubernetes = "v1.36.3".parse::<KubernetesVersion>().map(|version| version.to_string());
        assert_eq!(kubernetes, Ok("1.36.3".to_owned()));
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in ["", "v", "1", "1.x", "1.13.9.1", "1.+3.9", "1.13.9-", "latest", "v99999999.1"] {
            assert_eq!(text.parse::<TalosVersion>(), Err(VersionError::Form(text.to_owned())));
        }
        assert!("1.36".parse::<KubernetesVersion>().is_err(), "an image tag needs the patch release");
    }

    #[test]
    fn a_release_is_newer_than_its_candidates() {
        let mut versions =
            [talos("v1.14.0"), talos("v1.13.9"), talos("v1.14.0-rc.1"), talos("v1.14.0-alpha.2")];
        versions.sort();
        assert_eq!(
            versions.map(|version| version.to_string()),
            ["v1.13.9", "v1.14.0-alpha.2", "v1.14.0-rc.1", "v1.14.0"]
        );
    }

    #[test]
    fn every_talos_runs_its_default_kubernetes_and_not_the_next_one() {
        for release in &RELEASES {
            let default = release.contract.default_kubernetes().expect("known");
            assert_eq!(release.contract.check_kubernetes(default), Ok(()));
            let next = KubernetesVersion { minor: release.kubernetes.1 + 1, ..default };
            assert!(release.contract.check_kubernetes(next).is_err());
        }
    }

    #[test]
    fn a_newer_talos_gets_the_newest_config_it_accepts() {
        assert_eq!(Contract::new(1, 14).to_generate(), Ok(Contract::new(1, 13)));
        assert_eq!(Contract::new(1, 9).to_generate(), Ok(Contract::new(1, 9)));
        assert!(Contract::new(1, 7).to_generate().is_err());
        assert!(Contract::new(2, 0).to_generate().is_err());
    }
}
