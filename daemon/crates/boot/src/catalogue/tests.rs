use tempfile::TempDir;

use super::*;

const SCHEMATIC: &str = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";

/// A folder with one image and one bootloader, as the daemon expects it.
fn images() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let image = root.path().join(SCHEMATIC).join("v1.11.0");
    fs::create_dir_all(&image).unwrap();
    let mut sums = String::new();
    for (file, content) in [
        ("kernel-amd64", "a kernel"),
        ("initramfs-amd64.xz", "an initramfs"),
        ("cmdline-metal-amd64", "talos.platform=metal console=tty0\n"),
    ] {
        fs::write(image.join(file), content).unwrap();
        sums += &format!("{}  {file}\n", hex::encode(Sha256::digest(content)));
    }
    fs::write(image.join(SUMS), sums).unwrap();
    fs::write(image.join("notes.txt"), "not listed").unwrap();
    fs::create_dir_all(root.path().join(".partial/v1.12.0")).unwrap();
    fs::create_dir(root.path().join(IPXE)).unwrap();
    fs::write(root.path().join("ipxe/snponly.efi"), "MZ").unwrap();
    root
}

#[test]
fn what_is_listed_can_be_named_and_nothing_else() {
    let root = images();
    let catalogue = Catalogue::load(root.path()).unwrap();
    let names: Vec<String> = catalogue.assets().map(|asset| asset.name.to_string()).collect();
    let file = |file| format!("{SCHEMATIC}/v1.11.0/{file}");
    let image = [file("cmdline-metal-amd64"), file("initramfs-amd64.xz"), file("kernel-amd64")];
    assert_eq!(names[..3], image);
    assert_eq!(names[3..], ["ipxe/snponly.efi"]);
    let kernel = catalogue.get(&file("kernel-amd64").parse().unwrap()).unwrap();
    assert_eq!(kernel.size, 8);
    assert_eq!(kernel.sha256_hex(), "4fff0d3e643b3894c17a0738fbdc591953aa722c9d42774425090accc4377126");
}

#[test]
fn an_image_is_two_files_and_a_command_line() {
    let root = images();
    let catalogue = Catalogue::load(root.path()).unwrap();
    let image = catalogue.image(SCHEMATIC, "v1.11.0", Architecture::Amd64).unwrap();
    assert_eq!(image.kernel.file(), "kernel-amd64");
    assert_eq!(image.initramfs.file(), "initramfs-amd64.xz");
    assert_eq!(image.cmdline, "talos.platform=metal console=tty0");
    let error = catalogue.image(SCHEMATIC, "v1.11.0", Architecture::Arm64).unwrap_err();
    assert!(error.to_string().contains("kernel-arm64, initramfs-arm64.xz, cmdline-metal-arm64"), "{error}");
}

#[test]
fn what_raspberry_pis_start_with_is_a_folder_of_its_own() {
    let root = images();
    let folder = root.path().join(RASPBERRY_PI);
    fs::create_dir_all(folder.join(OVERLAYS)).unwrap();
    fs::write(folder.join("start4.elf"), "firmware").unwrap();
    fs::write(folder.join("overlays/miniuart-bt.dtbo"), "overlay").unwrap();
    fs::write(folder.join(SUMS), format!("{}  start4.elf\n", hex::encode(Sha256::digest("firmware"))))
        .unwrap();
    let catalogue = Catalogue::load(root.path()).unwrap();
    for (asked, size) in [("start4.elf", 8), ("9ffefdef/overlays/miniuart-bt.dtbo", 7)] {
        let name = AssetName::raspberry_pi(asked).unwrap();
        assert_eq!(catalogue.get(&name).map(|asset| asset.size), Some(size), "{asked}");
    }
    fs::write(folder.join("start4.elf"), "other").unwrap();
    assert!(matches!(Catalogue::load(root.path()), Err(CatalogueError::WrongDigest { .. })));
}

