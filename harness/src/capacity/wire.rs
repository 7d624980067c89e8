//! A connection to PostgreSQL that does next to nothing but wait for it: over a Unix socket or TCP, one
//! write and one read a round trip, and no result decoded that nobody asks for.
//!
//! The engine's sessions are sqlx's. This one is for loads in which the client's own processor time
//! matters: the lock script, which is compared with pgbench, and scripts of the user's.

mod sign_in;

use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use drift_engine::session::{DbError, ErrorClass, Kind, SessionId};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use self::sign_in::SignIn;
use super::park::Waiting;

/// How much is read at once.
const READ_BYTES: usize = 8 * 1024;
/// How much is read of an answer that is there already.
const READY_BYTES: usize = 1024;
/// The longest message that is expected of the server: a row of a script's may be long.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// The port, where none is given.
const PORT: u16 = 5432;

/// What a message came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// How many rows were returned.
    pub rows: u32,
    /// How many rows were changed, as the tags of its statements say.
    pub changed: u64,
    /// Whether the session is in no transaction afterwards.
    pub is_idle: bool,
}

/// What somebody asked for of an answer's rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The values of the first row, as text; none if there is no row.
    pub first: Vec<Option<String>>,
    /// The first value of each row, if that is asked for.
    pub column: Vec<Option<String>>,
    /// Whether that is asked for.
    pub all: bool,
    /// How many rows were returned or changed, by the last statement's tag.
    pub affected: Option<u64>,
    seen: bool,
}

/// How many rows a tag says to be changed: `INSERT 0 1`, `UPDATE 2`.
fn changed(tag: &[u8]) -> u64 {
    const CHANGES: [&[u8]; 5] = [b"INSERT ", b"UPDATE ", b"DELETE ", b"MERGE ", b"COPY "];
    if CHANGES.iter().any(|word| tag.starts_with(word)) { number(tag).unwrap_or(0) } else { 0 }
}

/// The number that a tag ends with.
fn number(tag: &[u8]) -> Option<u64> {
    let text = tag.split(|byte| *byte == 0).next().unwrap_or_default();
    let number = text.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    std::str::from_utf8(number).ok().and_then(|number| number.parse().ok())
}

impl Kept {
    /// Nothing yet; the first value of each row too, if `all`.
    pub fn nothing(all: bool) -> Self {
        Self { all, ..Self::default() }
    }

    fn row(&mut self, body: &[u8]) {
        if !std::mem::replace(&mut self.seen, true) {
            self.first = values(body).collect();
        }
        if self.all {
            self.column.extend(values(body).next());
        }
    }

    /// A tag ends with the number, where there is one: `INSERT 0 1`, `SELECT 2`.
    fn tag(&mut self, body: &[u8]) {
        self.affected = number(body);
    }
}

/// A connection.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    /// The same connection, to be read from without being asked who waits for it.
    descriptor: Arc<OwnedFd>,
    /// What is sent next.
    pub(super) out: BytesMut,
    read: BytesMut,
    id: SessionId,
}

