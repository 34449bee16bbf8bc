//! The datagrams of TFTP: parsed as leniently as firmware needs, written as strictly as it reads.
//!
//! ```text
//!         2 octets   string   1   string   1   string   1   string   1
//! RRQ/WRQ  01/02      name    0    mode    0   option   0   value    0   ...    (RFC 1350 §5, RFC 2347)
//!         2 octets  2 octets  n octets
//! DATA      03       block      data
//! ACK       04       block
//!         2 octets  2 octets  string  1
//! ERROR     05        code     text   0
//! OACK      06       option 0 value 0 ...                                       (RFC 2347)
//! ```
//!
//! Nothing that comes in can make this fail other than by a [`ParseError`].

const READ: u16 = 1;
const WRITE: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// Error codes (RFC 1350 §5, RFC 2347).
pub mod code {
    /// see the text
    pub const UNDEFINED: u16 = 0;
    /// there is no such file
    pub const NOT_FOUND: u16 = 1;
    /// the file is not for the client, or may not be written
    pub const ACCESS: u16 = 2;
    /// the operation is not one of TFTP
    pub const ILLEGAL: u16 = 4;
    /// the client does not want the options it was granted, or wants nothing more after them
    pub const OPTIONS: u16 = 8;
}

/// One datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// a file is asked for
    Read(Request<'a>),
    /// a file is to be written
    Write(Request<'a>),
    /// a block of the file
    Data {
        /// its number, modulo 65536; the first is 1
        block: u16,
        /// shorter than the block size: the last one
        data: &'a [u8],
    },
    /// everything up to this block has come
    Ack(u16),
    /// the sender gives up
    Error {
        /// see [`code`]
        code: u16,
        /// for people, without what is not printable
        text: String,
    },
    /// the options that the server grants
    OptionAck(Options),
}

/// A read or write request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// as sent; [`Request::file`] says what is meant
    pub name: &'a [u8],
    /// how the file is to be coded
    pub mode: Mode,
    /// what the client would like
    pub options: Options,
}

/// How a file is coded on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// as it is
    Octet,
    /// lines end in CR LF; would spoil a program
    Netascii,
    /// `mail`, long obsolete, or anything else
    Other,
}

/// Options as asked for or granted; `None` where the other side does not say it, or not as a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// `blksize`, octets of data in a block (RFC 2348)
    pub block_size: Option<u64>,
    /// `timeout`, seconds (RFC 2349)
    pub timeout: Option<u64>,
    /// `tsize`, octets of the file; a reader asks with 0 (RFC 2349)
    pub size: Option<u64>,
    /// `windowsize`, blocks that are sent before an answer is waited for (RFC 7440)
    pub window: Option<u64>,
}

/// The datagram is none of TFTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// shorter than its kind has to be
    #[error("a datagram of {0} octets is too short for TFTP")]
    Short(usize),
    /// no such kind of packet
    #[error("TFTP has no operation {0}")]
    Operation(u16),
    /// a request without a name or a mode
    #[error("the TFTP request names no file or no mode")]
    Request,
}

impl<'a> Packet<'a> {
    /// Reads a datagram. Padding behind the end, a missing last zero, options that are unknown or no
    /// numbers, and options in any case are all taken as firmware means them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let short = ParseError::Short(bytes.len());
        let (operation, rest) = number(bytes).ok_or(short)?;
        match operation {
            READ => Ok(Self::Read(Request::parse(rest)?)),
            WRITE => Ok(Self::Write(Request::parse(rest)?)),
            DATA => number(rest).map(|(block, data)| Self::Data { block, data }).ok_or(short),
            ACK => number(rest).map(|(block, _)| Self::Ack(block)).ok_or(short),
            ERROR => {
                let (code, rest) = number(rest).ok_or(short)?;
                let (text, _) = string(rest);
                Ok(Self::Error { code, text: printable(text) })
            }
            OACK => Ok(Self::OptionAck(Options::parse(rest))),
            other => Err(ParseError::Operation(other)),
        }
    }

    /// Writes the datagram behind what is in `into` already.
    pub fn write(&self, into: &mut Vec<u8>) {
        match self {
            Self::Read(request) => request.write(READ, into),
            Self::Write(request) => request.write(WRITE, into),
            Self::Data { block, data } => {
                into.extend(DATA.to_be_bytes());
                into.extend(block.to_be_bytes());
                into.extend_from_slice(data);
            }
            Self::Ack(block) => {
                into.extend(ACK.to_be_bytes());
                into.extend(block.to_be_bytes());
            }
            Self::Error { code, text } => {
                into.extend(ERROR.to_be_bytes());
                into.extend(code.to_be_bytes());
                into.extend_from_slice(text.as_bytes());
                into.push(0);
            }
            Self::OptionAck(options) => {
                into.extend(OACK.to_be_bytes());
                options.write(into);
            }
        }
    }

    /// The datagram.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes
    }
}

impl<'a> Request<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let (name, rest) = string(bytes);
        let (mode, rest) = string(rest);
        if name.is_empty() || mode.is_empty() {
            return Err(ParseError::Request);
        }
        let mode = if mode.eq_ignore_ascii_case(b"octet") {
            Mode::Octet
        } else if mode.eq_ignore_ascii_case(b"netascii") {
            Mode::Netascii
        } else {
            Mode::Other
        };
        Ok(Self { name, mode, options: Options::parse(rest) })
    }

    fn write(&self, operation: u16, into: &mut Vec<u8>) {
        into.extend(operation.to_be_bytes());
        into.extend_from_slice(self.name);
        into.push(0);
        into.extend_from_slice(match self.mode {
            Mode::Octet => b"octet",
            Mode::Netascii => b"netascii",
            Mode::Other => b"mail",
        });
        into.push(0);
        self.options.write(into);
    }

    /// The file that is meant: clients put a path's beginning before the name that DHCP told them, and
    /// some BIOS ROMs the 0xff behind it that ends DHCP's options. `None` when it is no text.
    pub fn file(&self) -> Option<&'a str> {
        let mut name = self.name;
        while let [b'/' | b'\\', rest @ ..] | [rest @ .., 0xff] = name {
            name = rest;
        }
        std::str::from_utf8(name).ok()
    }
}

impl Options {
    /// Pairs of strings up to the end or to padding. The first of two equal options counts, as each
    /// may stand only once (RFC 2347).
    fn parse(mut bytes: &[u8]) -> Self {
        let mut options = Self::default();
        loop {
            let (name, rest) = string(bytes);
            if name.is_empty() {
                return options;
            }
            let (value, rest) = string(rest);
            bytes = rest;
            let place = [
                (&b"blksize"[..], &mut options.block_size),
                (b"timeout", &mut options.timeout),
                (b"tsize", &mut options.size),
                (b"windowsize", &mut options.window),
            ]
            .into_iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known));
            if let Some((_, place)) = place
                && place.is_none()
            {
                *place = std::str::from_utf8(value).ok().and_then(|value| value.trim().parse().ok());
            }
        }
    }

    fn write(&self, into: &mut Vec<u8>) {
        let all = [
            ("tsize", self.size),
            ("blksize", self.block_size),
            ("timeout", self.timeout),
            ("windowsize", self.window),
        ];
        for (name, value) in all {
            if let Some(value) = value {
                into.extend_from_slice(name.as_bytes());
                into.push(0);
                into.extend_from_slice(value.to_string().as_bytes());
                into.push(0);
            }
        }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn number(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*number), rest))
}

/// Up to the zero, or to the end where it is missing.
fn string(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// What goes into a log: no control characters, and not more than a line.
fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars().take(100).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests;
