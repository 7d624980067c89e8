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

/// The environment variables that isolationtester takes the bound of a step from, and how many times their seconds it is: up to
/// PostgreSQL 15, and from 16 on.
const TIMEOUT_VARIABLES: [(&str, u64); 2] = [("PGISOLATIONTIMEOUT", 1), ("PG_TEST_TIMEOUT_DEFAULT", 2)];

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
    let step_max = step_max(|name| std::env::var(name).ok())?;
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

/// Reads the files, and says of each what is in it.
///
/// # Errors
/// A file is no specification, or has mistakes.
pub fn parse_only(args: &Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    if let Some(other) = args.files.iter().find(|file| !super::scripts::is_specification(file)) {
        return Err(Failure::usage(miette::miette!(
            help = "of scripts and applications, --list reads all, and names their cases",
            "--parse-only reads specifications (*.spec), and {} is none",
            other.display()
        )));
    }
    for (file, Read { spec, .. }) in args.files.iter().zip(read_all(&args.files)?) {
        let (sessions, steps) = (spec.sessions.len(), spec.steps.len());
        let orders = match spec.permutations.len() {
            0 => "no permutation listed, so all are run".to_owned(),
            listed => format!("permutations: {listed}"),
        };
        writeln!(context.out, "{}: sessions: {sessions}, steps: {steps}, {orders}", file.display())?;
    }
    Ok(Exit::Met)
}

/// How long a step may take: whole seconds.
fn step_max(variable: impl Fn(&str) -> Option<String>) -> Result<Duration, Failure> {
    let set = TIMEOUT_VARIABLES.iter().find_map(|(name, times)| Some((name, times, variable(name)?)));
    let Some((name, times, text)) = set else { return Ok(STEP_MAX) };
    match text.trim().parse::<u64>() {
        Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds * times)),
        _ => Err(Failure::usage(miette::miette!("{name} is a number of seconds from 1 to 86400"))),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steps_bound_is_what_isolationtester_takes_from_the_environment() {
        let of = |set: &[(&str, &str)]| {
            step_max(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(of(&[]).unwrap(), STEP_MAX);
        assert_eq!(of(&[("PG_TEST_TIMEOUT_DEFAULT", "20")]).unwrap(), Duration::from_secs(40));
        let both = [("PG_TEST_TIMEOUT_DEFAULT", "20"), ("PGISOLATIONTIMEOUT", "7")];
        assert_eq!(of(&both).unwrap(), Duration::from_secs(7), "the one that is about nothing else counts");
        for wrong in ["0", "", "-1", "soon", "86401", "99999999999999999999"] {
            let why = of(&[("PG_TEST_TIMEOUT_DEFAULT", wrong)]).unwrap_err().report.to_string();
            assert!(why.contains("PG_TEST_TIMEOUT_DEFAULT is a number"), "{wrong}: {why}");
        }
    }
}
