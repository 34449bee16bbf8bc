//! The same charts as an OCI registry has them: what an OCIRepository points at.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::Chart;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
const CONTENT: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A chart as its registry has it: manifest, configuration, content.
fn parts(chart: &Chart) -> Option<[Vec<u8>; 3]> {
    let config = json!({ "name": chart.name, "version": chart.version, "apiVersion": "v2" });
    let (config, content) = (config.to_string().into_bytes(), chart.packed().ok()?);
    let part = |kind: &str, bytes: &[u8]| -> Value {
        json!({ "mediaType": kind, "digest": digest(bytes), "size": bytes.len() })
    };
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": part(CONFIG, &config), "layers": [part(CONTENT, &content)],
    });
    Some([manifest.to_string().into_bytes(), config, content])
}

/// What is below `/v2/charts/` of a chart: `NAME/manifests/VERSION`, by digest, too, and `NAME/blobs/DIGEST`.
pub(crate) fn answer(charts: &[Chart], name: &str, kind: &str, reference: &str) -> Response {
    for chart in charts.iter().filter(|chart| chart.name == name) {
        let Some([manifest, config, content]) = parts(chart) else { continue };
        let is_asked = match kind {
            "manifests" => chart.version == reference || digest(&manifest) == reference,
            _ => digest(&config) == reference || digest(&content) == reference,
        };
        if !is_asked {
            continue;
        }
        let (media_type, bytes) = match kind {
            "manifests" => (MANIFEST, manifest),
            _ if digest(&config) == reference => (CONFIG, config),
            _ => (CONTENT, content),
        };
        let own = digest(&bytes);
        return ([(header::CONTENT_TYPE.as_str(), media_type), ("docker-content-digest", &own)], bytes)
            .into_response();
    }
    StatusCode::NOT_FOUND.into_response()
}
