//! Installing and upgrading Talos by calls of their own, from 1.13 on: the installer's words come while it works, and
//! the machine does not go down by itself; a reboot is a call of the caller's. 1.14 has no other way.

use futures_util::{Stream, StreamExt as _};

use crate::{
    CallError, Client, ImageNamespace,
    proto::machine::{self, lifecycle_service_install_progress::Response},
};

impl Client {
    /// Installs Talos from an installer image onto a disk (`/dev/sda`). `seen` hears the installer's words. Done when
    /// the installer has ended well; anything else is an error with its last words. The client's limit is on each
    /// piece of news.
    pub async fn install(&self, image: &str, disk: &str, seen: impl FnMut(&str)) -> Result<(), CallError> {
        const CALL: &str = "LifecycleService.Install";
        if image.is_empty() || disk.is_empty() {
            return Err(self.unusable(CALL, "not sent: an image and a disk must be named"));
        }
        let request = machine::LifecycleServiceInstallRequest {
            containerd: Some(ImageNamespace::System.instance()),
            source: Some(machine::InstallArtifactsSource { image_name: image.to_owned() }),
            destination: Some(machine::InstallDestination { disk: disk.to_owned() }),
        };
        let mut lifecycle = self.lifecycle();
        let news = self.opened(CALL, lifecycle.install(request)).await?;
        self.worked(CALL, news.map(|piece| piece.map(|piece| piece.progress)), seen).await
    }

    /// Writes another version of Talos beside the one that runs; it is the one that boots next. Otherwise like
    /// [`Client::install`].
    pub async fn install_upgrade(&self, image: &str, seen: impl FnMut(&str)) -> Result<(), CallError> {
        const CALL: &str = "LifecycleService.Upgrade";
        if image.is_empty() {
            return Err(self.unusable(CALL, "not sent: no image is named"));
        }
        let request = machine::LifecycleServiceUpgradeRequest {
            containerd: Some(ImageNamespace::System.instance()),
            source: Some(machine::InstallArtifactsSource { image_name: image.to_owned() }),
        };
        let mut lifecycle = self.lifecycle();
        let news = self.opened(CALL, lifecycle.upgrade(request)).await?;
        self.worked(CALL, news.map(|piece| piece.map(|piece| piece.progress)), seen).await
    }

    async fn worked(
        &self,
        call: &'static str,
        mut news: impl Stream<Item = Result<Option<machine::LifecycleServiceInstallProgress>, CallError>> + Unpin,
        mut seen: impl FnMut(&str),
    ) -> Result<(), CallError> {
        let mut last_words = String::new();
        while let Some(piece) = self.in_time(call, async { Ok(news.next().await) }).await? {
            match piece?.and_then(|progress| progress.response) {
                Some(Response::Message(words)) => {
                    seen(&words);
                    last_words = words;
                }
                Some(Response::ExitCode(0)) => return Ok(()),
                Some(Response::ExitCode(code)) => {
                    let reason =
                        format!("the installer ended with code {code}, its last words: {last_words:?}");
                    return Err(self.unusable(call, reason));
                }
                None => {}
            }
        }
        let reason = format!("it ended before the installer did, whose last words were {last_words:?}");
        Err(self.unusable(call, reason))
    }
}
