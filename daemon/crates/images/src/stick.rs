//! A USB stick for machines whose firmware cannot boot from the network: iPXE on it enters the same road.
//!
//! ```text
//! sector 0      master boot record, one active partition of type 0xEF (EFI system partition)
//! 1 MiB         FAT16: boot sector, two file allocation tables, root directory, data
//!   /EFI/BOOT/BOOTX64.EFI, BOOTAA64.EFI   iPXE with drivers of its own
//!   /EFI/BOOT/autoexec.ipxe               what it does, read by iPXE from where it was started
//! ```
//!
//! Written octet by octet (Microsoft's FAT specification 1.03; UEFI 2.10 §13.3): the files are known beforehand, so each
//! is one run of clusters.

use std::net::Ipv4Addr;

const SECTOR: usize = 512;
/// Where the partition begins.
const FIRST_SECTOR: usize = 2048;
/// Of a cluster.
const CLUSTER_SECTORS: usize = 4;
const CLUSTER: usize = CLUSTER_SECTORS * SECTOR;
/// FAT16 is what has at least 4,085 and less than 65,525 clusters; nothing else says so.
const CLUSTERS: usize = 16_000;
/// Two octets a cluster, and two entries that are no clusters.
const TABLE_SECTORS: usize = ((CLUSTERS + 2) * 2).div_ceil(SECTOR);
const RESERVED_SECTORS: usize = 1;
/// Of 32 octets each.
const ROOT_ENTRIES: usize = 512;
const ROOT_SECTORS: usize = ROOT_ENTRIES * 32 / SECTOR;
const PARTITION_SECTORS: usize =
    RESERVED_SECTORS + 2 * TABLE_SECTORS + ROOT_SECTORS + CLUSTERS * CLUSTER_SECTORS;
const DIRECTORY: u8 = 0x10;
const ARCHIVE: u8 = 0x20;
const LONG_NAME: u8 = 0x0f;
/// The last cluster of a file.
const LAST: u16 = 0xffff;
/// iPXE's way to read what it shall do.
const SCRIPT_NAME: &str = "autoexec.ipxe";

/// The files do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bootloaders have {has} octets, more than the {} that fit on the stick", CLUSTERS * CLUSTER)]
pub struct TooLarge {
    has: usize,
}

/// What iPXE does from the stick: asks DHCP as from the network, and if that names no boot file, goes to the server.
pub fn stick_script(server: Option<Ipv4Addr>) -> String {
    let fallback = match server {
        Some(address) => format!("chain --autofree http://{address}/boot.ipxe || goto again\n"),
        None => "goto again\n".to_owned(),
    };
    format!(
        "#!ipxe\n\
         echo ichord: booting from the stick\n\
         :again\n\
         dhcp || goto wait\n\
         isset ${{filename}} && chain --autofree ${{filename}} ||\n\
         {fallback}\
         :wait\n\
         echo ichord: no address yet\n\
         sleep 5\n\
         goto again\n"
    )
}

/// The whole stick: UEFI bootloaders by the names under which firmware looks for them, and the script.
pub fn stick_image(bootloaders: &[(&str, &[u8])], script: &str) -> Result<Vec<u8>, TooLarge> {
    let files: Vec<(&str, &[u8])> =
        bootloaders.iter().copied().chain([(SCRIPT_NAME, script.as_bytes())]).collect();
    // the folders EFI and BOOT, a cluster each
    let needed: usize =
        files.iter().map(|(_, bytes)| bytes.len().div_ceil(CLUSTER).max(1)).sum::<usize>() + 2;
    if needed > CLUSTERS {
        return Err(TooLarge { has: files.iter().map(|(_, bytes)| bytes.len()).sum() });
    }
    let mut fat = Fat { table: vec![0xfff8, LAST], data: Vec::new() };
    let efi = fat.append(&[]);
    let boot = fat.append(&[]);
    let mut listing = dots(boot, efi);
    for (name, bytes) in files {
        let at = fat.append(bytes);
        listing.extend(entries(name, ARCHIVE, at, bytes.len()));
    }
    fat.put(boot, &listing);
    fat.put(efi, &[dots(efi, 0), entries("BOOT", DIRECTORY, boot, 0)].concat());

    let mut image = boot_record();
    image.resize(FIRST_SECTOR * SECTOR, 0);
    image.extend(boot_sector());
    let table: Vec<u8> = fat.table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    for _ in 0..2 {
        let end = image.len() + TABLE_SECTORS * SECTOR;
        image.extend_from_slice(&table);
        image.resize(end, 0);
    }
    let end = image.len() + ROOT_SECTORS * SECTOR;
    image.extend(entries("EFI", DIRECTORY, efi, 0));
    image.resize(end, 0);
    image.extend(fat.data);
    image.resize((FIRST_SECTOR + PARTITION_SECTORS) * SECTOR, 0);
    Ok(image)
}

