//! Signals in, and the state of the daemon out to systemd (Type=notify-reload).

use sd_notify::NotifyState;
use site::Site;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::admin::Admin;

/// Everything is open and answering.
pub(crate) fn ready(site: &Site) {
    tracing::info!(site = site.name(), "ready");
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("site {}", site.name()))]);
}

/// The end has begun.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The signals that mean something here; from [`Signals::listen`] on, none of them ends the process.
pub(crate) struct Signals {
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
    hang_up: Option<Signal>,
}

impl Signals {
    pub(crate) fn listen() -> Self {
        Self {
            terminate: listen(SignalKind::terminate()),
            interrupt: listen(SignalKind::interrupt()),
            hang_up: listen(SignalKind::hangup()),
        }
    }

    /// Returns at SIGTERM or SIGINT; reloads at SIGHUP.
    pub(crate) async fn until_told_to_stop(&mut self, admin: &Admin) {
        loop {
            tokio::select! {
                () = next(&mut self.terminate) => return,
                () = next(&mut self.interrupt) => return,
                () = next(&mut self.hang_up) => reload(admin).await,
            }
        }
    }
}

async fn reload(admin: &Admin) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
    // what is wrong is in the log and in `ichord status`
    admin.reread().await.ok();
    tell(&[NotifyState::Ready]);
}

fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind).inspect_err(|error| tracing::error!(%error, ?kind, "cannot listen for a signal")).ok()
}

/// A signal that cannot be listened for never comes.
async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd does not listen");
    }
}
