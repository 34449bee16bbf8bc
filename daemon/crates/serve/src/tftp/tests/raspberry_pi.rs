//! What a Raspberry Pi's bootloader asks for, in its order, by the names that it uses.
//!
//! It has heard "Raspberry Pi Boot" by DHCP and nothing of files: it knows them itself. It looks for each in the folder that
//! is called after its serial number, asks for the size first, and goes on without those that are not there.

use super::*;

/// A Pi 4 up to its boot program; those that it must get are marked.
const PI_4: [(&str, bool); 12] = [
    ("config.txt", true),
    ("pieeprom.sig", false),
    ("recover4.elf", false),
    ("recovery.elf", false),
    ("start4.elf", true),
    ("fixup4.dat", true),
    ("dt-blob.bin", false),
    ("bcm2711-rpi-4-b.dtb", true),
    ("overlays/overlay_map.dtb", false),
    ("overlays/miniuart-bt.dtbo", true),
    ("cmdline.txt", false),
    ("u-boot.bin", true),
];

fn fill(stand: &Stand) {
    let folder = stand.images.path().join("rpi");
    fs::create_dir_all(folder.join("overlays")).unwrap();
    for (file, is_there) in PI_4 {
        if is_there {
            fs::write(folder.join(file), format!("this is {file}")).unwrap();
        }
    }
    stand.catalogues.send_replace(Arc::new(Catalogue::load(stand.images.path()).unwrap()));
}

fn options() -> Options {
    Options { size: Some(0), block_size: Some(1024), ..Options::default() }
}

#[tokio::test]
async fn a_pi_finds_its_files_in_its_folder_and_hears_of_those_that_are_not_there() {
    let stand = Stand::new().await;
    fill(&stand);
    for folder in ["9ffefdef", "dc-a6-32-01-36-c2"] {
        for (file, is_there) in PI_4 {
            let client = Client::new(&stand).await;
            let path = format!("{folder}/{file}");
            if is_there {
                let got = client.fetch(path.as_bytes(), options()).await;
                assert_eq!(String::from_utf8_lossy(&got), format!("this is {file}"));
            } else {
                client.ask(path.as_bytes(), options()).await;
                assert_eq!(client.refused().await, NOT_FOUND, "{path}");
            }
        }
    }
    // the older ones' first stage is asked for outside of the folder
    let client = Client::new(&stand).await;
    assert_eq!(client.fetch(b"config.txt", options()).await, b"this is config.txt");
    let (without, wrong) =
        (stand.counters.get("tftp", "raspberry-pi-without"), stand.counters.get("tftp", "refused-name"));
    assert_eq!((without, wrong), (12, 0));
    assert!(stand.trace.complaints(0).is_empty(), "{:?}", stand.trace.complaints(0));
    stand.stop().await;
}

#[tokio::test]
async fn a_pi_leads_nowhere_else_and_an_empty_folder_is_said() {
    let stand = Stand::new().await;
    let client = Client::new(&stand).await;
    for name in [
        "9ffefdef/config.txt",
        "9ffefdef/../secret.yaml",
        "9ffefdef/snponly.efi",
        "9ffefdef/ipxe/snponly.efi",
    ] {
        client.ask(name.as_bytes(), options()).await;
        assert_eq!(client.refused().await, NOT_FOUND, "{name}");
    }
    let said = stand.trace.complaints(0);
    assert!(said.iter().any(|trouble| trouble.what.contains("no rpi/ with it")), "{said:?}");
    stand.stop().await;
}
