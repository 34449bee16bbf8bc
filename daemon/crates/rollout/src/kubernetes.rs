//! Another version of Kubernetes for a cluster that runs: whether it may be brought, and what is next.
//!
//! By the rules of Kubernetes' version skew, as `talosctl upgrade-k8s` does it: every API server before the first controller
//! manager, those before the schedulers, and kubelets last, control planes before workers; one at a time, and no further than
//! the first that is not ready with its new image. What there is to be known is seen on the nodes, so that nothing is stored.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};
use talos_config::config::{ConfigError, MachineConfig};
use talos_config::versions::{KubernetesVersion, TalosVersion, VersionError};

/// How many minor versions older than the API servers a kubelet may be.
const KUBELET_BEHIND: u16 = 3;

/// A part of Kubernetes that a node runs, in the order in which they are upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// `kube-apiserver`
    ApiServer,
    /// `kube-controller-manager`
    ControllerManager,
    /// `kube-scheduler`
    Scheduler,
    /// `kube-proxy`, which only its manifest makes run
    Proxy,
    /// `kubelet`
    Kubelet,
}

/// All of them, in their order.
pub const PARTS: [Part; 5] =
    [Part::ApiServer, Part::ControllerManager, Part::Scheduler, Part::Proxy, Part::Kubelet];

impl Part {
    /// What everybody calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Proxy => "kube-proxy",
            Self::Kubelet => "kubelet",
        }
    }

    /// Where a config names its image: in a document of its own, or in this section of the main one.
    fn place(self) -> (&'static str, [&'static str; 2]) {
        match self {
            Self::ApiServer => ("KubeAPIServerConfig", ["cluster", "apiServer"]),
            Self::ControllerManager => ("KubeControllerManagerConfig", ["cluster", "controllerManager"]),
            Self::Scheduler => ("KubeSchedulerConfig", ["cluster", "scheduler"]),
            Self::Proxy => ("KubeProxyConfig", ["cluster", "proxy"]),
            Self::Kubelet => ("KubeletConfig", ["machine", "kubelet"]),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The images that a config names.
pub fn images(config: &MachineConfig) -> BTreeMap<Part, String> {
    let image = |part: Part| {
        let (kind, [section, key]) = part.place();
        let document = config.document(kind, "").and_then(|document| document.get("image"));
        document.or_else(|| config.at(&[section, key, "image"])).and_then(Value::as_str).map(str::to_owned)
    };
    PARTS.into_iter().filter_map(|part| Some((part, image(part)?))).collect()
}

/// The same config with another image of one part, and nothing else changed.
pub fn with_image(config: &MachineConfig, part: Part, image: &str) -> Result<MachineConfig, ConfigError> {
    let mut changed = config.clone();
    let (kind, [section, key]) = part.place();
    if let Some(document) = config.document(kind, "") {
        let mut document = document.clone();
        document.insert("image".to_owned(), json!(image));
        changed.insert(Value::Object(document))?;
    } else if let Some(main) = changed.v1alpha1_mut()
        && let Some(Value::Object(section)) = main.get_mut(section)
    {
        let place = section.entry(key).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(place) = place {
            place.insert("image".to_owned(), json!(image));
        }
    }
    Ok(changed)
}

/// The version that an image's tag tells, whatever is added to it (`-fat`, a digest).
pub fn version_of(image: &str) -> Option<KubernetesVersion> {
    let name = image.split('@').next().unwrap_or(image);
    let last = name.rsplit('/').next().unwrap_or(name);
    let tag = last.rsplit(':').next().unwrap_or(last);
    tag.split(['-', '+']).next().unwrap_or(tag).parse().ok()
}

/// A node, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// or a worker
    pub control_plane: bool,
    /// none while it does not answer
    pub told: Option<Told>,
}

/// What a node and its kubelet say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// the Talos it runs
    pub talos: TalosVersion,
    /// the images that its config names
    pub images: BTreeMap<Part, String>,
    /// what runs and is ready: images, and of the kubelet the version
    pub runs: BTreeMap<Part, String>,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// give the node the config that it has, with this image
    Change {
        /// the node
        node: String,
        /// of what
        part: Part,
        /// the image
        image: String,
    },
    /// nothing yet, and why
    Wait(String),
    /// everything runs; what Talos itself has put into the cluster follows
    Manifests,
}

