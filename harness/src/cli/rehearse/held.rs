//! Holds the rehearsals, one after another, and keeps what came of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use drift_engine::lock::Backend;

use super::again::replay;
use super::{Args, Case, Fidelity, TrafficChoice, shown, sqlite, unwritable};
use crate::cli::{Context, Failure};
use crate::clock::Clock;
use crate::database::Database;
use crate::exit::Exit;
use crate::history::file;
use crate::outcome::NotApplicable;
use crate::provision::{ProvisionError, Server, Way};
use crate::rehearse::course::{self, Plan, WINDOW};
use crate::rehearse::crowd::Crowd;
use crate::rehearse::dump::Dump;
use crate::rehearse::failures::{self, Manner};
use crate::rehearse::judge::{self, Judged, judge};
use crate::rehearse::migrations::Version;
use crate::rehearse::progress::Progress;
use crate::rehearse::releases::{self, Code, Release};
use crate::rehearse::runner::{self, Runner};
use crate::rehearse::sampler::Sampling;
use crate::rehearse::scripted;
use crate::rehearse::settings::EVENTS;
use crate::rehearse::site::{Place, Site, SiteError};
use crate::rehearse::stock::Stock;
use crate::rehearse::subject::Subject;
use crate::rehearse::twin;
use crate::report::directory::RunDirectory;
use crate::report::rehearsed::RehearseReport;
use crate::report::rehearsed::applications::{self, ApplicationRow};
use crate::report::rehearsed::layout;
use crate::report::rehearsed::row::{About, RehearseRow, row, row_of_cuts};
use crate::scenario::script::Script;

/// How many events there are where only the schema counts.
pub(super) const EVENTS_FOR_CUTS: u32 = 1_000;

/// What the files that were named hold.
pub(super) struct Brought {
    /// The traffic's script.
    pub(super) script: Option<Arc<Script>>,
    /// The applications that are tried on every version.
    pub(super) releases: Vec<Release>,
    /// What the databases are filled with.
    pub(super) data: Option<Dump>,
}

impl Brought {
    /// Whether any of it is foreign.
    pub(super) fn is_foreign(&self) -> bool {
        self.script.is_some()
            || self.data.is_some()
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
    fn crowd(
        &self,
        choice: &TrafficChoice,
        has_tables: bool,
        subject: &Subject,
        from: &Version,
    ) -> Option<Arc<Script>> {
        let deployed = || {
            let deployed = self.releases_of(subject).into_iter().filter(|release| release.version <= *from);
            match deployed.max_by_key(|release| release.version.clone())?.code {
                Code::Script(script) => Some(script),
                Code::Engine(_) => None,
            }
        };
        self.script.clone().or_else(|| deployed().filter(|_| *choice == TrafficChoice::Engine && !has_tables))
    }
}

/// Holds all of them. What could not be tried is noted in the report.
pub(super) async fn all(
    args: &Args,
    cases: &[Case],
    brought: &Brought,
    server: Option<&Server>,
    directory: &RunDirectory,
    report: &mut RehearseReport,
    context: &mut Context<'_>,
) -> Result<Exit, Failure> {
    let mut site = server.map(|server| Site::new(server, args.seed, brought.data.clone()));
    let mut files = sqlite::Sites::new(args.seed);
    let cancel = context.cancel.clone();
    let mut shown = shown::Shown::new(cases.len());
    for case in cases {
        let progress = shown.begins(&case.subject.name, &case.beside());
        let held = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Failure::interrupted()),
            held = either(args, case, brought, site.as_mut(), &mut files, (directory, &progress)) => held,
        };
        shown.ended();
        match held {
            Ok(row) => {
                report.results.push(row);
                report.conclude();
                // Should nothing come after this, what there is so far is there.
                directory.rehearsed(report).map_err(unwritable)?;
            }
            Err(Held::Unfit(reason)) => {
                let name = format!("{} {}", case.subject.name, case.beside());
                report.not_applicable.push(NotApplicable { name, backend: case.subject.settings.backend(), reason });
                report.planned -= 1;
                report.conclude();
                directory.rehearsed(report).map_err(unwritable)?;
            }
            Err(Held::Site(SiteError::Provision(error))) => return Err(error.into()),
            Err(Held::Site(
                error @ (SiteError::Earlier { .. }
                | SiteError::Subject(_)
                | SiteError::NoTables(_)
                | SiteError::Data(_)),
            )) => {
                return Err(Failure::usage(miette::Report::from_err(error)));
            }
            Err(Held::Site(error)) => {
                report.not_verified.push(format!("{}: {error}", case.subject.name));
                return Ok(Exit::Environment);
            }
            Err(Held::Failure(failure)) => return Err(failure),
        }
    }
    Ok(Exit::Met)
}

