//! `driftlock recompute`: the job itself, once for each customer of a file, in a database that is
//! thrown away afterwards.

mod customers;
mod output;

use std::future::Future;
use std::path::PathBuf;

use drift_engine::lock::{Backend, LockStrategy};
use drift_engine::migrate;
use drift_engine::op::{Op, Reply};
use drift_engine::policy::{Policy, PolicyError, Windows};
use drift_engine::postgres::PgSession;
use drift_engine::protocol::{self, Retry, Task};
use drift_engine::run::{Identity, RunChoice, RunId, Status};
use drift_engine::session::{Session, SessionId};
use drift_engine::sqlite::SqliteSession;
use indicatif::ProgressBar;
use jiff::civil::Date;
use miette::miette;
use sqlx::{ConnectOptions, Connection};
use tokio_util::sync::CancellationToken;

use super::common::{Format, parse_backend};
use super::provisioning::PostgresArgs;
use super::verify::parse_strategy;
use super::{Context, Failure};
use crate::exit::Exit;
use crate::load::reader::Rows;
use crate::load::row::parse_date;
use crate::load::{self, LoadError, Loaded};
use crate::provision::{Journal, Profile, ProvisionError, RunName, Server, SqliteFiles};
use output::Outcome;

/// The arguments of `recompute`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The claims: CSV with the header customer,payer,cpt_group,outcome,submitted_on,decided_on
    #[arg(long, value_name = "FILE")]
    claims: PathBuf,
    /// The day after the last one of the current window (YYYY-MM-DD)
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    as_of: Date,
    /// Recompute this customer only
    #[arg(long, value_name = "NAME")]
    customer: Option<String>,
    /// The number of claims that both windows must hold
    #[arg(long, value_name = "N", default_value_t = Policy::default().min_volume())]
    min_volume: u32,
    /// The length of the baseline window, in days
    #[arg(long, value_name = "N", default_value_t = Policy::default().baseline_days())]
    baseline_days: u32,
    /// The length of the current window, in days
    #[arg(long, value_name = "N", default_value_t = Policy::default().current_days())]
    current_days: u32,
    /// The name of the run, when one customer is recomputed
    #[arg(long, value_name = "ID", value_parser = RunId::new)]
    run_id: Option<RunId>,
    /// The database to do it in
    #[arg(long, default_value_t = Backend::Sqlite, value_parser = parse_backend)]
    backend: Backend,
    /// How one customer's tasks are kept apart [default: the backend's]
    #[arg(long, value_parser = parse_strategy)]
    strategy: Option<LockStrategy>,
    #[command(flatten)]
    pub(super) postgres: PostgresArgs,
    /// How the runs are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Loads the claims, recomputes, prints the runs.
///
/// # Errors
/// The arguments or the file make no sense, or no database could be had.
pub async fn run(args: Args, ctx: &mut Context<'_>) -> Result<Exit, Failure> {
    let job = Job::new(args)?;
    let progress = Progress::new();
    let done = job.carry_out(&ctx.cancel, &progress).await;
    progress.bar.finish_and_clear();
    let Done { outcomes, warnings } = done?;
    for warning in warnings {
        let _ = writeln!(ctx.err, "warning: {warning}");
    }
    let printed = match job.format {
        Format::Json => output::json(ctx.out, &outcomes, &job.windows),
        Format::Text => output::text(ctx.out, &outcomes, &job.windows, &job.policy),
    };
    match printed.and_then(|()| ctx.out.flush()) {
        Err(error) => Err(Failure::environment(miette!("failed to print the runs: {error}"))),
        Ok(()) => Ok(Exit::Met),
    }
}

/// Everything that was asked for, checked.
struct Job {
    claims: PathBuf,
    customer: Option<String>,
    as_of: Date,
    policy: Policy,
    windows: Windows,
    run: RunChoice,
    strategy: LockStrategy,
    postgres: PostgresArgs,
    format: Format,
}

struct Done {
    outcomes: Vec<Outcome>,
    warnings: Vec<String>,
}

impl Job {
    fn new(args: Args) -> Result<Self, Failure> {
        let policy = Policy::new(args.baseline_days, args.current_days, args.min_volume).map_err(senseless)?;
        let windows = policy.windows(args.as_of).map_err(senseless)?;
        if windows.baseline_start.year() < 1 {
            // SQLite's dates are texts and PostgreSQL has no year 0.
            return Err(senseless(PolicyError::Calendar { as_of: args.as_of }));
        }
        let strategy = args.strategy.unwrap_or(args.backend.default_strategy());
        if strategy.backend() != args.backend {
            let of_backend = LockStrategy::ALL.into_iter().filter(|s| s.backend() == args.backend);
            let names: Vec<_> = of_backend.map(LockStrategy::as_str).collect();
            return Err(Failure::usage(miette!(
                help =
                    format!("use --backend {}, or one of its own strategies: {}", strategy.backend(), names.join(", ")),
                "the strategy {strategy} does not exist on {}",
                args.backend
            )));
        }
        Ok(Self {
            claims: args.claims,
            customer: args.customer,
            as_of: args.as_of,
            policy,
            windows,
            run: args.run_id.map_or(RunChoice::Shared, RunChoice::Named),
            strategy,
            postgres: args.postgres,
            format: args.format,
        })
    }

    async fn carry_out(&self, cancel: &CancellationToken, progress: &Progress) -> Result<Done, Failure> {
        progress.say(format!("reading {}", self.claims.display()));
        let mut rows = Rows::open(&self.claims).map_err(|error| refused("start a thread", &error))?;
        // A file that is wrong from its beginning should not cost the start of a server.
        unless(cancel, async { rows.ready().await.map_err(|error| unloaded(error.into())) }).await?;
        match self.strategy.backend() {
            Backend::Postgres => self.on_postgres(rows, cancel, progress).await,
            Backend::Sqlite => self.on_sqlite(rows, cancel, progress).await,
        }
    }

