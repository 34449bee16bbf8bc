//! `ichord images`: from a source into the folder that the daemon serves, and from there to another machine.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
};

use sha2::{Digest as _, Sha256};

use crate::{
    daemon::{Said, run},
    site::{SCHEMATIC, Site, VERSION},
};

/// A factory with these files by their paths; it ends with the test's process.
fn factory(files: BTreeMap<String, Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &files);
        }
    });
    address
}

fn answer(stream: TcpStream, files: &BTreeMap<String, Vec<u8>>) {
    let mut reader = BufReader::new(stream);
    let (mut path, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        if path.is_empty() {
            path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        }
        if line.is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
    let mut stream = reader.into_inner();
    let (status, body) = match files.get(&path) {
        Some(body) => ("200 OK", body.as_slice()),
        None => ("404 Not Found", b"".as_slice()),
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).ok();
}

/// A Debian package with one file.
fn package(path: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    // a header of ustar: name, mode, uid, gid, size, mtime, checksum, type
    let mut header = vec![0_u8; 512];
    header[..path.len()].copy_from_slice(path.as_bytes());
    for (at, text) in [(100, "0000644"), (108, "0000000"), (116, "0000000"), (136, "00000000000")] {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    archive.extend(header);
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, data) in [("debian-binary", b"2.0\n".as_slice()), ("data.tar", &archive)] {
        bytes.extend(
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, data.len()).bytes(),
        );
        bytes.extend_from_slice(data);
    }
    bytes
}

/// Starts a factory and writes the catalogue that leads to it; returns the catalogue's place in the site.
fn with_factory(site: &Site, kernel: &str) {
    let bootloader = package("./usr/lib/ipxe/snponly.efi", b"efi");
    let image = |file: &str| format!("/image/{SCHEMATIC}/{VERSION}/{file}");
    let files = [
        ("/schematics".to_owned(), format!("{{\"id\":\"{SCHEMATIC}\"}}").into_bytes()),
        (image("kernel-amd64"), kernel.as_bytes().to_vec()),
        (image("initramfs-amd64.xz"), b"initramfs".to_vec()),
        (image("cmdline-metal-amd64"), b"talos.platform=metal console=tty0\n".to_vec()),
        ("/ipxe.deb".to_owned(), bootloader.clone()),
    ];
    let base = format!("http://{}", factory(files.into()));
    let digest = hex::encode(Sha256::digest(&bootloader));
    let text = format!(
        "talos:
  - name: factory
    url: {base}/image/{{schematic}}/{{version}}/{{file}}
    schematics: {base}/schematics
ipxe:
  package: ipxe.deb
  sha256: {digest}
  urls: ['{base}/ipxe.deb']
  folder: usr/lib/ipxe
  files: {{ amd64: [snponly.efi] }}
pulls:
  v1.13: {{ etcd: etcd:v3, coredns: coredns:v1, flannel: flannel:v0, pause: pause:3 }}
"
    );
    site.write("catalogue.yaml", &text);
}

fn images(site: &Site, what: &str) -> Command {
    let mut command = site.command(&["images", what]);
    command.arg(site.folder()).arg("--state").arg(site.state());
    command.arg("--catalogue").arg(site.path("catalogue.yaml"));
    // the factory of these tests is here, whatever the way out of this machine is
    command.env("NO_PROXY", "127.0.0.1");
    command
}

async fn succeeds(mut command: Command, rest: &[&Path]) -> String {
    command.args(rest);
    let Said { code, text, out } = run(command).await;
    assert_eq!(code, Some(0), "{text}");
    out
}

fn without_images() -> Site {
    let site = Site::without_secrets();
    fs::remove_dir_all(site.path("images")).unwrap();
    site
}

