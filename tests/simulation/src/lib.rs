//! The whole core in a simulated world: seeds, crashes, and the invariants that must survive them.
