//! The seam through which a scheduler decides: what is let through, and what is told.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::answer::Answer;
use crate::unit::{ConnectionId, EndpointId, Unit};

/// How closely a gate looks. What nobody looks at is not described, which is what makes it cheap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// It is told of connections alone, and never asked.
    Nothing,
    /// It is asked for every unit, and told every answer.
    Units,
    /// Answers hold the first rows too, within this many bytes for each answer.
    Rows {
        /// The most bytes of rows; at most 256 KiB are kept whatever is asked for.
        bytes_max: usize,
    },
}

/// What becomes of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Its bytes go to the server.
    Forward,
    /// The server gets one that fails in its place, and the client this error: so an open transaction fails as it would
    /// by an error of the server's own, and the rest of a batch is skipped.
    Refuse {
        /// Five characters.
        sqlstate: String,
        /// What the client is told.
        message: String,
        /// What the server carries out before that: `ROLLBACK` in place of a COMMIT, after whose failure no transaction is
        /// open; or the beginning of a unit of which only the rest is refused. Not for one that ends with Flush.
        first: Option<String>,
    },
    /// Both sides are closed, and nothing of it is sent.
    Drop,
    /// It is sent, its answer is awaited and swallowed, and then both sides are closed.
    SendThenDrop,
}

/// An admission, now or later.
pub enum Ticket {
    /// It is decided.
    Now(Admission),
    /// The unit is held until this is ready. It is dropped if the client leaves first.
    Later(Pin<Box<dyn Future<Output = Admission> + Send>>),
}

impl Ticket {
    /// A unit that is held until a future is ready.
    pub fn later(admission: impl Future<Output = Admission> + Send + 'static) -> Ticket {
        Ticket::Later(Box::pin(admission))
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ticket::Now(admission) => f.debug_tuple("Now").field(admission).finish(),
            Ticket::Later(_) => f.write_str("Later"),
        }
    }
}

/// A client that has signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// The endpoint that it came in by, which says who it is.
    pub endpoint: EndpointId,
    /// The server process of its session, as in `pg_stat_activity`. `None` where the server gave no key.
    pub server_pid: Option<i32>,
    /// What its start-up packet asked for.
    pub parameters: Vec<(String, String)>,
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The client said so.
    Terminated,
    /// The client closed without a word.
    ClientGone,
    /// The server closed first.
    ServerGone,
    /// The gate would have it so.
    Dropped,
    /// The proxy was stopped.
    Stopped,
    /// A side sent what is no message.
    Broken(&'static str),
}

/// Decides on units, and is told what comes of them.
///
/// The methods are called in between two reads of the connection, so none may wait: whoever wants to hold a unit gives
/// out [`Ticket::Later`]. For a connection the order of calls is `enters`, `connected`, then `rewritten` and `followed` for
/// the texts of a unit, `admit` and `answered` in turn, then `closed`; a unit that gets no answer, for the connection ended,
/// has no `answered`.
pub trait Gate: Send + Sync + 'static {
    /// How closely this gate looks; asked once a connection.
    fn watch(&self) -> Watch {
        Watch::Units
    }

    /// A client asks for a session. It is refused as a server refuses that takes no more connections:
    /// before anybody asks for a password. [`Admission::SendThenDrop`] is as [`Admission::Drop`] here. As long as it is
    /// held nobody sees that the client has left.
    fn enters(&self, endpoint: EndpointId) -> Ticket {
        let _ = endpoint;
        Ticket::Now(Admission::Forward)
    }

    /// A client has signed in, and so has its session at the server.
    fn connected(&self, connection: ConnectionId, client: &Connected) {
        let _ = (connection, client);
    }

    /// The text of a simple query or of a Parse has arrived: what is to be asked in its place, if anything is. It is called
    /// before the unit is described, so that the unit, the answers, and whatever is prepared are those of the new text.
    ///
    /// A text of which some is missing here, one that is no UTF-8, and a new one with a zero byte or beyond
    /// [`crate::bounds::UNDERSTOOD_BYTES_MAX`] go on as they came. Only a gate that watches is asked. The parameters that
    /// are bound later are the client's: whoever writes anew keeps their numbers and their types.
    fn rewritten(&self, connection: ConnectionId, text: &str) -> Option<String> {
        let _ = (connection, text);
        None
    }

    /// What is to be run right after a text, whenever it is run, as part of the same unit: a simple query alone, or an
    /// Execute of what was prepared so. It is called with the text as it goes to the server. The client sees nothing of
    /// what is run but an error, and the gate sees all of it in the unit and in the answer.
    ///
    /// It must be one statement without parameters that returns few rows, and not follow a COPY. Only a gate that watches is asked.
    fn followed(&self, connection: ConnectionId, text: &str) -> Option<String> {
        let _ = (connection, text);
        None
    }

    /// A unit has arrived. None of its bytes reach the server before this says so.
    fn admit(&self, connection: ConnectionId, unit: &Arc<Unit>) -> Ticket {
        let _ = (connection, unit);
        Ticket::Now(Admission::Forward)
    }

    /// The server has answered a unit. The last bytes of the answer reach the client after this returns.
    fn answered(&self, connection: ConnectionId, unit: &Arc<Unit>, answer: &Answer) {
        let _ = (connection, unit, answer);
    }

    /// The server has sent a message of severity LOG, which the client does not see: its detail, and whether some of it
    /// is missing. Only with [`crate::Config::keeps_logs`].
    fn logged(&self, connection: ConnectionId, detail: &str, cut: bool) {
        let _ = (connection, detail, cut);
    }

    /// A cancel request has been passed on for this connection's session.
    fn cancelled(&self, connection: ConnectionId) {
        let _ = connection;
    }

    /// The connection is at an end, on both sides.
    fn closed(&self, connection: ConnectionId, ending: &Ending) {
        let _ = (connection, ending);
    }
}

/// Lets everything through, and looks at nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Open;

impl Gate for Open {
    fn watch(&self) -> Watch {
        Watch::Nothing
    }
}
