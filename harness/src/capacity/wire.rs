//! A session on PostgreSQL that does next to nothing but wait for it: prepared statements over a Unix
//! socket, one write and one read a round trip, and no result decoded that nobody asks for.
//!
//! The engine's sessions are sqlx's. This one is for loads that compare the generator with pgbench,
//! where the client's own processor time is what is measured.

use std::path::Path;

use bytes::{Buf, BytesMut};
use drift_engine::session::{DbError, ErrorClass, Kind, Operation, Session, SessionId};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// A statement of the lock script. Its keys and workers are numbers from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statement {
    /// `BEGIN`.
    Begin,
    /// Locks a row.
    Lock {
        /// Which one.
        row: u32,
    },
    /// Inserts an entry of the row.
    Insert {
        /// Of which one.
        row: u32,
    },
    /// `COMMIT`.
    Commit,
    /// `ROLLBACK`.
    Rollback,
}

impl Statement {
    /// Every statement's name, and how it is prepared; the row is the only parameter.
    const SQL: [(&'static str, &'static str); 5] = [
        ("begin", "BEGIN"),
        ("lock", "SELECT id FROM bench_rows WHERE id = $1::int FOR UPDATE"),
        ("insert", "INSERT INTO bench_entries (row_id) VALUES ($1::int)"),
        ("commit", "COMMIT"),
        ("rollback", "ROLLBACK"),
    ];

    fn name(self) -> &'static str {
        let index = match self {
            Self::Begin => 0,
            Self::Lock { .. } => 1,
            Self::Insert { .. } => 2,
            Self::Commit => 3,
            Self::Rollback => 4,
        };
        Self::SQL[index].0
    }

    fn row(self) -> Option<u32> {
        match self {
            Self::Lock { row } | Self::Insert { row } => Some(row),
            Self::Begin | Self::Commit | Self::Rollback => None,
        }
    }
}

impl Operation for Statement {
    fn kind(&self) -> Kind {
        match self {
            Self::Begin => Kind::Begin,
            Self::Lock { .. } => Kind::Lock,
            Self::Insert { .. } => Kind::Write,
            Self::Commit => Kind::Commit,
            Self::Rollback => Kind::Rollback,
        }
    }
}

/// What a statement came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// How many rows were returned.
    pub rows: u32,
    /// Whether the session is in no transaction afterwards.
    pub is_idle: bool,
}

/// A connection.
#[derive(Debug)]
pub struct WireSession {
    stream: UnixStream,
    out: BytesMut,
    read: BytesMut,
    id: SessionId,
}

/// How much is read at once.
const READ_BYTES: usize = 8 * 1024;
/// The longest message that is expected of the server.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

impl WireSession {
    /// Connects through a socket to a server that trusts it, and prepares the statements.
    ///
    /// # Errors
    /// The server cannot be reached, wants a password, or has no tables for the load.
    pub async fn open(socket: &Path, user: &str, database: &str) -> Result<Self, DbError> {
        let lost = |error: std::io::Error| lost(Kind::Begin, &error.to_string());
        let stream = UnixStream::connect(socket).await.map_err(lost)?;
        let (out, read) = (BytesMut::with_capacity(1024), BytesMut::with_capacity(READ_BYTES));
        let mut session = Self { stream, out, read, id: SessionId(0) };
        let parameters = [("user", user), ("database", database), ("application_name", "driftlock")];
        frontend::startup_message(parameters, &mut session.out).map_err(lost)?;
        session.exchange(Kind::Begin).await?;
        for (name, sql) in Statement::SQL {
            frontend::parse(name, sql, [], &mut session.out).map_err(lost)?;
        }
        frontend::sync(&mut session.out);
        session.exchange(Kind::Begin).await?;
        Ok(session)
    }

