//! The course of one rehearsal: the database at its version, the traffic, each migration up, all of them down again,
//! and up once more; everything is recorded, and nothing judged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use drift_engine::claim::CustomerId;
use drift_engine::drift::Cell;
use drift_engine::session::{DbError, ErrorClass};
use sqlx::PgConnection;

use super::apply::{self, Applied, Migrator, Ran};
use super::catalog;
use super::companion::{self, Beside, Companion, REPLICAS, ReplicaLock};
use super::crowd::{Crowd, Running};
use super::migrations::{Migration, Script, Version};
use super::observer::{self, Windows};
use super::progress::Progress;
pub use super::record::{FileRun, Record, ScriptEnd, Stretch};
use super::runner::{self, Runner};
use super::sampler::{Sampler, Sampling};
use super::stock::Stock;
use crate::clock::Clock;
use crate::database::Database;
use crate::database::postgres::PgDatabase;

/// How long the traffic is let run after the last file.
pub const WINDOW: Duration = Duration::from_millis(700);
/// How long a companion holds on: longer than the traffic can bear by default, shorter than a usual `lock_timeout`.
pub const HOLD: Duration = Duration::from_millis(2_500);
/// How long a statement may take.
pub const STATEMENT_MAX: Duration = Duration::from_secs(120);
/// How long the traffic may take to get over a file.
const RECOVERY_MAX: Duration = Duration::from_secs(20);

/// In which part of the course a file was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pass {
    /// The first time up.
    Up,
    /// Down again.
    Down,
    /// Up once more.
    Again,
}

impl Pass {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Again => "up again",
        }
    }
}

/// What is rehearsed, and beside whom.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The version to begin at.
    pub from: Version,
    /// The migrations, oldest first.
    pub migrations: Vec<&'a Migration>,
    /// The traffic, if there is any.
    pub traffic: Option<Crowd>,
    /// Who else is there.
    pub companion: Option<Companion>,
    /// How replicas exclude each other.
    pub lock: ReplicaLock,
    /// The tool that migrates, instead of us.
    pub runner: Option<Runner>,
    /// sqlx's own migrator, instead of us.
    pub stock: Option<Stock>,
    /// Whether the application is newer than the schema at the version to begin at: that it fails there is what is rehearsed.
    pub is_early: bool,
    /// The SQLSTATEs that the traffic may see.
    pub allowed: BTreeSet<String>,
    /// The root of everything random.
    pub seed: u64,
    /// How long the traffic runs after the last file.
    pub window: Duration,
    /// How the server is asked.
    pub sampling: Sampling,
    /// Where it is said what is under way.
    pub progress: Progress,
}

impl Plan<'_> {
    /// Whether sessions that are not ours migrate.
    fn is_foreign(&self) -> bool {
        self.runner.is_some() || self.stock.is_some()
    }

    /// Whether an event trigger notes their locks.
    fn has_trigger(&self) -> bool {
        let may = [self.runner.as_ref().map(|one| one.may_trigger), self.stock.as_ref().map(|one| one.may_trigger)];
        may.into_iter().flatten().any(|may| may)
    }

    /// The version before one of these.
    fn before(&self, version: &Version) -> Version {
        let earlier = self.migrations.iter().map(|migration| &migration.version).filter(|one| *one < version);
        earlier.max().unwrap_or(&self.from).clone()
    }
}

/// What a course goes on with from file to file.
struct Course<'c> {
    plan: &'c Plan<'c>,
    database: PgDatabase,
    migrator: Migrator,
    sampler: Sampler,
    traffic: Option<Running>,
    clock: Clock,
}

