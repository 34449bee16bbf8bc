//! The whole step again without writing: what a run would change, and what is not ready.

use std::time::Duration;

use kubernetes::{ApplyError, Client, ObjectId, Outcome, WaitError};

use crate::{
    checks,
    error::{Cause, Fault},
    fixed::{self, FixedField},
    git,
    manifest::{Manifest, Owner, Step},
    run::ObjectOutcome,
};

/// What a run of a step would do now.
#[derive(Debug)]
pub struct Verified {
    /// The step.
    pub step: String,
    /// Its objects, and what would become of each.
    pub objects: Vec<ObjectOutcome>,
    /// What would be refused, is not ready, or could not be asked.
    pub faults: Vec<Fault>,
}

impl Verified {
    /// How many objects a run would write.
    pub fn mutations(&self) -> usize {
        self.objects.iter().filter(|object| object.outcome != Outcome::Unchanged).count()
    }

    /// Whether there is nothing to do and nothing to say.
    pub fn healthy(&self) -> bool {
        self.mutations() == 0 && self.faults.is_empty()
    }
}

/// Looks at everything that the step is about. Never writes.
pub async fn verify(client: &Client, step: &Step) -> Verified {
    let mut verified = Verified { step: step.name.clone(), objects: Vec::new(), faults: Vec::new() };
    let mut adopted = false;
    for manifest in &step.manifests {
        let fault = |cause| Fault {
            object: manifest.id.clone(),
            file: manifest.file.clone(),
            line: manifest.line,
            cause,
        };
        match look(client, manifest).await {
            Ok(Looked::Fixed(fields)) => verified.faults.push(fault(Cause::Fixed(fields))),
            Ok(Looked::Found(found)) => {
                adopted |= found.owner.is_some();
                if let (Owner::Us, Some(owner)) = (step.owner, &found.owner) {
                    verified.faults.push(fault(Cause::TwoOwners(owner.clone())));
                }
                let there = found.outcome != Outcome::Created;
                verified.objects.push(found);
                if there {
                    match client.wait(&manifest.id, Duration::ZERO, Duration::ZERO).await {
                        Ok(()) => {}
                        Err(error) => verified.faults.push(fault(Cause::Wait(error))),
                    }
                }
            }
            Err(error) => verified.faults.push(fault(Cause::Apply(error))),
        }
    }
    let blocked = match &step.check {
        Some(check) => checks::look(client, check).await,
        None => Ok(None),
    };
    let (file, line) = step.origin.clone();
    match blocked {
        Ok(None) => {}
        Ok(Some((object, reason))) => {
            let cause = Cause::Wait(WaitError::Late { object: object.clone(), seconds: 0, reason });
            verified.faults.push(Fault { object, file, line, cause });
        }
        Err(error) => {
            let object = ObjectId {
                api_version: "v1".to_owned(),
                kind: "Namespace".to_owned(),
                namespace: None,
                name: "kube-system".to_owned(),
            };
            verified.faults.push(Fault { object, file, line, cause: Cause::Wait(WaitError::Ask(error)) });
        }
    }
    if let (Some(release), Some(first), false) = (&step.release, step.manifests.first(), adopted) {
        match release.records(client).await {
            Ok(records) if records.is_empty() => {
                if let Ok(secret) = release.record(step, jiff::Timestamp::UNIX_EPOCH).secret()
                    && let Ok(object) = (&secret).try_into()
                {
                    verified.objects.push(ObjectOutcome { object, outcome: Outcome::Created, owner: None });
                }
            }
            Ok(_) => {}
            Err(error) => verified.faults.push(Fault {
                object: first.id.clone(),
                file: first.file.clone(),
                line: first.line,
                cause: Cause::Wait(WaitError::Ask(error)),
            }),
        }
    }
    verified
}

/// What was found out about an object.
enum Looked {
    Found(ObjectOutcome),
    /// It differs in what cannot be changed.
    Fixed(Vec<FixedField>),
}

async fn look(client: &Client, manifest: &Manifest) -> Result<Looked, ApplyError> {
    let found =
        |outcome, owner| Ok(Looked::Found(ObjectOutcome { object: manifest.id.clone(), outcome, owner }));
    let live = match client.object(&manifest.id).await {
        // Its namespace or its kind may not be there either, and then a dry run could not tell more.
        Ok(None) | Err(ApplyError::UnknownKind { .. }) => return found(Outcome::Created, None),
        Ok(Some(live)) => live,
        Err(error) => return Err(error),
    };
    if let Some(owner) = git::owner(&live) {
        return found(Outcome::Unchanged, Some(owner));
    }
    if manifest.once {
        return found(Outcome::Unchanged, None);
    }
    let fields = fixed::of(client, &live, manifest).await?;
    if !fields.is_empty() {
        return Ok(Looked::Fixed(fields));
    }
    found(client.apply_over(Some(&live), &manifest.object, true).await?.outcome, None)
}
