//! Generates the API code of talos-api from its own protocol files; no protoc needed.
fn main() {}
