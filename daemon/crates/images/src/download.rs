//! One file over HTTP, whole or not at all: it resumes where it was cut off, and believes no length without counting.
//!
//! What has come lies in a partial file; beside it is written what the server called that version of the file. A later
//! attempt asks for the rest of exactly that version (`Range` with `If-Range`, RFC 9110 §13.1.5), also after the
//! program was ended. Whether the whole is the right file only its digest says, which is not decided here.

use std::{
    error::Error as _,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{
    Response, StatusCode, Url,
    header::{ACCEPT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, IF_RANGE, LAST_MODIFIED, RANGE},
    redirect::Policy,
};
use serde::{Deserialize, Serialize};

/// No boot file is longer; a server that sends on and on must not fill the disk.
const LONGEST: u64 = 8 << 30;
/// No list of digests and no answer to a schematic is longer.
const LONGEST_TEXT: usize = 1 << 20;
/// The Image Factory leads to object storage in one or two steps.
const REDIRECTS: usize = 10;

/// How patient a client is.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// attempts in a row that bring nothing new
    pub tries: u32,
    /// before the second attempt; doubles with each that brings nothing
    pub wait: Duration,
    /// without a single octet
    pub silence: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { tries: 5, wait: Duration::from_secs(1), silence: Duration::from_secs(30) }
    }
}

/// Hears how a download goes on.
pub trait Progress: Send + Sync {
    /// a file begins, or goes on with what it has already
    fn begins(&self, name: &str, has: u64, whole: Option<u64>);
    /// this much of it has come, all in all
    fn has(&self, octets: u64);
    /// an attempt broke off, and there will be another one
    fn again(&self, why: &str);
    /// the file is whole
    fn ends(&self);
}

/// Why a file was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// the server says no
    #[error("{url} answers {status}")]
    Status {
        /// what was asked for
        url: String,
        /// its answer
        status: StatusCode,
    },
    /// it broke off again and again
    #[error(
        "{url}: {why}; gave up after {tries} attempts without progress, at {has} octets; the next try goes on there"
    )]
    GaveUp {
        /// what was asked for
        url: String,
        /// attempts in a row
        tries: u32,
        /// octets that have come
        has: u64,
        /// the last fault
        why: String,
    },
    /// the request cannot be made at all
    #[error("{url}: {why}")]
    Request {
        /// what was asked for
        url: String,
        /// in whose way
        why: String,
    },
    /// nobody could tell the whole file from a part of it
    #[error(
        "{url} does not say how long the file is, and no digest of it is known: nobody could tell whether it is whole"
    )]
    NoLength {
        /// what was asked for
        url: String,
    },
    /// longer than anything that is booted
    #[error("{url} says it is {length} octets long; more than {LONGEST} are not fetched")]
    TooLong {
        /// what was asked for
        url: String,
        /// what it says
        length: u64,
    },
    /// an answer of another form than expected
    #[error("{url}: {why}")]
    Answer {
        /// what was asked for
        url: String,
        /// what is wrong with it
        why: String,
    },
    /// the disk
    #[error("cannot write {}: {source}", path.display())]
    Disk {
        /// the partial file
        path: PathBuf,
        /// why not
        source: io::Error,
    },
}

/// Fetches files.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    pace: Pace,
}

/// What the server calls the version of the file that a partial file is of.
#[derive(Debug, Serialize, Deserialize)]
struct Version {
    validator: Option<String>,
    whole: Option<u64>,
}

/// Why one attempt did not bring the file.
enum Broken {
    /// another attempt may
    Now(String),
    /// none will
    ForEver(DownloadError),
}

impl Client {
    /// Goes through the proxy of the environment, and trusts whom the system trusts.
    pub fn new(pace: Pace) -> Result<Self, DownloadError> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("ichord/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(pace.silence.min(Duration::from_secs(10)))
            .read_timeout(pace.silence)
            .redirect(Policy::custom(|attempt| {
                let was_safe = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
                if was_safe && attempt.url().scheme() != "https" {
                    attempt.error("it leads from https to a place without")
                } else if attempt.previous().len() > REDIRECTS {
                    attempt.error("it leads on and on")
                } else {
                    attempt.follow()
                }
            }))
            .build()
            .map_err(|error| DownloadError::Request { url: "the HTTP client".into(), why: chain(&error) })?;
        Ok(Self { http, pace })
    }

