//! How hard a machine works: what tells one that is slow from one that is stuck.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{CallError, Client, proto::machine};

/// How many processes wanted to run, on average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadAverage {
    /// over the last minute
    pub one: f64,
    /// over five
    pub five: f64,
    /// over fifteen
    pub fifteen: f64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// what the kernel has
    pub total: u64,
    /// what a new program could get without swapping
    pub available: u64,
}

/// What the kernel counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemStat {
    /// by the machine's clock
    pub booted: SystemTime,
    /// processes that run now
    pub running: u64,
    /// processes that wait for a disk
    pub blocked: u64,
}

impl Client {
    /// The load of the machine.
    pub async fn load_average(&self) -> Result<LoadAverage, CallError> {
        let mut machine = self.machine();
        let load = self.message("LoadAvg", machine.load_avg(())).await?;
        Ok(LoadAverage { one: load.load1, five: load.load5, fifteen: load.load15 })
    }

    /// The memory of the machine.
    pub async fn memory(&self) -> Result<Memory, CallError> {
        const CALL: &str = "Memory";
        let mut machine = self.machine();
        let memory = self.message(CALL, machine.memory(())).await?;
        let told = memory.meminfo.ok_or_else(|| self.unusable(CALL, "it says nothing of memory"))?;
        let bytes = |kilobytes: u64| kilobytes.saturating_mul(1024);
        Ok(Memory { total: bytes(told.memtotal), available: bytes(told.memavailable) })
    }

    /// What the machine's kernel counts.
    pub async fn system_stat(&self) -> Result<SystemStat, CallError> {
        const CALL: &str = "SystemStat";
        let mut machine = self.machine();
        let stat: machine::SystemStat = self.message(CALL, machine.system_stat(())).await?;
        let booted = UNIX_EPOCH
            .checked_add(Duration::from_secs(stat.boot_time))
            .ok_or_else(|| self.unusable(CALL, format!("it was booted at second {}", stat.boot_time)))?;
        Ok(SystemStat { booted, running: stat.process_running, blocked: stat.process_blocked })
    }
}
