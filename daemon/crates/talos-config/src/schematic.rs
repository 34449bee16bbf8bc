//! Image Factory schematics: which extensions and kernel arguments a Talos image carries, and the image's name.
//!
//! The factory names a schematic by the SHA-256 of its canonical YAML, so the name is computed here without asking it; the
//! installer image in a machine config and the boot assets on the wire follow from the same name. (The factory must still
//! have been told the schematic once, or have built it for somebody else.)

mod emit;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::versions::TalosVersion;
use crate::yaml::{self, YamlError};

/// The public Image Factory.
pub const FACTORY: &str = "factory.talos.dev";

/// What an image is made of. The order of lists counts: another order is another image.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Schematic {
    /// Whose it is, in factories with accounts.
    pub owner: String,
    /// For boards that are no PCs.
    pub overlay: Overlay,
    /// What is added to plain Talos.
    pub customization: Customization,
}

/// A board's own boot loader and firmware.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Overlay {
    /// The image that has it.
    pub image: String,
    /// Its name in there.
    pub name: String,
    /// Its own settings.
    pub options: serde_json::Map<String, Value>,
}

/// What is added to plain Talos.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Customization {
    /// A machine config inside the image.
    pub embedded_machine_configuration: String,
    /// Kernel arguments; one with a leading `-` takes a default away.
    pub extra_kernel_args: Vec<String>,
    /// What the META partition holds at first.
    pub meta: Vec<MetaValue>,
    /// Extensions.
    pub system_extensions: SystemExtensions,
    /// The boot loader, where it is not the default.
    pub bootloader: String,
    /// Secure Boot.
    pub secureboot: SecureBoot,
    /// The form of the disk image.
    pub disk_image: DiskImage,
}

/// A value in the META partition (talos.md §7.8).
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetaValue {
    /// Its number.
    pub key: u8,
    /// Its content.
    pub value: String,
}

/// Extensions in the image.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SystemExtensions {
    /// Names in the official catalogue, `siderolabs/lldpd`.
    pub official_extensions: Vec<String>,
}

/// Secure Boot.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SecureBoot {
    /// When keys are enrolled.
    pub enroll_keys: String,
    /// Whether Microsoft's certificates are enrolled too.
    pub include_well_known_certificates: bool,
}

/// The form of the disk image.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DiskImage {
    /// Bytes in a sector, where it is not 512.
    pub sector_size: u32,
}

