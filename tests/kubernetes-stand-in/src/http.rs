//! URLs and requests.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Query, State as Extract},
    http::{HeaderMap, Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{
    Counters,
    apply::{self, Merged},
    check, controllers, discovery,
    fields::{Fields, Manager},
    kinds::{self, Kind},
    patch,
    schema::Cursor,
    state::{Inner, Key, State, Stored},
    status::Status,
    time,
};

/// The largest body that is read: the API server's own limit for one request.
const BODY: usize = 3 << 20;

/// The API server.
pub fn router(state: State) -> Router {
    Router::new().fallback(handle).layer(DefaultBodyLimit::max(BODY)).with_state(state)
}

type Parameters = BTreeMap<String, String>;

/// A request for an object or a list of them.
struct Request<'a> {
    method: &'a Method,
    group: &'a str,
    version: &'a str,
    /// What follows the version in the path.
    rest: &'a [&'a str],
    parameters: &'a Parameters,
    media_type: &'a str,
    body: &'a [u8],
}

async fn handle(
    Extract(state): Extract<State>,
    method: Method,
    uri: Uri,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut inner = state.lock();
    // Controllers had their time since the last request.
    controllers::settle(&mut inner);
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let path: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let (group, version, rest) = match path.as_slice() {
        ["version"] => return version_of(&inner.version),
        ["livez" | "healthz"] => return "ok".into_response(),
        ["readyz"] if inner.ready => return "ok".into_response(),
        ["readyz"] => {
            let found = "[-]poststarthook/rbac/bootstrap-roles failed: not finished\nreadyz check failed";
            return (StatusCode::INTERNAL_SERVER_ERROR, found).into_response();
        }
        ["api"] => return Json(discovery::core_versions()).into_response(),
        ["apis"] => return Json(discovery::groups(&inner.kinds())).into_response(),
        ["apis", group] => return or_not_found(discovery::group(&inner.kinds(), group)),
        ["api", version] => return or_not_found(discovery::resources(&inner.kinds(), "", version)),
        ["apis", group, version] => {
            return or_not_found(discovery::resources(&inner.kinds(), group, version));
        }
        ["api", "v1", "namespaces", namespace, "pods", pod, "log"] => {
            return match inner.logs.get(&((*namespace).to_owned(), (*pod).to_owned())) {
                Some(text) => text.clone().into_response(),
                None => Status::no_resource().into_response(),
            };
        }
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Status::no_resource().into_response(),
    };
    let parameters = &parameters;
    let request = Request { method: &method, group, version, rest, parameters, media_type, body: &body };
    match inner.answer(&request) {
        Ok((code, value)) => (code, Json(value)).into_response(),
        Err(status) => {
            *(if status.conflict() { &mut inner.counters.conflicts } else { &mut inner.counters.refused }) +=
                1;
            status.into_response()
        }
    }
}

fn version_of(version: &str) -> Response {
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next(), numbers.next());
    let document =
        json!({ "major": major, "minor": minor, "gitVersion": version, "platform": "linux/amd64" });
    Json(document).into_response()
}

fn or_not_found(document: Option<Value>) -> Response {
    match document {
        Some(document) => Json(document).into_response(),
        None => Status::no_resource().into_response(),
    }
}

type Answer = Result<(StatusCode, Value), Status>;

