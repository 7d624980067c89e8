//! A rehearsal, from a directory of migrations to what was found: what `driftlock rehearse` does, as one call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drift_engine::lock::Backend;

use super::case::{Case, Commands};
use super::course::{self, Plan, Record, WINDOW};
use super::crowd::Crowd;
use super::dump::Dump;
use super::failures::{self, Cut};
use super::finding::Finding;
use super::judge::{self, Judged, judge, judge_cuts};
use super::migrations::{Migrations, Version};
use super::progress::Progress;
use super::releases::{self, Code, Release, Table};
use super::runner::Runner;
use super::sampler::Sampling;
use super::settings::EVENTS;
use super::shipped::SHIPPED;
use super::site::{Place, Site, SiteError};
use super::subject::Subject;
use super::target::postgres::Postgres;
use super::target::sqlite::Sqlite;
use super::target::{Line, Target};
use super::traffic::Cast;
use super::{scripted, twin};
use crate::clock::Clock;
use crate::provision::{Journal, ProvisionError, Server};
use crate::scenario::script::Script;

/// Whose operations go on while the migrations run.
#[derive(Clone, Debug, Default)]
pub enum Workload {
    /// Driftlock's own job, writers of claims and readers of events, where their tables are.
    #[default]
    Engine,
    /// Nobody's.
    None,
    /// Those of a script.
    Script(Arc<Script>),
}

/// How a case is rehearsed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whose operations go on meanwhile.
    pub traffic: Workload,
    /// How many of the engine's workers there are; without it, as many as the backend is usually rehearsed with.
    pub workers: Option<u32>,
    /// The root of everything random.
    pub seed: u64,
    /// The applications that are tried on every version; without any, the engine's on its own migrations.
    pub releases: Vec<Release>,
    /// Whether sqlx's own migrator migrates, and not we, statement by statement.
    pub stock: bool,
    /// Whether the WAL is measured that each file writes.
    pub wal: bool,
    /// The major version of the server that the migrations are meant for.
    pub target_version: Option<u32>,
}

impl Options {
    /// Whether any of it is the user's own code.
    pub fn is_foreign(&self) -> bool {
        matches!(self.traffic, Workload::Script(_))
            || self.releases.iter().any(|one| matches!(one.code, Code::Script(_)))
    }

    /// The applications, with their versions where a directory has them.
    fn releases_of(&self, subject: &Subject) -> Vec<Release> {
        let placed = |release: &Release| {
            let version = subject.migrations.find(&release.version).unwrap_or_else(|| release.version.clone());
            Release { version, ..release.clone() }
        };
        self.releases.iter().map(placed).collect()
    }

    /// The script whose actors are the traffic: the one that was named, or, where there are no tables of the engine's,
    /// the application's that is deployed at the version to begin at.
    fn script(&self, has_tables: bool, subject: &Subject, from: &Version) -> Option<Arc<Script>> {
        match &self.traffic {
            Workload::Script(script) => Some(script.clone()),
            Workload::Engine if !has_tables => {
                let deployed = self.releases_of(subject).into_iter().filter(|release| release.version <= *from);
                match deployed.max_by_key(|release| release.version.clone())?.code {
                    Code::Script(script) => Some(script),
                    Code::Engine(_) => None,
                }
            }
            Workload::Engine | Workload::None => None,
        }
    }
}

/// Where rehearsals take place: a server for those on PostgreSQL, and files of our own for those on SQLite.
#[derive(Debug)]
pub struct Targets<'s> {
    postgres: Option<Site<Postgres<'s>>>,
    files: BTreeMap<Journal, Site<Sqlite>>,
    seed: u64,
}

impl<'s> Targets<'s> {
    /// On a server, if there is one; `data` is what its databases are filled with, instead of data of our own.
    pub fn new(server: Option<&'s Server>, data: Option<Dump>, seed: u64) -> Self {
        let postgres = server.map(|server| Site::new(Postgres::new(server, data), seed));
        Self { postgres, files: BTreeMap::new(), seed }
    }

    /// The role as which a case must not be rehearsed: it can reach other databases of a given server, and not all that
    /// is run is ours.
    pub fn refuses(&self, case: &Case, options: &Options) -> Option<&str> {
        let target = &self.postgres.as_ref()?.target;
        let is_foreign = || {
            let ours = |migrations: &Migrations| SHIPPED.iter().any(|one| one.subject().migrations == *migrations);
            target.data().is_some()
                || options.is_foreign()
                || case.commands.is_some()
                || !ours(&case.subject.migrations)
        };
        let role = target.unconfined().filter(|_| case.subject.settings.backend() == Backend::Postgres)?;
        is_foreign().then_some(role)
    }

    /// The files that keep what is unfinished in this way.
    async fn files(&mut self, journal: Journal) -> Result<&mut Site<Sqlite>, SiteError> {
        if !self.files.contains_key(&journal) {
            self.files.insert(journal, Site::new(Sqlite::new(journal).await?, self.seed));
        }
        Ok(self.files.get_mut(&journal).expect("it was put there if it was not"))
    }
}

