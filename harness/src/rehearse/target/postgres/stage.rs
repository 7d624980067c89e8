//! A rehearsal under way on PostgreSQL: our migrating session or another tool's, the sampler, and a companion.

use std::collections::BTreeSet;
use std::sync::Arc;

use drift_engine::session::{DbError, ErrorClass};
use sqlx::PgConnection;
use tokio::task::JoinSet;

use super::apply::{Migrator, tables};
use super::beside::{self, Beside, REPLICAS};
use super::sampler::Sampler;
use super::{catalog, trigger};
use crate::clock::Clock;
use crate::database::postgres::PgDatabase;
use crate::rehearse::apply::{Applied, Ran};
use crate::rehearse::catalog::Left;
use crate::rehearse::companion::Companion;
use crate::rehearse::course::{HOLD, Pass, Plan, STATEMENT_MAX};
use crate::rehearse::flight::Flight;
use crate::rehearse::record::FileRun;
use crate::rehearse::target::{Company, Remains, Seen, Stage, Try};

/// A rehearsal under way.
pub struct PgStage<'c> {
    plan: &'c Plan<'c>,
    database: &'c PgDatabase,
    migrator: Migrator,
    sampler: Sampler,
    traffic: Option<Arc<Flight>>,
    clock: Clock,
    /// Asks what there is around a file.
    asking: PgConnection,
    /// What there was before the file that should not be.
    earlier: BTreeSet<Left>,
    beside: Option<Beside>,
    /// How the companion could not take its place.
    unfit: Option<DbError>,
    /// The replicas that wait beside ours, while the files go up.
    replicas: Option<Beside>,
    /// The same where sqlx's own migrator migrates.
    others: JoinSet<Result<(), DbError>>,
}

impl<'c> PgStage<'c> {
    /// Opens its sessions.
    pub(super) async fn open(plan: &'c Plan<'_>, database: &'c PgDatabase, clock: &Clock) -> Result<Self, DbError> {
        let mut migrator = Migrator::new(database.clone(), clock.clone(), STATEMENT_MAX).await?;
        migrator.says(plan.progress.clone());
        Ok(Self {
            plan,
            database,
            migrator,
            sampler: Sampler::start(database.plain().await?, clock.clone(), plan.sampling.clone()),
            traffic: None,
            clock: clock.clone(),
            asking: database.plain().await?,
            earlier: BTreeSet::new(),
            beside: None,
            unfit: None,
            replicas: None,
            others: JoinSet::new(),
        })
    }

    /// Lets another tool do it.
    async fn call(&mut self, one: &Try<'_>) -> Result<Applied, DbError> {
        let tables = tables(&mut self.asking).await?;
        let from = match &self.traffic {
            Some(traffic) => traffic.beside_one(&self.clock).await,
            None => self.clock.now(),
        };
        let script = one.script;
        let went = match (&self.plan.runner, &self.plan.stock, one.pass) {
            (Some(runner), _, Pass::Down) => runner.run(&script.text, "down", &runner.from).await,
            (Some(runner), _, _) => runner.run(&script.text, "up", &runner.to).await,
            (None, Some(stock), Pass::Down) => stock.down(self.database, &self.plan.before(one.version)).await,
            (None, Some(stock), _) => stock.up(self.database, one.version).await,
            (None, None, _) => Ok(()),
        };
        let shown = script.first();
        let statement = script.statements.iter().position(|one| Some(one) == shown).unwrap_or_default();
        let failed = went.err().map(|error| (statement, error));
        let until = self.clock.now();
        let noted = if self.plan.has_trigger() { trigger::noted(&mut self.asking).await? } else { Vec::new() };
        let ran = vec![Ran { statement, from, until, took: Vec::new(), work: Vec::new() }];
        Ok(Applied { sessions: Vec::new(), from, granted: None, until, tables, ran, noted, failed })
    }
}

