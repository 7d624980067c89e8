//! A schedule file: an order of a script's steps, with what came of each, to be run again.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::judge::Found;
use super::statement::{self, Class};
use super::world::{Choice, Done, Taken, What, shown};
use crate::scenario::script::{FaultKind, Script, ScriptCase};

/// The version of the format. The one before has no text of its script.
pub const VERSION: u32 = 2;
/// The oldest version that is read.
const VERSION_MIN: u32 = 1;

/// What stands for a script's file where the engine's own protocol was explored.
pub const ENGINE: &str = "engine";

/// The longest schedule file, in bytes.
pub const BYTES_MAX: u64 = 16 << 20;

/// An order of steps, and what came of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// [`VERSION`].
    pub driftlock_schedule: u32,
    /// The script's file, as it was given.
    pub script: String,
    /// The script's case.
    pub case: String,
    /// What was violated.
    pub check: String,
    /// How, in a sentence.
    pub sentence: String,
    /// What fails in it, if anything is let fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Failing>,
    /// The steps, in the order in which they were let through.
    #[serde(default)]
    pub step: Vec<Letting>,
    /// What the script's file said, so that the schedule can be replayed where it is not. Of an application it is the
    /// file alone, without the programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What fails, the first time that an actor is about to send a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failing {
    /// Whose.
    pub actor: String,
    /// Its name.
    pub step: String,
    /// The kind of failure, as `--faults` has it.
    pub kind: String,
}

/// One step that is let through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Letting {
    /// Whose.
    pub actor: String,
    /// Its name.
    pub step: String,
    /// What came of it, and of whatever it set free.
    pub came: Vec<String>,
    /// If it has to wait, its session's timeout ends that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub times_out: bool,
}

/// Why a schedule cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// It cannot be read.
    #[error("failed to read {path}: {source}")]
    Unreadable {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is no schedule.
    #[error("{path} is no schedule of driftlock: {why}")]
    Format {
        /// Which file.
        path: String,
        /// Why not.
        why: String,
    },
    /// It is about a script that has changed.
    #[error("the script has no {what}: it has changed since the schedule was written")]
    Changed {
        /// What is missing.
        what: String,
    },
    /// Something is to fail that this program does not know.
    #[error("there is no fault `{kind}`: the schedule was written by another version, or by hand")]
    Fault {
        /// What.
        kind: String,
    },
}

impl Schedule {
    /// Of a violation in a script whose file says this, if it has one.
    pub fn new(file: &str, text: Option<&str>, script: &Script, case: &ScriptCase, found: &Found) -> Self {
        let letting = |taken: &Taken| Letting {
            actor: script.actors[taken.actor].name.clone(),
            step: script.actors[taken.actor].steps[taken.step].name.clone(),
            came: came(script, taken),
            times_out: taken.times_out,
        };
        let failing = |Fault { actor, step, kind }: Fault| Failing {
            actor: script.actors[actor].name.clone(),
            step: script.actors[actor].steps[step].name.clone(),
            kind: kind.to_string(),
        };
        Self {
            driftlock_schedule: VERSION,
            script: file.to_owned(),
            case: case.name.clone(),
            check: found.check.clone(),
            sentence: found.sentence.clone(),
            fault: found.execution.fault().map(failing),
            step: found.execution.taken.iter().map(letting).collect(),
            text: text.map(str::to_owned),
        }
    }

