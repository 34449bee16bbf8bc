//! The name of a boot file: the one thing a client may choose.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The folder of what Raspberry Pis start with.
pub(super) const RASPBERRY_PI: &str = "rpi";
/// In it, what describes added hardware.
pub(super) const OVERLAYS: &str = "overlays";

/// `ipxe/<file>`, `<schematic>/<version>/<file>`, or what a Raspberry Pi starts with: `rpi/<file>` and
/// `rpi/overlays/<file>`. Each part is made of letters, digits, `.`, `_`,
/// `-` and `+` and does not begin with a dot, so that it stands in a URL and in an iPXE script as it
/// is, and never leads out of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AssetName(String);

/// The text names no boot file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot be the name of a boot file: expected ipxe/FILE, rpi/FILE or SCHEMATIC/VERSION/FILE, each of letters, digits and . _ - +"
)]
pub struct AssetNameError(pub String);

impl AssetName {
    /// A network bootloader.
    pub fn ipxe(file: &str) -> Result<Self, AssetNameError> {
        format!("ipxe/{file}").parse()
    }

    /// What a Raspberry Pi asks for: its firmware's file by itself, or in a folder that is called after the machine.
    /// The same files are for all of them.
    pub fn raspberry_pi(asked: &str) -> Result<Self, AssetNameError> {
        let file = match asked.split_once('/') {
            Some((folder, file)) if is_raspberry_pi(folder) => file,
            _ => asked,
        };
        format!("{RASPBERRY_PI}/{file}").parse()
    }

    /// A file of an image.
    pub fn image(schematic: &str, version: &str, file: &str) -> Result<Self, AssetNameError> {
        format!("{schematic}/{version}/{file}").parse()
    }

    /// The last part.
    pub fn file(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Where the boot server has it.
    pub fn url_path(&self) -> String {
        if self.0.matches('/').count() == 1 { format!("/{}", self.0) } else { format!("/assets/{}", self.0) }
    }
}

impl FromStr for AssetName {
    type Err = AssetNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        let shape = match parts.as_slice() {
            ["ipxe" | RASPBERRY_PI, _] => true,
            [RASPBERRY_PI, folder, _] => *folder == OVERLAYS,
            parts => parts.len() == 3,
        };
        if shape && parts.iter().all(|part| is_part(part)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(AssetNameError(text.to_owned()))
        }
    }
}

/// Whether a Raspberry Pi calls its folder so: by its serial number's last eight digits (the default), or by its hardware
/// address (`TFTP_PREFIX=2` of its bootloader).
pub fn is_raspberry_pi(folder: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let by_address = || folder.len() == 17 && folder.split('-').all(|octet| octet.len() == 2 && hex(octet));
    (folder.len() == 8 && hex(folder)) || by_address()
}

fn is_part(part: &str) -> bool {
    (1..=255).contains(&part.len())
        && !part.starts_with('.')
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+'))
}

impl fmt::Display for AssetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for AssetName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AssetName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_say_where_they_are_served() {
        assert_eq!(AssetName::ipxe("snponly.efi").unwrap().url_path(), "/ipxe/snponly.efi");
        let kernel = AssetName::image("376567988ad3", "v1.11.0", "kernel-amd64").unwrap();
        assert_eq!(kernel.url_path(), "/assets/376567988ad3/v1.11.0/kernel-amd64");
        assert_eq!(kernel.file(), "kernel-amd64");
    }

    #[test]
    fn a_raspberry_pi_has_a_folder_of_its_own_and_the_files_of_all() {
        for (asked, expected) in [
            ("9ffefdef/start4.elf", Some("rpi/start4.elf")),
            ("dc-a6-32-01-36-c2/config.txt", Some("rpi/config.txt")),
            ("9ffefdef/overlays/vc4-kms-v3d.dtbo", Some("rpi/overlays/vc4-kms-v3d.dtbo")),
            ("bootcode.bin", Some("rpi/bootcode.bin")),
            ("overlays/a.dtbo", Some("rpi/overlays/a.dtbo")),
            ("9ffefdef/9ffefdef/start4.elf", None),
            ("9FFEFDEF/start4.elf", None),
            ("9ffefde/start4.elf", None),
            ("other/start4.elf", None),
            ("9ffefdef/", None),
            ("9ffefdef/../secret", None),
            ("9ffefdef/overlays/../../secret", None),
        ] {
            let name = AssetName::raspberry_pi(asked).ok().map(|name| name.to_string());
            assert_eq!(name.as_deref(), expected, "{asked}");
        }
    }

    #[test]
    fn nothing_leads_out() {
        let odd =
            ["", "a", "a/b", "a/b/c/d", "/a/b", "a//c", "ipxe/..", "../b/c", "a/../c", "a/b/.c", "a/b/c d"];
        for text in odd.into_iter().chain(["a/b/${c}", "a/b/%2e%2e", "a/b/\u{e4}", "a/b/c\n"]) {
            assert!(text.parse::<AssetName>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_name_that_parses_has_no_way_up(text in ".{0,40}|[a-z./]{0,12}") {
            if let Ok(name) = text.parse::<AssetName>() {
                let name = name.to_string();
                prop_assert!(name.split('/').all(|part| !part.is_empty() && !part.starts_with('.')));
            }
        }
    }
}
