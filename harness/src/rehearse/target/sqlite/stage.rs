//! A rehearsal under way on a SQLite file: the session that migrates, the sampler, and a companion.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use drift_engine::session::DbError;
use sqlx::SqliteConnection;

use super::apply::Migrator;
use super::beside::Beside;
use super::sampler::Sampler;
use super::{Ground, catalog};
use crate::clock::Clock;
use crate::rehearse::apply::Applied;
use crate::rehearse::catalog::{Left, Schema};
use crate::rehearse::companion::Companion;
use crate::rehearse::course::{HOLD, Pass, Plan, STATEMENT_MAX};
use crate::rehearse::flight::Flight;
use crate::rehearse::record::FileRun;
use crate::rehearse::target::{Company, Remains, Seen, Stage, Try};

/// A rehearsal under way.
pub struct FileStage<'c> {
    ground: &'c Ground,
    migrator: Migrator,
    sampler: Sampler,
    traffic: Option<Arc<Flight>>,
    clock: Clock,
    asking: SqliteConnection,
    /// The schema before the first try of the file.
    earlier: Schema,
    beside: Option<Beside>,
    peaks: BTreeMap<String, i64>,
}

impl<'c> FileStage<'c> {
    /// Opens its sessions.
    pub(super) async fn open(plan: &Plan<'_>, ground: &'c Ground, clock: &Clock) -> Result<Self, DbError> {
        let database = &ground.database;
        let mut migrator = Migrator::new(database, clock.clone(), ground.busy_timeout, STATEMENT_MAX).await?;
        migrator.says(plan.progress.clone());
        let sampler = Sampler::start(database.clone(), &ground.path, migrator.seen(), clock.clone());
        Ok(Self {
            ground,
            migrator,
            sampler,
            traffic: None,
            clock: clock.clone(),
            asking: database.plain().await?,
            earlier: Schema::default(),
            beside: None,
            peaks: BTreeMap::new(),
        })
    }
}

impl Stage for FileStage<'_> {
    async fn looks(&self, on: bool) {
        self.sampler.heeded(on).await;
    }

    async fn begin(&mut self, traffic: Option<Arc<Flight>>) -> Result<(), DbError> {
        self.sampler.watch(true);
        self.traffic = traffic;
        Ok(())
    }

    async fn note(&mut self, one: &Try<'_>) -> Result<(), DbError> {
        if one.attempt == 1 {
            self.earlier = catalog::read(&mut self.asking).await?;
        }
        Ok(())
    }

    async fn stand(&mut self, companion: Companion, one: &Try<'_>) -> Result<(), DbError> {
        if companion == Companion::IdleReader && one.script.in_transaction() {
            self.migrator.comes(companion, HOLD);
            return Ok(());
        }
        let file = self.migrator.seen().busy;
        self.beside = Some(Beside::stand(companion, &self.ground.database, file, HOLD).await?);
        Ok(())
    }

    async fn apply(&mut self, one: &Try<'_>) -> Result<Applied, DbError> {
        self.migrator.seen().beside(self.beside.iter().map(|beside| beside.session).collect());
        let _ = self.sampler.peak();
        // What takes 50 µs would otherwise meet nobody.
        let from = match &self.traffic {
            Some(traffic) => traffic.beside_one(&self.clock).await,
            None => self.clock.now(),
        };
        self.migrator.apply(one.script, from).await
    }

    async fn dismiss(&mut self) -> Company {
        match self.beside.take().or(self.migrator.came()) {
            Some(beside) => Company { sessions: vec![beside.session], refused: beside.end().await },
            None => Company::default(),
        }
    }

    fn ended(&mut self, one: &Try<'_>) {
        self.migrator.seen().beside(Vec::new());
        if one.pass == Pass::Up {
            let peak = i64::try_from(self.sampler.peak()).unwrap_or(i64::MAX);
            let most = self.peaks.entry(one.script.file.clone()).or_default();
            *most = peak.max(*most);
        }
    }

    async fn left(
        &mut self,
        one: &Try<'_>,
        applied: &Applied,
        before: Option<&FileRun<'_>>,
    ) -> Result<Remains, DbError> {
        if applied.failed.is_some() {
            // What the try before this one has left is told there.
            let told = |one: &Left| before.is_some_and(|before| before.left.contains(one));
            let now = parts(&self.earlier, &catalog::read(&mut self.asking).await?);
            let (still, left) = now.into_iter().partition(told);
            return Ok(Remains { left, still });
        }
        let mut remains = Remains::default();
        if one.script.text.to_ascii_lowercase().contains("foreign_keys") {
            remains.left = catalog::dangling(&mut self.asking).await?;
        }
        Ok(remains)
    }

    async fn stop(self) -> Result<Seen, DbError> {
        Ok(Seen { samples: self.sampler.stop().await, peaks: self.peaks })
    }
}

/// What a refused file has changed all the same.
fn parts(earlier: &Schema, now: &Schema) -> BTreeSet<Left> {
    earlier.difference(now).into_iter().map(|line| Left::Part { line }).collect()
}
