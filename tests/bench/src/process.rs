//! One process under measurement: what processors worked for it, its memory, and its end.

use std::{
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    cable::Cable,
    kernel::{Of, memory, worked},
};

/// A running process at the servers' end; it ends with the value.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn start(cable: &Cable, mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self { child: cable.serve(command)? })
    }

    /// The seconds that processors worked for it.
    pub(crate) fn processor(&self) -> anyhow::Result<f64> {
        worked(self.child.id(), Of::Itself)
    }

    /// The memory that is its own and no file's, now, in millions of bytes.
    pub(crate) fn private_memory(&self) -> anyhow::Result<f64> {
        memory(self.child.id(), "RssAnon")
    }
}

/// Lets time pass: a measurement takes its samples in time, and another process says nothing when it is ready.
#[allow(clippy::disallowed_methods)] // there is no condition in this process to wait for
pub(crate) fn pause(time: Duration) {
    thread::sleep(time);
}

impl Drop for Process {
    fn drop(&mut self) {
        // in vain when it has ended already
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
