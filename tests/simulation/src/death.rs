//! The daemon's deaths, and what is left of it: the store, and whatever is on its way.

use std::collections::BTreeMap;

use lifecycle::{BootAnswer, Core, Event, Guards, Records};

use crate::{
    invariants::Violation,
    run::{Due, Simulation},
};

impl<G: Guards> Simulation<G> {
    /// The store takes nothing: the core is rebuilt from what it holds, and firmwares are asked to come back.
    pub(crate) fn abandon(&mut self) -> Result<(), Violation> {
        for label in std::mem::take(&mut self.questions).into_values() {
            let again = BootAnswer::Retry { seconds: 5, reason: "the store is full".into() };
            self.world.answer_boot(&label, &again, self.now);
        }
        self.pass(1_000);
        self.restore()
    }

    /// The machines go on while the daemon is away.
    fn pass(&mut self, time: u64) {
        let until = self.now + time;
        while let Some(at) = self.world.rack.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            for (label, happening) in self.world.rack.advance(self.now) {
                self.happened(label, &happening);
            }
        }
        self.now = until;
    }

    /// The process is gone; what is left is the store.
    pub(crate) fn crash(&mut self) -> Result<(), Violation> {
        self.outcome.crashes += 1;
        self.tell(|| "the daemon dies".to_owned());
        self.end_connections()?;
        self.life += 1;
        let away = self.random.between(10, 1000);
        self.pass(away);
        for label in std::mem::take(&mut self.questions).into_values() {
            let gone = BootAnswer::LocalDisk { reason: "connection reset".into() };
            self.world.answer_boot(&label, &gone, self.now);
        }
        self.restore()?;
        // the lease table is durable: the daemon tells its core what it says
        let labels: Vec<String> = self.world.rack.machines.keys().cloned().collect();
        for label in labels {
            if let Some(event) = self.world.located(&label) {
                let life = self.life;
                self.later(0, Due::Hear { life, event: Box::new(event) });
            }
        }
        self.hear(Event::Tick)
    }

    /// The connections die with the daemon that opened them. A request on its way arrives at once or never, or,
    /// where the network delays, when somebody else lives already.
    fn end_connections(&mut self) -> Result<(), Violation> {
        let life = self.life;
        let (ended, kept) = std::mem::take(&mut self.due)
            .into_iter()
            .partition(|(_, due)| matches!(due, Due::Meet { life: opened, .. } if *opened == life));
        self.due = kept;
        let ended: BTreeMap<(u64, u64), Due> = ended;
        for (at, due) in ended {
            let Due::Meet { effect, .. } = &due else { continue };
            if self.strikes(self.faults.late_request) {
                self.due.insert(at, due);
            } else if self.random.one_in(2) {
                self.tell(|| format!("arrives at its sender's death: {effect:?}"));
                self.world.carry_out(effect, &self.ledger, self.now)?;
            }
        }
        Ok(())
    }

    fn restore(&mut self) -> Result<(), Violation> {
        self.ledger.new_core();
        self.switching.clear();
        let seed = self.random.draw();
        self.core = Core::restore_with(self.guards.clone(), self.plan.clone(), &self.records, seed)
            .map_err(|error| Violation::Stuck { waiting: error.to_string() })?;
        self.deadline = self.core.next_deadline();
        Ok(())
    }

    /// The store holds this now.
    pub(crate) fn set_records(&mut self, records: Records) {
        let read = |value: &serde_json::Value| serde_json::from_value(value.clone()).ok();
        self.stored =
            (records.nodes.iter()).filter_map(|(name, value)| Some((name.clone(), read(value)?))).collect();
        self.stored_cluster =
            records.cluster.as_ref().and_then(|value| serde_json::from_value(value.clone()).ok());
        self.records = records;
    }
}
