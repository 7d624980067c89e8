//! What if a migration of a SQLite file is cut off: at each statement, by an interrupt, by the busy timeout, or by the
//! death of its process; then it is run again, as the next deploy would, and the schema must be what a clean run gives.
//!
//! A process that dies leaves its files as they are. They are copied at that moment, with the log or the journal beside
//! them and a page cache so small that unfinished pages are in the file already, and the next run opens the copy.

use std::time::Duration;

use drift_engine::session::{DbError, ErrorClass, Kind};
use drift_engine::sqlite::classify;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use super::super::catalog::Schema;
use super::super::failures::{After, Cut, Manner};
use super::super::migrations::{Migration, Script};
use super::super::site::SiteError;
use super::super::subject::Subject;
use super::catalog;
use super::site::{Place, Site, apply};
use crate::database::sqlite::SqliteDatabase;

/// How long the session waits for the lock, where that is what cuts it off.
const BUSY_TIMEOUT: Duration = Duration::from_millis(100);
/// How many steps of SQLite's virtual machine are made before a statement is interrupted.
const STEPS: i32 = 1;
/// How many pages the cache of a session has that is to die.
const CACHE: &str = "PRAGMA cache_size = 2";

/// Whether a statement of a file can be cut off in this way: in a transaction the write lock is there from the first
/// statement on.
pub fn is_possible(script: &Script, statement: usize, failure: Manner) -> bool {
    failure != Manner::Busy || statement == 0 || !script.in_transaction()
}

/// Applies everything without a cut: what the schema should be.
///
/// # Errors
/// A file is refused even so; its name and how.
pub async fn clean(migrations: &[&Migration], database: &SqliteDatabase) -> Result<Schema, (String, DbError)> {
    let lost = |error| (String::new(), error);
    let mut connection = database.migrator().await.map_err(lost)?;
    for migration in migrations {
        let applied = apply(&mut connection, &migration.up).await;
        applied.map_err(|error| (migration.up.file.clone(), error))?;
    }
    catalog::read(&mut connection).await.map_err(lost)
}

/// Cuts one statement of one file off, and runs that file and the later ones again.
///
/// # Errors
/// There is no file to work on, or an earlier migration is refused.
pub async fn cut<'a>(
    site: &mut Site,
    (subject, events): (&Subject, u32),
    migrations: &[&'a Migration],
    (index, statement): (usize, usize),
    failure: Manner,
    clean: &Schema,
) -> Result<Cut<'a>, SiteError> {
    let mut place = site.place(subject, events).await?;
    let mut connection = place.database.migrator().await?;
    for earlier in migrations.iter().take(index) {
        apply(&mut connection, &earlier.up).await?;
    }
    let script = &migrations[index].up;
    let reached = match failure {
        Manner::Vanish => {
            send(&mut connection, CACHE).await?;
            up_to(&mut connection, script, statement + 1).await?;
            let copy = site.crashed(&place)?;
            let _ = connection.close().await;
            site.leave(std::mem::replace(&mut place, copy))?;
            true
        }
        Manner::Busy => busy(&place, &mut connection, script, statement).await?,
        _ => interrupted(&mut connection, script, statement).await?,
    };
    let after = match reached {
        true => again(&place, migrations, index, clean).await?,
        false => After::NotReached,
    };
    site.leave(place)?;
    Ok(Cut { script, statement, failure, after })
}

/// Runs the file that was cut off and the later ones.
async fn again(place: &Place, migrations: &[&Migration], index: usize, clean: &Schema) -> Result<After, DbError> {
    let mut connection = place.database.migrator().await?;
    for migration in migrations.iter().skip(index) {
        if let Err(error) = apply(&mut connection, &migration.up).await {
            return Ok(After::Refused { file: migration.up.file.clone(), error });
        }
    }
    let mut difference = clean.difference(&catalog::read(&mut connection).await?);
    let sound: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_all(&mut connection)
        .await
        .map_err(|error| classify(error, Kind::Read))?;
    difference.extend(sound.into_iter().filter(|line| line != "ok").map(|line| format!("+ {line}")));
    let _ = connection.close().await;
    Ok(if difference.is_empty() { After::Recovered } else { After::Differs(difference) })
}

