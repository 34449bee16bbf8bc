//! Disks as a machine reports them, and the selector by which a node asks for one.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A disk as Talos reports it (resource `Disks.block.talos.dev`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// `/dev/nvme0n1`
    pub dev_path: String,
    /// bytes
    pub size: u64,
    /// as the drive calls itself
    pub model: String,
    /// the drive's serial number
    pub serial: String,
    /// kernel module alias
    pub modalias: String,
    /// the drive's UUID
    pub uuid: String,
    /// world wide identifier
    pub wwid: String,
    /// where it hangs: `/pci0000:00/…`
    pub bus_path: String,
    /// nvme, sata, virtio, usb …; empty for loop devices and the like
    pub transport: String,
    /// spinning
    pub rotational: bool,
    /// cannot be written
    pub readonly: bool,
    /// an optical drive
    pub cdrom: bool,
    /// other paths to it: `/dev/disk/by-id/…`
    pub symlinks: Vec<String>,
}

/// `machine.install.diskSelector`: every given field must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DiskSelector {
    /// `>= 100GB`; a bare size means equal
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<SizeMatch>,
    /// a glob
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// a glob
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// a glob
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modalias: Option<String>,
    /// a glob
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// a glob
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wwid: Option<String>,
    /// the kind of drive
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<DiskType>,
    /// a glob
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus_path: Option<String>,
}

/// The kinds of drive that Talos's selector tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskType {
    /// on the NVMe transport
    Nvme,
    /// an SD or MMC card
    Sd,
    /// rotating
    Hdd,
    /// not rotating
    Ssd,
}

impl DiskSelector {
    /// Whether Talos would take this disk. Like Talos it leaves out disks without a transport,
    /// read-only ones and optical drives.
    pub fn matches(&self, disk: &Disk) -> bool {
        let text =
            |wanted: &Option<String>, have: &str| wanted.as_ref().is_none_or(|pattern| glob(pattern, have));
        !disk.transport.is_empty()
            && !disk.readonly
            && !disk.cdrom
            && self.size.is_none_or(|size| size.matches(disk.size))
            && text(&self.model, &disk.model)
            && text(&self.serial, &disk.serial)
            && text(&self.modalias, &disk.modalias)
            && text(&self.uuid, &disk.uuid)
            && text(&self.wwid, &disk.wwid)
            && text(&self.bus_path, &disk.bus_path)
            && self.kind.is_none_or(|kind| match kind {
                DiskType::Nvme => disk.transport == "nvme",
                DiskType::Sd => disk.transport == "mmc",
                DiskType::Hdd => disk.rotational,
                DiskType::Ssd => !disk.rotational,
            })
    }
}

impl fmt::Display for DiskSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(size) = self.size {
            parts.push(format!("size {size}"));
        }
        if let Some(kind) = self.kind {
            parts.push(format!("type {kind:?}").to_lowercase());
        }
        let named = [
            ("model", &self.model),
            ("serial", &self.serial),
            ("modalias", &self.modalias),
            ("uuid", &self.uuid),
            ("wwid", &self.wwid),
            ("busPath", &self.bus_path),
        ];
        parts.extend(
            named.iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name} {value}"))),
        );
        f.write_str(&parts.join(", "))
    }
}

/// A glob of `*` (any run) and `?` (any one character), as Talos's selector reads them.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // the place after the last star, and how far the text had been matched then
    let mut retry: Option<(usize, usize)> = None;
    let (mut p, mut t) = (0, 0);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                p += 1;
                retry = Some((p, t));
            }
            Some(&c) if c == '?' || Some(&c) == text.get(t) => {
                p += 1;
                t += 1;
            }
            _ => match retry.as_mut() {
                Some((after_star, matched)) => {
                    *matched += 1;
                    (p, t) = (*after_star, *matched);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|&c| c == '*'))
}

/// A size with its comparison: `>= 100GB`, `< 2TiB`, `512 GB` (equal).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeMatch {
    comparison: Comparison,
    bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    AtLeast,
    AtMost,
    More,
    Less,
}

impl SizeMatch {
    /// Whether a disk of so many bytes fits.
    pub fn matches(self, bytes: u64) -> bool {
        match self.comparison {
            Comparison::Equal => bytes == self.bytes,
            Comparison::AtLeast => bytes >= self.bytes,
            Comparison::AtMost => bytes <= self.bytes,
            Comparison::More => bytes > self.bytes,
            Comparison::Less => bytes < self.bytes,
        }
    }
}

