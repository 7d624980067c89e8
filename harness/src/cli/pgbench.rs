//! `driftlock beside-pgbench`: the lock script through pgbench and through our own generator, in turns.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use comfy_table::{CellAlignment, LineStyle, Table, presets};
use tokio_postgres::Config;

use super::capacity::parse_time;
use super::capacity::{lost, undriven};
use super::common::run_name;
use super::provisioning::PostgresArgs;
use super::{Context, Failure};
use crate::capacity::alarm::Alarm;
use crate::capacity::bed::fill;
use crate::capacity::drive::{drive, threads};
use crate::capacity::load::{Arrivals, KeyChoice, Load};
use crate::capacity::lock_script::{LockScript, PGBENCH};
use crate::capacity::pgbench::{self, PgbenchError, Side, Size, median};
use crate::clock::Clock;
use crate::database::postgres::PgDatabase;
use crate::exit::Exit;
use crate::isolation::config;
use crate::provision::{Profile, RunName, Server, binary_directories};

/// Runs BEGIN; SELECT … FOR UPDATE; INSERT; COMMIT through pgbench (-M prepared) and through
/// driftlock's generator with full recording, with the same number of threads and in turns on one server, and prints
/// both beside each other
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The numbers of clients
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32,64", value_parser = clap::value_parser!(u32).range(1..=128))]
    pub clients: Vec<u32>,
    /// The numbers of rows
    #[arg(long, value_delimiter = ',', default_value = "1,100", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rows: Vec<u32>,
    /// How long each turn takes; whole seconds
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "3s")]
    pub duration: Duration,
    /// How often both take turns
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100), default_value_t = 2)]
    pub rounds: u32,
    /// The pgbench to run; default: the one beside the server's binaries, or in PATH
    #[arg(long, value_name = "FILE")]
    pub pgbench: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub postgres: PostgresArgs,
}

impl From<PgbenchError> for Failure {
    fn from(error: PgbenchError) -> Self {
        Self::environment(miette::Report::from_err(error))
    }
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let options = args.postgres.start_options(Profile::Durable);
    let name = RunName::new(&run_name("pgbench"))?;
    let server = Server::start(&options, &name, &context.cancel).await?;
    let cancel = context.cancel.clone();
    let ran = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Failure::interrupted()),
        ran = measure(&args, &server, context) => ran,
    };
    server.stop().await?;
    ran.map(|()| Exit::Met)
}

async fn measure(args: &Args, server: &Server, context: &mut Context<'_>) -> Result<(), Failure> {
    let program = args.pgbench.clone().unwrap_or_else(|| found(args));
    let script = tempfile::NamedTempFile::new()?;
    std::fs::write(script.path(), PGBENCH)?;
    let clock = Clock::start();
    let alarm = Arc::new(Alarm::start(clock.clone())?);
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    let head = ["rows", "clients", "pgbench/s", "driftlock/s", "ratio", "pgbench µs", "driftlock µs", "CPU ratio"];
    table.set_header(head);
    for rows in &args.rows {
        for clients in &args.clients {
            writeln!(context.err, "{rows} rows, {clients} clients")?;
            let made = server.create_database(&format!("r{rows}_c{clients}"), None).await?;
            let database = PgDatabase::new(server.connect_options(&made), None);
            fill(&database, *rows).await.map_err(lost)?;
            if database.options().get_socket().is_none() {
                return Err(Failure::usage(miette::miette!(
                    "this needs a throw-away PostgreSQL on this machine: --postgres local"
                )));
            }
            let config = config(server, &made)?;
            let (mut theirs, mut ours) = (Vec::new(), Vec::new());
            for round in 0..args.rounds {
                // A B B A: what drifts with time hits both alike.
                for turn in [round % 2 == 0, round % 2 != 0] {
                    let load = load(*clients, *rows, args.duration, round);
                    if turn {
                        let threads = threads(&load);
                        let size = Size { clients: *clients, threads, rows: *rows, duration: load.duration };
                        theirs.push(pgbench::run(&program, script.path(), database.options(), size).await?);
                    } else {
                        ours.push(our_turn(&config, &load, &clock, &alarm, context).await?);
                    }
                }
            }
            server.drop_database(made).await?;
            table.add_row(row(*rows, *clients, &theirs, &ours));
        }
    }
    table.column_iter_mut().for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
    writeln!(context.out, "{table}")?;
    writeln!(
        context.out,
        "µs: the client's processor time a transaction. Medians of {} turns of {:?}",
        args.rounds, args.duration
    )?;
    let program = if cfg!(debug_assertions) { ", debug build: its processor time means nothing" } else { "" };
    writeln!(context.out, "postgres {}, profile {}{program}", server.version(), server.settings().profile())?;
    Ok(())
}

fn load(clients: u32, rows: u32, duration: Duration, round: u32) -> Load {
    Load {
        arrivals: Arrivals::Closed,
        workers: clients,
        pool: None,
        keys: if rows == 1 { KeyChoice::One } else { KeyChoice::Uniform },
        key_count: rows,
        round_trip_added: Duration::ZERO,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(duration.as_secs().max(1)),
        drain: Duration::ZERO,
        seed: u64::from(round),
    }
}

async fn our_turn(
    config: &Config,
    load: &Load,
    clock: &Clock,
    alarm: &Arc<Alarm>,
    context: &Context<'_>,
) -> Result<Side, Failure> {
    let (round_trip_added, clock_of, alarm_of) = (Duration::ZERO, clock.clone(), alarm.clone());
    let script = LockScript { config: config.clone(), round_trip_added, clock: clock_of, alarm: alarm_of };
    let driven = drive(Arc::new(script), load, clock, alarm, &context.cancel).await.map_err(undriven)?;
    let tasks = driven.recording.tasks();
    if tasks == 0 || driven.recording.failed > 0 {
        return Err(Failure::environment(miette::miette!("{} of {tasks} tasks failed", driven.recording.failed)));
    }
    let per_second = driven.recording.throughput();
    Ok(Side { per_second, cpu_micros: driven.generator.cpu_seconds * 1e6 / tasks as f64 })
}

fn row(rows: u32, clients: u32, theirs: &[Side], ours: &[Side]) -> [String; 8] {
    let of = |sides: &[Side], what: fn(&Side) -> f64| median(sides.iter().map(what).collect());
    let rate = [theirs, ours].map(|sides| of(sides, |side| side.per_second));
    let cpu = [theirs, ours].map(|sides| of(sides, |side| side.cpu_micros));
    [
        rows.to_string(),
        clients.to_string(),
        format!("{:.0}", rate[0]),
        format!("{:.0}", rate[1]),
        format!("{:.2}", rate[1] / rate[0]),
        format!("{:.0}", cpu[0]),
        format!("{:.0}", cpu[1]),
        format!("{:.2}", cpu[1] / cpu[0]),
    ]
}

/// The pgbench beside the server's binaries; without one there the one in PATH.
fn found(args: &Args) -> PathBuf {
    let (usable, _) = binary_directories(args.postgres.bin());
    let beside = usable.iter().map(|binaries| binaries.directory.join("pgbench")).find(|program| program.is_file());
    beside.unwrap_or_else(|| PathBuf::from("pgbench"))
}
