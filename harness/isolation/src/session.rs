//! A session of a specification: a connection whose messages keep the order in which the server
//! sent them, notices among results.
//!
//! What has arrived is kept until it is asked for, as libpq keeps what its socket holds: a notice is
//! told when its session is looked at, not when it comes.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio_postgres::error::DbError;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection, NoTls, Notification, SimpleQueryMessage, SimpleQueryStream, Socket,
};

use super::print::{self, Table};
use super::run::RunError;
use super::transcript::{Merged, Transcript};

/// What libpq says of a connection that is gone.
const LOST: &str = "server closed the connection unexpectedly\n\
                    \tThis probably means the server terminated abnormally\n\
                    \tbefore or while processing the request.\n";

/// How long the server may take to let a session in, or to take note of a cancellation.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// What became of one statement of a message.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It returned nothing.
    Done,
    /// It returned rows.
    Rows(Table),
    /// The server refused it.
    Failed(Box<DbError>),
    /// There is no answer, because of this.
    Lost(String),
}

/// What the server sent, in its order.
enum Arrival {
    Notice(Box<DbError>),
    Notification(Notification),
    Columns(Vec<String>),
    Row(Vec<Option<String>>),
    Complete,
    Failed(Box<DbError>),
    Lost(String),
    /// The message has been worked off.
    Idle,
}

/// A session.
pub(super) struct Session {
    pub name: String,
    /// The server's process.
    pub pid: i32,
    /// Notices that were told so far.
    pub notices: u64,
    /// Notifications that were not told yet.
    pub notifications: Vec<Notification>,
    client: Client,
    connection: Connection<Socket, NoTlsStream>,
    open: bool,
    reply: Option<Pin<Box<SimpleQueryStream>>>,
    query: String,
    arrived: VecDeque<Arrival>,
    rows: Option<Table>,
    outcome: Option<Outcome>,
    /// Whether a message was sent whose end has not been seen.
    working: bool,
    /// Whether notices are told.
    audible: bool,
}

impl Session {
    /// Opens a session; `audible` says whether its notices are told.
    pub async fn open(config: &Config, name: &str, audible: bool) -> Result<Self, RunError> {
        let connect = |source| RunError::Connect { session: name.to_owned(), source };
        let (client, connection) = within(name, config.connect(NoTls)).await?.map_err(connect)?;
        let mut session = Self {
            name: name.to_owned(),
            pid: 0,
            notices: 0,
            notifications: Vec::new(),
            client,
            connection,
            open: true,
            reply: None,
            query: String::new(),
            arrived: VecDeque::new(),
            rows: None,
            outcome: None,
            working: false,
            audible,
        };
        let mut silent = Merged(io::sink());
        let asked = session.execute("SELECT pg_catalog.pg_backend_pid()", &mut silent);
        let asked = within(name, asked).await??;
        let answer = match &asked {
            Some(Outcome::Rows(table)) => table.rows.first().and_then(|row| row[0].as_deref()),
            _ => None,
        };
        let lost = || RunError::Lost { session: name.to_owned() };
        session.pid = answer.and_then(|pid| pid.parse().ok()).ok_or_else(lost)?;
        Ok(session)
    }

    /// Sends a message, without waiting for anything.
    pub async fn send(&mut self, sql: &str) {
        self.query = sql.to_owned();
        self.working = true;
        match self.client.simple_query_raw(sql).await {
            Ok(reply) => self.reply = Some(Box::pin(reply)),
            // What the server said before it went has arrived already.
            Err(_) => self.arrived.extend([Arrival::Lost(LOST.to_owned()), Arrival::Idle]),
        }
    }

    /// Sends a message and waits for its end: what became of its last statement.
    pub async fn execute(&mut self, sql: &str, transcript: &mut dyn Transcript) -> Result<Option<Outcome>, RunError> {
        self.send(sql).await;
        let mut last = None;
        while let Some(outcome) = self.next_outcome(transcript).await? {
            last = Some(outcome);
        }
        Ok(last)
    }

