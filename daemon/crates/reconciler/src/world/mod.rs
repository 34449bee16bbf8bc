//! Effects carried out for real. Each ends as the one event the core waits for, whatever happens.

mod step;
pub(crate) mod talos;

use std::{future::Future, sync::Arc};

use lifecycle::{ApplyOutcome, BootstrapOutcome, Effect, Event, Observation, StepOutcome};

/// Whoever carries effects out: the real machines, or a test's.
pub trait World: Send + Sync + 'static {
    /// Carries one effect out and says how it ended. Never called with [`Effect::AnswerBoot`].
    fn carry_out(self: Arc<Self>, effect: Effect) -> impl Future<Output = Event> + Send + 'static;
}

/// The event of an effect about which nothing is known but that it broke.
pub(crate) fn failure(effect: &Effect, reason: &str) -> Event {
    let reason = reason.to_owned();
    match effect.clone() {
        Effect::AnswerBoot { .. } => Event::Tick,
        Effect::Observe { node, ticket, .. } => {
            Event::Observed { node, ticket, observation: Observation::Silent { detail: reason } }
        }
        Effect::Apply { node, ticket, .. } => {
            Event::Applied { node, ticket, outcome: ApplyOutcome::Unknown { reason } }
        }
        // not knowing counts as an answer: nothing is bootstrapped over a doubt
        Effect::ProbeVirtualAddress { ticket, .. } => {
            Event::VirtualAddressProbed { ticket, owner: Some(format!("the probe failed: {reason}")) }
        }
        Effect::Bootstrap { ticket, .. } => {
            Event::BootstrapAnswered { ticket, outcome: BootstrapOutcome::Unknown { reason } }
        }
        Effect::RunStep { ticket, step } => {
            Event::StepEnded { ticket, step, outcome: StepOutcome::Failed { reason } }
        }
    }
}
