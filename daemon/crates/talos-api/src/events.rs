//! What a machine does, told while it does it (talos.md §6.2). A watch on resources says how things are; events say
//! what is being done about them, and by whose order. They end when the machine goes down.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::BoxStream};
use prost::{DecodeError, Message as _};

use crate::{
    CallError, Client, MachineStatus, Service, Stage, Unmet,
    client::until_error,
    proto::machine::{self, sequence_event, service_state_event::Action},
};

const CALL: &str = "Events";

/// Where the past begins that is told before the present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// only what is new
    None,
    /// as much as the machine remembers
    All,
    /// that many of the latest
    Last(u16),
    /// what came after the event with this id; how a reader goes on where it was
    After(String),
    /// whole seconds back
    Within(Duration),
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// grows with time; see [`Tail::After`]
    pub id: String,
    /// the order it belongs to, as the reply to a reboot or reset names it; `None` for what nobody ordered
    pub actor: Option<String>,
    /// what it was
    pub happening: Happening,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// `boot`, `install`, `reset`, `reboot` …: the largest pieces of work
    Sequence {
        /// which
        name: String,
        /// where in it
        step: Step,
        /// why it ended early
        error: Option<String>,
    },
    /// a part of a sequence
    Phase {
        /// which
        name: String,
        /// where in it
        step: Step,
    },
    /// a part of a phase
    Task {
        /// which
        name: String,
        /// where in it
        step: Step,
    },
    /// a service of Talos came into another state
    Service(Service),
    /// the machine goes down to come up
    Restart,
    /// the stored config cannot be read
    ConfigUnreadable(String),
    /// the config has faults
    ConfigInvalid(String),
    /// the machine's addresses are others now
    Addresses {
        /// what it calls itself
        hostname: String,
        /// as text, without a prefix length
        addresses: Vec<String>,
    },
    /// how far it is
    Status(MachineStatus),
    /// of a type that we do not know: its name
    Other(String),
}

/// Where in a piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// it begins
    Start,
    /// it has ended, well or not
    Stop,
    /// nothing was to be done, or a word that we do not know
    Nothing,
}

impl Client {
    /// What has happened and what happens, until the machine goes down or the stream is dropped. An error is the
    /// last item. The client's limit is on its opening. Not in maintenance mode before 1.13.
    pub async fn events(
        &self,
        tail: Tail,
    ) -> Result<BoxStream<'static, Result<Event, CallError>>, CallError> {
        let mut request = machine::EventsRequest::default();
        match tail {
            Tail::None => {}
            // Below zero means all.
            Tail::All => request.tail_events = -1,
            Tail::Last(count) => request.tail_events = count.into(),
            Tail::After(id) => request.tail_id = id,
            Tail::Within(time) => request.tail_seconds = i32::try_from(time.as_secs()).unwrap_or(i32::MAX),
        }
        let mut machine = self.machine();
        let events = self.opened(CALL, machine.events(request)).await?;
        let client = self.clone();
        Ok(until_error(events.map(move |event| client.event(event?))))
    }

    fn event(&self, event: machine::Event) -> Result<Event, CallError> {
        self.not_failed(CALL, &event)?;
        // the first one has no content: it says that the stream began
        let data = event.data.unwrap_or_default();
        let happening = Happening::read(&data)
            .map_err(|error| self.unusable(CALL, format!("{}: {error}", data.type_url)))?;
        Ok(Event { id: event.id, actor: Some(event.actor_id).filter(|id| !id.is_empty()), happening })
    }
}

