//! Talos secrets, certificates, machine configs, patches and schematics, made natively.
