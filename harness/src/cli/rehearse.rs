//! `driftlock rehearse`: migrations under verified traffic.

mod again;
mod held;
mod pending;
mod release;
mod shown;
mod sqlite;

use std::path::PathBuf;
use std::sync::Arc;

use drift_engine::lock::Backend;

use super::common::{Format, parse_backend, print, run_name, verdict_exit};
use super::output;
use super::page::PageArgs;
use super::provisioning::PostgresArgs;
use super::{Context, Failure};
use crate::exit::Exit;
use crate::outcome::BackendUsed;
use crate::provision::{Journal, Profile, RunName, Server, sqlite_version};
use crate::rehearse::application::Application;
use crate::rehearse::case::{Beside, Case, Commands};
use crate::rehearse::companion::Companion;
use crate::rehearse::dump::Dump;
use crate::rehearse::finding::Kind;
use crate::rehearse::migrations::Version;
use crate::rehearse::migrations::layout::Layout;
use crate::rehearse::rehearsal::{Options, Targets, Workload};
use crate::rehearse::settings::EVENTS_MAX;
use crate::rehearse::subject::{Subject, SubjectError};
use crate::report::html;
use crate::report::rehearsed::{self, RehearseReport, layout};
use crate::scenario::script::Script;
use pending::Pending;

