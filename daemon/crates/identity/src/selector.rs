//! How well a machine fits what the operator wrote of it besides the port: MAC, UUID, serial number.
//!
//! Everything that is written must hold; `decide` weighs the result together with the ports.

use std::{collections::BTreeSet, fmt::Display};

use crate::{Marks, Slot};

/// The result of comparing a slot's own marks with a machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// all that is written holds
    Whole,
    /// what is known holds, some of what is written is not known
    Part,
    /// some of what is written holds, some does not
    Contradicts,
    /// what is written does not hold
    Not,
    /// nothing is written, or nothing that could be compared is known
    Silent,
}

/// Compares.
pub(crate) fn fit(slot: &Slot, machine: &Marks) -> Fit {
    let all = compare(slot, machine);
    match (
        all.contains(&Some(Known::Same)),
        all.contains(&Some(Known::Other)),
        all.contains(&Some(Known::Not)),
    ) {
        (true, false, false) => Fit::Whole,
        (true, false, true) => Fit::Part,
        (true, true, _) => Fit::Contradicts,
        (false, true, _) => Fit::Not,
        (false, false, _) => Fit::Silent,
    }
}

/// The comparison in words: what holds, what does not, and what is not known.
pub(crate) fn explain(slot: &Slot, machine: &Marks) -> String {
    let [mac, uuid, serial] = compare(slot, machine);
    let written = [
        ("MAC address", mac, list(&slot.macs), list(&machine.macs)),
        ("UUID", uuid, list(slot.uuid), list(machine.uuid)),
        ("serial number", serial, list(&slot.serial), list(&machine.serial)),
    ];
    let mut parts = Vec::new();
    for (kind, known, wanted, have) in written {
        match known {
            Some(Known::Same) => parts.push(format!("its {kind} {have} is that of {}", slot.name)),
            Some(Known::Other) => {
                parts.push(format!("its {kind} is {have}, that of {} is {wanted}", slot.name))
            }
            Some(Known::Not) => {
                parts.push(format!("its {kind} is not known yet, that of {} is {wanted}", slot.name))
            }
            None => {}
        }
    }
    parts.join("; ")
}

fn list<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
}

/// What is known of something that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Same,
    Other,
    Not,
}

/// MAC, UUID, serial number; `None` where nothing is written.
fn compare(slot: &Slot, machine: &Marks) -> [Option<Known>; 3] {
    let same = |same: bool| if same { Known::Same } else { Known::Other };
    let mac = |written: &BTreeSet<_>| match machine.macs.is_empty() {
        true => Known::Not,
        false => same(!written.is_disjoint(&machine.macs)),
    };
    [
        Some(&slot.macs).filter(|written| !written.is_empty()).map(mac),
        slot.uuid.map(|written| machine.distinctive_uuid().map_or(Known::Not, |uuid| same(uuid == written))),
        slot.serial
            .as_ref()
            .map(|written| machine.serial.as_ref().map_or(Known::Not, |serial| same(serial == written))),
    ]
}
