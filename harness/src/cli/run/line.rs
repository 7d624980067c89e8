//! A run of `driftlock.toml` as the command that somebody would have typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;
use clap::error::ErrorKind;

use super::Args;
use super::regressions::{self, Regression};
use crate::cli::common::quoted;
use crate::cli::provisioning::PostgresArgs;
use crate::cli::{Cli, Command, Failure};
use crate::scenario::project::{CommandName, Extent, Options, Project, Run};

/// A run that is to be held.
pub(super) struct Planned {
    /// The run's name.
    pub(super) name: String,
    /// Its command, as somebody would type it.
    pub(super) line: String,
    /// What is done.
    pub(super) what: What,
}

/// What a run does.
pub(super) enum What {
    /// A command of its own.
    Command(Box<Command>),
    /// The schedules that were kept are replayed.
    Regressions(Vec<Regression>, PostgresArgs),
}

impl Planned {
    /// Of a run, with what the command line of `driftlock run` says instead.
    pub(super) fn new(run: &Run, args: &Args) -> Result<Self, Failure> {
        let refused = |error| Failure::usage(miette::miette!("run {}: {}", run.name, sentence(&error)));
        let mut options = run.options.clone();
        if let (CommandName::Rehearse, Some(base)) = (run.command, &args.changed) {
            options.set("changed", base.clone());
        }
        let mut command = parse(run.command, &options, &run.files).map_err(refused)?;
        args.over(postgres_of(&mut command));
        Ok(Self { name: run.name.clone(), line: line(run, &options), what: What::Command(Box::new(command)) })
    }

    /// Of the schedules that were kept, if there are any.
    pub(super) fn of_regressions(project: &Project, args: &Args) -> Result<Option<Self>, Failure> {
        let regressions = regressions::read(&project.regressions, &project.root)?;
        if regressions.is_empty() {
            return Ok(None);
        }
        let refused = |error: clap::Error| Failure::usage(miette::miette!("{}", sentence(&error)));
        // As a run that says nothing else has it.
        let mut command = parse(CommandName::Mutate, &project.everywhere_in(&args.profile), &[]).map_err(refused)?;
        let mut postgres = postgres_of(&mut command).clone();
        args.over(&mut postgres);
        let line = format!("driftlock replay {}/*.json", project.regressions.display());
        Ok(Some(Self { name: regressions::NAME.to_owned(), line, what: What::Regressions(regressions, postgres) }))
    }
}

/// A command, to list its cases.
pub(super) fn listing(command: &Command) -> Command {
    let mut command = command.clone();
    match &mut command {
        Command::Verify(args) => args.suite.list = true,
        Command::Mutate(args) => args.suite.list = true,
        Command::Explore(args) => args.list = true,
        Command::Rehearse(args) => args.list = true,
        _ => unreachable!("{NO_OTHER}"),
    }
    command
}

/// A command, to write its outputs into a directory; `goes_on` after a first violation, where it can.
pub(super) fn into_directory(command: &Command, directory: PathBuf, goes_on: bool) -> Command {
    let mut command = command.clone();
    match &mut command {
        Command::Verify(args) => args.suite.output = Some(directory),
        Command::Mutate(args) => args.suite.output = Some(directory),
        Command::Explore(args) => (args.output, args.all) = (Some(directory), args.all || goes_on),
        Command::Rehearse(args) => args.output = Some(directory),
        _ => unreachable!("{NO_OTHER}"),
    }
    command
}

/// What [`CommandName`] has.
const NO_OTHER: &str = "a run is of verify, mutate, explore or rehearse";

/// Where it has PostgreSQL come from.
pub(super) fn postgres_of(command: &mut Command) -> &mut PostgresArgs {
    command.postgres_mut().expect(NO_OTHER)
}

/// Whether a command takes options.
pub(super) fn check(command: CommandName, options: &Options, extent: Extent) -> Result<(), String> {
    let needs_more = |error: &clap::Error| error.kind() == ErrorKind::MissingRequiredArgument;
    match parse(command, options, &[]) {
        Err(error) if extent == Extent::All || !needs_more(&error) => Err(sentence(&error)),
        _ => Ok(()),
    }
}

fn parse(command: CommandName, options: &Options, files: &[PathBuf]) -> Result<Command, clap::Error> {
    let words = ["driftlock".to_owned(), command.as_str().to_owned()].into_iter().chain(options.words());
    let mut words: Vec<OsString> = words.map(OsString::from).collect();
    if !files.is_empty() {
        words.push("--".into());
        words.extend(files.iter().map(|file| file.as_os_str().to_owned()));
    }
    Cli::try_parse_from(words).map(|cli| cli.command)
}

/// What clap says, without how to ask for help.
fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let said: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    said.join(" ").trim_start_matches("error: ").to_owned()
}

fn line(run: &Run, options: &Options) -> String {
    let plain = |word: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:".contains(c);
        if word.chars().all(is_plain) { word.to_owned() } else { quoted(word) }
    };
    let mut line = format!("driftlock {}", run.command.as_str());
    for word in options.words() {
        line.push_str(&format!(" {}", plain(&word)));
    }
    for file in &run.files {
        line.push_str(&format!(" {}", plain(&file.display().to_string())));
    }
    line
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::scenario::project::option_names;

    #[test]
    fn every_option_of_the_file_is_one_of_its_command() {
        let cli = Cli::command();
        for command in CommandName::ALL {
            let of_command = cli.find_subcommand(command.as_str()).unwrap();
            let known: Vec<&str> = of_command.get_arguments().filter_map(clap::Arg::get_long).collect();
            let unknown: Vec<&str> = option_names(command).filter(|name| !known.contains(name)).collect();
            assert!(unknown.is_empty(), "{command:?}: {unknown:?}");
            // What is left out of the file is driftlock run's own, or no matter of a repository.
            let own = [
                "list",
                "format",
                "output",
                "html",
                "open",
                "postgres",
                "pg-bin",
                "pg-version",
                "yes",
                "built-in",
                "as-isolationtester",
                "parse-only",
            ];
            let left: Vec<&&str> = known
                .iter()
                .filter(|name| !own.contains(name) && !option_names(command).any(|one| one == **name))
                .collect();
            assert!(left.is_empty(), "{command:?}: {left:?}");
        }
    }

    #[test]
    fn a_refusal_is_one_sentence_and_what_is_missing_beside_one_option_is_none() {
        let mut options = Options::default();
        options.set("budget", "5x".to_owned());
        let why = check(CommandName::Explore, &options, Extent::One).unwrap_err();
        assert!(why.contains("a budget is a number of executions") && !why.contains('\n'), "{why}");
        let mut options = Options::default();
        options.set("runner-down", "true".to_owned());
        assert_eq!(check(CommandName::Rehearse, &options, Extent::One), Ok(()));
        assert!(check(CommandName::Rehearse, &options, Extent::All).unwrap_err().contains("--runner"));
    }
}
