//! Rehearsals on PostgreSQL: databases of a server, who waits by `pg_blocking_pids`, and locks that the migrating
//! session is asked for within its own transaction.

pub mod apply;
pub mod beside;
pub mod catalog;
mod cuts;
pub mod fill;
mod line;
pub mod sampler;
pub mod sending;
mod stage;
pub mod stock;
mod trigger;
pub mod within;

use drift_engine::lock::Backend;
use drift_engine::session::DbError;
use sqlx::Connection;

pub use self::line::PgLine;
pub use self::stage::PgStage;
use self::stock::Stock;
use super::{Counted, Target};
use crate::clock::Clock;
use crate::database::Database;
use crate::database::postgres::PgDatabase;
use crate::provision::{self, AccessUrl, Server, Way};
use crate::rehearse::course::Plan;
use crate::rehearse::dump::{self, Dump};
use crate::rehearse::failures::Manner;
use crate::rehearse::migrations::{Script, Version};
use crate::rehearse::site::{Place, Site, SiteError};
use crate::rehearse::subject::Subject;

/// A server, and what its databases are filled with.
#[derive(Debug)]
pub struct Postgres<'s> {
    server: &'s Server,
    data: Option<Dump>,
}

impl<'s> Postgres<'s> {
    /// On a server; `data` is what the databases are filled with, instead of our own.
    pub fn new(server: &'s Server, data: Option<Dump>) -> Self {
        Self { server, data }
    }

    /// The role here, if code that is not ours must not be run as it.
    pub fn unconfined(&self) -> Option<&'s str> {
        (!self.server.confines_foreign_code()).then(|| self.server.role().name.as_str())
    }
}

impl Target for Postgres<'_> {
    const BACKEND: Backend = Backend::Postgres;
    const MANNERS: &'static [Manner] = &[Manner::Cancel, Manner::Terminate, Manner::LockTimeout, Manner::Vanish];

    type Made = provision::Database;
    type Ground = PgDatabase;
    type Line = PgLine;
    type Stage<'c> = PgStage<'c>;

    async fn make(&self, suffix: &str, like: Option<&Self::Made>) -> Result<Self::Made, SiteError> {
        Ok(self.server.create_database(suffix, like).await?)
    }

    async fn discard(&self, made: Self::Made) -> Result<(), SiteError> {
        Ok(self.server.drop_database(made).await?)
    }

    fn ground(&self, made: &Self::Made, _: &Subject) -> PgDatabase {
        PgDatabase::new(self.server.connect_options(made), None)
    }

    fn database(ground: &PgDatabase) -> Database {
        Database::Postgres(ground.clone())
    }

    async fn line(ground: &PgDatabase) -> Result<PgLine, DbError> {
        ground.plain().await.map(PgLine::new)
    }

    async fn stage<'c>(plan: &'c Plan<'_>, ground: &'c PgDatabase, clock: &Clock) -> Result<PgStage<'c>, DbError> {
        PgStage::open(plan, ground, clock).await
    }

    fn data(&self) -> Option<&Dump> {
        self.data.as_ref()
    }

    async fn load(&self, ground: &PgDatabase, line: &mut PgLine, seed: u64) -> Result<Option<Counted>, SiteError> {
        let Some(data) = &self.data else { return Ok(None) };
        // What a dump sets ends with its session.
        let mut loading = ground.plain().await?;
        dump::load(&mut loading, data).await?;
        let _ = loading.close().await;
        Ok(fill::adopt(&mut line.connection, seed).await?)
    }

    fn version_number(&self) -> Option<u32> {
        Some(self.server.version_number())
    }

    fn is_thrown_away(&self) -> bool {
        self.server.way() != Way::Given
    }

    fn access(&self, made: &Self::Made) -> Option<AccessUrl> {
        self.server.access(made)
    }

    async fn stock(&self, ground: &PgDatabase, subject: &Subject, from: &Version) -> Result<Option<Stock>, SiteError> {
        let stock = Stock::of(&subject.migrations, self.is_thrown_away());
        if !from.is_none() {
            stock.mark(ground, from).await?;
        }
        Ok(Some(stock))
    }

    async fn wal_of(line: &mut PgLine, script: &Script) -> Result<Option<i64>, DbError> {
        cuts::wal_of(line, script).await.map(Some)
    }

    fn is_possible(script: &Script, statement: usize, _: Manner) -> bool {
        // What is one message is cut off as a whole.
        statement == 0 || !script.is_message()
    }

    async fn cut_off(
        _: &mut Site<Self>,
        place: &mut Place<Self>,
        line: PgLine,
        script: &Script,
        statement: usize,
        manner: Manner,
    ) -> Result<bool, SiteError> {
        Ok(cuts::cut_off(&place.ground, line, script, statement, manner).await?)
    }
}
