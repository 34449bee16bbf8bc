//! Who else is on the wire: somebody else's DHCP server, on a machine of its own.

use std::path::Path;

use anyhow::Result;
use hardware::MacAddr;

use crate::process::{Launcher, Network, Process, Start};
use crate::wires::Wires;

/// The other server's address, beside the daemon's own.
const OTHER: &str = "10.77.0.2/24";

/// A dnsmasq that gives addresses and nothing else. Its network lives as long as what comes back with it.
pub(crate) async fn dnsmasq(
    launcher: &Launcher,
    wires: &Wires,
    folder: &Path,
    number: u8,
) -> Result<(Process, Network)> {
    let network = launcher.hold_network("dhcp-network").await?;
    wires.plug("other", MacAddr([0x52, 0x54, 0x00, 0x77, 0x02, number]), network.pid).await?;
    let leases = folder.join("dnsmasq.leases");
    // no-ping: it would wait 3 s before its first offer
    let script = format!(
        "ip addr add {OTHER} dev eth0 && ip link set eth0 up && exec dnsmasq --keep-in-foreground \
         --conf-file=/dev/null --log-facility=- --log-dhcp --user=root --group=root --pid-file= --port=0 \
         --interface=eth0 --bind-interfaces --no-ping --dhcp-authoritative \
         --dhcp-range=10.77.0.100,10.77.0.199,255.255.255.0,2m --dhcp-option=3,10.77.0.1 \
         --dhcp-leasefile={}",
        leases.display()
    );
    Ok((launcher.start(shell("dnsmasq", network.pid, script), None)?, network))
}

/// Gives a child of the lab its words.
pub(crate) fn shell(name: &str, network: u32, script: String) -> Start {
    Start {
        name: name.to_owned(),
        network: Some(network),
        card: None,
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script],
        environment: Vec::new(),
    }
}
