//! The course of one rehearsal: the database at its version, the traffic, each migration up, all of them down again,
//! and up once more; everything is recorded, and nothing judged. It is the same on every [`Target`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use drift_engine::session::DbError;

use super::companion::{Companion, ReplicaLock};
use super::crowd::{Crowd, Running};
use super::migrations::{Migration, Script, Version};
use super::observer::{self, Windows};
use super::progress::Progress;
pub use super::record::{FileRun, Record, ScriptEnd, Stretch};
use super::runner::Runner;
use super::sampler::Sampling;
use super::site::Place;
use super::target::postgres::stock::Stock;
use super::target::{Company, Line, Remains, Seen, Stage, Target, Try};
use crate::clock::Clock;

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
    pub runner: Option<Runner<'a>>,
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
    pub(super) fn is_foreign(&self) -> bool {
        self.runner.is_some() || self.stock.is_some()
    }

    /// Whether an event trigger notes their locks.
    pub(super) fn has_trigger(&self) -> bool {
        let may = [self.runner.as_ref().map(|one| one.may_trigger), self.stock.as_ref().map(|one| one.may_trigger)];
        may.into_iter().flatten().any(|may| may)
    }

    /// The version before one of these.
    pub(super) fn before(&self, version: &Version) -> Version {
        let earlier = self.migrations.iter().map(|migration| &migration.version).filter(|one| *one < version);
        earlier.max().unwrap_or(&self.from).clone()
    }
    /// The version that nothing undoes, if there is one.
    fn irreversible(&self) -> Option<Version> {
        match &self.runner {
            Some(runner) => runner.down.is_none().then(|| runner.to.clone()),
            None => {
                let one = self.migrations.iter().find(|migration| migration.down.is_none());
                one.map(|migration| migration.version.clone())
            }
        }
    }
}

/// What a course goes on with from file to file.
struct Course<'c, 'a, T: Target + 'c> {
    plan: &'c Plan<'a>,
    stage: T::Stage<'c>,
    /// Asks what there is, between files.
    asking: T::Line,
    traffic: Option<Running>,
    files: Vec<FileRun<'a>>,
}

/// Rehearses a plan on a database that stands at the first version.
///
/// Cancellation: dropping the future ends every session; the database must then be dropped.
///
/// # Errors
/// The database is lost, or cannot be asked.
pub async fn run<'a, T: Target>(plan: &Plan<'a>, place: &Place<T>) -> Result<Record<'a>, DbError> {
    let clock = Clock::start();
    let mut asking = place.line().await?;
    let start = asking.schema().await?;
    let (small, rows) = (asking.sizes().await?, asking.rows().await?);
    let partitions = asking.partitions().await?;
    let stage = T::stage(plan, &place.ground, &clock).await?;
    let mut traffic = match &plan.traffic {
        Some(crowd) => Some(Running::start(crowd, place.database(), plan.seed, clock.clone()).await?),
        None => None,
    };
    plan.progress.say("the traffic on its own");
    let before = match &traffic {
        Some(traffic) => observer::windows(async |is_on| stage.looks(is_on).await, &traffic.flight(), &clock).await,
        None => Windows::default(),
    };
    let failing = traffic.as_ref().map_or_else(Vec::new, |traffic| traffic.flight().refusals(&plan.allowed));
    if let Some(traffic) = traffic.take_if(|_| !failing.is_empty() && !plan.is_early) {
        let Seen { samples, .. } = stage.stop().await?;
        let mut record = Record { failing, before, samples, ..Record::default() };
        record.add(traffic.stop(place.base.clone(), &clock).await?);
        return Ok(record);
    }
    let mut course: Course<'_, 'a, T> = Course { plan, stage, asking, traffic, files: Vec::new() };
    course.stage.begin(course.traffic.as_ref().map(Running::flight)).await?;
    let mut went = course.up(Pass::Up).await?;
    let top = course.asking.schema().await?;
    let mut sizes: BTreeMap<String, (Option<i64>, Option<i64>)> = BTreeMap::new();
    for (name, bytes) in small {
        sizes.entry(name).or_default().0 = Some(bytes);
    }
    for (name, bytes) in course.asking.sizes().await? {
        sizes.entry(name).or_default().1 = Some(bytes);
    }
    let from = clock.now();
    if plan.traffic.is_some() {
        tokio::time::sleep(plan.window).await;
    }
    let after = went.then(|| (from, clock.now()));
    let irreversible = plan.irreversible();
    let (mut down_differs, mut again_differs, mut reordered) = (None, None, Vec::new());
    if went && irreversible.is_none() {
        went = course.down().await?;
        if went {
            let now = course.asking.schema().await?;
            down_differs = Some(start.difference(&now));
            reordered.extend(start.reordered(&now).into_iter().map(|what| format!("after going down {what}")));
            if course.up(Pass::Again).await? {
                let now = course.asking.schema().await?;
                again_differs = Some(top.difference(&now));
                reordered.extend(top.reordered(&now).into_iter().map(|what| format!("after going up again {what}")));
            }
        }
    }
    let Course { stage, traffic, mut files, .. } = course;
    let Seen { samples, peaks } = stage.stop().await?;
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
        peaks,
        ..Record::default()
    };
    if let Some(traffic) = traffic {
        record.add(traffic.stop(place.base.clone(), &clock).await?);
    }
    Ok(record)
}

