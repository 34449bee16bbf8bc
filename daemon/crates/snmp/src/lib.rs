//! SNMP v2c as a manager needs it to read a switch's tables (RFC 3416, BER of X.690). Pure: `serve` has the socket.
//!
//! [`Walk`] asks for a table piece by piece and takes the answers; [`Tables`] says which tables tell where an address is, and
//! reads them. Own code, because it is fed by whatever answers from an address: it is fuzzed, never recurses, and takes no
//! more than it was asked to. SNMP v3 is not here: its keys and ciphers are more than the rest together.

mod ber;
mod message;
mod switch;
mod walk;

pub use ber::{BerError, Oid};
pub use message::{Binding, Response, Value, bulk_request};
pub use switch::{Located, Seen, Tables};
pub use walk::{Step, Walk};
