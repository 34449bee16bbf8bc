//! Another version of Talos, and the end of the machine's day.

use crate::{CallError, Client, proto::machine};

/// How a machine goes down to stay down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownMode {
    /// its pods are moved elsewhere first
    Drain,
    /// without waiting for Kubernetes
    Force,
}

impl Client {
    /// Returns when the machine has begun to go down.
    pub async fn shutdown(&self, mode: ShutdownMode) -> Result<(), CallError> {
        let mut machine = self.machine();
        let request = machine::ShutdownRequest { force: mode == ShutdownMode::Force };
        self.messages("Shutdown", machine.shutdown(request)).await?;
        Ok(())
    }

    /// Upgrades Talos to an installer image, at once or, `staged`, at the next reboot. The data is always kept; whether etcd keeps
    /// its quorum is the caller's to know, since Talos 1.13 asks only who does not keep its data. The machine answers after it has
    /// pulled the image, which may want a longer limit ([`Client::with_deadline`]), and then empties its node and boots by itself.
    /// Superseded in 1.13, still there in 1.14.
    pub async fn upgrade(&self, image: &str, staged: bool) -> Result<(), CallError> {
        const CALL: &str = "Upgrade";
        if image.is_empty() {
            return Err(self.unusable(CALL, "not sent: no image is named"));
        }
        let request = machine::UpgradeRequest {
            image: image.to_owned(),
            preserve: true,
            stage: staged,
            force: false,
            reboot_mode: machine::upgrade_request::RebootMode::Default.into(),
        };
        let mut machine = self.machine();
        self.messages(CALL, machine.upgrade(request)).await?;
        Ok(())
    }
}
