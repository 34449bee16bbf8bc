//! A small Kubernetes API server for tests: discovery, objects, server-side apply.
