//! The Talos machine API: own protocol files, generated code, and a client that knows whom it talks to.
