//! `driftlock repair`: what would mend a script or an application.

use std::path::PathBuf;

use drift_engine::lock::Backend;

use super::common::{Format, parse_backend};
use super::explore::parse_budget;
use super::page::PageArgs;
use super::provisioning::PostgresArgs;
use super::varied::{self, Task, Wanted};
use super::{Context, Failure};
use crate::exit::Exit;
use crate::explore::judge::Limit;

/// Tries what would mend a script or an application in which something is violated, and explores each repair to the end
///
/// What engineers would try, as far as it applies: a lock on what is read, on the rows that are counted, on the row to
/// which others refer; an advisory lock; REPEATABLE READ or SERIALIZABLE with a retry; a unique index or an exclusion
/// constraint, ON CONFLICT; locks in one order; one statement in place of two; SKIP LOCKED on a queue. Each is put into
/// the script's SQL, and every order of the changed script that matters is visited. Of an application it is what can be done
/// without a change to its programs: to what they send, on its way to the server, and to the schema.
///
/// A repair holds if all orders were visited, nothing is violated, and the job comes to the same as before where nothing
/// is concurrent. What was visited in part is never said to hold.
///
/// Exit codes: 0 nothing is violated, or a repair holds; 1 something is violated, and nothing that was tried mends it;
/// 2 no files, a file cannot be read, or its SQL makes no sense; 3 no answer; 4 no database; 130 interrupted.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Scripts and applications (*.toml), or directories of them
    #[arg(value_name = "FILE or DIR", required = true)]
    pub files: Vec<PathBuf>,

    /// Only the cases whose name (SCRIPT/CASE, or the application's) has this in it; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub filter: Vec<String>,

    /// Only this database
    #[arg(long, value_parser = parse_backend)]
    pub backend: Option<Backend>,

    /// Explore each repair for so many executions, or so long
    #[arg(long, value_name = "N|TIME", value_parser = parse_budget, default_value = "60s")]
    pub budget: Limit,

    /// Show the statements of all repairs, and the order in which each that does not hold is violated
    #[arg(long)]
    pub all: bool,

    /// List the cases, and run none
    #[arg(long)]
    pub list: bool,

    /// How to print the result
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,

    /// The directory for the report. Default: one of its own in target/driftlock
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub page: PageArgs,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub postgres: PostgresArgs,
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let wanted = Wanted {
        task: Task::Repair,
        files: &args.files,
        filter: &args.filter,
        backend: args.backend,
        budget: args.budget,
        list: args.list,
        all: args.all,
        format: args.format,
        output: args.output.as_ref(),
        page: &args.page,
        postgres: &args.postgres,
    };
    varied::run(&wanted, context).await
}
