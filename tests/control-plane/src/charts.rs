//! A repository of charts over HTTP, on loopback: what a HelmRepository points at, and as a registry an OCIRepository.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::{Router, extract::Path, http::StatusCode, response::IntoResponse, routing::get};
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::registry;

/// A chart: its names, and its templates by their file names.
#[derive(Debug, Clone)]
pub struct Chart {
    /// Such as `settings`.
    pub name: String,
    /// Such as `1.0.0`.
    pub version: String,
    /// Its defaults, in YAML.
    pub values: String,
    /// File name below `templates/` → text.
    pub templates: Vec<(String, String)>,
}

/// The server. It ends when this is dropped.
pub struct Repository {
    /// Where it answers.
    pub url: String,
    charts: Arc<Mutex<Vec<Chart>>>,
    task: JoinHandle<()>,
}

impl Chart {
    /// The chart as a file that Helm reads.
    pub fn packed(&self) -> Result<Vec<u8>> {
        let Chart { name, version, values, templates } = self;
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let own = format!("apiVersion: v2\nname: {name}\nversion: {version}\nappVersion: '1'\n");
        let files = [("Chart.yaml".to_owned(), own), ("values.yaml".to_owned(), values.clone())];
        let templates = templates.iter().map(|(file, text)| (format!("templates/{file}"), text.clone()));
        for (file, text) in files.into_iter().chain(templates) {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            archive.append_data(&mut header, format!("{name}/{file}"), text.as_bytes())?;
        }
        Ok(archive.into_inner()?.finish()?)
    }
}

impl Repository {
    /// Serves these charts on a free port of loopback.
    pub async fn start(charts: Vec<Chart>) -> Result<Repository> {
        let charts = Arc::new(Mutex::new(charts));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::clone(&charts);
        let answer = move |Path(file): Path<String>| {
            let charts = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
            async move {
                match file_of(&charts, &file) {
                    Some(bytes) => bytes.into_response(),
                    None => StatusCode::NOT_FOUND.into_response(),
                }
            }
        };
        let of_registry = Arc::clone(&charts);
        let part = move |Path((name, kind, reference)): Path<(String, String, String)>| {
            let charts = of_registry.lock().unwrap_or_else(PoisonError::into_inner).clone();
            async move { registry::answer(&charts, &name, &kind, &reference) }
        };
        let router = Router::new()
            .route("/{file}", get(answer))
            .route("/v2/", get(|| async { "{}" }))
            .route("/v2/charts/{name}/{kind}/{reference}", get(part));
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.ok();
        });
        Ok(Repository { url, charts, task })
    }

    /// The same as an OCI registry: `URL/NAME`, with versions as tags.
    pub fn registry(&self) -> String {
        format!("{}/charts", self.url.replace("http://", "oci://"))
    }

    /// Adds a chart, or another version of one.
    pub fn add(&self, chart: Chart) {
        self.charts.lock().unwrap_or_else(PoisonError::into_inner).push(chart);
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn file_name(chart: &Chart) -> String {
    format!("{}-{}.tgz", chart.name, chart.version)
}

fn file_of(charts: &[Chart], file: &str) -> Option<Vec<u8>> {
    if file != "index.yaml" {
        return charts.iter().find(|chart| file_name(chart) == file)?.packed().ok();
    }
    let mut index = String::from("apiVersion: v1\nentries:\n");
    let mut names: Vec<&str> = charts.iter().map(|chart| chart.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        index += &format!("  {name}:\n");
        for chart in charts.iter().filter(|chart| chart.name == name) {
            let digest = hex::encode(Sha256::digest(chart.packed().ok()?));
            let (version, file) = (&chart.version, file_name(chart));
            index += &format!(
                "  - {{apiVersion: v2, name: {name}, version: {version}, digest: {digest}, urls: [{file}]}}\n"
            );
        }
    }
    Some(index.into_bytes())
}
