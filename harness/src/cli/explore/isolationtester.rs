//! `driftlock explore --as-isolationtester`: the listed permutations, printed as isolationtester prints them.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Args;
use crate::cli::{Context, Failure, hosts};
use crate::exit::Exit;
use crate::isolation::{self, Merged, Mistake, RunError, STEP_MAX, Spec, Split, Target, Transcript, parse};
use crate::provision::Server;

/// The environment variable that isolationtester takes the bound of a step from.
const TIMEOUT_VARIABLE: &str = "PGISOLATIONTIMEOUT";

/// A file that was read.
pub(super) struct Read {
    pub name: String,
    /// What the file says.
    pub text: String,
    pub spec: Spec,
}

/// Runs the listed permutations of the files.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: &Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let step_max = step_max(std::env::var(TIMEOUT_VARIABLE).ok())?;
    let specs = read_all(&args.files)?;
    if let Some(directory) = &args.output {
        fs::create_dir_all(directory)?;
    }
    let server = super::start(&args.postgres, context).await?;
    let cancel = context.cancel.clone();
    let ended = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Failure::interrupted()),
        ended = run_all(&specs, &server, step_max, args.output.as_deref(), context) => ended,
    };
    super::stop(server, context).await?;
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
    for (number, Read { name, spec, .. }) in specs.iter().enumerate() {
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
        writeln!(context.err, "{name} was given up: {}", hosts::chain(&error))?;
        // A server that is lost is lost for the others too.
        server.check().await?;
        if number + 1 < specs.len() {
            target.renew(server).await?;
        }
    }
    Ok(exit)
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
pub(super) fn read_all(files: &[PathBuf]) -> Result<Vec<Read>, Failure> {
    let (mut specs, mut problems) = (Vec::new(), Vec::new());
    for file in files {
        match fs::read_to_string(file) {
            Ok(text) => match read(file, text) {
                Ok(read) => specs.push(read),
                Err(failure) => problems.push(failure.report.to_string()),
            },
            Err(error) => problems.push(format!("{}: {error}", file.display())),
        }
    }
    if problems.is_empty() { Ok(specs) } else { Err(Failure::usage(miette::miette!("{}", problems.join("\n")))) }
}

/// Reads the text of a file.
pub(super) fn read(file: &Path, text: String) -> Result<Read, Failure> {
    let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match parse(&text) {
        Ok(spec) => Ok(Read { name, text, spec }),
        Err(mistakes) => {
            let problems: Vec<String> = mistakes.iter().map(|mistake| located(file, &text, mistake)).collect();
            Err(Failure::usage(miette::miette!("{}", problems.join("\n"))))
        }
    }
}

/// A mistake with its line and column, both from 1; columns count characters.
fn located(file: &Path, text: &str, mistake: &Mistake) -> String {
    let before = &text[..text.floor_char_boundary(mistake.at.start)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{}:{line}:{column}: {mistake}", file.display())
}