impl<'a, T: Target> Course<'_, 'a, T> {
    /// Applies every file; answers whether all went through.
    async fn up(&mut self, pass: Pass) -> Result<bool, DbError> {
        self.stage.up_begins(pass).await?;
        let plan = self.plan;
        let mut went = match &plan.runner {
            Some(runner) => self.persistently(pass, &runner.to, runner.up).await?,
            None => true,
        };
        for migration in &plan.migrations {
            if !self.persistently(pass, &migration.version, &migration.up).await? {
                went = false;
                break;
            }
        }
        self.stage.up_ended(pass, &mut self.files).await?;
        Ok(went)
    }

    async fn down(&mut self) -> Result<bool, DbError> {
        let plan = self.plan;
        let one = |version, script| Try { pass: Pass::Down, version, script, attempt: 1, skipped: None };
        if let Some((runner, down)) = plan.runner.as_ref().and_then(|one| Some((one, one.down?))) {
            return Ok(self.file(one(&runner.to, down), down).await?.is_none());
        }
        for migration in plan.migrations.iter().rev() {
            let Some(down) = &migration.down else { return Ok(false) };
            if self.file(one(&migration.version, down), down).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Applies a file, again if it was refused, as the next deploy would; and where a check of the file's own was
    /// what refused it, once more without that check, to see whether there was anything in it.
    async fn persistently(&mut self, pass: Pass, version: &Version, script: &'a Script) -> Result<bool, DbError> {
        let mut skipped = None;
        for attempt in 1..=3 {
            let failed = self.file(Try { pass, version, script, attempt, skipped }, script).await?;
            let Some((statement, error)) = failed else { return Ok(true) };
            match attempt {
                1 => {}
                2 if error.code.as_deref() == Some(RAISED) && script.in_transaction() => skipped = Some(statement),
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Applies a file once; answers the statement that was refused, and how, if one was.
    async fn file(&mut self, one: Try<'_>, script: &'a Script) -> Result<Option<(usize, DbError)>, DbError> {
        let Try { pass, version, attempt, skipped, .. } = one;
        self.stage.note(&one).await?;
        let companion =
            self.plan.companion.filter(|one| *one != Companion::Replicas && attempt == 1 && pass != Pass::Again);
        if let Some(companion) = companion {
            self.stage.stand(companion, &one).await?;
        }
        self.plan.progress.file(pass, script);
        let applied = self.stage.apply(&one).await?;
        let Company { sessions, refused } = self.stage.dismiss().await;
        if let Some(traffic) = &self.traffic {
            traffic.come_round(RECOVERY_MAX).await;
        }
        self.stage.ended(&one);
        let before = self.files.last().filter(|before| attempt > 1 && before.version == *version);
        let Remains { left, still } = self.stage.left(&one, &applied, before).await?;
        let failed = applied.failed.clone();
        self.files.push(FileRun {
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
        });
        Ok(failed)
    }
}

/// What PL/pgSQL's RAISE EXCEPTION says unless told otherwise.
pub(super) const RAISED: &str = "P0001";
