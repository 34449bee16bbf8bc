//! The HTTP client of firmware and iPXE: plain, one request a connection, the body only as far as needed.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Empty};
use hyper::{
    Method, Request, Response, Uri,
    body::{Bytes, Incoming},
    header,
};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;

/// What UEFI HTTP Boot calls itself.
pub(super) const UEFI: &str = "UefiHttpBoot/1.0";
/// What iPXE of Debian trixie calls itself.
pub(super) const IPXE: &str = "iPXE/1.21.1+git20250501";
/// A script is small; what is larger is not one.
const LONGEST_SCRIPT: usize = 64 * 1024;
/// Until the headers are here.
const PATIENCE: Duration = Duration::from_secs(30);

/// A file that was fetched and not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fetched {
    /// bytes
    pub(super) size: u64,
    /// SHA-256, hexadecimal
    pub(super) digest: String,
    /// the one in the answer's Repr-Digest (RFC 9530)
    pub(super) promised: Option<String>,
}

async fn ask(method: Method, url: &str, agent: &str) -> anyhow::Result<Response<Incoming>> {
    let uri: Uri = url.parse().with_context(|| format!("{url} is not a URL"))?;
    if uri.scheme_str() != Some("http") {
        bail!("{url}: only http is spoken here");
    }
    let host = uri.host().ok_or_else(|| anyhow!("{url} names no host"))?;
    let asked = async {
        let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(header::HOST, uri.authority().map_or(host, |authority| authority.as_str()))
            .header(header::USER_AGENT, agent)
            .body(Empty::<Bytes>::new())?;
        anyhow::Ok(sender.send_request(request).await?)
    };
    let response =
        tokio::time::timeout(PATIENCE, asked).await.with_context(|| format!("{url}: no answer"))?;
    let response = response.with_context(|| url.to_owned())?;
    if !response.status().is_success() {
        bail!("{url}: {}", response.status());
    }
    Ok(response)
}

/// The size of a file, as UEFI asks before it fetches.
pub(super) async fn head(url: &str, agent: &str) -> anyhow::Result<u64> {
    let response = ask(Method::HEAD, url, agent).await?;
    let length =
        response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    length.ok_or_else(|| anyhow!("{url}: the answer to HEAD has no Content-Length, which UEFI needs"))
}

/// A script.
pub(super) async fn text(url: &str, agent: &str) -> anyhow::Result<String> {
    let mut body = ask(Method::GET, url, agent).await?.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        bytes.extend(frame?.into_data().unwrap_or_default());
        if bytes.len() > LONGEST_SCRIPT {
            bail!("{url}: too long for a script");
        }
    }
    String::from_utf8(bytes).with_context(|| format!("{url}: not text"))
}

/// Fetches a file to its end, for its digest. A body shorter than promised is an error.
pub(super) async fn file(url: &str, agent: &str) -> anyhow::Result<Fetched> {
    let response = ask(Method::GET, url, agent).await?;
    let promised =
        response.headers().get("repr-digest").and_then(|value| promised_digest(value.to_str().ok()?));
    let mut body = response.into_body();
    let (mut size, mut digest) = (0, Sha256::new());
    while let Some(frame) = body.frame().await {
        let data = frame.with_context(|| format!("{url}: cut off"))?.into_data().unwrap_or_default();
        size += u64::try_from(data.len())?;
        digest.update(&data);
    }
    Ok(Fetched { size, digest: hex::encode(digest.finalize()), promised })
}

/// `sha-256=:base64:` (RFC 9530 §2).
fn promised_digest(value: &str) -> Option<String> {
    let member = value.split(',').find_map(|member| member.trim().strip_prefix("sha-256=:"))?;
    STANDARD.decode(member.strip_suffix(':')?).ok().map(hex::encode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promised_digest_is_read() {
        let value = "sha-512=:AAAA:, sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(promised_digest(value).as_deref(), Some(empty));
        assert_eq!(promised_digest("md5=:AAAA:"), None);
    }
}