    /// Reads a schedule file.
    ///
    /// # Errors
    /// See [`ScheduleError`].
    pub fn load(path: &Path) -> Result<Self, ScheduleError> {
        let shown = path.display().to_string();
        let unreadable = |source| ScheduleError::Unreadable { path: shown.clone(), source };
        let format = |why: String| ScheduleError::Format { path: shown.clone(), why };
        let metadata = path.metadata().map_err(unreadable)?;
        if !metadata.is_file() || metadata.len() > BYTES_MAX {
            return Err(format(format!("a schedule is a file of at most {BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let schedule: Self = serde_json::from_str(&text).map_err(|error| format(error.to_string()))?;
        match schedule.driftlock_schedule {
            VERSION_MIN..=VERSION => Ok(schedule),
            other => {
                Err(format(format!("it has version {other}; this program reads versions {VERSION_MIN} to {VERSION}")))
            }
        }
    }

    /// The file's text.
    ///
    /// # Panics
    /// Never: every schedule can be written as JSON.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("names and numbers make JSON") + "\n"
    }

    /// The actors in the schedule's order.
    ///
    /// # Errors
    /// The script has no such actor.
    pub fn order(&self, script: &Script) -> Result<Vec<Choice>, ScheduleError> {
        self.order_of(|name| script.actors.iter().position(|actor| actor.name == name))
    }

    /// The actors in the schedule's order, where they are known by name.
    ///
    /// # Errors
    /// There is no such actor.
    pub fn order_of(&self, number: impl Fn(&str) -> Option<usize>) -> Result<Vec<Choice>, ScheduleError> {
        let number = |letting: &Letting| {
            let at = number(&letting.actor);
            let at = at.ok_or_else(|| ScheduleError::Changed { what: format!("actor {}", letting.actor) });
            at.map(|actor| Choice { actor, times_out: letting.times_out })
        };
        self.step.iter().map(number).collect()
    }

    /// What fails in it, if anything does.
    ///
    /// # Errors
    /// The script has no such actor or step, or there is no such failure.
    pub fn fault(&self, script: &Script) -> Result<Option<Fault>, ScheduleError> {
        let number = |name: &str| script.actors.iter().position(|actor| actor.name == name);
        self.fault_of(number, |actor, name| script.actors[actor].steps.iter().position(|step| step.name == name))
    }

    /// What fails in it, if anything does, where actors and their steps are known by name.
    ///
    /// # Errors
    /// There is no such actor or step, or no such failure.
    pub fn fault_of(
        &self,
        number: impl Fn(&str) -> Option<usize>,
        at: impl Fn(usize, &str) -> Option<usize>,
    ) -> Result<Option<Fault>, ScheduleError> {
        let Some(Failing { actor, step, kind }) = &self.fault else { return Ok(None) };
        let missing = |what: String| ScheduleError::Changed { what };
        let number = number(actor).ok_or_else(|| missing(format!("actor {actor}")))?;
        let at = at(number, step);
        let at = at.ok_or_else(|| missing(format!("step {step} of {actor}")))?;
        let kind = FaultKind::named(kind).ok_or_else(|| ScheduleError::Fault { kind: kind.clone() })?;
        Ok(Some(Fault { actor: number, step: at, kind }))
    }

    /// The actors' numbers, in the schedule's order: the last word of each name, below `actors`.
    ///
    /// # Errors
    /// There is no such actor.
    pub fn numbers(&self, actors: usize) -> Result<Vec<Choice>, ScheduleError> {
        let number = |letting: &Letting| {
            let number = letting.actor.rsplit(' ').next().and_then(|word| word.parse().ok());
            number
                .filter(|number: &usize| *number < actors)
                .map(Choice::from)
                .ok_or_else(|| ScheduleError::Changed { what: format!("actor {}", letting.actor) })
        };
        self.step.iter().map(number).collect()
    }

    /// Where an execution takes another course than this schedule: the first difference, in a sentence.
    pub fn difference(&self, script: &Script, taken: &[Taken]) -> Option<String> {
        for (number, letting) in self.step.iter().enumerate() {
            let Some(taken) = taken.get(number) else {
                return Some(format!("step {} of {} could not be sent", letting.step, letting.actor));
            };
            let (actor, now) = (&script.actors[taken.actor], came(script, taken));
            let step = &actor.steps[taken.step].name;
            if (&letting.actor, &letting.step) != (&actor.name, step) {
                return Some(format!(
                    "instead of step {} of {}, step {step} of {} was sent",
                    letting.step, letting.actor, actor.name
                ));
            }
            if letting.came != now {
                let (was, now) = (letting.came.join("; "), now.join("; "));
                return Some(format!("step {step} of {} came to: {now}; it had come to: {was}", actor.name));
            }
        }
        None
    }
}

/// What a step that ended came to: its rows, or how many it changed.
pub fn done_as(sql: &str, done: &Done) -> String {
    let command = statement::command(sql).filter(|command| statement::CHANGES_ROWS.contains(&command.as_str()));
    match (command, done.affected) {
        _ if done.rolled_back => "rolled back".to_owned(),
        _ if !done.rows.is_empty() => shown(&done.rows),
        (Some(command), Some(rows)) => format!("{command} {rows}"),
        // What an application reads is only counted.
        (_, Some(rows)) if rows > 0 => format!("{rows} row{}", if rows == 1 { "" } else { "s" }),
        _ if statement::class(sql) == Class::Select => "no rows".to_owned(),
        _ => "ok".to_owned(),
    }
}

/// What came of a step, in words that two runs share.
pub fn came(script: &Script, taken: &Taken) -> Vec<String> {
    let mut came = Vec::new();
    for event in &taken.events {
        let step = &script.actors[event.actor].steps[event.step];
        let what = match &event.what {
            What::Failed { .. } if event.fault.is_some() => event.fault.map_or("", |fault| fault.told()).to_owned(),
            What::Done(done) => done_as(&step.sql, done),
            What::Failed { code, .. } => format!("failed: {code}"),
            What::Waits { by } => {
                let by: Vec<&str> = by.iter().map(|actor| script.actors[*actor].name.as_str()).collect();
                if by.is_empty() { "waits".to_owned() } else { format!("waits for {}", by.join(", ")) }
            }
        };
        let own = event.actor == taken.actor;
        let actor = &script.actors[event.actor];
        let of = if own { String::new() } else { format!("{}/{}: ", actor.name, actor.steps[event.step].name) };
        came.push(format!("{of}{what}"));
    }
    came
}
