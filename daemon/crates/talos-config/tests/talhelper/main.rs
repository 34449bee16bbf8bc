//! talhelper as the judge: sites in the styles people write are rendered by both, and must come out the same.
//!
//! Each folder under `sites` is a talconfig.yaml with what it names, written for these tests. Where the real talhelper cannot
//! be built the comparison says so and passes, except under `CI=true`; that every site loads and renders is looked at anyway.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod differences;
mod render;
mod styles;