/// Clusters, and which follows which.
struct Fat {
    table: Vec<u16>,
    data: Vec<u8>,
}

impl Fat {
    /// One run of clusters behind the others; returns the first.
    fn append(&mut self, bytes: &[u8]) -> u16 {
        let first = self.table.len();
        let count = bytes.len().div_ceil(CLUSTER).max(1);
        for number in 1..count {
            self.table.push(u16::try_from(first + number).unwrap_or(LAST));
        }
        self.table.push(LAST);
        let end = self.data.len() + count * CLUSTER;
        self.data.extend_from_slice(bytes);
        self.data.resize(end, 0);
        u16::try_from(first).unwrap_or(LAST)
    }

    /// The content of a cluster that is there already; the first one has the number 2.
    fn put(&mut self, cluster: u16, bytes: &[u8]) {
        let at = (usize::from(cluster) - 2) * CLUSTER;
        if let Some(place) = self.data.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
}

/// A folder's entries for itself and what it lies in; 0 is the root.
fn dots(own: u16, parent: u16) -> Vec<u8> {
    [short_entry(*b".          ", DIRECTORY, own, 0), short_entry(*b"..         ", DIRECTORY, parent, 0)]
        .concat()
}

/// A name as it is, with what stands before it when it does not fit into 8 and 3 capital letters.
fn entries(name: &str, kind: u8, cluster: u16, size: usize) -> Vec<u8> {
    let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
    let fits = stem.len() <= 8 && extension.len() <= 3 && !name.bytes().any(|byte| byte.is_ascii_lowercase());
    let mut short = [b' '; 11];
    let letters =
        |text: &str, most: usize| text.to_ascii_uppercase().into_bytes().into_iter().take(most).collect();
    let (mut stem, extension): (Vec<u8>, Vec<u8>) = (letters(stem, 8), letters(extension, 3));
    if !fits {
        stem.truncate(6);
        stem.extend(b"~1");
    }
    for (place, letter) in short.iter_mut().zip(stem) {
        *place = letter;
    }
    for (place, letter) in short.iter_mut().skip(8).zip(extension) {
        *place = letter;
    }
    let long = if fits { Vec::new() } else { long_entry(name, &short) };
    [long, short_entry(short, kind, cluster, size)].concat()
}

/// ```text
/// 0 name (11) | 11 attributes | 12 (8) times | 20 (2) high cluster: 0 | 22 time, date (4) | 26 cluster | 28 size
/// ```
fn short_entry(name: [u8; 11], kind: u8, cluster: u16, size: usize) -> Vec<u8> {
    let mut entry = name.to_vec();
    entry.push(kind);
    entry.resize(26, 0);
    entry.extend(cluster.to_le_bytes());
    entry.extend(u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
    entry
}

/// One entry has room for 13 UTF-16 letters, which is the longest name here.
///
/// ```text
/// 0 number, 0x40 in the last | 1 letters 1–5 | 11 attributes | 12 type 0 | 13 checksum | 14 letters 6–11 | 26 0 | 28 12–13
/// ```
fn long_entry(name: &str, short: &[u8; 11]) -> Vec<u8> {
    let checksum = short.iter().fold(0_u8, |sum, letter| sum.rotate_right(1).wrapping_add(*letter));
    let mut letters: Vec<u16> = name.encode_utf16().take(13).collect();
    if letters.len() < 13 {
        letters.push(0);
    }
    letters.resize(13, 0xffff);
    let mut letters = letters.into_iter().flat_map(u16::to_le_bytes);
    let mut entry = vec![0x41];
    entry.extend(letters.by_ref().take(10));
    entry.extend([LONG_NAME, 0, checksum]);
    entry.extend(letters.by_ref().take(12));
    entry.extend([0, 0]);
    entry.extend(letters);
    entry
}

/// ```text
/// 446 active | first CHS (3) | type | last CHS (3) | first sector (4) | sectors (4) | … | 510 55 aa
/// ```
fn boot_record() -> Vec<u8> {
    let mut record = vec![0; 446];
    // CHS of all ones: look at the sector numbers instead
    record.extend([0x80, 0xfe, 0xff, 0xff, 0xef, 0xfe, 0xff, 0xff]);
    record.extend((FIRST_SECTOR as u32).to_le_bytes());
    record.extend((PARTITION_SECTORS as u32).to_le_bytes());
    record.resize(510, 0);
    record.extend([0x55, 0xaa]);
    record
}

fn boot_sector() -> Vec<u8> {
    let word = |value: usize| (value as u16).to_le_bytes();
    let mut sector = vec![0xeb, 0x3c, 0x90];
    sector.extend(b"ICHORD  ");
    sector.extend(word(SECTOR));
    sector.push(CLUSTER_SECTORS as u8);
    sector.extend(word(RESERVED_SECTORS));
    // two tables
    sector.push(2);
    sector.extend(word(ROOT_ENTRIES));
    // the number of sectors needs 32 bits
    sector.extend(word(0));
    // a fixed disk
    sector.push(0xf8);
    sector.extend(word(TABLE_SECTORS));
    // geometry that nobody reads any more
    sector.extend(word(63));
    sector.extend(word(255));
    sector.extend((FIRST_SECTOR as u32).to_le_bytes());
    sector.extend((PARTITION_SECTORS as u32).to_le_bytes());
    // drive number, and that the next three fields are there
    sector.extend([0x80, 0, 0x29]);
    sector.extend(0x001c_404d_u32.to_le_bytes());
    sector.extend(b"ICHORD     ");
    sector.extend(b"FAT16   ");
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader of its own: the content of a file in /EFI/BOOT.
    fn read(image: &[u8], short: &[u8; 11]) -> Option<Vec<u8>> {
        let partition = &image[FIRST_SECTOR * SECTOR..];
        let number = |at: usize| usize::from(u16::from_le_bytes([partition[at], partition[at + 1]]));
        let (reserved, tables, roots, table) =
            (number(14), usize::from(partition[16]), number(17), number(22));
        let root = (reserved + tables * table) * 512;
        let data = root + roots * 32;
        let chain = |first: usize| {
            let mut cluster = first;
            let mut bytes = Vec::new();
            while (2..0xfff0).contains(&cluster) {
                let at = data + (cluster - 2) * CLUSTER;
                bytes.extend_from_slice(&partition[at..at + CLUSTER]);
                cluster = number(reserved * 512 + 2 * cluster);
            }
            bytes
        };
        let find = |listing: &[u8], name: &[u8]| {
            let entry = listing.chunks(32).find(|entry| &entry[..11] == name && entry[11] != LONG_NAME)?;
            let at = usize::from(u16::from_le_bytes([entry[26], entry[27]]));
            Some((at, u32::from_le_bytes(entry[28..32].try_into().unwrap()) as usize))
        };
        let (efi, _) = find(&partition[root..data], b"EFI        ")?;
        let (boot, _) = find(&chain(efi), b"BOOT       ")?;
        let (file, size) = find(&chain(boot), short)?;
        Some(chain(file)[..size].to_vec())
    }

    #[test]
    fn firmware_finds_the_bootloader_and_ipxe_its_script() {
        let loader: Vec<u8> = (0..1_000_003_u32).map(|number| (number % 251) as u8).collect();
        let script = stick_script(None);
        let image = stick_image(&[("BOOTX64.EFI", &loader), ("BOOTAA64.EFI", b"MZ")], &script).unwrap();
        assert_eq!(image[510..512], [0x55, 0xaa]);
        assert_eq!(read(&image, b"BOOTX64 EFI").as_deref(), Some(loader.as_slice()));
        assert_eq!(read(&image, b"BOOTAA64EFI").as_deref(), Some(b"MZ".as_slice()));
        assert_eq!(read(&image, b"AUTOEX~1IPX").as_deref(), Some(script.as_bytes()));
        let long: Vec<u8> = "autoexec.ipxe".encode_utf16().take(5).flat_map(u16::to_le_bytes).collect();
        assert!(image.windows(11).any(|part| part[0] == 0x41 && part[1..] == long));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let much = vec![0; CLUSTERS * CLUSTER];
        assert!(stick_image(&[("BOOTX64.EFI", &much)], "").is_err());
    }

    #[test]
    fn the_script_goes_the_way_that_dhcp_names_first() {
        let script = stick_script(Some(Ipv4Addr::new(10, 77, 0, 1)));
        let filename = script.find("chain --autofree ${filename}").unwrap();
        assert!(script.find("http://10.77.0.1/boot.ipxe").unwrap() > filename, "{script}");
        assert!(!stick_script(None).contains("http://"));
    }
}
