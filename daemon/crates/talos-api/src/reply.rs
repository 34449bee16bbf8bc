//! Replies as they come: a list with one message for every machine that answered. We dial each machine directly,
//! so there is one; but a failure written into a successful reply must not pass for success all the same.

use tonic::Code;

use crate::proto::{common, machine};

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
    ($($reply:ident of $message:ident),+ $(,)?) => {
        $(
            impl Reply for machine::$reply {
                type Message = machine::$message;

                fn into_messages(self) -> Vec<Self::Message> {
                    self.messages
                }
            }

            impl Message for machine::$message {
                fn metadata(&self) -> Option<&common::Metadata> {
                    self.metadata.as_ref()
                }
            }
        )+
    };
}

replies! {
    ApplyConfigurationResponse of ApplyConfiguration,
    BootstrapResponse of Bootstrap,
    EtcdAlarmDisarmResponse of EtcdAlarmDisarm,
    EtcdAlarmListResponse of EtcdAlarm,
    EtcdDefragmentResponse of EtcdDefragment,
    EtcdForfeitLeadershipResponse of EtcdForfeitLeadership,
    EtcdLeaveClusterResponse of EtcdLeaveCluster,
    EtcdMemberListResponse of EtcdMembers,
    EtcdRemoveMemberByIdResponse of EtcdRemoveMemberById,
    EtcdStatusResponse of EtcdStatus,
    MetaDeleteResponse of MetaDelete,
    MetaWriteResponse of MetaWrite,
    RebootResponse of Reboot,
    ResetResponse of Reset,
    ServiceListResponse of ServiceList,
    ShutdownResponse of Shutdown,
    UpgradeResponse of Upgrade,
    VersionResponse of Version,
}

impl Message for common::Data {
    fn metadata(&self) -> Option<&common::Metadata> {
        self.metadata.as_ref()
    }
}

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