#[test]
fn the_newest_discovery_image_is_taken() {
    let root = images();
    assert_eq!(Catalogue::load(root.path()).unwrap().discovery(Architecture::Amd64), None);
    for version in ["6.1.99-1", "6.1.192-2", "5.10.9-1"] {
        let folder = root.path().join(DISCOVERY).join(version);
        fs::create_dir_all(&folder).unwrap();
        for file in fs::read_dir(root.path().join(SCHEMATIC).join("v1.11.0")).unwrap() {
            let path = file.unwrap().path();
            fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
    }
    let catalogue = Catalogue::load(root.path()).unwrap();
    let image = catalogue.discovery(Architecture::Amd64).unwrap();
    assert_eq!(image.kernel.to_string(), "discovery/6.1.192-2/kernel-amd64");
    assert_eq!(catalogue.discovery(Architecture::Arm64), None);
}

#[test]
fn a_changed_file_is_refused() {
    let root = images();
    fs::write(root.path().join(SCHEMATIC).join("v1.11.0/kernel-amd64"), "another kernel").unwrap();
    let error = Catalogue::load(root.path()).unwrap_err();
    assert!(
        matches!(&error, CatalogueError::WrongDigest { path, .. } if path.ends_with("kernel-amd64")),
        "{error}"
    );
}

#[test]
fn a_missing_file_is_named() {
    let root = images();
    fs::remove_file(root.path().join(SCHEMATIC).join("v1.11.0/initramfs-amd64.xz")).unwrap();
    let error = Catalogue::load(root.path()).unwrap_err();
    assert!(
        matches!(&error, CatalogueError::Missing { path } if path.ends_with("initramfs-amd64.xz")),
        "{error}"
    );
}

#[test]
fn no_digests_no_image() {
    let root = images();
    fs::remove_file(root.path().join(SCHEMATIC).join("v1.11.0").join(SUMS)).unwrap();
    assert!(matches!(Catalogue::load(root.path()), Err(CatalogueError::NoSums { .. })));
    let missing = root.path().join("nowhere");
    assert!(matches!(Catalogue::load(&missing), Err(CatalogueError::Read { .. })));
}

#[test]
fn the_list_may_not_point_elsewhere() {
    let root = images();
    let sums = root.path().join(SCHEMATIC).join("v1.11.0").join(SUMS);
    fs::write(&sums, format!("{}  ../../ipxe/snponly.efi\n", hex::encode(Sha256::digest("MZ")))).unwrap();
    assert!(matches!(Catalogue::load(root.path()), Err(CatalogueError::Name { .. })));
    fs::write(&sums, "\nthis is not a digest\n").unwrap();
    assert!(matches!(Catalogue::load(root.path()), Err(CatalogueError::BadSums { line: 2, .. })));
}

#[test]
fn bootloaders_may_have_digests_too() {
    let root = images();
    let sums = root.path().join(IPXE).join(SUMS);
    fs::write(&sums, format!("{}  snponly.efi\n", hex::encode(Sha256::digest("MZ")))).unwrap();
    assert_eq!(Catalogue::load(root.path()).unwrap().assets().count(), 4);
    fs::write(root.path().join("ipxe/snponly.efi"), "ZM").unwrap();
    assert!(matches!(Catalogue::load(root.path()), Err(CatalogueError::WrongDigest { .. })));
}

#[test]
fn a_command_line_of_two_lines_is_none() {
    let root = images();
    let folder = root.path().join(SCHEMATIC).join("v1.11.0");
    let content = "talos.platform=metal\nreboot\n";
    fs::write(folder.join("cmdline-metal-amd64"), content).unwrap();
    let mut sums = fs::read_to_string(folder.join(SUMS)).unwrap();
    sums += &format!("{} *cmdline-metal-amd64\n", hex::encode(Sha256::digest(content)));
    fs::write(folder.join(SUMS), sums).unwrap();
    assert!(matches!(Catalogue::load(root.path()), Err(CatalogueError::BadCmdline { .. })));
}