/// Begins a file, and carries out its first statements.
async fn up_to(connection: &mut SqliteConnection, script: &Script, count: usize) -> Result<(), DbError> {
    if script.in_transaction() {
        send(connection, "BEGIN IMMEDIATE").await?;
    }
    for statement in script.statements.iter().take(count) {
        send(connection, &statement.text).await?;
    }
    Ok(())
}

/// Interrupts a statement; answers whether it had not ended before.
async fn interrupted(connection: &mut SqliteConnection, script: &Script, statement: usize) -> Result<bool, DbError> {
    up_to(connection, script, statement).await?;
    let failed = |error| classify(error, Kind::Write);
    connection.lock_handle().await.map_err(failed)?.set_progress_handler(STEPS, || false);
    let sent = send(connection, &script.statements[statement].text).await;
    connection.lock_handle().await.map_err(failed)?.remove_progress_handler();
    // The file's own transaction too ends with its process.
    roll_back(connection).await?;
    Ok(sent.is_err())
}

/// Lets somebody else have the write lock; answers whether the statement was refused for it.
async fn busy(
    place: &Place,
    connection: &mut SqliteConnection,
    script: &Script,
    statement: usize,
) -> Result<bool, DbError> {
    let mut other = place.database.plain().await?;
    send(&mut other, &format!("PRAGMA busy_timeout = {}", BUSY_TIMEOUT.as_millis())).await?;
    send(connection, &format!("PRAGMA busy_timeout = {}", BUSY_TIMEOUT.as_millis())).await?;
    if !script.in_transaction() {
        up_to(connection, script, statement).await?;
    }
    if send(&mut other, "BEGIN IMMEDIATE").await.is_err() {
        // The file itself has it by now.
        roll_back(connection).await?;
        return Ok(false);
    }
    let text = if script.in_transaction() { "BEGIN IMMEDIATE" } else { &script.statements[statement].text };
    let sent = send(connection, text).await;
    send(&mut other, "ROLLBACK").await?;
    roll_back(connection).await?;
    Ok(sent.is_err_and(|error| error.class == ErrorClass::Busy))
}

/// Rolls back; an interrupt may have done so already, and then there is nothing to roll back (code 1).
async fn roll_back(connection: &mut SqliteConnection) -> Result<(), DbError> {
    match send(connection, "ROLLBACK").await {
        Err(error) if error.code.as_deref() != Some("1") => Err(error),
        _ => Ok(()),
    }
}

async fn send(connection: &mut SqliteConnection, sql: &str) -> Result<(), DbError> {
    let sent = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await;
    sent.map(drop).map_err(|error| classify(error, Kind::Write))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::Journal;
    use crate::rehearse::shipped::SHIPPED;

    /// What a file is like after a crash in the middle of the fold, with what lay beside it or without.
    async fn after_crash(journal: Journal, without: Option<&str>) -> Result<(Schema, Vec<String>), DbError> {
        let mut site = Site::new(journal, 1).await.unwrap();
        let subject = SHIPPED.iter().find(|one| one.path == "migrations/sqlite").unwrap().subject();
        let place = site.place(&subject, 1_000).await.unwrap();
        let mut connection = place.database.plain().await.unwrap();
        send(&mut connection, CACHE).await.unwrap();
        up_to(&mut connection, &subject.migrations.list[1].up, 3).await.unwrap();
        let copy = site.crashed(&place).unwrap();
        if let Some(ending) = without {
            let mut beside = copy.path().into_os_string();
            beside.push(ending);
            std::fs::remove_file(beside).unwrap();
        }
        let mut connection = copy.database.plain().await?;
        let schema = catalog::read(&mut connection).await?;
        let sound = sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut connection).await;
        Ok((schema, sound.map_err(|error| classify(error, Kind::Read))?))
    }

    #[tokio::test]
    async fn a_crash_is_one_and_what_lies_beside_the_file_undoes_it() {
        for journal in Journal::ALL {
            let (schema, sound) = after_crash(journal, None).await.unwrap();
            assert_eq!(sound, ["ok"], "{journal:?}");
            assert!(!schema.is_empty());
        }
        // The unfinished pages are in the file: without its journal it is not what it was.
        let (schema, sound) = after_crash(Journal::Rollback, None).await.unwrap();
        let broken = after_crash(Journal::Rollback, Some("-journal")).await;
        assert!(broken.as_ref().is_err() || broken.as_ref().is_ok_and(|found| *found != (schema, sound)), "{broken:?}");
    }
}
