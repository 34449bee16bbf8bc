//! The model behind a lock, with its clock; whoever changes it wakes the driver.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::{Notify, watch};

use crate::model::Machine;

/// The one machine of this process.
pub(super) struct World {
    machine: Mutex<Machine>,
    started: Instant,
    /// the same on the wall
    since: SystemTime,
    /// something happened that the driver should see
    pub(super) wake: Notify,
    turns: watch::Sender<u64>,
    /// how often the machine API was called, by the call's name
    calls: Mutex<BTreeMap<String, u64>>,
}

impl World {
    pub(super) fn new(machine: Machine) -> Self {
        let (turns, _) = watch::channel(0);
        Self {
            machine: Mutex::new(machine),
            started: Instant::now(),
            since: SystemTime::now(),
            wake: Notify::new(),
            turns,
            calls: Mutex::default(),
        }
    }

    /// The machine API was called.
    pub(super) fn count(&self, call: &str) {
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner).entry(call.to_owned()).or_default() += 1;
    }

    /// How often it was, so far.
    pub(super) fn calls(&self) -> BTreeMap<String, u64> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Milliseconds since the process started: the model's time.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// What the clock on the wall said when the model's time began.
    pub(super) fn epoch(&self) -> SystemTime {
        self.since
    }

    /// When the model's time is this.
    pub(super) fn at(&self, time: u64) -> Instant {
        self.started + Duration::from_millis(time)
    }

    /// Looks at the machine or talks to it; the driver's turn comes right after.
    pub(super) fn with<T>(&self, talk: impl FnOnce(&mut Machine, u64) -> T) -> T {
        let answer = talk(&mut self.lock(), self.now());
        self.wake.notify_one();
        answer
    }

    /// Looks at the machine.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        look(&self.lock())
    }

    /// Like [`World::with`], without waking the driver: for the driver itself.
    pub(super) fn turn<T>(&self, turn: impl FnOnce(&mut Machine, u64) -> T) -> T {
        turn(&mut self.lock(), self.now())
    }

    /// The driver had a turn: who watches resources may look again.
    pub(super) fn turned(&self) {
        self.turns.send_modify(|turns| *turns += 1);
    }

    /// Changes with every turn of the driver.
    pub(super) fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