/// Why there was no rehearsal.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// The companion has nothing to do here, and why.
    #[error("{0}")]
    Unfit(String),
    /// There is no database to rehearse on, or it was lost.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The directory is for PostgreSQL, and no server was given.
    #[error("{0} is for PostgreSQL, and there is no server to rehearse it on")]
    NoServer(String),
    /// The role on a given server could reach more than the run's own databases.
    #[error("migrations are not run as {0}, who can reach other databases of the given server")]
    Powerful(String),
}

/// What came of a case.
#[derive(Debug)]
pub struct Rehearsed<'a> {
    /// The case.
    pub case: &'a Case,
    /// The version at the start.
    pub from: Version,
    /// The version at the top.
    pub to: Version,
    /// What was seen and found.
    pub found: Found<'a>,
    /// What is to be known beside that.
    pub notes: Vec<String>,
    /// How long it took, set-up included.
    pub took: Duration,
}

/// What was seen and found.
#[derive(Debug)]
pub enum Found<'a> {
    /// Under traffic, up, down and up again.
    Course(Box<Course<'a>>),
    /// Every statement was cut off, in every way.
    Cuts {
        /// What came of each.
        cuts: Vec<Cut<'a>>,
        /// What is wrong with that.
        findings: Vec<Finding>,
    },
}

/// What was seen under traffic, and what was found.
#[derive(Debug)]
pub struct Course<'a> {
    /// What was rehearsed.
    pub plan: Plan<'a>,
    /// What was seen.
    pub record: Record<'a>,
    /// What was found.
    pub judged: Judged,
    /// PostgreSQL: bytes of WAL that each file writes without traffic, if that was asked for. SQLite: the most that the
    /// log or the journal had.
    pub wal: BTreeMap<String, i64>,
    /// Every application on every version, where that was asked.
    pub applications: Option<Table<'a>>,
}

/// Rehearses a case in databases of its own, which are dropped afterwards.
///
/// Cancellation: dropping the future ends every session; the databases go with the server and the targets.
///
/// # Errors
/// See [`RehearsalError`]. What the database refuses a migration is no error, but found.
pub async fn rehearse<'a>(
    targets: &mut Targets<'_>,
    case: &'a Case,
    options: &Options,
    progress: &Progress,
) -> Result<Rehearsed<'a>, RehearsalError> {
    if let Some(role) = targets.refuses(case, options) {
        return Err(RehearsalError::Powerful(role.to_owned()));
    }
    match (case.subject.settings.backend(), &mut targets.postgres) {
        (Backend::Postgres, Some(site)) => on(site, case, options, progress).await,
        (Backend::Postgres, None) => Err(RehearsalError::NoServer(case.subject.path.clone())),
        (Backend::Sqlite, _) => {
            let site = targets.files(case.journal.unwrap_or_default()).await?;
            on(site, case, options, progress).await
        }
    }
}

/// The same where the backend is known.
async fn on<'a, T: Target>(
    site: &mut Site<T>,
    case: &'a Case,
    options: &Options,
    progress: &Progress,
) -> Result<Rehearsed<'a>, RehearsalError> {
    let clock = Clock::start();
    let (from, to) = case.subject.range().map_err(SiteError::from)?;
    let (found, notes) = match case.failures {
        true => {
            let cuts = failures::cuts(site, &case.subject).await?;
            let mut findings = judge_cuts(&cuts);
            T::advise(&mut findings, &case.subject.migrations);
            (Found::Cuts { cuts, findings }, Vec::new())
        }
        false => {
            let (course, notes) = course(site, case, (&from, &to), options, progress).await?;
            (Found::Course(Box::new(course)), notes)
        }
    };
    Ok(Rehearsed { case, from, to, found, notes, took: clock.elapsed() })
}

