//! The Kubernetes API: client, server-side apply, readiness.
