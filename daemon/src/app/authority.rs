//! Boot questions from HTTP to the reconciler, and its answers as files to boot.

use std::{net::IpAddr, sync::Arc};

use boot::{Catalogue, Image, discovery::Report};
use hardware::{Architecture, MacAddr};
use identity::Marks;
use lifecycle::{BootAnswer, NodeName};
use reconciler::{Cluster, Handle};
use serve::{BootAuthority, BootQuestion, BootReply, trace::Trace};
use tokio::sync::watch;

use super::sockets::kernel_command_line;

/// Answers with the images of the site in force.
pub(crate) struct Authority {
    pub(crate) handle: Handle,
    pub(crate) cluster: watch::Receiver<Arc<Cluster>>,
    pub(crate) catalogue: watch::Receiver<Arc<Catalogue>>,
    pub(crate) trace: Arc<Trace>,
}

impl BootAuthority for Authority {
    async fn ask(&self, question: BootQuestion) -> BootReply {
        let BootQuestion { from, machine, attempt, lldp, architecture, firmware: _ } = question;
        // anybody can write another machine's address into a URL; only its own card answers for it
        if let Err(reason) = asks_for_itself(from, &machine, &self.trace).await {
            tracing::warn!(%from, %machine, reason, "a boot question is refused");
            return BootReply::Refused { reason };
        }
        match self.handle.ask(reconciler::BootQuestion { machine, from, attempt, lldp }).await {
            Ok(BootAnswer::Deploy { node }) => self.images(&node, ""),
            // Talos wipes its own disk before it looks for a config, and boots again (talos.md §7.4)
            Ok(BootAnswer::Wipe { node }) => self.images(&node, " talos.experimental.wipe=system"),
            Ok(BootAnswer::Identify { seconds, reason }) => {
                tracing::info!(%from, reason, "nobody knows it");
                BootReply::Identify { seconds, reason, image: self.discovery(architecture) }
            }
            Ok(BootAnswer::Retry { seconds, reason }) => {
                tracing::info!(%from, reason, "asked to come back");
                BootReply::Retry { seconds, reason }
            }
            Ok(BootAnswer::LocalDisk { reason }) => {
                tracing::info!(%from, reason, "sent to its own disk");
                BootReply::LocalDisk { reason }
            }
            Ok(BootAnswer::Refused { reason }) => BootReply::Refused { reason },
            // going down; the next daemon answers
            Err(_) => BootReply::Retry { seconds: 5, reason: GOING_DOWN.to_owned() },
        }
    }

    async fn report(&self, mac: MacAddr, from: IpAddr, report: Report) -> BootReply {
        let (uuid, serial) = (report.inventory.uuid, report.inventory.serial.clone());
        let machine = Marks { macs: [mac].into(), uuid, serial };
        if let Err(reason) = asks_for_itself(from, &machine, &self.trace).await {
            tracing::warn!(%from, %mac, reason, "a report is refused");
            return BootReply::Refused { reason };
        }
        let kexec = report.kexec;
        if self.handle.report(from, report).await.is_err() {
            return BootReply::LocalDisk { reason: GOING_DOWN.to_owned() };
        }
        // an answer may use a permit up, and only its firmware's question could follow it
        if !kexec {
            return BootReply::Retry { seconds: 0, reason: "it cannot start a kernel by itself".to_owned() };
        }
        let architecture = Architecture::Amd64;
        self.ask(BootQuestion { from, machine, attempt: 0, firmware: None, architecture, lldp: Vec::new() })
            .await
    }

    async fn fetched(&self, from: IpAddr) {
        // going down: the next daemon sees the machine by itself
        self.handle.fetched(from).await.ok();
    }
}

/// Said to whom the next daemon answers.
const GOING_DOWN: &str = "ichord is going down";

/// Whether the hardware address in the question is the one that the question came from: as ARP says, or behind a
/// relay, where ARP does not reach, as our own DHCP gave it out.
async fn asks_for_itself(from: IpAddr, machine: &Marks, trace: &Trace) -> Result<(), String> {
    match net::neighbour::mac_of(from).await {
        Ok(Some(mac)) if machine.macs.contains(&mac) => Ok(()),
        Ok(Some(mac)) => Err(format!("{from} is {mac}, which is not the machine it asks for")),
        Ok(None) if trace.machine_at(from).is_some_and(|mac| machine.macs.contains(&mac)) => Ok(()),
        Ok(None) => Err(format!("{from} is not on a provisioning network of this host")),
        Err(error) => Err(format!("the neighbour table cannot be read: {error}")),
    }
}

impl Authority {
    /// What a machine boots that shall find out its switch port; the site's arguments are for its console, too.
    fn discovery(&self, architecture: Architecture) -> Option<Image> {
        let site = Arc::clone(&self.cluster.borrow().site);
        let image = self.catalogue.borrow().discovery(architecture)?.clone();
        Some(Image { cmdline: kernel_command_line(&site, &image), ..image })
    }

    fn images(&self, node: &NodeName, also: &str) -> BootReply {
        let site = Arc::clone(&self.cluster.borrow().site);
        let Some(set) = site.image_set(&node.0) else {
            return BootReply::Refused { reason: format!("{node} is not in the site") };
        };
        match self.catalogue.borrow().image(&set.schematic, &set.version, set.architecture) {
            Ok(image) => BootReply::Deploy {
                kernel: image.kernel.clone(),
                initramfs: image.initramfs.clone(),
                cmdline: kernel_command_line(&site, image) + also,
            },
            Err(error) => BootReply::Refused { reason: error.to_string() },
        }
    }
}
