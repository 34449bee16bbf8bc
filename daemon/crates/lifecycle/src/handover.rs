//! The hand-over: one step after the other, each recorded when it is in place.

use crate::{Bootstrapped, Cluster, Core, Effect, Guards, StepOutcome, Ticket, Time};

impl<G: Guards> Core<G> {
    pub(crate) fn hand_over(&mut self, bootstrapped: Bootstrapped, done: Vec<String>, now: Time) {
        if let Some(strangers) = self.strangers_in_etcd() {
            self.wait_cluster(strangers);
            return;
        }
        if self.work.in_flight.is_some() || now < self.work.not_before {
            return;
        }
        match self.plan.handover.iter().find(|step| !done.contains(step)).cloned() {
            Some(step) => {
                let ticket = self.ticket();
                self.work.in_flight = Some(ticket);
                let only_look = bootstrapped.taken_over.is_some();
                self.start(Effect::RunStep { ticket, step, only_look });
            }
            None => {
                let evidence = vec![format!("steps done: {}", done.join(", "))];
                self.move_cluster(Cluster::HandedOver { bootstrapped, since: now }, evidence);
            }
        }
    }

    /// Handed over: who joins etcd uninvited is still spoken of.
    pub(crate) fn watch_members(&mut self) {
        match self.strangers_in_etcd() {
            Some(strangers) => self.wait_cluster(strangers),
            None => self.work.waiting = None,
        }
    }

    pub(crate) fn step_ended(&mut self, ticket: Ticket, step: String, outcome: StepOutcome, now: Time) {
        if !self.takes_cluster_reply(ticket) {
            return;
        }
        let Cluster::HandingOver { bootstrapped, mut done } = self.cluster.clone() else { return };
        match outcome {
            StepOutcome::Done { summary } => {
                self.note("cluster", format!("hand-over step {step} is in place"), vec![summary]);
                done.push(step);
                self.move_cluster(Cluster::HandingOver { bootstrapped, done }, Vec::new());
            }
            StepOutcome::Failed { reason } => {
                // whoever only looks need not look as often as one who is about to mend it
                let timing = &self.plan.timing;
                let pause = if bootstrapped.taken_over.is_some() { timing.watch } else { timing.retry };
                self.work.not_before = now + pause;
                self.wait_cluster(format!("hand-over step {step}: {reason}"));
            }
        }
    }
}
