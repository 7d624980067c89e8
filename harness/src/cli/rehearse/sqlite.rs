//! Holds a rehearsal on a SQLite file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use drift_engine::lock::Backend;

use super::again::replay;
use super::held::{EVENTS_FOR_CUTS, Held};
use super::{Args, Case, Fidelity, TrafficChoice, unwritable};
use crate::cli::Failure;
use crate::clock::Clock;
use crate::database::Database;
use crate::history::file;
use crate::provision::Journal;
use crate::rehearse::companion::{Companion, ReplicaLock};
use crate::rehearse::course::{Plan, WINDOW};
use crate::rehearse::crowd::Crowd;
use crate::rehearse::failures::Manner;
use crate::rehearse::judge::judge;
use crate::rehearse::migrations;
use crate::rehearse::progress::Progress;
use crate::rehearse::sampler::Sampling;
use crate::rehearse::settings::EVENTS;
use crate::rehearse::site::SiteError;
use crate::rehearse::sqlite::advice;
use crate::rehearse::sqlite::companion::unfit;
use crate::rehearse::sqlite::course::{self, Ground};
use crate::rehearse::sqlite::site::{BUSY_TIMEOUT, Site};
use crate::rehearse::subject::Subject;
use crate::rehearse::{scripted, sqlite::failures, twin};
use crate::report::directory::RunDirectory;
use crate::report::rehearsed::layout;
use crate::report::rehearsed::row::{About, RehearseRow, row, row_of_cuts};
use crate::scenario::script::Script;

/// The sites of one run, one for each way to keep what is unfinished.
pub(super) struct Sites {
    seed: u64,
    sites: BTreeMap<Journal, Site>,
}

impl Sites {
    /// None yet.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, sites: BTreeMap::new() }
    }

    /// That of a journal.
    pub(super) async fn of(&mut self, journal: Journal) -> Result<&mut Site, SiteError> {
        if !self.sites.contains_key(&journal) {
            self.sites.insert(journal, Site::new(journal, self.seed).await?);
        }
        Ok(self.sites.get_mut(&journal).expect("it was put there if it was not"))
    }
}

/// Refuses what makes no sense on SQLite, and says why.
pub(super) fn check(args: &Args, subject: &Subject, beside: &BTreeSet<Option<Companion>>) -> Result<(), Failure> {
    let refused = |what: &str, why: &str| Err(Failure::usage(miette::miette!("{what}: {why} ({})", subject.path)));
    for companion in beside.iter().flatten() {
        if let Some(why) = unfit(*companion) {
            return refused(&format!("there is no companion {} on SQLite", companion.as_str()), why);
        }
    }
    if !args.rows.is_empty() {
        return refused(
            "--rows is for PostgreSQL",
            "a SQLite file has one lock, and no tables with locks of their own",
        );
    }
    if !args.app.is_empty() {
        return refused("--app is for PostgreSQL", "what code works on which version of a file is not tried yet");
    }
    if args.data.is_some() {
        return refused("--data is for PostgreSQL", "a script's set-up (--traffic FILE) can fill the tables instead");
    }
    if args.runner.is_some() {
        return refused(
            "--runner is for PostgreSQL",
            "a SQLite file has no URL, and no server that sees other sessions",
        );
    }
    if args.fidelity == Fidelity::Runner {
        return refused(
            "--fidelity runner is for PostgreSQL",
            "it is about sqlx's advisory lock, which SQLite has not",
        );
    }
    Ok(())
}

