//! The lab: a provisioning network of namespaces with a switch, the daemon and the machines.
fn main() {}
