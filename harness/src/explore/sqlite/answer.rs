//! What a file's answers come to.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, TypeInfo, ValueRef};

use super::Answer;
use crate::explore::world::{Done, Lost, Rows, What};
use crate::scenario::script::{Returned, Value};

/// What came of a step, and what of it can be captured; an error if the connection is lost.
pub(crate) fn came(answer: Answer) -> Result<(What, Returned), sqlx::Error> {
    match answer {
        Ok((found, affected)) => {
            let done = Done { rows: rows(&found), affected: Some(affected), rolled_back: false };
            Ok((What::Done(done), returned(&found, affected)))
        }
        Err(sqlx::Error::Database(refused)) => {
            let code = refused.code().unwrap_or_default().into_owned();
            Ok((What::Failed { code, message: refused.message().to_owned() }, Returned::default()))
        }
        Err(error) => Err(error),
    }
}

/// Why a step has no answer. A statement that gets more columns while it runs ends the driver's thread (sqlx 0.9): it
/// goes by the columns that the statement had when it was prepared.
pub(crate) fn unanswered(what: &str, error: sqlx::Error) -> Lost {
    match error {
        sqlx::Error::WorkerCrashed => Lost::by_script(format!(
            "failed to {what}: SQLite's driver died in the middle of it, as it does where a `*` gets more columns since \
             another actor has changed the table meanwhile; name the columns in place of `*`"
        )),
        error => Lost::during(what, error),
    }
}

/// What of an answer can be captured: of these rows, or where there are none of so many that were changed.
pub(crate) fn returned(found: &[SqliteRow], affected: u64) -> Returned {
    let first = found.first().map(|row| (0..row.len()).map(|at| captured(row, at)).collect());
    let column = found.iter().filter(|row| !row.is_empty()).map(|row| captured(row, 0)).collect();
    let affected = if found.is_empty() { affected } else { found.len() as u64 };
    Returned { first: first.unwrap_or_default(), column, affected: Some(affected) }
}

/// The rows, by their text.
pub(super) fn rows(found: &[SqliteRow]) -> Rows {
    let values = |row: &SqliteRow| {
        (0..row.columns().len()).map(|at| value(row, at).unwrap_or_else(|| "NULL".to_owned())).collect()
    };
    let mut rows: Rows = found.iter().map(values).collect();
    rows.sort_unstable();
    rows
}

/// A captured value as it is put into SQL.
pub(crate) fn literal(value: &Value) -> String {
    value.literal.clone().unwrap_or_else(|| "NULL".to_owned())
}

/// A value with its literal, of its own type.
fn captured(row: &SqliteRow, at: usize) -> Value {
    let text = value(row, at);
    let literal = text.clone().zip(row.try_get_raw(at).ok()).map(|(text, raw)| match raw.type_info().name() {
        "TEXT" => format!("'{}'", text.replace('\'', "''")),
        // What `value` writes before the digits of a blob.
        "BLOB" => format!("x'{}'", text.strip_prefix('x').unwrap_or_default()),
        _ if text.starts_with('-') => format!("({text})"),
        // An integral real is no integer: 3.0 / 2 is not 1.
        "REAL" if text.bytes().all(|byte| byte.is_ascii_digit()) => format!("{text}.0"),
        _ => text,
    });
    Value { text, literal }
}

/// A value as text; `None` is NULL.
fn value(row: &SqliteRow, at: usize) -> Option<String> {
    let raw = row.try_get_raw(at).ok()?;
    if raw.is_null() {
        return None;
    }
    let kind = raw.type_info().name().to_owned();
    let text = match kind.as_str() {
        "REAL" => row.try_get_unchecked::<f64, _>(at).map(|real| real.to_string()),
        "BLOB" => row
            .try_get_unchecked::<Vec<u8>, _>(at)
            .map(|bytes| bytes.iter().fold(String::from("x"), |hex, byte| hex + &format!("{byte:02x}"))),
        "TEXT" => row.try_get_unchecked::<String, _>(at),
        _ => row.try_get_unchecked::<i64, _>(at).map(|integer| integer.to_string()),
    };
    text.ok()
}
