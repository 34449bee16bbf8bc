//! Snapshots of etcd that nobody has to ask for: taken while the cluster is Git's, kept here, and copied elsewhere by the
//! site's own program. Why that failed stands in the status and in `doctor` until it does not fail any more.

use std::{
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use api::Complaint;
use reconciler::{Cluster, Published};
use tokio::{
    process::Command,
    sync::watch,
    time::{sleep, timeout},
};

/// Whether one is due is asked so often, or as often as one is to be taken; what failed is tried again then, too.
const LOOK: Duration = Duration::from_secs(60);

/// For copying one elsewhere.
const COPY: Duration = Duration::from_secs(30 * 60);

/// How much of a complaint is repeated, in characters.
const COMPLAINT: usize = 300;

/// What is wrong with them.
#[derive(Debug, Default)]
pub(crate) struct Snapshots(Mutex<Option<Fault>>);

#[derive(Debug, Clone)]
struct Fault {
    what: String,
    since: u64,
    last: u64,
    times: u32,
}

impl Snapshots {
    /// Takes them, for ever.
    pub(crate) async fn keep(
        self: Arc<Self>,
        cluster: watch::Receiver<Arc<Cluster>>,
        mut published: watch::Receiver<Published>,
    ) {
        let handed_over = |published: &Published| published.view.cluster.state == super::admin::HANDED_OVER;
        loop {
            // ends with the reconciler
            if published.wait_for(handed_over).await.is_err() {
                return;
            }
            let cluster = Arc::clone(&cluster.borrow());
            if is_due(cluster.last_snapshot(), cluster.site.snapshots().every, now() / 1000) {
                self.remember(take(&cluster).await);
            }
            sleep(LOOK.min(cluster.site.snapshots().every)).await;
        }
    }

    fn remember(&self, outcome: Result<(), String>) {
        let mut fault = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = now();
        match (outcome, fault.as_mut()) {
            (Ok(()), _) => *fault = None,
            (Err(what), Some(known)) => {
                (known.what, known.last, known.times) = (what, at, known.times.saturating_add(1));
            }
            (Err(what), None) => {
                tracing::error!(what, "a snapshot of etcd failed");
                *fault = Some(Fault { what, since: at, last: at, times: 1 });
            }
        }
    }

    /// In words.
    pub(crate) fn fault(&self) -> Option<String> {
        self.known().map(|fault| fault.what)
    }

    /// For `doctor`.
    pub(crate) fn complaint(&self) -> Option<Complaint> {
        let Fault { what, since, last, times } = self.known()?;
        Some(Complaint { kind: "snapshot".to_owned(), what, since, last, times })
    }

    fn known(&self) -> Option<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether the time has come; a snapshot from the future says nothing.
fn is_due(last: Option<u64>, every: Duration, now: u64) -> bool {
    last.is_none_or(|last| last > now || now - last >= every.as_secs())
}

async fn take(cluster: &Cluster) -> Result<(), String> {
    let kept = cluster.snapshot().await?;
    tracing::info!(path = %kept.path.display(), size = kept.size, "a snapshot of etcd is kept");
    copy(&cluster.site.snapshots().copy, &kept.path).await
}

/// Has the site's program copy a file elsewhere; nothing is done without one.
pub(crate) async fn copy(words: &[String], file: &Path) -> Result<(), String> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let failed = |what: &dyn std::fmt::Display| {
        format!("{} is kept here and was not copied elsewhere: `{program}` {what}", file.display())
    };
    let mut command = Command::new(program);
    command.args(arguments).arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child =
        command.kill_on_drop(true).spawn().map_err(|error| failed(&format!("cannot be started: {error}")))?;
    let output = timeout(COPY, child.wait_with_output()).await;
    let output = output.map_err(|_| failed(&format!("did not finish within {} s", COPY.as_secs())))?;
    let output = output.map_err(|error| failed(&format!("ended without a word: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.trim().chars().take(COMPLAINT).collect();
    Err(failed(&format!("failed ({}): {said}", output.status)))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_due_when_the_last_is_old_or_from_the_future() {
        let hour = Duration::from_secs(3600);
        for (last, due) in [(None, true), (Some(6_400), true), (Some(6_401), false), (Some(20_000), true)] {
            assert_eq!(is_due(last, hour, 10_000), due, "{last:?}");
        }
    }

    #[tokio::test]
    async fn what_copies_them_gets_the_file_and_what_it_complains_of_is_said() {
        let dir = tempfile::tempdir().expect("a folder");
        let (file, copy_of) = (dir.path().join("etcd.sealed"), dir.path().join("elsewhere"));
        std::fs::write(&file, "data").expect("written");
        let words = |script: &str| ["sh", "-c", script, "copy"].map(str::to_owned).to_vec();
        copy(&[], &file).await.expect("nothing to do");
        let script = format!("cp \"$1\" {}", copy_of.display());
        copy(&words(&script), &file).await.expect("copied");
        assert_eq!(std::fs::read_to_string(&copy_of).expect("copied"), "data");

        let snapshots = Snapshots::default();
        let failed = copy(&words("echo no room >&2; exit 3"), &file).await;
        assert!(failed.as_ref().is_err_and(|what| what.contains("no room") && what.contains("is kept here")));
        snapshots.remember(failed);
        snapshots.remember(Err("again".to_owned()));
        let complaint = snapshots.complaint().expect("it is told");
        assert_eq!(
            (complaint.kind.as_str(), complaint.times, complaint.what.as_str()),
            ("snapshot", 2, "again")
        );
        snapshots.remember(Ok(()));
        assert_eq!(snapshots.fault(), None);
        assert!(copy(&["no-such-program-here".to_owned()], &file).await.is_err());
    }
}
