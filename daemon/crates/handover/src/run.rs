//! A step's effects: observe a phase, plan it, write it, wait for it; then the next phase.
//!
//! `run_step` owns no task and keeps nothing. Dropped at any await, it leaves at most the object whose request
//! was on its way; the next run observes that like any other.

use std::{fmt, time::Duration};

use futures_util::{StreamExt as _, stream};
use kubernetes::{Applied, ApplyError, Client, ObjectId, Outcome, RequestError, WaitError};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    checks,
    diagnosis::diagnose,
    error::{Cause, Fault, StepError},
    evidence, fixed, git,
    git::GitOwner,
    manifest::{Manifest, Owner, Step},
    plan::{Phase, Plan, plan},
    restart,
};

/// How many objects are asked about at the same time: most of the time is the way there and back.
const AT_ONCE: usize = 8;

/// How patient a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How often an object is looked at while it is waited for.
    pub poll: Duration,
    /// How long the whole step may take.
    pub timeout: Duration,
}

impl Default for Pace {
    /// What `flux bootstrap` does: a look every two seconds, five minutes in all.
    fn default() -> Self {
        Pace { poll: Duration::from_secs(2), timeout: Duration::from_secs(300) }
    }
}

/// What became of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectOutcome {
    /// The object.
    pub object: ObjectId,
    /// Whether it was written.
    pub outcome: Outcome,
    /// Who in Flux owns it; then it was only looked at.
    pub owner: Option<GitOwner>,
}

/// A step that came to its end: every object is as written, and ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepOutcome {
    /// The step.
    pub step: String,
    /// Its objects, in the order they were looked at.
    pub objects: Vec<ObjectOutcome>,
    /// How many objects were created or changed.
    pub mutations: usize,
    /// What else is worth knowing, a line each.
    pub notes: Vec<String>,
}

impl fmt::Display for ObjectOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(owner) = &self.owner {
            return write!(f, "{} left to {owner}", self.object);
        }
        match &self.outcome {
            Outcome::Created => write!(f, "{} created", self.object),
            Outcome::Changed(fields) => write!(f, "{} changed ({})", self.object, fields.join(", ")),
            Outcome::Unchanged => write!(f, "{} unchanged", self.object),
        }
    }
}

/// Makes the cluster what the step says, and waits until all of it is ready.
///
/// Every object of a phase is looked at before the first is written: a conflict or a refusal anywhere leaves
/// the phase untouched, and all of them are reported together. What would have to change and cannot leaves the
/// whole step untouched.
///
/// What stops it is told with what the cluster says about it, and with the cause where that is known.
pub async fn run_step(client: &Client, step: &Step) -> Result<StepOutcome, StepError> {
    match attempt(client, step).await {
        Err(error) => Err(explained(client, error).await),
        done => done,
    }
}

/// Asks the cluster about what did not become ready, and finds the cause in its words or in the refusals.
async fn explained(client: &Client, mut error: StepError) -> StepError {
    let waited = |fault: &&Fault| {
        matches!(fault.cause, Cause::Wait(WaitError::Late { .. } | WaitError::Failed { .. }))
    };
    let objects: Vec<ObjectId> =
        error.faults.iter().filter(waited).map(|fault| fault.object.clone()).collect();
    error.evidence = evidence::collect(client, &objects).await;
    let told: Vec<String> = error.faults.iter().map(|fault| fault.cause.to_string()).collect();
    error.diagnosis = diagnose(error.evidence.iter().chain(&told).map(String::as_str));
    error
}

