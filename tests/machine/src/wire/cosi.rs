//! The COSI resource API: get, list and watch of what the model shows (talos.md §6.5).

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use prost::Message;
use serde_json::Value;
use talos_api::proto::cosi::resource::{self as pb, EventType, state_server::State};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::{Request as Grpc, Response as Reply};

use super::machine_api::{Api, caller, refuse};
use crate::model::{Caller, Request, Resource, Response};

fn resource(resource: &Resource, version: u64, epoch: SystemTime) -> pb::Resource {
    let metadata = pb::Metadata {
        namespace: resource.namespace.clone(),
        r#type: resource.kind.clone(),
        id: resource.id.clone(),
        version: version.to_string(),
        phase: "running".to_owned(),
        created: Some((epoch + Duration::from_millis(resource.created)).into()),
        ..pb::Metadata::default()
    };
    // who speaks to this machine reads the YAML; only the definitions of types are read in their protobuf form
    let yaml_spec = serde_saphyr::to_string(&resource.spec).unwrap_or_default();
    let proto_spec = match resource.kind.as_str() {
        "ResourceDefinitions.meta.cosi.dev" => Definition::of(&resource.spec).encode_to_vec(),
        _ => Vec::new(),
    };
    pb::Resource { metadata: Some(metadata), spec: Some(pb::Spec { yaml_spec, proto_spec }) }
}

/// `cosi.resource.meta.ResourceDefinitionSpec`
#[derive(Clone, PartialEq, prost::Message)]
struct Definition {
    #[prost(string, tag = "1")]
    resource_type: String,
    #[prost(string, tag = "2")]
    display_type: String,
    #[prost(string, tag = "3")]
    default_namespace: String,
    #[prost(string, repeated, tag = "4")]
    aliases: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    all_aliases: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    print_columns: Vec<Column>,
    /// 1 when only os:admin may see the resources
    #[prost(int32, tag = "7")]
    sensitivity: i32,
}

/// A column of a table.
#[derive(Clone, PartialEq, prost::Message)]
struct Column {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    json_path: String,
}

impl Definition {
    fn of(spec: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let texts = |value: &Value| value.as_array().into_iter().flatten().map(text).collect();
        let column =
            |column: &Value| Column { name: text(&column["name"]), json_path: text(&column["jsonPath"]) };
        Self {
            resource_type: text(&spec["type"]),
            display_type: text(&spec["displayType"]),
            default_namespace: text(&spec["defaultNamespace"]),
            aliases: texts(&spec["aliases"]),
            all_aliases: texts(&spec["allAliases"]),
            print_columns: spec["printColumns"].as_array().into_iter().flatten().map(column).collect(),
            sensitivity: i32::from(spec["sensitivity"] == "sensitive"),
        }
    }
}

impl Api {
    pub(super) fn list_now(
        &self,
        caller: &Caller,
        namespace: &str,
        kind: &str,
    ) -> Result<Vec<Resource>, tonic::Status> {
        let request = Request::List { namespace: namespace.to_owned(), kind: kind.to_owned() };
        // a look, without a turn of the driver: a watch would wake itself
        match self.0.turn(|machine, now| machine.call(caller, request, now)).map_err(refuse)? {
            Response::Resources(all) => Ok(all),
            _ => Ok(Vec::new()),
        }
    }
}

