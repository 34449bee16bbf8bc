use super::*;

/// A module that says this of itself: an ELF header, the section names, `.modinfo`, and two section headers.
fn module(info: &str) -> Vec<u8> {
    let names = b"\0.modinfo\0.shstrtab\0";
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    let names_at = elf.len() as u64;
    elf.extend_from_slice(names);
    let info_at = elf.len() as u64;
    elf.extend_from_slice(info.replace('|', "\0").as_bytes());
    let table = elf.len() as u64;
    for (name, at, length) in [(1_u32, info_at, info.len()), (10, names_at, names.len())] {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[24..32].copy_from_slice(&at.to_le_bytes());
        header[32..40].copy_from_slice(&(length as u64).to_le_bytes());
        elf.extend_from_slice(&header);
    }
    elf[0x28..0x30].copy_from_slice(&table.to_le_bytes());
    elf[0x3a..0x40].copy_from_slice(&[64, 0, 2, 0, 1, 0]);
    elf
}

/// `module("depends=|softdep=pre: realtek post: x")`, compressed by xz.
const COMPRESSED: &str = "\
    fd377a585a000004e6d6b446020021011c00000010cf58cce000f8005b5d003f914584683d86259b632551e9384945be66e4\
    c8736ab9cd499b36b4c8a2268414242a364bd82b7a1f0305fc18d5b75a87af34a22ebe6a4ce04f7af0a9ff9c35b46e198eb1\
    cc8b8d993c25e6af8bd2cb60f48d2cfaf810d9e45d20000029645b3537f7219b000177f901000000edbcea28b1c467fb0200\
    00000004595a";

fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn member(name: &str, data: &[u8]) -> Vec<u8> {
    let head = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100644, data.len());
    let mut bytes = [head.as_bytes(), data].concat();
    bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    bytes
}

fn package(architecture: &str, files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let control = format!("Package: linux-image-x\nVersion: 6.1.192-2~bpo1\nArchitecture: {architecture}\n");
    let control = tar(&[("./control", control.into_bytes())]);
    let members =
        [member("debian-binary", b"2.0\n"), member("control.tar", &control), member("data.tar", &tar(files))];
    [b"!<arch>\n".to_vec(), members.concat()].concat()
}

fn agent() -> Vec<u8> {
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    elf[18] = 62;
    elf
}

fn kernel() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("./boot/vmlinuz-6.1.0-56-amd64", b"a kernel".to_vec()),
        (
            "./lib/modules/6/kernel/drivers/net/ethernet/intel/i40e/i40e.ko",
            module("depends=ptp,hard|alias=pci:v1*|alias=odd one"),
        ),
        ("./lib/modules/6/kernel/drivers/net/ethernet/realtek/r8169.ko.xz", hex::decode(COMPRESSED).unwrap()),
        ("./lib/modules/6/kernel/drivers/net/phy/realtek.ko", module("depends=|alias=mdio:?*")),
        ("./lib/modules/6/kernel/drivers/net/ethernet/odd.ko", module("depends=not-there")),
        ("./lib/modules/6/kernel/drivers/ptp/ptp.ko", module("depends=")),
        ("./lib/modules/6/kernel/lib/hard.ko", module("license=GPL|depends=")),
        ("./lib/modules/6/kernel/drivers/gpu/drm/big.ko", module("depends=")),
        ("./lib/modules/6/kernel/fs/ext4/ext4.ko", module("depends=")),
    ]
}

#[test]
fn a_kernel_its_drivers_and_the_agent_become_an_image() {
    let image = DiscoveryImage::make(&package("amd64", &kernel()), &agent()).unwrap();
    assert_eq!((image.version.as_str(), image.kernel.as_slice()), ("6.1.192-2-bpo1", b"a kernel".as_slice()));
    assert_eq!((image.drivers, image.left_out.as_slice()), (5, ["odd".to_owned()].as_slice()));
    let mut initramfs = Vec::new();
    flate2::read::GzDecoder::new(image.initramfs.as_slice()).read_to_end(&mut initramfs).unwrap();
    let text = String::from_utf8_lossy(&initramfs);
    let index = "module hard hard.ko \nmodule i40e i40e.ko hard,ptp\nalias pci:v1* i40e\nmodule ptp ptp.ko \n\
                 module r8169 r8169.ko realtek\nmodule realtek realtek.ko \nalias mdio:?* realtek\n";
    assert!(text.contains(index), "{text}");
    for name in ["init\0", "sbin/modprobe\0", "modules/i40e.ko\0", "../init", "dev/console\0"] {
        assert!(text.contains(name), "{name}");
    }
    assert!(!text.contains("ext4") && !text.contains("big.ko"), "only what is needed");
    let files = image.files().unwrap();
    assert_eq!(files[0].0.to_string(), "discovery/6.1.192-2-bpo1/kernel-amd64");
    assert_eq!(files[2].1, b"console=tty0 panic=10");
}

#[test]
fn what_is_no_kernel_package_is_refused() {
    let fails = |package: &[u8]| DiscoveryImage::make(package, &agent()).unwrap_err().to_string();
    assert!(fails(&package("arm64", &kernel())).contains("no kernel for amd64"));
    assert!(fails(&package("amd64", &kernel()[1..])).contains("no boot/vmlinuz"));
    assert!(fails(&package("amd64", &kernel()[..1])).contains("no drivers for network cards"));
    assert!(fails(b"junk").contains("not a Debian package"));
    let whole = package("amd64", &kernel());
    assert!(DiscoveryImage::make(&whole[..whole.len() / 2], &agent()).is_err());
    let odd = [kernel(), vec![("./lib/modules/6/kernel/drivers/ata/a.ko", b"no module".to_vec())]].concat();
    assert!(fails(&package("amd64", &odd)).contains("drivers/ata/a.ko is no kernel module"));
}

#[test]
fn the_agent_must_stand_alone() {
    let fails = |agent: &[u8]| DiscoveryImage::make(b"", agent).unwrap_err().to_string();
    assert!(fails(b"#!/bin/sh\n").contains("no 64-bit ELF file"));
    let mut arm = agent();
    arm[18] = 183;
    assert!(fails(&arm).contains("another processor"));
    // one program header behind the file's own, which asks for a loader
    let mut dynamic = agent();
    dynamic[32] = 64;
    dynamic[54] = 56;
    dynamic[56] = 1;
    dynamic.extend([3; 1]);
    dynamic.extend([0; 55]);
    assert!(fails(&dynamic).contains("asks for a loader"));
}
