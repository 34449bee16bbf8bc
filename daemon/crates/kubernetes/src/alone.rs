//! One writer at a time: a Lease in the cluster, taken before the first write, renewed, and given back.
//!
//! A client that is [`alone`](Client::alone) asks nobody before it only looks, so that a run which has nothing to write leaves no
//! trace. While it holds the Lease one task renews it, which ends with the client's last clone. Whoever finds it held by
//! another one and not renewed watches it for as long as it lasts before taking it over: the clocks of two hosts may differ.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::{
    sync::Mutex,
    task::AbortHandle,
    time::{Instant, sleep},
};

use crate::{client::Client, error::ApplyError, object::ObjectId};

/// How long a claim lasts without being renewed, and how often it is: three tries before it ends.
const LASTS: Duration = Duration::from_secs(45);

/// Who wants to write, as a person should read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// `kube-system`
    pub namespace: String,
    /// the Lease's name
    pub name: String,
    /// host, program and process; who comes back under the same name goes on at once
    pub holder: String,
    /// how long it lasts without being renewed, in whole seconds
    pub lasts: Duration,
}

impl Claim {
    /// The claim of a program on this host to write what the hand-over owns.
    pub fn of(program: &str) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let holder = format!("{program} on {}", host.trim());
        Claim {
            namespace: "kube-system".to_owned(),
            name: "ichord-bootstrap".to_owned(),
            holder,
            lasts: LASTS,
        }
    }

    fn id(&self) -> ObjectId {
        ObjectId {
            api_version: "coordination.k8s.io/v1".to_owned(),
            kind: "Lease".to_owned(),
            namespace: Some(self.namespace.clone()),
            name: self.name.clone(),
        }
    }
}

/// Who writes at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// as it calls itself
    pub who: String,
    /// since when
    pub since: String,
    /// seconds since it was heard of
    pub heard: i64,
    /// after how many seconds without a word its claim ends
    pub lasts: u64,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holder { who, since, heard, lasts } = self;
        write!(
            f,
            "{who}, since {since}, last heard of {heard} s ago; wait until it is done or end it there"
        )?;
        write!(f, "; if it has died, its claim ends by itself {lasts} s after its last word")
    }
}

/// A claim and how far it is fulfilled.
pub(crate) struct Guard {
    claim: Claim,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// until when nobody else can have taken it
    until: Option<Instant>,
    renewal: Option<AbortHandle>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(renewal) = &self.renewal {
            renewal.abort();
        }
    }
}

impl Client {
    /// The same client, which writes only while nobody else does.
    #[must_use]
    pub fn alone(&self, claim: Claim) -> Client {
        self.guarded(Some(Arc::new(Guard { claim, held: Mutex::default() })))
    }

    /// Lets others write. Without it they have to wait until the claim has ended by itself.
    pub async fn give_back(&self) -> Result<(), ApplyError> {
        let Some(guard) = self.guard() else { return Ok(()) };
        let mut held = guard.held.lock().await;
        let had = std::mem::take(&mut *held);
        if had.until.is_none() {
            return Ok(());
        }
        let ours = json!({ "op": "test", "path": "/spec/holderIdentity", "value": guard.claim.holder });
        let released = json!([ours, { "op": "remove", "path": "/spec/holderIdentity" }]);
        // whoever has taken it over meanwhile keeps it
        self.patch_json_at_once(&guard.claim.id(), &released).await.map(|_| ())
    }

    /// Returns once nobody else may write; takes the Lease where that is not so yet.
    pub(crate) async fn may_write(&self) -> Result<(), ApplyError> {
        let Some(guard) = self.guard() else { return Ok(()) };
        let mut held = guard.held.lock().await;
        if held.until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        let bare = self.guarded(None);
        held.until = Some(guard.take(&bare).await?);
        if held.renewal.is_none() {
            let task = tokio::spawn(renew(Arc::downgrade(guard), bare, guard.claim.lasts / 3));
            held.renewal = Some(task.abort_handle());
        }
        Ok(())
    }
}

