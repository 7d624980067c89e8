//! Applies one file to a SQLite database, statement by statement.
//!
//! A file in a transaction begins with BEGIN IMMEDIATE, as `engine::migrate` does. sqlx's own migrator says BEGIN, and
//! gets the write lock with the first statement that writes: a file that reads first is then refused at once, without
//! the busy timeout, if somebody has written in between. The locks from the first writing statement on are the same.
//! A file that begins with `-- no-transaction` has each statement in a transaction of its own, as SQLite gives it, unless
//! it says BEGIN itself: PRAGMA foreign_keys means nothing within a transaction, and whoever rebuilds a table needs it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drift_engine::session::{DbError, ErrorClass, Kind, Session, SessionId};
use drift_engine::sqlite::classify;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::beside::Beside;
use crate::clock::Clock;
use crate::database::sqlite::SqliteDatabase;
use crate::history::Tick;
use crate::rehearse::apply::{Applied, Ran, survivable};
use crate::rehearse::companion::Companion;
use crate::rehearse::migrations::Script;
use crate::rehearse::progress::Progress;
use crate::sqlite_busy::Busy;

/// How many of its virtual machine's steps SQLite makes between two looks at the clock.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;
/// How long after a statement's own bound its answer is still waited for.
const ANSWER: Duration = Duration::from_secs(10);

/// What the sampler sees of the migrating session.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its number.
    pub session: SessionId,
    /// What its busy handler says.
    pub busy: Arc<Busy>,
    /// Whether it has the write lock for certain.
    pub holds: Arc<AtomicBool>,
    /// The sessions of a companion.
    pub others: Arc<Mutex<Vec<i64>>>,
}

impl Seen {
    /// Says whose sessions a companion has.
    pub fn beside(&self, sessions: Vec<i64>) {
        *self.others.lock().unwrap_or_else(PoisonError::into_inner) = sessions;
    }
}

/// The migrating session.
pub struct Migrator {
    database: SqliteDatabase,
    connection: SqliteConnection,
    seen: Seen,
    clock: Clock,
    statement_max: Duration,
    /// When the statement under way is to be interrupted.
    deadline: Arc<AtomicU64>,
    /// Who comes once the write lock is taken.
    comes: Option<(Companion, Duration)>,
    /// Who has come.
    came: Option<Beside>,
    progress: Progress,
}

