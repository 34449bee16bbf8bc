//! A repository over HTTP, on loopback, for those who log in: what a GitRepository points at. The user's `git` answers.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use axum::{
    Router,
    body::Bytes,
    extract::Query,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, net::TcpListener, task::JoinHandle};

/// The server and a clone to commit in. It ends when this is dropped.
pub struct Repository {
    /// Where it answers.
    pub url: String,
    folder: TempDir,
    task: JoinHandle<()>,
}

/// What the server needs to know.
struct Served {
    bare: PathBuf,
    /// `Basic …`
    login: String,
}

#[derive(serde::Deserialize)]
struct Wanted {
    service: String,
}

impl Repository {
    /// Serves an empty repository to whoever has this name and password.
    pub async fn start(user: &str, password: &str) -> Result<Repository> {
        let folder = TempDir::new()?;
        let (bare, clone) = (folder.path().join("bare.git"), folder.path().join("clone"));
        git(folder.path(), &["init", "--quiet", "--bare", "--initial-branch=main", "bare.git"])?;
        git(folder.path(), &["init", "--quiet", "--initial-branch=main", "clone"])?;
        git(&clone, &["remote", "add", "origin", &bare.display().to_string()])?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/repository", listener.local_addr()?);
        let login = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")));
        let served = Arc::new(Served { bare, login });
        let (one, other) = (Arc::clone(&served), served);
        let router = Router::new()
            .route(
                "/repository/info/refs",
                get(move |head: HeaderMap, Query(wanted): Query<Wanted>| async move {
                    one.advertise(&head, &wanted.service).await
                }),
            )
            .route(
                "/repository/git-upload-pack",
                post(move |head: HeaderMap, body: Bytes| async move { other.pack(&head, &body).await }),
            );
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.ok();
        });
        Ok(Repository { url, folder, task })
    }

    /// Writes these files, removes those without a text, and pushes; tells the commit.
    pub fn commit(&self, files: &[(&str, Option<&str>)]) -> Result<String> {
        let clone = self.folder.path().join("clone");
        for (name, text) in files {
            let path = clone.join(name);
            match text {
                Some(text) => {
                    fs::create_dir_all(path.parent().context("it has a folder")?)?;
                    fs::write(&path, text)?;
                }
                None => fs::remove_file(&path)?,
            }
        }
        git(&clone, &["add", "--all"])?;
        let who = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"];
        git(&clone, &[&who[..], &["commit", "--quiet", "--allow-empty", "-m", "Change"]].concat())?;
        git(&clone, &["push", "--quiet", "origin", "main"])?;
        git(&clone, &["rev-parse", "HEAD"])
    }

    /// Where one commits: the repository as files.
    pub fn checkout(&self) -> PathBuf {
        self.folder.path().join("clone")
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Served {
    fn refuse(&self, head: &HeaderMap) -> Option<Response> {
        let given = head.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")];
        (given != Some(&self.login)).then(|| (StatusCode::UNAUTHORIZED, challenge).into_response())
    }

    async fn advertise(&self, head: &HeaderMap, service: &str) -> Response {
        if let Some(refusal) = self.refuse(head) {
            return refusal;
        }
        if service != "git-upload-pack" {
            return StatusCode::FORBIDDEN.into_response();
        }
        match self.upload_pack(&["--advertise-refs"], &[]).await {
            Ok(said) => {
                let text = [b"001e# service=git-upload-pack\n0000".as_slice(), &said].concat();
                ([(header::CONTENT_TYPE, "application/x-git-upload-pack-advertisement")], text)
                    .into_response()
            }
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }

    async fn pack(&self, head: &HeaderMap, body: &[u8]) -> Response {
        if let Some(refusal) = self.refuse(head) {
            return refusal;
        }
        match self.upload_pack(&[], body).await {
            Ok(said) => {
                ([(header::CONTENT_TYPE, "application/x-git-upload-pack-result")], said).into_response()
            }
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }

    async fn upload_pack(&self, options: &[&str], body: &[u8]) -> Result<Vec<u8>> {
        let mut child = tokio::process::Command::new("git")
            .args(["upload-pack", "--stateless-rpc"])
            .args(options)
            .arg(&self.bare)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut input = child.stdin.take().context("it has an input")?;
        let (written, output) = tokio::join!(
            async move {
                input.write_all(body).await?;
                input.shutdown().await
            },
            child.wait_with_output()
        );
        // it may have had enough before it read everything
        written.ok();
        Ok(output?.stdout)
    }
}

/// Runs `git` and tells what it printed.
fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        // what a person has configured is no matter here
        .envs([
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
        ])
        .output()
        .context("git does not run")?;
    if !output.status.success() {
        bail!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