    /// Fetches into a partial file until it is as long as the server says. `digest_known` tells that somebody will
    /// notice if the server does not say it.
    pub async fn fetch(
        &self,
        name: &str,
        url: &str,
        partial: &Path,
        digest_known: bool,
        progress: &dyn Progress,
    ) -> Result<(), DownloadError> {
        let (mut most, mut tries) = (size_of(partial), 0);
        loop {
            let why = match self.attempt(name, url, partial, digest_known, progress).await {
                Ok(()) => break,
                Err(Broken::ForEver(error)) => return Err(error),
                Err(Broken::Now(why)) => why,
            };
            let has = size_of(partial);
            tries = if has > most { 1 } else { tries + 1 };
            most = most.max(has);
            if tries >= self.pace.tries {
                return Err(DownloadError::GaveUp { url: url.to_owned(), tries, has, why });
            }
            progress.again(&why);
            tokio::time::sleep(self.pace.wait * (1 << (tries - 1).min(5))).await;
        }
        progress.ends();
        fs::remove_file(version_file(partial)).ok();
        Ok(())
    }

    async fn attempt(
        &self,
        name: &str,
        url: &str,
        partial: &Path,
        digest_known: bool,
        progress: &dyn Progress,
    ) -> Result<(), Broken> {
        let for_ever = |source| Broken::ForEver(DownloadError::Disk { path: partial.to_owned(), source });
        let known = read_version(partial);
        // a part that nobody can name the version of may be of another file than what comes
        let validator = known.as_ref().and_then(|version| version.validator.clone());
        let mut has = if validator.is_some() { size_of(partial) } else { 0 };
        let whole = known.and_then(|version| version.whole);
        if has > 0 && whole == Some(has) {
            return Ok(());
        }
        let mut request = self.http.get(url).header(ACCEPT_ENCODING, "identity");
        if let Some(validator) = validator.filter(|_| has > 0) {
            request = request.header(RANGE, format!("bytes={has}-")).header(IF_RANGE, validator);
        }
        let mut response = request.send().await.map_err(|error| broken(url, &error))?;
        let whole = match response.status() {
            StatusCode::OK => {
                has = 0;
                response.content_length()
            }
            StatusCode::PARTIAL_CONTENT => {
                let range = content_range(response.headers());
                match range {
                    Some((begin, length)) if begin == has && whole.is_none_or(|whole| whole == length) => {
                        Some(length)
                    }
                    _ => {
                        begin_anew(partial).map_err(for_ever)?;
                        return Err(Broken::Now("the server sent another part than was asked for".into()));
                    }
                }
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                begin_anew(partial).map_err(for_ever)?;
                return Err(Broken::Now("the server has no such part any more".into()));
            }
            status if is_passing(status) => return Err(Broken::Now(format!("the server answers {status}"))),
            status => {
                return Err(Broken::ForEver(DownloadError::Status { url: url.to_owned(), status }));
            }
        };
        match whole {
            None if !digest_known => {
                return Err(Broken::ForEver(DownloadError::NoLength { url: url.to_owned() }));
            }
            Some(length) if length > LONGEST => {
                return Err(Broken::ForEver(DownloadError::TooLong { url: url.to_owned(), length }));
            }
            _ => {}
        }
        let mut file = if has == 0 {
            begin_anew(partial).map_err(for_ever)?;
            write_version(partial, &Version { validator: validator_of(response.headers()), whole })
                .map_err(for_ever)?;
            File::create(partial)
        } else {
            OpenOptions::new().append(true).open(partial)
        }
        .map_err(for_ever)?;
        progress.begins(name, has, whole);
        let end = receive(&mut response, &mut file, &mut has, whole, progress).await;
        file.sync_all().map_err(for_ever)?;
        match end {
            Ok(()) => Ok(()),
            Err(Stopped::Disk(source)) => Err(for_ever(source)),
            Err(Stopped::Wire(why)) => Err(Broken::Now(why)),
        }
    }

    /// A short text.
    pub async fn text(&self, url: &str) -> Result<String, DownloadError> {
        let request = || self.http.get(url).header(ACCEPT_ENCODING, "identity");
        self.short(url, request).await
    }

