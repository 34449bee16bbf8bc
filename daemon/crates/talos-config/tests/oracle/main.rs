//! Talos's own code as the judge: what the crate generates and patches must equal what pkg/machinery makes of the same input.
//!
//! The judge is a small Go program (`tests/oracles/validate`), built here when Go is installed. Without Go the tests say so and
//! pass, except under `CI=true`; the same with the real talhelper, which judges talconfig.yaml. Values are compared as YAML: comments, order of keys and indentation carry no meaning.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod any;
mod base;
mod cases;
mod judge;
mod maker;
mod patches;
mod profiles;
mod schematics;
mod talhelper;