    async fn on_postgres(
        &self,
        mut rows: Rows,
        cancel: &CancellationToken,
        progress: &Progress,
    ) -> Result<Done, Failure> {
        progress.say("starting PostgreSQL".to_owned());
        let options = self.postgres.start_options(Profile::Fast);
        let run = RunName::new("recompute").map_err(unprovided)?;
        let server = Server::start(&options, &run, cancel).await.map_err(unprovided)?;
        let work = async {
            let database = server.create_database("main", None).await.map_err(unprovided)?;
            let connect = server.connect_options(&database).connect().await;
            let mut connection = connect.map_err(|error| refused("connect to PostgreSQL", &error))?;
            let migrated = migrate::postgres::apply(&mut connection, None, &migrate::Limits::default()).await;
            migrated.map_err(|error| refused("make the tables", &error))?;
            let loaded = load::postgres::load(&mut connection, &mut rows, |rows| progress.loaded(rows)).await;
            let loaded = loaded.map_err(unloaded)?;
            let open = PgSession::open(connection).await;
            let mut session = open.map_err(|error| refused("prepare the statements", &error))?;
            self.recompute(&mut session, &loaded, progress).await
        };
        let done = unless(cancel, work).await;
        let stopped = server.stop().await;
        let mut done = done?;
        done.warnings.extend(stopped.err().map(|error| error.to_string()));
        Ok(done)
    }

    async fn on_sqlite(
        &self,
        mut rows: Rows,
        cancel: &CancellationToken,
        progress: &Progress,
    ) -> Result<Done, Failure> {
        let files = SqliteFiles::create(Journal::default()).await.map_err(unprovided)?;
        let database = files.create_database("main", None).await.map_err(unprovided)?;
        let connect = files.connect_options(&database).connect().await;
        let mut connection = connect.map_err(|error| refused("open SQLite", &error))?;
        let load = async {
            let migrated = migrate::sqlite::apply(&mut connection, None, &migrate::Limits::default()).await;
            migrated.map_err(|error| refused("make the tables", &error))?;
            load::sqlite::load(&mut connection, &mut rows, |rows| progress.loaded(rows)).await.map_err(unloaded)
        };
        let loaded = unless(cancel, load).await;
        let mut session = SqliteSession::new(connection, SessionId(1));
        let done = match loaded {
            Ok(loaded) => unless(cancel, self.recompute(&mut session, &loaded, progress)).await,
            Err(failure) => Err(failure),
        };
        // Closed before its file goes, also when interrupted.
        let _ = session.into_inner().close().await;
        done
    }

    async fn recompute<S>(&self, session: &mut S, loaded: &Loaded, progress: &Progress) -> Result<Done, Failure>
    where
        S: Session<Op = Op, Reply = Reply>,
    {
        let named = matches!(self.run, RunChoice::Named(_));
        let chosen = customers::choose(&loaded.customers, self.customer.as_deref(), named, || self.claims.clone());
        let chosen = chosen.map_err(Failure::usage)?;
        let mut outcomes = Vec::with_capacity(chosen.len());
        for (customer, id) in chosen {
            progress.say(format!("recomputing customer {} of {}", outcomes.len() + 1, loaded.customers.len()));
            let identity = Identity { customer: id, as_of: self.as_of, policy: self.policy };
            let task = Task { identity, run: self.run.clone(), strategy: self.strategy, retry: Retry::seeded(0) };
            let recomputed = protocol::recompute(session, &task).await;
            let recomputed = recomputed.map_err(|error| refused(&format!("recompute {customer:?}"), &error))?;
            let read = session.call(Op::ReadEvents { run: recomputed.run.clone() }).await;
            let events = match read.map_err(|error| refused("read the events", &error))? {
                Reply::Events(events) => events,
                other => panic!("the session answered a read of events with {other:?}"),
            };
            outcomes.push(Outcome { run: recomputed.run, customer, status: Status::Succeeded, events });
        }
        let lookalike = loaded.summary.lookalike.as_ref().map(|(text, place, claims)| {
            format!(
                "{}:{place}: the outcome {text:?} is neither PAID nor DENIED and does not count \
                 (it is the first of {claims} that differ from them only in case or space)",
                self.claims.display()
            )
        });
        Ok(Done { outcomes, warnings: lookalike.into_iter().collect() })
    }
}

fn senseless(error: PolicyError) -> Failure {
    Failure::usage(miette!("{error}"))
}

fn unloaded(error: LoadError) -> Failure {
    let report = miette!("{error}");
    match error {
        LoadError::Read(_) => Failure::usage(report),
        LoadError::Database(_) => Failure::environment(report),
    }
}

fn unprovided(error: ProvisionError) -> Failure {
    match error {
        error if error.is_cancelled() => Failure::interrupted(),
        error if error.is_usage() => Failure::usage(error),
        error => Failure::environment(error),
    }
}

/// What the database said where nothing more is to be said about it.
fn refused(doing: &str, error: &dyn std::error::Error) -> Failure {
    Failure::environment(miette!("failed to {doing}: {error}"))
}

/// Does the work, unless it is cancelled first: then the work is dropped where it stands.
async fn unless<T>(cancel: &CancellationToken, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Failure::interrupted()),
        done = work => done,
    }
}

/// A line on standard error that says what is being done, if that is a terminal.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new() -> Self {
        Self { bar: ProgressBar::new_spinner() }
    }

    fn say(&self, what: String) {
        self.bar.set_message(what);
        self.bar.tick();
    }

    fn loaded(&self, rows: u64) {
        self.say(format!("loaded {rows} claims"));
    }
}
