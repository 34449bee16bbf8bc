//! HTTPS, as somebody else's client sees it.

use std::{path::Path, process::Stdio};

use talos_config::{pki, secrets::SecretsBundle};
use tokio::process::Command;

use super::*;

const CURL: &str = "/usr/bin/curl";

/// A boot server by HTTPS, and its authority's certificate in a file.
async fn stand() -> (Stand, TempDir) {
    let authority = SecretsBundle::generate(1_790_000_000).unwrap().kubernetes;
    let own = pki::boot::server(&authority, IpAddr::from([127, 0, 0, 1])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ca.crt"), &authority.certificate).unwrap();
    let limits = Limits { header: Duration::from_millis(300), ..Limits::default() };
    (Stand::with(limits, Some(Secure::new(&own, &authority).unwrap())).await, folder)
}

async fn curl(words: &[&str], url: &str) -> std::process::Output {
    let mut command = Command::new(CURL);
    command.args(["-sS", "--max-time", "20"]).args(words).arg(url).stdin(Stdio::null());
    command.output().await.unwrap()
}

#[tokio::test]
async fn whoever_trusts_the_authority_gets_whole_files_and_scripts_that_stay_with_https() {
    if !Path::new(CURL).exists() {
        eprintln!("skipped: there is no {CURL}");
        return;
    }
    let (stand, folder) = stand().await;
    // more than one piece, and not a multiple of it
    let large: Vec<u8> = (0..700_001_u32).map(|number| (number % 251) as u8).collect();
    fs::write(stand.images.path().join("ipxe/large.efi"), &large).unwrap();
    stand._catalogue.send_replace(Arc::new(Catalogue::load(stand.images.path()).unwrap()));
    let ca = folder.path().join("ca.crt").display().to_string();
    let url = |path: &str| format!("https://{}{path}", stand.address);
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        let got = curl(&[&["--cacert", &ca], version].concat(), &url("/ipxe/large.efi")).await;
        assert!(got.status.success(), "{version:?}: {}", String::from_utf8_lossy(&got.stderr));
        assert!(got.stdout == large, "{version:?}: {} octets", got.stdout.len());
    }
    let part = curl(&["--cacert", &ca, "--range", "600000-"], &url("/ipxe/large.efi")).await;
    assert!(part.stdout == large[600_000..], "{} octets", part.stdout.len());
    let head = curl(&["--cacert", &ca, "--head"], &url("/ipxe/large.efi")).await;
    let head = String::from_utf8(head.stdout).unwrap();
    assert!(head.contains("content-length: 700001") && head.starts_with("HTTP/1.1 200"), "{head}");
    let script = curl(&["--cacert", &ca], &url("/boot.ipxe")).await;
    let script = String::from_utf8(script.stdout).unwrap();
    assert!(script.contains(&format!("https://{}/boot/ask?", stand.address)), "{script}");
    assert!(!script.contains("http://"), "{script}");
}

#[tokio::test]
async fn whoever_does_not_trust_it_is_counted_and_others_are_served() {
    if !Path::new(CURL).exists() {
        eprintln!("skipped: there is no {CURL}");
        return;
    }
    let (stand, folder) = stand().await;
    let url = format!("https://{}/boot.ipxe", stand.address);
    let refused = curl(&[], &url).await;
    // CURLE_PEER_FAILED_VERIFICATION
    assert_eq!(refused.status.code(), Some(60), "{}", String::from_utf8_lossy(&refused.stderr));
    // somebody who says nothing at all, and somebody who speaks plainly
    let silent = TcpStream::connect(stand.address).await.unwrap();
    let mut plain = TcpStream::connect(stand.address).await.unwrap();
    plain.write_all(b"GET /boot.ipxe HTTP/1.1\r\nhost: boot\r\n\r\n").await.unwrap();
    let counted = async {
        while stand.counters.get("http", "tls-refused") < 3 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let seen = tokio::time::timeout(Duration::from_secs(20), counted).await;
    assert!(seen.is_ok(), "{:?}", stand.counters.snapshot());
    drop((silent, plain));
    let ca = folder.path().join("ca.crt").display().to_string();
    let got = curl(&["--cacert", &ca], &url).await;
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    stand.shutdown.cancel();
    stand.task.await.unwrap();
}
