//! Cuts a statement off on SQLite: by an interrupt, by the busy timeout, or by the death of its process.
//!
//! A process that dies leaves its files as they are. They are copied at that moment, with the log or the journal beside
//! them and a page cache so small that unfinished pages are in the file already, and the next run opens the copy.

use std::time::Duration;

use drift_engine::session::{DbError, ErrorClass, Kind};
use drift_engine::sqlite::classify;

use super::Sqlite;
use super::line::FileLine;
use crate::rehearse::failures::Manner;
use crate::rehearse::migrations::Script;
use crate::rehearse::site::{Place, Site, SiteError};
use crate::rehearse::target::Line;

/// How long the session waits for the lock, where that is what cuts it off.
const BUSY_TIMEOUT: Duration = Duration::from_millis(100);
/// How many steps of SQLite's virtual machine are made before a statement is interrupted.
const STEPS: i32 = 1;
/// How many pages the cache of a session has that is to die.
const CACHE: &str = "PRAGMA cache_size = 2";

/// Runs a file up to a statement, and cuts that off; answers whether it could.
///
/// # Errors
/// The file is lost, or an earlier statement is refused.
pub(super) async fn cut_off(
    site: &mut Site<Sqlite>,
    place: &mut Place<Sqlite>,
    mut line: FileLine,
    script: &Script,
    statement: usize,
    manner: Manner,
) -> Result<bool, SiteError> {
    Ok(match manner {
        Manner::Vanish => {
            line.text(CACHE).await?;
            up_to(&mut line, script, statement + 1).await?;
            let copy = crashed(site, place)?;
            let _ = line.close().await;
            site.leave(std::mem::replace(place, copy)).await?;
            true
        }
        Manner::Busy => busy(place, &mut line, script, statement).await?,
        _ => interrupted(&mut line, script, statement).await?,
    })
}

/// A file that is what another one would be after a crash: a copy of it, and of what lies beside it, as they are.
fn crashed(site: &mut Site<Sqlite>, place: &Place<Sqlite>) -> Result<Place<Sqlite>, SiteError> {
    let suffix = site.suffix();
    let made = site.target.files.copy_as_it_is(&suffix, &place.made)?;
    let ground = site.target.on(&made, place.ground.database.migrates_with_foreign_keys(), place.ground.busy_timeout);
    Ok(Place { made, ground, application: place.application, base: place.base.clone() })
}

/// Begins a file, and carries out its first statements.
async fn up_to(line: &mut FileLine, script: &Script, count: usize) -> Result<(), DbError> {
    if script.in_transaction() {
        line.text("BEGIN IMMEDIATE").await?;
    }
    for statement in script.statements.iter().take(count) {
        line.text(&statement.text).await?;
    }
    Ok(())
}

/// Interrupts a statement; answers whether it had not ended before.
async fn interrupted(line: &mut FileLine, script: &Script, statement: usize) -> Result<bool, DbError> {
    up_to(line, script, statement).await?;
    let failed = |error| classify(error, Kind::Write);
    line.connection.lock_handle().await.map_err(failed)?.set_progress_handler(STEPS, || false);
    let sent = line.text(&script.statements[statement].text).await;
    line.connection.lock_handle().await.map_err(failed)?.remove_progress_handler();
    // The file's own transaction too ends with its process.
    roll_back(line).await?;
    Ok(sent.is_err())
}

/// Lets somebody else have the write lock; answers whether the statement was refused for it.
async fn busy(place: &Place<Sqlite>, line: &mut FileLine, script: &Script, statement: usize) -> Result<bool, DbError> {
    let mut other = FileLine::new(place.ground.database.plain().await?);
    other.text(&format!("PRAGMA busy_timeout = {}", BUSY_TIMEOUT.as_millis())).await?;
    line.text(&format!("PRAGMA busy_timeout = {}", BUSY_TIMEOUT.as_millis())).await?;
    if !script.in_transaction() {
        up_to(line, script, statement).await?;
    }
    if other.text("BEGIN IMMEDIATE").await.is_err() {
        // The file itself has it by now.
        roll_back(line).await?;
        return Ok(false);
    }
    let text = if script.in_transaction() { "BEGIN IMMEDIATE" } else { &script.statements[statement].text };
    let sent = line.text(text).await;
    other.text("ROLLBACK").await?;
    roll_back(line).await?;
    Ok(sent.is_err_and(|error| error.class == ErrorClass::Busy))
}

/// Rolls back; an interrupt may have done so already, and then there is nothing to roll back (code 1).
async fn roll_back(line: &mut FileLine) -> Result<(), DbError> {
    match line.text("ROLLBACK").await {
        Err(error) if error.code.as_deref() != Some("1") => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::Journal;
    use crate::rehearse::catalog::Schema;
    use crate::rehearse::shipped::SHIPPED;

    /// What a file is like after a crash in the middle of the fold, with what lay beside it or without.
    async fn after_crash(journal: Journal, without: Option<&str>) -> Result<(Schema, Vec<String>), DbError> {
        let mut site = Site::new(Sqlite::new(journal).await.unwrap(), 1);
        let subject = SHIPPED.iter().find(|one| one.path == "migrations/sqlite").unwrap().subject();
        let place = site.place(&subject, 1_000).await.unwrap();
        let mut line = FileLine::new(place.ground.database.plain().await.unwrap());
        line.text(CACHE).await.unwrap();
        up_to(&mut line, &subject.migrations.list[1].up, 3).await.unwrap();
        let copy = crashed(&mut site, &place).unwrap();
        if let Some(ending) = without {
            let mut beside = copy.ground.path.clone().into_os_string();
            beside.push(ending);
            std::fs::remove_file(beside).unwrap();
        }
        let mut line = FileLine::new(copy.ground.database.plain().await?);
        Ok((line.schema().await?, line.damage().await?))
    }

    #[tokio::test]
    async fn a_crash_is_one_and_what_lies_beside_the_file_undoes_it() {
        for journal in Journal::ALL {
            let (schema, sound) = after_crash(journal, None).await.unwrap();
            assert_eq!(sound, [""; 0], "{journal:?}");
            assert!(!schema.is_empty());
        }
        // The unfinished pages are in the file: without its journal it is not what it was.
        let (schema, sound) = after_crash(Journal::Rollback, None).await.unwrap();
        let broken = after_crash(Journal::Rollback, Some("-journal")).await;
        assert!(broken.as_ref().is_err() || broken.as_ref().is_ok_and(|found| *found != (schema, sound)), "{broken:?}");
    }
}
