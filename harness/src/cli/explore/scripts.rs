//! Explores scripts, and specifications as scripts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use drift_engine::lock::Backend;
use sqlx::sqlite::SqliteConnectOptions;

use super::Args;
use crate::cli::common::{Format, quoted, run_name, unwritable, verdict_exit};
use crate::cli::{Context, Failure};
use crate::exit::Exit;
use crate::explore::case::{Explored, Options, explore};
use crate::explore::overlap::overlap;
use crate::explore::postgres::PgWorld;
use crate::explore::schedule::Schedule;
use crate::explore::search::Strategy;
use crate::explore::specification::{export, script_of};
use crate::explore::sqlite::SqliteWorld;
use crate::explore::world::Lost;
use crate::isolation::{TargetError, config};
use crate::provision::sqlite_version;
use crate::provision::{Journal, ProvisionError, Server, SqliteFiles};
use crate::report::directory::RunDirectory;
use crate::report::explored::{self, ExpectedRow, ExploreReport, ExploreRow, OverlapRow, TogetherRow, ViolatedRow};
use crate::report::{BackendUsed, NotApplicable, SCHEMA_VERSION, Word};
use crate::scenario::script::{Overlap, Script, ScriptCase};
use crate::scenario::shipped::SCRIPTS;

/// A script, and the name of its file.
pub(crate) struct Source {
    pub file: String,
    pub script: Arc<Script>,
}

/// Where cases are run.
#[derive(Default)]
pub(crate) struct Hosts {
    pub server: Option<Server>,
    pub files: Option<SqliteFiles>,
    made: u32,
}

/// Runs the command.
pub(super) async fn run(args: &Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let sources = sources(&args.files)?;
    let cases: Vec<(&Source, &ScriptCase)> = sources
        .iter()
        .flat_map(|source| source.script.cases.iter().map(move |case| (source, case)))
        .filter(|(_, case)| args.backend.is_none_or(|backend| backend == case.backend))
        .filter(|(source, case)| args.filter.as_ref().is_none_or(|text| name_of(&source.script, case).contains(text)))
        .collect();
    if cases.is_empty() {
        return Err(Failure::usage(miette::miette!(
            help = "driftlock explore --list shows what there is",
            "no case is left: the filters exclude them all"
        )));
    }
    if !args.overlap.is_empty() && cases.iter().all(|(_, case)| case.backend == Backend::Sqlite) {
        return Err(Failure::usage(miette::miette!(
            "--overlap is for PostgreSQL: on SQLite nothing runs beside a statement that writes"
        )));
    }
    for (source, _) in &cases {
        args.overlaps(&source.script)?;
    }
    if args.list {
        for (source, case) in &cases {
            writeln!(context.out, "{} {}", name_of(&source.script, case), case.backend)?;
        }
        return Ok(Exit::Met);
    }
    let directory = args.output.clone().unwrap_or_else(|| PathBuf::from("target/driftlock").join(run_name("explore")));
    let directory = RunDirectory::create(directory).map_err(unwritable)?;
    let mut report = ExploreReport {
        schema_version: SCHEMA_VERSION,
        command: "explore".to_owned(),
        verdict: Word::Inconclusive,
        seed: args.seed,
        profile: "none".to_owned(),
        backends: Vec::new(),
        results: Vec::new(),
        not_applicable: Vec::new(),
        not_verified: Vec::new(),
    };
    let mut hosts = Hosts::default();
    let ended = run_cases(args, &cases, &directory, &mut hosts, &mut report, context).await;
    hosts.stop(context).await?;
    report.conclude();
    if ended.is_err() {
        report.not_verified.push(format!("the run ended after {} of {} cases", report.results.len(), cases.len()));
        report.conclude();
    }
    // Where nothing could be run there is nothing to report.
    if ended.is_ok() || !report.results.is_empty() {
        directory.explored(&report).map_err(unwritable)?;
    }
    ended?;
    match args.format {
        Format::Text => explored::write(&report, args.all, context.out)?,
        Format::Json => {
            let json = serde_json::to_string_pretty(&report).map_err(std::io::Error::from)?;
            writeln!(context.out, "{json}")?;
        }
    }
    writeln!(context.err, "written to {}", directory.path().display())?;
    Ok(verdict_exit(report.verdict))
}

