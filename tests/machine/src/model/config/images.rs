//! What of Kubernetes a config makes its node run, and from which images: in a document of its own, or in a section of the main one.
//! As Talos reads it, and not as the crate `rollout` does, which is judged here.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Documents, text_at};

/// A part of Kubernetes.
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

impl Part {
    const ALL: [Self; 5] =
        [Self::ApiServer, Self::ControllerManager, Self::Scheduler, Self::Proxy, Self::Kubelet];

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

    /// The kind of its document, and where the main one has its image.
    fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::ApiServer => ("KubeAPIServerConfig", "/cluster/apiServer/image"),
            Self::ControllerManager => ("KubeControllerManagerConfig", "/cluster/controllerManager/image"),
            Self::Scheduler => ("KubeSchedulerConfig", "/cluster/scheduler/image"),
            Self::Proxy => ("KubeProxyConfig", "/cluster/proxy/image"),
            Self::Kubelet => ("KubeletConfig", "/machine/kubelet/image"),
        }
    }
}

/// Those that the config names; without a name Talos takes its own choice, which this model has not.
pub(super) fn images(main: &Value, documents: &Documents) -> BTreeMap<Part, String> {
    let image = |part: Part| {
        let (kind, place) = part.place();
        let own = documents.of_kind(kind).find_map(|document| text_at(document, "/image"));
        Some((part, own.or_else(|| text_at(main, place))?))
    };
    Part::ALL.into_iter().filter_map(image).collect()
}