async fn attempt(client: &Client, step: &Step) -> Result<StepOutcome, StepError> {
    let end = Instant::now() + step.pace.timeout;
    let mut objects = Vec::new();
    fixed::refuse(client, step).await?;
    for phase in Phase::ALL {
        let manifests: Vec<&Manifest> =
            step.manifests.iter().filter(|manifest| Phase::of(&manifest.id) == phase).collect();
        let (observed, of_git) = observe(client, step, &manifests, end).await?;
        let Plan { write, keep } = plan(&observed);
        tracing::debug!(step = step.name, ?phase, write = write.len(), keep = keep.len(), "planned");
        objects.extend(keep.iter().map(|manifest| outcome(manifest, Outcome::Unchanged)));
        objects.extend(of_git);
        for manifest in write {
            if manifest.once {
                let created = client.create(&manifest.object).await;
                let created = created.map_err(|error| stopped(step, manifest, Cause::Apply(error)))?;
                objects.push(outcome(manifest, if created { Outcome::Created } else { Outcome::Unchanged }));
                continue;
            }
            let applied = warm(client, step, manifest, Apply::Write, end).await;
            let applied = applied.map_err(|error| stopped(step, manifest, Cause::Apply(error)))?;
            tracing::info!(step = step.name, object = %applied.object, outcome = ?applied.outcome, "applied");
            objects.push(outcome(manifest, applied.outcome));
        }
        ready(client, step, &manifests, end).await?;
    }
    let mut notes = checks::wait(client, step, end).await?;
    match restart::stale(client, &objects).await {
        Ok(lines) => notes.extend(lines),
        // the Secret is written, and the next look at the pods is a person's
        Err(error) => tracing::warn!(step = step.name, %error, "cannot see who uses the changed Secrets"),
    }
    objects.extend(record(client, step, &objects).await?);
    let mutations = objects.iter().filter(|object| object.outcome != Outcome::Unchanged).count();
    Ok(StepOutcome { step: step.name.clone(), objects, mutations, notes })
}

/// How an object is applied.
#[derive(Clone, Copy)]
enum Apply<'a> {
    /// Only to see what would become of it, over what was read of it.
    Dry(Option<&'a Value>),
    /// For real.
    Write,
}

/// Applies, and is patient with an admission webhook that is there and does not answer yet.
async fn warm(
    client: &Client,
    step: &Step,
    manifest: &Manifest,
    how: Apply<'_>,
    end: Instant,
) -> Result<Applied, ApplyError> {
    loop {
        let applied = match how {
            Apply::Dry(live) => client.apply_over(live, &manifest.object, true).await,
            Apply::Write => client.apply(&manifest.object, false).await,
        };
        match applied {
            Err(error) if is_warming(&error) && Instant::now() + step.pace.poll < end => {
                tracing::debug!(step = step.name, object = %manifest.id, %error, "a webhook is warming up");
                tokio::time::sleep(step.pace.poll).await;
            }
            applied => return applied,
        }
    }
}

/// The API server answers, and a webhook that it must ask does not.
fn is_warming(error: &ApplyError) -> bool {
    matches!(error, ApplyError::Request(RequestError::Refused { code: 500, message, .. }) if message.contains("failed calling webhook"))
}

fn outcome(manifest: &Manifest, outcome: Outcome) -> ObjectOutcome {
    ObjectOutcome { object: manifest.id.clone(), outcome, owner: None }
}

/// Leaves Helm's record of a step that stands in for a chart, once everything of it is ready.
async fn record(
    client: &Client,
    step: &Step,
    objects: &[ObjectOutcome],
) -> Result<Option<ObjectOutcome>, StepError> {
    let (Some(release), Some(first)) = (&step.release, step.manifests.first()) else { return Ok(None) };
    if objects.iter().any(|object| object.owner.is_some()) {
        // Flux has adopted it; whatever record there is now is its own.
        return Ok(None);
    }
    let stop = |cause| stopped(step, first, cause);
    let secret = release.record(step, jiff::Timestamp::now()).secret();
    let secret = secret.map_err(|error| stop(Cause::Record(error)))?;
    let object = ObjectId::try_from(&secret).map_err(|error| stop(Cause::Apply(error.into())))?;
    let outcome = release.leave_record(client, &secret).await;
    let outcome = outcome.map_err(|error| stop(Cause::Apply(error)))?;
    tracing::info!(step = step.name, %object, ?outcome, "left Helm's record");
    Ok(Some(ObjectOutcome { object, outcome, owner: None }))
}