/// Rehearses migrations on a throw-away database under verified traffic, before the deploy
///
/// The directories hold migrations as a tool wants them: Prisma, diesel, Hasura, drizzle, goose, dbmate, tern,
/// node-pg-migrate, Flyway, refinery, yoyo, pop, golang-migrate, sqlx, or plain ordered SQL files. Which it is, is
/// recognised and said, with every file that is not taken; --layout says it instead. A file rehearse.toml beside
/// them may say what they are rehearsed on and what is expected. Without any, driftlock's own migrations and the
/// broken twins that are built in, each of which must be found out.
///
/// Each file is applied statement by statement, with its locks, its waits, and the operations that it
/// blocked; then everything is undone, and applied again. The traffic is that of driftlock's own job: it needs
/// its tables, from the directory itself or from base-version in rehearse.toml. --traffic none does without,
/// and says that nothing was blocked because nobody was there.
///
/// --backend sqlite rehearses them on a SQLite file, in WAL and in rollback-journal mode.
///
/// Exit codes: 0 within the budget, or as expected; 1 a finding, or an expected one that did not appear;
/// 2 the files cannot be read; 3 no answer; 4 no database; 130 interrupted.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Directories of migrations
    #[arg(value_name = "DIR")]
    pub directories: Vec<PathBuf>,

    /// Whose layout the directories have, where it is not to be recognised: prisma, hasura, diesel, drizzle, goose, dbmate,
    /// tern, node-pg-migrate, refinery, flyway, yoyo, pop, golang-migrate, sqlx, named (files by name), plain (by number)
    #[arg(long, value_parser = Layout::named, value_name = "NAME", conflicts_with = "runner")]
    pub layout: Option<&'static Layout>,

    /// What the directories are written for (without it their rehearse.toml says so, or else postgres); of what is
    /// built in, only that
    #[arg(long, value_parser = parse_backend)]
    pub backend: Option<Backend>,

    /// How a SQLite file keeps what is unfinished. Default: both are rehearsed
    #[arg(long, value_parser = parse_journal, value_name = "wal|rollback")]
    pub journal: Option<Journal>,

    /// The version to begin at, 0 for none of the files. Default: the one before the last
    #[arg(long, value_name = "N", value_parser = Version::parse)]
    pub from: Option<Version>,

    /// The version to go to. Default: the last
    #[arg(long, value_name = "M", value_parser = Version::parse)]
    pub to: Option<Version>,

    /// Rehearse what has changed since HEAD left this branch or commit, committed or not: the migrations whose files git
    /// names. Earlier ones are there already; where none has changed, there is nothing to rehearse, and the exit code is 0
    #[arg(long, value_name = "BASE", conflicts_with_all = ["from", "to", "runner"])]
    pub changed: Option<String>,

    /// Also rehearse beside this companion; may be given several times
    #[arg(long, value_enum)]
    pub companion: Vec<Companion>,

    /// Also rehearse beside every companion that there can be, one at a time
    #[arg(long)]
    pub adversarial: bool,

    /// A shell command that migrates, instead of us. It finds DATABASE_URL in its environment, DRIFTLOCK_DIRECTION
    /// (up), and in DRIFTLOCK_TO the version to go to (0: the last). With --from it is called once before the
    /// traffic begins, to go there. Of DIR only rehearse.toml is read
    #[arg(long, value_name = "COMMAND")]
    pub runner: Option<String>,

    /// Who applies the files: we, statement by statement, or sqlx's own migrator as runner, with its advisory lock
    /// and its transactions; then a finding has a file, and no statement
    #[arg(long, value_enum, default_value = "statements", conflicts_with = "runner")]
    pub fidelity: Fidelity,

    /// A shell command that undoes what the runner did; DRIFTLOCK_TO is the version to go back to
    #[arg(long, value_name = "COMMAND", requires = "runner")]
    pub runner_down: Option<String>,

    /// Also cut each statement of each file off (cancel, end of the session, lock_timeout, death of the migrating
    /// process; on SQLite interrupt, busy timeout, death), run it again, and compare the schema with that of a clean run
    #[arg(long, conflicts_with = "runner")]
    pub failures: bool,

    /// Which code is deployed. Default: the newest that fits the schema at the start
    #[arg(long, value_parser = parse_application, value_name = "plain|on-conflict")]
    pub application: Option<Application>,

    /// Whose operations go on meanwhile: those of driftlock's own job, none, or the actors of a script (as for
    /// explore), over and over; its set-up is run before them, its invariants are asked at the end
    #[arg(long, value_name = "engine|none|FILE", default_value = "engine", value_parser = parse_traffic)]
    pub traffic: TrafficChoice,

    /// The application that is deployed from a version of the schema on, to see on which of the versions it works; to
    /// be given several times. SCENARIO is a script's file (as for --traffic), plain, or on-conflict. A finding is
    /// where the application of the version before does not work on a version. Without any, driftlock's own are tried
    /// on driftlock's own migrations. Unless --traffic says otherwise, the one of the version to begin at is the traffic
    #[arg(long, value_parser = release::parse, value_name = "VERSION=SCENARIO", conflicts_with = "runner")]
    pub app: Vec<release::ReleaseChoice>,

    /// Also measure the WAL that each file writes, in a database of its own without traffic (on SQLite the log's
    /// greatest size is told in any case)
    #[arg(long, conflicts_with = "runner")]
    pub wal: bool,

    /// The major version of the server that the migrations are meant for: another one is noted
    #[arg(long, value_name = "N")]
    pub target_version: Option<u32>,

    /// How many workers recompute. Default: 6 on PostgreSQL, 4 on SQLite, where all writers share one lock
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: Option<u32>,

    /// A plain dump (pg_dump --no-owner) or an SQL file, instead of data of our own. With its tables it is the database
    /// at the version to begin at, and no earlier migration is applied; without them it is loaded at that version
    #[arg(long, value_name = "FILE", conflicts_with_all = ["runner", "events"])]
    pub data: Option<PathBuf>,

    /// How many events there are before the traffic begins
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(EVENTS_MAX)))]
    pub events: Option<u32>,

    /// How many rows a table has where the migrations are deployed; to be given several times. What grows with the table
    /// is then judged by what was measured here, in proportion, and not for growing at all
    #[arg(long, value_parser = parse_rows, value_name = "TABLE=N")]
    pub rows: Vec<(String, u64)>,

    /// How long a read may be blocked, in milliseconds; the default is printed with the result
    #[arg(long, value_name = "MS")]
    pub read_block: Option<u64>,

    /// How long a write may be blocked, in milliseconds
    #[arg(long, value_name = "MS")]
    pub write_block: Option<u64>,

    /// How long ACCESS EXCLUSIVE may be held, in milliseconds
    #[arg(long, value_name = "MS")]
    pub access_exclusive: Option<u64>,

    /// A SQLSTATE that the application may see; may be given several times
    #[arg(long, value_name = "SQLSTATE")]
    pub allow_error: Vec<String>,

    /// Only directories whose name contains this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub filter: Vec<String>,

    /// Print what would be rehearsed, and stop
    #[arg(long)]
    pub list: bool,

    /// The root of everything random
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub page: PageArgs,

    /// How the result is written to standard output
    #[arg(long, default_value = "text")]
    pub format: Format,

    /// The directory for the report (JSON, JUnit, Markdown, SARIF) and the histories. Default: one of its own
    /// in target/driftlock
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub postgres: PostgresArgs,
}

