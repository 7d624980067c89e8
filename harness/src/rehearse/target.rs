//! What a rehearsal needs of a backend. A new backend is a directory here: a [`Target`], a [`Line`] and a [`Stage`];
//! everything else is written once, for each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use drift_engine::claim::CustomerId;
use drift_engine::drift::Cell;
use drift_engine::lock::Backend;
use drift_engine::session::DbError;

use super::application::Application;
use super::apply::{Added, Applied, Tables};
use super::catalog::{Left, Schema};
use super::companion::Companion;
use super::course::{Pass, Plan};
use super::dump::Dump;
use super::failures::Manner;
use super::finding::Finding;
use super::flight::Flight;
use super::migrations::{Migrations, Script, Version};
use super::record::FileRun;
use super::sampler::Sample;
use super::site::{Place, Site, SiteError};
use super::subject::Subject;
use crate::clock::Clock;
use crate::database::Database;
use crate::load::LoadError;
use crate::provision::AccessUrl;
use crate::sql::Statement;

pub mod postgres;
pub mod sqlite;

/// The claims of the traffic's customers, counted.
pub type Counted = Vec<(CustomerId, Vec<Cell>)>;

/// A backend on which migrations are rehearsed: where its databases come from, and what can be done to them.
#[expect(async_fn_in_trait, reason = "a rehearsal is awaited where its backend is known, and is Send there")]
pub trait Target: Sized {
    /// Which one it is.
    const BACKEND: Backend;
    /// The ways in which a statement can be cut off.
    const MANNERS: &'static [Manner];

    /// A database that was made.
    type Made: Debug;
    /// How to work on one.
    type Ground: Clone + Debug;
    /// A session that applies files where nobody else is, and asks.
    type Line: Line;
    /// A rehearsal under way.
    type Stage<'c>: Stage;

    /// Makes a database, empty or a copy.
    ///
    /// # Errors
    /// See [`SiteError`].
    async fn make(&self, suffix: &str, like: Option<&Self::Made>) -> Result<Self::Made, SiteError>;

    /// Drops a database.
    ///
    /// # Errors
    /// The server or the file system refuses; the end of the target tries again.
    async fn discard(&self, made: Self::Made) -> Result<(), SiteError>;

    /// How to work on a database, as a subject wants it.
    fn ground(&self, made: &Self::Made, subject: &Subject) -> Self::Ground;

    /// The same for whoever works on either.
    fn database(ground: &Self::Ground) -> Database;

    /// Opens a session that migrates and asks.
    ///
    /// # Errors
    /// The database cannot be reached.
    async fn line(ground: &Self::Ground) -> Result<Self::Line, DbError>;

    /// Opens what a rehearsal needs: the session that migrates, and whoever looks at who waits.
    ///
    /// # Errors
    /// The database cannot be reached.
    async fn stage<'c>(plan: &'c Plan<'_>, ground: &'c Self::Ground, clock: &Clock)
    -> Result<Self::Stage<'c>, DbError>;

    /// The user's own data, with which databases are filled instead of ours.
    fn data(&self) -> Option<&Dump> {
        None
    }

    /// Loads it, and puts the traffic's claims beside it: counted, where there are tables for them.
    ///
    /// # Errors
    /// See [`SiteError`].
    async fn load(
        &self,
        _ground: &Self::Ground,
        _line: &mut Self::Line,
        _seed: u64,
    ) -> Result<Option<Counted>, SiteError> {
        Ok(None)
    }

    /// The server's version as a number (150006 is 15.6), where a server of another version may behave otherwise.
    fn version_number(&self) -> Option<u32> {
        None
    }

    /// Whether the whole server is thrown away, so that what belongs to no database may be made on it.
    fn is_thrown_away(&self) -> bool {
        true
    }

    /// How another process reaches a database, if it can.
    fn access(&self, _made: &Self::Made) -> Option<AccessUrl> {
        None
    }

    /// sqlx's own migrator over a subject's files, on a database at `from`; none where it is not rehearsed.
    ///
    /// # Errors
    /// The database refuses.
    async fn stock(
        &self,
        _ground: &Self::Ground,
        _subject: &Subject,
        _from: &Version,
    ) -> Result<Option<postgres::stock::Stock>, SiteError> {
        Ok(None)
    }

    /// The bytes that a file writes into the log where there is no traffic; none where the stage tells it in any case.
    ///
    /// # Errors
    /// The file is refused, or the database cannot be asked.
    async fn wal_of(_line: &mut Self::Line, _script: &Script) -> Result<Option<i64>, DbError> {
        Ok(None)
    }

    /// Whether a statement of a file can be cut off in this way.
    fn is_possible(script: &Script, statement: usize, manner: Manner) -> bool;

    /// Runs a file up to a statement on `line`, and cuts that off; answers whether it could. Afterwards the place is what
    /// the next run finds.
    ///
    /// # Errors
    /// The database is lost.
    async fn cut_off(
        site: &mut Site<Self>,
        place: &mut Place<Self>,
        line: Self::Line,
        script: &Script,
        statement: usize,
        manner: Manner,
    ) -> Result<bool, SiteError>;

    /// Gives findings the advice and the words that fit this backend, where they are others.
    fn advise(_findings: &mut [Finding], _migrations: &Migrations) {}

    /// What else is to be known of a subject here.
    fn note(_subject: &Subject) -> Option<String> {
        None
    }
}

