//! Sealed files: snapshots of etcd and backups of the store, which leave this host and hold every secret of a cluster.
//!
//! They open with the cluster's own secrets, which people keep elsewhere, and not with the vault's key, which is lost with
//! this host. AES-256-GCM in pieces of 64 KiB, each bound to its place and the last one marked (the STREAM construction), so
//! that a file of any size is never held in memory and none that was cut off, put together or changed opens.

use std::io::{self, Read, Write};

use aes_gcm::{
    Aes256Gcm, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// How such a file begins.
const MAGIC: &[u8; 16] = b"ichord-sealed-1\n";

/// Makes every file's key its own, so that counting gives nonces.
const SALT: usize = 16;

/// Of plain text, in every piece but the last one.
const PIECE: usize = 64 << 10;

/// GCM's.
const TAG: usize = 16;

/// A file was not sealed, or does not open.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// it could not be read or written
    #[error("it cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// it does not begin like one
    #[error("it is not a sealed file of ichord")]
    Form,
    /// it does not open
    #[error("it does not open: it is of another cluster, of another kind, cut off or changed")]
    Tampered,
    /// more than 256 TiB
    #[error("it is too large to be sealed")]
    Large,
    /// the operating system gave no randomness
    #[error("no randomness from the operating system: {0}")]
    Randomness(getrandom::Error),
}

/// What a sealed file is: one kind does not open as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// etcd's database, as its own restore takes it
    Etcd,
    /// the daemon's store
    Store,
}

impl Kind {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Etcd => b"etcd snapshot",
            Self::Store => b"ichord store",
        }
    }
}

/// The cipher of one file, and the place in it.
struct Pieces {
    cipher: Aes256Gcm,
    kind: Kind,
    number: u32,
}

impl Pieces {
    fn new(kind: Kind, secret: &[u8], salt: &[u8]) -> Result<Self, ArchiveError> {
        let digest = Sha256::new_with_prefix(b"ichord archive key 1").chain_update(salt).chain_update(secret);
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(digest.finalize().into());
        let cipher = Aes256Gcm::new_from_slice(&key[..]).map_err(|_| ArchiveError::Form)?;
        Ok(Self { cipher, kind, number: 0 })
    }

    /// Seven zeros, the piece's number, and whether it is the last.
    fn nonce(&mut self, last: bool) -> Result<Nonce<aes_gcm::aead::consts::U12>, ArchiveError> {
        let mut nonce = [0; 12];
        nonce[7..11].copy_from_slice(&self.number.to_be_bytes());
        nonce[11] = u8::from(last);
        self.number = self.number.checked_add(1).ok_or(ArchiveError::Large)?;
        Ok(Nonce::from(nonce))
    }
}

/// Seals what it is given, piece by piece.
pub struct Sealer<W> {
    pieces: Pieces,
    waiting: Zeroizing<Vec<u8>>,
    out: W,
}

impl<W: Write> Sealer<W> {
    /// Writes the beginning of the file.
    pub fn new(kind: Kind, secret: &[u8], mut out: W) -> Result<Self, ArchiveError> {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(ArchiveError::Randomness)?;
        out.write_all(MAGIC)?;
        out.write_all(&salt)?;
        Ok(Self { pieces: Pieces::new(kind, secret, &salt)?, waiting: Zeroizing::new(Vec::new()), out })
    }

    /// More of it.
    pub fn push(&mut self, plain: &[u8]) -> Result<(), ArchiveError> {
        self.waiting.extend_from_slice(plain);
        // the last piece is known by its end alone
        while self.waiting.len() > PIECE {
            let rest = Zeroizing::new(self.waiting.split_off(PIECE));
            self.seal(false)?;
            self.waiting = rest;
        }
        Ok(())
    }