/// Who applies the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fidelity {
    /// We do, statement by statement.
    Statements,
    /// sqlx's own migrator does.
    Runner,
}

/// Whose operations go on while the migrations run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrafficChoice {
    /// Driftlock's own job, writers of claims and readers of events.
    Engine,
    /// Nobody's.
    None,
    /// Those of a script.
    Script(PathBuf),
}

fn parse_traffic(text: &str) -> Result<TrafficChoice, String> {
    Ok(match text {
        "engine" => TrafficChoice::Engine,
        "none" => TrafficChoice::None,
        "" => return Err("the traffic is engine, none, or a script's file".to_owned()),
        file => TrafficChoice::Script(file.into()),
    })
}

impl Args {
    fn wants(&self, name: &str, names: &[String]) -> bool {
        let means = |text: &String| match names.contains(text) {
            true => name == text,
            false => name.contains(text.as_str()),
        };
        self.filter.is_empty() || self.filter.iter().any(means)
    }
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let Pending { subjects, unchanged } = pending::subjects(&args).await?;
    let cases = cases(&args, subjects)?;
    if cases.is_empty() && !unchanged.is_empty() {
        return pending::nothing(&args, unchanged, context);
    }
    let data = args
        .data
        .as_deref()
        .map(Dump::look)
        .transpose()
        .map_err(|error| Failure::usage(miette::Report::from_err(error)))?;
    let options = options(&args)?;
    if args.list {
        for one in &unchanged {
            writeln!(context.out, "{}: {}", one.name, one.reason)?;
        }
        for case in &cases {
            let (from, to) = case.subject.range().map_err(refused)?;
            let (name, beside) = (&case.subject.name, case.beside());
            writeln!(context.out, "{name} {beside}: {from} to {to}, {}", expectation(case))?;
            if let Some(found) = layout::row(&case.subject.migrations) {
                layout::write(&found, &mut *context.out)?;
            }
        }
        return Ok(Exit::Met);
    }
    let run = run_name("rehearse");
    let directory = output::directory(args.output.as_ref(), &run, context)?;
    let mut start = args.postgres.start_options(Profile::Durable);
    // A runner is another process, and must be able to connect.
    start.tcp = args.runner.is_some();
    let (mut backends, mut server) = (Vec::new(), None);
    if cases.iter().any(|case| case.subject.settings.backend() == Backend::Postgres) {
        let started = Server::start(&start, &RunName::new(&run)?, &context.cancel).await?;
        backends.push(BackendUsed {
            name: "postgres".to_owned(),
            version: started.version().to_owned(),
            provisioned: started.way().to_string(),
        });
        server = Some(started);
    }
    if cases.iter().any(|case| case.subject.settings.backend() == Backend::Sqlite) {
        let (version, provisioned) = (sqlite_version().await?, "built in".to_owned());
        backends.push(BackendUsed { name: "sqlite".to_owned(), version, provisioned });
    }
    let profile = server.as_ref().map_or(Profile::Durable, |server| server.settings().profile());
    let mut report = RehearseReport::new("rehearse", Some(args.seed), profile.as_str());
    (report.backends, report.planned, report.not_applicable) = (backends, cases.len(), unchanged);
    let targets = Targets::new(server.as_ref(), data, args.seed);
    // Before any of them is held.
    let ended = match cases.iter().find_map(|case| targets.refuses(case, &options)).map(powerful) {
        None => held::all(&args, &cases, (targets, &options), &directory, &mut report, context).await,
        Some(refused) => Err(refused),
    };
    if let Some(Err(error)) = match server {
        Some(server) => Some(server.stop().await),
        None => None,
    } {
        writeln!(context.err, "warning: {error}")?;
    }
    report.conclude();
    if !report.results.is_empty() {
        directory.rehearsed(&report).map_err(unwritable)?;
    }
    let exit = ended?;
    args.page.write(directory.path(), context, || html::of_rehearsed(&report))?;
    print(&report, args.format, rehearsed::write, context)?;
    writeln!(context.err, "written to {}", directory.path().display())?;
    Ok(exit.worst(verdict_exit(report.verdict)))
}

