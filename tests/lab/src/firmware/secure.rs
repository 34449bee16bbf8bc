//! Secure Boot with keys of the test's own: a certificate, a signed image, and firmware that trusts nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::payload::Payload;
use crate::qemu::{Packages, Suite, read, run};

/// What the kernel says when the firmware told it that it checks.
pub(crate) const SECURE: &str = "Secure boot enabled";

/// A key, its certificate, and the tools that sign.
pub(crate) struct Signer {
    folder: tempfile::TempDir,
    stub: PathBuf,
    sbsign: PathBuf,
    /// DER
    pub(crate) certificate: Vec<u8>,
}

impl Signer {
    /// Makes the key.
    pub(crate) fn make(packages: &Packages) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder for the keys")?;
        let stub = packages
            .unpacked("systemd-boot-efi", Suite::Own)?
            .join("usr/lib/systemd/boot/efi/linuxx64.efi.stub");
        let sbsign = packages.unpacked("sbsigntool", Suite::Own)?.join("usr/bin/sbsign");
        let place = folder.path();
        let subject = "/CN=ichord lab";
        run(
            "openssl",
            ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", subject]
                .into_iter()
                .chain(["-keyout", "key.pem", "-out", "certificate.pem"]),
            place,
        )?;
        let der = ["x509", "-in", "certificate.pem", "-outform", "DER", "-out", "certificate.der"];
        run("openssl", der, place)?;
        let certificate = read(&place.join("certificate.der"))?;
        Ok(Self { folder, stub, sbsign, certificate })
    }

    /// Kernel, initramfs and command line as one signed EFI program.
    pub(crate) fn image(&self, payload: &Payload, cmdline: &str) -> Result<Vec<u8>> {
        let place = self.folder.path();
        // where the stub's own sections end, and room for each behind the other
        let sections: [(&str, u32, &[u8]); 4] = [
            (".osrel", 0x20000, b"ID=talos\n"),
            (".cmdline", 0x30000, cmdline.as_bytes()),
            (".linux", 0x200_0000, &payload.kernel),
            (".initrd", 0x500_0000, &payload.initramfs),
        ];
        let mut words = Vec::new();
        for (name, address, bytes) in sections {
            let file = format!("section{name}");
            put(&place.join(&file), bytes)?;
            words.extend(["--add-section".to_owned(), format!("{name}={file}")]);
            words.extend(["--change-section-vma".to_owned(), format!("{name}={address:#x}")]);
        }
        words.extend([self.stub.display().to_string(), "image.efi".to_owned()]);
        run("objcopy", &words, place)?;
        let program = self.sbsign.display().to_string();
        let sign = ["--key", "key.pem", "--cert", "certificate.pem", "--output", "signed.efi", "image.efi"];
        run(&program, sign, place)?;
        read(&place.join("signed.efi"))
    }
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Where the variables begin: behind the headers of the volume (its length stands at 48) and of the store.
const STORE_HEADER: usize = 28;
/// AAF32C78-947B-439A-A180-2E144EC37792: a store whose variables have times.
const STORE: [u8; 16] =
    [0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92];
/// 8BE4DF61-93CA-11D2-AA0D-00E098032B8C
const GLOBAL: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
/// D719B2CB-3D3A-4596-A3BC-DAD00E67656F
const SECURITY: [u8; 16] =
    [0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f];
/// A5C059A1-94E4-4AA7-87B5-AB155C2BF072: a list of certificates
const X509: [u8; 16] =
    [0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72];

/// Puts a certificate into firmware's empty settings as platform key, key exchange key and the only one that may
/// sign programs. With a platform key the firmware checks (UEFI 2.10 §32.3).
pub(crate) fn enrol(settings: &mut [u8], certificate: &[u8]) -> Result<()> {
    let header = settings.get(48..50).and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes);
    let store = usize::from(header.context("the settings have no volume header")?);
    ensure!(settings.get(store..store + 16) == Some(&STORE), "the settings have no store of variables");
    let mut at = store + STORE_HEADER;
    let mut variables = Vec::new();
    for (vendor, name) in [(GLOBAL, "PK"), (GLOBAL, "KEK"), (SECURITY, "db")] {
        variables.extend(variable(vendor, name, &signatures(certificate)));
        variables.resize(variables.len().next_multiple_of(4), 0xff);
    }
    at = at.next_multiple_of(4);
    let place = settings.get_mut(at..at + variables.len()).context("the settings have no room for keys")?;
    ensure!(place.iter().all(|byte| *byte == 0xff), "the settings are not empty");
    place.copy_from_slice(&variables);
    Ok(())
}

/// ```text
/// start 55aa (2) | state (1) | 0 | attributes (4) | count (8) | time (16) | key (4) | name size (4) | data size (4)
/// vendor (16) | name in UTF-16 with its end | data
/// ```
fn variable(vendor: [u8; 16], name: &str, data: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = vec![0xaa, 0x55, 0x3f, 0];
    // non-volatile, for boot services and the running system, authenticated by time
    bytes.extend(0x27_u32.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    // 2024-01-01
    bytes.extend([0xe8, 0x07, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(size(&name));
    bytes.extend(size(data));
    bytes.extend(vendor);
    bytes.extend(name);
    bytes.extend(data);
    bytes
}

/// ```text
/// type (16) | size of the list (4) | size of its header (4): 0 | size of an entry (4) | owner (16) | certificate
/// ```
fn signatures(certificate: &[u8]) -> Vec<u8> {
    let entry = 16 + certificate.len();
    let size = |size: usize| u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = X509.to_vec();
    bytes.extend(size(28 + entry));
    bytes.extend(size(0));
    bytes.extend(size(entry));
    // nobody asks whose it is
    bytes.extend(GLOBAL);
    bytes.extend(certificate);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Vec<u8> {
        let mut settings = vec![0xff; 4096];
        settings[48..50].copy_from_slice(&72_u16.to_le_bytes());
        settings[72..88].copy_from_slice(&STORE);
        settings
    }

    #[test]
    fn three_variables_lie_where_firmware_reads_them() {
        let mut settings = empty();
        enrol(&mut settings, &[7; 101]).unwrap();
        let mut at = 100;
        for name in ["PK", "KEK", "db"] {
            assert_eq!(settings[at..at + 3], [0xaa, 0x55, 0x3f], "{name}");
            let number = |at: usize| u32::from_le_bytes(settings[at..at + 4].try_into().unwrap()) as usize;
            let (name_size, data_size) = (number(at + 36), number(at + 40));
            assert_eq!((name_size, data_size), (2 * (name.len() + 1), 28 + 16 + 101));
            assert_eq!(settings[at + 60], name.as_bytes()[0]);
            at = (at + 60 + name_size + data_size).next_multiple_of(4);
        }
        assert!(settings[at..].iter().all(|byte| *byte == 0xff));
        assert!(enrol(&mut settings, &[7; 101]).is_err(), "not empty any more");
    }
}
