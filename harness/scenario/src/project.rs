//! `driftlock.toml` at a repository's root: what is run, in which profiles, and which violations are accepted.
//!
//! A `[[run]]` is a command with its files, and every other key is an option of that command. What an option may be
//! is the command line's to say: it comes in as [`Check`].

mod files;
mod options;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use drift_engine::lock::Backend;
use jiff::civil::Date;
use toml::Spanned;
use toml::de::DeValue;

use super::draft;
use super::file::{LoadError, content, document, parse_with};
use super::problem::{Problem, Problems};
use super::read::Section;
use super::script::is_script;
use super::value::{self, Wrong, mistyped, nearest};

pub use options::{Kind as OptionKind, Options, known as options_of, names as option_names};

/// The file's name.
pub const FILE: &str = "driftlock.toml";
/// The profile that is meant where none is named.
pub const DEFAULT_PROFILE: &str = "default";
/// Where schedules are kept that are replayed first, unless the file says otherwise.
pub const REGRESSIONS: &str = "driftlock/regressions";
/// A commented file to begin with.
pub const TEMPLATE: &str = include_str!("project.toml");

/// The most runs that a file may have.
const RUNS_MAX: usize = 200;

/// Whether a command takes these options; an error says why not.
pub type Check<'a> = &'a dyn Fn(CommandName, &Options, Extent) -> Result<(), String>;

/// Of how much a [`Check`] is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Of one option by itself: what it needs beside it is elsewhere.
    One,
    /// Of all that a run has.
    All,
}

/// What a repository has checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// What paths in it start at: the file's directory, empty for the one that we are in.
    pub root: PathBuf,
    /// Options of every run: where PostgreSQL comes from.
    pub everywhere: Options,
    /// What is run: one at least, in this order.
    pub runs: Vec<Run>,
    /// The profiles, by name.
    pub profiles: BTreeMap<String, Profile>,
    /// The directory of the schedules that are replayed first.
    pub regressions: PathBuf,
    /// The violations that are known and accepted.
    pub accepted: Vec<Accepted>,
}

/// The commands that a run can be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CommandName {
    /// `driftlock verify`.
    Verify,
    /// `driftlock mutate`.
    Mutate,
    /// `driftlock explore`.
    Explore,
    /// `driftlock rehearse`.
    Rehearse,
}

impl CommandName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Verify, Self::Mutate, Self::Explore, Self::Rehearse];

    /// As it is typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Mutate => "mutate",
            Self::Explore => "explore",
            Self::Rehearse => "rehearse",
        }
    }
}

/// A command with its files and options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its name, which no other run has.
    pub name: String,
    /// The command.
    pub command: CommandName,
    /// Its files and directories, patterns resolved; none for what is built in.
    pub files: Vec<PathBuf>,
    /// Its options.
    pub options: Options,
}

/// What is otherwise in a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The runs that it has; nothing for all of them.
    pub only: Option<Vec<String>>,
    /// Options of every run, in place of those of the file.
    pub everywhere: Options,
    /// Options of every run of a command, in place of the run's own.
    pub options: BTreeMap<CommandName, Options>,
}

/// A violation that is known, and does not fail a run for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The case's name, as reports show it.
    pub name: String,
    /// Only of this check, or finding.
    pub check: Option<String>,
    /// Only on this backend.
    pub backend: Option<Backend>,
    /// Only in this file, by its name or the end of its path: of findings about migrations.
    pub file: Option<String>,
    /// Why it is accepted.
    pub reason: String,
    /// The last day on which it is.
    pub until: Date,
}

impl Project {
    /// Reads a project's file.
    ///
    /// # Errors
    /// The file cannot be read, or makes no sense.
    pub fn load(path: &Path, check: Check<'_>) -> Result<Self, LoadError> {
        Self::parse(path, &content(path)?, check).map_err(LoadError::Wrong)
    }

