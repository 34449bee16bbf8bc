//! What of Kubernetes runs on a configured machine: its kubelet and, on a control plane, the static pods, each from the image that
//! the config names, and started anew when it names another (how it goes is read from Talos's own source, 1.13.9).

use std::collections::BTreeMap;

use super::{
    config::{Config, Part, Role},
    exchange::StaticPod,
    machine::{Happening, Machine},
    node::{Node, Timer},
};

/// One part as it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Runs {
    image: String,
    is_up: bool,
}

/// What stands behind the image's name.
fn tag(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    name.rsplit('/').next().unwrap_or(name).split_once(':').map_or("", |(_, tag)| tag)
}

impl Node {
    /// Whether it runs and is well; what the config does not name is Talos's own choice, and well.
    pub(crate) fn is_up(&self, part: Part) -> bool {
        self.parts.get(&part).is_none_or(|runs| runs.is_up)
    }

    /// What a kubelet says that it is.
    pub(crate) fn kubelet_version(&self) -> String {
        self.parts.get(&Part::Kubelet).map(|runs| tag(&runs.image).to_owned()).unwrap_or_default()
    }

    /// The pods that only it runs.
    pub(crate) fn static_pods(&self) -> Vec<StaticPod> {
        if self.config.role != Role::ControlPlane {
            return Vec::new();
        }
        let pod = |part: Part| StaticPod {
            component: part.name().to_owned(),
            image: self.parts.get(&part).map(|runs| runs.image.clone()).unwrap_or_default(),
            ready: self.is_up(part) && (part != Part::ApiServer || self.api_server),
        };
        [Part::ApiServer, Part::ControllerManager, Part::Scheduler].map(pod).to_vec()
    }
}

impl Machine {
    /// What a machine with this config begins to run.
    pub(crate) fn parts_of(&self, config: &Config) -> BTreeMap<Part, Runs> {
        let has = |part: &Part| match part {
            // a manifest that is applied once, and no pod of this node's own
            Part::Proxy => false,
            Part::Kubelet => true,
            Part::ApiServer | Part::ControllerManager | Part::Scheduler => config.role == Role::ControlPlane,
        };
        let images = config.images.iter().filter(|(part, _)| has(part));
        images
            .map(|(part, image)| (*part, Runs { image: image.clone(), is_up: self.comes_up(image) }))
            .collect()
    }

    fn comes_up(&self, image: &str) -> bool {
        !self.doomed.contains(tag(image))
    }

    /// The config is another one: whatever has another image in it goes down, and comes up from that.
    pub(crate) fn parts_follow(&mut self, now: u64) {
        let Some(wanted) = self.node().map(|node| self.parts_of(&node.config)) else { return };
        let pause = self.pace.static_pod;
        for (part, Runs { image, .. }) in wanted {
            let Some(node) = self.node_mut() else { return };
            if node.parts.get(&part).is_some_and(|runs| runs.image == image) {
                continue;
            }
            node.parts.insert(part, Runs { image, is_up: false });
            if part == Part::ApiServer {
                node.api_server_starts = false;
                if std::mem::take(&mut node.api_server) {
                    self.say(Happening::ApiServer(false));
                }
            }
            self.node_after(now, pause, Timer::PartUp(part));
        }
    }

    /// The image is there: what runs from it is up, if it ever is.
    pub(crate) fn part_up(&mut self, part: Part) {
        let image = self.node().and_then(|node| node.parts.get(&part)).map(|runs| runs.image.clone());
        let Some(image) = image.filter(|image| self.comes_up(image)) else { return };
        if let Some(node) = self.node_mut() {
            node.parts.insert(part, Runs { image, is_up: true });
        }
    }
}