/// Why Kubernetes may not be brought to this version, each with the way out; nothing where it may.
pub fn refusals(looks: &BTreeMap<String, Look>, to: KubernetesVersion) -> Vec<String> {
    let told = looks.iter().filter_map(|(name, look)| Some((name, look.told.as_ref()?)));
    told.flat_map(|(name, told)| refusal(name, told, to)).collect()
}

fn refusal(name: &str, told: &Told, to: KubernetesVersion) -> Option<String> {
    if let Err(error) = told.talos.contract.check_kubernetes(to) {
        return Some(match error {
            VersionError::Incompatible { newest, .. } if to.minor > newest => {
                format!("{name}: {error}: `ichord upgrade talos` first")
            }
            error => format!("{name}: {error}"),
        });
    }
    PARTS.into_iter().find_map(|part| {
        let image = told.images.get(&part).or_else(|| told.runs.get(&part))?;
        let from = version_of(image)?;
        let apart = to.minor.saturating_sub(from.minor);
        if to < from {
            return Some(format!(
                "{part} of {name} is {from}, and Kubernetes does not go back to {to}: name {from} or a newer one; a cluster as it \
                 was before comes out of etcd's snapshot"
            ));
        }
        let most = if part == Part::Kubelet { KUBELET_BEHIND } else { 1 };
        (apart > most || to.major != from.major).then(|| {
            format!(
                "{part} of {name} is {from}, and Kubernetes goes up one minor version at a time: `--to {}.{}.…` first",
                from.major,
                from.minor + 1
            )
        })
    })
}

/// What is next, where each node is to have these images.
pub fn next(wanted: &BTreeMap<String, BTreeMap<Part, String>>, looks: &BTreeMap<String, Look>) -> Next {
    if let Some((name, _)) = looks.iter().find(|(_, look)| look.told.is_none()) {
        return Next::Wait(format!("{name} does not answer"));
    }
    for part in PARTS {
        let mut nodes: Vec<_> =
            looks.iter().filter(|(_, look)| look.control_plane || part == Part::Kubelet).collect();
        let left = left(&nodes, part);
        nodes.sort_by_key(|(name, look)| {
            (!look.control_plane, left.as_ref() != Some(*name), runs(look, part), *name)
        });
        for (name, look) in &nodes {
            let (Some(told), Some(image)) = (&look.told, wanted.get(*name).and_then(|it| it.get(&part)))
            else {
                continue;
            };
            if told.images.get(&part) != Some(image) {
                // one at a time: nobody else's is away meanwhile
                let is_away = |(other, look): &&(&String, &Look)| {
                    part != Part::Proxy && *other != *name && !runs(look, part)
                };
                let away = nodes.iter().find(is_away).filter(|_| left.as_ref() != Some(*name));
                return match away {
                    Some((away, _)) => Next::Wait(format!("{part} of {away} is not ready")),
                    None => Next::Change { node: (*name).clone(), part, image: image.clone() },
                };
            }
            if part != Part::Proxy && !runs_it(told, part, image) {
                return Next::Wait(format!("{part} of {name} is not ready with {image}"));
            }
        }
    }
    Next::Manifests
}

/// Whom an earlier order has left away, alone with an image newer than everybody else's. Another one brings it back, and whether the
/// others are there cannot be seen where it is the one that everybody asks.
fn left(nodes: &[(&String, &Look)], part: Part) -> Option<String> {
    let version = |look: &Look| version_of(look.told.as_ref()?.images.get(&part)?);
    let is_alone = |name: &String, look: &Look| {
        nodes.iter().all(|(other, its)| *other == name || version(its) < version(look))
    };
    let found = nodes.iter().find(|(name, look)| !runs(look, part) && is_alone(name, look));
    found.map(|(name, _)| (*name).clone())
}

fn runs(look: &Look, part: Part) -> bool {
    look.told.as_ref().is_some_and(|told| told.runs.contains_key(&part))
}