impl Migrator {
    /// Connects, and bounds the session's waits and its statements.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub async fn new(
        database: &SqliteDatabase,
        clock: Clock,
        busy_timeout: Duration,
        statement_max: Duration,
    ) -> Result<Self, DbError> {
        let (session, busy) = database.connect_waiting(busy_timeout).await?;
        let seen = Seen { session: session.id(), busy, holds: Arc::default(), others: Arc::default() };
        let mut connection = session.into_inner();
        let keys = format!("PRAGMA foreign_keys = {}", database.migrates_with_foreign_keys());
        let set = sqlx::raw_sql(AssertSqlSafe(keys)).execute(&mut connection).await;
        set.map_err(|error| classify(error, Kind::Begin))?;
        let deadline = Arc::new(AtomicU64::new(u64::MAX));
        let (until, now) = (deadline.clone(), clock.clone());
        let mut handle = connection.lock_handle().await.map_err(|error| classify(error, Kind::Begin))?;
        handle.set_progress_handler(STEPS_BETWEEN_LOOKS, move || now.now().0 < until.load(Ordering::Relaxed));
        drop(handle);
        let (database, comes, came) = (database.clone(), None, None);
        Ok(Self {
            database,
            connection,
            seen,
            clock,
            statement_max,
            deadline,
            comes,
            came,
            progress: Progress::default(),
        })
    }

    /// Says from now on what is under way.
    pub fn says(&mut self, progress: Progress) {
        self.progress = progress;
    }

    /// What the sampler is to look at.
    pub fn seen(&self) -> Seen {
        self.seen.clone()
    }

    /// Lets a companion come as soon as the next file has the write lock, and hold on for `hold` at the most: whoever
    /// reads before that holds up the application's own commits too, and first.
    pub fn comes(&mut self, companion: Companion, hold: Duration) {
        self.comes = Some((companion, hold));
    }

    /// The companion that has come.
    pub fn came(&mut self) -> Option<Beside> {
        self.came.take()
    }

    /// Applies a file that begins at `from`, which is now.
    ///
    /// Cancellation: the session must be closed; its transaction is rolled back then.
    ///
    /// # Errors
    /// The file is lost. What SQLite refuses is part of the answer.
    pub async fn apply(&mut self, script: &Script, from: Tick) -> Result<Applied, DbError> {
        let mut applied = Applied {
            sessions: vec![self.seen.session.0],
            from,
            granted: None,
            until: from,
            tables: BTreeMap::new(),
            ran: Vec::new(),
            noted: Vec::new(),
            failed: None,
        };
        let went = if script.in_transaction() {
            self.in_transaction(script, &mut applied).await
        } else {
            self.one_by_one(script, &mut applied).await
        };
        self.seen.holds.store(false, Ordering::SeqCst);
        went?;
        applied.until = self.clock.now();
        Ok(applied)
    }

    async fn in_transaction(&mut self, script: &Script, applied: &mut Applied) -> Result<(), DbError> {
        let mut from = self.clock.now();
        let begun = self.send("BEGIN IMMEDIATE").await;
        let granted = self.clock.now();
        if let Err(error) = begun {
            applied.ran.push(ran(0, from, granted));
            applied.failed = Some((0, survivable(error)?));
            return Ok(());
        }
        applied.granted = Some(granted);
        self.seen.holds.store(true, Ordering::SeqCst);
        if let Some((companion, hold)) = self.comes.take() {
            let beside = Beside::stand(companion, &self.database, self.seen.busy.clone(), hold).await?;
            self.seen.beside(vec![beside.session]);
            self.came = Some(beside);
        }
        for (number, statement) in script.statements.iter().enumerate() {
            self.progress.statement(script, number);
            let sent = self.send(&statement.text).await;
            let until = self.clock.now();
            applied.ran.push(ran(number, from, until));
            from = until;
            if let Err(error) = sent {
                applied.failed = Some((number, survivable(error)?));
                return self.roll_back().await;
            }
        }
        let ended = self.send("COMMIT").await;
        // The last statement's time is that of its COMMIT too: what it wrote is written then.
        if let Some(last) = applied.ran.last_mut() {
            last.until = self.clock.now();
        }
        if let Err(error) = ended {
            let last = script.statements.len().saturating_sub(1);
            applied.failed = Some((last, survivable(error)?));
            return self.roll_back().await;
        }
        Ok(())
    }

    async fn one_by_one(&mut self, script: &Script, applied: &mut Applied) -> Result<(), DbError> {
        for (number, statement) in script.statements.iter().enumerate() {
            self.progress.statement(script, number);
            let from = self.clock.now();
            let writes = !["SELECT", "PRAGMA", "EXPLAIN"].iter().any(|word| statement.begins(&[word]));
            self.seen.holds.store(writes, Ordering::SeqCst);
            let sent = self.send(&statement.text).await;
            self.seen.holds.store(false, Ordering::SeqCst);
            applied.ran.push(ran(number, from, self.clock.now()));
            if let Err(error) = sent {
                applied.failed = Some((number, survivable(error)?));
                // The transaction that the file may have begun ends with its process.
                return self.roll_back().await;
            }
        }
        Ok(())
    }

    /// Rolls back; some errors have done so already, and then there is nothing to roll back (code 1).
    async fn roll_back(&mut self) -> Result<(), DbError> {
        match self.send("ROLLBACK").await {
            Err(error) if error.code.as_deref() != Some("1") => Err(error),
            _ => Ok(()),
        }
    }

    async fn send(&mut self, sql: &str) -> Result<(), DbError> {
        let bound = u64::try_from(self.statement_max.as_nanos()).unwrap_or(u64::MAX);
        self.deadline.store(self.clock.now().0.saturating_add(bound), Ordering::Relaxed);
        let sent = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection);
        let answer = tokio::time::timeout(self.statement_max + ANSWER, sent).await;
        self.seen.busy.ended();
        match answer {
            Ok(sent) => sent.map(drop).map_err(|error| classify(error, Kind::Write)),
            Err(_) => Err(DbError {
                class: ErrorClass::Lost,
                code: None,
                message: format!("no answer within {} s", (self.statement_max + ANSWER).as_secs()),
                during: Kind::Write,
            }),
        }
    }
}

fn ran(statement: usize, from: Tick, until: Tick) -> Ran {
    Ran { statement, from, until, took: Vec::new(), work: Vec::new() }
}
