//! From an API server that answers to a cluster that Git owns: steps with observe, apply, wait.
