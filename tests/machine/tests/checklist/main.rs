//! The model held to the facts of the Talos reference: one test a fact, named by what is true, with
//! the section it comes from.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod access;
mod boot;
mod configs;
mod etcd;
mod kubernetes;
mod lldpd;
mod resources;
mod support;
mod upgrade;

use std::collections::BTreeSet;

use machine::model::{
    ApplyMode, BootOrder, Caller, Code, Counters, Happening, Image, Instruction, Machine, Pace, Request,
    Response, ServerIdentity, Stage, Storage,
};
use serde_json::{Value, json};
use support::*;

const ANONYMOUS: Caller = Caller::Anonymous;
const STATUS: &str = "MachineStatuses.runtime.talos.dev";

fn in_maintenance() -> World {
    let mut world = World::with(1);
    world.until_stage("m1", Stage::Maintenance);
    world
}

fn control_plane() -> World {
    let mut world = World::with(1);
    world.configure("m1", &Config::control_plane("mini01"));
    world
}

/// Control planes m1 and so on, the first bootstrapped.
fn control_planes(count: u8) -> World {
    let mut world = World::with(count);
    for number in 1..=count {
        world.configure(&format!("m{number}"), &Config::control_plane(&format!("mini0{number}")));
    }
    world.bootstrap("m1");
    world
}

fn cluster() -> World {
    let mut world = control_planes(3);
    world.until("three voters", |world| world.members("m1").0.len() == 3);
    world
}

fn refusal(world: &mut World, name: &str, caller: &Caller, request: Request) -> (Code, String) {
    let status = world.call(name, caller, request).unwrap_err();
    (status.code, status.message)
}

fn boots(cmdline: &str, intact: bool) -> Instruction {
    let image = Image { schematic: None, version: "v1.13.9".into() };
    Instruction::Talos { image, cmdline: cmdline.to_owned(), intact }
}

fn asks(happening: &Happening) -> bool {
    matches!(happening, Happening::AsksTheNetwork { .. })
}
