//! The upkeep of etcd's database: its alarms, and the space that deleted data leaves behind.

use crate::{
    CallError, Client,
    proto::machine::{self, etcd_member_alarm::AlarmType},
};

/// Why a member takes no more writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlarmKind {
    /// its database has reached the quota
    NoSpace,
    /// its data differs from that of the others
    Corrupt,
    /// a number that we do not know
    Other(i32),
}

/// An alarm of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EtcdAlarm {
    /// whose
    pub member_id: u64,
    /// what is wrong
    pub kind: AlarmKind,
}

impl Client {
    /// The alarms of the whole cluster, as this machine's member knows them.
    pub async fn etcd_alarms(&self) -> Result<Vec<EtcdAlarm>, CallError> {
        let mut machine = self.machine();
        let messages = self.messages("EtcdAlarmList", machine.etcd_alarm_list(())).await?;
        Ok(raised(messages.into_iter().flat_map(|message| message.member_alarms)))
    }

    /// Ends every alarm and returns those that were there. What raised them must have been put right before.
    pub async fn etcd_disarm(&self) -> Result<Vec<EtcdAlarm>, CallError> {
        let mut machine = self.machine();
        let messages = self.messages("EtcdAlarmDisarm", machine.etcd_alarm_disarm(())).await?;
        Ok(raised(messages.into_iter().flat_map(|message| message.member_alarms)))
    }

    /// Gives free space in this member's database back to the disk. The member answers nobody meanwhile, so one
    /// member at a time; a large database wants a longer limit ([`Client::with_deadline`]).
    pub async fn etcd_defragment(&self) -> Result<(), CallError> {
        let mut machine = self.machine();
        self.messages("EtcdDefragment", machine.etcd_defragment(())).await?;
        Ok(())
    }
}

fn raised(alarms: impl Iterator<Item = machine::EtcdMemberAlarm>) -> Vec<EtcdAlarm> {
    let raised = |alarm: machine::EtcdMemberAlarm| {
        let kind = match AlarmType::try_from(alarm.alarm) {
            Ok(AlarmType::None) => return None,
            Ok(AlarmType::Nospace) => AlarmKind::NoSpace,
            Ok(AlarmType::Corrupt) => AlarmKind::Corrupt,
            Err(_) => AlarmKind::Other(alarm.alarm),
        };
        Some(EtcdAlarm { member_id: alarm.member_id, kind })
    };
    alarms.filter_map(raised).collect()
}
