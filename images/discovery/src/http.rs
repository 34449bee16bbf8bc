//! As much HTTP as it takes to hand in a report and to fetch two files from our own boot server.

use std::{io, time::Duration};

use boot::discovery::{self, Errand, File, Next, Report};
use sha2::{Digest, Sha256};
use tokio::{
    fs,
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

/// A port may still be blocked by a spanning tree when the report is ready.
const CONNECT: Duration = Duration::from_secs(60);
const CONNECT_AGAIN: Duration = Duration::from_secs(2);
/// For an answer to begin, and between two parts of it.
const PATIENCE: Duration = Duration::from_secs(60);
/// No head of an answer and no answer to a report is longer.
const LONGEST_TEXT: u64 = 64 << 10;

/// The daemon did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// nobody is there, or the line broke
    #[error("{daemon} cannot be reached: {source}")]
    Network {
        /// whom
        daemon: String,
        /// what the kernel said
        source: io::Error,
    },
    /// an address that is none
    #[error("{0} is not an address to connect to")]
    Address(String),
    /// no
    #[error("{path}: the daemon answers {status}: {text}")]
    Status {
        /// of what
        path: String,
        /// HTTP's number
        status: u16,
        /// its sentence
        text: String,
    },
    /// something else than our boot server
    #[error("{path}: {why}")]
    Form {
        /// of what
        path: String,
        /// what is wrong
        why: String,
    },
    /// broken on its way, or another file
    #[error("{path} has sha256 {found}, expected {expected}")]
    Digest {
        /// of what
        path: String,
        /// what came
        found: String,
        /// what was announced
        expected: String,
    },
}

/// Hands the report in. The token is used up with it, so it is sent once; only connecting is tried again.
///
/// # Errors
/// When the daemon cannot be reached or does not take it.
pub async fn report(errand: &Errand, report: &Report) -> Result<Next, HttpError> {
    let form = |why: String| HttpError::Form { path: discovery::PATH.to_owned(), why };
    let body = serde_json::to_vec(report).map_err(|error| form(error.to_string()))?;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        discovery::PATH,
        host(errand),
        errand.token.reveal(),
        body.len()
    );
    let mut answer = ask(errand, discovery::PATH, &[head.as_bytes(), &body].concat()).await?;
    let text = answer.text().await?;
    serde_json::from_str(&text).map_err(|error| form(error.to_string()))
}

/// Fetches a file to a path; it is there whole and right, or there is an error.
///
/// # Errors
/// When it cannot be fetched or written, or is not what was announced.
pub async fn fetch(errand: &Errand, file: &File, to: &std::path::Path) -> Result<(), HttpError> {
    let head = format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", file.path, host(errand));
    let mut answer = ask(errand, &file.path, head.as_bytes()).await?;
    let mut hasher = Sha256::new();
    let mut written = fs::File::create(to).await.map_err(|error| answer.broken(error))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = answer.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        let part = buffer.get(..count).unwrap_or_default();
        hasher.update(part);
        written.write_all(part).await.map_err(|error| answer.broken(error))?;
    }
    written.flush().await.map_err(|error| answer.broken(error))?;
    let found = hex::encode(hasher.finalize());
    if found == file.sha256 {
        Ok(())
    } else {
        Err(HttpError::Digest { path: file.path.clone(), found, expected: file.sha256.clone() })
    }
}

fn host(errand: &Errand) -> &str {
    errand.daemon.strip_prefix("http://").unwrap_or(&errand.daemon)
}

/// An answer whose head was read and says yes.
struct Answer {
    path: String,
    daemon: String,
    stream: BufReader<TcpStream>,
    left: u64,
}

async fn ask(errand: &Errand, path: &str, request: &[u8]) -> Result<Answer, HttpError> {
    let address = match host(errand) {
        host if host.parse::<std::net::IpAddr>().is_ok() => format!("{host}:80"),
        host => host.to_owned(),
    };
    let address: std::net::SocketAddr =
        address.parse().map_err(|_| HttpError::Address(errand.daemon.clone()))?;
    let failed = |source| HttpError::Network { daemon: errand.daemon.clone(), source };
    let until = Instant::now() + CONNECT;
    let mut stream = loop {
        match timeout(CONNECT_AGAIN, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => break stream,
            Ok(Err(error)) if Instant::now() > until => return Err(failed(error)),
            Err(late) if Instant::now() > until => return Err(failed(late.into())),
            _ => sleep(CONNECT_AGAIN).await,
        }
    };
    stream.write_all(request).await.map_err(failed)?;
    let mut answer = Answer {
        path: path.to_owned(),
        daemon: errand.daemon.clone(),
        stream: BufReader::new(stream),
        left: 0,
    };
    let status = answer.head().await?;
    if status == 200 {
        return Ok(answer);
    }
    let text = answer.text().await.unwrap_or_default().trim().to_owned();
    Err(HttpError::Status { path: path.to_owned(), status, text })
}