fn name_of(script: &Script, case: &ScriptCase) -> String {
    format!("{}/{}", script.name, case.name)
}

/// Reads the files, or takes the built-in scripts.
fn sources(files: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    if files.is_empty() {
        let sources =
            SCRIPTS.map(|shipped| Source { file: shipped.path.to_owned(), script: Arc::new(shipped.script()) });
        return Ok(sources.into());
    }
    let mut sources = Vec::new();
    let (specs, scripts): (Vec<&PathBuf>, Vec<&PathBuf>) =
        files.iter().partition(|file| file.extension().is_some_and(|extension| extension == "spec"));
    for file in scripts {
        sources.push(load(file)?);
    }
    let specs: Vec<PathBuf> = specs.into_iter().cloned().collect();
    for (file, read) in specs.iter().zip(super::isolationtester::read_all(&specs)?) {
        sources.push(Source { file: file.display().to_string(), script: Arc::new(script_of(&read.name, &read.spec)) });
    }
    Ok(sources)
}

/// Reads one file; a built-in script may be named by its path in the checkout, wherever that is.
pub(crate) fn load(file: &Path) -> Result<Source, Failure> {
    let shipped = SCRIPTS.iter().find(|shipped| Path::new(shipped.path) == file && !file.exists());
    let script = match shipped {
        Some(shipped) => shipped.script(),
        None if file.extension().is_some_and(|extension| extension == "spec") => {
            let read = super::isolationtester::read_all(&[file.to_owned()])?.remove(0);
            script_of(&read.name, &read.spec)
        }
        None => Script::load(file).map_err(Failure::usage)?,
    };
    Ok(Source { file: file.display().to_string(), script: Arc::new(script) })
}

async fn run_cases(
    args: &Args,
    cases: &[(&Source, &ScriptCase)],
    directory: &RunDirectory,
    hosts: &mut Hosts,
    report: &mut ExploreReport,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let options = Options { strategy: args.strategy, seed: args.seed, limit: args.budget, all: args.all };
    let mut missing = Vec::new();
    for backend in Backend::ALL.into_iter().filter(|backend| cases.iter().any(|(_, case)| case.backend == *backend)) {
        match hosts.start(backend, &args.postgres, context).await {
            Ok(used) => report.backends.push(used),
            Err(failure) if failure.exit != Exit::Environment => return Err(failure),
            Err(failure) => missing.push((backend, failure)),
        }
    }
    if let Some(server) = &hosts.server {
        report.profile = server.settings().profile().as_str().to_owned();
    }
    if report.backends.is_empty()
        && let Some((_, failure)) = missing.pop()
    {
        return Err(failure);
    }
    for (backend, failure) in &missing {
        report.not_verified.push(format!("{backend}: {}", failure.report));
    }
    let cancel = context.cancel.clone();
    for (source, case) in cases.iter().filter(|(_, case)| missing.iter().all(|(backend, _)| *backend != case.backend)) {
        let pairs = args.overlaps(&source.script)?;
        let explored = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Failure::interrupted()),
            explored = hosts.explore(source.script.clone(), case, &options, &pairs) => explored,
        };
        if case.backend == Backend::Sqlite && !pairs.is_empty() {
            report.not_applicable.push(NotApplicable {
                name: format!("{} (overlap)", name_of(&source.script, case)),
                backend: case.backend,
                reason: "nothing runs beside a statement that writes".to_owned(),
            });
        }
        let explored = match explored {
            Ok(explored) => explored,
            Err(failure) => return Err(failure.about(source, case)),
        };
        let row = row(args, source, case, &explored, directory, context)?;
        report.results.push(row);
    }
    Ok(())
}

/// Why a case could not be explored.
pub(crate) enum CaseFailure {
    Lost(Lost),
    Provision(ProvisionError),
    Target(TargetError),
}

impl CaseFailure {
    pub(crate) fn about(self, source: &Source, case: &ScriptCase) -> Failure {
        let lost = match self {
            Self::Provision(error) => return error.into(),
            Self::Target(error) => return error.into(),
            Self::Lost(lost) => lost,
        };
        let report = miette::miette!("{}, case {} on {}: {lost}", source.file, case.name, case.backend);
        if lost.by_script { Failure::usage(report) } else { Failure::environment(report) }
    }
}

