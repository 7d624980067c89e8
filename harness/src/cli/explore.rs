//! `driftlock explore`: interleavings on a real database, step by step.

mod faults;
pub mod isolationtester;
mod row;
pub mod scripts;
pub(crate) mod subject;

use std::path::PathBuf;
use std::time::Duration;

use drift_engine::lock::Backend;

pub use self::faults::Faults;
use super::common::{Format, parse_backend};
use super::page::PageArgs;
use super::provisioning::PostgresArgs;
use super::{Context, Failure, hosts};
use crate::exit::Exit;
use crate::explore::judge::Limit;
use crate::explore::search::Strategy;
use crate::provision::{Profile, RunName, Server};
use crate::scenario::script::{Overlap, Script, TRIES, TRIES_MAX};

/// Visits every interleaving that matters of SQL sessions or of your own programs, on real databases, one step at a time
///
/// Scripts (*.toml, or a directory of them) say what the sessions do and what must be true at the end;
/// `driftlock init` writes a commented one. Applications (*.toml too) name programs of your own, in any language, which
/// are run behind a proxy: each thing that they ask of PostgreSQL is a step; `driftlock init --app` writes a commented
/// one. With --built-in, the scripts that are built in: the classic
/// anomalies, each expected where the isolation level allows it, the engine's protocol and its mutants. Of PostgreSQL's isolation-test specifications (*.spec) all
/// orders are visited, whatever permutations they list, and the different outcomes are listed; with
/// --as-isolationtester the listed permutations are run, and what isolationtester prints is printed.
///
/// A violation is made smaller, run again, shown as a table, and written as a schedule that
/// `driftlock replay` runs (schedule-*.json).
///
/// PGISOLATIONTIMEOUT is, with --as-isolationtester, the number of seconds after which a step is
/// cancelled (300); PG_TEST_TIMEOUT_DEFAULT, as from PostgreSQL 16 on, half of it.
///
/// Exit codes: 0 everything came out as expected; 1 a violation, or an expected one that did not
/// appear; 2 no files, a file cannot be read, its set-up fails or its SQL makes no sense; 3 no answer: an
/// actor never did anything, something decides that is not in the order, or only chance (--overlap) could
/// have brought an expected violation; 4 no database; 130 interrupted.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Scripts and applications (*.toml), directories of them, or specifications (*.spec)
    #[arg(value_name = "FILE or DIR")]
    pub files: Vec<PathBuf>,

    /// Explore what is built in: the engine's protocol and its mutants, and the scripts of the classic anomalies
    #[arg(long, conflicts_with = "files")]
    pub built_in: bool,

    /// Run the permutations that the files list (all of them, if none is listed) and print what
    /// isolationtester 15 prints
    #[arg(long)]
    pub as_isolationtester: bool,

    /// Read the specifications (*.spec) and run nothing: mistakes are told with file, line and column
    #[arg(long, conflicts_with_all = ["built_in", "list"])]
    pub parse_only: bool,

    /// Which orders to visit: exhaustive (each class of orders once), brute-force (each order),
    /// preemptions=N (at most N changes of a session that could go on), random=N, pct=N,DEPTH
    #[arg(long, value_name = "STRATEGY", default_value = "exhaustive", value_parser = parse_strategy)]
    pub strategy: Strategy,

    /// Stop a case after this many executions (a number) or this long (30s, 5m), with all that is let fail; what
    /// overlaps is counted anew
    #[arg(long, value_name = "N|TIME", value_parser = parse_budget)]
    pub budget: Option<Limit>,

    /// Let two steps run at the same time too, many times over, instead of those that the script says
    /// (PostgreSQL). It can find what no order of whole statements shows; finding nothing is a bound and
    /// no proof
    #[arg(long, value_name = "ACTOR.STEP,ACTOR.STEP")]
    pub overlap: Vec<String>,

    /// In how many executions each of these pairs is to run at the same time [500, or the script's]; in up to
    /// ten times as many where they hardly met, as on a busy machine
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=TRIES_MAX))]
    pub overlap_tries: Option<u64>,

    /// Let things fail too: at each step of each actor, once in an execution, and visit every order that matters of the
    /// rest, instead of the pairs that the script lets overlap. On PostgreSQL lost-before, lost-after (the connection is
    /// lost before the server got the step, or after it carried it out), 40001, 40P01, 55P03, 57014, 53300 (a session is
    /// refused), terminated (the session is), killed (the client is); on SQLite busy, killed; all of these; or none [the
    /// file's `faults`]. By its name alone, for it takes a fraction of a second each time: restarted (the server is, and
    /// every session ends; only one that driftlock has started from local programs)
    #[arg(long, value_name = "KIND,…|all|none", value_parser = faults::parse,
          conflicts_with_all = ["overlap", "overlap_tries", "built_in", "as_isolationtester"])]
    pub faults: Option<Faults>,

    /// Go on after a violation, and list every outcome
    #[arg(long)]
    pub all: bool,

    /// Write violations as specifications too (DIR/schedule-*.spec): one permutation, for
    /// --as-isolationtester or isolationtester itself; which of them cannot be is said
    #[arg(long)]
    pub export_spec: bool,

    /// Only the cases whose name (SCRIPT/CASE) has this in it
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,

    /// List the cases, and run none
    #[arg(long)]
    pub list: bool,

    /// Only this database
    #[arg(long, value_parser = parse_backend)]
    pub backend: Option<Backend>,

    /// The seed of random orders
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// How to print the result
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,

    /// Where to write: with --as-isolationtester each file's output, results and diagnostics together
    /// (DIR/NAME.out); else the report and the schedules of violations
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub page: PageArgs,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub postgres: PostgresArgs,
}