/// On the database that the case is about.
async fn either(
    args: &Args,
    case: &Case,
    brought: &Brought,
    site: Option<&mut Site<'_>>,
    files: &mut sqlite::Sites,
    (directory, progress): (&RunDirectory, &Progress),
) -> Result<RehearseRow, Held> {
    match (case.journal, site) {
        (None, Some(site)) => one(args, case, brought, site, (directory, progress)).await,
        (journal, _) => {
            let site = files.of(journal.unwrap_or_default()).await?;
            sqlite::one(args, case, brought.script.as_ref(), site, (directory, progress)).await
        }
    }
}

pub(super) enum Held {
    /// The companion has nothing to do here, and why.
    Unfit(String),
    Site(SiteError),
    Failure(Failure),
}

impl From<SiteError> for Held {
    fn from(error: SiteError) -> Self {
        Self::Site(error)
    }
}

async fn one(
    args: &Args,
    case: &Case,
    brought: &Brought,
    site: &mut Site<'_>,
    (directory, progress): (&RunDirectory, &Progress),
) -> Result<RehearseRow, Held> {
    if case.failures {
        return cuts(args, case, site).await;
    }
    let clock = Clock::start();
    let (subject, settings) = (&case.subject, &case.subject.settings);
    let (from, to) = subject.range().map_err(SiteError::from)?;
    let events = settings.events.unwrap_or(EVENTS);
    progress.say("a database at the version to begin at");
    let mut place = site.place(subject, events).await?;
    let runner = match &args.runner {
        Some(command) => Some(runner(args, case, command, (&from, &to), site, &mut place, events).await?),
        None => None,
    };
    if let Some(companion) = case.companion.filter(|one| one.needs_engine() && place.application.is_none()) {
        site.leave(place).await.map_err(SiteError::from)?;
        return Err(Held::Unfit(format!(
            "not applicable: the companion {} works on driftlock's tables, which are not there",
            companion.as_str()
        )));
    }
    let fitting = place.application.filter(|_| args.traffic == TrafficChoice::Engine);
    let script = brought.crowd(&args.traffic, place.application.is_some(), subject, &from);
    let traffic = match &script {
        Some(script) => {
            let set = scripted::set_up(script, &Database::Postgres(place.database.clone())).await;
            set.map_err(|error| SiteError::Earlier { file: format!("the set-up of {}", script.name), error })?;
            Some(Crowd::Script(script.clone()))
        }
        None => {
            fitting.map(|fitting| Crowd::Engine(args.cast(Backend::Postgres), settings.application.unwrap_or(fitting)))
        }
    };
    let stock = match args.fidelity {
        Fidelity::Runner => {
            let stock = Stock::of(&subject.migrations, site.way() != Way::Given);
            if !from.is_none() {
                stock.mark(&place.database, &from).await.map_err(SiteError::from)?;
            }
            Some(stock)
        }
        Fidelity::Statements => None,
    };
    let wal = match args.wal {
        true => wal(subject, (&from, &to), site, events).await?,
        false => BTreeMap::new(),
    };
    let plan = Plan {
        from: from.clone(),
        migrations: subject.migrations.between(&from, &to).collect(),
        traffic,
        companion: case.companion,
        lock: settings.replica_lock,
        runner,
        stock,
        is_early: fitting.is_some_and(|fitting| settings.application.is_some_and(|deployed| deployed != fitting)),
        allowed: settings.budget.errors.clone(),
        seed: args.seed,
        window: WINDOW,
        sampling: Sampling::default(),
        progress: progress.clone(),
    };
    let has_tables = place.application.is_some();
    let base = place.base.clone();
    let mut record = course::run(&plan, place.database.clone(), base).await.map_err(SiteError::from)?;
    site.leave(place).await.map_err(SiteError::from)?;
    let mut unasked = None;
    if twin::is_wanted(&plan, &record, Backend::Postgres) {
        progress.say("the same files once more, without traffic");
        let place = site.place(subject, events).await?;
        let database = Database::Postgres(place.database.clone());
        unasked = twin::ask(&plan, &mut record, &database).await;
        site.leave(place).await.map_err(SiteError::from)?;
    }
    let mut judged = judge(&plan, &record, &settings.budget);
    let (applications, notes) = applications(case, brought, has_tables, site, &mut judged).await?;
    if let Some(history) = &record.history {
        let name = format!("history-{}-{}.jsonl", subject.name, case.beside());
        directory.write(&name, |to| file::write(history, to)).map_err(|error| Held::Failure(unwritable(error)))?;
    }
    let expected = case.expected();
    let about = About {
        name: &subject.name,
        backend: Backend::Postgres,
        beside: case.beside(),
        from,
        to,
        layout: layout::row(&subject.migrations),
        expected: &expected,
        budget: settings.budget.to_string(),
        limits: &settings.budget,
        duration_ms: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
        replay: replay(args, case),
    };
    let mut row = row(about, &plan, &record, judged);
    row.notes.extend(args.target_version.and_then(|wanted| other_version(wanted, site.version_number())));
    row.wal_bytes = wal;
    row.applications = applications;
    row.notes.extend(notes);
    row.notes.extend(unasked);
    row.notes.extend(case.notes.iter().cloned());
    Ok(row)
}

