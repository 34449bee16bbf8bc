//! A small Kubernetes API server for tests: discovery, objects, server-side apply.
//!
//! The simulated machine serves this router over its own TLS behind the cluster's address; the daemon's
//! `kubernetes` client and hand-over work against it as against the real thing, and tests ask [`State`]
//! what was really done. What it does, it does by the API server's rules: managed fields, conflicts,
//! resource versions that move only when something changed, Status objects with the real wording.
//!
//! What it does not do: watch, delete (but of nodes), replace by PUT, admission, schemas of built-in
//! kinds (an unknown field is kept), pods. Controllers are imitated only as far as readiness needs: they act
//! between two requests, never within one, so a client that does not wait is caught.

mod apply;
mod check;
mod controllers;
mod discovery;
mod fields;
mod http;
mod kinds;
mod patch;
mod schema;
mod state;
mod status;
mod time;

pub use http::router;
pub use state::{Counters, Node, State, StaticPod};
