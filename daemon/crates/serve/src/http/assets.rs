//! Files of the catalogue: whole or in part, with their exact length and their digest.

use ::boot::{Asset, AssetName, AssetNameError};
use axum::{
    Extension,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tower_http::services::ServeFile;

use super::{BootServer, Ends, text};
use crate::authority::BootAuthority;

/// RFC 9530 §3: the digest of the whole file, also when only a part of it is sent.
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// Read at once. A larger one is hardly quicker, and every connection holds one.
const CHUNK: usize = 256 << 10;

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
}

async fn send(asset: &Asset, request: Request) -> Result<Response, Fault> {
    let now = tokio::fs::metadata(&asset.path).await?;
    if now.len() != asset.size || now.modified().ok() != asset.modified {
        return Err(Fault::Changed);
    }
    let mut file = ServeFile::new(&asset.path).with_buf_chunk_size(CHUNK);
    let mut response = file.try_call(request).await?.map(Body::new).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type(asset.name.file()));
    if let Ok(digest) = HeaderValue::from_str(&format!("sha-256=:{}:", STANDARD.encode(asset.sha256))) {
        headers.insert(REPR_DIGEST, digest);
    }
    Ok(response)
}

/// UEFI goes by the type, or by the suffix when there is none (UEFI 2.10 §24.7.3.1).
fn content_type(file: &str) -> HeaderValue {
    HeaderValue::from_static(match file.rsplit_once('.') {
        Some((_, "efi")) => "application/efi",
        Some((_, "txt")) => "text/plain",
        _ => "application/octet-stream",
    })
}