/// The rehearsals that the arguments ask for.
fn cases(args: &Args, subjects: Vec<(Subject, Vec<String>)>) -> Result<Vec<Case>, Failure> {
    let is_any = !subjects.is_empty();
    let companions = args.companion.iter().copied().collect();
    let beside = Beside { companions, everybody: args.adversarial, failures: args.failures };
    let mut cases = Vec::new();
    for (mut subject, notes) in subjects {
        let settings = &mut subject.settings;
        if args.directories.is_empty() && args.backend.is_some_and(|wanted| wanted != settings.backend()) {
            continue;
        }
        settings.backend = args.backend.or(settings.backend);
        settings.journal = args.journal.or(settings.journal);
        settings.from = args.from.clone().or(settings.from.take());
        settings.to = args.to.clone().or(settings.to.take());
        settings.application = args.application.or(settings.application);
        settings.events = args.events.or(settings.events);
        let budget = &mut settings.budget;
        budget.read_block_ms = args.read_block.unwrap_or(budget.read_block_ms);
        budget.write_block_ms = args.write_block.unwrap_or(budget.write_block_ms);
        budget.access_exclusive_ms = args.access_exclusive.unwrap_or(budget.access_exclusive_ms);
        budget.errors.extend(args.allow_error.iter().cloned());
        budget.rows.extend(args.rows.iter().cloned());
        subject.range().map_err(refused)?;
        release::check(args, &subject)?;
        let other = subject.migrations.origin.as_ref().map(|origin| origin.layout).filter(|one| one.name != "sqlx");
        if let Some(other) = other.filter(|_| args.fidelity == Fidelity::Runner) {
            return Err(Failure::usage(miette::miette!(
                help = "Give the command of the tool itself: --runner COMMAND",
                "--fidelity runner is sqlx's own migrator, and {} holds {}'s migrations",
                subject.path,
                other.tool
            )));
        }
        if subject.settings.backend() == Backend::Sqlite {
            sqlite::check(args, &subject)?;
        }
        let commands = args.runner.as_ref().map(|up| Commands::new(&subject.path, up, args.runner_down.as_deref()));
        cases.extend(Case::all(&subject, &beside, commands.as_ref(), &notes));
    }
    if cases.is_empty() && is_any {
        return Err(pending::filtered());
    }
    Ok(cases)
}

/// How each of them is rehearsed.
fn options(args: &Args) -> Result<Options, Failure> {
    Ok(Options {
        releases: release::load(args)?,
        traffic: match &args.traffic {
            TrafficChoice::Script(path) => Workload::Script(Arc::new(Script::load(path).map_err(Failure::usage)?)),
            TrafficChoice::Engine => Workload::Engine,
            TrafficChoice::None => Workload::None,
        },
        workers: args.workers,
        seed: args.seed,
        stock: args.fidelity == Fidelity::Runner,
        wal: args.wal,
        target_version: args.target_version,
    })
}

fn expectation(case: &Case) -> String {
    let kinds: Vec<&str> = case.expected().iter().filter(|one| !one.may).map(|one| Kind::as_str(one.finding)).collect();
    if kinds.is_empty() { "within the budget".to_owned() } else { kinds.join(", ") }
}

fn refused(error: SubjectError) -> Failure {
    Failure::usage(miette::Report::from_err(error))
}

/// Why migrations are not run as a role.
pub(super) fn powerful(role: &str) -> Failure {
    Failure::usage(miette::miette!(
        help = "Give a URL whose role has neither SUPERUSER nor CREATEROLE, or let driftlock start a server: --postgres local",
        "migrations are not run as {role}, who can reach other databases of the given server"
    ))
}

fn unwritable(error: crate::report::directory::WriteError) -> Failure {
    Failure::environment(miette::Report::from_err(error))
}

fn parse_rows(text: &str) -> Result<(String, u64), String> {
    let wrong = || "give TABLE=N: a table, and how many rows it has, such as orders=5000000".to_owned();
    let (table, rows) = text.rsplit_once('=').filter(|(table, _)| !table.is_empty()).ok_or_else(wrong)?;
    let rows = rows.replace('_', "").parse().map_err(|_| wrong())?;
    Ok((table.to_owned(), rows))
}

fn parse_journal(text: &str) -> Result<Journal, String> {
    let known = Journal::ALL.into_iter().find(|journal| journal.as_str() == text);
    known.ok_or_else(|| "the journals are wal and rollback".to_owned())
}

fn parse_application(text: &str) -> Result<Application, String> {
    let known = [Application::Plain, Application::OnConflict].into_iter().find(|one| one.as_str() == text);
    known.ok_or_else(|| "the applications are plain and on-conflict".to_owned())
}
