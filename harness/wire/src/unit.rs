//! What a client asks at once, described for whoever decides on it.

use std::fmt;
use std::sync::Arc;

/// A connection of a client's, in the order in which they signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// An endpoint of a proxy's, in the order in which they were opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub u32);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}", self.0)
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "endpoint {}", self.0)
    }
}

/// A text that a client or a server sent, as UTF-8, and whether some of it is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// As far as it was looked at.
    pub text: Arc<str>,
    /// Whether it went on.
    pub cut: bool,
}

impl Text {
    pub(crate) fn new(bytes: &[u8], cut: bool) -> Text {
        Text { text: String::from_utf8_lossy(bytes).into(), cut }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.cut { "…" } else { "" })
    }
}

/// What is known of a prepared statement's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// It was seen when it was parsed.
    Known(Text),
    /// No message parsed it: `PREPARE` or a cursor may have, in SQL.
    NotSeen,
    /// It may have been seen, and was forgotten since: too many texts were to be remembered.
    Forgotten,
}

impl Source {
    /// The text, where it is known.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Source::Known(text) => Some(&text.text),
            Source::NotSeen | Source::Forgotten => None,
        }
    }
}

/// What a unit is in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A simple query, with whatever came before it and was not flushed.
    Query,
    /// Messages of the extended protocol up to Sync or Flush.
    Extended,
    /// The data of a `COPY … FROM STDIN`, up to its end.
    Copy,
    /// A function call of the old fast path.
    FunctionCall,
    /// A message that the grammar does not know.
    Unknown,
}

/// How a parameter's value is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The client sent text.
    Text,
    /// The client sent the binary form of a type that is known here.
    Decoded,
    /// The client sent the binary form of another type, or of one that nobody named: hexadecimal digits.
    Hex,
}

/// One parameter of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// `None` is NULL.
    pub value: Option<Text>,
    /// Where the text comes from.
    pub shown: Shown,
}

/// One message of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A simple query; may hold several statements.
    Query {
        /// The statements.
        text: Text,
    },
    /// Prepares a statement.
    Parse {
        /// Empty is the unnamed one.
        name: Text,
        /// The statement.
        text: Text,
    },
    /// Makes a portal of a prepared statement.
    Bind {
        /// Empty is the unnamed one.
        portal: Text,
        /// The prepared statement's name.
        name: Text,
        /// The prepared statement's text.
        statement: Source,
        /// The parameters that were looked at.
        parameters: Vec<Parameter>,
        /// Whether there were more of them.
        cut: bool,
    },
    /// Asks for a statement's or a portal's columns.
    Describe {
        /// Whether it is a portal.
        portal: bool,
        /// Its name.
        name: Text,
    },
    /// Runs a portal, or fetches from it.
    Execute {
        /// Its name.
        portal: Text,
        /// The statement that it was bound to.
        statement: Source,
        /// The most rows that it gives before it is suspended; 0 is all.
        rows_max: u32,
    },
    /// Forgets a statement or a portal.
    Close {
        /// Whether it is a portal.
        portal: bool,
        /// Its name.
        name: Text,
    },
    /// Ends a batch.
    Sync,
    /// Asks for what the server has answered so far.
    Flush,
    /// Calls a function by its OID.
    FunctionCall {
        /// The function.
        oid: u32,
    },
    /// Data of a COPY: so many messages in a row.
    CopyData {
        /// How many.
        messages: u64,
        /// Their data.
        bytes: u64,
    },
    /// Ends a COPY.
    CopyDone,
    /// Gives a COPY up.
    CopyFail {
        /// The client's reason.
        message: Text,
    },
    /// A message that the grammar does not know, or not here.
    Unknown {
        /// Its first byte.
        tag: u8,
        /// Its bytes, with header.
        bytes: u64,
    },
}

/// The smallest thing after which the server speaks again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// From 1, within its connection.
    pub number: u64,
    /// What it is in the protocol.
    pub kind: Kind,
    /// Its messages in order.
    pub steps: Vec<Step>,
    /// Steps that were not described, for there were too many.
    pub steps_left_out: u64,
    /// The bytes that were looked at when it was described.
    pub bytes: u64,
    /// Whether its end had arrived then. A unit that is not whole streams through once it is admitted.
    pub whole: bool,
    /// Whether it holds a message that the grammar does not know.
    pub unknown: bool,
}

impl Unit {
    /// The texts that this unit runs, as far as they are known: simple queries, and the statements of executed portals.
    pub fn statements(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match step {
            Step::Query { text } => Some(&*text.text),
            Step::Execute { statement, .. } => statement.text(),
            _ => None,
        })
    }
}