    /// Waits for what became of the next statement of the message; `None` at its end.
    pub async fn next_outcome(&mut self, transcript: &mut dyn Transcript) -> Result<Option<Outcome>, RunError> {
        while self.is_busy(transcript)? {
            poll_fn(|cx| if self.poll_arrivals(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        }
        Ok(self.outcome.take())
    }

    /// Whether nothing can be said yet of the statement in question. What has arrived so far is
    /// looked at, up to that, and its notices are told.
    pub fn is_busy(&mut self, transcript: &mut dyn Transcript) -> Result<bool, RunError> {
        while self.outcome.is_none()
            && let Some(arrival) = self.arrived.pop_front()
        {
            match arrival {
                Arrival::Notice(notice) => self.tell(&notice, transcript)?,
                Arrival::Notification(notification) => self.notifications.push(notification),
                Arrival::Columns(columns) => self.rows = Some(Table { columns, rows: Vec::new() }),
                Arrival::Row(row) => self.rows.get_or_insert_default().rows.push(row),
                Arrival::Complete => self.outcome = Some(self.rows.take().map_or(Outcome::Done, Outcome::Rows)),
                Arrival::Failed(error) => {
                    self.rows = None;
                    self.outcome = Some(Outcome::Failed(error));
                }
                Arrival::Lost(why) => {
                    self.rows = None;
                    self.outcome = Some(Outcome::Lost(why));
                }
                Arrival::Idle => self.working = false,
            }
        }
        Ok(self.working && self.outcome.is_none())
    }

    fn tell(&mut self, notice: &DbError, transcript: &mut dyn Transcript) -> Result<(), RunError> {
        if self.audible {
            self.notices += 1;
            transcript.out(&format!("{}: {}", self.name, print::message(notice, &self.query, false)))?;
        }
        Ok(())
    }

    /// Whether the server has still to send something: what has arrived is not the end.
    pub fn is_at_work(&self) -> bool {
        self.reply.is_some()
    }

    /// What the server said when it refused, as libpq puts it.
    pub fn full_message(&self, error: &DbError) -> String {
        print::message(error, &self.query, true)
    }

    /// Asks the server to cancel what the session does.
    pub async fn cancel(&self) -> Result<Result<(), tokio_postgres::Error>, RunError> {
        within(&self.name, self.client.cancel_token().cancel_query(NoTls)).await
    }

    /// Takes what there is from the socket. Whether there is anything to look at.
    pub fn poll_arrivals(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let mut moved = self.take_replies(cx);
            if self.open {
                match self.connection.poll_message(cx) {
                    Poll::Ready(Some(Ok(message))) => {
                        // Replies that were passed on meanwhile came before it.
                        self.take_replies(cx);
                        match message {
                            AsyncMessage::Notice(notice) => self.arrived.push_back(Arrival::Notice(Box::new(notice))),
                            AsyncMessage::Notification(n) => self.arrived.push_back(Arrival::Notification(n)),
                            _ => {}
                        }
                        moved = true;
                    }
                    Poll::Ready(end) => {
                        self.take_replies(cx);
                        self.close(end.and_then(Result::err));
                        moved = true;
                    }
                    Poll::Pending => moved |= self.take_replies(cx),
                }
            }
            if !moved {
                return !self.arrived.is_empty();
            }
        }
    }

    /// Notes that the connection has ended, with what the server said unasked. A message that was not
    /// worked off never will be.
    fn close(&mut self, error: Option<tokio_postgres::Error>) {
        self.open = false;
        if let Some(error) = error.as_ref().and_then(tokio_postgres::Error::as_db_error) {
            self.arrived.push_back(Arrival::Failed(Box::new(error.clone())));
        }
        if self.reply.take().is_some() {
            self.arrived.extend([Arrival::Lost(LOST.to_owned()), Arrival::Idle]);
        }
    }

    /// Takes the replies that the connection has passed on. Whether there was one.
    fn take_replies(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while let Some(reply) = &mut self.reply {
            let arrival = match reply.as_mut().poll_next(cx) {
                Poll::Pending => return moved,
                Poll::Ready(None) => {
                    self.reply = None;
                    Arrival::Idle
                }
                Poll::Ready(Some(Ok(message))) => arrival(message),
                Poll::Ready(Some(Err(error))) => match error.as_db_error() {
                    Some(error) => Arrival::Failed(Box::new(error.clone())),
                    None => {
                        let why = if error.is_closed() { LOST.to_owned() } else { error.to_string() };
                        self.arrived.push_back(Arrival::Lost(why));
                        self.reply = None;
                        Arrival::Idle
                    }
                },
            };
            self.arrived.push_back(arrival);
            moved = true;
        }
        moved
    }
}

/// Bounds what the server does at once if it does it at all.
async fn within<T>(session: &str, answer: impl Future<Output = T>) -> Result<T, RunError> {
    let lost = |_| RunError::Lost { session: session.to_owned() };
    tokio::time::timeout(ANSWER_MAX, answer).await.map_err(lost)
}

fn arrival(message: SimpleQueryMessage) -> Arrival {
    match message {
        SimpleQueryMessage::RowDescription(columns) => {
            Arrival::Columns(columns.iter().map(|column| column.name().to_owned()).collect())
        }
        SimpleQueryMessage::Row(row) => Arrival::Row((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()),
        _ => Arrival::Complete,
    }
}
