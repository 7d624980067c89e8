//! What loom says of the protocol as it ships and of the mutants, as it was recorded.
//!
//! The suite `tests/loom` runs them on a model of the database under every order of operations that
//! loom finds, and compares what comes of it with this record; with `DRIFTLOCK_RECORD_LOOM=1` it writes
//! the record anew. Loom itself is not part of the program.

use std::sync::LazyLock;

use drift_engine::lock::{Backend, LockStrategy};
use serde::{Deserialize, Serialize};

use crate::check::CheckName;
use crate::outcome::{BackendUsed, LoomRow, Shown, VerdictKind};

/// The record of the mutants, as the suite has written it.
pub const KILLS: &str = include_str!("../../loom-kills.json");
/// The record of the protocol as it ships, as the suite has written it.
pub const SOUND: &str = include_str!("../../loom-sound.json");

/// The version of the record's form.
pub const SCHEMA_VERSION: u32 = 1;

/// What was explored of the protocol as it ships, to the end, and without a violation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sound {
    /// With which lock.
    pub strategy: LockStrategy,
    /// Who did what.
    pub setting: String,
    /// How often an actor that could go on was passed over, at most; none: every order was tried.
    pub preemptions: Option<usize>,
    /// How many orders there were.
    pub executions: u64,
}

/// What was explored of the protocol as it ships, as a Markdown table: one row a setting, one column a
/// strategy.
pub fn sound_table() -> String {
    let rows: Vec<Sound> = serde_json::from_str(SOUND).expect("a test sees to it that the record can be read");
    let mut settings: Vec<&str> = Vec::new();
    for row in &rows {
        if !settings.contains(&row.setting.as_str()) {
            settings.push(&row.setting);
        }
    }
    let strategies: Vec<LockStrategy> =
        LockStrategy::ALL.into_iter().filter(|strategy| rows.iter().any(|row| row.strategy == *strategy)).collect();
    let mut table = "| what |".to_owned();
    strategies.iter().for_each(|strategy| table.push_str(&format!(" `{strategy}` |")));
    table.push_str(&format!("\n| --- |{}\n", " --- |".repeat(strategies.len())));
    for setting in settings {
        table.push_str(&format!("| {setting} |"));
        for strategy in &strategies {
            let row = rows.iter().find(|row| row.setting == setting && row.strategy == *strategy);
            table.push_str(&match row {
                None => " – |".to_owned(),
                Some(Sound { preemptions: None, executions, .. }) => format!(" all {executions} |"),
                Some(Sound { preemptions: Some(most), executions, .. }) => format!(" {executions} (≤ {most}) |"),
            });
        }
        table.push('\n');
    }
    table
}

/// Everything that was recorded of the mutants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The version of loom.
    pub loom: String,
    /// Each mutant on each backend on which it exists.
    pub mutants: Vec<Entry>,
}

/// One mutant on one backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub mutant: String,
    /// On a model of which database.
    pub backend: Backend,
    /// What came of it.
    #[serde(flatten)]
    pub fate: Fate,
}

/// What became of a mutant under loom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Fate {
    /// A check failed.
    Killed(Box<Killed>),
    /// Every order within the bounds was tried, and the check that must notice it did not.
    Survived {
        /// How many executions were tried.
        executions: u64,
    },
    /// The model cannot express it, or what provokes it.
    NotExpressible {
        /// Why, as one sentence.
        reason: String,
    },
}

impl Fate {
    /// What a report says of it; nothing where the model cannot express it.
    pub fn row(&self) -> Option<LoomRow> {
        match self {
            Self::Killed(killed) => Some(LoomRow { verdict: VerdictKind::Violation, executions: killed.executions }),
            Self::Survived { executions } => Some(LoomRow { verdict: VerdictKind::Pass, executions: *executions }),
            Self::NotExpressible { .. } => None,
        }
    }

    /// What the table of mutants says of it.
    pub(super) fn cell(&self) -> String {
        match self {
            Self::Killed(killed) => {
                let by = killed.shown.check;
                match &killed.damage {
                    None => format!("killed by `{by}` in execution {}", killed.executions),
                    Some(Damage { executions, shown, .. }) => format!(
                        "killed by `{by}` in execution {}, and by `{}` in {executions}",
                        killed.executions, shown.check
                    ),
                }
            }
            Self::Survived { executions } => format!("survived {executions} executions"),
            Self::NotExpressible { reason } => format!("not expressible: {reason}"),
        }
    }
}

/// How a mutant was killed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Killed {
    /// What was explored.
    pub setting: String,
    /// The strategy that is broken.
    pub strategy: LockStrategy,
    /// The check that must notice it, and the others that did in the same execution.
    pub killed_by: Vec<CheckName>,
    /// How many executions it took, over all bounds.
    pub executions: u64,
    /// The bound on preemptions within which it was found.
    pub preemptions: usize,
    /// The operations that show it. Times are steps of the model.
    pub shown: Shown,
    /// What the missing protection did to the data, where the check only says that it was missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<Damage>,
}

/// The least execution in which something really went wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Damage {
    /// How many executions it took, over all bounds.
    pub executions: u64,
    /// The bound on preemptions within which it was found.
    pub preemptions: usize,
    /// The operations that show it.
    pub shown: Shown,
}

/// The record that is built in.
pub fn record() -> &'static Record {
    static RECORD: LazyLock<Record> =
        LazyLock::new(|| serde_json::from_str(KILLS).expect("a test sees to it that the record can be read"));
    &RECORD
}

/// What stands for loom among the databases that a report names.
pub fn backend_used() -> BackendUsed {
    let version = format!("{} recorded", record().loom);
    BackendUsed { name: "loom".to_owned(), version, provisioned: "recorded artefact".to_owned() }
}

/// What was recorded of one mutant on one backend.
pub fn of(mutant: &str, backend: Backend) -> Option<&'static Fate> {
    let mut entries = record().mutants.iter();
    entries.find(|entry| entry.mutant == mutant && entry.backend == backend).map(|entry| &entry.fate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutant::{ALL, Stance};

    #[test]
    fn the_record_can_be_read_and_knows_every_mutant_where_it_exists() {
        assert_eq!(record().schema_version, SCHEMA_VERSION);
        for mutant in ALL {
            for backend in Backend::ALL {
                let runs = matches!(mutant.on(backend), Stance::Runs { .. });
                assert_eq!(of(mutant.name, backend).is_some(), runs, "{} on {backend}", mutant.name);
            }
        }
    }

    #[test]
    fn the_protocol_as_it_ships_was_explored_with_every_strategy_that_the_model_has() {
        let header = sound_table().lines().next().map(str::to_owned);
        assert_eq!(
            header.as_deref(),
            Some("| what | `row-no-key` | `row` | `advisory` | `constraint` | `immediate` |")
        );
    }

    #[test]
    fn every_mutant_that_the_model_can_express_is_killed_by_the_check_that_must_notice_it() {
        for mutant in ALL {
            for backend in Backend::ALL {
                match (mutant.on(backend), of(mutant.name, backend)) {
                    (Stance::Runs { by, .. }, Some(Fate::Killed(killed))) => {
                        assert!(killed.killed_by.contains(&by), "{} on {backend}", mutant.name);
                    }
                    (_, Some(Fate::Survived { .. })) => panic!("{} on {backend} survives loom", mutant.name),
                    _ => {}
                }
            }
        }
    }
}