/// Tries the applications on every version, once a directory: whoever stands beside the files makes no difference.
async fn applications(
    case: &Case,
    brought: &Brought,
    has_tables: bool,
    site: &mut Site<'_>,
    judged: &mut Judged,
) -> Result<(Vec<ApplicationRow>, Vec<String>), Held> {
    let subject = &case.subject;
    let releases = match brought.releases.is_empty() {
        true if has_tables => releases::of_ours(subject),
        _ => brought.releases_of(subject),
    };
    if releases.is_empty() || subject.has_runner || case.companion != subject.companion() {
        return Ok((Vec::new(), Vec::new()));
    }
    let table = releases::examine(site, subject, releases, &subject.settings.budget).await?;
    let notes = judge::releases::add(&table, judged);
    Ok((applications::rows(&table), notes))
}

/// What is to be known where the server is not of the version that is meant.
fn other_version(wanted: u32, number: u32) -> Option<String> {
    let here = number / 10_000;
    (here != wanted).then(|| {
        format!(
            "this server is PostgreSQL {here}, not {wanted}: what a statement locks and rewrites differs between them"
        )
    })
}

/// Cuts every statement off, in every way.
async fn cuts(args: &Args, case: &Case, site: &mut Site<'_>) -> Result<RehearseRow, Held> {
    let clock = Clock::start();
    let subject = &case.subject;
    let (from, to) = subject.range().map_err(SiteError::from)?;
    let migrations: Vec<_> = subject.migrations.between(&from, &to).collect();
    let place = site.place(subject, EVENTS_FOR_CUTS).await?;
    let clean = failures::clean(&migrations, &place.database).await;
    site.leave(place).await.map_err(SiteError::from)?;
    let clean = clean.map_err(|(file, error)| SiteError::Earlier { file, error })?;
    let mut cuts = Vec::new();
    for (index, migration) in migrations.iter().enumerate() {
        let script = &migration.up;
        // What is one message is cut off as a whole.
        let statements = if script.is_message() { script.statements.len().min(1) } else { script.statements.len() };
        for (statement, failure) in (0..statements).flat_map(|one| Manner::ALL.map(|failure| (one, failure))) {
            let place = site.place(subject, EVENTS_FOR_CUTS).await?;
            let cut = failures::cut(&migrations, (index, statement), failure, &place.database, &clean).await;
            site.leave(place).await.map_err(SiteError::from)?;
            cuts.push(cut.map_err(SiteError::from)?);
        }
    }
    let expected = case.expected();
    let about = About {
        name: &subject.name,
        backend: Backend::Postgres,
        beside: case.beside(),
        from,
        to,
        layout: layout::row(&subject.migrations),
        expected: &expected,
        budget: subject.settings.budget.to_string(),
        limits: &subject.settings.budget,
        duration_ms: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
        replay: replay(args, case),
    };
    Ok(row_of_cuts(about, &cuts))
}

/// The WAL that each file writes, in a database without traffic: under traffic nobody could tell whose it is.
async fn wal(
    subject: &Subject,
    (from, to): (&Version, &Version),
    site: &mut Site<'_>,
    events: u32,
) -> Result<BTreeMap<String, i64>, Held> {
    let place = site.place(subject, events).await?;
    let mut written = BTreeMap::new();
    for migration in subject.migrations.between(from, to) {
        match failures::wal_of(&migration.up, &place.database).await {
            Ok(bytes) => written.insert(migration.up.file.clone(), bytes),
            // The rehearsal itself says so.
            Err(_) => break,
        };
    }
    site.leave(place).await.map_err(SiteError::from)?;
    Ok(written)
}

/// The runner, after it has brought the database to the version to begin at.
async fn runner(
    args: &Args,
    case: &Case,
    command: &str,
    (from, to): (&Version, &Version),
    site: &Site<'_>,
    place: &mut Place,
    events: u32,
) -> Result<Runner, Held> {
    let path = &case.subject.path;
    let unreachable = || ProvisionError::Statement {
        what: "give the runner the database's URL".into(),
        why: "the server does not listen for other processes".into(),
    };
    let runner = Runner {
        up: runner::script(path, command),
        down: args.runner_down.as_ref().map(|down| runner::script(path, down)),
        url: site.access(place).ok_or_else(unreachable).map_err(SiteError::from)?,
        from: from.clone(),
        to: to.clone(),
        may_trigger: site.way() != Way::Given,
    };
    if !from.is_none() && from.as_str() != "0" {
        let brought = runner.run(command, "up", from).await;
        brought.map_err(|error| SiteError::Earlier { file: format!("version {from}"), error })?;
    }
    site.look_again(place, events).await?;
    Ok(runner)
}