impl Inner {
    fn answer(&mut self, request: &Request<'_>) -> Answer {
        if let ["namespaces", namespace, "pods", name, "eviction"] = request.rest {
            return self.evict(namespace, name);
        }
        // `namespaces/NAME` is an object, `namespaces/NAME/PLURAL` what is in it.
        let (namespace, plural, name) = match request.rest {
            ["namespaces", namespace, plural] => (Some(*namespace), *plural, None),
            ["namespaces", namespace, plural, name] => (Some(*namespace), *plural, Some(*name)),
            [plural] => (None, *plural, None),
            [plural, name] => (None, *plural, Some(*name)),
            _ => return Err(Status::no_resource()),
        };
        let wanted = (request.group, request.version, plural);
        let kind = (self.kinds().into_iter())
            .find(|kind| (kind.group.as_str(), kind.version.as_str(), kind.plural.as_str()) == wanted)
            .ok_or_else(Status::no_resource)?;
        // A namespaced object has its namespace in the URL; only a list may go without.
        if namespace.is_some() != kind.namespaced && (name.is_some() || namespace.is_some()) {
            return Err(Status::no_resource());
        }
        match (request.method, name) {
            (&Method::GET, None) => self.list(&kind, namespace, request.parameters),
            (&Method::GET, Some(name)) => {
                self.counters.reads += 1;
                let stored = self.objects.get(&key(&kind, namespace, name));
                Ok((StatusCode::OK, stored.ok_or_else(|| Status::not_found(&kind, name))?.shown()))
            }
            (&Method::DELETE, Some(name)) if kind.kind == "Node" => {
                let gone = self.objects.remove(&key(&kind, namespace, name));
                let gone = gone.ok_or_else(|| Status::not_found(&kind, name))?;
                self.counters.changed += 1;
                Ok((StatusCode::OK, gone.shown()))
            }
            (&Method::POST, None) => self.create(&kind, namespace, request),
            (&Method::PATCH, Some(name)) => {
                let media_type = request.media_type.split(';').next().unwrap_or_default();
                if media_type == "application/json-patch+json" {
                    return self.patch(&kind, namespace, name, request);
                }
                if media_type != "application/apply-patch+yaml" {
                    return Err(Status::media_type(media_type));
                }
                let options = Options::read(request.parameters)?;
                let wanted = read(&kind, namespace, name, request.body)?;
                self.apply(&kind, namespace, name, &options, wanted)
            }
            _ => Err(Status::method(request.method.as_str())),
        }
    }

    fn list(&mut self, kind: &Kind, namespace: Option<&str>, parameters: &Parameters) -> Answer {
        if parameters.get("watch").is_some_and(|watch| watch != "false" && watch != "0") {
            return Err(Status::bad_request("this stand-in does not serve watches"));
        }
        let node = parameters.get("fieldSelector").map(|selector| selector.strip_prefix("spec.nodeName="));
        if node == Some(None) {
            return Err(Status::bad_request("this stand-in selects by no field but spec.nodeName"));
        }
        let node = node.flatten();
        let selector = parameters.get("labelSelector").map_or("", String::as_str);
        let labels: Option<Vec<(&str, &str)>> = (selector.split(',').filter(|part| !part.is_empty()))
            .map(|part| part.split_once('=').filter(|(label, _)| !label.ends_with('!')))
            .map(|part| part.map(|(label, value)| (label, value.trim_start_matches('='))))
            .collect();
        let labels = labels.ok_or_else(|| {
            Status::bad_request("this stand-in knows only label selectors of the form a=b,c=d")
        })?;
        self.counters.reads += 1;
        let items: Vec<_> = (self.objects.iter())
            .filter(|((group, plural, in_namespace, _), stored)| {
                *group == kind.group
                    && *plural == kind.plural
                    && namespace.is_none_or(|namespace| in_namespace == namespace)
                    && node.is_none_or(|node| stored.object["spec"]["nodeName"] == node)
                    && labels
                        .iter()
                        .all(|(label, value)| stored.object["metadata"]["labels"][label] == *value)
            })
            .map(|(_, stored)| {
                let mut item = stored.shown();
                // Lists of built-in kinds do not repeat the type in every item.
                if kind.custom.is_none()
                    && let Some(item) = item.as_object_mut()
                {
                    item.shift_remove("apiVersion");
                    item.shift_remove("kind");
                }
                item
            })
            .collect();
        let list = json!({
            "apiVersion": kind.api_version(),
            "kind": format!("{}List", kind.kind),
            "metadata": { "resourceVersion": self.revision.to_string() },
            "items": items,
        });
        Ok((StatusCode::OK, list))
    }

    /// Changes an object by JSON Patch.
    fn patch(&mut self, kind: &Kind, namespace: Option<&str>, name: &str, request: &Request<'_>) -> Answer {
        let key = key(kind, namespace, name);
        let live = self.objects.get(&key).cloned().ok_or_else(|| Status::not_found(kind, name))?;
        let object = patch::patched(&live.object, request.body)?;
        let options = Options::read(request.parameters)?;
        let stored = Stored { object, ..live };
        Ok((StatusCode::OK, self.store(key, stored, &options, |counters| &mut counters.changed)))
    }

    /// Lets a pod go at once, unless a test holds it.
    fn evict(&mut self, namespace: &str, name: &str) -> Answer {
        let pod = kinds::built_in().find(|kind| kind.kind == "Pod").ok_or_else(Status::no_resource)?;
        if self.held.contains(&("Pod".to_owned(), namespace.to_owned(), name.to_owned())) {
            return Err(Status::budget(name));
        }
        match self.objects.remove(&key(&pod, Some(namespace), name)) {
            Some(_) => Ok(patch::evicted()),
            None => Err(Status::not_found(&pod, name)),
        }
    }