#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Wire {
    /// Connects to the first host that `config` names, with its password if the server wants one.
    ///
    /// # Errors
    /// The server cannot be reached, wants another proof than it can be given, or refuses.
    pub async fn open(config: &Config) -> Result<Self, DbError> {
        let opened = tokio::time::timeout(CONNECT_MAX, Self::signed_in(config)).await;
        opened.unwrap_or_else(|_| Err(lost(Kind::Begin, "the server did not answer in time")))
    }

    async fn signed_in(config: &Config) -> Result<Self, DbError> {
        let broken = |error: std::io::Error| lost(Kind::Begin, &error.to_string());
        if config.get_ssl_mode() == SslMode::Require {
            let why = "an encrypted connection is demanded, and driftlock is built without TLS: use sslmode=disable \
                       on a trusted network, or a tunnel";
            return Err(lost(Kind::Begin, why));
        }
        let stream = Stream::connect(config).await.map_err(broken)?;
        let descriptor = Arc::new(stream.descriptor().map_err(broken)?);
        let (out, read) = (BytesMut::with_capacity(1024), BytesMut::with_capacity(READ_BYTES));
        let mut wire = Self { stream, descriptor, out, read, id: SessionId(0) };
        let user = config.get_user().unwrap_or("postgres");
        let database = config.get_dbname().unwrap_or(user);
        let mut parameters = vec![("user", user), ("database", database), ("client_encoding", "UTF8")];
        parameters.push(("application_name", config.get_application_name().unwrap_or("driftlock")));
        parameters.extend(config.get_options().map(|options| ("options", options)));
        frontend::startup_message(parameters, &mut wire.out).map_err(broken)?;
        let mut sign_in = SignIn::new(user, config.get_password());
        wire.exchange_with(Kind::Begin, None, Some(&mut sign_in)).await?;
        Ok(wire)
    }

    /// Its number on the server.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Sends SQL as one message, and keeps the first value if that is asked for.
    ///
    /// # Errors
    /// The server refuses it, or is gone.
    pub async fn query(&mut self, sql: &str, during: Kind, kept: Option<&mut Kept>) -> Result<Answer, DbError> {
        frontend::query(sql, &mut self.out).map_err(|error| lost(during, &error.to_string()))?;
        self.exchange_with(during, kept, None).await
    }

    /// Prepares a statement.
    ///
    /// # Errors
    /// The server refuses it, or is gone.
    pub async fn prepare(&mut self, name: &str, sql: &str) -> Result<(), DbError> {
        let parsed = frontend::parse(name, sql, [], &mut self.out);
        parsed.map_err(|error| lost(Kind::Begin, &error.to_string()))?;
        frontend::sync(&mut self.out);
        self.exchange(Kind::Begin).await.map(drop)
    }

    /// Executes a prepared statement with parameters in their text form; the rows come in binary.
    ///
    /// # Errors
    /// The server refuses it, or is gone.
    pub async fn execute(&mut self, name: &str, parameters: &[String]) -> Result<Answer, DbError> {
        let serialize = |parameter: &String, to: &mut BytesMut| {
            to.extend_from_slice(parameter.as_bytes());
            Ok(IsNull::No)
        };
        let bound = frontend::bind("", name, [], parameters, serialize, [1], &mut self.out);
        let executed = bound.is_ok() && frontend::execute("", 0, &mut self.out).is_ok();
        if !executed {
            return Err(lost(Kind::Write, "the statement does not fit into a message"));
        }
        frontend::sync(&mut self.out);
        self.exchange(Kind::Write).await
    }

    /// Sends what is to be sent, and reads up to the answer that ends it.
    pub(super) async fn exchange(&mut self, during: Kind) -> Result<Answer, DbError> {
        self.exchange_with(during, None, None).await
    }

    async fn exchange_with(
        &mut self,
        during: Kind,
        mut kept: Option<&mut Kept>,
        mut sign_in: Option<&mut SignIn<'_>>,
    ) -> Result<Answer, DbError> {
        let broken = |error: std::io::Error| lost(during, &error.to_string());
        self.stream.write_all_buf(&mut self.out).await.map_err(broken)?;
        self.out.clear();
        self.read_what_is_there();
        let (mut answer, mut refused) = (Answer::default(), None);
        loop {
            while let Some((tag, length)) = self.next_message(during)? {
                let body = &self.read[5..length];
                match tag {
                    b'D' => {
                        answer.rows = answer.rows.saturating_add(1);
                        if let Some(kept) = kept.as_deref_mut() {
                            kept.row(body);
                        }
                    }
                    b'C' => {
                        answer.changed = answer.changed.saturating_add(changed(body));
                        if let Some(kept) = kept.as_deref_mut() {
                            kept.tag(body);
                        }
                    }
                    b'E' => refused = refused.or_else(|| Some(refusal(body, during))),
                    b'K' if body.len() >= 4 => {
                        self.id = SessionId(i64::from(i32::from_be_bytes([body[0], body[1], body[2], body[3]])));
                    }
                    b'R' => match sign_in.as_deref_mut() {
                        Some(sign_in) => sign_in.answer(body, &mut self.out).map_err(|why| lost(during, &why))?,
                        None => return Err(lost(during, "the server asks who this is in the middle of a session")),
                    },
                    // It would wait for rows for ever.
                    b'G' => frontend::copy_fail("COPY FROM STDIN is not supported", &mut self.out).map_err(broken)?,
                    _ => {}
                }
                let idle = tag == b'Z' && body.first() == Some(&b'I');
                self.read.advance(length);
                if !self.out.is_empty() {
                    self.stream.write_all_buf(&mut self.out).await.map_err(broken)?;
                }
                if tag == b'Z' {
                    answer.is_idle = idle;
                    return refused.map_or(Ok(answer), Err);
                }
            }
            self.read.reserve(READ_BYTES);
            let waiting = Waiting::new(&self.descriptor);
            let read = self.stream.read_buf(&mut self.read).await.map_err(broken)?;
            drop(waiting);
            if read == 0 {
                // What it said before it went is the better reason.
                let gone = || lost(during, "the server closed the connection");
                return Err(refused.map_or_else(gone, |said| DbError { class: ErrorClass::Lost, ..said }));
            }
        }
    }

    /// Reads without waiting. A message wakes its server process, which often takes this thread's processor and has
    /// answered when this one has it back: then nobody need be asked who is ready, nor sleep. With four
    /// connections on two processors that is a transaction's time, and a quarter of ours, less.
    fn read_what_is_there(&mut self) {
        let mut bytes = [0; READY_BYTES];
        // What is wrong with the connection is seen by whoever waits for it.
        if let Ok(count) = nix::unistd::read(&*self.descriptor, &mut bytes) {
            self.read.extend_from_slice(&bytes[..count]);
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

impl Stream {
    async fn connect(config: &Config) -> std::io::Result<Self> {
        let port = config.get_ports().first().copied().unwrap_or(PORT);
        if let Some(address) = config.get_hostaddrs().first() {
            return Self::tcp(TcpStream::connect((*address, port)).await?);
        }
        match config.get_hosts().first() {
            Some(Host::Unix(directory)) => {
                UnixStream::connect(directory.join(format!(".s.PGSQL.{port}"))).await.map(Self::Unix)
            }
            Some(Host::Tcp(host)) => Self::tcp(TcpStream::connect((host.as_str(), port)).await?),
            None => Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "no host is named")),
        }
    }

    /// Another descriptor of the same connection.
    fn descriptor(&self) -> std::io::Result<OwnedFd> {
        match self {
            Self::Unix(stream) => stream.as_fd().try_clone_to_owned(),
            Self::Tcp(stream) => stream.as_fd().try_clone_to_owned(),
        }
    }

    fn tcp(stream: TcpStream) -> std::io::Result<Self> {
        // A message that waits for the next one would be measured as the server's time.
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The values of a row: how many there are, and each with its length, below zero for NULL.
fn values(body: &[u8]) -> impl Iterator<Item = Option<String>> {
    let count = body.first_chunk().map_or(0, |count| u16::from_be_bytes(*count));
    let mut rest = body.get(2..).unwrap_or_default();
    (0..count).map_while(move |_| {
        let (length, after) = rest.split_first_chunk()?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            rest = after;
            return Some(None);
        };
        let value = after.get(..length)?;
        rest = &after[length..];
        Some(Some(String::from_utf8_lossy(value).into_owned()))
    })
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

pub(super) fn lost(during: Kind, message: &str) -> DbError {
    DbError { class: ErrorClass::Lost, code: None, message: message.to_owned(), during }
}

#[cfg(test)]
mod tests;
