//! What if a migration is cut off: at each statement of each file, in each way that its backend has; then it is run
//! again, as the next deploy would, and the schema must be what a clean run gives.

use std::time::Duration;

use drift_engine::session::DbError;

use super::catalog::Schema;
use super::migrations::{Migration, Script};
use super::site::{Place, Site, SiteError};
use super::subject::Subject;
use super::target::{Line, Target};

/// How many events there are: only the schema counts.
const EVENTS: u32 = 1_000;
/// How long one statement may take at all.
pub(super) const STATEMENT_MAX: Duration = Duration::from_secs(60);

/// The ways to be cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manner {
    /// Somebody cancels the statement.
    Cancel,
    /// Somebody ends the session.
    Terminate,
    /// The session gives up waiting for a lock.
    LockTimeout,
    /// The migrating process is gone, and the server has not noticed yet; on SQLite, what it leaves are its files.
    Vanish,
    /// SQLite: the statement is interrupted.
    Interrupt,
    /// SQLite: somebody else has the file's lock for longer than the busy timeout.
    Busy,
}

impl Manner {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "a cancel",
            Self::Terminate => "the end of its session",
            Self::LockTimeout => "a lock_timeout",
            Self::Vanish => "the death of the migrating process",
            Self::Interrupt => "an interrupt",
            Self::Busy => "the busy timeout",
        }
    }
}

/// One cut, and what came of the next run.
#[derive(Debug)]
pub struct Cut<'a> {
    /// The file that was cut off.
    pub script: &'a Script,
    /// The statement at which it was.
    pub statement: usize,
    /// How.
    pub failure: Manner,
    /// How the next run ended.
    pub after: After,
}

/// How the next run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// The statement ended before it could be cut off in this way.
    NotReached,
    /// The schema is that of a clean run.
    Recovered,
    /// A file was refused.
    Refused {
        /// Which.
        file: String,
        /// How.
        error: DbError,
    },
    /// It went through, and the schema is another one.
    Differs(Vec<String>),
}

/// Cuts every statement of a subject's files off, in every way.
///
/// # Errors
/// There is no database to work on, or a file is refused even without a cut.
pub async fn cuts<'a, T: Target>(site: &mut Site<T>, subject: &'a Subject) -> Result<Vec<Cut<'a>>, SiteError> {
    let (from, to) = subject.range()?;
    let migrations: Vec<_> = subject.migrations.between(&from, &to).collect();
    let clean = clean(site, subject, &migrations).await?;
    let mut cuts = Vec::new();
    for (index, migration) in migrations.iter().enumerate() {
        let all =
            (0..migration.up.statements.len()).flat_map(|one| T::MANNERS.iter().map(move |manner| (one, *manner)));
        for (statement, manner) in all.filter(|(one, manner)| T::is_possible(&migration.up, *one, *manner)) {
            cuts.push(cut(site, subject, &migrations, (index, statement), manner, &clean).await?);
        }
    }
    Ok(cuts)
}

/// A session of a file's own, bounded: what a file sets for its session, its bound too, holds for no other file.
pub(super) async fn bounded<T: Target>(place: &Place<T>) -> Result<T::Line, DbError> {
    let mut line = place.line().await?;
    line.bound(STATEMENT_MAX).await?;
    Ok(line)
}

/// Applies a file in such a session.
async fn apply<T: Target>(place: &Place<T>, script: &Script) -> Result<(), DbError> {
    let mut line = bounded(place).await?;
    line.script(script).await?;
    line.close().await
}

/// Applies everything without a cut: what the schema should be.
async fn clean<T: Target>(
    site: &mut Site<T>,
    subject: &Subject,
    migrations: &[&Migration],
) -> Result<Schema, SiteError> {
    let place = site.place(subject, EVENTS).await?;
    let mut refused = None;
    for migration in migrations {
        let applied = apply(&place, &migration.up).await;
        refused = applied.err().map(|error| SiteError::Earlier { file: migration.up.file.clone(), error });
        if refused.is_some() {
            break;
        }
    }
    let schema = match refused {
        Some(refused) => Err(refused),
        None => place.line().await?.schema().await.map_err(SiteError::from),
    };
    site.leave(place).await?;
    schema
}

/// Cuts one statement of one file off, and runs that file and the later ones again.
async fn cut<'a, T: Target>(
    site: &mut Site<T>,
    subject: &Subject,
    migrations: &[&'a Migration],
    (index, statement): (usize, usize),
    failure: Manner,
    clean: &Schema,
) -> Result<Cut<'a>, SiteError> {
    let mut place = site.place(subject, EVENTS).await?;
    for earlier in migrations.iter().take(index) {
        apply(&place, &earlier.up).await?;
    }
    let line = bounded(&place).await?;
    let script = &migrations[index].up;
    let after = match T::cut_off(site, &mut place, line, script, statement, failure).await? {
        true => again(&place, &migrations[index..], clean).await?,
        false => After::NotReached,
    };
    site.leave(place).await?;
    Ok(Cut { script, statement, failure, after })
}

/// Runs the file that was cut off and the later ones.
async fn again<T: Target>(place: &Place<T>, migrations: &[&Migration], clean: &Schema) -> Result<After, DbError> {
    for migration in migrations {
        if let Err(error) = apply(place, &migration.up).await {
            return Ok(After::Refused { file: migration.up.file.clone(), error });
        }
    }
    let mut line = place.line().await?;
    let mut difference = clean.difference(&line.schema().await?);
    difference.extend(line.damage().await?.into_iter().map(|line| format!("+ {line}")));
    let _ = line.close().await;
    Ok(if difference.is_empty() { After::Recovered } else { After::Differs(difference) })
}