/// Holds one.
pub(super) async fn one(
    args: &Args,
    case: &Case,
    script: Option<&Arc<Script>>,
    site: &mut Site,
    (directory, progress): (&RunDirectory, &Progress),
) -> Result<RehearseRow, Held> {
    if case.failures {
        return cuts(args, case, site).await;
    }
    let clock = Clock::start();
    let (subject, settings) = (&case.subject, &case.subject.settings);
    let (from, to) = subject.range().map_err(SiteError::from)?;
    let place = site.place(subject, settings.events.unwrap_or(EVENTS)).await?;
    let fitting = place.application.filter(|_| args.traffic == TrafficChoice::Engine);
    let traffic = match script {
        Some(script) => {
            let set = scripted::set_up(script, &Database::Sqlite(place.database.clone())).await;
            set.map_err(|error| SiteError::Earlier { file: format!("the set-up of {}", script.name), error })?;
            Some(Crowd::Script(script.clone()))
        }
        None => {
            fitting.map(|fitting| Crowd::Engine(args.cast(Backend::Sqlite), settings.application.unwrap_or(fitting)))
        }
    };
    let plan = Plan {
        from: from.clone(),
        migrations: subject.migrations.between(&from, &to).collect(),
        traffic,
        companion: case.companion,
        lock: ReplicaLock::default(),
        runner: None,
        stock: None,
        is_early: fitting.is_some_and(|fitting| settings.application.is_some_and(|deployed| deployed != fitting)),
        allowed: settings.budget.errors.clone(),
        seed: args.seed,
        window: WINDOW,
        sampling: Sampling::default(),
        progress: progress.clone(),
    };
    let ground = Ground {
        database: place.database.clone(),
        path: place.path(),
        busy_timeout: settings.busy_timeout_ms.map_or(BUSY_TIMEOUT, Duration::from_millis),
    };
    let seen = course::run(&plan, &ground, place.base.clone()).await.map_err(SiteError::from)?;
    let mut record = seen.record;
    site.leave(place)?;
    let mut unasked = None;
    if twin::is_wanted(&plan, &record, Backend::Sqlite) {
        let place = site.place(subject, settings.events.unwrap_or(EVENTS)).await?;
        let database = Database::Sqlite(place.database.clone());
        unasked = twin::ask(&plan, &mut record, &database).await;
        site.leave(place)?;
    }
    let mut judged = judge(&plan, &record, &settings.budget);
    advice::give(&mut judged.findings, &subject.migrations);
    let beside = case.beside();
    if let Some(history) = &record.history {
        let name = format!("history-{}-{}.jsonl", subject.name, beside.replace(", ", "-"));
        directory.write(&name, |to| file::write(history, to)).map_err(|error| Held::Failure(unwritable(error)))?;
    }
    let expected = case.expected();
    let about = About {
        name: &subject.name,
        backend: Backend::Sqlite,
        beside,
        from,
        to,
        layout: layout::row(&subject.migrations),
        expected: &expected,
        budget: settings.budget.on_sqlite(),
        limits: &settings.budget,
        duration_ms: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
        replay: replay(args, case),
    };
    let mut row = row(about, &plan, &record, judged);
    row.wal_bytes = seen.peaks;
    row.notes.extend(unasked);
    row.notes.extend(case.notes.iter().cloned());
    row.notes.extend(unchecked(subject));
    Ok(row)
}

/// What is to be known where a file has foreign keys after which nobody looks.
fn unchecked(subject: &Subject) -> Option<String> {
    let has = |script: &migrations::Script| script.statements.iter().any(|statement| statement.has("REFERENCES"));
    let tool = subject.migrations.list.first().map(|migration| migration.up.layout.tool)?;
    let is_unchecked = !subject.foreign_keys() && subject.migrations.list.iter().any(|migration| has(&migration.up));
    is_unchecked.then(|| match subject.settings.foreign_keys {
        Some(_) => "foreign keys are off in the migrating session, as rehearse.toml says".to_owned(),
        None => format!(
            "foreign keys are off in the migrating session, as {tool} leaves them; foreign-keys = true in rehearse.toml \
             turns them on"
        ),
    })
}

/// Cuts every statement off, in every way.
async fn cuts(args: &Args, case: &Case, site: &mut Site) -> Result<RehearseRow, Held> {
    let clock = Clock::start();
    let subject = &case.subject;
    let (from, to) = subject.range().map_err(SiteError::from)?;
    let migrations: Vec<_> = subject.migrations.between(&from, &to).collect();
    let place = site.place(subject, EVENTS_FOR_CUTS).await?;
    let clean = failures::clean(&migrations, &place.database).await;
    site.leave(place)?;
    let clean = clean.map_err(|(file, error)| SiteError::Earlier { file, error })?;
    let mut cuts = Vec::new();
    for (index, migration) in migrations.iter().enumerate() {
        let all = (0..migration.up.statements.len()).flat_map(|one| Manner::ON_SQLITE.map(|failure| (one, failure)));
        for (statement, failure) in all.filter(|(one, failure)| failures::is_possible(&migration.up, *one, *failure)) {
            let on = (subject, EVENTS_FOR_CUTS);
            cuts.push(failures::cut(site, on, &migrations, (index, statement), failure, &clean).await?);
        }
    }
    let expected = case.expected();
    let about = About {
        name: &subject.name,
        backend: Backend::Sqlite,
        beside: case.beside(),
        from,
        to,
        layout: layout::row(&subject.migrations),
        expected: &expected,
        budget: subject.settings.budget.on_sqlite(),
        limits: &subject.settings.budget,
        duration_ms: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
        replay: replay(args, case),
    };
    let mut row = row_of_cuts(about, &cuts);
    advice::give(&mut row.findings, &subject.migrations);
    Ok(row)
}
