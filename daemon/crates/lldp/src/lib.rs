//! IEEE 802.1AB frames: parse, build, and a table of neighbours that ages.
