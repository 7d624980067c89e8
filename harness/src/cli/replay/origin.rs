//! What a schedule is an order of: the file that it names, as it is now, or what it carries.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::Failure;
use crate::cli::explore::scripts::{is_specification, load, read_as, shipped_at};
use crate::cli::explore::subject::Source;
use crate::explore::schedule::{ENGINE, Schedule, ScheduleError};
use crate::scenario::application::{Application, is_application};
use crate::scenario::script::Script;

/// What is replayed.
pub(crate) enum Program {
    /// The engine's own protocol.
    Engine,
    /// Programs of the user's own.
    Application(Arc<Application>),
    /// SQL in a file.
    Script(Source),
}

/// Where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// The file says what it said.
    Same,
    /// It says something else.
    Changed,
    /// It is not there: the schedule's own is taken.
    Carried,
    /// The schedule does not say what it said.
    Unknown,
}

/// What a schedule is an order of.
pub(crate) struct Origin {
    /// The file, as it is shown.
    pub(crate) file: String,
    /// What is in it.
    pub(crate) program: Program,
    /// How it is to what it was when the schedule was written.
    pub(crate) since: Since,
}

impl Origin {
    /// Looks for the file in these places, and else in the schedule itself.
    pub(crate) fn of(schedule: &Schedule, places: &[PathBuf]) -> Result<Self, Failure> {
        if schedule.script == ENGINE {
            return Ok(Self { file: ENGINE.to_owned(), program: Program::Engine, since: Since::Unknown });
        }
        let named = Path::new(&schedule.script);
        if let Some(file) = places.iter().find(|place| place.is_file()) {
            let text = Script::text_of(file).map_err(Failure::usage)?;
            let since = match &schedule.text {
                None => Since::Unknown,
                Some(then) if *then == text => Since::Same,
                Some(_) => Since::Changed,
            };
            return Ok(Self { file: file.display().to_string(), program: read(file, text)?, since });
        }
        if shipped_at(named).is_some() {
            let source = load(named)?;
            let is_same = schedule.text.as_deref().map(|then| *then == *source.text);
            let since = is_same.map_or(Since::Unknown, |same| if same { Since::Same } else { Since::Changed });
            return Ok(Self { file: schedule.script.clone(), program: Program::Script(source), since });
        }
        let Some(text) = &schedule.text else {
            return Err(Failure::usage(miette::miette!(
                help = "Replay it in the directory in which it was found, or explore again: newer schedules carry their script",
                "{} is not there, and the schedule does not carry it",
                schedule.script
            )));
        };
        let program = read(named, text.clone())?;
        // Its programs are not carried; and whoever sends a schedule is not to have commands of theirs run.
        if matches!(program, Program::Application(_)) {
            return Err(Failure::usage(miette::miette!(
                help = "Replay it in a checkout of the application, in the directory in which it was found",
                "{} is not there, and a schedule of an application has not its programs",
                schedule.script
            )));
        }
        Ok(Self { file: schedule.script.clone(), program, since: Since::Carried })
    }

    /// What is to be known of it.
    pub(crate) fn note(&self) -> Option<String> {
        match self.since {
            Since::Changed => Some(format!("{} has changed since the schedule was written", self.file)),
            Since::Carried => Some(format!("{} is not there: what the schedule carries of it is run", self.file)),
            Since::Same | Since::Unknown => None,
        }
    }

    /// Whether another course can come of a change, and not only of what is not in the order: a file that has changed,
    /// or programs, which are not in it.
    pub(crate) fn may_differ(&self) -> bool {
        self.since == Since::Changed || matches!(self.program, Program::Application(_))
    }

    /// The schedule names something that is not there any more.
    pub(crate) fn missing(what: &str, name: &str) -> Failure {
        ScheduleError::Changed { what: format!("{what} {name}") }.into()
    }
}

fn read(file: &Path, text: String) -> Result<Program, Failure> {
    if !is_specification(file) && is_application(text.as_bytes()) {
        let app = Application::parse(file, text.as_bytes());
        let app = app.map_err(|problems| Failure::usage(*problems))?;
        return Ok(Program::Application(Arc::new(app)));
    }
    read_as(file, text).map(Program::Script)
}