    /// Reads the content of a file that is, or could be, at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(path: &Path, bytes: &[u8], check: Check<'_>) -> Result<Self, Box<Problems>> {
        let read = |text: &str, directory: &Path| {
            if is_script(bytes) {
                let what = "this is a script or an application, and no project";
                let help = format!("Name it otherwise, and list it in {FILE}: `driftlock init --ci sh` writes one.");
                return Err(vec![Problem::new(0..0, what).help(help)]);
            }
            read(text, directory, check)
        };
        parse_with(path, bytes, read).map_err(|problems| Box::new(problems.without_passwords()))
    }

    /// Where PostgreSQL comes from in a profile, where a run does not say it.
    pub fn everywhere_in(&self, profile: &str) -> Options {
        let mut options = self.everywhere.clone();
        if let Some(profile) = self.profiles.get(profile) {
            options.take(&profile.everywhere);
        }
        options
    }

    /// The runs of a profile, each with the options that it has there.
    ///
    /// # Errors
    /// There is no such profile; the message names those that there are.
    pub fn runs_of(&self, profile: &str) -> Result<Vec<Run>, String> {
        let none = Profile::default();
        let profile = match self.profiles.get(profile) {
            Some(profile) => profile,
            None if profile == DEFAULT_PROFILE => &none,
            None => {
                let names: BTreeSet<&str> = self.profiles.keys().map(String::as_str).chain([DEFAULT_PROFILE]).collect();
                let names: Vec<&str> = names.into_iter().collect();
                return Err(format!("there is no profile {profile}; there are {}", names.join(", ")));
            }
        };
        let is_in = |run: &&Run| profile.only.as_ref().is_none_or(|only| only.contains(&run.name));
        Ok(self.runs.iter().filter(is_in).map(|run| of_profile(run, &self.everywhere, profile)).collect())
    }
}

/// A run as a profile has it.
fn of_profile(run: &Run, everywhere: &Options, profile: &Profile) -> Run {
    let mut options = everywhere.clone();
    options.take(&run.options);
    options.take(&profile.everywhere);
    if let Some(over) = profile.options.get(&run.command) {
        options.take(over);
    }
    Run { options, ..run.clone() }
}

fn read(text: &str, directory: &Path, check: Check<'_>) -> Result<Project, Vec<Problem>> {
    let (project, problems) = document(text, |section| draft(section, directory, check))?;
    match project {
        Some(project) if problems.is_empty() => Ok(project),
        _ => Err(problems),
    }
}

fn draft(section: &mut Section<'_>, root: &Path, check: Check<'_>) -> Option<Project> {
    let everywhere = options::everywhere(section);
    let regressions = section.optional("regressions", |value| directory(value, root));
    let runs = section.sections("run", |section| run(section, root, check)).into_iter().map(Spanned::into_inner);
    let (names, runs): (Vec<Option<String>>, Vec<Option<Run>>) = runs.unzip();
    // A run that is wrong has its name all the same; one whose name is wrong might be the one that is meant.
    let are_all = names.iter().all(Option::is_some);
    let names: Vec<String> = names.into_iter().flatten().collect();
    let known = |value: &DeValue<'_>| one_of(value, &names, are_all);
    let profiles = section.named_sections("profile", |_, section| {
        let only = section.list("only", known);
        let everywhere = options::everywhere(section);
        let mut all = Some(BTreeMap::new());
        for command in CommandName::ALL {
            let read =
                section.optional_section(command.as_str(), |section| options::read(section, command, root, check));
            match (read.map(Spanned::into_inner), &mut all) {
                (Some(Some(options)), Some(all)) => drop(all.insert(command, options)),
                (Some(None), _) => all = None,
                (None, _) | (_, None) => {}
            }
        }
        let only = only.map_known(|only| Some(only.into_iter().map(Spanned::into_inner).collect::<Vec<_>>()), None);
        if only.as_ref().is_some_and(|only| only.as_ref().is_some_and(Vec::is_empty)) {
            section.refuse("has no run: `only` is empty");
        }
        let profile = Profile { only: only?, everywhere: everywhere?, options: all? };
        for run in runs.iter().flatten() {
            let merged = of_profile(run, &Options::default(), &profile);
            if let Err(why) = check(run.command, &merged.options, Extent::All) {
                section.refuse(&format!("does not go with run {}: {why}", run.name));
            }
        }
        Some(profile)
    });
    let accepted = section.sections("accepted", accepted);
    let distinct: BTreeSet<&String> = names.iter().collect();
    if distinct.len() < names.len() {
        section.refuse("has two runs of one name: names tell them apart");
    }
    // What is there and no list has been told.
    let is_list = section.peek("run").is_none_or(DeValue::is_array);
    if is_list && runs.is_empty() || runs.len() > RUNS_MAX {
        section.refuse(&format!("has {} runs; it must have 1 to {RUNS_MAX}, each as [[run]]", runs.len()));
    }
    let profiles = profiles.into_iter().map(|(name, profile)| Some((name, profile.into_inner()?)));
    Some(Project {
        root: root.to_owned(),
        everywhere: everywhere?,
        runs: runs.into_iter().collect::<Option<Vec<Run>>>()?,
        profiles: profiles.collect::<Option<BTreeMap<String, Profile>>>()?,
        regressions: regressions.known(root.join(REGRESSIONS))?,
        accepted: accepted.into_iter().map(Spanned::into_inner).collect::<Option<Vec<Accepted>>>()?,
    })
}

