//! Companions on SQLite: who else may have the file open while a migration runs.

use std::sync::Arc;
use std::time::Duration;

use drift_engine::session::{DbError, Kind, Session};
use drift_engine::sqlite::classify;
use sqlx::{Connection, SqliteConnection};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::database::sqlite::SqliteDatabase;
use crate::rehearse::companion::Companion;
use crate::sqlite_busy::Busy;

/// The companions that there can be.
pub const COMPANIONS: [Companion; 2] = [Companion::IdleReader, Companion::IdleWriter];

/// Why there can be no such companion on SQLite, if that is so.
pub fn unfit(companion: Companion) -> Option<&'static str> {
    match companion {
        Companion::IdleReader | Companion::IdleWriter => None,
        Companion::IdleSnapshot => Some("SQLite has one sort of read transaction, and idle-reader is it"),
        Companion::Dump => Some("a copy of a SQLite file is a long read transaction, and idle-reader is it"),
        Companion::Vacuum => Some("VACUUM of SQLite builds the whole file anew and is refused beside any transaction"),
        Companion::SecondBuild => Some("SQLite builds one index at a time: whoever writes is alone"),
        Companion::Replicas => {
            Some("replicas wait for the file's one write lock, and for no other: idle-writer is that")
        }
        Companion::Duplicates => Some("nobody writes between a check and an index that are in one transaction"),
    }
}

/// A companion, standing.
pub struct Beside {
    /// Its session.
    pub session: i64,
    /// Dropping it ends the companion.
    ends: DropGuard,
    task: JoinHandle<Result<(), DbError>>,
}

/// How long to wait between two looks at whether the file waits.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl Beside {
    /// Lets a companion take its place, and returns when it stands. It holds on until it is ended, or, from the moment at
    /// which `file` has to wait, for `hold`: on a machine on which the file takes longer it would otherwise be gone before
    /// it is in anybody's way.
    ///
    /// # Errors
    /// The file cannot be opened, or refuses.
    pub async fn stand(
        companion: Companion,
        database: &SqliteDatabase,
        file: Arc<Busy>,
        hold: Duration,
    ) -> Result<Self, DbError> {
        let (session, busy) = database.connect().await?;
        let number = session.id().0;
        let mut connection = session.into_inner();
        let begin = match companion {
            Companion::IdleWriter => "BEGIN IMMEDIATE",
            // The snapshot comes with the first row that is read.
            _ => "BEGIN; SELECT count(*) FROM sqlite_schema",
        };
        let begun = sqlx::raw_sql(begin).execute(&mut connection).await;
        busy.ended();
        begun.map_err(|error| classify(error, Kind::Begin))?;
        let ends = CancellationToken::new();
        let task = tokio::spawn(play(connection, busy, ends.clone(), file, hold));
        Ok(Self { session: number, ends: ends.drop_guard(), task })
    }

    /// Ends it, and says what SQLite refused it, if anything.
    ///
    /// # Panics
    /// The companion panicked.
    pub async fn end(self) -> Vec<DbError> {
        drop(self.ends);
        self.task.await.expect("a companion neither panics nor is aborted").err().into_iter().collect()
    }
}

async fn play(
    mut connection: SqliteConnection,
    busy: Arc<Busy>,
    ends: CancellationToken,
    file: Arc<Busy>,
    hold: Duration,
) -> Result<(), DbError> {
    let held = async {
        while !file.is_waiting() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        tokio::time::sleep(hold).await;
    };
    tokio::select! {
        () = ends.cancelled() => {}
        () = held => {}
    }
    let ended = sqlx::raw_sql("ROLLBACK").execute(&mut connection).await;
    busy.ended();
    ended.map_err(|error| classify(error, Kind::Rollback))?;
    connection.close().await.map_err(|error| classify(error, Kind::Rollback))
}