    /// Makes a new object by POST.
    fn create(&mut self, kind: &Kind, namespace: Option<&str>, request: &Request<'_>) -> Answer {
        let wanted: Value = serde_json::from_slice(request.body)
            .map_err(|error| Status::bad_request(format!("error decoding JSON: {error}")))?;
        let name = wanted["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let key = key(kind, namespace, &name);
        if self.objects.contains_key(&key) {
            return Err(Status::exists(kind, &name));
        }
        let options = Options::read(request.parameters)?;
        let wanted = read(kind, namespace, &name, request.body)?;
        let (code, _) = self.apply(kind, namespace, &name, &options, wanted)?;
        let Some(stored) = self.objects.get_mut(&key) else { return Err(Status::internal("it is gone")) };
        // To create is to update, in the words of managed fields.
        stored.managers.iter_mut().for_each(|manager| manager.operation = "Update");
        Ok((code, stored.shown()))
    }

    /// An apply that no client asked for.
    pub(crate) fn apply_as(&mut self, manager: &str, object: &Value) -> Result<Value, Status> {
        controllers::settle(self);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let is = |kind: &Kind| object["kind"] == kind.kind && object["apiVersion"] == kind.api_version();
        let kind = self.kinds().into_iter().find(is).ok_or_else(Status::no_resource)?;
        let (name, namespace) = (text(&object["metadata"]["name"]), text(&object["metadata"]["namespace"]));
        let namespace = kind.namespaced.then_some(namespace.as_str());
        let options = Options { manager: manager.to_owned(), force: false, dry_run: false };
        let wanted = read(&kind, namespace, &name, object.to_string().as_bytes())?;
        Ok(self.apply(&kind, namespace, &name, &options, wanted)?.1)
    }

    fn apply(
        &mut self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        options: &Options,
        wanted: Value,
    ) -> Answer {
        if let Some(namespace) = namespace {
            let core =
                kinds::built_in().find(|kind| kind.kind == "Namespace").ok_or_else(Status::no_resource)?;
            if !self.objects.contains_key(&key(&core, None, namespace)) {
                return Err(Status::not_found(&core, namespace));
            }
        }

        let key = key(kind, namespace, name);
        let live = self.objects.get(&key).cloned();
        let expected = &wanted["metadata"]["resourceVersion"];
        let found = live.as_ref().map(|live| &live.object["metadata"]["resourceVersion"]);
        if !expected.is_null() && found != Some(expected) {
            return Err(Status::modified(kind, name));
        }
        let manager = Manager {
            name: options.manager.clone(),
            operation: "Apply",
            subresource: None,
            api_version: kind.api_version(),
            time: time::now(),
            fields: Fields::new(), // computed by the merge
        };
        let before = live.as_ref().map(|live| &live.object);
        let managers = live.as_ref().map(|live| live.managers.as_slice()).unwrap_or_default();
        let merged = apply::apply(before, managers, &wanted, manager, options.force, kind.custom.as_ref());
        let Merged { mut object, managers } =
            merged.map_err(|conflicts| Status::apply_conflict(&conflicts))?;
        check::complete(kind, &mut object, self.revision);
        check::valid(kind, before, &object)?;

        let Some(live) = live else {
            object["metadata"]["uid"] = json!(self.uid());
            object["metadata"]["creationTimestamp"] = json!(time::now());
            if kind.generation {
                object["metadata"]["generation"] = json!(1);
            }
            let stored = Stored { kind: kind.clone(), object, managers };
            let shown = self.store(key, stored, options, |counters| &mut counters.created);
            return Ok((StatusCode::CREATED, shown));
        };
        if object == live.object && same_managers(&managers, &live.managers) {
            let counters = &mut self.counters;
            *(if options.dry_run { &mut counters.dry_runs } else { &mut counters.unchanged }) += 1;
            return Ok((StatusCode::OK, live.shown()));
        }
        if kind.generation && specification(&object) != specification(&live.object) {
            let generation = live.object["metadata"]["generation"].as_u64().unwrap_or(0) + 1;
            object["metadata"]["generation"] = json!(generation);
        }
        let stored = Stored { kind: kind.clone(), object, managers };
        Ok((StatusCode::OK, self.store(key, stored, options, |counters| &mut counters.changed)))
    }

    /// Stores and counts, unless it is a dry run; answers what the client gets to see.
    fn store(
        &mut self,
        key: Key,
        mut stored: Stored,
        options: &Options,
        counter: fn(&mut Counters) -> &mut u64,
    ) -> Value {
        if options.dry_run {
            self.counters.dry_runs += 1;
            return stored.shown();
        }
        // who may write is the clients' own bookkeeping
        if stored.kind.kind != "Lease" {
            *counter(&mut self.counters) += 1;
        }
        stored.object["metadata"]["resourceVersion"] = json!(self.next());
        let shown = stored.shown();
        self.objects.insert(key, stored);
        shown
    }
}

struct Options {
    manager: String,
    force: bool,
    dry_run: bool,
}

impl Options {
    fn read(parameters: &Parameters) -> Result<Self, Status> {
        let invalid =
            |field: &str, message: &str| Status::invalid("PatchOptions", "meta.k8s.io", "", field, message);
        let manager = parameters.get("fieldManager").cloned().unwrap_or_default();
        if manager.is_empty() {
            return Err(invalid("fieldManager", "Required value: is required for apply patch"));
        }
        if manager.len() > 128 {
            return Err(invalid("fieldManager", "Too long: may not be more than 128 bytes"));
        }
        let dry_run = match parameters.get("dryRun").map(String::as_str) {
            None | Some("") => false,
            Some("All") => true,
            Some(_) => return Err(invalid("dryRun", "Unsupported value: supported values: \"All\"")),
        };
        Ok(Options { manager, force: parameters.get("force").is_some_and(|force| force == "true"), dry_run })
    }
}

fn key(kind: &Kind, namespace: Option<&str>, name: &str) -> Key {
    (kind.group.clone(), kind.plural.clone(), namespace.unwrap_or_default().to_owned(), name.to_owned())
}

/// Reads the body and holds it against the URL.
fn read(kind: &Kind, namespace: Option<&str>, name: &str, body: &[u8]) -> Result<Value, Status> {
    let text = std::str::from_utf8(body).map_err(|error| Status::bad_request(error.to_string()))?;
    // JSON is what programs send; YAML is what the media type promises.
    let wanted: Value = match serde_json::from_str(text) {
        Ok(wanted) => wanted,
        Err(_) => serde_saphyr::from_str(text)
            .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?,
    };
    let mut wanted = apply::without_nulls(wanted);
    let api_version = kind.api_version();
    if wanted["apiVersion"] != *api_version || wanted["kind"] != *kind.kind {
        let (version, kind) = (shown(&wanted["apiVersion"]), shown(&wanted["kind"]));
        // A version of the core group is written with the group's empty name.
        let slash = if version.contains('/') { "" } else { "/" };
        return Err(Status::bad_request(format!("invalid object type: {slash}{version}, Kind={kind}")));
    }
    let metadata = &wanted["metadata"];
    if metadata["name"] != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            shown(&metadata["name"])
        )));
    }
    if !metadata["namespace"].is_null() && metadata["namespace"].as_str() != namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if metadata["managedFields"].as_array().is_some_and(|entries| !entries.is_empty()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    check::typed(&wanted, Cursor::root(kind.custom.as_ref()), "").map_err(|detail| {
        let namespace = wanted["metadata"]["namespace"].as_str().unwrap_or_default();
        let (group, version, kind) = (&kind.group, &kind.version, &kind.kind);
        Status::untyped(format!(
            "failed to create typed patch object ({namespace}/{name}; {group}/{version}, Kind={kind}): {detail}"
        ))
    })?;
    if let Some(namespace) = namespace {
        wanted["metadata"]["namespace"] = json!(namespace);
    }
    if let Some(wanted) = wanted.as_object_mut() {
        // The status has its own URL.
        wanted.shift_remove("status");
    }
    if let Some(metadata) = wanted["metadata"].as_object_mut() {
        for server in ["managedFields", "creationTimestamp", "uid", "generation"] {
            metadata.shift_remove(server);
        }
    }
    check::string_data(kind, &mut wanted);
    Ok(wanted)
}

fn shown(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Everything whose change counts as a new generation.
fn specification(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(object) = object.as_object_mut() {
        object.shift_remove("metadata");
        object.shift_remove("status");
    }
    object
}

/// Equal but for the time, which moves only when something else does.
fn same_managers(left: &[Manager], right: &[Manager]) -> bool {
    let same = |one: &Manager, other: &Manager| Manager { time: other.time.clone(), ..one.clone() } == *other;
    left.len() == right.len() && left.iter().all(|one| right.iter().any(|other| same(one, other)))
}