/// Rehearses a plan on a database that stands at the first version. `base` is the claims in it, counted.
///
/// Cancellation: dropping the future ends every session; the database must then be dropped.
///
/// # Errors
/// The database is lost, or cannot be asked.
pub async fn run<'a>(
    plan: &'a Plan<'a>,
    database: PgDatabase,
    base: Vec<(CustomerId, Vec<Cell>)>,
) -> Result<Record<'a>, DbError> {
    let clock = Clock::start();
    let mut asking = database.plain().await?;
    let start = catalog::read(&mut asking).await?;
    let (small, rows) = (catalog::sizes(&mut asking).await?, catalog::rows(&mut asking).await?);
    let partitions = catalog::partitions(&mut asking).await?;
    let sampler = Sampler::start(database.plain().await?, clock.clone(), plan.sampling.clone());
    let mut traffic = match &plan.traffic {
        Some(crowd) => {
            Some(Running::start(crowd, Database::Postgres(database.clone()), plan.seed, clock.clone()).await?)
        }
        None => None,
    };
    plan.progress.say("the traffic on its own");
    let before = match &traffic {
        Some(traffic) => observer::windows(async |is_on| sampler.heeded(is_on).await, &traffic.flight(), &clock).await,
        None => Windows::default(),
    };
    let failing = traffic.as_ref().map_or_else(Vec::new, |traffic| traffic.flight().refusals(&plan.allowed));
    if let Some(traffic) = traffic.take_if(|_| !failing.is_empty() && !plan.is_early) {
        let samples = sampler.stop().await?;
        let mut record = Record { failing, before, samples, ..Record::default() };
        record.add(traffic.stop(base, &clock).await?);
        return Ok(record);
    }
    sampler.watch(None);
    if plan.has_trigger() {
        runner::watch(&mut asking).await?;
    }
    let flight = traffic.as_ref().map(Running::flight);
    let mut migrator = Migrator::new(database.clone(), clock.clone(), STATEMENT_MAX, flight).await?;
    migrator.says(plan.progress.clone());
    let mut course = Course { plan, database, migrator, sampler, traffic, clock: clock.clone() };
    let mut files = Vec::new();
    let mut went = course.up(Pass::Up, &mut files).await?;
    let top = catalog::read(&mut asking).await?;
    let mut sizes: BTreeMap<String, (Option<i64>, Option<i64>)> = BTreeMap::new();
    for (name, bytes) in small {
        sizes.entry(name).or_default().0 = Some(bytes);
    }
    for (name, bytes) in catalog::sizes(&mut asking).await? {
        sizes.entry(name).or_default().1 = Some(bytes);
    }
    let from = clock.now();
    if plan.traffic.is_some() {
        tokio::time::sleep(plan.window).await;
    }
    let after = went.then(|| (from, clock.now()));
    let irreversible = plan.migrations.iter().find(|migration| migration.down.is_none());
    let irreversible = match &plan.runner {
        Some(runner) => runner.down.is_none().then(|| runner.to.clone()),
        None => irreversible.map(|migration| migration.version.clone()),
    };
    let (mut down_differs, mut again_differs, mut reordered) = (None, None, Vec::new());
    if went && irreversible.is_none() {
        went = course.down(&mut files).await?;
        if went {
            let now = catalog::read(&mut asking).await?;
            down_differs = Some(start.difference(&now));
            reordered.extend(start.reordered(&now).into_iter().map(|what| format!("after going down {what}")));
            if course.up(Pass::Again, &mut files).await? {
                let now = catalog::read(&mut asking).await?;
                again_differs = Some(top.difference(&now));
                reordered.extend(top.reordered(&now).into_iter().map(|what| format!("after going up again {what}")));
            }
        }
    }
    let samples = course.sampler.stop().await?;
    for file in files.iter_mut().filter(|_| plan.is_foreign()) {
        let within = samples.iter().filter(|one| one.from >= file.applied.from && one.until <= file.applied.until);
        let sessions: BTreeSet<i64> = within.flat_map(|sample| sample.foreign.iter().copied()).collect();
        file.applied.sessions = sessions.into_iter().collect();
    }
    let mut record = Record {
        files,
        samples,
        before,
        after,
        down_differs,
        again_differs,
        reordered,
        irreversible,
        sizes,
        rows,
        partitions,
        ..Record::default()
    };
    if let Some(traffic) = course.traffic {
        record.add(traffic.stop(base, &clock).await?);
    }
    Ok(record)
}

impl<'c> Course<'c> {
    /// Applies every file; answers whether all went through.
    async fn up(&mut self, pass: Pass, files: &mut Vec<FileRun<'c>>) -> Result<bool, DbError> {
        let replicas = match self.plan.companion {
            Some(Companion::Replicas) if pass == Pass::Up && self.plan.stock.is_none() => {
                self.migrator.lead().await?;
                Some(Beside::stand(Companion::Replicas, &self.database, self.plan.lock, HOLD).await?)
            }
            _ => None,
        };
        let others = match (&self.plan.stock, self.plan.migrations.last()) {
            (Some(stock), Some(last)) if self.plan.companion == Some(Companion::Replicas) && pass == Pass::Up => {
                let one = |_| {
                    let (stock, database, to) = (stock.clone(), self.database.clone(), last.version.clone());
                    tokio::spawn(async move { stock.up(&database, &to).await })
                };
                (0..REPLICAS).map(one).collect()
            }
            _ => Vec::new(),
        };
        let mut went = match &self.plan.runner {
            Some(runner) => self.persistently(pass, &runner.to, &runner.up, files).await?,
            None => true,
        };
        for migration in &self.plan.migrations {
            if !self.persistently(pass, &migration.version, &migration.up, files).await? {
                went = false;
                break;
            }
        }
        if let Some(replicas) = replicas {
            self.migrator.follow().await?;
            let sessions = replicas.sessions.clone();
            let refused = replicas.end().await;
            for file in files.iter_mut().filter(|file| file.pass == pass) {
                file.beside.extend(&sessions);
            }
            if let Some(last) = files.last_mut() {
                last.beside_refused.extend(refused);
            }
        }
        for other in others {
            let refused = other.await.expect("a replica neither panics nor is aborted").err();
            if let Some(first) = files.iter_mut().find(|file| file.pass == pass) {
                first.beside_refused.extend(refused);
            }
        }
        Ok(went)
    }

