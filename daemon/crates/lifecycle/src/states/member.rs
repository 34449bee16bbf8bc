//! Member: a control plane votes in etcd; its boot and its services are still on their way.

use super::{Facts, Limit, State};

pub(super) const FACTS: Facts = Facts {
    name: "member",
    means: "it votes in etcd",
    limit: Some(Limit {
        seconds: 600,
        hint: "it votes in etcd, and its boot does not end: a service that does not start keeps it (ext-lldpd \
               waits for its ExtensionServiceConfig, for example)",
    }),
    next: &[
        (State::Ready, "its boot is finished and its services are well"),
        (State::Leaving, "it is taken out, to come back"),
        (State::Vacant, "released by a person, or replaced"),
    ],
};
