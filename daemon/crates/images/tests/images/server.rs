//! An HTTP server that does exactly what a test tells it, right or wrong.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) range: Option<u64>,
    pub(crate) if_range: Option<String>,
    pub(crate) body: String,
}

/// What goes over the wire before the connection is closed.
pub(crate) type Reply = Vec<u8>;
type Behaviour = Box<dyn Fn(&Request, usize) -> Reply + Send + Sync>;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// The behaviour is told how many requests came before.
    pub(crate) async fn start(behaviour: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(accept(listener, Box::new(behaviour), Arc::clone(&seen)));
        Self { address, seen, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, behaviour: Behaviour, seen: Arc<Mutex<Vec<Request>>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (stream, request) = read(stream).await;
        let before = {
            let mut seen = seen.lock().unwrap();
            seen.push(request.clone());
            seen.len() - 1
        };
        let mut stream = stream;
        // the client may have heard enough
        stream.write_all(&behaviour(&request, before)).await.ok();
        stream.shutdown().await.ok();
    }
}

async fn read(stream: TcpStream) -> (TcpStream, Request) {
    let mut reader = BufReader::new(stream);
    let mut request = Request::default();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).await.unwrap();
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(": ") else {
            let mut words = line.split(' ').map(str::to_owned);
            (request.method, request.path) = (words.next().unwrap(), words.next().unwrap());
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let first = value.strip_prefix("bytes=").unwrap().trim_end_matches('-');
                request.range = Some(first.parse().unwrap());
            }
            "if-range" => request.if_range = Some(value.to_owned()),
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.unwrap();
    request.body = String::from_utf8(body).unwrap();
    (reader.into_inner(), request)
}

/// A right answer with a file of this version, cut off after so many octets of what it would send.
pub(crate) fn file(request: &Request, content: &[u8], tag: &str, cut: usize) -> Reply {
    let fresh = request.if_range.as_deref() == Some(tag);
    let (status, first) = match request.range {
        Some(first) if fresh && first < content.len() as u64 => ("206 Partial Content", first as usize),
        Some(_) if fresh => return status("416 Range Not Satisfiable"),
        _ => ("200 OK", 0),
    };
    let part = &content[first..];
    let range = match first {
        0 => String::new(),
        _ => format!("content-range: bytes {first}-{}/{}\r\n", content.len() - 1, content.len()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\netag: {tag}\r\n{range}content-length: {}\r\nconnection: close\r\n\r\n",
        part.len()
    );
    [head.as_bytes(), &part[..cut.min(part.len())]].concat()
}

/// An answer with a body and this length, whatever it is.
pub(crate) fn claims(content: &[u8], length: Option<usize>) -> Reply {
    let length = length.map_or(String::new(), |length| format!("content-length: {length}\r\n"));
    [format!("HTTP/1.1 200 OK\r\n{length}connection: close\r\n\r\n").as_bytes(), content].concat()
}

pub(crate) fn status(line: &str) -> Reply {
    format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").into_bytes()
}
