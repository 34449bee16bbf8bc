//! The stream of events: what services come to, and that the machine goes down.

use std::sync::Arc;

use prost::Message;
use prost_types::Any;
use talos_api::proto::machine::{self as pb, service_state_event::Action};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;

use super::{machine_api::fresh_id, world::World};
use crate::model::{Machine, Service};

/// Events that are not read yet.
const QUEUE: usize = 64;

/// What happens from now on, until whoever listens leaves or the machine hangs up.
pub(super) fn stream(world: Arc<World>) -> BoxStream<pb::Event> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move { tell(&world, &sender).await });
    Box::pin(ReceiverStream::new(receiver))
}

async fn tell(world: &World, sender: &mpsc::Sender<Result<pb::Event, tonic::Status>>) -> Option<()> {
    let mut turns = world.turns();
    let services = || world.turn(|machine, now| machine.services(now));
    let mut before = services();
    // without content: it says that the stream began
    sender.send(Ok(event(Any::default()))).await.ok()?;
    let mut goes_down = false;
    loop {
        if world.look(Machine::is_leaving) && !goes_down {
            goes_down = true;
            let task = pb::TaskEvent { task: "stopAllServices".to_owned(), ..pb::TaskEvent::default() };
            sender.send(Ok(event(any("TaskEvent", &task)))).await.ok()?;
        }
        let now = services();
        for service in now.iter().filter(|service| !before.contains(service)) {
            sender.send(Ok(event(any("ServiceStateEvent", &state_of(service))))).await.ok()?;
        }
        before = now;
        tokio::select! {
            changed = turns.changed() => changed.ok()?,
            () = sender.closed() => return None,
        }
    }
}

fn event(data: Any) -> pb::Event {
    pb::Event { data: Some(data), id: fresh_id(), ..pb::Event::default() }
}

/// Talos's own form of the name.
fn any(name: &str, value: &impl Message) -> Any {
    Any { type_url: format!("talos/runtime/machine.{name}"), value: value.encode_to_vec() }
}

fn state_of(service: &Service) -> pb::ServiceStateEvent {
    let action = match service.state.as_str() {
        "Preparing" => Action::Preparing,
        "Waiting" => Action::Waiting,
        "Running" => Action::Running,
        "Stopping" => Action::Stopping,
        "Finished" => Action::Finished,
        "Failed" => Action::Failed,
        "Skipped" => Action::Skipped,
        "Starting" => Action::Starting,
        _ => Action::Initialized,
    };
    let health = pb::ServiceHealth {
        unknown: service.healthy.is_none(),
        healthy: service.healthy == Some(true),
        last_message: service.message.clone(),
        ..pb::ServiceHealth::default()
    };
    pb::ServiceStateEvent {
        service: service.id.clone(),
        action: action.into(),
        message: service.message.clone(),
        health: Some(health),
    }
}
