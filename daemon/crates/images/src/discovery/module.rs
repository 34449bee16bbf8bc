//! What a kernel module says about itself: the section `.modinfo` of its ELF file (linux/module.h).

use std::io::{self, Read};

/// No module is longer.
const LONGEST: u64 = 64 << 20;
/// ELF64: the section header table's place, entry size, length, and which of them has the names.
const SECTIONS: usize = 0x28;
const SECTION_SIZE: usize = 0x3a;
const SECTION_COUNT: usize = 0x3c;
const SECTION_NAMES: usize = 0x3e;

/// A module, unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Module {
    pub(super) bytes: Vec<u8>,
    /// modules without which it cannot be loaded
    pub(super) needs: Vec<String>,
    /// modules that should be there before it
    pub(super) likes: Vec<String>,
    /// patterns of the devices it drives
    pub(super) aliases: Vec<String>,
}

impl Module {
    /// Unpacks a module of this path and reads what it says.
    pub(super) fn read(path: &str, packed: &[u8]) -> io::Result<Self> {
        let mut bytes = Vec::new();
        if path.ends_with(".xz") {
            lzma_rust2::XzReader::new(packed, false).take(LONGEST).read_to_end(&mut bytes)?;
        } else {
            bytes.extend_from_slice(packed);
        }
        let broken = || io::Error::other(format!("{path} is no kernel module"));
        let info = section(&bytes, ".modinfo").ok_or_else(broken)?;
        let texts = info.split(|octet| *octet == 0).filter_map(|text| std::str::from_utf8(text).ok());
        let (mut needs, mut likes, mut aliases) = (Vec::new(), Vec::new(), Vec::new());
        for (key, value) in texts.filter_map(|text| text.split_once('=')) {
            match key {
                "depends" => needs.extend(value.split(',').filter(|name| !name.is_empty()).map(canonical)),
                // `pre: realtek post: other`
                "softdep" => {
                    let before = value.split("post:").next().unwrap_or_default();
                    let names = before.split_ascii_whitespace().filter(|word| !word.ends_with(':'));
                    likes.extend(names.map(canonical));
                }
                "alias" if !value.contains(char::is_whitespace) => aliases.push(value.to_owned()),
                _ => {}
            }
        }
        Ok(Self { bytes, needs, likes, aliases })
    }
}

/// A module's name, from the path of its file; `None` when it is none.
pub(super) fn name_of(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let stem = file.strip_suffix(".ko").or_else(|| file.strip_suffix(".ko.xz"))?;
    Some(canonical(stem))
}

/// The kernel takes both for one.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The contents of a section.
fn section<'a>(elf: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = usize::try_from(u64_at(elf, SECTIONS)?).ok()?;
    let size = usize::from(u16_at(elf, SECTION_SIZE)?);
    let header = |number: usize| table.checked_add(number.checked_mul(size)?);
    let contents = |header: usize| {
        let start = usize::try_from(u64_at(elf, header.checked_add(24)?)?).ok()?;
        let length = usize::try_from(u64_at(elf, header.checked_add(32)?)?).ok()?;
        elf.get(start..start.checked_add(length)?)
    };
    let names = contents(header(usize::from(u16_at(elf, SECTION_NAMES)?))?)?;
    (0..usize::from(u16_at(elf, SECTION_COUNT)?)).find_map(|number| {
        let header = header(number)?;
        let name = names.get(usize::try_from(u32_at(elf, header)?).ok()?..)?;
        let name = name.split(|octet| *octet == 0).next()?;
        if name == wanted.as_bytes() { contents(header) } else { None }
    })
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}
