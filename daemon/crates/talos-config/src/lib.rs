//! Talos secrets, certificates, machine configs, patches and schematics, made natively.
//!
//! The site hands over what people wrote (talconfig, secrets bundle), this crate turns it into the machine config a node is
//! given, and into the certificates with which the daemon talks to the node afterwards. Everything is a function of values:
//! files are read by the caller, and where a certificate needs the time, the caller passes it in.
//!
//! * [`versions`]: Talos versions, config contracts and which Kubernetes goes with them;
//! * [`secrets`]: the secrets bundle (`secrets.yaml`, `talsecret.yaml`);
//! * [`pki`]: certificates, `talosconfig` and kubeconfig made from it;
//! * [`config`]: a machine config as documents, and its YAML;
//! * [`generate`]: the base config of a control plane or a worker;
//! * [`patch`]: what people change in it;
//! * [`difference`]: what differs between two configs;
//! * [`schematic`]: Image Factory schematics and the installer images that follow from them;
//! * [`schema`]: what Talos knows from its Go types, and keys that it does not know;
//! * [`talconfig`]: talhelper's file, from which the site renders its nodes;
//! * `template`: Go templates in it and in its patches;
//! * [`documents`]: the other documents the generator and the site write themselves;
//! * [`pem`], [`secret`] and [`yaml`]: the forms in which all this travels.

pub mod config;
pub mod difference;
pub mod documents;
pub mod generate;
mod keys;
pub mod patch;
pub mod pem;
pub mod pki;
pub mod schema;
pub mod schematic;
pub mod secret;
pub mod secrets;
pub mod talconfig;
mod template;
pub mod versions;
pub mod yaml;