    async fn down(&mut self, files: &mut Vec<FileRun<'c>>) -> Result<bool, DbError> {
        if let Some((runner, down)) = self.plan.runner.as_ref().and_then(|one| Some((one, one.down.as_ref()?))) {
            let file = self.file(Pass::Down, &runner.to, down, 1, None).await?;
            let went = file.applied.failed.is_none();
            files.push(file);
            return Ok(went);
        }
        for migration in self.plan.migrations.iter().rev() {
            let Some(down) = &migration.down else { return Ok(false) };
            let file = self.file(Pass::Down, &migration.version, down, 1, None).await?;
            let went = file.applied.failed.is_none();
            files.push(file);
            if !went {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Applies a file, again if it was refused, as the next deploy would; and where a check of the file's own was
    /// what refused it, once more without that check, to see whether there was anything in it.
    async fn persistently(
        &mut self,
        pass: Pass,
        version: &Version,
        script: &'c Script,
        files: &mut Vec<FileRun<'c>>,
    ) -> Result<bool, DbError> {
        let mut skipped = None;
        for attempt in 1..=3 {
            let file = self.file(pass, version, script, attempt, skipped).await?;
            let failed = file.applied.failed.clone();
            files.push(file);
            let Some((statement, error)) = failed else { return Ok(true) };
            match attempt {
                1 => {}
                2 if error.code.as_deref() == Some(RAISED) && script.in_transaction() => skipped = Some(statement),
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    async fn file(
        &mut self,
        pass: Pass,
        version: &Version,
        script: &'c Script,
        attempt: u32,
        skipped: Option<usize>,
    ) -> Result<FileRun<'c>, DbError> {
        let mut asking = self.database.plain().await?;
        let earlier = catalog::left(&mut asking, self.migrator.session()).await?;
        let companion =
            self.plan.companion.filter(|one| *one != Companion::Replicas && attempt == 1 && pass != Pass::Again);
        let stands = match companion {
            Some(companion) => Beside::stand(companion, &self.database, self.plan.lock, HOLD).await.map(Some),
            None => Ok(None),
        };
        let (beside, unfit) = match stands {
            Ok(beside) => (beside, None),
            Err(error) if error.class == ErrorClass::Lost => return Err(error),
            // What it works on is not what it was written for.
            Err(error) => (None, Some(error)),
        };
        self.plan.progress.file(pass, script);
        self.sampler.watch((!self.plan.is_foreign()).then_some(self.migrator.session()));
        self.sampler.watch_foreign(self.plan.is_foreign());
        let applied = if self.plan.is_foreign() {
            self.call(pass, version, script, &mut asking).await?
        } else {
            self.migrator.apply(script, skipped).await?
        };
        let (mut sessions, mut refused) = (Vec::new(), Vec::from_iter(unfit));
        if let Some(beside) = beside {
            sessions.extend(&beside.sessions);
            refused.extend(beside.end().await);
        }
        if let Some(traffic) = &self.traffic {
            traffic.come_round(RECOVERY_MAX).await;
        }
        self.sampler.watch(None);
        let left = catalog::left(&mut asking, self.migrator.session()).await?;
        let still = left.intersection(&earlier).cloned().collect();
        let left = left.difference(&earlier).cloned().collect();
        Ok(FileRun {
            pass,
            version: version.clone(),
            script,
            attempt,
            skipped,
            applied,
            left,
            still,
            beside: sessions,
            beside_refused: refused,
        })
    }
}

impl Course<'_> {
    /// Lets the runner do it.
    async fn call(
        &self,
        pass: Pass,
        version: &Version,
        script: &Script,
        asking: &mut PgConnection,
    ) -> Result<Applied, DbError> {
        let tables = apply::tables(asking).await?;
        let from = match &self.traffic {
            Some(traffic) => traffic.flight().beside_one(&self.clock).await,
            None => self.clock.now(),
        };
        let went = match (&self.plan.runner, &self.plan.stock, pass) {
            (Some(runner), _, Pass::Down) => runner.run(&script.text, "down", &runner.from).await,
            (Some(runner), _, _) => runner.run(&script.text, "up", &runner.to).await,
            (None, Some(stock), Pass::Down) => stock.down(&self.database, &self.plan.before(version)).await,
            (None, Some(stock), _) => stock.up(&self.database, version).await,
            (None, None, _) => Ok(()),
        };
        let shown = script.first();
        let statement = script.statements.iter().position(|one| Some(one) == shown).unwrap_or_default();
        let failed = went.err().map(|error| (statement, error));
        let until = self.clock.now();
        let noted = if self.plan.has_trigger() { runner::noted(asking).await? } else { Vec::new() };
        let ran = vec![Ran { statement, from, until, took: Vec::new(), work: Vec::new() }];
        Ok(Applied { sessions: Vec::new(), from, granted: None, until, tables, ran, noted, failed })
    }
}

/// What PL/pgSQL's RAISE EXCEPTION says unless told otherwise.
pub(super) const RAISED: &str = "P0001";

impl Migrator {
    /// Takes the lock that keeps other replicas from migrating.
    async fn lead(&mut self) -> Result<(), DbError> {
        companion::lead(self.connection()).await
    }

    /// Gives it back.
    async fn follow(&mut self) -> Result<(), DbError> {
        companion::follow(self.connection()).await
    }
}