    /// Posts a text and returns the answer.
    pub async fn post(&self, url: &str, kind: &'static str, body: &str) -> Result<String, DownloadError> {
        let request = || self.http.post(url).header(CONTENT_TYPE, kind).body(body.to_owned());
        self.short(url, request).await
    }

    async fn short(
        &self,
        url: &str,
        request: impl Fn() -> reqwest::RequestBuilder,
    ) -> Result<String, DownloadError> {
        let mut tries = 0;
        loop {
            let why = match request().send().await {
                Ok(response) if response.status().is_success() => match body_of(response).await {
                    Ok(text) => return Ok(text),
                    Err(why) => why,
                },
                Ok(response) if is_passing(response.status()) => {
                    format!("the server answers {}", response.status())
                }
                Ok(response) => {
                    return Err(DownloadError::Status { url: url.to_owned(), status: response.status() });
                }
                Err(error) => match broken(url, &error) {
                    Broken::Now(why) => why,
                    Broken::ForEver(error) => return Err(error),
                },
            };
            tries += 1;
            if tries >= self.pace.tries {
                return Err(DownloadError::GaveUp { url: url.to_owned(), tries, has: 0, why });
            }
            tokio::time::sleep(self.pace.wait * (1 << (tries - 1).min(5))).await;
        }
    }
}

async fn body_of(mut response: Response) -> Result<String, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_TEXT {
            return Err("the answer is too long".to_owned());
        }
    }
    String::from_utf8(body).map_err(|_| "the answer is not a text".to_owned())
}

enum Stopped {
    Disk(io::Error),
    Wire(String),
}

async fn receive(
    response: &mut Response,
    file: &mut File,
    has: &mut u64,
    whole: Option<u64>,
    progress: &dyn Progress,
) -> Result<(), Stopped> {
    let most = whole.unwrap_or(LONGEST);
    while let Some(chunk) = response.chunk().await.map_err(|error| Stopped::Wire(chain(&error)))? {
        if *has + chunk.len() as u64 > most {
            // whichever of the two is wrong, this is not the file
            file.set_len(0).map_err(Stopped::Disk)?;
            return Err(Stopped::Wire(format!("the server sent more than the {most} octets it spoke of")));
        }
        file.write_all(&chunk).map_err(Stopped::Disk)?;
        *has += chunk.len() as u64;
        progress.has(*has);
    }
    match whole {
        Some(whole) if *has < whole => {
            Err(Stopped::Wire(format!("the connection ended at {has} of {whole} octets")))
        }
        _ => Ok(()),
    }
}

/// What may be over in a moment.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

fn broken(url: &str, error: &reqwest::Error) -> Broken {
    let why = chain(error);
    if error.is_builder() || error.is_redirect() {
        Broken::ForEver(DownloadError::Request { url: url.to_owned(), why })
    } else {
        Broken::Now(why)
    }
}

/// An error with what is behind it; reqwest's own words name only the surface.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    // the URL is named already
    if let Some(url) = error.url().map(Url::as_str) {
        text = text.replace(&format!(" for url ({url})"), "");
    }
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

/// `bytes 100-199/200` → the first octet and the length of the whole.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, whole) = text.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, whole): (u64, u64, u64) =
        (first.trim().parse().ok()?, last.trim().parse().ok()?, whole.trim().parse().ok()?);
    (first <= last && last + 1 == whole).then_some((first, whole))
}

/// A strong entity tag, else the date of change; a weak tag may be the same for different octets.
fn validator_of(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    text(ETAG).filter(|tag| !tag.starts_with("W/")).or_else(|| text(LAST_MODIFIED))
}

fn size_of(partial: &Path) -> u64 {
    fs::metadata(partial).map_or(0, |data| data.len())
}

fn version_file(partial: &Path) -> PathBuf {
    partial.with_extension("version")
}

fn read_version(partial: &Path) -> Option<Version> {
    serde_json::from_slice(&fs::read(version_file(partial)).ok()?).ok()
}

fn write_version(partial: &Path, version: &Version) -> io::Result<()> {
    fs::write(version_file(partial), serde_json::to_vec(version).map_err(io::Error::other)?)
}

/// First the part goes, then what it is a part of: never the other way round.
fn begin_anew(partial: &Path) -> io::Result<()> {
    for path in [partial.to_owned(), version_file(partial)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