impl Hosts {
    /// Makes a backend ready.
    pub(crate) async fn start(
        &mut self,
        backend: Backend,
        postgres: &crate::cli::provisioning::PostgresArgs,
        context: &Context<'_>,
    ) -> Result<BackendUsed, Failure> {
        let name = backend.to_string();
        match backend {
            Backend::Postgres => {
                let server = super::start(postgres, context).await?;
                if !server.confines_foreign_code() {
                    let role = server.role().name.clone();
                    let stopped = server.stop().await;
                    return Err(stopped.map_or_else(Failure::from, |()| TargetError::Powerful { role }.into()));
                }
                let (version, provisioned) = (server.version().to_owned(), server.way().to_string());
                self.server = Some(server);
                Ok(BackendUsed { name, version, provisioned })
            }
            Backend::Sqlite => {
                self.files = Some(SqliteFiles::create(Journal::Wal).await?);
                Ok(BackendUsed { name, version: sqlite_version().await?, provisioned: "built in".to_owned() })
            }
        }
    }

    /// Ends the server, with everything on it.
    pub(crate) async fn stop(self, context: &mut Context<'_>) -> Result<(), Failure> {
        match self.server {
            Some(server) => super::stop(server, context).await,
            None => Ok(()),
        }
    }

    /// Explores a case in a database of its own.
    async fn explore(
        &mut self,
        script: Arc<Script>,
        case: &ScriptCase,
        options: &Options,
        pairs: &[Overlap],
    ) -> Result<Explored, CaseFailure> {
        match case.backend {
            Backend::Postgres => {
                let mut world = self.postgres(script.clone(), case).await?;
                let mut explored = explore(&mut world, &script, case, options).await.map_err(CaseFailure::Lost)?;
                if options.all || !explored.has_found(case) {
                    let overlaps = overlap(&mut world, &script, case, pairs, options).await;
                    explored.overlaps = overlaps.map_err(CaseFailure::Lost)?;
                }
                Ok(explored)
            }
            // Nothing runs beside a writer there.
            Backend::Sqlite => {
                let mut world = self.sqlite(script.clone(), case).await?;
                explore(&mut world, &script, case, options).await.map_err(CaseFailure::Lost)
            }
        }
    }

    pub(crate) async fn postgres(&mut self, script: Arc<Script>, case: &ScriptCase) -> Result<PgWorld, CaseFailure> {
        let config = self.postgres_config().await?;
        PgWorld::new(&config, script, case.clone()).await.map_err(CaseFailure::Lost)
    }

    /// Makes a database, and says how to connect to it.
    pub(crate) async fn postgres_config(&mut self) -> Result<tokio_postgres::Config, CaseFailure> {
        let server = self.server.as_ref().expect("a case runs on a backend that was started");
        self.made += 1;
        let database = server.create_database(&format!("explore_{}", self.made), None).await;
        let database = database.map_err(CaseFailure::Provision)?;
        config(server, &database).map_err(CaseFailure::Target)
    }

    pub(crate) async fn sqlite(&mut self, script: Arc<Script>, case: &ScriptCase) -> Result<SqliteWorld, CaseFailure> {
        let (options, keep) = self.sqlite_options().await?;
        SqliteWorld::new(options, &keep, script, case.clone()).await.map_err(CaseFailure::Lost)
    }

    /// Makes a file, and one that keeps the rows of its beginning.
    pub(crate) async fn sqlite_options(&mut self) -> Result<(SqliteConnectOptions, String), CaseFailure> {
        let files = self.files.as_ref().expect("a case runs on a backend that was started");
        self.made += 1;
        let made = self.made;
        let create = async |what: &str| files.create_database(&format!("{what}_{made}"), None).await;
        let (database, keep) = (create("explore").await, create("start").await);
        let (database, keep) = database.and_then(|database| Ok((database, keep?))).map_err(CaseFailure::Provision)?;
        Ok((files.connect_options(&database), keep.path().display().to_string()))
    }
}

