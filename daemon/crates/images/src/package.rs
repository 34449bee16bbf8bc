//! Files out of a Debian package, without dpkg: an `ar` archive with a compressed `tar` in it (deb(5)).

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

/// Begins an `ar` archive.
const MAGIC: &[u8] = b"!<arch>\n";
/// The header of a member: name (16), date (12), owner (6), group (6), mode (8), size (10), "`\n".
const HEADER: usize = 60;
/// No bootloader is longer, compressed or not.
const LONGEST: u64 = 64 << 20;

/// The package cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// another kind of file, or a part of one
    #[error("this is not a Debian package: {0}")]
    Form(&'static str),
    /// compressed in another way than Debian's own packages
    #[error("the package's files are in {0}; only data.tar.xz and data.tar can be read")]
    Compression(String),
    /// the archive inside is broken
    #[error("the package cannot be unpacked: {0}")]
    Unpack(#[from] io::Error),
    /// a file that should be in it
    #[error("the package has no file {0}")]
    Missing(String),
}

/// The named files of one folder of a package.
pub fn files_of_package<'a>(
    package: &[u8],
    folder: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<BTreeMap<String, Vec<u8>>, PackageError> {
    let mut archive = archive_of(package, LONGEST)?;
    let mut missing: BTreeMap<String, &str> =
        names.into_iter().map(|name| (format!("{folder}/{name}"), name)).collect();
    let mut found = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        // what a link leads to may be anything
        if !entry.header().entry_type().is_file() {
            continue;
        }
        if let Some(name) = missing.remove(&path) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            found.insert(name.to_owned(), bytes);
        }
        if missing.is_empty() {
            break;
        }
    }
    match missing.into_keys().next() {
        Some(path) => Err(PackageError::Missing(path)),
        None => Ok(found),
    }
}

/// The package's files, of which no more than so many octets are unpacked.
pub(crate) fn archive_of(
    package: &[u8],
    longest: u64,
) -> Result<tar::Archive<Box<dyn Read + '_>>, PackageError> {
    let (member, data) = member_of(package, "data.tar")?;
    unpacked(&member, data, longest)
}

/// A member, unpacked.
pub(crate) fn unpacked<'a>(
    member: &str,
    data: &'a [u8],
    longest: u64,
) -> Result<tar::Archive<Box<dyn Read + 'a>>, PackageError> {
    let reader: Box<dyn Read + 'a> = match member.rsplit_once(".tar") {
        Some((_, ".xz")) => Box::new(lzma_rust2::XzReader::new(data, false).take(longest)),
        Some((_, "")) => Box::new(data),
        _ => return Err(PackageError::Compression(member.to_owned())),
    };
    Ok(tar::Archive::new(reader))
}

/// The member whose name begins so: its name and its octets.
pub(crate) fn member_of<'a>(package: &'a [u8], wanted: &str) -> Result<(String, &'a [u8]), PackageError> {
    let mut rest = package.strip_prefix(MAGIC).ok_or(PackageError::Form("it does not begin as one"))?;
    while !rest.is_empty() {
        let (header, body) =
            rest.split_at_checked(HEADER).ok_or(PackageError::Form("it ends within a header"))?;
        let text = std::str::from_utf8(header).map_err(|_| PackageError::Form("a header is not text"))?;
        let name = text.get(..16).unwrap_or_default().trim_end().trim_end_matches('/');
        let size: usize = text
            .get(48..58)
            .and_then(|size| size.trim_end().parse().ok())
            .ok_or(PackageError::Form("a member has no size"))?;
        let data = body.get(..size).ok_or(PackageError::Form("it ends within a member"))?;
        if name.starts_with(wanted) {
            return Ok((name.to_owned(), data));
        }
        // members begin at even places
        rest = body.get(size.next_multiple_of(2)..).unwrap_or_default();
    }
    Err(PackageError::Form("it has no files"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100644, data.len());
        if data.len() % 2 == 1 {
            bytes.push('\n');
        }
        let mut bytes = bytes.into_bytes();
        let pad = bytes.split_off(HEADER);
        bytes.extend_from_slice(data);
        bytes.extend(pad);
        bytes
    }

    fn package(data: &str, archive: &[u8]) -> Vec<u8> {
        [MAGIC, &member("debian-binary", b"2.0\n"), &member("control.tar.xz", b"odd"), &member(data, archive)]
            .concat()
    }

    fn archive() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, bytes) in [("./usr/lib/ipxe/snponly.efi", "MZ"), ("./usr/share/doc/ipxe/x", "no")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, bytes.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn the_named_files_come_out() {
        let package = package("data.tar", &archive());
        let files = files_of_package(&package, "usr/lib/ipxe", ["snponly.efi"]).unwrap();
        assert_eq!(files, [("snponly.efi".to_owned(), b"MZ".to_vec())].into());
        let error = files_of_package(&package, "usr/lib/ipxe", ["ipxe.efi"]).unwrap_err();
        assert!(matches!(&error, PackageError::Missing(path) if path == "usr/lib/ipxe/ipxe.efi"));
    }

    #[test]
    fn what_is_cut_or_something_else_is_refused() {
        let package = package("data.tar", &archive());
        for end in [0, 7, 8, 40, 70, 200, package.len() / 2] {
            assert!(files_of_package(&package[..end], "usr/lib/ipxe", ["snponly.efi"]).is_err(), "{end}");
        }
        let other = self::package("data.tar.lz4", &archive());
        assert!(matches!(files_of_package(&other, "usr", ["x"]), Err(PackageError::Compression(_))));
    }
}
