//! What a server's answers come to, and small requests of our own.

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::{Answer, STEP_MAX};
use crate::explore::world::{Done, Lost, Rows, What};
use crate::scenario::script::{Returned, Value};

/// What came of a step, and what of it can be captured; an error if the session is lost.
pub(crate) fn came(answer: Answer) -> Result<(What, Returned), tokio_postgres::Error> {
    match answer {
        Ok(messages) => {
            let (rows, mut returned) = rows(&messages);
            let affected = messages.iter().rev().find_map(|message| match message {
                SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
                _ => None,
            });
            returned.affected = affected;
            Ok((What::Done(Done { rows, affected, rolled_back: false }), returned))
        }
        Err(error) => match error.as_db_error() {
            Some(refused) => {
                let (code, message) = (refused.code().code().to_owned(), refused.message().to_owned());
                Ok((What::Failed { code, message }, Returned::default()))
            }
            None => Err(error),
        },
    }
}

/// The code with which a session ends that somebody has ended: admin_shutdown.
pub(crate) const KILLED: &str = "57P01";

/// Whether an error says that somebody has ended the session.
pub(crate) fn is_gone(error: &tokio_postgres::Error) -> bool {
    error.is_closed() || error.code().is_some_and(|code| code.code() == KILLED)
}

/// What came of a step whose session was ended before it was sent.
pub(crate) fn killed() -> What {
    What::Failed { code: KILLED.to_owned(), message: "the session was ended".to_owned() }
}

/// Sends a step's message; what is to be copied is sent after it. Its answer is that of COPY then.
pub(crate) async fn send(client: &Client, sql: &str, stdin: Option<&str>) -> Answer {
    let Some(data) = stdin else { return client.simple_query(sql).await };
    let mut sink = std::pin::pin!(client.copy_in::<_, Bytes>(sql).await?);
    sink.send(Bytes::copy_from_slice(data.as_bytes())).await?;
    Ok(vec![SimpleQueryMessage::CommandComplete(sink.finish().await?)])
}

/// The rows of all results, and what of them can be captured.
pub(crate) fn rows(messages: &[SimpleQueryMessage]) -> (Rows, Returned) {
    let (mut rows, mut returned) = (Rows::new(), Returned::default());
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            let value = |at| Value { text: row.get(at).map(str::to_owned), literal: None };
            if rows.is_empty() {
                returned.first = (0..row.len()).map(value).collect();
            }
            if !row.is_empty() {
                returned.column.push(value(0));
            }
            rows.push((0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned()).collect());
        }
    }
    rows.sort_unstable();
    (rows, returned)
}

/// What each query answers, or why it fails.
///
/// # Errors
/// The server does not answer.
pub(crate) async fn ask_all(control: &Client, queries: &[String]) -> Result<Vec<Result<Rows, String>>, Lost> {
    let mut answers = Vec::new();
    for query in queries {
        let answer = tokio::time::timeout(STEP_MAX, control.simple_query(query)).await;
        let answer = answer.map_err(|_| Lost::during("ask for the final state", "no answer"))?;
        answers.push(match answer {
            Ok(messages) => Ok(rows(&messages).0),
            Err(error) => {
                Err(error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned()))
            }
        });
    }
    Ok(answers)
}

/// An error with what the server said, in one line.
pub(crate) fn said(what: &str, error: &tokio_postgres::Error) -> Lost {
    match error.as_db_error() {
        Some(refused) => {
            let (code, message) = (refused.code().code(), refused.message());
            let of_machine = Lost::of_machine(what, code, message);
            of_machine.unwrap_or_else(|| Lost::during(what, format_args!("{message} ({code})")))
        }
        None => Lost::during(what, error),
    }
}

/// Ends what a session does or waits for, with an error.
pub(super) async fn cancel(control: &Client, pid: i32) -> Result<(), Lost> {
    let cancelled = control.batch_execute(&format!("SELECT pg_catalog.pg_cancel_backend({pid})")).await;
    cancelled.map_err(|error| said("end a wait", &error))
}

/// Takes back what was prepared to be committed later: no session owns it.
pub(in crate::explore) async fn end_prepared(control: &Client) -> Result<(), Lost> {
    let ending = |error| said("end a prepared transaction", &error);
    let asked = "SELECT pg_catalog.quote_literal(gid) FROM pg_catalog.pg_prepared_xacts \
                 WHERE database = pg_catalog.current_database()";
    for message in control.simple_query(asked).await.map_err(ending)? {
        if let SimpleQueryMessage::Row(row) = message {
            let gid = row.get(0).unwrap_or_default();
            control.batch_execute(&format!("ROLLBACK PREPARED {gid}")).await.map_err(ending)?;
        }
    }
    Ok(())
}