/// The row of a case; its violations are shown, and written as schedules.
fn row(
    args: &Args,
    source: &Source,
    case: &ScriptCase,
    explored: &Explored,
    directory: &RunDirectory,
    context: &mut Context<'_>,
) -> Result<ExploreRow, Failure> {
    let (script, actors) = (&source.script, source.script.actors.len());
    let (verdict, evidence) = explored.verdict(case, actors);
    let (name, met) = (name_of(script, case), explored.is_met(case, actors));
    let mut replay = format!(
        "driftlock explore {} --filter {name} --backend {}{}",
        quoted(&source.file),
        case.backend,
        repeated(args)
    );
    for found in &explored.found {
        let slug = format!("{}-{}-{}", script.name, case.name, found.check);
        let exported = args.export_spec.then(|| export(script, case, &found.execution));
        let schedule = Schedule::new(&source.file, script, case, found).text();
        let path = directory.schedule(&slug, "json", &schedule).map_err(unwritable)?;
        match exported {
            None => {}
            Some(Ok(text)) => drop(directory.schedule(&slug, "spec", &text).map_err(unwritable)?),
            Some(Err(why)) => writeln!(context.err, "{name}: {} cannot be exported: {why}", found.check)?,
        }
        if Some(found.check.as_str()) == case.violates.as_deref() || case.violates.is_none() {
            replay = format!("driftlock replay {}", quoted(&path.display().to_string()));
        }
        if args.format == Format::Text && (!met || args.filter.is_some() || args.all || !args.files.is_empty()) {
            writeln!(context.out, "{name} on {}: violation of {}", case.backend, found.check)?;
            explored::counterexample(script, case, found, context.out)?;
            writeln!(context.out, "  replay: {replay}\n")?;
        }
    }
    for together in explored.overlaps.iter().flat_map(|of| &of.found) {
        if args.format == Format::Text && (!met || args.filter.is_some() || args.all || !args.files.is_empty()) {
            writeln!(context.out, "{name} on {}: violation of {}", case.backend, together.found.check)?;
            explored::together(script, case, together, context.out)?;
            writeln!(context.out, "  once more, by chance: {replay}\n")?;
        }
    }
    let found = explored.found.iter().chain(explored.overlaps.iter().flat_map(|of| &of.found).map(|of| &of.found));
    let seconds = explored.took.max(Duration::from_micros(1)).as_secs_f64();
    let searched = &explored.searched;
    Ok(ExploreRow {
        name,
        backend: case.backend,
        strategy: args.strategy.to_string(),
        verdict,
        expected: ExpectedRow {
            verdict: if case.violates.is_some() { Word::Violation } else { Word::Pass },
            check: case.violates.clone(),
        },
        met,
        evidence,
        checks: found
            .map(|found| ViolatedRow {
                name: found.check.clone(),
                verdict: Word::Violation,
                why: found.sentence.clone(),
            })
            .collect(),
        executions: searched.executions,
        abandoned: searched.abandoned,
        orders: explored.orders,
        executions_per_second: (searched.executions + searched.abandoned) as f64 / seconds,
        outcomes: explored.outcomes.clone(),
        duration_ms: u64::try_from(explored.took.as_millis()).unwrap_or(u64::MAX),
        overlaps: explored
            .overlaps
            .iter()
            .map(|of| OverlapRow {
                steps: of.names.clone(),
                tries: of.tries,
                together: of.together,
                in_flight: of.in_flight,
                violations: of.found.iter().map(|found| TogetherRow::new(script, case, found)).collect(),
            })
            .collect(),
        replay,
    })
}

/// The arguments that matter to a case.
fn repeated(args: &Args) -> String {
    let mut text = String::new();
    if args.strategy != Strategy::Exhaustive {
        text.push_str(&format!(" --strategy {} --seed {}", args.strategy, args.seed));
    }
    for pair in &args.overlap {
        text.push_str(&format!(" --overlap {}", quoted(pair)));
    }
    if let Some(tries) = args.overlap_tries {
        text.push_str(&format!(" --overlap-tries {tries}"));
    }
    if let Some(limit) = args.budget {
        text.push_str(&format!(" --budget {limit}"));
    }
    text
}
