//! A whole image: known digests, pins, schematics, the bootloaders of a package.

use std::{collections::BTreeMap, fs, path::Path};

use boot::Catalogue;
use hardware::Architecture;
use images::{Digest, DownloadError, Folder, Need, PullError, Pulled, Sources, import_package, pull};
use sha2::{Digest as _, Sha256};

use crate::{
    Quiet, client, folder, noise,
    server::{Server, claims, file, status},
};

const SCHEMATIC: &str = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";
pub(crate) const VERSION: &str = "v1.13.9";
const TEXT: &str = "customization: {}\n";
const COMMAND_LINE: &str = "talos.platform=metal console=tty0";

fn hex(bytes: &[u8]) -> String {
    Digest(Sha256::digest(bytes).into()).to_string()
}

/// A Debian package with the two bootloaders of a test.
fn package() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes) in [("./usr/lib/ipxe/undionly.kpxe", "bios"), ("./usr/lib/ipxe/snponly.efi", "efi")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, bytes.as_bytes()).unwrap();
    }
    let archive = archive.into_inner().unwrap();
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, data) in [("debian-binary", b"2.0\n".as_slice()), ("data.tar", &archive)] {
        bytes
            .extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100644, data.len()).bytes());
        bytes.extend_from_slice(data);
    }
    bytes
}

/// A catalogue whose two sources are this server.
fn sources(server: &Server) -> Sources {
    let base = server.url("");
    let text = format!(
        "talos:
  - name: factory
    url: {base}/image/{{schematic}}/{{version}}/{{file}}
    schematics: {base}/schematics
  - name: releases
    only: {SCHEMATIC}
    url: {base}/releases/{{version}}/{{file}}
    sums: {base}/releases/{{version}}/sha256sum.txt
    names: {{ kernel-amd64: vmlinuz-amd64 }}
    consoles: {{ amd64: console=tty0 }}
    arguments: {{ v1.13: slab_nomerge pti=on }}
ipxe:
  package: ipxe_1_all.deb
  sha256: {}
  urls: ['{base}/gone.deb', '{base}/pool/ipxe_1_all.deb']
  folder: usr/lib/ipxe
  files: {{ amd64: [undionly.kpxe, snponly.efi] }}
pulls: {{}}
",
        hex(&package())
    );
    Sources::parse("test.yaml", &text).unwrap()
}

pub(crate) fn need() -> Need {
    Need {
        schematic: SCHEMATIC.to_owned(),
        text: Some(TEXT.to_owned()),
        version: VERSION.to_owned(),
        architecture: Architecture::Amd64,
        secure_boot: false,
    }
}

/// A factory and a release server that are right, with this kernel.
pub(crate) async fn right(kernel: Vec<u8>) -> Server {
    Server::start(move |request, _| {
        let image = format!("/image/{SCHEMATIC}/{VERSION}");
        match request.path.as_str() {
            "/schematics" => {
                let id = hex(request.body.as_bytes());
                let answer = format!("{{\"id\":\"{id}\"}}");
                claims(answer.as_bytes(), Some(answer.len()))
            }
            "/pool/ipxe_1_all.deb" => file(request, &package(), "\"p\"", usize::MAX),
            "/releases/v1.13.9/vmlinuz-amd64" => file(request, &kernel, "\"k\"", usize::MAX),
            "/releases/v1.13.9/initramfs-amd64.xz" => file(request, b"initramfs", "\"i\"", usize::MAX),
            "/releases/v1.13.9/sha256sum.txt" => {
                let sums = format!(
                    "{}  vmlinuz-amd64\n{}  initramfs-amd64.xz\n{}  metal-amd64.iso\n",
                    hex(b"a kernel"),
                    hex(b"initramfs"),
                    hex(b"iso")
                );
                claims(sums.as_bytes(), Some(sums.len()))
            }
            path if path == format!("{image}/kernel-amd64") => file(request, &kernel, "\"k\"", usize::MAX),
            path if path == format!("{image}/initramfs-amd64.xz") => {
                file(request, b"initramfs", "\"i\"", usize::MAX)
            }
            path if path == format!("{image}/cmdline-metal-amd64") => {
                file(request, COMMAND_LINE.as_bytes(), "\"c\"", usize::MAX)
            }
            _ => status("404 Not Found"),
        }
    })
    .await
}

