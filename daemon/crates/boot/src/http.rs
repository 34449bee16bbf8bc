//! HTTP/1.1 as far as a boot server needs it: heads of requests and the part of a file that one asks for.
//!
//! ```text
//! request-line = method SP target SP HTTP/1.x CRLF      (RFC 9112 §3)
//! field        = name ":" OWS value OWS CRLF            (RFC 9112 §5; a line that continues another is refused, §5.2)
//! head         = request-line *field CRLF
//! ```
//!
//! What two readers could understand differently is refused, so that nothing can hide in a request: a body of two
//! lengths, a coding, a space before a colon. Nothing that comes in can make this fail other than by a [`HeadError`].

/// No machine that boots says more.
pub const LONGEST_HEAD: usize = 16 << 10;
/// The same.
pub const MOST_FIELDS: usize = 64;

/// A request without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<'a> {
    /// `GET`
    pub method: &'a str,
    /// path and query, or a whole URI
    pub target: &'a str,
    /// name and value, in their order
    pub fields: Vec<(&'a str, &'a [u8])>,
    /// HTTP/1.1, not 1.0
    pub is_1_1: bool,
    /// whether another request may follow on the connection
    pub keeps: bool,
    /// whether the body is sent only when told to go on
    pub waits: bool,
    /// octets of the body
    pub length: u64,
    /// octets of the head itself, with what stood before it
    pub octets: usize,
}

/// Why a head cannot be answered otherwise; the connection ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// not HTTP, or not only one thing
    #[error("{0}")]
    Malformed(&'static str),
    /// longer than [`LONGEST_HEAD`], or more than [`MOST_FIELDS`]
    #[error("the head of the request is too long")]
    Long,
    /// neither 1.0 nor 1.1
    #[error("only HTTP/1.1 and HTTP/1.0 are spoken here")]
    Version,
    /// a body of a length that is not said
    #[error("a body must come with its length")]
    Coding,
}

impl HeadError {
    /// As HTTP numbers it.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::Coding => 411,
            Self::Long => 431,
            Self::Version => 505,
        }
    }
}

impl<'a> Head<'a> {
    /// Reads a head at the beginning; `None` when more has to come first.
    ///
    /// # Errors
    /// As soon as nothing that could come makes it right.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Self>, HeadError> {
        let mut lines = Lines { bytes, at: 0 };
        // RFC 9112 §2.2: empty lines before a request are no request
        let line = loop {
            match lines.next() {
                Some(b"") => {}
                Some(line) => break line,
                None => return lines.unfinished(),
            }
        };
        let (method, target, is_1_1) = request_line(line)?;
        let mut fields = Vec::new();
        loop {
            match lines.next() {
                Some(b"") => break,
                Some(_) if fields.len() == MOST_FIELDS => return Err(HeadError::Long),
                Some(line) => fields.push(field(line)?),
                None => return lines.unfinished(),
            }
        }
        if lines.at > LONGEST_HEAD {
            return Err(HeadError::Long);
        }
        let mut head =
            Self { method, target, fields, is_1_1, keeps: is_1_1, waits: false, length: 0, octets: lines.at };
        head.judge()?;
        Ok(Some(head))
    }

    /// What the fields say about the message itself.
    fn judge(&mut self) -> Result<(), HeadError> {
        let hosts = self.all("host").count();
        if hosts > 1 || (self.is_1_1 && hosts == 0) {
            return Err(HeadError::Malformed("a request names one host"));
        }
        if self.all("transfer-encoding").next().is_some() {
            return Err(HeadError::Coding);
        }
        let mut lengths = self.all("content-length");
        let length = match (lengths.next(), lengths.next()) {
            (None, _) => 0,
            (Some(value), None) => number(value).ok_or(HeadError::Malformed("a length is one number"))?,
            (Some(_), Some(_)) => return Err(HeadError::Malformed("a length is one number")),
        };
        drop(lengths);
        let says = |word: &str| {
            let values = self.all("connection").flat_map(|value| value.split(|byte| *byte == b','));
            values.into_iter().any(|value| value.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
        };
        let keeps = if self.is_1_1 { !says("close") } else { says("keep-alive") && !says("close") };
        let waits =
            self.is_1_1 && self.all("expect").any(|value| value.eq_ignore_ascii_case(b"100-continue"));
        (self.length, self.keeps, self.waits) = (length, keeps, waits);
        Ok(())
    }

    fn all<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'a [u8]> + 'b {
        let named = self.fields.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| *value)
    }
}

fn request_line(line: &[u8]) -> Result<(&str, &str, bool), HeadError> {
    const FAULT: HeadError = HeadError::Malformed("this is no HTTP request");
    let line = std::str::from_utf8(line).map_err(|_| FAULT)?;
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(FAULT);
    };
    let visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_token(method.as_bytes()) || !visible(target) {
        return Err(FAULT);
    }
    match version {
        "HTTP/1.1" => Ok((method, target, true)),
        "HTTP/1.0" => Ok((method, target, false)),
        other if other.starts_with("HTTP/") => Err(HeadError::Version),
        _ => Err(FAULT),
    }
}

fn field(line: &[u8]) -> Result<(&str, &[u8]), HeadError> {
    const FAULT: HeadError = HeadError::Malformed("a header field is a name, a colon and a value");
    let colon = line.iter().position(|byte| *byte == b':').ok_or(FAULT)?;
    let (name, value) = (line.get(..colon).ok_or(FAULT)?, line.get(colon + 1..).ok_or(FAULT)?);
    let control = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
    if !is_token(name) || value.iter().any(control) {
        return Err(FAULT);
    }
    Ok((std::str::from_utf8(name).map_err(|_| FAULT)?, value.trim_ascii()))
}