impl Stage for PgStage<'_> {
    async fn looks(&self, on: bool) {
        self.sampler.heeded(on).await;
    }

    async fn begin(&mut self, traffic: Option<Arc<Flight>>) -> Result<(), DbError> {
        self.sampler.watch(None);
        if self.plan.has_trigger() {
            trigger::watch(&mut self.asking).await?;
        }
        self.migrator.runs_beside(traffic.clone());
        self.traffic = traffic;
        Ok(())
    }

    async fn up_begins(&mut self, pass: Pass) -> Result<(), DbError> {
        if self.plan.companion != Some(Companion::Replicas) || pass != Pass::Up {
            return Ok(());
        }
        match (&self.plan.stock, self.plan.migrations.last()) {
            (None, _) => {
                beside::lead(self.migrator.connection()).await?;
                let stand = Beside::stand(Companion::Replicas, self.database, self.plan.lock, HOLD);
                self.replicas = Some(stand.await?);
            }
            (Some(stock), Some(last)) => {
                for _ in 0..REPLICAS {
                    let (stock, database, to) = (stock.clone(), self.database.clone(), last.version.clone());
                    self.others.spawn(async move { stock.up(&database, &to).await });
                }
            }
            (Some(_), None) => {}
        }
        Ok(())
    }

    async fn up_ended(&mut self, pass: Pass, files: &mut [FileRun<'_>]) -> Result<(), DbError> {
        if let Some(replicas) = self.replicas.take() {
            beside::follow(self.migrator.connection()).await?;
            let sessions = replicas.sessions.clone();
            let refused = replicas.end().await;
            for file in files.iter_mut().filter(|file| file.pass == pass) {
                file.beside.extend(&sessions);
            }
            if let Some(last) = files.last_mut() {
                last.beside_refused.extend(refused);
            }
        }
        while let Some(other) = self.others.join_next().await {
            let refused = other.expect("a replica neither panics nor is aborted").err();
            if let Some(first) = files.iter_mut().find(|file| file.pass == pass) {
                first.beside_refused.extend(refused);
            }
        }
        Ok(())
    }

    async fn note(&mut self, _: &Try<'_>) -> Result<(), DbError> {
        // A file may have ended the session before.
        self.asking = self.database.plain().await?;
        self.earlier = catalog::left(&mut self.asking, self.migrator.session()).await?;
        Ok(())
    }

    async fn stand(&mut self, companion: Companion, _: &Try<'_>) -> Result<(), DbError> {
        match Beside::stand(companion, self.database, self.plan.lock, HOLD).await {
            Ok(beside) => self.beside = Some(beside),
            Err(error) if error.class == ErrorClass::Lost => return Err(error),
            // What it works on is not what it was written for.
            Err(error) => self.unfit = Some(error),
        }
        Ok(())
    }

    async fn apply(&mut self, one: &Try<'_>) -> Result<Applied, DbError> {
        let is_foreign = self.plan.is_foreign();
        self.sampler.watch((!is_foreign).then_some(self.migrator.session()));
        self.sampler.watch_foreign(is_foreign);
        match is_foreign {
            true => self.call(one).await,
            false => self.migrator.apply(one.script, one.skipped).await,
        }
    }

    async fn dismiss(&mut self) -> Company {
        let mut company = Company { sessions: Vec::new(), refused: Vec::from_iter(self.unfit.take()) };
        if let Some(beside) = self.beside.take() {
            company.sessions.extend(&beside.sessions);
            company.refused.extend(beside.end().await);
        }
        company
    }

    fn ended(&mut self, _: &Try<'_>) {
        self.sampler.watch(None);
    }

    async fn left(&mut self, _: &Try<'_>, _: &Applied, _: Option<&FileRun<'_>>) -> Result<Remains, DbError> {
        let now = catalog::left(&mut self.asking, self.migrator.session()).await?;
        let still = now.intersection(&self.earlier).cloned().collect();
        Ok(Remains { left: now.difference(&self.earlier).cloned().collect(), still })
    }

    async fn stop(self) -> Result<Seen, DbError> {
        Ok(Seen { samples: self.sampler.stop().await?, ..Seen::default() })
    }
}
