//! What both tests of Redfish ask, and of whom.

use power::{Action, Ask, Redfish};

pub(crate) fn ask(action: Action, network_boot: bool) -> Ask {
    Ask { node: "mini03".into(), port: Some("sw1/Eth1/3".into()), macs: Vec::new(), action, network_boot }
}

pub(crate) fn redfish(port: u16) -> Redfish {
    Redfish {
        host: "127.0.0.1".into(),
        port,
        system: None,
        username: "admin".into(),
        password: "s3cret".to_owned().into(),
        certificate: None,
        network_boot: "Pxe",
    }
}