    /// Sends what is to be sent, and reads up to the answer that ends it.
    async fn exchange(&mut self, during: Kind) -> Result<Answer, DbError> {
        let broken = |error: std::io::Error| lost(during, &error.to_string());
        self.stream.write_all_buf(&mut self.out).await.map_err(broken)?;
        self.out.clear();
        let (mut answer, mut refused) = (Answer::default(), None);
        loop {
            while let Some((tag, length)) = self.next_message(during)? {
                let body = &self.read[5..length];
                match tag {
                    b'D' => answer.rows += 1,
                    b'E' => refused = Some(refusal(body, during)),
                    b'K' if body.len() >= 4 => {
                        self.id = SessionId(i64::from(i32::from_be_bytes([body[0], body[1], body[2], body[3]])));
                    }
                    // Any word but "you are in" is a request for something that we have not got.
                    b'R' if body.first_chunk() != Some(&[0, 0, 0, 0]) => {
                        return Err(lost(during, "the server wants a password"));
                    }
                    _ => {}
                }
                let idle = tag == b'Z' && body.first() == Some(&b'I');
                self.read.advance(length);
                if tag == b'Z' {
                    answer.is_idle = idle;
                    return refused.map_or(Ok(answer), Err);
                }
            }
            self.read.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.read).await.map_err(broken)? == 0 {
                // What it said before it went is the better reason.
                let why = refused.map_or_else(|| "the server closed the connection".to_owned(), |e| e.to_string());
                return Err(lost(during, &why));
            }
        }
    }

    /// The next whole message that has been read: its tag, and its length with tag and length.
    fn next_message(&self, during: Kind) -> Result<Option<(u8, usize)>, DbError> {
        let Some(&[tag, a, b, c, d]) = self.read.first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
            return Err(lost(during, "the server does not speak PostgreSQL's protocol"));
        }
        Ok((self.read.len() > length).then_some((tag, length + 1)))
    }
}

impl Session for WireSession {
    type Op = Statement;
    type Reply = Answer;

    fn id(&self) -> SessionId {
        self.id
    }

    async fn call(&mut self, op: Statement) -> Result<Answer, DbError> {
        let during = op.kind();
        let row = op.row().map(|row| i32::try_from(row).unwrap_or(i32::MAX));
        let serialize = |row: i32, to: &mut BytesMut| {
            to.extend_from_slice(&row.to_be_bytes());
            Ok(IsNull::No)
        };
        let bound = frontend::bind("", op.name(), row.map(|_| 1), row, serialize, [], &mut self.out);
        if bound.is_err() || frontend::execute("", 0, &mut self.out).is_err() {
            unreachable!("a name and a number fit into a message");
        }
        frontend::sync(&mut self.out);
        self.exchange(during).await
    }
}

/// What the server said in an error message: fields, each a letter and a text that ends with a zero.
fn refusal(body: &[u8], during: Kind) -> DbError {
    let field = |letter: u8| {
        let of = |field: &[u8]| field.first() == Some(&letter);
        let field = body.split(|byte| *byte == 0).find(|field| of(field));
        field.map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
    };
    let (code, message) = (field(b'C'), field(b'M').unwrap_or_default());
    let class = code.as_deref().map_or(ErrorClass::Other, ErrorClass::of_sqlstate);
    DbError { class, code, message, during }
}

fn lost(during: Kind, message: &str) -> DbError {
    DbError { class: ErrorClass::Lost, code: None, message: message.to_owned(), during }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each connection with these bytes, and closes it.
    async fn answered(bytes: &'static [u8]) -> DbError {
        let at = tempfile::tempdir().unwrap();
        let socket = at.path().join("socket");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(bytes).await.unwrap();
            // What it does not read would make the end a reset.
            let _ = stream.read(&mut [0; 1024]).await;
        });
        let opened = WireSession::open(&socket, "user", "database").await;
        serving.await.unwrap();
        opened.unwrap_err()
    }

    #[tokio::test]
    async fn a_server_that_is_none_is_an_error_and_never_a_wait_or_a_panic() {
        let nonsense = answered(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        assert_eq!((nonsense.class, nonsense.code), (ErrorClass::Lost, None));
        let password = answered(b"R\0\0\0\x08\0\0\0\x03").await;
        assert!(password.message.contains("password"), "{password}");
        assert!(answered(b"Z\0\0").await.message.contains("closed"));
        assert!(answered(b"R\0\0\0\x04").await.message.contains("password"));
        assert!(answered(b"Z\0\0\0\0").await.message.contains("protocol"));
        let refused = answered(b"E\0\0\0\x19SFATAL\0C53300\0Mfull\0\0Z\0\0\0\x05I").await;
        assert_eq!((refused.code.as_deref(), refused.message.as_str()), (Some("53300"), "full"));
    }
}
