//! The few messages that the proxy itself says.

use postgres_protocol::message::frontend;

/// A message of either side's: its tag, its length, its body, which is one of ours or at most as long as what is held.
pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![tag];
    message.extend((body.len() as u32 + 4).to_be_bytes());
    message.extend(body);
    message
}

/// An ErrorResponse.
pub(crate) fn error(severity: &str, sqlstate: &str, text: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (field, value) in [(b'S', severity), (b'V', severity), (b'C', sqlstate), (b'M', text)] {
        body.push(field);
        body.extend(value.bytes().filter(|byte| *byte != 0));
        body.push(0);
    }
    body.push(0);
    message(b'E', &body)
}

/// An ErrorResponse after which the connection is closed.
pub(crate) fn fatal(sqlstate: &str, text: &str) -> Vec<u8> {
    error("FATAL", sqlstate, text)
}

/// What no version of the server accepts, so that the server itself refuses in place of a unit.
const REFUSED: &str = "driftlock: this unit was refused";

/// A unit that fails, in place of one that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failing {
    /// In place of a simple query or a function call.
    Query,
    /// The same, once the server has carried this out.
    After(String),
    /// In place of a batch.
    Extended {
        /// Whether the batch ended with Sync.
        sync: bool,
    },
    /// In place of the data of a COPY.
    Copy {
        /// Whether a Sync followed it.
        sync: bool,
    },
    /// In place of what the server would not look at.
    Nothing {
        /// Whether it ended with Sync.
        sync: bool,
    },
}

/// What fails when it is run, and not before: a text with an error of syntax would not be begun.
fn after(first: &str) -> String {
    format!("{}; EXECUTE driftlock_refused", first.replace('\0', ""))
}

impl Failing {
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut bytes = bytes::BytesMut::new();
        let built = match &self {
            Failing::After(first) => frontend::query(&after(first), &mut bytes),
            Failing::Query => frontend::query(REFUSED, &mut bytes),
            Failing::Extended { .. } => frontend::parse("", REFUSED, [], &mut bytes),
            Failing::Copy { .. } => frontend::copy_fail(REFUSED, &mut bytes),
            Failing::Nothing { .. } => Ok(()),
        };
        // Building fails for texts with a zero in them, or too long; what is sent first is part of a unit, which is neither.
        built.expect("a text without zeros, and shorter than 2 GiB");
        match self {
            Failing::Extended { sync: true } | Failing::Copy { sync: true } | Failing::Nothing { sync: true } => {
                frontend::sync(&mut bytes);
            }
            Failing::Extended { sync: false } => frontend::flush(&mut bytes),
            Failing::Query | Failing::After(_) | Failing::Copy { sync: false } | Failing::Nothing { sync: false } => {}
        }
        bytes.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::{Failing, fatal};
    use crate::response::report;

    #[test]
    fn an_error_of_ours_reads_like_the_server_s() {
        let bytes = fatal("28P01", "no\0pe");
        assert_eq!(bytes[0], b'E');
        assert_eq!(u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize, bytes.len() - 1);
        let report = report(&bytes[5..], false);
        assert_eq!((&*report.severity, &*report.sqlstate), ("FATAL", "28P01"));
        assert_eq!(report.message.to_string(), "nope");
    }

    #[test]
    fn a_failing_unit_ends_as_the_refused_one_did() {
        assert_eq!(Failing::Extended { sync: true }.bytes().last_chunk(), Some(b"S\0\0\0\x04"));
        assert_eq!(Failing::Extended { sync: false }.bytes().last_chunk(), Some(b"H\0\0\0\x04"));
        assert_eq!(Failing::Query.bytes()[0], b'Q');
        assert_eq!(Failing::Copy { sync: false }.bytes()[0], b'f');
    }
}