/// RFC 9110 §5.6.2.
fn is_token(text: &[u8]) -> bool {
    let special = |byte: &u8| b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || special(byte))
}

fn number(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.bytes.get(self.at..)?;
        let length = rest.iter().position(|byte| *byte == b'\n')?;
        self.at += length + 1;
        let line = rest.get(..length)?;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }

    fn unfinished<T>(&self) -> Result<Option<T>, HeadError> {
        if self.bytes.len() > LONGEST_HEAD { Err(HeadError::Long) } else { Ok(None) }
    }
}

/// The part of a file that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// all of it
    Whole,
    /// from one octet to another, both included
    Octets {
        /// the first
        first: u64,
        /// the last
        last: u64,
    },
    /// none that there is
    Missing,
}

impl Part {
    /// Reads a `Range` of a file of this size. Several ranges at once may be answered by the whole file, and what is no
    /// range has to be (RFC 9110 §14.2).
    pub fn parse(range: &[u8], size: u64) -> Self {
        let Some((unit, ranges)) = range.iter().position(|byte| *byte == b'=').map(|at| range.split_at(at))
        else {
            return Self::Whole;
        };
        let range = ranges.get(1..).unwrap_or_default().trim_ascii();
        let Some(dash) = range.iter().position(|byte| *byte == b'-') else { return Self::Whole };
        let (first, last) = range.split_at(dash);
        let (first, last) = (first.trim_ascii(), last.get(1..).unwrap_or_default().trim_ascii());
        if !unit.eq_ignore_ascii_case(b"bytes") {
            return Self::Whole;
        }
        match (first, last) {
            (b"", b"") => Self::Whole,
            (b"", suffix) => match number(suffix) {
                None => Self::Whole,
                Some(length) if length == 0 || size == 0 => Self::Missing,
                Some(length) => Self::Octets { first: size.saturating_sub(length), last: size - 1 },
            },
            (first, last) => {
                let end = if last.is_empty() { Some(u64::MAX) } else { number(last) };
                match (number(first), end) {
                    (Some(first), Some(last)) if first > last => Self::Whole,
                    (Some(first), Some(_)) if first >= size => Self::Missing,
                    (Some(first), Some(last)) => Self::Octets { first, last: last.min(size - 1) },
                    _ => Self::Whole,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(text: &str) -> Result<Option<Head<'_>>, HeadError> {
        Head::parse(text.as_bytes())
    }

    #[test]
    fn as_firmware_and_ipxe_ask() {
        let text =
            "HEAD /ipxe/snponly.efi HTTP/1.1\r\nHost: 10.0.0.1\r\nUser-Agent: UefiHttpBoot/1.0\r\n\r\nGET";
        let asked = head(text).unwrap().unwrap();
        assert_eq!((asked.method, asked.target, asked.keeps), ("HEAD", "/ipxe/snponly.efi", true));
        assert_eq!((asked.length, asked.octets), (0, text.len() - 3));
        assert_eq!(asked.fields[1], ("User-Agent", &b"UefiHttpBoot/1.0"[..]));
        let text = "\r\nGET /boot.ipxe HTTP/1.1\r\nConnection: keep-alive, Close\r\nHost:x\r\n\r\n";
        assert!(!head(text).unwrap().unwrap().keeps);
        assert!(!head("GET / HTTP/1.0\n\n").unwrap().unwrap().keeps);
        assert!(head("GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n").unwrap().unwrap().keeps);
        let text = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n";
        let report = head(text).unwrap().unwrap();
        assert!(report.waits && report.length == 12);
    }

    #[test]
    fn what_is_not_whole_yet_is_waited_for() {
        let text = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for length in 0..text.len() {
            assert_eq!(Head::parse(&text.as_bytes()[..length]), Ok(None), "{length}");
        }
        assert!(head(text).unwrap().is_some());
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let cases = [
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1 x\r\nHost: a\r\n\r\n", 400),
            ("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("G\u{1}T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("\u{16}\u{3}\u{1}\n\n", 400),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        ];
        for (text, status) in cases {
            assert_eq!(head(text).map_err(HeadError::status), Err(status), "{text:?}");
        }
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(MOST_FIELDS));
        assert_eq!(head(&many), Err(HeadError::Long));
        assert_eq!(head(&"a".repeat(LONGEST_HEAD + 1)), Err(HeadError::Long));
    }

    #[test]
    fn parts_of_ten_octets() {
        let octets = |first, last| Part::Octets { first, last };
        let cases = [
            ("bytes=0-", octets(0, 9)),
            ("bytes=4-6", octets(4, 6)),
            ("BYTES= 4 - 99", octets(4, 9)),
            ("bytes=-3", octets(7, 9)),
            ("bytes=-30", octets(0, 9)),
            ("bytes=10-", Part::Missing),
            ("bytes=-0", Part::Missing),
            ("bytes=6-4", Part::Whole),
            ("bytes=0-1,4-5", Part::Whole),
            ("bytes=", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("0-1", Part::Whole),
            ("bytes=99999999999999999999-", Part::Whole),
        ];
        for (text, part) in cases {
            assert_eq!(Part::parse(text.as_bytes(), 10), part, "{text}");
        }
        assert_eq!(Part::parse(b"bytes=0-", 0), Part::Missing);
    }

    proptest! {
        #[test]
        fn a_part_is_never_more_than_the_file(range in "bytes=[0-9]{0,3}-[0-9]{0,3}", size in 0_u64..500) {
            if let Part::Octets { first, last } = Part::parse(range.as_bytes(), size) {
                prop_assert!(first <= last && last < size);
            }
        }
    }
}
