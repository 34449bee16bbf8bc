//! The real `talosctl` as the judge of what talos-config makes: base configs, patches, secrets.
//!
//! Values are compared as YAML: comments, order of keys and indentation carry no meaning. Without Go the tests say so
//! and pass, except under `CI=true`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

#[path = "../../../../daemon/crates/talos-config/tests/oracle/cases.rs"]
mod cases;
mod configs;
#[path = "../../../../daemon/crates/talos-config/tests/oracle/maker.rs"]
mod maker;
mod patches;
mod profiles;
mod secrets;
mod talosctl;