pub(crate) async fn pull_from(
    server: &Server,
    folder: &Folder,
    from: Option<&str>,
) -> Result<BTreeMap<String, Pulled>, PullError> {
    let all = pull(&client(), folder, &sources(server), &[need()], from, &Quiet).await?;
    Ok(all.into_iter().map(|(name, _, how)| (name.to_string(), how)).collect())
}

fn served(root: &Path, file: &str) -> Option<Vec<u8>> {
    let catalogue = Catalogue::load(root).unwrap();
    let asset = catalogue.assets().find(|asset| asset.name.to_string().ends_with(file))?;
    Some(fs::read(&asset.path).unwrap())
}

#[tokio::test]
async fn what_was_pulled_is_what_the_daemon_serves() {
    let kernel = noise(200_000);
    let server = right(kernel.clone()).await;
    let (root, folder) = folder();
    let pulled = pull_from(&server, &folder, None).await.unwrap();
    assert_eq!(pulled.len(), 5);
    assert_eq!(pulled[&format!("{SCHEMATIC}/{VERSION}/kernel-amd64")], Pulled::Pinned);
    assert_eq!(pulled["ipxe/snponly.efi"], Pulled::Checked);
    assert_eq!(server.seen()[0].body, TEXT, "the factory is told the schematic first");

    let catalogue = Catalogue::load(root.path()).unwrap();
    let image = catalogue.image(SCHEMATIC, VERSION, Architecture::Amd64).unwrap();
    assert_eq!(image.cmdline, COMMAND_LINE);
    assert_eq!(served(root.path(), "kernel-amd64"), Some(kernel));
    assert_eq!(served(root.path(), "undionly.kpxe"), Some(b"bios".to_vec()));
    assert!(folder.rotten().unwrap().is_empty());

    let before = server.seen().len();
    let again = pull_from(&server, &folder, None).await.unwrap();
    assert!(again.values().all(|how| *how == Pulled::Here), "{again:?}");
    assert_eq!(server.seen().len(), before, "nothing is asked when all is there");
}

#[tokio::test]
async fn a_release_is_held_to_its_list_of_digests() {
    let server = right(b"a kernel".to_vec()).await;
    let (root, folder) = folder();
    let pulled = pull_from(&server, &folder, Some("releases")).await.unwrap();
    assert_eq!(pulled[&format!("{SCHEMATIC}/{VERSION}/kernel-amd64")], Pulled::Checked);
    let catalogue = Catalogue::load(root.path()).unwrap();
    let image = catalogue.image(SCHEMATIC, VERSION, Architecture::Amd64).unwrap();
    assert_eq!(image.cmdline, "talos.platform=metal console=tty0 slab_nomerge pti=on");

    let wrong = right(b"a worm".to_vec()).await;
    let (root, folder) = crate::folder();
    let error = pull_from(&wrong, &folder, Some("releases")).await.unwrap_err();
    assert!(error.to_string().contains("it is not kept and not served"), "{error}");
    assert_eq!(served(root.path(), "kernel-amd64"), None);
    assert!(folder.rotten().unwrap().is_empty());
}

