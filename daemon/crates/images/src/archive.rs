//! An initramfs, written byte by byte: the `newc` form of cpio (kernel: Documentation/driver-api/early-userspace).
//!
//! The kernel unpacks several archives that lie one behind the other, each starting at a multiple of four bytes.

/// An archive that grows.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

impl Archive {
    /// A folder, its parents first.
    pub fn folder(&mut self, path: &str) {
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[]);
    }

    /// A file with these permissions.
    pub fn file(&mut self, path: &str, permissions: u32, bytes: &[u8]) {
        self.entry(path, FILE | permissions, (0, 0), bytes);
    }

    /// Another name for what lies at `to`.
    pub fn link(&mut self, path: &str, to: &str) {
        self.entry(path, LINK | 0o777, (0, 0), to.as_bytes());
    }

    /// A character device.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, CHARACTER_DEVICE | 0o600, (major, minor), &[]);
    }

    /// Closes the archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    /// ```text
    /// magic "070701", then 13 fields of 8 hexadecimal digits:
    /// ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    /// name NUL pad to 4, data pad to 4
    /// ```
    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), bytes: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let name = u32::try_from(path.len() + 1).unwrap_or(u32::MAX);
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(bytes);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_lies_where_the_kernel_looks_for_it() {
        let mut archive = Archive::default();
        archive.file("init", 0o755, b"hello");
        let bytes = archive.finish();
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[14..22], b"000081ed", "a file with mode 0755");
        assert_eq!(&bytes[54..62], b"00000005", "its length");
        assert_eq!(&bytes[94..102], b"00000005", "the length of its name with the zero byte");
        assert_eq!(&bytes[110..115], b"init\0");
        assert_eq!(&bytes[116..121], b"hello", "the data begin at a multiple of four");
        assert_eq!(&bytes[124..130], b"070701", "so does the next entry");
        assert!(
            bytes.ends_with(b"TRAILER!!!\0\0\0\0") || bytes.windows(10).any(|part| part == b"TRAILER!!!")
        );
        assert_eq!(bytes.len() % 4, 0);
    }
}
