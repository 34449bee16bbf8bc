//! Replies as they come: a list with one message for every machine that answered. We dial each machine directly,
//! so there is one; but a failure written into a successful reply must not pass for success all the same.

use tonic::Code;

use crate::proto::{common, machine, storage};

/// One machine's part of a reply.
pub(crate) trait Message {
    fn metadata(&self) -> Option<&common::Metadata>;

    /// The failure that is written into the message: who, how, and in which words.
    fn failure(&self) -> Option<(String, Code, String)> {
        let metadata = self.metadata()?;
        let status = metadata.status.as_ref().filter(|status| status.code != 0);
        if metadata.error.is_empty() && status.is_none() {
            return None;
        }
        let code = status.map_or(Code::Unknown, |status| Code::from_i32(status.code));
        let message = match status {
            Some(status) if metadata.error.is_empty() => status.message.clone(),
            _ => metadata.error.clone(),
        };
        let node = if metadata.hostname.is_empty() { "an unnamed machine" } else { &metadata.hostname };
        Some((node.to_owned(), code, message))
    }
}

/// A reply with one message per machine.
pub(crate) trait Reply {
    type Message: Message;

    fn into_messages(self) -> Vec<Self::Message>;
}

macro_rules! replies {
    ($package:ident: $($reply:ident of $message:ident),+ $(,)?) => {
        $(
            impl Reply for $package::$reply {
                type Message = $package::$message;

                fn into_messages(self) -> Vec<Self::Message> {
                    self.messages
                }
            }

            impl Message for $package::$message {
                fn metadata(&self) -> Option<&common::Metadata> {
                    self.metadata.as_ref()
                }
            }
        )+
    };
}

replies! {
    machine:
    ApplyConfigurationResponse of ApplyConfiguration,
    BootstrapResponse of Bootstrap,
    EtcdAlarmDisarmResponse of EtcdAlarmDisarm,
    EtcdAlarmListResponse of EtcdAlarm,
    EtcdDefragmentResponse of EtcdDefragment,
    EtcdForfeitLeadershipResponse of EtcdForfeitLeadership,
    EtcdLeaveClusterResponse of EtcdLeaveCluster,
    EtcdMemberListResponse of EtcdMembers,
    EtcdRecoverResponse of EtcdRecover,
    EtcdRemoveMemberByIdResponse of EtcdRemoveMemberById,
    EtcdStatusResponse of EtcdStatus,
    GenerateClientConfigurationResponse of GenerateClientConfiguration,
    ImagePullResponse of ImagePull,
    LoadAvgResponse of LoadAvg,
    MemoryResponse of Memory,
    MetaDeleteResponse of MetaDelete,
    MetaWriteResponse of MetaWrite,
    RebootResponse of Reboot,
    ResetResponse of Reset,
    ServiceListResponse of ServiceList,
    ShutdownResponse of Shutdown,
    SystemStatResponse of SystemStat,
    UpgradeResponse of Upgrade,
    VersionResponse of Version,
}

replies! {
    storage:
    BlockDeviceWipeResponse of BlockDeviceWipe,
    DisksResponse of Disks,
}

/// One piece of a stream, which is a message by itself.
macro_rules! pieces {
    ($($piece:path),+ $(,)?) => {
        $(
            impl Message for $piece {
                fn metadata(&self) -> Option<&common::Metadata> {
                    self.metadata.as_ref()
                }
            }
        )+
    };
}

pieces! { common::Data, machine::Event, machine::ImageListResponse }

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::google::rpc;

    fn failure(metadata: Option<common::Metadata>) -> Option<(String, Code, String)> {
        machine::Bootstrap { metadata }.failure()
    }

    #[test]
    fn a_failure_is_seen_in_either_form() {
        assert_eq!(failure(None), None);
        let fine = common::Metadata { hostname: "cp1".to_owned(), ..Default::default() };
        assert_eq!(failure(Some(fine.clone())), None);
        let zero = Some(rpc::Status::default());
        assert_eq!(failure(Some(common::Metadata { status: zero, ..fine.clone() })), None);

        let text = common::Metadata { error: "no".to_owned(), ..fine };
        assert_eq!(failure(Some(text)), Some(("cp1".to_owned(), Code::Unknown, "no".to_owned())));
        let code = Code::FailedPrecondition;
        let status = Some(rpc::Status { code: code as i32, message: "not yet".to_owned(), details: vec![] });
        let only_status = common::Metadata { status, ..Default::default() };
        assert_eq!(
            failure(Some(only_status)),
            Some(("an unnamed machine".to_owned(), code, "not yet".to_owned()))
        );
    }
}
