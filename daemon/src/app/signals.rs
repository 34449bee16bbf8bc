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

/// Returns at SIGTERM or SIGINT; reloads at SIGHUP.
pub(crate) async fn until_told_to_stop(admin: &Admin) {
    let mut terminate = listen(SignalKind::terminate());
    let mut interrupt = listen(SignalKind::interrupt());
    let mut hang_up = listen(SignalKind::hangup());
    loop {
        tokio::select! {
            () = next(&mut terminate) => return,
            () = next(&mut interrupt) => return,
            () = next(&mut hang_up) => {
                match NotifyState::monotonic_usec_now() {
                    Ok(now) => tell(&[NotifyState::Reloading, now]),
                    Err(_) => tell(&[NotifyState::Reloading]),
                }
                match admin.reread().await {
                    Ok(_) => {}
                    Err(refusal) => tracing::error!("the site stays as it is: {refusal}"),
                }
                tell(&[NotifyState::Ready]);
            }
        }
    }
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