/// A session where nobody else is: it applies files as their tool does, and asks what they have made.
#[expect(async_fn_in_trait, reason = "a rehearsal is awaited where its backend is known, and is Send there")]
pub trait Line: Sized {
    /// How a transaction begins that writes.
    const BEGIN: &'static str;

    /// Ends the session.
    ///
    /// # Errors
    /// What it wrote could not be kept.
    async fn close(self) -> Result<(), DbError>;

    /// Bounds each of its statements from now on, where the database can.
    ///
    /// # Errors
    /// The database refuses.
    async fn bound(&mut self, _at_most: Duration) -> Result<(), DbError> {
        Ok(())
    }

    /// The same until the end of the transaction.
    ///
    /// # Errors
    /// The database refuses.
    async fn bound_transaction(&mut self, _at_most: Duration) -> Result<(), DbError> {
        Ok(())
    }

    /// Sends a text.
    ///
    /// # Errors
    /// The database refuses it.
    async fn text(&mut self, sql: &str) -> Result<(), DbError>;

    /// Sends a statement, with its data.
    ///
    /// # Errors
    /// The database refuses it.
    async fn statement(&mut self, statement: &Statement) -> Result<(), DbError> {
        self.text(&statement.text).await
    }

    /// Applies a file.
    ///
    /// # Errors
    /// The database refuses it.
    async fn script(&mut self, script: &Script) -> Result<(), DbError>;

    /// Reads the schema.
    ///
    /// # Errors
    /// The database cannot be asked.
    async fn schema(&mut self) -> Result<Schema, DbError>;

    /// The bytes of each table and index.
    ///
    /// # Errors
    /// The database cannot be asked.
    async fn sizes(&mut self) -> Result<Vec<(String, i64)>, DbError>;

    /// About how many rows each table has, where the database has counted them.
    ///
    /// # Errors
    /// The database cannot be asked.
    async fn rows(&mut self) -> Result<BTreeMap<String, i64>, DbError> {
        Ok(BTreeMap::new())
    }

    /// The partitions, each with the table that is partitioned.
    ///
    /// # Errors
    /// The database cannot be asked.
    async fn partitions(&mut self) -> Result<BTreeMap<String, String>, DbError> {
        Ok(BTreeMap::new())
    }

    /// What is broken in the database itself.
    ///
    /// # Errors
    /// The database cannot be asked.
    async fn damage(&mut self) -> Result<Vec<String>, DbError> {
        Ok(Vec::new())
    }

    /// Whether the engine's tables are there.
    ///
    /// # Errors
    /// The database cannot be asked.
    async fn has_tables(&mut self) -> Result<bool, DbError>;

    /// Fills them: the claims of `seed`, and an archive of `events` events.
    ///
    /// # Errors
    /// The database refuses.
    async fn fill(&mut self, seed: u64, events: u32) -> Result<(), LoadError>;

    /// The newest code that fits them.
    ///
    /// # Errors
    /// The database cannot be asked.
    async fn fitting(&mut self) -> Result<Application, DbError>;

    /// Lets the database count what is in it, where it does so.
    ///
    /// # Errors
    /// The database refuses.
    async fn settle(&mut self) -> Result<(), DbError> {
        Ok(())
    }

    /// The tables and indexes that have locks of their own.
    ///
    /// # Errors
    /// The database cannot be asked.
    async fn tables(&mut self) -> Result<Tables, DbError> {
        Ok(Tables::new())
    }

