//! In which order the steps run: what a step needs comes before it, and else they stay as they were written.

use document::{Findings, Place, nearest};

use super::{FOUNDING, HandoverStep};

/// A step and what was written about its needs.
pub(super) struct Written<'a> {
    pub(super) step: HandoverStep,
    /// `None` where the step does not say what it needs
    pub(super) needs: Option<Vec<String>>,
    pub(super) place: Place<'a>,
}

/// Resolves every step's needs and orders the steps by them.
pub(super) fn ordered(written: Vec<Written<'_>>, findings: &mut Findings) -> Vec<HandoverStep> {
    let names: Vec<String> = written.iter().map(|written| written.step.name.clone()).collect();
    let mut steps: Vec<(HandoverStep, Place<'_>)> = Vec::new();
    for (index, Written { mut step, needs, place }) in written.into_iter().enumerate() {
        if names.iter().take(index).any(|name| *name == step.name) {
            let message = format!("there is another step `{}`", step.name);
            let place = if place.key("name").node().is_some() { place.key("name") } else { place };
            findings.push(place.error("step-twice", message).fix("give each step a name of its own"));
        }
        step.needs = match needs {
            Some(needs) => known(needs, &step.name, &names, place.key("needs"), findings),
            None => implied(index, &names),
        };
        steps.push((step, place));
    }
    sorted(steps, findings)
}

/// The steps that a person says it needs, as far as there are such.
fn known(
    needs: Vec<String>,
    own: &str,
    names: &[String],
    place: Place<'_>,
    findings: &mut Findings,
) -> Vec<String> {
    let mut known = Vec::new();
    for (index, need) in needs.into_iter().enumerate() {
        let place = place.item(index);
        if need == own {
            let finding = place.error("step-cycle", format!("the step `{own}` needs itself"));
            findings.push(finding.fix("take it out of its own `needs`"));
        } else if names.contains(&need) {
            known.push(need);
        } else {
            let others = names.iter().map(String::as_str).filter(|name| *name != own);
            let fix = match nearest(&need, others.clone()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("the steps are {}", others.collect::<Vec<_>>().join(", ")),
            };
            findings.push(place.error("step-needs", format!("there is no step `{need}`")).fix(fix));
        }
    }
    known
}

/// What a step needs that does not say it: by its founding name, else the one written before it.
fn implied(index: usize, names: &[String]) -> Vec<String> {
    let own = names.get(index).map(String::as_str).unwrap_or_default();
    let found = match FOUNDING.iter().position(|name| *name == own) {
        Some(rank) => {
            FOUNDING.iter().take(rank).rev().find(|name| names.iter().any(|other| other == *name)).copied()
        }
        None => index.checked_sub(1).and_then(|before| names.get(before)).map(String::as_str),
    };
    found.map(str::to_owned).into_iter().collect()
}

/// Takes again and again the first step whose needs are done. What is left then goes in a circle.
fn sorted(mut rest: Vec<(HandoverStep, Place<'_>)>, findings: &mut Findings) -> Vec<HandoverStep> {
    let mut done: Vec<HandoverStep> = Vec::new();
    let is_done = |done: &[HandoverStep], need: &String| done.iter().any(|step| step.name == *need);
    while let Some(next) =
        rest.iter().position(|(step, _)| step.needs.iter().all(|need| is_done(&done, need)))
    {
        done.push(rest.remove(next).0);
    }
    if let Some((first, place)) = rest.first() {
        let circle = circle(&first.name, &rest);
        let place = match place.key("needs").node() {
            Some(_) => place.key("needs"),
            None => *place,
        };
        let message = format!("the steps need each other in a circle: {}", circle.join(" needs "));
        findings.push(place.error("step-cycle", message).fix("take one of these out of a `needs`"));
    }
    done.extend(rest.into_iter().map(|(step, _)| step));
    done
}

/// From a step that waits along what it waits for, until a name comes back.
fn circle(first: &str, rest: &[(HandoverStep, Place<'_>)]) -> Vec<String> {
    let mut way = vec![first.to_owned()];
    while let Some(next) = way.last().and_then(|last| {
        let step = rest.iter().find(|(step, _)| step.name == *last).map(|(step, _)| step)?;
        step.needs.iter().find(|need| rest.iter().any(|(step, _)| step.name == **need))
    }) {
        if let Some(begin) = way.iter().position(|name| name == next) {
            let mut circle = way.split_off(begin);
            circle.push(next.clone());
            return circle;
        }
        way.push(next.clone());
    }
    way
}
