//! Which drivers the machine's devices need, and in which order. [`Index`] decides; [`Drivers`] asks `/sys` and loads.
//!
//! The index lies beside the modules and was written when the image was made: a line a module,
//! `module NAME FILE NEEDED,NEEDED`, and a line an alias, `alias PATTERN NAME`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use nix::kmod::{ModuleInitFlags, finit_module};

/// Where the modules lie in the image.
pub const FOLDER: &str = "/modules";
/// Their index.
pub const INDEX: &str = "index";

/// The modules of the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    modules: BTreeMap<String, Module>,
    /// by the bus, which no pattern leaves open: `pci`
    aliases: BTreeMap<String, Vec<(String, String)>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Module {
    file: String,
    needs: Vec<String>,
}

impl Index {
    /// Reads an index; a line that is none is left out.
    pub fn read(text: &str) -> Self {
        let mut index = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["module", name, file, needs] => {
                    let needs = needs.split(',').filter(|need| !need.is_empty()).map(str::to_owned).collect();
                    index.modules.insert(name.to_owned(), Module { file: file.to_owned(), needs });
                }
                ["alias", pattern, name] => {
                    let of_bus = index.aliases.entry(bus(pattern).to_owned()).or_default();
                    of_bus.push((pattern.to_owned(), name.to_owned()));
                }
                _ => {}
            }
        }
        index
    }

    /// The modules for a device, or of this name.
    pub fn named(&self, alias: &str) -> BTreeSet<&str> {
        let name = alias.replace('-', "_");
        let by_name = self.modules.get_key_value(&name).map(|(name, _)| name.as_str());
        let of_bus = self.aliases.get(bus(alias)).into_iter().flatten();
        let fitting = of_bus.filter(|(pattern, _)| fits(pattern.as_bytes(), alias.as_bytes()));
        by_name.into_iter().chain(fitting.map(|(_, name)| name.as_str())).collect()
    }

    /// A module's files, those that it needs first.
    pub fn files<'a>(&'a self, name: &'a str) -> Vec<&'a str> {
        let (mut files, mut seen) = (Vec::new(), BTreeSet::new());
        self.add(name, &mut seen, &mut files);
        files
    }

    fn add<'a>(&'a self, name: &'a str, seen: &mut BTreeSet<&'a str>, files: &mut Vec<&'a str>) {
        let Some(module) = self.modules.get(name) else { return };
        if !seen.insert(name) {
            return;
        }
        for need in &module.needs {
            self.add(need, seen, files);
        }
        files.push(&module.file);
    }
}

/// What stands before the first colon.
fn bus(alias: &str) -> &str {
    alias.split(':').next().unwrap_or_default()
}

/// Shell patterns as depmod's aliases use them: `*`, `?`, `[a-f0-9]`.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // where to go on when a longer `*` is tried
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() || p < pattern.len() {
        let step = match (pattern.get(p), text.get(t)) {
            (Some(b'*'), _) => {
                star = Some((p + 1, t + 1));
                p += 1;
                continue;
            }
            (Some(b'['), Some(octet)) => set(pattern.get(p..).unwrap_or_default(), *octet),
            (Some(b'?'), Some(_)) => Some(1),
            (Some(wanted), Some(octet)) if wanted == octet => Some(1),
            _ => None,
        };
        match (step, star) {
            (Some(length), _) => (p, t) = (p + length, t + 1),
            (None, Some((again, from))) if from <= text.len() => {
                (p, t) = (again, from);
                star = Some((again, from + 1));
            }
            _ => return false,
        }
    }
    true
}

/// The length of a bracketed set if the octet is in it.
fn set(pattern: &[u8], octet: u8) -> Option<usize> {
    let end = pattern.iter().position(|octet| *octet == b']')?;
    let mut inside = pattern.get(1..end)?;
    loop {
        inside = match inside {
            [] => return None,
            [low, b'-', high, rest @ ..] => {
                if (low..=high).contains(&&octet) {
                    return Some(end + 1);
                }
                rest
            }
            [one, ..] if *one == octet => return Some(end + 1),
            [_, rest @ ..] => rest,
        };
    }
}

/// Loads drivers.
#[derive(Debug)]
pub struct Drivers {
    folder: PathBuf,
    index: Index,
    tried: BTreeSet<String>,
}

impl Drivers {
    /// With the modules of this folder.
    ///
    /// # Errors
    /// When there is no index.
    pub fn open(folder: &Path) -> std::io::Result<Self> {
        let index = Index::read(&fs::read_to_string(folder.join(INDEX))?);
        Ok(Self { folder: folder.to_owned(), index, tried: BTreeSet::new() })
    }