/// What was found out about one object.
enum Observed {
    /// What would become of it.
    Ours(Outcome),
    /// Git owns it.
    OfGit(GitOwner),
}

/// What would become of each object, and which of them Git owns.
async fn observe<'a>(
    client: &Client,
    step: &Step,
    manifests: &[&'a Manifest],
    end: Instant,
) -> Result<(Vec<(&'a Manifest, Outcome)>, Vec<ObjectOutcome>), StepError> {
    let mut observed = Vec::new();
    let mut of_git = Vec::new();
    let mut faults = Vec::new();
    let looks: Vec<_> = manifests.iter().map(|manifest| look(client, step, manifest, end)).collect();
    let mut looks = stream::iter(looks).buffered(AT_ONCE);
    while let Some((manifest, found)) = looks.next().await {
        match found {
            Ok(Observed::Ours(outcome)) => observed.push((manifest, outcome)),
            Ok(Observed::OfGit(owner)) if step.owner == Owner::Us => {
                faults.push(fault(manifest, Cause::TwoOwners(owner)));
            }
            Ok(Observed::OfGit(owner)) => {
                of_git.push(ObjectOutcome { owner: Some(owner), ..outcome(manifest, Outcome::Unchanged) });
            }
            Err(error) if error.transient() => return Err(stopped(step, manifest, Cause::Apply(error))),
            Err(error) => faults.push(fault(manifest, Cause::Apply(error))),
        }
    }
    if faults.is_empty() { Ok((observed, of_git)) } else { Err(StepError::new(&step.name, faults)) }
}

async fn look<'a>(
    client: &Client,
    step: &Step,
    manifest: &'a Manifest,
    end: Instant,
) -> (&'a Manifest, Result<Observed, ApplyError>) {
    (manifest, find_out(client, step, manifest, end).await)
}

async fn find_out(
    client: &Client,
    step: &Step,
    manifest: &Manifest,
    end: Instant,
) -> Result<Observed, ApplyError> {
    let live = client.object(&manifest.id).await?;
    if let Some(owner) = live.as_ref().and_then(git::owner) {
        return Ok(Observed::OfGit(owner));
    }
    if manifest.once && live.is_some() {
        return Ok(Observed::Ours(Outcome::Unchanged));
    }
    let applied = warm(client, step, manifest, Apply::Dry(live.as_ref()), end).await?;
    Ok(Observed::Ours(applied.outcome))
}

async fn wait<'a>(
    client: &Client,
    step: &Step,
    manifest: &'a Manifest,
    end: Instant,
) -> (&'a Manifest, Result<(), WaitError>) {
    let left = end.saturating_duration_since(Instant::now());
    (manifest, client.wait(&manifest.id, step.pace.poll, left).await)
}

async fn ready(client: &Client, step: &Step, manifests: &[&Manifest], end: Instant) -> Result<(), StepError> {
    let mut faults = Vec::new();
    let waits: Vec<_> = manifests.iter().map(|manifest| wait(client, step, manifest, end)).collect();
    let mut waits = stream::iter(waits).buffered(AT_ONCE);
    while let Some((manifest, waited)) = waits.next().await {
        match waited {
            Ok(()) => {}
            // The others may be late as well: they are looked at once each, and told together.
            Err(WaitError::Late { object, reason, .. }) => {
                let seconds = step.pace.timeout.as_secs();
                faults.push(fault(manifest, Cause::Wait(WaitError::Late { object, seconds, reason })));
            }
            Err(error) => return Err(stopped(step, manifest, Cause::Wait(error))),
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(StepError::new(&step.name, faults))
}

fn fault(manifest: &Manifest, cause: Cause) -> Fault {
    Fault { object: manifest.id.clone(), file: manifest.file.clone(), line: manifest.line, cause }
}

fn stopped(step: &Step, manifest: &Manifest, cause: Cause) -> StepError {
    StepError::new(&step.name, vec![fault(manifest, cause)])
}
