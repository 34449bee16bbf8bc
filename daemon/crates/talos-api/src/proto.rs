//! The generated messages, clients and server traits, one module per protocol package. `tests/protogen` writes
//! them from `proto/`; the simulated machine implements the server traits.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    reason = "generated code: its documentation is in the protocol files"
)]

include!("gen/modules.rs");
