//! `driftlock explore`: interleavings on a real database, step by step.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::provisioning::PostgresArgs;
use super::{Context, Failure};
use crate::exit::Exit;
use crate::isolation::{
    self, Merged, Mistake, RunError, STEP_MAX, Spec, Split, Target, TargetError, Transcript, parse,
};
use crate::provision::{Profile, RunName, Server, StartOptions};

/// The environment variable that isolationtester takes the bound of a step from.
const TIMEOUT_VARIABLE: &str = "PGISOLATIONTIMEOUT";

/// Runs interleavings of SQL sessions on PostgreSQL, one step at a time
///
/// It runs the permutations that PostgreSQL's isolation-test specifications list, and prints what
/// isolationtester prints: --as-isolationtester must be given. It does not search for interleavings
/// by itself.
///
/// PGISOLATIONTIMEOUT is the number of seconds after which a step is cancelled (300).
///
/// Exit codes: 0 every specification was run to its end, whatever it printed; 2 one cannot be read or
/// its set-up fails; 3 one was given up half-way; 4 no database; 130 interrupted.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Specifications (*.spec); all run on one server, one after the other
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Run the permutations that the files list (all of them, if none is listed) and print what
    /// isolationtester 15 prints
    #[arg(long)]
    pub as_isolationtester: bool,

    /// Write each file's output, results and diagnostics together, to DIR/NAME.out instead
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub postgres: PostgresArgs,
}

/// A file that was read.
struct Read {
    name: String,
    spec: Spec,
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    if !args.as_isolationtester {
        return Err(Failure::usage(miette::miette!(
            help = "driftlock explore --as-isolationtester FILE.spec",
            "explore runs listed permutations only: --as-isolationtester must be given"
        )));
    }
    let step_max = step_max(std::env::var(TIMEOUT_VARIABLE).ok())?;
    let specs = read_all(&args.files)?;
    if let Some(directory) = &args.output {
        fs::create_dir_all(directory)?;
    }
    let options = StartOptions {
        choice: args.postgres.postgres.clone(),
        pg_bin: args.postgres.pg_bin.clone(),
        profile: Profile::Fast,
        tcp: false,
    };
    let server = Server::start(&options, &RunName::new("explore")?, &context.cancel).await?;
    let cancel = context.cancel.clone();
    let ended = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Failure::interrupted()),
        ended = run_all(&specs, &server, step_max, args.output.as_deref(), context) => ended,
    };
    if let Err(error) = server.stop().await {
        writeln!(context.err, "warning: {error}")?;
    }
    ended
}

async fn run_all(
    specs: &[Read],
    server: &Server,
    step_max: Duration,
    output: Option<&Path>,
    context: &mut Context<'_>,
) -> Result<Exit, Failure> {
    let mut target = Target::make(server, 0).await?;
    let mut exit = Exit::Met;
    for (number, Read { name, spec }) in specs.iter().enumerate() {
        let ended = match output {
            Some(directory) => {
                let file = File::create(directory.join(format!("{name}.out")))?;
                let mut merged = Merged(BufWriter::new(file));
                let ended = isolation::run(spec, name, &target, step_max, &mut merged).await;
                std::io::Write::flush(&mut merged.0)?;
                ended
            }
            None => {
                let transcript: &mut dyn Transcript = &mut Split { out: &mut *context.out, err: &mut *context.err };
                isolation::run(spec, name, &target, step_max, transcript).await
            }
        };
        let Err(error) = ended else { continue };
        let last = match error {
            RunError::Output(error) => return Err(error.into()),
            RunError::Setup { .. } => Exit::Usage,
            RunError::Endless { .. } | RunError::MutuallyBlocked => Exit::Inconclusive,
            RunError::Connect { .. } | RunError::Lost { .. } => Exit::Environment,
        };
        exit = exit.worst(last);
        writeln!(context.err, "{name} was given up: {}", chain(&error))?;
        // A server that is lost is lost for the others too.
        server.check().await?;
        if number + 1 < specs.len() {
            target.renew(server).await?;
        }
    }
    Ok(exit)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text.trim_end().to_owned()
}

/// How long a step may take: whole seconds.
fn step_max(variable: Option<String>) -> Result<Duration, Failure> {
    let Some(text) = variable else { return Ok(STEP_MAX) };
    match text.trim().parse() {
        Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err(Failure::usage(miette::miette!("{TIMEOUT_VARIABLE} is a number of seconds from 1 to 86400"))),
    }
}

/// Reads all files; what is wrong with any of them is reported at once.
fn read_all(files: &[PathBuf]) -> Result<Vec<Read>, Failure> {
    let (mut specs, mut problems) = (Vec::new(), Vec::new());
    for file in files {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                problems.push(format!("{}: {error}", file.display()));
                continue;
            }
        };
        match parse(&text) {
            Ok(spec) => {
                let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                specs.push(Read { name, spec });
            }
            Err(mistakes) => problems.extend(mistakes.iter().map(|mistake| located(file, &text, mistake))),
        }
    }
    if problems.is_empty() { Ok(specs) } else { Err(Failure::usage(miette::miette!("{}", problems.join("\n")))) }
}

/// A mistake with its line and column, both from 1; columns count characters.
fn located(file: &Path, text: &str, mistake: &Mistake) -> String {
    let before = &text[..text.floor_char_boundary(mistake.at.start)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{}:{line}:{column}: {mistake}", file.display())
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::Provision(error) => error.into(),
            TargetError::Powerful { .. } => Self::usage(miette::miette!(
                help = "Give a URL whose role has neither SUPERUSER nor CREATEROLE, or let driftlock start a server: --postgres local",
                "{error}"
            )),
            TargetError::Make(_) | TargetError::Address => Self::environment(miette::miette!("{}", chain(&error))),
        }
    }
}
