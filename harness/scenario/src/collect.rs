//! From the paths of a command line to scenarios, or to everything that is wrong with any of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use miette::Diagnostic;

use super::application::{Application, is_application};
use super::file::{LoadError, content};
use super::script::Script;
use super::{Scenario, script};

/// Why a path gives no scenario.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum CollectError {
    /// A file is wrong.
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] LoadError),
    /// A directory cannot be read.
    #[error("cannot read {}", path.display())]
    Directory {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A directory has no scenario.
    #[error("there is neither a scenario nor a script (*.toml) in {}", path.display())]
    Empty {
        /// Which one.
        path: PathBuf,
    },
    /// Two files have one name for their scenarios.
    #[error("{} and {} are both called {name}", first.display(), second.display())]
    #[diagnostic(help("reports and --filter tell scenarios apart by their names: change one"))]
    SameName {
        /// The name.
        name: String,
        /// The file that has it too.
        first: PathBuf,
        /// The file that has it again.
        second: PathBuf,
    },
}

/// Everything that is wrong with the paths.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{} of the scenario files cannot be used", problems.len())]
pub struct CollectErrors {
    /// Each of them.
    #[related]
    pub problems: Vec<CollectError>,
}

/// Reads scenario files, and the `*.toml` files of directories in the order of their names.
///
/// # Errors
/// Everything that is wrong with any of them, at once.
pub fn collect(paths: &[PathBuf]) -> Result<Vec<Scenario>, CollectErrors> {
    let (mut scenarios, mut problems) = (Vec::new(), Vec::new());
    let mut names: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in paths {
        let files = match files(path) {
            Ok(files) => files,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        for file in files {
            match Scenario::load(&file) {
                Ok(scenario) => match names.insert(scenario.name.clone(), file.clone()) {
                    Some(first) => problems.push(CollectError::SameName { name: scenario.name, first, second: file }),
                    None => scenarios.push(scenario),
                },
                Err(problem) => problems.push(problem.into()),
            }
        }
    }
    if problems.is_empty() { Ok(scenarios) } else { Err(CollectErrors { problems }) }
}

/// Parts the files of paths into scripts, told by their content, and what else there is. What cannot be
/// read is left to whoever reads scenarios, who says what is wrong.
pub fn scripts_apart(paths: &[PathBuf]) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut scripts, mut others) = (Vec::new(), Vec::new());
    for path in paths {
        let files = files(path).unwrap_or_default();
        let is_script = |file: &PathBuf| content(file).is_ok_and(|bytes| script::is_script(&bytes));
        let (of_scripts, of_others): (Vec<PathBuf>, Vec<PathBuf>) = files.into_iter().partition(is_script);
        match of_scripts[..] {
            [] => others.push(path.clone()),
            _ => others.extend(of_others),
        }
        scripts.extend(of_scripts);
    }
    (scripts, others)
}

/// A file that was read.
#[derive(Clone, Debug)]
pub struct Read {
    /// Which one.
    pub file: PathBuf,
    /// What it says.
    pub text: String,
    /// What it means.
    pub program: Program,
}

/// What `explore` visits the orders of.
#[derive(Clone, Debug)]
pub enum Program {
    /// SQL in a file.
    Script(Script),
    /// Programs of the user's own.
    Application(Application),
}

impl Program {
    /// What it is called.
    pub fn name(&self) -> &str {
        match self {
            Self::Script(script) => &script.name,
            Self::Application(app) => &app.name,
        }
    }
}

/// Reads the files of scripts and applications, and those among the `*.toml` files of directories.
///
/// # Errors
/// Everything that is wrong with any of them, at once.
pub fn collect_programs(paths: &[PathBuf]) -> Result<Vec<Read>, CollectErrors> {
    let (mut programs, mut problems) = (Vec::new(), Vec::new());
    let mut names: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in paths {
        match files(path) {
            Ok(mut files) => {
                if path.is_dir() {
                    files.retain(|file| script::is_script_at(file));
                    if files.is_empty() {
                        problems.push(CollectError::Empty { path: path.to_owned() });
                    }
                }
                for file in files {
                    match program(&file) {
                        // Reports, schedules and what is accepted go by the name.
                        Ok(read) => match names.insert(read.program.name().to_owned(), file.clone()) {
                            Some(first) if first != file => {
                                let name = read.program.name().to_owned();
                                problems.push(CollectError::SameName { name, first, second: file });
                            }
                            _ => programs.push(read),
                        },
                        Err(problem) => problems.push(problem.into()),
                    }
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(programs) } else { Err(CollectErrors { problems }) }
}

/// Reads a file as what its content is meant as.
///
/// # Errors
/// It cannot be read, or makes no sense.
pub fn program(file: &Path) -> Result<Read, LoadError> {
    let bytes = content(file)?;
    let program = program_of(file, &bytes)?;
    // What was read as TOML is UTF-8.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Read { file: file.to_owned(), text, program })
}

/// Reads the content of a file that is, or could be, at a path, as what it is meant as.
///
/// # Errors
/// It makes no sense.
pub fn program_of(file: &Path, bytes: &[u8]) -> Result<Program, LoadError> {
    let read = match is_application(bytes) {
        true => Application::parse(file, bytes).map(Program::Application),
        false => Script::parse(file, bytes).map(Program::Script),
    };
    read.map_err(LoadError::Wrong)
}

fn files(path: &Path) -> Result<Vec<PathBuf>, CollectError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = |source| CollectError::Directory { path: path.to_owned(), source };
    let entries = fs::read_dir(path).map_err(unreadable)?;
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(unreadable)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml") && file.is_file());
    files.sort();
    if files.is_empty() { Err(CollectError::Empty { path: path.to_owned() }) } else { Ok(files) }
}
