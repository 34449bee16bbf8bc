//! One file: cut off, resumed, changed in between, and lied about.

use std::{fs, path::PathBuf};

use images::DownloadError;
use tempfile::TempDir;

use crate::{
    Quiet, client, noise,
    server::{Server, claims, file, status},
};

fn partial() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("partial");
    (folder, path)
}

#[tokio::test]
async fn a_download_that_is_cut_off_goes_on_where_it_was() {
    let content = noise(300_000);
    let (sent, (_folder, partial)) = (content.clone(), partial());
    // never more than 100,000 octets at once
    let server = Server::start(move |request, _| file(request, &sent, "\"v1\"", 100_000)).await;
    client().fetch("kernel", &server.url("/k"), &partial, false, &Quiet).await.unwrap();
    assert_eq!(fs::read(&partial).unwrap(), content);
    let asked: Vec<_> =
        server.seen().iter().map(|request| (request.range, request.if_range.clone())).collect();
    let tag = Some("\"v1\"".to_owned());
    assert_eq!(asked, [(None, None), (Some(100_000), tag.clone()), (Some(200_000), tag)]);
}

#[tokio::test]
async fn another_run_goes_on_where_the_last_one_ended() {
    let content = noise(200_000);
    let (sent, (_folder, partial)) = (content.clone(), partial());
    let server = Server::start(move |request, before| match before {
        0 => file(request, &sent, "\"v1\"", 50_000),
        1..=3 => status("503 Service Unavailable"),
        _ => file(request, &sent, "\"v1\"", usize::MAX),
    })
    .await;
    let error = client().fetch("kernel", &server.url("/k"), &partial, false, &Quiet).await.unwrap_err();
    assert!(matches!(&error, DownloadError::GaveUp { tries: 3, has: 50_000, .. }), "{error}");
    assert!(error.to_string().contains("503 Service Unavailable"), "{error}");
    // as after a restart of the program: only the disk remembers
    client().fetch("kernel", &server.url("/k"), &partial, false, &Quiet).await.unwrap();
    assert_eq!(server.seen().last().unwrap().range, Some(50_000));
    assert_eq!(fs::read(&partial).unwrap(), content);
}

#[tokio::test]
async fn a_file_that_changed_meanwhile_is_fetched_anew() {
    let (old, new) = (noise(100_000), noise(150_000)[20_000..].to_vec());
    let (sent, (_folder, partial)) = (new.clone(), partial());
    let server = Server::start(move |request, before| match before {
        0 => file(request, &old, "\"v1\"", 30_000),
        // it does not know v1 any more and answers with all of v2
        _ => file(request, &sent, "\"v2\"", usize::MAX),
    })
    .await;
    client().fetch("kernel", &server.url("/k"), &partial, false, &Quiet).await.unwrap();
    assert_eq!(fs::read(&partial).unwrap(), new);
}

#[tokio::test]
async fn without_a_version_nothing_is_resumed() {
    let content = noise(80_000);
    let (sent, (_folder, partial)) = (content.clone(), partial());
    let server = Server::start(move |_, before| match before {
        0 => claims(&sent[..40_000], Some(80_000)),
        _ => claims(&sent, Some(80_000)),
    })
    .await;
    client().fetch("kernel", &server.url("/k"), &partial, false, &Quiet).await.unwrap();
    assert_eq!(fs::read(&partial).unwrap(), content);
    assert!(server.seen().iter().all(|request| request.range.is_none()));
}

#[tokio::test]
async fn a_part_that_was_not_asked_for_is_thrown_away() {
    let content = noise(60_000);
    let (sent, (_folder, partial)) = (content.clone(), partial());
    let server = Server::start(move |request, before| match before {
        0 => file(request, &sent, "\"v1\"", 20_000),
        1 => {
            let head = "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 10000-59999/60000\r\n\
                        content-length: 50000\r\nconnection: close\r\n\r\n";
            [head.as_bytes(), &sent[10_000..]].concat()
        }
        _ => file(request, &sent, "\"v1\"", usize::MAX),
    })
    .await;
    client().fetch("kernel", &server.url("/k"), &partial, false, &Quiet).await.unwrap();
    assert_eq!(fs::read(&partial).unwrap(), content);
    assert_eq!(server.seen().last().unwrap().range, None);
}

#[tokio::test]
async fn a_length_that_is_too_long_is_noticed() {
    let (_folder, partial) = partial();
    let server = Server::start(|_, _| claims(&noise(1_000), Some(2_000))).await;
    let error = client().fetch("kernel", &server.url("/k"), &partial, true, &Quiet).await.unwrap_err();
    assert!(matches!(&error, DownloadError::GaveUp { .. }), "{error}");
}

#[tokio::test]
async fn a_range_longer_than_its_whole_is_thrown_away() {
    let (_folder, partial) = partial();
    let content = noise(1_000);
    let sent = content.clone();
    let server = Server::start(move |request, before| match before {
        0 => file(request, &sent, "\"v1\"", 400),
        1 => {
            let head = "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 400-999/1000\r\n\
                        content-length: 700\r\nconnection: close\r\n\r\n";
            [head.as_bytes(), &[0; 700]].concat()
        }
        _ => file(request, &sent, "\"v1\"", usize::MAX),
    })
    .await;
    client().fetch("kernel", &server.url("/k"), &partial, true, &Quiet).await.unwrap();
    assert_eq!(fs::read(&partial).unwrap(), content);
    assert_eq!(server.seen().last().unwrap().range, None);
}

#[tokio::test]
async fn without_length_and_digest_nobody_could_tell_the_end() {
    let (_folder, partial) = partial();
    let server = Server::start(|_, _| claims(b"a kernel", None)).await;
    let error = client().fetch("kernel", &server.url("/k"), &partial, false, &Quiet).await.unwrap_err();
    assert!(matches!(&error, DownloadError::NoLength { .. }), "{error}");
    client().fetch("kernel", &server.url("/k"), &partial, true, &Quiet).await.unwrap();
    assert_eq!(fs::read(&partial).unwrap(), b"a kernel");
}

#[tokio::test]
async fn a_refusal_is_not_asked_again() {
    let (_folder, partial) = partial();
    let server = Server::start(|_, _| status("404 Not Found")).await;
    let error = client().fetch("kernel", &server.url("/k"), &partial, false, &Quiet).await.unwrap_err();
    assert!(error.to_string().ends_with("/k answers 404 Not Found"), "{error}");
    assert_eq!(server.seen().len(), 1);
    let too_long = Server::start(|_, _| claims(b"", Some(usize::MAX / 2))).await;
    let error = client().fetch("kernel", &too_long.url("/k"), &partial, true, &Quiet).await.unwrap_err();
    assert!(matches!(&error, DownloadError::TooLong { .. }), "{error}");
}

#[tokio::test]
async fn redirects_are_followed_as_far_as_they_end() {
    let (_folder, partial) = partial();
    let server = Server::start(|request, _| match request.path.as_str() {
        "/store/k" => claims(b"a kernel", Some(8)),
        "/k" => b"HTTP/1.1 302 Found\r\nlocation: /store/k\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            .to_vec(),
        _ => b"HTTP/1.1 302 Found\r\nlocation: /round\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            .to_vec(),
    })
    .await;
    client().fetch("kernel", &server.url("/k"), &partial, false, &Quiet).await.unwrap();
    let error = client().fetch("kernel", &server.url("/round"), &partial, true, &Quiet).await.unwrap_err();
    assert!(error.to_string().contains("leads on and on"), "{error}");
}