impl fmt::Display for SizeMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comparison = match self.comparison {
            Comparison::Equal => "==",
            Comparison::AtLeast => ">=",
            Comparison::AtMost => "<=",
            Comparison::More => ">",
            Comparison::Less => "<",
        };
        write!(f, "{comparison} {}B", self.bytes)
    }
}

/// The text is not a size with a comparison.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a disk size: expected a comparison and a size such as \">= 100GB\"")]
pub struct SizeMatchError(pub String);

impl FromStr for SizeMatch {
    type Err = SizeMatchError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || SizeMatchError(text.to_owned());
        let trimmed = text.trim();
        let operators = [
            (">=", Comparison::AtLeast),
            ("<=", Comparison::AtMost),
            ("==", Comparison::Equal),
            (">", Comparison::More),
            ("<", Comparison::Less),
        ];
        let (comparison, size) = operators
            .iter()
            .find_map(|&(sign, comparison)| trimmed.strip_prefix(sign).map(|rest| (comparison, rest.trim())))
            .unwrap_or((Comparison::Equal, trimmed));
        let split = size.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(size.len());
        let (number, unit) = size.split_at(split);
        let number: f64 = number.parse().map_err(|_| error())?;
        let unit: f64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kb" => 1e3,
            "m" | "mb" => 1e6,
            "g" | "gb" => 1e9,
            "t" | "tb" => 1e12,
            "p" | "pb" => 1e15,
            "ki" | "kib" => 1024.0,
            "mi" | "mib" => 1024.0 * 1024.0,
            "gi" | "gib" => 1024.0 * 1024.0 * 1024.0,
            "ti" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            "pi" | "pib" => 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0,
            _ => return Err(error()),
        };
        Ok(Self { comparison, bytes: (number * unit).round() as u64 })
    }
}

impl Serialize for SizeMatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SizeMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nvme() -> Disk {
        Disk {
            dev_path: "/dev/nvme0n1".into(),
            size: 512_110_190_592,
            model: "APPLE SSD AP0512".into(),
            transport: "nvme".into(),
            ..Disk::default()
        }
    }

    #[test]
    fn a_model_glob_picks_the_disk() {
        for (pattern, expected) in [
            ("APPLE*", true),
            ("*SSD*", true),
            ("APPLE SSD AP051?", true),
            ("apple*", false),
            ("SSD", false),
            ("*", true),
        ] {
            let selector = DiskSelector { model: Some(pattern.into()), ..DiskSelector::default() };
            assert_eq!(selector.matches(&nvme()), expected, "{pattern}");
        }
    }

    #[test]
    fn sizes_compare_in_decimal_and_binary_units() {
        for (text, expected) in [
            (">= 100GB", true),
            ("<= 500GB", false),
            ("> 1TiB", false),
            ("<1 TB", true),
            ("512110190592", true),
            (">=476GiB", true),
        ] {
            assert_eq!(text.parse::<SizeMatch>().unwrap().matches(nvme().size), expected, "{text}");
        }
        for text in ["", ">=", "100 bananas", ">= x"] {
            assert!(text.parse::<SizeMatch>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_size_reads_back_from_what_it_shows() {
        let size: SizeMatch = ">= 100GB".parse().unwrap();
        assert_eq!(size.to_string().parse(), Ok(size));
    }

    #[test]
    fn disks_that_cannot_be_installed_to_never_match() {
        let any = DiskSelector::default();
        assert!(any.matches(&nvme()));
        assert!(!any.matches(&Disk { readonly: true, ..nvme() }));
        assert!(!any.matches(&Disk { cdrom: true, ..nvme() }));
        assert!(!any.matches(&Disk { transport: String::new(), ..nvme() }));
    }

    #[test]
    fn the_type_is_the_drives_nature() {
        let of = |kind| DiskSelector { kind: Some(kind), ..DiskSelector::default() };
        assert!(of(DiskType::Nvme).matches(&nvme()));
        assert!(of(DiskType::Ssd).matches(&nvme()));
        assert!(!of(DiskType::Hdd).matches(&nvme()));
        assert!(!of(DiskType::Sd).matches(&nvme()));
    }
}
