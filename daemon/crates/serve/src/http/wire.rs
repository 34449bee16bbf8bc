//! How a file gets into a connection: by the kernel alone, out of the memory that it keeps files in.

use std::{fs::File, io, os::unix::fs::FileExt as _, sync::Arc, time::Duration};

use net::stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, Interest},
    net::TcpStream,
    task::spawn_blocking,
    time::timeout,
};
use tokio_rustls::server::TlsStream;

/// A client that takes nothing for so long is gone.
pub(super) const STALLED: Duration = Duration::from_secs(30);
/// What is looked for in memory at once, and sent without looking again.
const AHEAD: u64 = 2 << 20;
/// What is read at once to bring a file into memory.
const PIECE: u64 = 128 << 10;

/// What goes behind the head of an answer. It travels in the extensions of a response.
#[derive(Debug, Clone)]
pub(super) struct FilePart {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// A connection that files can be sent into.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {
    /// Sends the head and what belongs behind it.
    fn send_file(&mut self, head: &[u8], part: &FilePart) -> impl Future<Output = io::Result<()>> + Send;
}

impl Wire for TcpStream {
    async fn send_file(&mut self, head: &[u8], part: &FilePart) -> io::Result<()> {
        let socket = &*self;
        let mut head = head;
        while !head.is_empty() {
            let sent = when_it_takes(socket, || stream::send_before_more(socket, head)).await?;
            head = head.get(sent..).unwrap_or_default();
        }
        let (mut at, end) = (part.offset, part.offset + part.length);
        let mut in_memory = at;
        while at < end {
            if at >= in_memory {
                in_memory = end.min(at + AHEAD);
                bring(&part.file, at, in_memory - at).await?;
            }
            let most = in_memory - at;
            match when_it_takes(socket, || stream::send_file(socket, &part.file, at, most)).await? {
                0 => return Err(shorter()),
                sent => at += sent,
            }
        }
        Ok(())
    }
}

/// What is encrypted passes through this process, piece by piece.
impl Wire for TlsStream<TcpStream> {
    async fn send_file(&mut self, head: &[u8], part: &FilePart) -> io::Result<()> {
        timeout(STALLED, self.write_all(head)).await??;
        let (mut at, end) = (part.offset, part.offset + part.length);
        while at < end {
            let (file, most) = (Arc::clone(&part.file), PIECE.min(end - at));
            let piece = spawn_blocking(move || {
                let mut piece = vec![0; most as usize];
                let count = file.read_at(&mut piece, at)?;
                piece.truncate(count);
                io::Result::Ok(piece)
            })
            .await??;
            if piece.is_empty() {
                return Err(shorter());
            }
            timeout(STALLED, self.write_all(&piece)).await??;
            at += piece.len() as u64;
        }
        timeout(STALLED, self.flush()).await?
    }
}

/// As soon as the connection has room.
async fn when_it_takes<T>(socket: &TcpStream, send: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    timeout(STALLED, socket.async_io(Interest::WRITABLE, send)).await?
}

/// Reads a part of the file into memory if it is not there, on a thread that may wait for a disk.
async fn bring(file: &Arc<File>, offset: u64, length: u64) -> io::Result<()> {
    if stream::is_cached(file, offset, length) {
        return Ok(());
    }
    let file = Arc::clone(file);
    spawn_blocking(move || {
        let mut at = offset;
        let mut piece = vec![0; PIECE as usize];
        while at < offset + length {
            match file.read_at(&mut piece, at)? {
                0 => break,
                count => at += count as u64,
            }
        }
        Ok(())
    })
    .await?
}

fn shorter() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter")
}
