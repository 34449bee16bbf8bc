//! Another version of Talos for nodes that run: whether it may be brought to them, in which way, and whether it has come.

use std::fmt;

use talos_config::versions::{Contract, KubernetesVersion, TalosVersion, VersionError};

/// From this one on the installer runs by a call of its own, and the node boots when it is told to.
const LIFECYCLE: Contract = Contract::new(1, 13);

/// How many characters of a schematic's name are shown.
const SHOWN: usize = 8;

/// What an image of Talos is: the version, and the schematic that its extensions are made by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// its version
    pub version: TalosVersion,
    /// the image factory's name for what is in it, if that made it
    pub schematic: Option<String>,
}

impl Image {
    /// Of an installer's reference: `factory.talos.dev/metal-installer/<schematic>:v1.13.9`, with a digest behind it or not.
    pub fn of_installer(reference: &str) -> Result<Self, VersionError> {
        let name = reference.split('@').next().unwrap_or(reference);
        let (path, tag) = match name.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (name, ""),
        };
        let last = path.rsplit('/').next().unwrap_or(path);
        let is_schematic = last.len() == 64 && last.bytes().all(|byte| byte.is_ascii_hexdigit());
        Ok(Self { version: tag.parse()?, schematic: is_schematic.then(|| last.to_owned()) })
    }

    /// Whether a node that runs this needs nothing more to run the other one. What brings no schematic of its own asks for none.
    pub fn is(&self, wanted: &Self) -> bool {
        self.version == wanted.version && (wanted.schematic.is_none() || self.schematic == wanted.schematic)
    }

    /// Whether a node that runs this does all of an upgrade when it is told to, and boots again by itself.
    pub fn boots_itself(&self) -> bool {
        self.version.contract < LIFECYCLE
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.version)?;
        match self.schematic.as_deref().map(|schematic| schematic.get(..SHOWN).unwrap_or(schematic)) {
            Some(schematic) => write!(f, " of schematic {schematic}"),
            None => Ok(()),
        }
    }
}

/// A node that is to be upgraded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// its name
    pub name: String,
    /// what it runs
    pub talos: TalosVersion,
    /// the Kubernetes of its kubelet and of whatever else of it runs there
    pub kubernetes: Vec<KubernetesVersion>,
}

/// Why this version of Talos may not be brought to these nodes, each with the way out; nothing where it may.
pub fn refusals(nodes: &[Node], to: &TalosVersion) -> Vec<String> {
    if !to.contract.is_known() {
        let (oldest, newest) = Contract::known();
        return vec![format!(
            "{to} is not known here, {oldest} to {newest} are: which Kubernetes it runs and what it takes out is in a newer ichord"
        )];
    }
    nodes.iter().filter_map(|node| refusal(node, to)).collect()
}

fn refusal(node: &Node, to: &TalosVersion) -> Option<String> {
    let Node { name, talos, kubernetes } = node;
    if to < talos {
        return Some(format!(
            "{name} runs {talos}, and nothing but `talosctl rollback` to the version before makes a node older: name {talos} or \
             a newer one, or install the node anew with the older one (`ichord reprovision {name}`)"
        ));
    }
    if to.contract.minor > talos.contract.minor + 1 {
        let next = Contract::new(talos.contract.major, talos.contract.minor + 1);
        return Some(format!(
            "{name} runs {talos}, and Talos goes up one minor version at a time: `--to {next}.…` first, its newest patch"
        ));
    }
    kubernetes.iter().find_map(|version| match to.contract.check_kubernetes(*version) {
        Err(error @ VersionError::Incompatible { oldest, .. }) if version.minor < oldest => {
            Some(format!("{name}: {error}: `ichord upgrade kubernetes` to 1.{oldest} or newer first"))
        }
        Err(error) => Some(format!("{name}: {error}: bring a Talos that does")),
        Ok(()) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMATIC: &str = "3a1a50bb978dac07d2e80b507046cc972dca7cec86d5b60228b4e88bd287469f";

    fn node(talos: &str, kubernetes: &str) -> Node {
        let kubernetes = vec![kubernetes.parse().unwrap()];
        Node { name: "cp1".to_owned(), talos: talos.parse().unwrap(), kubernetes }
    }

    #[test]
    fn one_minor_version_at_a_time_with_a_kubernetes_that_goes_with_it() {
        for (from, kubernetes, to, said) in [
            ("v1.13.0", "1.36.0", "v1.13.9", None),
            ("v1.13.9", "1.36.0", "v1.14.0", None),
            ("v1.14.0-rc.1", "1.36.0", "v1.14.0", None),
            // an extension more, perhaps
            ("v1.13.9", "1.36.0", "v1.13.9", None),
            ("v1.12.5", "1.32.0", "v1.13.9", None),
            ("v1.12.5", "1.35.0", "v1.14.0", Some("`--to v1.13.…` first")),
            ("v1.9.6", "1.32.0", "v1.13.9", Some("`--to v1.10.…` first")),
            ("v1.14.0", "1.36.0", "v1.13.9", Some("`ichord reprovision cp1`")),
            ("v1.13.9", "1.36.0", "v1.13.8", Some("talosctl rollback")),
            ("v1.14.0", "1.36.0", "v1.14.0-rc.1", Some("name v1.14.0 or a newer one")),
            ("v1.13.9", "1.31.4", "v1.14.0", Some("`ichord upgrade kubernetes` to 1.32 or newer first")),
            ("v1.12.5", "1.37.0", "v1.13.0", Some("bring a Talos that does")),
            ("v1.14.0", "1.36.0", "v1.15.0", Some("a newer ichord")),
            ("v1.14.0", "1.36.0", "v2.0.0", Some("a newer ichord")),
        ] {
            let refused = refusals(&[node(from, kubernetes)], &to.parse().unwrap());
            match said {
                None => assert_eq!(refused, Vec::<String>::new(), "{from} to {to}"),
                Some(said) => assert!(
                    refused.len() == 1 && refused[0].contains(said),
                    "{from} to {to} with {kubernetes}: {refused:?}"
                ),
            }
        }
        let both = [node("v1.13.9", "1.36.0"), node("v1.11.0", "1.34.0"), node("v1.10.0", "1.31.0")];
        assert_eq!(refusals(&both, &"v1.13.9".parse().unwrap()).len(), 2);
    }

    #[test]
    fn an_image_is_a_version_and_a_schematic() {
        let image = |text: &str| Image::of_installer(text).unwrap();
        let of_factory = image(&format!("factory.talos.dev/metal-installer/{SCHEMATIC}:v1.13.9"));
        assert_eq!(of_factory.to_string(), "v1.13.9 of schematic 3a1a50bb");
        assert_eq!(of_factory.schematic.as_deref(), Some(SCHEMATIC));
        let plain = image("localhost:5000/siderolabs/installer:v1.13.9@sha256:00ff");
        assert_eq!((plain.to_string().as_str(), &plain.schematic), ("v1.13.9", &None));
        assert!(of_factory.is(&plain) && !plain.is(&of_factory) && of_factory.is(&of_factory));
        assert!(!image("installer:v1.13.8").is(&plain));
        assert!(Image::of_installer("localhost:5000/installer").is_err());
        assert!(Image::of_installer("installer:latest").is_err());
        assert!(image("installer:v1.12.9").boots_itself() && !image("installer:v1.13.0").boots_itself());
    }
}
