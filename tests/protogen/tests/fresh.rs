//! The code that is checked in is the code that the protocol files make.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

#[test]
fn the_generated_code_is_fresh() {
    let stale = protogen::stale().unwrap();
    assert!(stale.is_empty(), "stale: {}; run `cargo run -p protogen`", stale.join(", "));
}
