//! Waiting for room to send, which is hardly ever missing.
//!
//! A socket that is watched for room all the time wakes the runtime once more for each datagram, when the other side has
//! taken it; that is as much work as the datagram. So the sockets of this crate are watched for what comes in only, and
//! here a second descriptor of one is watched for as long as there is no room.

use std::{io, os::fd::AsFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Sends what `send` sends without waiting, once there is room for it. Cancel-safe.
///
/// # Errors
/// What `send` says, other than that there is no room or that it was interrupted.
pub(crate) async fn send_when_there_is_room<T>(
    socket: impl AsFd,
    mut send: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match send() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => room(&socket).await?,
            sent => return sent,
        }
    }
}

async fn room(socket: impl AsFd) -> io::Result<()> {
    let second = socket.as_fd().try_clone_to_owned()?;
    #[allow(unsafe_code, reason = "tokio wants to be told that the descriptor stays open")]
    // SAFETY: an OwnedFd keeps its one descriptor open until it is dropped.
    let watched = unsafe { AsyncFd::register_with_interest(second, Interest::WRITABLE) }?;
    watched.writable().await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    use super::*;

    #[tokio::test]
    async fn what_finds_no_room_goes_when_there_is_some() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut filled = 0;
        let full = loop {
            match ours.write(&[7; 4096]) {
                Ok(length) => filled += length,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);

        let tries = Cell::new(0);
        let sending = send_when_there_is_room(&ours, || {
            tries.set(tries.get() + 1);
            (&ours).write(&[8])
        });
        let reading = async {
            // the sender has seen that there is none: it was polled first
            assert_eq!(tries.get(), 1);
            theirs.read_exact(&mut vec![0; filled]).unwrap();
        };
        let (sent, ()) = tokio::join!(biased; sending, reading);
        assert_eq!(sent.unwrap(), 1);
        assert_eq!(tries.get(), 2);
        let mut last = [0];
        theirs.read_exact(&mut last).unwrap();
        assert_eq!(last, [8]);
    }

    #[tokio::test]
    async fn other_errors_are_the_callers() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut errors =
            [io::ErrorKind::Interrupted, io::ErrorKind::ConnectionRefused].map(io::Error::from).into_iter();
        let sent = send_when_there_is_room(&ours, || Err::<(), _>(errors.next().unwrap())).await;
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
