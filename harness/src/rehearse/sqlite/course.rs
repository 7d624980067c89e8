//! The course of one rehearsal on a SQLite file: the same as on PostgreSQL, and with the same record.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use drift_engine::claim::CustomerId;
use drift_engine::drift::Cell;
use drift_engine::session::DbError;
use sqlx::SqliteConnection;

use super::super::catalog::{Left, Schema};
use super::super::companion::Companion;
use super::super::course::{FileRun, HOLD, Pass, Plan, Record, STATEMENT_MAX};
use super::super::crowd::Running;
use super::super::migrations::{Script, Version};
use super::super::observer::{self, Windows};
use super::apply::Migrator;
use super::catalog;
use super::companion::Beside;
use super::sampler::Sampler;
use crate::clock::Clock;
use crate::database::Database;
use crate::database::sqlite::SqliteDatabase;
use crate::history::Tick;

/// How long the traffic may take to get over a file.
const RECOVERY_MAX: Duration = Duration::from_secs(20);

/// Where it takes place.
#[derive(Debug)]
pub struct Ground {
    /// How to work on the file.
    pub database: SqliteDatabase,
    /// The file.
    pub path: PathBuf,
    /// How long the migrating session waits for its lock.
    pub busy_timeout: Duration,
}

/// Everything that was seen.
#[derive(Debug)]
pub struct Seen<'a> {
    /// What PostgreSQL's course would have seen as well.
    pub record: Record<'a>,
    /// The most bytes that the log or the journal had during each file's first way up, by the file.
    pub peaks: BTreeMap<String, i64>,
}

struct Course<'c> {
    plan: &'c Plan<'c>,
    ground: &'c Ground,
    migrator: Migrator,
    sampler: Sampler,
    traffic: Option<Running>,
    clock: Clock,
    asking: SqliteConnection,
    files: Vec<FileRun<'c>>,
    peaks: BTreeMap<String, i64>,
}

/// Rehearses a plan on a file that stands at the first version. `base` is the claims in it, counted.
///
/// Cancellation: dropping the future ends every session; the file must then be removed.
///
/// # Errors
/// The file is lost, or cannot be read.
pub async fn run<'a>(
    plan: &'a Plan<'a>,
    ground: &'a Ground,
    base: Vec<(CustomerId, Vec<Cell>)>,
) -> Result<Seen<'a>, DbError> {
    let clock = Clock::start();
    let database = &ground.database;
    let mut asking = database.plain().await?;
    let start = catalog::read(&mut asking).await?;
    let small = catalog::sizes(&mut asking).await?;
    let mut migrator = Migrator::new(database, clock.clone(), ground.busy_timeout, STATEMENT_MAX).await?;
    migrator.says(plan.progress.clone());
    let sampler = Sampler::start(database.clone(), &ground.path, migrator.seen(), clock.clone());
    let mut traffic = match &plan.traffic {
        Some(crowd) => Some(Running::start(crowd, Database::Sqlite(database.clone()), plan.seed, clock.clone()).await?),
        None => None,
    };
    plan.progress.say("the traffic on its own");
    let before = match &traffic {
        Some(traffic) => observer::windows(async |is_on| sampler.heeded(is_on).await, &traffic.flight(), &clock).await,
        None => Windows::default(),
    };
    let failing = traffic.as_ref().map_or_else(Vec::new, |traffic| traffic.flight().refusals(&plan.allowed));
    if let Some(traffic) = traffic.take_if(|_| !failing.is_empty() && !plan.is_early) {
        let samples = sampler.stop().await;
        let mut record = Record { failing, before, samples, ..Record::default() };
        record.add(traffic.stop(base, &clock).await?);
        return Ok(Seen { record, peaks: BTreeMap::new() });
    }
    sampler.watch(true);
    let (files, peaks) = (Vec::new(), BTreeMap::new());
    let mut course = Course { plan, ground, migrator, sampler, traffic, clock: clock.clone(), asking, files, peaks };
    let mut went = course.up(Pass::Up).await?;
    let top = catalog::read(&mut course.asking).await?;
    let mut sizes: BTreeMap<String, (Option<i64>, Option<i64>)> = BTreeMap::new();
    for (name, bytes) in small {
        sizes.entry(name).or_default().0 = Some(bytes);
    }
    for (name, bytes) in catalog::sizes(&mut course.asking).await? {
        sizes.entry(name).or_default().1 = Some(bytes);
    }
    let after = alone(&clock, course.traffic.is_some(), plan.window).await;
    let after = went.then_some(after);
    let irreversible = plan.migrations.iter().find(|migration| migration.down.is_none());
    let irreversible = irreversible.map(|migration| migration.version.clone());
    let (mut down_differs, mut again_differs, mut reordered) = (None, None, Vec::new());
    if went && irreversible.is_none() {
        went = course.down().await?;
        if went {
            let now = catalog::read(&mut course.asking).await?;
            down_differs = Some(start.difference(&now));
            reordered.extend(start.reordered(&now).into_iter().map(|what| format!("after going down {what}")));
            if course.up(Pass::Again).await? {
                let now = catalog::read(&mut course.asking).await?;
                again_differs = Some(top.difference(&now));
                reordered.extend(top.reordered(&now).into_iter().map(|what| format!("after going up again {what}")));
            }
        }
    }
    let samples = course.sampler.stop().await;
    let mut record = Record {
        files: course.files,
        samples,
        before,
        after,
        down_differs,
        again_differs,
        reordered,
        irreversible,
        sizes,
        ..Record::default()
    };
    if let Some(traffic) = course.traffic {
        record.add(traffic.stop(base, &clock).await?);
    }
    Ok(Seen { record, peaks: course.peaks })
}

