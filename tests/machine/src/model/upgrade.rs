//! Another version of Talos beside the one that runs, and the way back where it does not come up (talos.md §6.2, §7.8; how it
//! goes is read from Talos's own source, 1.13.9 and 1.14.0).

use super::{
    api::is_at_least,
    hardware::Image,
    machine::{Happening, Machine, State, Timer},
    node::Leave,
    request::Response,
    status::{Code, Status},
};

/// From this one on the installer runs by a call of its own, and images are fetched by one.
const LIFECYCLE: (u32, u32) = (1, 13);

impl Machine {
    /// `ImageService.Pull`, and the elder `ImagePull`.
    pub(crate) fn pull(&mut self, reference: &str) -> Result<Response, Status> {
        self.fetched(reference)?;
        if let Some(node) = self.node_mut() {
            node.pulled.insert(reference.to_owned());
        }
        Ok(Response::Accepted)
    }

    /// A registry has every plain image, and the factory those of schematics that it knows.
    fn fetched(&self, reference: &str) -> Result<Image, Status> {
        let image = Image::from_installer(reference);
        let is_known = |id: &String| self.factory.0.contains_key(id);
        if image.schematic.as_ref().is_none_or(is_known) {
            return Ok(image);
        }
        let text = format!("failed to pull image {reference:?}: not found");
        Err(Status::new(Code::NotFound, text))
    }

    /// `LifecycleService.Upgrade`: the installer begins. The machine goes on to run what it runs.
    pub(crate) fn begin_upgrade(&mut self, reference: &str, now: u64) -> Result<Response, Status> {
        self.knows_lifecycle()?;
        let refuse = |code, text: String| Err(Status::new(code, text));
        let Some(node) = self.node_mut() else { return Err(Status::not_authorized()) };
        if node.upgrading.is_some() {
            let text = "another installation/upgrade is already in progress".to_owned();
            return refuse(Code::FailedPrecondition, text);
        }
        if reference.is_empty() {
            return refuse(Code::InvalidArgument, "installer image name is required".to_owned());
        }
        if !node.pulled.contains(reference) {
            let text = format!("upgrade failed: installer image {reference:?} not found in containerd store");
            return refuse(Code::Internal, text);
        }
        node.upgrading = Some(Image::from_installer(reference));
        let install = self.pace.install;
        self.after(now, install, Timer::UpgradeDone);
        Ok(Response::Accepted)
    }

    /// Whether there is such a call at all.
    pub(crate) fn knows_lifecycle(&self) -> Result<(), Status> {
        let version = self.os().map(|os| os.image.version.as_str()).unwrap_or_default();
        if is_at_least(version, LIFECYCLE) {
            return Ok(());
        }
        Err(Status::new(Code::Unimplemented, "unknown service machine.LifecycleService"))
    }

    /// Whether the installer runs.
    pub fn is_upgrading(&self) -> bool {
        self.node().is_some_and(|node| node.upgrading.is_some())
    }

    /// Whoever wanted it has hung up: the installer is killed.
    pub fn abort_upgrade(&mut self) {
        if let Some(node) = self.node_mut() {
            node.upgrading = None;
        }
        self.timers.retain(|_, timer| *timer != Timer::UpgradeDone);
    }

    pub(crate) fn upgrade_done(&mut self) {
        if let Some(image) = self.node_mut().and_then(|node| node.upgrading.take()) {
            self.put_beside(image);
        }
    }

    /// `MachineService.Upgrade`: the image is fetched before it answers, and then the machine sees to everything by itself.
    pub(crate) fn upgrade_itself(&mut self, reference: &str, now: u64) -> Result<Response, Status> {
        let image = self.fetched(reference).map_err(|status| {
            let text = format!("error validating installer image {reference:?}: {}", status.message);
            Status::new(Code::Unknown, text)
        })?;
        self.leave_soon(Leave::Upgrade { image }, now);
        Ok(Response::Accepted)
    }

    /// The new image boots next; META names the one that ran, to go back to.
    pub(crate) fn put_beside(&mut self, image: Image) {
        let Some(system) = &mut self.storage.system else { return };
        let version = image.version.clone();
        system.fallback = Some(std::mem::replace(&mut system.image, image));
        self.say(Happening::Upgraded { version });
    }

    /// Whether the kernel that is up is one that does not get any further; then it goes back to the one before, if there is one.
    pub(crate) fn does_not_come_up(&mut self, now: u64) -> bool {
        let State::Booting { os } = &self.state else { return false };
        let version = os.image.version.clone();
        if !self.doomed.contains(&version) {
            return false;
        }
        if let Some(system) = &mut self.storage.system
            && let Some(fallback) = system.fallback.take()
        {
            system.image = fallback;
        }
        self.fail(format!("Talos {version} does not come up"), now);
        true
    }

    /// The new one has come up: there is no way back any more.
    pub(crate) fn stays(&mut self) {
        let has_come_up = self.storage.system.as_ref().is_some_and(|system| {
            system.fallback.is_some() && self.os().is_some_and(|os| os.image == system.image)
        });
        if let Some(system) = self.storage.system.as_mut().filter(|_| has_come_up) {
            system.fallback = None;
        }
    }
}
