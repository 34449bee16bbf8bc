//! The kubeconfig that a control plane hands out: one file inside a tar.gz.

use std::{fmt, io::Read as _};

use flate2::read::GzDecoder;
use zeroize::Zeroizing;

/// A kubeconfig is a few kilobytes; more is not one, and may be a decompression bomb.
const LIMIT: u64 = 1 << 20;

/// The administrator's kubeconfig, a YAML text with a private key in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Kubeconfig(Zeroizing<String>);

impl Kubeconfig {
    /// The YAML text.
    pub fn text(&self) -> &str {
        &self.0
    }

    pub(crate) fn from_archive(archive: &[u8]) -> Result<Self, String> {
        let mut archive = tar::Archive::new(GzDecoder::new(archive).take(LIMIT));
        let entries = archive.entries().map_err(|error| format!("not a tar.gz: {error}"))?;
        for entry in entries {
            let mut entry = entry.map_err(|error| format!("not a tar.gz: {error}"))?;
            let path = entry.path().map_err(|error| error.to_string())?;
            if path.file_name().is_none_or(|name| name != "kubeconfig") {
                continue;
            }
            let mut text = Zeroizing::new(String::new());
            entry
                .read_to_string(&mut text)
                .map_err(|error| format!("its kubeconfig cannot be read: {error}"))?;
            // A tar reader takes the end of its input for the end of the file.
            if text.len() as u64 != entry.size() {
                return Err(format!(
                    "its kubeconfig is cut off, or the archive is larger than {LIMIT} bytes"
                ));
            }
            return Ok(Self(text));
        }
        Err("the archive holds no file kubeconfig".to_owned())
    }
}

impl fmt::Debug for Kubeconfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kubeconfig({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            tar.append_data(&mut header, name, *content).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn the_file_is_found_beside_others() {
        let archive = archive(&[("readme", b"no"), ("kubeconfig", b"apiVersion: v1\n")]);
        let kubeconfig = Kubeconfig::from_archive(&archive).unwrap();
        assert_eq!(kubeconfig.text(), "apiVersion: v1\n");
        assert_eq!(format!("{kubeconfig:?}"), "Kubeconfig(15 bytes)");
    }

    #[test]
    fn what_is_no_archive_is_an_error() {
        let whole = archive(&[("kubeconfig", &[b'k'; 5000])]);
        for bytes in [&b""[..], b"apiVersion: v1\n", &whole[..whole.len() / 2]] {
            assert!(Kubeconfig::from_archive(bytes).is_err());
        }
        assert_eq!(
            Kubeconfig::from_archive(&archive(&[("other", b"")])),
            Err("the archive holds no file kubeconfig".to_owned())
        );
    }

    #[test]
    fn a_decompression_bomb_stops_at_the_limit() {
        let bomb = archive(&[("kubeconfig", &vec![b' '; 8 << 20])]);
        assert!(bomb.len() < 1 << 16);
        assert!(Kubeconfig::from_archive(&bomb).is_err());
        let mut endless = GzEncoder::new(Vec::new(), Compression::default());
        endless.write_all(&vec![0; 8 << 20]).unwrap();
        assert!(Kubeconfig::from_archive(&endless.finish().unwrap()).is_err());
    }
}
