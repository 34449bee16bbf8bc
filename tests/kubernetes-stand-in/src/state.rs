//! What the stand-in holds, and what tests may see and set.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};

use crate::{
    controllers,
    fields::{self, Manager},
    kinds::{self, Kind},
    time,
};

/// The version `/version` answers with unless a test says otherwise: that of Talos 1.13.
const VERSION: &str = "v1.36.3";

/// The stand-in's whole state; clones share it.
#[derive(Debug, Clone)]
pub struct State {
    inner: Arc<Mutex<Inner>>,
}

/// How often what was asked. Requests that name no object (discovery, health) are not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Objects and lists that were read.
    pub reads: u64,
    /// Applies that were tried with `dryRun=All`.
    pub dry_runs: u64,
    /// Objects that an apply created.
    pub created: u64,
    /// Objects that an apply changed, if only in who manages their fields.
    pub changed: u64,
    /// Applies that changed nothing.
    pub unchanged: u64,
    /// Applies refused because a field belongs to somebody else, or the object was newer.
    pub conflicts: u64,
    /// Other requests for objects that were refused.
    pub refused: u64,
}

impl Counters {
    /// How often something was really written.
    pub fn mutations(&self) -> u64 {
        self.created + self.changed
    }
}

/// A node as its kubelet registers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it carries the control plane's label.
    pub control_plane: bool,
    /// The condition `Ready`.
    pub ready: bool,
    /// Which boot of its kernel this is.
    pub boot_id: String,
}

/// A pod that only its kubelet runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticPod {
    /// What it is, such as `kube-apiserver`.
    pub component: String,
    /// What it runs from.
    pub image: String,
    /// The condition `Ready`.
    pub ready: bool,
}

/// Group, plural, namespace (empty: none), name.
pub(crate) type Key = (String, String, String, String);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) version: String,
    pub(crate) ready: bool,
    pub(crate) counters: Counters,
    pub(crate) objects: BTreeMap<Key, Stored>,
    /// What the containers of a pod wrote, by namespace and pod.
    pub(crate) logs: BTreeMap<(String, String), String>,
    /// Kind, namespace and name of workloads whose pods never become ready.
    pub(crate) held: BTreeSet<(String, String, String)>,
    pub(crate) revision: u64,
    /// Tells the objects of one stand-in from those of another, as different clusters must be told apart.
    seed: u64,
    uids: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) kind: Kind,
    /// Without `managedFields`.
    pub(crate) object: Value,
    pub(crate) managers: Vec<Manager>,
}

impl Stored {
    /// As a client sees it.
    pub(crate) fn shown(&self) -> Value {
        let mut object = self.object.clone();
        object["metadata"]["managedFields"] = self.managers.iter().map(Manager::entry).collect();
        object
    }
}

impl Default for State {
    fn default() -> Self {
        State::new()
    }
}