/// Rehearses under traffic.
async fn course<'a, T: Target>(
    site: &mut Site<T>,
    case: &'a Case,
    (from, to): (&Version, &Version),
    options: &Options,
    progress: &Progress,
) -> Result<(Course<'a>, Vec<String>), RehearsalError> {
    let (subject, settings) = (&case.subject, &case.subject.settings);
    let events = settings.events.unwrap_or(EVENTS);
    progress.say("a database at the version to begin at");
    let mut place = site.place(subject, events).await?;
    let runner = match &case.commands {
        Some(commands) => Some(runner(site, &mut place, commands, (from, to), events).await?),
        None => None,
    };
    if let Some(companion) = case.companion.filter(|one| one.needs_engine() && place.application.is_none()) {
        site.leave(place).await?;
        return Err(RehearsalError::Unfit(format!(
            "not applicable: the companion {} works on driftlock's tables, which are not there",
            companion.as_str()
        )));
    }
    let has_tables = place.application.is_some();
    let fitting = place.application.filter(|_| matches!(options.traffic, Workload::Engine));
    let traffic = match options.script(has_tables, subject, from) {
        Some(script) => {
            let set = scripted::set_up(&script, &place.database()).await;
            set.map_err(|error| SiteError::Earlier { file: format!("the set-up of {}", script.name), error })?;
            Some(Crowd::Script(script))
        }
        None => fitting.map(|fitting| {
            Crowd::Engine(Cast::usual(T::BACKEND, options.workers), settings.application.unwrap_or(fitting))
        }),
    };
    let stock = match options.stock {
        true => site.target.stock(&place.ground, subject, from).await?,
        false => None,
    };
    let wal = match options.wal {
        true => wal(site, subject, (from, to), events).await?,
        false => BTreeMap::new(),
    };
    let plan = Plan {
        from: from.clone(),
        migrations: subject.migrations.between(from, to).collect(),
        traffic,
        companion: case.companion,
        lock: settings.replica_lock,
        runner,
        stock,
        is_early: fitting.is_some_and(|fitting| settings.application.is_some_and(|deployed| deployed != fitting)),
        allowed: settings.budget.errors.clone(),
        seed: options.seed,
        window: WINDOW,
        sampling: Sampling::default(),
        progress: progress.clone(),
    };
    let mut record = course::run(&plan, &place).await.map_err(SiteError::from)?;
    site.leave(place).await?;
    let mut unasked = None;
    if twin::is_wanted(&plan, &record, T::BACKEND) {
        progress.say("the same files once more, without traffic");
        let place = site.place(subject, events).await?;
        unasked = twin::ask(&plan, &mut record, &place).await;
        site.leave(place).await?;
    }
    let mut judged = judge(&plan, &record, &settings.budget);
    let mut notes = Vec::from_iter(other_version(options.target_version, site.target.version_number()));
    let applications = applications(site, case, options, has_tables).await?;
    if let Some(table) = &applications {
        notes.extend(judge::releases::add(table, &mut judged));
    }
    T::advise(&mut judged.findings, &subject.migrations);
    notes.extend(unasked);
    notes.extend(case.notes.iter().cloned());
    notes.extend(T::note(subject));
    let wal = wal.into_iter().chain(std::mem::take(&mut record.peaks)).collect();
    Ok((Course { plan, record, judged, wal, applications }, notes))
}

/// Tries the applications on every version, once a directory: whoever stands beside the files makes no difference.
async fn applications<'a, T: Target>(
    site: &mut Site<T>,
    case: &'a Case,
    options: &Options,
    has_tables: bool,
) -> Result<Option<Table<'a>>, SiteError> {
    let subject = &case.subject;
    let releases = match options.releases.is_empty() {
        true if has_tables => releases::of_ours(subject),
        _ => options.releases_of(subject),
    };
    if releases.is_empty() || subject.has_runner || case.companion != subject.companion() {
        return Ok(None);
    }
    releases::examine(site, subject, releases, &subject.settings.budget).await.map(Some)
}

/// What is to be known where the server is not of the version that is meant.
fn other_version(wanted: Option<u32>, number: Option<u32>) -> Option<String> {
    let (wanted, here) = (wanted?, number? / 10_000);
    (here != wanted).then(|| {
        format!(
            "this server is PostgreSQL {here}, not {wanted}: what a statement locks and rewrites differs between them"
        )
    })
}

/// The WAL that each file writes, in a database without traffic: under traffic nobody could tell whose it is.
async fn wal<T: Target>(
    site: &mut Site<T>,
    subject: &Subject,
    (from, to): (&Version, &Version),
    events: u32,
) -> Result<BTreeMap<String, i64>, SiteError> {
    let place = site.place(subject, events).await?;
    let mut written = BTreeMap::new();
    for migration in subject.migrations.between(from, to) {
        let mut line = failures::bounded(&place).await?;
        match T::wal_of(&mut line, &migration.up).await {
            Ok(Some(bytes)) => written.insert(migration.up.file.clone(), bytes),
            // What is refused, the rehearsal itself says.
            Ok(None) | Err(_) => break,
        };
        let _ = line.close().await;
    }
    site.leave(place).await?;
    Ok(written)
}

/// The runner, after it has brought the database to the version to begin at.
async fn runner<'a, T: Target>(
    site: &Site<T>,
    place: &mut Place<T>,
    commands: &'a Commands,
    (from, to): (&Version, &Version),
    events: u32,
) -> Result<Runner<'a>, SiteError> {
    let unreachable = || ProvisionError::Statement {
        what: "give the runner the database's URL".into(),
        why: "the server does not listen for other processes".into(),
    };
    let runner = Runner {
        up: &commands.up,
        down: commands.down.as_ref(),
        url: site.access(place).ok_or_else(unreachable)?,
        from: from.clone(),
        to: to.clone(),
        may_trigger: site.target.is_thrown_away(),
    };
    if !from.is_none() && from.as_str() != "0" {
        let brought = runner.run(&commands.up.text, "up", from).await;
        brought.map_err(|error| SiteError::Earlier { file: format!("version {from}"), error })?;
    }
    site.look_again(place, events).await?;
    Ok(runner)
}
