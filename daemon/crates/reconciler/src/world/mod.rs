//! Effects carried out for real. Each ends as the one event the core waits for, whatever happens.

mod look;
mod step;
pub(crate) mod talos;

use std::{future::Future, sync::Arc};

use lifecycle::{Effect, Event};

/// Whoever carries effects out: the real machines, or a test's.
pub trait World: Send + Sync + 'static {
    /// Carries one effect out and says how it ended. Never called with [`Effect::AnswerBoot`].
    fn carry_out(self: Arc<Self>, effect: Effect) -> impl Future<Output = Event> + Send + 'static;
}