/// Renews until the client has gone or somebody else has the Lease.
async fn renew(guard: Weak<Guard>, client: Client, pause: Duration) {
    loop {
        sleep(pause).await;
        let Some(guard) = guard.upgrade() else { return };
        let mut held = guard.held.lock().await;
        if held.until.is_none() {
            continue;
        }
        let began = Instant::now();
        let ours = json!({ "op": "test", "path": "/spec/holderIdentity", "value": guard.claim.holder });
        let renewed = json!([ours, { "op": "replace", "path": "/spec/renewTime", "value": now() }]);
        match client.patch_json_at_once(&guard.claim.id(), &renewed).await {
            Ok(true) => held.until = Some(guard.until(began)),
            // the next write finds out who has it
            Ok(false) => held.until = None,
            Err(error) => tracing::debug!(%error, "the claim on the cluster cannot be renewed now"),
        }
    }
}

/// As Kubernetes writes the times of a Lease.
fn now() -> String {
    format!("{:.6}", Timestamp::now())
}

impl Guard {
    /// Until when writing is safe: a part of the time is left to what is on its way.
    fn until(&self, began: Instant) -> Instant {
        began + self.claim.lasts * 2 / 3
    }

    /// Takes the Lease if it is free, ours, or has ended.
    async fn take(&self, client: &Client) -> Result<Instant, ApplyError> {
        let id = self.claim.id();
        loop {
            let began = Instant::now();
            let Some(live) = client.object(&id).await? else {
                let Claim { namespace, name, .. } = &self.claim;
                let lease = json!({
                    "apiVersion": id.api_version, "kind": id.kind,
                    "metadata": { "name": name, "namespace": namespace }, "spec": self.spec(&Value::Null),
                });
                if client.create_at_once(&lease).await? {
                    return Ok(self.until(began));
                }
                continue;
            };
            let spec = &live["spec"];
            let holder = spec["holderIdentity"].as_str().unwrap_or_default();
            if !holder.is_empty() && holder != self.claim.holder {
                let lasts = spec["leaseDurationSeconds"].as_u64().unwrap_or(LASTS.as_secs());
                if let Some(holder) = alive(spec, holder, lasts) {
                    return Err(ApplyError::Held(Box::new(holder)));
                }
                tracing::info!(
                    holder,
                    "its claim on the cluster seems to have ended; watching whether it has"
                );
                self.watched(client, &live, Duration::from_secs(lasts)).await?;
            }
            let version = &live["metadata"]["resourceVersion"];
            let taken = json!([
                { "op": "test", "path": "/metadata/resourceVersion", "value": version },
                { "op": "add", "path": "/spec", "value": self.spec(spec) },
            ]);
            let began = Instant::now();
            if client.patch_json_at_once(&id, &taken).await? {
                return Ok(self.until(began));
            }
        }
    }

    /// Waits as long as the claim of another one lasts; ends early when it is renewed, which the caller finds out again.
    async fn watched(&self, client: &Client, seen: &Value, lasts: Duration) -> Result<(), ApplyError> {
        let (id, end) = (self.claim.id(), Instant::now() + lasts);
        while Instant::now() < end {
            sleep(lasts / 10).await;
            let now = client.object(&id).await?;
            if now.is_none_or(|now| now["metadata"]["resourceVersion"] != seen["metadata"]["resourceVersion"])
            {
                break;
            }
        }
        Ok(())
    }

    fn spec(&self, former: &Value) -> Value {
        let now = now();
        let count = former["leaseTransitions"].as_u64().unwrap_or(0);
        let same = former["holderIdentity"] == *self.claim.holder;
        let since = former["acquireTime"].as_str().filter(|_| same).unwrap_or(&now);
        json!({
            "holderIdentity": self.claim.holder,
            "leaseDurationSeconds": self.claim.lasts.as_secs().max(1),
            "acquireTime": since,
            "renewTime": now,
            "leaseTransitions": if same || former.is_null() { count } else { count + 1 },
        })
    }
}

/// Who holds it, if it was renewed lately by our clock.
fn alive(spec: &Value, holder: &str, lasts: u64) -> Option<Holder> {
    let renewed: Timestamp = spec["renewTime"].as_str()?.parse().ok()?;
    let heard = Timestamp::now().duration_since(renewed);
    let ends = SignedDuration::from_secs(i64::try_from(lasts).ok()?);
    (heard < ends).then(|| Holder {
        who: holder.to_owned(),
        since: spec["acquireTime"].as_str().unwrap_or("some time").to_owned(),
        heard: heard.as_secs().max(0),
        lasts,
    })
}