impl State {
    /// An empty cluster: the four namespaces every cluster has, no nodes, ready.
    pub fn new() -> Self {
        let mut inner = Inner {
            version: VERSION.to_owned(),
            ready: true,
            counters: Counters::default(),
            objects: BTreeMap::new(),
            logs: BTreeMap::new(),
            held: BTreeSet::new(),
            revision: 0,
            seed: RandomState::new().hash_one("seed"),
            uids: 0,
        };
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            inner.add(
                "Namespace",
                &json!({
                    "apiVersion": "v1", "kind": "Namespace",
                    "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } },
                    "spec": { "finalizers": ["kubernetes"] },
                    "status": { "phase": "Active" },
                }),
            );
        }
        State { inner: Arc::new(Mutex::new(inner)) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A test that failed while it held the lock shall not hide its failure behind this one.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the version that `/version` answers with, such as `v1.35.4`.
    pub fn set_version(&self, version: &str) {
        self.lock().version = version.to_owned();
    }

    /// Whether `/readyz` says ok; everything else is served all the same, as while a real server starts.
    pub fn set_ready(&self, ready: bool) {
        self.lock().ready = ready;
    }

    /// Adds a node or sets it anew, but for its specification.
    pub fn register_node(&self, node: &Node) {
        self.register_kubelet(node, VERSION);
    }

    /// The same with a kubelet of this version.
    pub fn register_kubelet(&self, node: &Node, version: &str) {
        let (status, reason) =
            if node.ready { ("True", "KubeletReady") } else { ("False", "KubeletNotReady") };
        let addresses: Vec<_> = (node.addresses.iter())
            .map(|address| json!({ "type": "InternalIP", "address": address.to_string() }))
            .chain([json!({ "type": "Hostname", "address": node.name })])
            .collect();
        let mut labels = json!({ "kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux" });
        if node.control_plane {
            labels["node-role.kubernetes.io/control-plane"] = json!("");
        }
        let mut inner = self.lock();
        // a kubelet that comes back leaves what others have said of the node: whether pods may come, for instance
        let former =
            inner.objects.iter().find(|((_, plural, _, name), _)| plural == "nodes" && *name == node.name);
        let spec = former.map_or_else(|| json!({}), |(_, stored)| stored.object["spec"].clone());
        let object = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": node.name, "labels": labels },
            "spec": spec,
            "status": {
                "addresses": addresses,
                "conditions": [{ "type": "Ready", "status": status, "reason": reason }],
                "nodeInfo": { "bootID": node.boot_id, "kubeletVersion": version },
            },
        });
        inner.add("Node", &object);
    }

    /// The mirrors that a kubelet makes of its static pods.
    pub fn register_static_pods(&self, node: &str, pods: &[StaticPod]) {
        for StaticPod { component, image, ready } in pods {
            let (phase, ready) = if *ready { ("Running", "True") } else { ("Pending", "False") };
            let object = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": format!("{component}-{node}"), "namespace": "kube-system",
                    "annotations": { "kubernetes.io/config.mirror": format!("{component}-{node}") },
                    "labels": { "component": component, "tier": "control-plane" },
                },
                "spec": { "nodeName": node, "containers": [{ "name": component, "image": image }] },
                "status": { "phase": phase, "conditions": [{ "type": "Ready", "status": ready }] },
            });
            self.lock().add("Pod", &object);
        }
    }

    /// Whether there is a network on the nodes: something that brings one to its node runs there.
    pub fn has_network(&self) -> bool {
        let mut inner = self.lock();
        controllers::settle(&mut inner);
        inner.objects.values().any(|stored| {
            let runs = stored.object["status"]["numberReady"].as_u64().unwrap_or_default() > 0;
            stored.kind.kind == "DaemonSet" && runs && controllers::brings_network(&stored.object)
        })
    }

    /// Forgets a node.
    pub fn remove_node(&self, name: &str) {
        self.lock().objects.retain(|(_, plural, _, found), _| plural != "nodes" || found != name);
    }

    /// Keeps a Deployment or DaemonSet from becoming ready, as a broken image does, or a Pod from being evicted.
    pub fn hold(&self, kind: &str, namespace: &str, name: &str) {
        self.lock().held.insert((kind.to_owned(), namespace.to_owned(), name.to_owned()));
    }

    /// Ends what [`hold`](Self::hold) began.
    pub fn release(&self, kind: &str, namespace: &str, name: &str) {
        self.lock().held.remove(&(kind.to_owned(), namespace.to_owned(), name.to_owned()));
    }

    /// Applies an object as another field manager would, such as `helm-controller`; it does not count.
    /// An error is the server's sentence.
    pub fn apply_as(&self, manager: &str, object: &Value) -> Result<Value, String> {
        let mut inner = self.lock();
        let counters = inner.counters;
        let result = inner.apply_as(manager, object);
        inner.counters = counters;
        result.map_err(|status| status.message().to_owned())
    }

    /// Puts a built-in object as the cluster itself would, such as a Pod or an Event, or sets it anew.
    pub fn put(&self, object: &Value) {
        self.lock().add(object["kind"].as_str().unwrap_or_default(), object);
    }

    /// What the containers of a pod are to have written.
    pub fn set_log(&self, namespace: &str, pod: &str, text: &str) {
        self.lock().logs.insert((namespace.to_owned(), pod.to_owned()), text.to_owned());
    }

    /// What was asked so far.
    pub fn counters(&self) -> Counters {
        self.lock().counters
    }

    /// Every object as a client would see it now, ordered by group, resource, namespace and name.
    pub fn objects(&self) -> Vec<Value> {
        let mut inner = self.lock();
        controllers::settle(&mut inner);
        inner.objects.values().map(Stored::shown).collect()
    }

    /// One object; `namespace` is empty for those that have none.
    pub fn object(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let mut inner = self.lock();
        controllers::settle(&mut inner);
        let is = |(_, _, in_namespace, named): &Key, stored: &Stored| {
            stored.kind.kind == kind && in_namespace == namespace && named == name
        };
        inner.objects.iter().find(|(key, stored)| is(key, stored)).map(|(_, stored)| stored.shown())
    }
}

impl Inner {
    /// Every kind that is served now.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let crds = self.objects.iter().filter(|((_, plural, ..), _)| plural == "customresourcedefinitions");
        kinds::built_in().chain(crds.flat_map(|(_, stored)| kinds::defined_by(&stored.object))).collect()
    }

    /// The next resource version.
    pub(crate) fn next(&mut self) -> String {
        self.revision += 1;
        self.revision.to_string()
    }

    pub(crate) fn uid(&mut self) -> String {
        self.uids += 1;
        let (seed, uids) = (self.seed, self.uids);
        format!("{:08x}-{:04x}-4000-8000-{uids:012x}", seed >> 32, seed & 0xffff)
    }

    /// Puts an object that the cluster itself writes (not a client), or sets it anew.
    fn add(&mut self, kind: &str, object: &Value) {
        let Some(kind) = kinds::built_in().find(|built_in| built_in.kind == kind) else { return };
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let key = (kind.group.clone(), kind.plural.clone(), namespace.to_owned(), name.to_owned());
        let mut object = object.clone();
        let (uid, created) = match self.objects.get(&key) {
            Some(Stored { object, .. }) => {
                (object["metadata"]["uid"].clone(), object["metadata"]["creationTimestamp"].clone())
            }
            None => (json!(self.uid()), json!(time::now())),
        };
        object["metadata"]["uid"] = uid;
        object["metadata"]["creationTimestamp"] = created;
        if let Some(stored) = self.objects.get(&key) {
            object["metadata"]["resourceVersion"] = stored.object["metadata"]["resourceVersion"].clone();
            if stored.object == object {
                return;
            }
        }
        object["metadata"]["resourceVersion"] = json!(self.next());
        let manager = if kind.kind == "Node" { "kubelet" } else { "kube-apiserver" };
        let managers = vec![Manager {
            name: manager.to_owned(),
            operation: "Update",
            subresource: None,
            api_version: kind.api_version(),
            time: time::now(),
            fields: fields::of(&object, None),
        }];
        self.objects.insert(key, Stored { kind, object, managers });
    }
}