    /// A transaction has begun: notes how things stand, so that each statement's part can be told.
    ///
    /// # Errors
    /// The database cannot be asked.
    async fn begun(&mut self) -> Result<(), DbError> {
        Ok(())
    }

    /// What the statement that has just ended has added; `known` is what was there before the file.
    ///
    /// # Errors
    /// The database cannot be asked.
    async fn look(&mut self, _known: &Tables) -> Result<Added, DbError> {
        Ok(Added::default())
    }

    /// Takes what was read meanwhile for known: it is not the next statement's work.
    ///
    /// # Errors
    /// The database cannot be asked.
    async fn look_again(&mut self) -> Result<(), DbError> {
        Ok(())
    }

    /// Carries out a statement that stands outside of a transaction, in one of its own where that is how it can be asked
    /// what it has added.
    ///
    /// # Errors
    /// The database refuses it; nothing is open then.
    async fn alone(&mut self, statement: &Statement, _known: &Tables) -> Result<Added, DbError> {
        self.statement(statement).await.map(|()| Added::default())
    }
}

/// One try of one file.
#[derive(Clone, Copy, Debug)]
pub struct Try<'t> {
    /// In which part of the course.
    pub pass: Pass,
    /// The migration's version.
    pub version: &'t Version,
    /// The file.
    pub script: &'t Script,
    /// Which try, from 1.
    pub attempt: u32,
    /// The statement that is left out, if one is.
    pub skipped: Option<usize>,
}

/// Who stood beside a file.
#[derive(Debug, Default)]
pub struct Company {
    /// Their sessions.
    pub sessions: Vec<i64>,
    /// What the database refused them.
    pub refused: Vec<DbError>,
}

/// What a file has left that should not be there.
#[derive(Debug, Default)]
pub struct Remains {
    /// What was not there before.
    pub left: BTreeSet<Left>,
    /// What was, and still is.
    pub still: BTreeSet<Left>,
}

/// What whoever looked has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Who waited.
    pub samples: Vec<Sample>,
    /// The most bytes that the log or the journal had during each file's first way up, by the file, where that is seen.
    pub peaks: BTreeMap<String, i64>,
}

/// A rehearsal under way: the session that migrates, whoever looks at who waits, and whoever stands beside. The course
/// calls it in this order: `looks`, `begin`, and for each try of a file `note`, `stand`, `apply`, `dismiss`, `ended`, `left`.
#[expect(async_fn_in_trait, reason = "a rehearsal is awaited where its backend is known, and is Send there")]
pub trait Stage: Sized {
    /// Looks at who waits, or rests; returns when it does.
    async fn looks(&self, on: bool);

    /// From now on files are applied, beside this traffic.
    ///
    /// # Errors
    /// The database refuses.
    async fn begin(&mut self, traffic: Option<Arc<Flight>>) -> Result<(), DbError>;

    /// The files are about to go up.
    ///
    /// # Errors
    /// The database refuses.
    async fn up_begins(&mut self, _pass: Pass) -> Result<(), DbError> {
        Ok(())
    }

    /// They have gone up, or as far as they could.
    ///
    /// # Errors
    /// The database refuses.
    async fn up_ended(&mut self, _pass: Pass, _files: &mut [FileRun<'_>]) -> Result<(), DbError> {
        Ok(())
    }

    /// Notes how things stand before a try.
    ///
    /// # Errors
    /// The database cannot be asked.
    async fn note(&mut self, one: &Try<'_>) -> Result<(), DbError>;

    /// Lets a companion take its place.
    ///
    /// # Errors
    /// The database refuses.
    async fn stand(&mut self, companion: Companion, one: &Try<'_>) -> Result<(), DbError>;

    /// Applies the file.
    ///
    /// # Errors
    /// The database is lost. What it refuses is part of the answer.
    async fn apply(&mut self, one: &Try<'_>) -> Result<Applied, DbError>;

    /// Ends the companion.
    async fn dismiss(&mut self) -> Company;

    /// The traffic has got over the file.
    fn ended(&mut self, one: &Try<'_>);

    /// What the file has left; `before` is the try before this one, if it was of the same file.
    ///
    /// # Errors
    /// The database cannot be asked.
    async fn left(
        &mut self,
        one: &Try<'_>,
        applied: &Applied,
        before: Option<&FileRun<'_>>,
    ) -> Result<Remains, DbError>;

    /// Ends everything.
    ///
    /// # Errors
    /// The database could not be asked who waits.
    async fn stop(self) -> Result<Seen, DbError>;
}