/// Lets the traffic run on its own, if there is any.
async fn alone(clock: &Clock, traffic: bool, window: Duration) -> (Tick, Tick) {
    let from = clock.now();
    if traffic {
        tokio::time::sleep(window).await;
    }
    (from, clock.now())
}

impl<'c> Course<'c> {
    /// Applies every file, again if it was refused, as the next deploy would; answers whether all went through.
    async fn up(&mut self, pass: Pass) -> Result<bool, DbError> {
        for migration in &self.plan.migrations {
            let earlier = catalog::read(&mut self.asking).await?;
            let mut went = false;
            for attempt in [1, 2] {
                went = went || self.file(pass, &migration.version, &migration.up, attempt, &earlier).await?;
            }
            if !went {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn down(&mut self) -> Result<bool, DbError> {
        for migration in self.plan.migrations.iter().rev() {
            let Some(down) = &migration.down else { return Ok(false) };
            let earlier = catalog::read(&mut self.asking).await?;
            if !self.file(Pass::Down, &migration.version, down, 1, &earlier).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Applies a file; answers whether it went through. `earlier` is the schema before its first try.
    async fn file(
        &mut self,
        pass: Pass,
        version: &Version,
        script: &'c Script,
        attempt: u32,
        earlier: &Schema,
    ) -> Result<bool, DbError> {
        let companion = self.plan.companion.filter(|_| attempt == 1 && pass != Pass::Again);
        let beside = match companion {
            Some(companion @ Companion::IdleReader) if script.in_transaction() => {
                self.migrator.comes(companion, HOLD);
                None
            }
            Some(companion) => {
                let file = self.migrator.seen().busy;
                Some(Beside::stand(companion, &self.ground.database, file, HOLD).await?)
            }
            None => None,
        };
        self.migrator.seen().beside(beside.iter().map(|beside| beside.session).collect());
        let _ = self.sampler.peak();
        self.plan.progress.file(pass, script);
        // What takes 50 µs would otherwise meet nobody.
        let from = match &self.traffic {
            Some(traffic) => traffic.flight().beside_one(&self.clock).await,
            None => self.clock.now(),
        };
        let applied = self.migrator.apply(script, from).await?;
        let (mut sessions, mut refused) = (Vec::new(), Vec::new());
        if let Some(beside) = beside.or(self.migrator.came()) {
            sessions.push(beside.session);
            refused = beside.end().await;
        }
        if let Some(traffic) = &self.traffic {
            traffic.come_round(RECOVERY_MAX).await;
        }
        self.migrator.seen().beside(Vec::new());
        if pass == Pass::Up {
            let peak = i64::try_from(self.sampler.peak()).unwrap_or(i64::MAX);
            let most = self.peaks.entry(script.file.clone()).or_default();
            *most = peak.max(*most);
        }
        let went = applied.failed.is_none();
        let (mut left, mut still) = (BTreeSet::new(), BTreeSet::new());
        if went && script.text.to_ascii_lowercase().contains("foreign_keys") {
            left = catalog::dangling(&mut self.asking).await?;
        }
        if !went {
            left = parts(earlier, &catalog::read(&mut self.asking).await?);
            // What the try before this one has left is told there.
            let of_before = self.files.last().filter(|before| attempt > 1 && before.version == *version);
            still =
                left.iter().filter(|one| of_before.is_some_and(|before| before.left.contains(one))).cloned().collect();
            left.retain(|one| !still.contains(one));
        }
        self.files.push(FileRun {
            pass,
            version: version.clone(),
            script,
            attempt,
            skipped: None,
            applied,
            left,
            still,
            beside: sessions,
            beside_refused: refused,
        });
        Ok(went)
    }
}

/// What a refused file has changed all the same.
fn parts(earlier: &Schema, now: &Schema) -> BTreeSet<Left> {
    earlier.difference(now).into_iter().map(|line| Left::Part { line }).collect()
}