    /// Loads what the devices need that are there now; a driver may bring devices that need others. What could not be
    /// loaded is noted, once.
    pub fn for_devices(&mut self, devices: &Path, notes: &mut Vec<String>) {
        loop {
            let mut aliases = BTreeSet::new();
            collect(devices, &mut aliases);
            let before = self.tried.len();
            for alias in aliases {
                self.load(&alias, notes);
            }
            if self.tried.len() == before {
                return;
            }
        }
    }

    /// Loads the modules of one alias or name.
    pub fn load(&mut self, alias: &str, notes: &mut Vec<String>) {
        let files: Vec<String> = self
            .index
            .named(alias)
            .iter()
            .flat_map(|name| self.index.files(name))
            .map(str::to_owned)
            .collect();
        for file in files {
            if self.tried.contains(&file) {
                continue;
            }
            if let Err(error) = insert(&self.folder.join(&file)) {
                notes.push(format!("the driver {file} was not loaded: {error}"));
            }
            self.tried.insert(file);
        }
    }
}

fn insert(path: &Path) -> std::io::Result<()> {
    match finit_module(fs::File::open(path)?, c"", ModuleInitFlags::empty()) {
        // part of this kernel already
        Ok(()) | Err(nix::errno::Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Every `modalias` below a folder of `/sys/devices`.
fn collect(folder: &Path, aliases: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder {
            collect(&entry.path(), aliases);
        } else if entry.file_name() == "modalias"
            && let Ok(alias) = fs::read_to_string(entry.path())
            && !alias.trim().is_empty()
        {
            aliases.insert(alias.trim().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "module virtio_net drivers/virtio_net.ko net_failover,virtio\n\
        module net_failover drivers/net_failover.ko failover\n\
        module failover drivers/failover.ko \n\
        module virtio drivers/virtio.ko \n\
        module a a.ko b\n\
        module b b.ko a\n\
        alias virtio:d00000001v* virtio_net\n\
        alias pci:v00008086d00001572sv*sd*bc*sc*i* i40e\n\
        module i40e drivers/i40e.ko ptp\n\
        odd\n";

    #[test]
    fn what_a_module_needs_comes_first() {
        let index = Index::read(TEXT);
        let files =
            ["drivers/failover.ko", "drivers/net_failover.ko", "drivers/virtio.ko", "drivers/virtio_net.ko"];
        assert_eq!(index.files("virtio_net"), files);
        assert_eq!(
            index.files("i40e"),
            ["drivers/i40e.ko"],
            "what is not in the image is part of the kernel"
        );
        assert_eq!(index.files("a").len(), 2, "a circle ends");
        assert!(index.files("nothing").is_empty());
    }

    #[test]
    fn a_device_finds_its_driver() {
        let index = Index::read(TEXT);
        assert_eq!(index.named("virtio:d00000001v00001AF4"), ["virtio_net"].into());
        assert_eq!(index.named("pci:v00008086d00001572sv00001028sd00001F9Cbc02sc00i00"), ["i40e"].into());
        assert!(index.named("pci:v00008086d00001573sv00001028sd00001F9Cbc02sc00i00").is_empty());
        assert_eq!(
            index.named("net-failover"),
            ["net_failover"].into(),
            "as the kernel asks for one by name"
        );
    }

    #[test]
    fn patterns_are_those_of_the_shell() {
        for (pattern, text, expected) in [
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "abcd", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("mdio:?[01][0-9a]", "mdio:x17", true),
            ("mdio:?[01][0-9a]", "mdio:x27", false),
            ("[a", "a", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbY", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_cannot_be_loaded_is_noted_once() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Drivers::open(folder.path()).is_err());
        fs::write(folder.path().join(INDEX), TEXT).unwrap();
        let devices = folder.path().join("devices/pci0000:00/0000:00:02.0");
        fs::create_dir_all(&devices).unwrap();
        fs::write(devices.join("modalias"), "virtio:d00000001v00001AF4\n").unwrap();
        let (mut drivers, mut notes) = (Drivers::open(folder.path()).unwrap(), Vec::new());
        drivers.for_devices(&folder.path().join("devices"), &mut notes);
        assert_eq!(notes.len(), 4, "{notes:?}");
        drivers.for_devices(&folder.path().join("devices"), &mut notes);
        assert_eq!(notes.len(), 4);
    }
}