impl Happening {
    fn read(data: &prost_types::Any) -> Result<Self, DecodeError> {
        let bytes = data.value.as_slice();
        // The part before the last slash only says where a description might be found.
        let name = data.type_url.rsplit('/').next().unwrap_or_default();
        Ok(match name {
            "machine.SequenceEvent" => {
                let event = machine::SequenceEvent::decode(bytes)?;
                let step = match event.action() {
                    sequence_event::Action::Start => Step::Start,
                    sequence_event::Action::Stop => Step::Stop,
                    sequence_event::Action::Noop => Step::Nothing,
                };
                Self::Sequence { name: event.sequence, step, error: event.error.map(|error| error.message) }
            }
            "machine.PhaseEvent" => {
                let event = machine::PhaseEvent::decode(bytes)?;
                Self::Phase { name: event.phase, step: Step::of(event.action) }
            }
            "machine.TaskEvent" => {
                let event = machine::TaskEvent::decode(bytes)?;
                Self::Task { name: event.task, step: Step::of(event.action) }
            }
            "machine.ServiceStateEvent" => Self::Service(machine::ServiceStateEvent::decode(bytes)?.into()),
            "machine.RestartEvent" => Self::Restart,
            "machine.ConfigLoadErrorEvent" => {
                Self::ConfigUnreadable(machine::ConfigLoadErrorEvent::decode(bytes)?.error)
            }
            "machine.ConfigValidationErrorEvent" => {
                Self::ConfigInvalid(machine::ConfigValidationErrorEvent::decode(bytes)?.error)
            }
            "machine.AddressEvent" => {
                let event = machine::AddressEvent::decode(bytes)?;
                Self::Addresses { hostname: event.hostname, addresses: event.addresses }
            }
            "machine.MachineStatusEvent" => Self::Status(machine::MachineStatusEvent::decode(bytes)?.into()),
            other => Self::Other(other.to_owned()),
        })
    }
}

impl Step {
    /// Of a phase or a task, which have no third value.
    fn of(action: i32) -> Self {
        match action {
            0 => Self::Start,
            1 => Self::Stop,
            _ => Self::Nothing,
        }
    }
}

impl From<machine::ServiceStateEvent> for Service {
    fn from(event: machine::ServiceStateEvent) -> Self {
        let state = match Action::try_from(event.action) {
            Ok(Action::Initialized) => "Initialized",
            Ok(Action::Preparing) => "Preparing",
            Ok(Action::Waiting) => "Waiting",
            Ok(Action::Running) => "Running",
            Ok(Action::Stopping) => "Stopping",
            Ok(Action::Finished) => "Finished",
            Ok(Action::Failed) => "Failed",
            Ok(Action::Skipped) => "Skipped",
            Ok(Action::Starting) => "Starting",
            Err(_) => "Unknown",
        };
        let health = event.health.filter(|health| !health.unknown);
        Self {
            id: event.service,
            state: state.to_owned(),
            healthy: health.map(|health| health.healthy),
            message: event.message,
        }
    }
}

impl From<machine::MachineStatusEvent> for MachineStatus {
    fn from(event: machine::MachineStatusEvent) -> Self {
        use machine::machine_status_event::MachineStage;
        let stage = match event.stage() {
            MachineStage::Unknown => Stage::Unknown,
            MachineStage::Booting => Stage::Booting,
            MachineStage::Installing => Stage::Installing,
            MachineStage::Maintenance => Stage::Maintenance,
            MachineStage::Running => Stage::Running,
            MachineStage::Rebooting => Stage::Rebooting,
            MachineStage::ShuttingDown => Stage::ShuttingDown,
            MachineStage::Resetting => Stage::Resetting,
            MachineStage::Upgrading => Stage::Upgrading,
        };
        let status = event.status.unwrap_or_default();
        let unmet = status.unmet_conditions.into_iter();
        Self {
            stage,
            ready: status.ready,
            unmet: unmet.map(|unmet| Unmet { name: unmet.name, reason: unmet.reason }).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(name: &str, value: Vec<u8>) -> prost_types::Any {
        prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value }
    }

    #[test]
    fn a_type_of_tomorrow_is_named_and_a_broken_one_is_an_error() {
        let tomorrow = any("machine.DreamEvent", vec![1, 2, 3]);
        assert_eq!(Happening::read(&tomorrow).unwrap(), Happening::Other("machine.DreamEvent".to_owned()));
        assert!(Happening::read(&any("machine.PhaseEvent", vec![0xff])).is_err());
    }

    #[test]
    fn an_action_of_tomorrow_is_not_taken_for_one_of_today() {
        let phase = machine::PhaseEvent { phase: "mountState".to_owned(), action: 9 };
        let read = Happening::read(&any("machine.PhaseEvent", phase.encode_to_vec())).unwrap();
        assert_eq!(read, Happening::Phase { name: "mountState".to_owned(), step: Step::Nothing });
        let service =
            machine::ServiceStateEvent { service: "etcd".to_owned(), action: 99, ..Default::default() };
        assert_eq!(Service::from(service).state, "Unknown");
    }
}
