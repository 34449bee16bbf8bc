//! One slot: what is durable about it, and what is only known now.

use std::net::IpAddr;

use crate::{
    Approval, EtcdObservation, Machine, NodeState, Stage, State, Ticket, Time,
    left::Home,
    power::PowerWork,
    states::{Limit, identified::Candidate},
};

/// A slot: what is durable, and what is only known now.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) state: NodeState,
    /// the effect that is under way
    pub(crate) in_flight: Option<Ticket>,
    /// no look before then
    pub(crate) next_look: Time,
    /// the machine tells by itself when something about it changes
    pub(crate) watched: bool,
    /// it told so during a look, which may have come too early to see it
    pub(crate) stirred: bool,
    /// where the machine was last seen
    pub(crate) address: Option<IpAddr>,
    /// where other machines answered, the last one last: those addresses are tried after all others, in this order
    pub(crate) strangers: Vec<IpAddr>,
    /// the last look at the configured machine
    pub(crate) look: Option<Look>,
    /// for people: what is being waited for
    pub(crate) waiting: Option<String>,
    /// a machine that was identified for the vacant slot and may not be installed yet
    pub(crate) candidate: Option<Candidate>,
    /// reasons that went into the journal since nothing was waited for
    pub(crate) said: Vec<String>,
    /// for people: what is wrong with the machine's place
    pub(crate) warning: Option<String>,
    /// for people: the machine is seen where the site names nobody
    pub(crate) displaced: Option<String>,
    /// the last look, or the machine's own question, showed the holder
    pub(crate) heard: bool,
    /// it has not answered since
    pub(crate) silent: Option<Time>,
    /// the key of the machine that waits in maintenance mode
    pub(crate) fingerprint: Option<String>,
    /// another machine that is plugged in there
    pub(crate) rival: Option<Machine>,
    /// a person gave the slot to this machine; durable
    pub(crate) approved: Option<Approval>,
    /// what the node is, wherever it is written; durable
    pub(crate) home: Option<Home>,
    /// what is known of its power
    pub(crate) power: PowerWork,
    /// failures in a row
    pub(crate) failures: u32,
    /// the limit of its state has passed and was spoken of
    pub(crate) late: bool,
}

/// What the last look at a configured machine showed.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(crate) at: Time,
    pub(crate) address: IpAddr,
    pub(crate) boot_id: String,
    pub(crate) stage: Stage,
    pub(crate) etcd: EtcdObservation,
    pub(crate) holds_virtual_address: bool,
    pub(crate) unwell: Vec<String>,
}

impl Slot {
    pub(crate) fn new(state: NodeState) -> Self {
        Self {
            state,
            in_flight: None,
            next_look: Time::default(),
            watched: false,
            stirred: false,
            address: None,
            strangers: Vec::new(),
            look: None,
            waiting: None,
            candidate: None,
            said: Vec::new(),
            warning: None,
            displaced: None,
            heard: false,
            silent: None,
            fingerprint: None,
            rival: None,
            approved: None,
            home: None,
            power: PowerWork::default(),
            failures: 0,
            late: false,
        }
    }

    /// The state that people see.
    pub(crate) fn shown(&self) -> State {
        match self.state.state() {
            State::Vacant if self.candidate.is_some() => State::Identified,
            state => state,
        }
    }

    /// What is waited for from now on is news.
    pub(crate) fn wait_no_more(&mut self) {
        self.waiting = None;
        self.said.clear();
    }

    /// Another machine answered there.
    pub(crate) fn met_stranger(&mut self, address: IpAddr) {
        self.strangers.retain(|strange| *strange != address);
        self.strangers.push(address);
    }

    /// Its machine had a config that this store did not give it: a life that is forgotten did.
    pub(crate) fn is_adopted(&self) -> bool {
        match &self.state {
            NodeState::Configured { pushed, .. } => !pushed,
            state => state.is_configured() && state.claim().is_some_and(|claim| claim.told.is_none()),
        }
    }

    /// When its state has lasted too long, and what is to be said then.
    pub(crate) fn limit(&self) -> Option<(Time, &'static Limit)> {
        let limit = self.state.state().facts().limit.as_ref()?;
        Some((self.state.since()? + limit.duration(), limit))
    }
}