/// Reads a run; its name is known also where something else is wrong with it.
fn run(section: &mut Section<'_>, root: &Path, check: Check<'_>) -> (Option<String>, Option<Run>) {
    let name = section.required("name", run_name).map(Spanned::into_inner);
    let run = named_run(name.clone(), section, root, check);
    (name, run)
}

fn named_run(name: Option<String>, section: &mut Section<'_>, root: &Path, check: Check<'_>) -> Option<Run> {
    let command = section.required("command", value::word(CommandName::ALL.map(|one| (one.as_str(), one))));
    let files = section.list("files", |value| files::resolved(value, root));
    let built_in = section.optional("built-in", value::boolean).known(false);
    // Which keys there are depends on the command: without one, none of them is called unknown.
    let Some(command) = command.map(Spanned::into_inner) else {
        options::ignore(section);
        return None;
    };
    let options = options::read(section, command, root, check);
    let is_none = files.is_absent() || files.given().is_some_and(|files| files.get_ref().is_empty());
    match (command, built_in) {
        (_, None) => {}
        (_, Some(true)) if !files.is_absent() => section.refuse("has `files`, and `built-in` too: choose one"),
        // Without files, it is the engine's protocol that is broken.
        (CommandName::Mutate, Some(false)) if files.is_absent() => {}
        (_, Some(false)) if is_none => {
            section.refuse("has no `files`; what driftlock itself brings is run with `built-in = true`");
        }
        (_, Some(_)) => {}
    }
    let files =
        files.map_known(|files| Some(files::once(files.into_iter().map(Spanned::into_inner))), Some(Vec::new()))?;
    let mut options = options?;
    if command == CommandName::Explore && built_in? {
        options.flag("built-in");
    }
    if let Err(why) = check(command, &options, Extent::All) {
        section.refuse(&format!("is not taken by `{}`: {why}", command.as_str()));
    }
    Some(Run { name: name?, command, files: files?, options })
}

fn accepted(section: &mut Section<'_>) -> Option<Accepted> {
    let name = section.required("name", value::text);
    let check = section.optional("check", value::text).map_known(Some, None);
    let backend = Backend::ALL.map(|backend| (backend.as_str(), backend));
    let backend = section.optional("backend", value::word(backend)).map_known(Some, None);
    let file = section.optional("file", value::text).map_known(Some, None);
    let (reason, until) = (section.required("reason", value::text), section.required("until", value::day));
    let (name, reason, until) = (name?.into_inner(), reason?.into_inner(), until?.into_inner());
    Some(Accepted { name, check: check?, backend: backend?, file: file?, reason, until })
}

/// The name of a run is a directory's too.
fn run_name(value: &DeValue<'_>) -> Result<String, Wrong> {
    match draft::name(value)? {
        name if name == "regressions" => Err(Wrong::new("must not be regressions: that is the run that replays these")),
        name => Ok(name),
    }
}

fn one_of(value: &DeValue<'_>, names: &[String], are_all: bool) -> Result<String, Wrong> {
    let text = value.as_str().ok_or_else(|| mistyped("the name of a run", value))?;
    if !are_all || names.iter().any(|name| name == text) {
        return Ok(text.to_owned());
    }
    let wrong = Wrong::new(format!("names the run {}, which there is not", value::shown(text)));
    let close = names.iter().find(|name| nearest(text, &[name.as_str()]).is_some());
    Err(match close {
        Some(meant) => wrong.label(format!("did you mean \"{meant}\"?")),
        None => wrong,
    })
}

fn directory(value: &DeValue<'_>, root: &Path) -> Result<PathBuf, Wrong> {
    let path = root.join(value::text(value)?);
    if path.is_dir() { Ok(path) } else { Err(Wrong::new("must be a directory, and there is none of that name")) }
}

#[cfg(test)]
mod tests;