    /// The end: without it the file does not open.
    pub fn finish(mut self) -> Result<W, ArchiveError> {
        self.seal(true)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn seal(&mut self, last: bool) -> Result<(), ArchiveError> {
        let nonce = self.pieces.nonce(last)?;
        let payload = Payload { msg: &self.waiting, aad: self.pieces.kind.name() };
        let sealed = self.pieces.cipher.encrypt(&nonce, payload).map_err(|_| ArchiveError::Large)?;
        self.waiting.clear();
        Ok(self.out.write_all(&sealed)?)
    }
}

/// Opens a sealed file, piece by piece. What it gave is whole only when it gave everything.
pub struct Opener<R> {
    pieces: Pieces,
    ahead: Vec<u8>,
    from: R,
    done: bool,
}

impl<R: Read> Opener<R> {
    /// Reads the beginning of the file.
    pub fn new(kind: Kind, secret: &[u8], mut from: R) -> Result<Self, ArchiveError> {
        let mut head = [0; MAGIC.len() + SALT];
        match from.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(ArchiveError::Form),
            other => other?,
        }
        let (magic, salt) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(ArchiveError::Form);
        }
        Ok(Self { pieces: Pieces::new(kind, secret, salt)?, ahead: Vec::new(), from, done: false })
    }

    /// The next piece; `None` after the last one.
    pub fn piece(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, ArchiveError> {
        if self.done {
            return Ok(None);
        }
        // one octet more tells whether this is the last
        let wanted = (PIECE + TAG + 1).saturating_sub(self.ahead.len());
        (&mut self.from).take(wanted as u64).read_to_end(&mut self.ahead)?;
        let last = self.ahead.len() <= PIECE + TAG;
        let rest = if last { Vec::new() } else { self.ahead.split_off(PIECE + TAG) };
        let nonce = self.pieces.nonce(last)?;
        let payload = Payload { msg: &self.ahead, aad: self.pieces.kind.name() };
        let plain = self.pieces.cipher.decrypt(&nonce, payload).map_err(|_| ArchiveError::Tampered)?;
        (self.ahead, self.done) = (rest, last);
        Ok(Some(Zeroizing::new(plain)))
    }

    /// All of it, to its end; its size.
    pub fn copy_to(mut self, into: &mut impl Write) -> Result<u64, ArchiveError> {
        let mut size = 0;
        while let Some(piece) = self.piece()? {
            into.write_all(&piece)?;
            size += piece.len() as u64;
        }
        into.flush()?;
        Ok(size)
    }
}

/// Whether a file begins like a sealed one.
pub fn is_sealed(beginning: &[u8]) -> bool {
    beginning.starts_with(MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(plain: &[u8], at_once: usize) -> Vec<u8> {
        let mut sealer = Sealer::new(Kind::Etcd, b"secret", Vec::new()).unwrap();
        plain.chunks(at_once).for_each(|piece| sealer.push(piece).unwrap());
        sealer.finish().unwrap()
    }

    fn opened(kind: Kind, secret: &[u8], file: &[u8]) -> Result<Vec<u8>, ArchiveError> {
        let mut plain = Vec::new();
        Opener::new(kind, secret, file)?.copy_to(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn every_size_comes_back_as_it_was() {
        for size in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 17] {
            let plain: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
            for at_once in [1 + size / 3, PIECE, 4 * PIECE] {
                let file = sealed(&plain, at_once);
                assert!(is_sealed(&file) && !file.windows(32).any(|part| size > 64 && part == &plain[..32]));
                assert_eq!(opened(Kind::Etcd, b"secret", &file).unwrap(), plain, "{size}");
            }
        }
    }

    #[test]
    fn whatever_was_done_to_it_is_seen() {
        let plain = vec![7; 2 * PIECE + 100];
        let file = sealed(&plain, PIECE);
        let is_tampered =
            |file: &[u8]| matches!(opened(Kind::Etcd, b"secret", file), Err(ArchiveError::Tampered));
        assert!(matches!(opened(Kind::Etcd, b"another", &file), Err(ArchiveError::Tampered)));
        assert!(matches!(opened(Kind::Store, b"secret", &file), Err(ArchiveError::Tampered)));
        assert!(matches!(opened(Kind::Etcd, b"secret", b"SQLite format 3"), Err(ArchiveError::Form)));
        let (head, piece) = (MAGIC.len() + SALT, PIECE + TAG);
        // cut off anywhere, at the end of a piece as well
        for length in [head, head + 1, head + piece, head + 2 * piece, file.len() - 1] {
            assert!(is_tampered(&file[..length]), "{length}");
        }
        // pieces in another order, one left out, one twice
        let parts: Vec<&[u8]> = file[head..].chunks(piece).collect();
        for order in [vec![1, 0, 2], vec![0, 2], vec![0, 0, 1, 2]] {
            let changed: Vec<u8> =
                order.iter().fold(file[..head].to_vec(), |all, &index| [&all[..], parts[index]].concat());
            assert!(is_tampered(&changed), "{order:?}");
        }
        let mut flipped = file.clone();
        flipped[head + 5] ^= 1;
        assert!(is_tampered(&flipped));
        // two files of one plain text have nothing in common
        assert_ne!(sealed(&plain, PIECE)[head..head + 64], file[head..head + 64]);
    }
}
