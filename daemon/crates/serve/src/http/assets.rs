//! Files of the catalogue: whole or in part, with their exact length and their digest.

use std::sync::Arc;

use ::boot::{Asset, AssetName, AssetNameError, http::Part};
use axum::{
    Extension,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, header::InvalidHeaderValue},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{BootServer, Ends, text, wire::FilePart};
use crate::authority::BootAuthority;

/// RFC 9530 §3: the digest of the whole file, also when only a part of it is sent.
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

pub(super) async fn ipxe<A: BootAuthority>(
    State(server): State<BootServer<A>>,
    Path(file): Path<String>,
    request: Request,
) -> Response {
    serve(&server, AssetName::ipxe(&file), request).await
}

pub(super) async fn image<A: BootAuthority>(
    State(server): State<BootServer<A>>,
    Extension(ends): Extension<Ends>,
    Path((schematic, version, file)): Path<(String, String, String)>,
    request: Request,
) -> Response {
    let fetches = request.method() == Method::GET;
    let response = serve(&server, AssetName::image(&schematic, &version, &file), request).await;
    if fetches && response.status().is_success() {
        server.authority.fetched(ends.peer.ip().to_canonical()).await;
    }
    response
}

pub(super) async fn serve<A>(
    server: &BootServer<A>,
    name: Result<AssetName, AssetNameError>,
    request: Request,
) -> Response {
    let asset = name.ok().and_then(|name| server.catalogue.borrow().get(&name).cloned());
    let Some(asset) = asset else {
        return text(StatusCode::NOT_FOUND, "no such boot file\n");
    };
    match send(&asset, request).await {
        Ok(response) => response,
        Err(fault) => {
            tracing::error!(file = %asset.path.display(), %fault, "a boot file cannot be served");
            server.counters.add("http", "file-fault");
            text(StatusCode::INTERNAL_SERVER_ERROR, "this boot file cannot be served\n")
        }
    }
}

/// Why a file of the catalogue is not served after all.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("cannot read it: {0}")]
    Read(#[from] std::io::Error),
    #[error("it changed since its digest was computed: reload the site")]
    Changed,
    #[error("an answer cannot be written: {0}")]
    Field(#[from] InvalidHeaderValue),
}

async fn send(asset: &Asset, request: Request) -> Result<Response, Fault> {
    let file = tokio::fs::File::open(&asset.path).await?;
    let now = file.metadata().await?;
    if now.len() != asset.size || now.modified().ok() != asset.modified {
        return Err(Fault::Changed);
    }
    let digest = format!("sha-256=:{}:", STANDARD.encode(asset.sha256));
    let tag = format!("\"{}\"", asset.sha256_hex());
    let mut fields = HeaderMap::new();
    let mut say = |name: HeaderName, value: &str| {
        HeaderValue::from_str(value).map(|value| drop(fields.insert(name, value)))
    };
    say(header::CONTENT_TYPE, content_type(asset.name.file()))?;
    say(header::ACCEPT_RANGES, "bytes")?;
    say(header::ETAG, &tag)?;
    say(REPR_DIGEST, &digest)?;
    let (status, offset, length) = match wanted(&request, asset.size, &tag) {
        Part::Whole => (StatusCode::OK, 0, asset.size),
        Part::Octets { first, last } => {
            say(header::CONTENT_RANGE, &format!("bytes {first}-{last}/{}", asset.size))?;
            (StatusCode::PARTIAL_CONTENT, first, last - first + 1)
        }
        Part::Missing => {
            say(header::CONTENT_RANGE, &format!("bytes */{}", asset.size))?;
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, fields).into_response());
        }
    };
    say(header::CONTENT_LENGTH, &length.to_string())?;
    let mut response = (status, fields).into_response();
    let file = Arc::new(file.into_std().await);
    response.extensions_mut().insert(FilePart { file, offset, length });
    Ok(response)
}

/// The part that is asked for; all of it when what was fetched before was another file.
fn wanted(request: &Request, size: u64, tag: &str) -> Part {
    let fields = request.headers();
    let same = fields.get(header::IF_RANGE).is_none_or(|of| of.as_bytes() == tag.as_bytes());
    match fields.get(header::RANGE).filter(|_| same && request.method() == Method::GET) {
        Some(range) => Part::parse(range.as_bytes(), size),
        None => Part::Whole,
    }
}

/// UEFI goes by the type, or by the suffix when there is none (UEFI 2.10 §24.7.3.1).
fn content_type(file: &str) -> &'static str {
    match file.rsplit_once('.') {
        Some((_, "efi")) => "application/efi",
        Some((_, "txt")) => "text/plain",
        _ => "application/octet-stream",
    }
}
