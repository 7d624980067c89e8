//! The command line: one file a command, each with its arguments and a `run`.

pub mod bench;
pub mod capacity;
pub mod common;
pub mod compare;
pub mod completions;
pub mod doctor;
pub mod explore;
mod help;
mod hosts;
pub mod init;
pub mod merge;
pub mod mutate;
mod obtain;
mod output;
pub mod page;
pub mod pgbench;
mod pipe;
pub mod plan;
pub mod postgres;
mod progress;
pub mod provisioning;
pub mod recompute;
pub mod record;
pub mod rehearse;
pub mod repair;
pub mod replay;
pub mod report;
pub mod run;
mod varied;
pub mod verify;

use std::io::Write;
use std::pin::Pin;

use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use self::provisioning::PostgresArgs;
use self::run::versions::Ready;
use crate::exit::Exit;

/// Proves, by running it, that a database-backed job survives concurrency.
///
/// Exit codes: 0 all expectations met; 1 a violation, an expected violation that did not appear, or a
/// surviving mutant; 2 usage or scenario error; 3 inconclusive; 4 no database; 5 performance
/// regression; 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "driftlock", version, max_term_width = 100)]
#[command(help_template = help::TEMPLATE, after_help = help::COMMANDS)]
pub struct Cli {
    /// When colours are printed: auto is on a terminal, unless NO_COLOR is set
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "auto|always|never",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub color: Color,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// When colours are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Into files and pipes too.
    Always,
    /// Nowhere.
    Never,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    Run(run::Args),
    /// Attacks the recompute job with many concurrent tasks on real databases, and judges what happened; or
    /// runs the actors of your scripts and applications freely.
    Verify(verify::Args),
    /// Takes away what protects a script or an application of yours, or breaks the engine's protocol in every way there
    /// is, and sees that the checks notice.
    Mutate(mutate::Args),
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    Explore(explore::Args),
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    Replay(replay::Args),
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    Repair(repair::Args),
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    Record(record::Args),
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    Rehearse(Box<rehearse::Args>),
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    Init(init::Args),
    /// Puts a load on a real database whose commits reach the disk, and says where the time goes.
    Bench(bench::Args),
    /// Finds the largest rate that meets an objective, and says what bounds it.
    Plan(plan::Args),
    /// Compares runs of `bench`: is the new version slower?
    Compare(compare::Args),
    /// Adds up the runs of several load generators.
    Merge(merge::Args),
    /// Measures the load generator against pgbench.
    #[command(hide = true)]
    BesidePgbench(pgbench::Args),
    /// Recomputes the drift of a file's customers, and prints it.
    Recompute(recompute::Args),
    /// Shows which databases can be used here, and what each missing way would need.
    Doctor(doctor::Args),
    /// Prints the report of an earlier run again.
    Report(report::Args),
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    Postgres(postgres::Args),
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    Completions(completions::Args),
}

impl Cli {
    /// Carries out the command.
    ///
    /// # Errors
    /// It could not do its work; see [`Failure`].
    // A boxed future is compiled here, once; that of an async function would be, with all that it calls, in every program
    // and every test that awaits it.
    pub fn run<'a>(self, context: &'a mut Context<'_>) -> Pin<Box<dyn Future<Output = Result<Exit, Failure>> + 'a>> {
        Box::pin(self.carry_out(context))
    }

    async fn carry_out(self, context: &mut Context<'_>) -> Result<Exit, Failure> {
        // Whoever reads may leave before the end, and the answer stands.
        let (mut out, mut err) = (pipe::Leavable(&mut *context.out), pipe::Leavable(&mut *context.err));
        let context = &mut Context { out: &mut out, err: &mut err, cancel: context.cancel.clone() };
        let command = match run::versions::ready(self.command, context).await? {
            Ready::Run(command) => *command,
            Ready::Ended(exit) => return Ok(exit),
        };
        match command {
            Command::Run(args) => run::run(args, context).await,
            Command::Verify(args) => verify::run(args, context).await,
            Command::Mutate(args) => mutate::run(args, context).await,
            Command::Explore(args) => explore::run(args, context).await,
            Command::Replay(args) => replay::run(args, context).await,
            Command::Repair(args) => repair::run(args, context).await,
            Command::Record(args) => record::run(args, context).await,
            Command::Rehearse(args) => rehearse::run(*args, context).await,
            Command::Init(args) => init::run(&args, context).await,
            Command::Bench(args) => bench::run(args, context).await,
            Command::Plan(args) => plan::run(args, context).await,
            Command::Compare(args) => compare::run(args, context).await,
            Command::Merge(args) => merge::run(&args, context),
            Command::BesidePgbench(args) => pgbench::run(args, context).await,
            Command::Recompute(args) => recompute::run(args, context).await,
            Command::Doctor(args) => doctor::run(args, context).await,
            Command::Report(args) => report::run(&args, context),
            Command::Postgres(args) => postgres::run(args, context).await,
            Command::Completions(args) => completions::run(&args, context),
        }
    }
}

impl Command {
    /// Where it has PostgreSQL come from, if it has a say in that.
    fn postgres_mut(&mut self) -> Option<&mut PostgresArgs> {
        match self {
            Self::Verify(args) => Some(&mut args.suite.postgres),
            Self::Mutate(args) => Some(&mut args.suite.postgres),
            Self::Explore(args) => Some(&mut args.postgres),
            Self::Replay(args) => Some(&mut args.postgres),
            Self::Repair(args) => Some(&mut args.postgres),
            Self::Record(args) => Some(&mut args.postgres),
            Self::Rehearse(args) => Some(&mut args.postgres),
            Self::Init(args) => Some(&mut args.postgres),
            Self::Bench(args) => Some(&mut args.load.postgres),
            Self::Plan(args) => Some(&mut args.load.postgres),
            Self::BesidePgbench(args) => Some(&mut args.postgres),
            Self::Recompute(args) => Some(&mut args.postgres),
            Self::Doctor(args) => Some(&mut args.postgres),
            Self::Run(_)
            | Self::Compare(_)
            | Self::Merge(_)
            | Self::Report(_)
            | Self::Postgres(_)
            | Self::Completions(_) => None,
        }
    }
}

/// What a command gets from its surroundings.
pub struct Context<'a> {
    /// Where its data goes (standard output).
    pub out: &'a mut (dyn Write + Send),
    /// Where its diagnostics go (standard error).
    pub err: &'a mut (dyn Write + Send),
    /// Cancelled on Ctrl-C, SIGTERM and SIGHUP: stop, clean up, return.
    pub cancel: CancellationToken,
}

/// Why a command could not do its work: printed for a person on standard error.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened, where, and what to do.
    pub report: miette::Report,
}

impl Failure {
    /// The command line or an input file is wrong.
    pub fn usage(report: impl Into<miette::Report>) -> Self {
        Self { exit: Exit::Usage, report: report.into() }
    }

    /// The surroundings do not allow it: no database, no permission, a full disk.
    pub fn environment(report: impl Into<miette::Report>) -> Self {
        Self { exit: Exit::Environment, report: report.into() }
    }

    /// Somebody stopped it.
    pub fn interrupted() -> Self {
        Self { exit: Exit::Interrupted, report: miette::miette!("interrupted") }
    }
}

impl From<std::io::Error> for Failure {
    /// The output cannot be written.
    fn from(error: std::io::Error) -> Self {
        Self::environment(miette::miette!("failed to write the output: {error}"))
    }
}