fn runs_it(told: &Told, part: Part, image: &str) -> bool {
    told.runs.get(&part).is_some_and(|runs| match part {
        Part::Kubelet => version_of(runs) == version_of(image),
        _ => runs == image,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: &str) -> BTreeMap<Part, String> {
        PARTS.into_iter().map(|part| (part, format!("registry.example/{part}:v{version}"))).collect()
    }

    fn look(control_plane: bool, version: &str) -> Look {
        let talos = "v1.13.9".parse().unwrap();
        let images = of(version);
        let mut runs = images.clone();
        runs.remove(&Part::Proxy);
        runs.insert(Part::Kubelet, format!("v{version}"));
        if !control_plane {
            runs.retain(|part, _| *part == Part::Kubelet);
        }
        Look { control_plane, told: Some(Told { talos, images, runs }) }
    }

    fn cluster(version: &str) -> BTreeMap<String, Look> {
        [("cp1", true), ("cp2", true), ("w1", false)]
            .map(|(name, control_plane)| (name.to_owned(), look(control_plane, version)))
            .into()
    }

    #[test]
    fn api_servers_come_first_and_the_kubelets_of_workers_last() {
        let mut looks = cluster("1.35.4");
        let wanted: BTreeMap<_, _> = looks.keys().map(|name| (name.clone(), of("1.36.0"))).collect();
        let mut order = Vec::new();
        loop {
            match next(&wanted, &looks) {
                Next::Change { node, part, image } => {
                    order.push(format!("{part} {node}"));
                    let told = looks.get_mut(&node).unwrap().told.as_mut().unwrap();
                    told.images.insert(part, image);
                    // it is away for a while, and nobody else follows
                    told.runs.remove(&part);
                }
                Next::Wait(reason) => {
                    let last = order.last().unwrap();
                    let (part, node) = last.split_once(' ').unwrap();
                    assert!(reason.starts_with(&format!("{part} of {node} is not ready")), "{reason}");
                    let part = PARTS.into_iter().find(|it| it.name() == part).unwrap();
                    let told = looks.get_mut(node).unwrap().told.as_mut().unwrap();
                    let image =
                        if part == Part::Kubelet { "v1.36.0".to_owned() } else { told.images[&part].clone() };
                    told.runs.insert(part, image);
                }
                Next::Manifests => break,
            }
        }
        assert_eq!(
            order,
            [
                "kube-apiserver cp1",
                "kube-apiserver cp2",
                "kube-controller-manager cp1",
                "kube-controller-manager cp2",
                "kube-scheduler cp1",
                "kube-scheduler cp2",
                "kube-proxy cp1",
                "kube-proxy cp2",
                "kubelet cp1",
                "kubelet cp2",
                "kubelet w1",
            ]
        );
        assert_eq!(
            looks,
            cluster("1.36.0")
                .into_iter()
                .map(|(name, mut look)| {
                    // a worker's config names what only control planes run, and nobody touches that
                    if !look.control_plane {
                        let old = of("1.35.4");
                        let told = look.told.as_mut().unwrap();
                        told.images = PARTS
                            .map(|part| {
                                (
                                    part,
                                    if part == Part::Kubelet {
                                        told.images[&part].clone()
                                    } else {
                                        old[&part].clone()
                                    },
                                )
                            })
                            .into();
                    }
                    (name, look)
                })
                .collect()
        );
    }

    #[test]
    fn nobody_is_touched_while_somebody_is_missing_or_not_ready() {
        let wanted: BTreeMap<_, _> = cluster("1.35.4").into_keys().map(|name| (name, of("1.36.0"))).collect();
        let mut looks = cluster("1.35.4");
        looks.get_mut("w1").unwrap().told = None;
        assert_eq!(next(&wanted, &looks), Next::Wait("w1 does not answer".to_owned()));
        let mut looks = cluster("1.35.4");
        for name in ["cp1", "cp2"] {
            looks.get_mut(name).unwrap().told.as_mut().unwrap().runs.remove(&Part::ApiServer);
        }
        assert_eq!(next(&wanted, &looks), Next::Wait("kube-apiserver of cp2 is not ready".to_owned()));
    }

    #[test]
    fn who_is_away_with_another_image_is_given_the_wanted_one_before_everybody_else() {
        let wanted: BTreeMap<_, _> = cluster("1.35.4").into_keys().map(|name| (name, of("1.36.2"))).collect();
        let mut looks = cluster("1.35.4");
        let broken = looks.get_mut("cp2").unwrap().told.as_mut().unwrap();
        broken.images.insert(Part::ApiServer, of("1.36.1")[&Part::ApiServer].clone());
        broken.runs.remove(&Part::ApiServer);
        let image = of("1.36.2")[&Part::ApiServer].clone();
        let change =
            |node: &str| Next::Change { node: node.to_owned(), part: Part::ApiServer, image: image.clone() };
        assert_eq!(next(&wanted, &looks), change("cp2"));
        // also where it was the one that everybody asked
        let mut silent = looks.clone();
        silent.values_mut().for_each(|look| look.told.as_mut().unwrap().runs.clear());
        assert_eq!(next(&wanted, &silent), change("cp2"));
        let broken = looks.get_mut("cp2").unwrap().told.as_mut().unwrap();
        broken.images.insert(Part::ApiServer, image.clone());
        let Next::Wait(reason) = next(&wanted, &looks) else { panic!("nobody waits for it") };
        assert!(reason.starts_with("kube-apiserver of cp2 is not ready with"), "{reason}");
        let broken = looks.get_mut("cp2").unwrap().told.as_mut().unwrap();
        broken.runs.insert(Part::ApiServer, image.clone());
        assert_eq!(next(&wanted, &looks), change("cp1"));
    }

    #[test]
    fn steps_that_kubernetes_does_not_allow_are_refused_with_the_way() {
        for (from, to, said) in [
            ("1.35.4", "1.35.9", None),
            ("1.35.4", "1.36.0", None),
            ("1.36.0", "1.36.0", None),
            ("1.34.1", "1.36.0", Some("`--to 1.35.…` first")),
            ("1.36.0", "1.35.9", Some("does not go back")),
            ("1.36.3", "1.36.0", Some("does not go back")),
            ("1.36.3", "1.37.0", Some("`ichord upgrade talos` first")),
        ] {
            let refused = refusals(&cluster(from), to.parse().unwrap());
            match said {
                None => assert_eq!(refused, Vec::<String>::new(), "{from} to {to}"),
                Some(said) => assert!(refused[0].contains(said), "{from} to {to}: {refused:?}"),
            }
        }
        // kubelets may be three behind
        let mut looks = cluster("1.35.4");
        let worker = looks.get_mut("w1").unwrap().told.as_mut().unwrap();
        worker.images = [(Part::Kubelet, "kubelet:v1.33.1".to_owned())].into();
        assert_eq!(refusals(&looks, "1.36.0".parse().unwrap()), Vec::<String>::new());
        let worker = looks.get_mut("w1").unwrap().told.as_mut().unwrap();
        worker.images = [(Part::Kubelet, "kubelet:v1.32.1".to_owned())].into();
        let refused = refusals(&looks, "1.36.0".parse().unwrap());
        assert!(refused[0].starts_with("kubelet of w1 is 1.32.1"), "{refused:?}");
    }

    #[test]
    fn an_image_is_changed_where_the_config_names_it() {
        let main = MachineConfig::from_yaml(
            "machine: {type: controlplane, kubelet: {image: 'k:v1.35.4', extraArgs: {v: '2'}}}\ncluster: {apiServer: {image: 'a:v1.35.4'}}",
        )
        .unwrap();
        let changed = with_image(&main, Part::Kubelet, "k:v1.36.0").unwrap();
        assert_eq!(
            images(&changed),
            [(Part::ApiServer, "a:v1.35.4".to_owned()), (Part::Kubelet, "k:v1.36.0".to_owned())].into()
        );
        assert_eq!(changed.at(&["machine", "kubelet", "extraArgs", "v"]), Some(&json!("2")));
        // where nothing is said, it is said now
        let changed = with_image(&main, Part::Scheduler, "s:v1.36.0").unwrap();
        assert_eq!(images(&changed)[&Part::Scheduler], "s:v1.36.0");

        let documents = MachineConfig::from_yaml(
            "machine: {type: worker}\n---\napiVersion: v1alpha1\nkind: KubeletConfig\nimage: 'k:v1.36.0'\nextraArgs: {v: '2'}\n",
        )
        .unwrap();
        let changed = with_image(&documents, Part::Kubelet, "k:v1.36.3").unwrap();
        assert_eq!(images(&changed), [(Part::Kubelet, "k:v1.36.3".to_owned())].into());
        assert_eq!(changed.document("KubeletConfig", "").unwrap()["extraArgs"]["v"], "2");
        assert_eq!(changed.at(&["machine", "kubelet"]), None);
    }

    #[test]
    fn versions_are_read_out_of_tags() {
        for (image, version) in [
            ("registry.k8s.io/kube-apiserver:v1.36.3", Some("1.36.3")),
            ("localhost:5000/kubelet:v1.36.3-fat", Some("1.36.3")),
            ("kubelet:v1.37.0-rc.0@sha256:00ff", Some("1.37.0")),
            ("v1.36.3", Some("1.36.3")),
            ("localhost:5000/kubelet", None),
            ("kubelet:latest", None),
        ] {
            assert_eq!(version_of(image).map(|it| it.to_string()).as_deref(), version, "{image}");
        }
    }
}
