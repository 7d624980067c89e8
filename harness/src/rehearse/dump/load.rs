//! Loads a dump into a database.

use drift_engine::postgres::classify;
use drift_engine::session::{ErrorClass, Kind};
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgConnection, PgCopyIn, PgDatabaseError};

use super::{Dump, DumpError, Piece, Pieces};
use crate::sql::Statement;

/// Loads a dump in one transaction, on a connection that is not used for anything else: a dump changes its settings.
///
/// Cancellation: the connection must be closed; its transaction is rolled back then.
///
/// # Errors
/// The file cannot be read any more, or the database refuses something in it.
pub async fn load(connection: &mut PgConnection, dump: &Dump) -> Result<(), DumpError> {
    let mut pieces = Pieces::open(&dump.path)?;
    let at_all = |error| refused(&dump.shown(), None, error);
    sqlx::raw_sql("BEGIN").execute(&mut *connection).await.map_err(at_all)?;
    while let Some(piece) = pieces.next()? {
        match piece {
            Piece::Statement(line, statement) => {
                send(connection, &statement).await.map_err(|error| refused(&dump.shown(), Some(line), error))?;
            }
            Piece::Copy(line, statement) => {
                let begun = connection.copy_in_raw(&statement.text).await;
                let begun = begun.map_err(|error| refused(&dump.shown(), Some(line), error))?;
                let first = pieces.line;
                copy(begun, &mut pieces).await.map_err(|error| match error {
                    Copying::File(error) => error,
                    Copying::Refused(error) => {
                        let at = row(&error).map_or(line, |row| first + row - 1);
                        refused(&dump.shown(), Some(at), error)
                    }
                })?;
            }
            // Only after a COPY.
            Piece::Rows(_) | Piece::RowsEnd => {}
        }
    }
    sqlx::raw_sql("COMMIT").execute(connection).await.map(drop).map_err(at_all)
}

enum Copying {
    File(DumpError),
    Refused(sqlx::Error),
}

async fn copy(mut copying: PgCopyIn<&mut PgConnection>, pieces: &mut Pieces<std::fs::File>) -> Result<(), Copying> {
    loop {
        match pieces.next() {
            Ok(Some(Piece::Rows(rows))) => {
                copying.send(rows).await.map_err(Copying::Refused)?;
            }
            Ok(_) => return copying.finish().await.map(drop).map_err(Copying::Refused),
            Err(error) => {
                // The file's mistake is what is to be told.
                let _ = copying.abort("the file cannot be read").await;
                return Err(Copying::File(error));
            }
        }
    }
}

/// Sends a statement; a setting that this server does not know is left out, as psql would go on after it.
async fn send(connection: &mut PgConnection, statement: &Statement) -> Result<(), sqlx::Error> {
    if let Some(name) = statement.words.get(1).filter(|_| statement.begins(&["SET"])) {
        let known: bool = sqlx::query_scalar("SELECT pg_catalog.current_setting($1, true) IS NOT NULL")
            .bind(name.to_lowercase())
            .fetch_one(&mut *connection)
            .await?;
        let is_setting = !["LOCAL", "SESSION", "TRANSACTION", "ROLE", "TIME", "CONSTRAINTS"].contains(&name.as_str());
        if is_setting && !known {
            return Ok(());
        }
    }
    sqlx::raw_sql(AssertSqlSafe(statement.text.clone())).execute(connection).await.map(drop)
}

/// The row that a refusal speaks of, from 1: the server names it in its context.
fn row(error: &sqlx::Error) -> Option<u64> {
    let context = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?.r#where()?;
    let digits = context.split(", line ").nth(1)?;
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok().filter(|row| *row > 0)
}

fn refused(file: &str, line: Option<u64>, error: sqlx::Error) -> DumpError {
    let error = classify(error, Kind::Write);
    let help = match error.code.as_deref() {
        _ if error.class == ErrorClass::Lost => "The server is gone: see its log.",
        Some("42704") => "If it is about a role: dump with --no-owner --no-privileges.",
        Some("42P07" | "42710" | "42723") => {
            "It is there already: dump the data alone (--data-only), or the whole database."
        }
        Some("42P01" | "42703") => "The data must fit the version to begin at: see --from.",
        Some("58P01" | "0A000") => "The extension is not installed on this server: install it, or leave it out.",
        _ => "Rehearse on a dump that psql --set ON_ERROR_STOP=1 loads.",
    };
    DumpError { file: file.to_owned(), line, code: error.code, message: error.message, help }
}