#[tokio::test]
async fn a_file_that_was_replaced_at_its_source_is_refused() {
    let (root, folder) = folder();
    let first = right(b"a kernel".to_vec()).await;
    pull_from(&first, &folder, None).await.unwrap();
    // somebody tidied up, and somebody else got into the factory
    fs::remove_dir_all(root.path().join(SCHEMATIC)).unwrap();
    fs::remove_dir_all(root.path().join(".content")).unwrap();
    let folder = Folder::open(folder.root()).unwrap();
    let second = right(b"a worm".to_vec()).await;
    let error = pull_from(&second, &folder, None).await.unwrap_err();
    assert!(matches!(&error, PullError::Replaced { .. }), "{error}");
    assert_eq!(served(root.path(), "kernel-amd64"), None);
    assert_eq!(pull_from(&first, &folder, None).await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_broken_file_is_mended_by_pulling_again() {
    let (root, folder) = folder();
    let server = right(b"a kernel".to_vec()).await;
    pull_from(&server, &folder, None).await.unwrap();
    let kernel = root.path().join(SCHEMATIC).join(VERSION).join("kernel-amd64");
    fs::remove_file(&kernel).unwrap();
    fs::write(&kernel, "half a ker").unwrap();
    assert!(Catalogue::load(root.path()).is_err());
    let pulled = pull_from(&server, &folder, None).await.unwrap();
    assert_eq!(pulled.values().filter(|how| **how == Pulled::Here).count(), 5, "its content was still there");
    assert_eq!(served(root.path(), "kernel-amd64"), Some(b"a kernel".to_vec()));
}

#[tokio::test]
async fn halves_of_two_files_do_not_become_one() {
    let (_root, folder) = folder();
    let content = noise(100_000);
    let digest = Digest(Sha256::digest(&content).into());
    // an old attempt brought the beginning of another file under the same tag
    let server = {
        let content = content.clone();
        Server::start(move |request, _| file(request, &content, "\"same\"", usize::MAX)).await
    };
    let url = server.url("/releases/v1.13.9/vmlinuz-amd64");
    let partial = folder.partial(&url);
    fs::write(&partial, vec![7; 1_000]).unwrap();
    fs::write(partial.with_extension("version"), "{\"validator\":\"\\\"same\\\"\",\"whole\":100000}")
        .unwrap();
    client().fetch("kernel", &url, &partial, true, &Quiet).await.unwrap();
    assert_eq!(server.seen()[0].range, Some(1_000));
    let name = boot::AssetName::image(SCHEMATIC, VERSION, "kernel-amd64").unwrap();
    let error = folder.take(&name, &partial, Some(digest)).unwrap_err();
    assert!(error.to_string().contains(&digest.to_string()), "{error}");
    // the wrong whole is gone, so the next attempt begins at the beginning
    client().fetch("kernel", &url, &partial, true, &Quiet).await.unwrap();
    assert_eq!(server.seen().last().unwrap().range, None);
    assert_eq!(folder.take(&name, &partial, Some(digest)).unwrap().digest, digest);
}

#[tokio::test]
async fn a_factory_that_names_the_schematic_otherwise_is_not_believed() {
    let (root, folder) = folder();
    let server = Server::start(|request, _| match request.path.as_str() {
        "/schematics" => claims(b"{\"id\":\"another\"}", Some(16)),
        _ => status("404 Not Found"),
    })
    .await;
    let error = pull_from(&server, &folder, None).await.unwrap_err();
    assert!(matches!(&error, PullError::OtherSchematic { theirs, .. } if theirs == "another"), "{error}");
    assert_eq!(server.seen().len(), 1, "nothing was fetched");
    assert_eq!(served(root.path(), "kernel-amd64"), None);
}

#[tokio::test]
async fn an_image_that_nobody_has_is_named_with_its_url() {
    let (_root, folder) = folder();
    let server = Server::start(|request, _| match request.path.as_str() {
        "/schematics" => {
            let answer = format!("{{\"id\":\"{SCHEMATIC}\"}}");
            claims(answer.as_bytes(), Some(answer.len()))
        }
        _ => status("404 Not Found"),
    })
    .await;
    let error = pull_from(&server, &folder, None).await.unwrap_err();
    let PullError::Download(DownloadError::Status { url, .. }) = &error else { panic!("{error}") };
    assert!(url.ends_with(&format!("/image/{SCHEMATIC}/{VERSION}/kernel-amd64")), "{url}");
    let error = pull_from(&server, &folder, Some("mirror")).await.unwrap_err();
    assert!(error.to_string().ends_with("the catalogue has: factory, releases"), "{error}");
}

#[tokio::test]
async fn bootloaders_come_from_a_package_that_somebody_brings_too() {
    let server = right(b"a kernel".to_vec()).await;
    let (root, folder) = folder();
    let architectures = [Architecture::Amd64].into();
    let wrong = [package(), b"\n".to_vec()].concat();
    assert!(import_package(&folder, &sources(&server), &wrong, &architectures).is_err());
    assert_eq!(served(root.path(), "snponly.efi"), None);
    assert_eq!(import_package(&folder, &sources(&server), &package(), &architectures).unwrap().len(), 2);
    assert_eq!(served(root.path(), "snponly.efi"), Some(b"efi".to_vec()));
    assert!(server.seen().is_empty());
}