/// Why a text is not a schematic.
#[derive(Debug, thiserror::Error)]
pub enum SchematicError {
    /// The text is not YAML.
    #[error("the schematic is not readable YAML: {0}")]
    Yaml(#[from] YamlError),
    /// A key is unknown or a value has the wrong form.
    #[error("this is not a schematic of the Image Factory: {0}")]
    Form(#[from] serde_json::Error),
}

impl Schematic {
    /// Reads a schematic file. Unknown keys are refused, as the factory does.
    pub fn from_yaml(text: &str) -> Result<Self, SchematicError> {
        Self::from_value(&yaml::read_one(text)?.root().to_json())
    }

    /// Reads a schematic from a value, for example a part of talconfig.
    pub fn from_value(value: &Value) -> Result<Self, SchematicError> {
        let mut value = value.clone();
        strip_nulls(&mut value);
        Ok(Self::deserialize(value)?)
    }

    /// A schematic of official extensions alone.
    pub fn of_extensions(names: &[&str]) -> Self {
        let mut schematic = Self::default();
        schematic.customization.system_extensions.official_extensions =
            names.iter().map(|&name| name.to_owned()).collect();
        schematic
    }

    /// The text whose digest is the name: what the factory stores.
    pub fn canonical(&self) -> String {
        emit::schematic(self)
    }

    /// The name of the schematic: 64 hexadecimal digits.
    pub fn id(&self) -> String {
        hex::encode(Sha256::digest(self.canonical()))
    }

    /// Names of the official extensions.
    pub fn extensions(&self) -> &[String] {
        &self.customization.system_extensions.official_extensions
    }

    /// Whether an official extension is in the image.
    pub fn has_extension(&self, name: &str) -> bool {
        self.extensions().iter().any(|extension| extension == name)
    }

    /// The kernel arguments that are added.
    pub fn kernel_args(&self) -> &[String] {
        &self.customization.extra_kernel_args
    }

    /// The installer that puts this image on a disk of a bare-metal machine.
    ///
    /// A machine that netbooted with extensions loses them at the first reboot unless it is installed from this image.
    pub fn installer_image(&self, version: &TalosVersion) -> String {
        self.installer_image_of(FACTORY, version, false)
    }

    /// The same from another factory, or for Secure Boot.
    pub fn installer_image_of(&self, factory: &str, version: &TalosVersion, secure_boot: bool) -> String {
        let secure_boot = if secure_boot { "-secureboot" } else { "" };
        format!("{factory}/metal-installer{secure_boot}/{}:{version}", self.id())
    }
}

/// A key without a value is as good as none.
fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(text: &str) -> String {
        Schematic::from_yaml(text).expect("a schematic").id()
    }

    /// The ids of talos.md §7.9, which the public factory gives too.
    #[test]
    fn ids_are_those_of_the_factory() {
        let plain = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";
        assert_eq!(Schematic::default().id(), plain);
        for text in ["{}", "customization: {}", "customization: {extraKernelArgs: []}", "customization:\n"] {
            assert_eq!(id(text), plain, "{text}");
        }
        let known = [
            (
                "customization: {extraKernelArgs: [noapic, nolapic], systemExtensions: {}}",
                "9cba8e32753f91a16c1837ab8abf356af021706ef284aef07380780177d9a06c",
            ),
            (
                "customization: {meta: [{key: 10, value: foo}]}",
                "d308a2a5ee2277bed5fbaa104fcbc8d59122abfa737df987a95b4ca763459a7f",
            ),
            (
                "overlay: {name: rpi_generic, image: siderolabs/sbc-raspberrypi}",
                "ee21ef4a5ef808a9b7484cc0dda0f25075021691c8c09a276591eedb638ea1f9",
            ),
            (
                "customization: {secureboot: {includeWellKnownCertificates: true}}",
                "fa8e05f142a851d3ee568eb0a8e5841eaf6b0ebc8df9a63df16ac5ed2c04f3e6",
            ),
            (
                "customization: {diskImage: {sectorSize: 4096}}",
                "92833e9ddd9bb9e11b2464fa5525429f01866306d52ebd882ee08d7918f6d1ea",
            ),
            (
                "customization: {systemExtensions: {officialExtensions: [siderolabs/lldpd]}}",
                "3a1a50bb978dac07d2e80b507046cc972dca7cec86d5b60228b4e88bd287469f",
            ),
            (
                "customization: {extraKernelArgs: [hello, hihi], systemExtensions: {officialExtensions: \
                 [siderolabs/amd-ucode, siderolabs/nvidia-fabricmanager]}}",
                "647a0a54bff662aa12051bc0312097f29d3562107d8e6a8e87ab85b643e25bc0",
            ),
        ];
        for (text, expected) in known {
            assert_eq!(id(text), expected, "{text}");
        }
    }

    #[test]
    fn the_order_of_extensions_counts() {
        let one = Schematic::of_extensions(&["siderolabs/lldpd", "siderolabs/amd-ucode"]);
        let other = Schematic::of_extensions(&["siderolabs/amd-ucode", "siderolabs/lldpd"]);
        assert_ne!(one.id(), other.id());
        assert!(one.has_extension("siderolabs/lldpd") && !one.has_extension("lldpd"));
    }

    #[test]
    fn the_installer_is_named_after_the_schematic() {
        let version = "v1.13.9".parse().expect("a version");
        assert_eq!(
            Schematic::of_extensions(&["siderolabs/lldpd"]).installer_image(&version),
            "factory.talos.dev/metal-installer/\
             3a1a50bb978dac07d2e80b507046cc972dca7cec86d5b60228b4e88bd287469f:v1.13.9"
        );
        let image = Schematic::default().installer_image_of("factory.example:5000", &version, true);
        assert!(image.starts_with("factory.example:5000/metal-installer-secureboot/376567988ad3"));
    }

    #[test]
    fn what_the_factory_would_refuse_is_refused() {
        for value in [
            json!({"customisation": {}}),
            json!({"customization": {"systemExtensions": {"officialExtension": []}}}),
            json!({"customization": {"extraKernelArgs": "noapic"}}),
            json!({"customization": {"meta": [{"key": 256, "value": "x"}]}}),
        ] {
            assert!(Schematic::from_value(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn every_part_has_its_place() {
        let text = "owner: me\noverlay:\n    image: a\n    name: b\n    options:\n        a: 1\n        z:\n            \
                    - true\n            - x: \"1\"\n              \"y\": z\ncustomization:\n    \
                    embeddedMachineConfiguration: |\n        machine: {}\n    extraKernelArgs:\n        - -selinux\n    \
                    meta:\n        - key: 12\n          value: \"1\"\n    systemExtensions:\n        officialExtensions:\n            \
                    - siderolabs/lldpd\n    bootloader: sd-boot\n    secureboot:\n        enrollKeys: if-safe\n        \
                    includeWellKnownCertificates: true\n    diskImage:\n        sectorSize: 4096\n";
        assert_eq!(Schematic::from_yaml(text).expect("a schematic").canonical(), text);
    }
}