#[tonic::async_trait]
impl State for Api {
    async fn get(&self, request: Grpc<pb::GetRequest>) -> Result<Reply<pb::GetResponse>, tonic::Status> {
        let pb::GetRequest { namespace, r#type: kind, id, .. } = request.get_ref().clone();
        let epoch = self.0.epoch();
        match self.ask(&request, Request::Get { namespace, kind, id })? {
            Response::Resources(found) => {
                Ok(Reply::new(pb::GetResponse { resource: found.first().map(|one| resource(one, 1, epoch)) }))
            }
            _ => Err(tonic::Status::internal("the simulated machine answered another call")),
        }
    }

    async fn list(
        &self,
        request: Grpc<pb::ListRequest>,
    ) -> Result<Reply<BoxStream<pb::ListResponse>>, tonic::Status> {
        let asked = request.get_ref();
        let all = self.list_now(&caller(&request), &asked.namespace, &asked.r#type)?;
        let epoch = self.0.epoch();
        let reply = |one: &Resource| Ok(pb::ListResponse { resource: Some(resource(one, 1, epoch)) });
        let replies: Vec<_> = all.iter().map(reply).collect();
        Ok(Reply::new(Box::pin(tokio_stream::iter(replies))))
    }

    async fn watch(
        &self,
        request: Grpc<pb::WatchRequest>,
    ) -> Result<Reply<BoxStream<pb::WatchResponse>>, tonic::Status> {
        let (caller, asked) = (caller(&request), request.into_inner());
        let options = asked.options.clone().unwrap_or_default();
        let unimplemented = |what: &str| {
            tonic::Status::unimplemented(format!("{what} is not implemented for resource watch"))
        };
        match &asked.id {
            Some(_) if options.bootstrap_contents => return Err(unimplemented("bootstrap contents")),
            Some(_) if !options.label_query.is_empty() => return Err(unimplemented("label query")),
            _ => {}
        }
        if options.start_from_bookmark.is_some() {
            // what a machine has told is forgotten at once here, as it is after a boot there
            return Err(tonic::Status::failed_precondition("invalid watch bookmark"));
        }
        // refused at once, not in the stream
        self.list_now(&caller, &asked.namespace, &asked.r#type)?;
        let (sender, receiver) = mpsc::channel(16);
        let watcher = Watcher { api: self.clone(), caller, asked, options, sender };
        tokio::spawn(watcher.run());
        Ok(Reply::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// One stream.
struct Watcher {
    api: Api,
    caller: Caller,
    asked: pb::WatchRequest,
    options: pb::WatchOptions,
    sender: mpsc::Sender<Result<pb::WatchResponse, tonic::Status>>,
}

impl Watcher {
    async fn run(self) -> Option<()> {
        let (mut turns, epoch) = (self.api.0.turns(), self.api.0.epoch());
        let mut seen: BTreeMap<String, (u64, pb::Resource, Resource)> = BTreeMap::new();
        // the first one is empty: it says that the watch began
        self.sender.send(Ok(pb::WatchResponse::default())).await.ok()?;
        let events = changes(&mut seen, self.now()?, epoch);
        self.send(self.first(events)).await?;
        loop {
            tokio::select! {
                changed = turns.changed() => changed.ok()?,
                () = self.sender.closed() => return None,
            }
            self.send(changes(&mut seen, self.now()?, epoch)).await?;
        }
    }

    /// What of the beginning is told: of one resource that it is there, or is not; of a kind what was asked for.
    fn first(&self, mut events: Vec<pb::Event>) -> Vec<pb::Event> {
        match &self.asked.id {
            Some(id) if events.is_empty() => {
                events.push(pb::Event { resource: Some(self.tombstone(id)), ..of(EventType::Destroyed) });
            }
            Some(_) => {}
            None => {
                if !self.options.bootstrap_contents {
                    events.clear();
                } else if self.asked.api_version > 0 {
                    events.push(pb::Event {
                        resource: Some(self.tombstone("")),
                        ..of(EventType::Bootstrapped)
                    });
                }
                if self.options.bootstrap_bookmark {
                    let bookmark = Some(0_u64.to_be_bytes().to_vec());
                    let resource = Some(self.tombstone(""));
                    events.push(pb::Event { resource, bookmark, ..of(EventType::Noop) });
                }
            }
        }
        events
    }

    fn now(&self) -> Option<Vec<Resource>> {
        let all = self.api.list_now(&self.caller, &self.asked.namespace, &self.asked.r#type).ok()?;
        let wanted = |one: &Resource| self.asked.id.as_ref().is_none_or(|id| *id == one.id);
        Some(all.into_iter().filter(wanted).collect())
    }

    async fn send(&self, events: Vec<pb::Event>) -> Option<()> {
        for event in events {
            self.sender.send(Ok(pb::WatchResponse { event: vec![event] })).await.ok()?;
        }
        Some(())
    }

    /// A resource without a value.
    fn tombstone(&self, id: &str) -> pb::Resource {
        let metadata = pb::Metadata {
            namespace: self.asked.namespace.clone(),
            r#type: self.asked.r#type.clone(),
            id: id.to_owned(),
            version: "undefined".to_owned(),
            phase: "running".to_owned(),
            ..pb::Metadata::default()
        };
        pb::Resource { metadata: Some(metadata), spec: Some(pb::Spec::default()) }
    }
}

fn of(kind: EventType) -> pb::Event {
    pb::Event { event_type: kind.into(), ..pb::Event::default() }
}

/// What is different from what was seen, as events; what was seen is brought up to date.
fn changes(
    seen: &mut BTreeMap<String, (u64, pb::Resource, Resource)>,
    now: Vec<Resource>,
    epoch: SystemTime,
) -> Vec<pb::Event> {
    let mut events = Vec::new();
    let ids: Vec<String> = now.iter().map(|one| one.id.clone()).collect();
    for one in now {
        let event = match seen.get(&one.id) {
            Some((_, _, before)) if *before == one => continue,
            Some((version, old, _)) => {
                let new = resource(&one, version + 1, epoch);
                seen_event(EventType::Updated, new, Some(old.clone()), version + 1)
            }
            None => seen_event(EventType::Created, resource(&one, 1, epoch), None, 1),
        };
        let (event, new, version) = event;
        seen.insert(one.id.clone(), (version, new, one));
        events.push(event);
    }
    let gone: Vec<String> = seen.keys().filter(|id| !ids.contains(id)).cloned().collect();
    for id in gone {
        if let Some((_, last, _)) = seen.remove(&id) {
            let event_type = EventType::Destroyed as i32;
            events.push(pb::Event { resource: Some(last), event_type, ..pb::Event::default() });
        }
    }
    events
}

fn seen_event(
    kind: EventType,
    new: pb::Resource,
    old: Option<pb::Resource>,
    version: u64,
) -> (pb::Event, pb::Resource, u64) {
    let event =
        pb::Event { resource: Some(new.clone()), old, event_type: kind as i32, ..pb::Event::default() };
    (event, new, version)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn one(id: &str, value: u32) -> Resource {
        let spec = serde_json::json!({ "value": value });
        Resource { namespace: "runtime".into(), kind: "Things".into(), id: id.into(), created: 0, spec }
    }

    #[test]
    fn a_watch_sees_what_came_changed_and_went() {
        let mut seen = BTreeMap::new();
        let mut kinds = |now| -> Vec<i32> {
            changes(&mut seen, now, UNIX_EPOCH).into_iter().map(|event| event.event_type).collect()
        };
        assert_eq!(kinds(vec![one("a", 1), one("b", 1)]), [EventType::Created as i32; 2]);
        assert_eq!(kinds(vec![one("a", 1), one("b", 2)]), [EventType::Updated as i32]);
        assert_eq!(kinds(vec![one("b", 2)]), [EventType::Destroyed as i32]);
        assert_eq!(kinds(vec![one("b", 2)]), [] as [i32; 0]);
    }
}