#[tokio::test]
async fn what_a_site_needs_is_pulled_bundled_and_served_elsewhere() {
    let site = without_images();
    with_factory(&site, "a kernel");
    let listed = succeeds(images(&site, "list"), &[]).await;
    assert_eq!(listed.matches("  missing\n").count(), 4, "{listed}");
    let Said { code, text, .. } = run(images(&site, "verify")).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("`ichord images pull"), "{text}");

    let pulled = succeeds(images(&site, "pull"), &[]).await;
    assert_eq!(pulled.matches("from now on it must have this digest").count(), 3, "{pulled}");
    assert_eq!(fs::read_to_string(site.kernel()).unwrap(), "a kernel");
    assert_eq!(succeeds(images(&site, "verify"), &[]).await, "4 files are what their digests say\n");
    let again = succeeds(images(&site, "pull"), &[]).await;
    assert_eq!(again.matches(": was there\n").count(), 4, "{again}");

    let path = site.path("site.bundle");
    let said = succeeds(images(&site, "bundle"), &[Path::new("--out"), &path]).await;
    for image in ["etcd:v3", "ghcr.io/siderolabs/kubelet:v1.36.0", "registry.k8s.io/kube-apiserver:v1.36.0"] {
        assert!(said.lines().any(|line| line == image), "{image} is missing in {said}");
    }
    let digest = said.trim_end().rsplit(' ').next().unwrap();

    let elsewhere = without_images();
    elsewhere.write("catalogue.yaml", &site.read("catalogue.yaml"));
    let words = [path.as_path(), Path::new("--sha256"), Path::new(digest)];
    succeeds(images(&elsewhere, "import"), &words).await;
    assert_eq!(succeeds(images(&elsewhere, "verify"), &[]).await, "4 files are what their digests say\n");
    assert!(elsewhere.read("images/oci-images.txt").contains("\netcd:v3\n"));
}

#[tokio::test]
async fn a_stick_needs_a_bootloader_with_drivers() {
    let site = without_images();
    with_factory(&site, "a kernel");
    let path = site.path("stick.img");
    let mut command = images(&site, "usb");
    command.arg("--out").arg(&path);
    let Said { code, text, .. } = run(command).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("ipxe/ipxe-amd64.efi") && !path.exists(), "{text}");
    let digest = hex::encode(Sha256::digest("MZ with drivers"));
    site.write("images/ipxe/ipxe-amd64.efi", "MZ with drivers");
    site.write("images/ipxe/sha256sum.txt", &format!("{digest}  ipxe-amd64.efi\n"));
    succeeds(images(&site, "usb"), &[Path::new("--out"), &path]).await;
    let image = fs::read(&path).unwrap();
    assert!(image.windows(15).any(|part| part == b"MZ with drivers"));
    assert!(image.windows(11).any(|part| part == b"BOOTX64 EFI"));
}

#[tokio::test]
async fn a_wrong_file_is_refused_in_every_command() {
    let site = without_images();
    with_factory(&site, "a kernel");
    succeeds(images(&site, "pull"), &[]).await;
    // the factory has another kernel now, and ours is gone
    with_factory(&site, "a worm");
    fs::remove_dir_all(site.path("images").join(SCHEMATIC)).unwrap();
    fs::remove_dir_all(site.path("images/.content")).unwrap();
    let Said { code, text, .. } = run(images(&site, "pull")).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("somebody replaced it") && text.contains("pins.txt"), "{text}");
    assert!(!site.kernel().exists());

    with_factory(&site, "a kernel");
    succeeds(images(&site, "pull"), &[]).await;
    fs::remove_file(site.kernel()).unwrap();
    fs::write(site.kernel(), "a worm").unwrap();
    let Said { code, text, .. } = run(images(&site, "verify")).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("it is not served"), "{text}");
    let listed = succeeds(images(&site, "list"), &[]).await;
    assert!(listed.contains("  wrong: it is not what its list of digests says\n"), "{listed}");
}

#[tokio::test]
async fn a_catalogue_with_faults_names_their_places() {
    let site = without_images();
    site.write("catalogue.yaml", "talos: []\nipxe: none\n");
    let Said { code, text, .. } = run(images(&site, "pull")).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("catalogue.yaml:2:"), "{text}");
}
