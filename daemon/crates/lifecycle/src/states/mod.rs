//! The states of a slot, one file each: what it means, how long it may last, where it leads, and what
//! the core makes of what happens in it. The README's picture is drawn from here.

mod applying;
mod configured;
mod failed;
mod fenced;
mod firmware;
pub(crate) mod identified;
mod installing;
mod kernel;
mod leaving;
pub(crate) mod maintenance;
mod member;
mod ready;
mod retired;
mod vacant;

use std::{fmt::Write as _, time::Duration};

/// The states of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// no machine
    Vacant,
    /// a machine was identified and may not be installed yet
    Identified,
    /// the boot script was handed out
    Firmware,
    /// the boot files were fetched
    Kernel,
    /// it waits for a config
    Maintenance,
    /// the config is being pushed
    Applying,
    /// Talos took the config
    Installing,
    /// it could not go on
    Failed,
    /// its evidence contradicts
    Fenced,
    /// it answers with our CA
    Configured,
    /// it votes in etcd
    Member,
    /// arrived
    Ready,
    /// told to forget what it is
    Leaving,
    /// a machine that was taken out
    Retired,
}

/// What there is to know about a state.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// one word for people
    pub name: &'static str,
    /// a few words for the picture
    pub means: &'static str,
    /// how long it usually lasts at most, and what to look at when it lasts longer
    pub limit: Option<Limit>,
    /// where it leads, and on what grounds
    pub next: &'static [(State, &'static str)],
}

/// When a state has lasted too long.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// seconds
    pub seconds: u64,
    /// what has not happened, and where to look
    pub hint: &'static str,
}

impl Limit {
    /// As a duration.
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

impl State {
    /// In the order of the road.
    pub const ALL: [Self; 14] = [
        Self::Vacant,
        Self::Identified,
        Self::Firmware,
        Self::Kernel,
        Self::Maintenance,
        Self::Applying,
        Self::Installing,
        Self::Failed,
        Self::Fenced,
        Self::Configured,
        Self::Member,
        Self::Ready,
        Self::Leaving,
        Self::Retired,
    ];

    /// What there is to know about it.
    pub fn facts(self) -> &'static Facts {
        match self {
            Self::Vacant => &vacant::FACTS,
            Self::Identified => &identified::FACTS,
            Self::Firmware => &firmware::FACTS,
            Self::Kernel => &kernel::FACTS,
            Self::Maintenance => &maintenance::FACTS,
            Self::Applying => &applying::FACTS,
            Self::Installing => &installing::FACTS,
            Self::Failed => &failed::FACTS,
            Self::Fenced => &fenced::FACTS,
            Self::Configured => &configured::FACTS,
            Self::Member => &member::FACTS,
            Self::Ready => &ready::FACTS,
            Self::Leaving => &leaving::FACTS,
            Self::Retired => &retired::FACTS,
        }
    }

    /// One word for people.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// Whether the picture has this arrow.
    pub fn leads_to(self, next: Self) -> bool {
        self.facts().next.iter().any(|(state, _)| *state == next)
    }
}

/// The picture, as Mermaid draws it.
pub fn diagram() -> String {
    let mut text = String::from("stateDiagram-v2\n    [*] --> vacant\n");
    for state in State::ALL {
        let facts = state.facts();
        let limit = facts.limit.map(|limit| format!(" (≤ {} s)", limit.seconds)).unwrap_or_default();
        // writing to a String cannot fail
        writeln!(text, "    {}: {}<br>{}{limit}", facts.name, facts.name, facts.means).ok();
    }
    for state in State::ALL {
        for (next, why) in state.facts().next {
            writeln!(text, "    {} --> {}: {why}", state.name(), next.name()).ok();
        }
    }
    text
}
