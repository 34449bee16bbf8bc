//! The two messages: GetBulk (RFC 3416 §4.2.3) and the Response to it, in the envelope of v2c (RFC 1901).
//!
//! ```text
//! SEQUENCE { version 1, community, PDU { request-id, non-repeaters | error-status, max-repetitions | error-index,
//!            SEQUENCE OF SEQUENCE { name, value } } }
//! ```

use crate::ber::{
    BerError, INTEGER, NULL, OBJECT_IDENTIFIER, OCTET_STRING, Oid, Reader, SEQUENCE, integer, oid, unsigned,
    value, write_integer, write_oid,
};

/// SNMP v2c.
const VERSION: i64 = 1;
const RESPONSE: u8 = 0xa2;
const GET_BULK: u8 = 0xa5;
const COUNTER: u8 = 0x41;
const GAUGE: u8 = 0x42;
const TICKS: u8 = 0x43;
const COUNTER_64: u8 = 0x46;
const NO_SUCH_OBJECT: u8 = 0x80;
const NO_SUCH_INSTANCE: u8 = 0x81;
const END_OF_MIB: u8 = 0x82;

/// What an object has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// a number
    Integer(i64),
    /// a counter, a gauge, a time
    Unsigned(u64),
    /// bytes, often text
    Bytes(Vec<u8>),
    /// the name of an object
    Oid(Oid),
    /// nothing of the name, or nothing behind it
    End,
    /// a type that no table here uses
    Other,
}

/// An object and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// its name
    pub name: Oid,
    /// what it has
    pub value: Value,
}

/// An agent's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// that of the question
    pub request: i32,
    /// 0, or why not (RFC 3416 §3)
    pub error: i64,
    /// in the order of the question
    pub bindings: Vec<Binding>,
}

/// The question for the next `count` objects behind a name.
pub fn bulk_request(community: &[u8], request: i32, after: &Oid, count: u8) -> Vec<u8> {
    let asked = value(SEQUENCE, &[write_oid(after), value(NULL, &[])].concat());
    let pdu = [
        write_integer(i64::from(request)),
        write_integer(0),
        write_integer(i64::from(count)),
        value(SEQUENCE, &asked),
    ];
    let message = [write_integer(VERSION), value(OCTET_STRING, community), value(GET_BULK, &pdu.concat())];
    value(SEQUENCE, &message.concat())
}

impl Response {
    /// Reads an answer.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, BerError> {
        let mut message = Reader(Reader(bytes).of(SEQUENCE)?);
        if message.integer()? != VERSION {
            return Err(BerError::Version);
        }
        message.of(OCTET_STRING)?;
        let mut pdu = Reader(message.of(RESPONSE)?);
        let request = i32::try_from(pdu.integer()?).map_err(|_| BerError::Large)?;
        let error = pdu.integer()?;
        pdu.integer()?;
        let mut list = Reader(pdu.of(SEQUENCE)?);
        let mut bindings = Vec::new();
        while !list.is_empty() {
            let mut binding = Reader(list.of(SEQUENCE)?);
            let name = binding.oid()?;
            let (tag, content) = binding.any()?;
            bindings.push(Binding { name, value: read(tag, content)? });
        }
        Ok(Self { request, error, bindings })
    }
}

fn read(tag: u8, content: &[u8]) -> Result<Value, BerError> {
    Ok(match tag {
        INTEGER => Value::Integer(integer(content)?),
        COUNTER | GAUGE | TICKS | COUNTER_64 => Value::Unsigned(unsigned(content)?),
        OCTET_STRING => Value::Bytes(content.to_vec()),
        OBJECT_IDENTIFIER => Value::Oid(oid(content)?),
        NO_SUCH_OBJECT | NO_SUCH_INSTANCE | END_OF_MIB => Value::End,
        _ => Value::Other,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What an agent answers.
    pub(crate) fn response(request: i32, error: i64, bindings: &[(&[u32], Vec<u8>)]) -> Vec<u8> {
        let bindings: Vec<u8> = bindings
            .iter()
            .flat_map(|(name, content)| {
                value(SEQUENCE, &[write_oid(&Oid::from(*name)), content.clone()].concat())
            })
            .collect();
        let pdu = [
            write_integer(i64::from(request)),
            write_integer(error),
            write_integer(0),
            value(SEQUENCE, &bindings),
        ];
        let message =
            [write_integer(VERSION), value(OCTET_STRING, b"public"), value(RESPONSE, &pdu.concat())];
        value(SEQUENCE, &message.concat())
    }

    #[test]
    fn a_question_has_the_bytes_that_agents_know() {
        // as `snmpbulkget -v2c -c public -Cn0 -Cr10 HOST 1.3.6.1.2.1.1.5` sends it
        let expected = [
            0x30, 0x26, 2, 1, 1, 4, 6, b'p', b'u', b'b', b'l', b'i', b'c', 0xa5, 0x19, 2, 1, 7, 2, 1, 0, 2,
            1, 10, 0x30, 0x0e, 0x30, 0x0c, 6, 8, 0x2b, 6, 1, 2, 1, 1, 5, 0, 5, 0,
        ];
        assert_eq!(bulk_request(b"public", 7, &Oid(vec![1, 3, 6, 1, 2, 1, 1, 5, 0]), 10), expected);
    }

    #[test]
    fn an_answer_is_read_with_every_type() {
        let name: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 5, 0];
        let bytes = response(
            7,
            0,
            &[
                (name, value(OCTET_STRING, b"sw1")),
                (name, write_integer(-5)),
                (name, value(GAUGE, &[0xff, 0, 0, 0])),
                (name, write_oid(&Oid(vec![1, 3]))),
                (name, value(END_OF_MIB, &[])),
                (name, value(0x40, &[10, 0, 0, 1])),
            ],
        );
        let read = Response::parse(&bytes).unwrap();
        assert_eq!((read.request, read.error), (7, 0));
        let values: Vec<Value> = read.bindings.into_iter().map(|binding| binding.value).collect();
        let expected = [
            Value::Bytes(b"sw1".to_vec()),
            Value::Integer(-5),
            Value::Unsigned(0xff00_0000),
            Value::Oid(Oid(vec![1, 3])),
            Value::End,
            Value::Other,
        ];
        assert_eq!(values, expected);
        for length in 0..bytes.len() {
            assert!(Response::parse(&bytes[..length]).is_err(), "{length}");
        }
        assert_eq!(Response::parse(&[0x30, 3, 2, 1, 0]), Err(BerError::Version));
    }
}