impl Args {
    /// The steps of a script that are to run at the same time.
    fn overlaps(&self, script: &Script) -> Result<Vec<Overlap>, Failure> {
        let named = |pair: &String| {
            let names: Vec<&str> = pair.split(',').map(str::trim).collect();
            let overlap = script.overlap(&names, self.overlap_tries.unwrap_or(TRIES));
            overlap
                .map_err(|why| Failure::usage(miette::miette!("--overlap {pair}, for script {}: {why}", script.name)))
        };
        if !self.overlap.is_empty() {
            return self.overlap.iter().map(named).collect();
        }
        let tries = |pair: &Overlap| Overlap { tries: self.overlap_tries.unwrap_or(pair.tries), ..pair.clone() };
        Ok(script.overlaps.iter().map(tries).collect())
    }
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    if args.parse_only && !args.files.is_empty() {
        return isolationtester::parse_only(&args, context);
    }
    if !args.as_isolationtester && !args.parse_only {
        return scripts::run(&args, context).await;
    }
    if args.files.is_empty() {
        return Err(Failure::usage(miette::miette!(
            help = "driftlock explore --as-isolationtester FILE.spec, or --parse-only FILE.spec",
            "--as-isolationtester and --parse-only are about files, and none is given"
        )));
    }
    isolationtester::run(&args, context).await
}

/// Starts the server that these arguments ask for.
async fn start(postgres: &PostgresArgs, context: &Context<'_>) -> Result<Server, Failure> {
    let options = postgres.start_options(Profile::Fast);
    Ok(Server::start(&options, &RunName::new("explore")?, &context.cancel).await?)
}

/// Ends a server; what of it could not be removed is told, and fails nothing.
async fn stop(server: Server, context: &mut Context<'_>) -> Result<(), Failure> {
    hosts::told(server.stop().await, context)
}

fn parse_strategy(text: &str) -> Result<Strategy, String> {
    let number = |text: &str| text.parse::<u64>().ok().filter(|number| (1..=1_000_000_000).contains(number));
    let wrong = || "a strategy is exhaustive, brute-force, preemptions=N, random=N or pct=N,DEPTH".to_owned();
    match text.split_once('=') {
        None if text == "exhaustive" => Ok(Strategy::Exhaustive),
        None if text == "brute-force" => Ok(Strategy::BruteForce),
        Some(("preemptions", most)) => most.parse().map(Strategy::Preemptions).map_err(|_| wrong()),
        Some(("random", executions)) => number(executions).map(Strategy::Random).ok_or_else(wrong),
        Some(("pct", both)) => {
            let (executions, depth) = both.split_once(',').ok_or_else(wrong)?;
            let depth = number(depth).and_then(|depth| u32::try_from(depth).ok()).filter(|depth| *depth <= 100);
            let (executions, depth) = number(executions).zip(depth).ok_or_else(wrong)?;
            Ok(Strategy::Pct { executions, depth })
        }
        _ => Err(wrong()),
    }
}

pub(super) fn parse_budget(text: &str) -> Result<Limit, String> {
    let wrong = || "a budget is a number of executions, or a time as in 30s or 5m".to_owned();
    let positive = |text: &str| text.parse::<u64>().ok().filter(|number| (1..=1_000_000_000).contains(number));
    let seconds = match (text.strip_suffix('s'), text.strip_suffix('m')) {
        (Some(seconds), _) => positive(seconds),
        (_, Some(minutes)) => positive(minutes).map(|minutes| minutes * 60),
        _ => return positive(text).map(Limit::Executions).ok_or_else(wrong),
    };
    seconds.filter(|seconds| *seconds <= 86_400).map(|s| Limit::Time(Duration::from_secs(s))).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_and_budgets_are_read_and_mistakes_named() {
        assert_eq!(parse_strategy("pct=100,3"), Ok(Strategy::Pct { executions: 100, depth: 3 }));
        assert_eq!(parse_strategy("preemptions=2"), Ok(Strategy::Preemptions(2)));
        for wrong in ["", "random", "random=0", "random=-1", "pct=1", "pct=1,101", "dfs", "preemptions="] {
            assert!(parse_strategy(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_budget("90s"), Ok(Limit::Time(Duration::from_secs(90))));
        assert_eq!(parse_budget("100"), Ok(Limit::Executions(100)));
        for wrong in ["", "0", "0s", "s", "1h", "-1", "99999999999999999999", "1e3", "2000m"] {
            assert!(parse_budget(wrong).is_err(), "{wrong}");
        }
    }
}
