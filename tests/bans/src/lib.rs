//! Checks on the workspace itself: banned dependencies, pure crates, no stray files.
