//! Why a step stopped: which object, where it is written, what to do.

use std::{
    error::Error,
    fmt,
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use kubernetes::{ApplyError, ObjectId, RequestError, WaitError};

use crate::{diagnosis::Diagnosis, fixed::FixedField, git::GitOwner, helm::RecordError};

/// A step did not come to its end. What it wrote so far stays, and the next run goes on from there.
#[derive(Debug)]
pub struct StepError {
    /// The step.
    pub step: String,
    /// What is wrong, at least one.
    pub faults: Vec<Fault>,
    /// What the cluster says about objects that did not become ready: conditions, events, pods, last lines.
    pub evidence: Vec<String>,
    /// What that means, if it is known.
    pub diagnosis: Option<Diagnosis>,
}

/// One object's trouble.
#[derive(Debug)]
pub struct Fault {
    /// The object.
    pub object: ObjectId,
    /// The file a person wrote it in.
    pub file: String,
    /// The line where it begins.
    pub line: u32,
    /// What happened.
    pub cause: Cause,
}

/// What happened to an object.
#[derive(Debug)]
pub enum Cause {
    /// It could not be applied, or not even be looked at.
    Apply(ApplyError),
    /// It was applied and did not become ready.
    Wait(WaitError),
    /// It is there, and differs in what nobody can change.
    Fixed(Vec<FixedField>),
    /// We are to own it, and Flux does.
    TwoOwners(GitOwner),
    /// Everything is ready, and Helm's record of it cannot be written.
    Record(RecordError),
}

impl StepError {
    pub(crate) fn new(step: &str, faults: Vec<Fault>) -> Self {
        StepError { step: step.to_owned(), faults, evidence: Vec::new(), diagnosis: None }
    }

    /// Whether running the step again later may help without anybody doing anything.
    pub fn transient(&self) -> bool {
        self.faults.iter().all(Fault::transient)
    }

    /// Writes down what the cluster said, if it said anything; the latest of each step is kept. Blocks while it writes.
    pub fn bundle(&self, folder: &Path) -> io::Result<Option<PathBuf>> {
        if self.evidence.is_empty() {
            return Ok(None);
        }
        let path = folder.join(format!("handover-{}.txt", self.step));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        write!(file, "{self}\n\n{}\n", self.evidence.join("\n"))?;
        Ok(Some(path))
    }
}

impl Fault {
    fn transient(&self) -> bool {
        match &self.cause {
            Cause::Apply(error) => error.transient(),
            Cause::Wait(error) => error.transient(),
            Cause::Record(_) | Cause::TwoOwners(_) | Cause::Fixed(_) => false,
        }
    }

    /// What a person can do; `None` where the cause says it.
    fn advice(&self) -> Option<String> {
        let refused = |error: &ApplyError| match error {
            ApplyError::Request(RequestError::Refused { code, .. }) => Some(*code),
            _ => None,
        };
        let code = match &self.cause {
            Cause::Apply(error) | Cause::Wait(WaitError::Ask(error)) => refused(error),
            Cause::Record(_) => return None,
            Cause::Fixed(_) => {
                return Some(
                    "render it as it is there (names, labels, the chart's version), or let a person delete it when that may be an outage"
                        .to_owned(),
                );
            }
            Cause::TwoOwners(_) => {
                return Some("take it out of the repository, or write `owner: git` for this step".to_owned());
            }
            Cause::Wait(_) => {
                let namespace = self
                    .object
                    .namespace
                    .as_ref()
                    .map(|namespace| format!("-n {namespace} "))
                    .unwrap_or_default();
                let (kind, name) = (self.object.kind.to_lowercase(), &self.object.name);
                return Some(format!("`kubectl {namespace}describe {kind} {name}` tells more"));
            }
        };
        Some(match code? {
            403 => {
                "our certificate must be of the group system:masters, and no admission policy may forbid it"
                    .to_owned()
            }
            404 => "its namespace must exist: put it into this step or an earlier one".to_owned(),
            422 => "correct the manifest; what is immutable can only be deleted by a person".to_owned(),
            400 | 500 if !self.transient() => "correct the manifest".to_owned(),
            _ => return None,
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause: &dyn Error = match self {
            Cause::Fixed(fields) => {
                let fields: Vec<String> = fields.iter().map(ToString::to_string).collect();
                return write!(f, "what cannot be changed differs: {}", fields.join("; "));
            }
            Cause::TwoOwners(owner) => {
                return write!(f, "the step's owner is ichord, and {owner} manages it as well");
            }
            Cause::Apply(error) => error,
            Cause::Wait(error) => error,
            Cause::Record(error) => error,
        };
        write!(f, "{cause}")?;
        let mut source = cause.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.object, self.cause)?;
        self.advice().map_or(Ok(()), |advice| write!(f, "; {advice}"))
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the hand-over step {} stopped", self.step)?;
        for fault in &self.faults {
            write!(f, "\n  {fault}")?;
        }
        if let Some(Diagnosis { cause, remedy, evidence, .. }) = &self.diagnosis {
            write!(f, "\n  cause: {cause} ({evidence})\n  remedy: {remedy}")?;
        }
        Ok(())
    }
}

// The chain of causes is part of the message already.
impl Error for StepError {}
