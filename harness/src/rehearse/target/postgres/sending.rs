//! Sends a script's statements to PostgreSQL, each with the data that follow a COPY.

use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Either, Executor, PgConnection};

use crate::rehearse::migrations::{Script, Transaction};
use crate::sql::Statement;

/// Sends one statement.
///
/// # Errors
/// The database refuses it or its data, or the connection is lost.
pub async fn statement(connection: &mut PgConnection, statement: &Statement) -> Result<(), sqlx::Error> {
    let Some(data) = &statement.data else {
        return sqlx::raw_sql(AssertSqlSafe(statement.text.clone())).execute(connection).await.map(drop);
    };
    let mut copying = connection.copy_in_raw(&statement.text).await?;
    match copying.send(data.as_bytes()).await {
        Ok(_) => copying.finish().await.map(drop),
        Err(error) => {
            let _ = copying.abort("the data could not be sent").await;
            Err(error)
        }
    }
}

/// Sends a text of several statements as one message.
///
/// # Errors
/// How the database refused it, and how many of its statements had been carried out before; or the connection is lost.
pub async fn message(connection: &mut PgConnection, text: &str) -> Result<(), (usize, sqlx::Error)> {
    let mut done = 0;
    let mut answers = connection.fetch_many(sqlx::raw_sql(AssertSqlSafe(text.to_owned())));
    loop {
        match answers.try_next().await {
            Ok(Some(Either::Left(_))) => done += 1,
            Ok(Some(Either::Right(_))) => {}
            Ok(None) => return Ok(()),
            Err(error) => return Err((done, error)),
        }
    }
}

/// Sends a script as its tool would, where nobody else is.
///
/// # Errors
/// What the database refuses; the session's transaction may then be open.
pub async fn script(connection: &mut PgConnection, script: &Script) -> Result<(), sqlx::Error> {
    if script.transaction == Transaction::Message {
        return sqlx::raw_sql(AssertSqlSafe(script.text.clone())).execute(connection).await.map(drop);
    }
    if script.in_transaction() {
        sqlx::raw_sql("BEGIN").execute(&mut *connection).await?;
    }
    for one in &script.statements {
        statement(connection, one).await?;
    }
    if script.in_transaction() {
        sqlx::raw_sql("COMMIT").execute(&mut *connection).await?;
    }
    Ok(())
}