impl Answer {
    /// Reads the head; leaves the length of what follows.
    async fn head(&mut self) -> Result<u16, HttpError> {
        let form = |path: &str, why: &str| HttpError::Form { path: path.to_owned(), why: why.to_owned() };
        let (mut status, mut length, mut whole) = (None, None, 0);
        loop {
            let mut line = String::new();
            let mut limited = (&mut self.stream).take(LONGEST_TEXT);
            let count = match timeout(PATIENCE, limited.read_line(&mut line)).await {
                Ok(read) => read.map_err(|error| self.broken(error))?,
                Err(late) => return Err(self.broken(late.into())),
            };
            whole += count as u64;
            let line = line.trim_end();
            if count == 0 || whole > LONGEST_TEXT {
                return Err(form(&self.path, "the answer has no end of its head"));
            }
            if line.is_empty() {
                break;
            }
            match (status, line.split_once(':')) {
                (None, _) => {
                    let word = line.strip_prefix("HTTP/1.").and_then(|line| line.split(' ').nth(1));
                    status = Some(
                        word.and_then(|word| word.parse().ok())
                            .ok_or_else(|| form(&self.path, "the answer is not one of HTTP"))?,
                    );
                }
                (Some(_), Some((name, value))) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().ok();
                }
                _ => {}
            }
        }
        self.left = length.ok_or_else(|| form(&self.path, "the answer does not say how long it is"))?;
        status.ok_or_else(|| form(&self.path, "the answer is empty"))
    }

    /// The next part of what follows; 0 at its end.
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, HttpError> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let part = buffer.get_mut(..most).unwrap_or_default();
        if part.is_empty() {
            return Ok(0);
        }
        let count = match timeout(PATIENCE, self.stream.read(part)).await {
            Ok(read) => read.map_err(|error| self.broken(error))?,
            Err(late) => return Err(self.broken(late.into())),
        };
        if count == 0 {
            return Err(self.broken(io::ErrorKind::UnexpectedEof.into()));
        }
        self.left -= count as u64;
        Ok(count)
    }

    async fn text(&mut self) -> Result<String, HttpError> {
        if self.left > LONGEST_TEXT {
            return Err(HttpError::Form {
                path: self.path.clone(),
                why: "the answer is too long".to_owned(),
            });
        }
        let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            let count = self.read(&mut buffer).await?;
            if count == 0 {
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
            text.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
    }

    fn broken(&self, source: io::Error) -> HttpError {
        HttpError::Network { daemon: self.daemon.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Says one thing to whoever comes, and returns what was asked.
    async fn server(answer: &'static str) -> (Errand, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = format!(
            "ichord.daemon=http://{} ichord.token=00112233445566778899aabbccddeeff ichord.listen=1 \
             ichord.card=52-54-00-77-00-01,127.0.0.1,255.0.0.0,",
            listener.local_addr().unwrap()
        );
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            let mut buffer = [0; 4096];
            // an empty line ends a head, and a report's last octet is a brace
            while !asked.ends_with(b"\r\n\r\n") && !asked.ends_with(b"}") {
                let count = stream.read(&mut buffer).await.unwrap();
                asked.extend_from_slice(&buffer[..count]);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(asked).unwrap()
        });
        (Errand::read(&line).unwrap(), task)
    }

    #[tokio::test]
    async fn a_report_is_handed_in_with_its_token() {
        let answer =
            "HTTP/1.1 200 OK\r\ncontent-length: 39\r\n\r\n{\"next\":\"reboot\",\"reason\":\"no permit\"}  ";
        let (errand, asked) = server(answer).await;
        let next = report(&errand, &Report::default()).await.unwrap();
        assert_eq!(next, Next::Reboot { reason: "no permit".to_owned() });
        let asked = asked.await.unwrap();
        assert!(asked.starts_with("POST /boot/discovery HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("\r\nAuthorization: Bearer 00112233445566778899aabbccddeeff\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn a_refusal_is_told() {
        let (errand, _) = server("HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nused\n").await;
        let error = report(&errand, &Report::default()).await.unwrap_err();
        assert_eq!(error.to_string(), "/boot/discovery: the daemon answers 403: used");
    }

    #[tokio::test]
    async fn a_file_is_whole_and_right_or_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("kernel");
        let sha256 = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882".to_owned();
        let file = File { path: "/assets/a/b/kernel-amd64".to_owned(), sha256 };
        let (errand, _) = server("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789").await;
        fetch(&errand, &file, &to).await.unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"0123456789");
        let (errand, _) = server("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456780").await;
        assert!(matches!(fetch(&errand, &file, &to).await, Err(HttpError::Digest { .. })));
        for cut in [
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234",
            "HTTP/1.1 200 OK\r\n\r\n",
            "SSH-2.0\r\n\r\n",
            "",
        ] {
            let (errand, _) = server(cut).await;
            assert!(fetch(&errand, &file, &to).await.is_err(), "{cut}");
        }
    }
}
