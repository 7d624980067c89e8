//! The rehearsals of a directory: one for each companion and each way in which a SQLite file keeps what is unfinished.

use std::collections::BTreeSet;

use drift_engine::lock::Backend;

use super::companion::Companion;
use super::migrations::Script;
use super::runner;
use super::settings::Expect;
use super::subject::Subject;
use super::target::sqlite::beside::COMPANIONS;
use crate::provision::Journal;

/// A rehearsal that is to be held.
#[derive(Clone, Debug)]
pub struct Case {
    /// The directory.
    pub subject: Subject,
    /// Who else is there.
    pub companion: Option<Companion>,
    /// How its SQLite file keeps what is unfinished; none on PostgreSQL.
    pub journal: Option<Journal>,
    /// Whether it is about being cut off.
    pub failures: bool,
    /// The tool that migrates, instead of us.
    pub commands: Option<Commands>,
    /// What is to be known about the files that it is about.
    pub notes: Vec<String>,
}

/// The shell commands of a tool that migrates, as files.
#[derive(Clone, Debug)]
pub struct Commands {
    /// What goes up.
    pub up: Script,
    /// What goes down, if anything does.
    pub down: Option<Script>,
}

impl Commands {
    /// The commands for what is at `place`.
    pub fn new(place: &str, up: &str, down: Option<&str>) -> Self {
        Self { up: runner::script(place, up), down: down.map(|down| runner::script(place, down)) }
    }
}

/// Beside whom a directory is rehearsed, in addition to what its settings say.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// These, one at a time.
    pub companions: BTreeSet<Companion>,
    /// Every companion that there can be.
    pub everybody: bool,
    /// Once more being cut off at each statement.
    pub failures: bool,
}

impl Case {
    /// The rehearsals of a directory.
    pub fn all(subject: &Subject, wanted: &Beside, commands: Option<&Commands>, notes: &[String]) -> Vec<Self> {
        let is_sqlite = subject.settings.backend() == Backend::Sqlite;
        let mut companions = BTreeSet::from([subject.companion()]);
        companions.extend(wanted.companions.iter().copied().map(Some));
        if wanted.everybody {
            companions.extend(if is_sqlite { &COMPANIONS[..] } else { &Companion::ALL[..] }.iter().copied().map(Some));
        }
        let journals: Vec<Option<Journal>> = match (is_sqlite, subject.settings.journal) {
            (false, _) => vec![None],
            (true, Some(journal)) => vec![Some(journal)],
            (true, None) => Journal::ALL.map(Some).to_vec(),
        };
        let mut cases = Vec::new();
        for journal in journals {
            let case = |companion, failures| Self {
                subject: subject.clone(),
                companion,
                journal,
                failures,
                commands: commands.cloned(),
                notes: notes.to_vec(),
            };
            cases.extend(companions.iter().map(|companion| case(*companion, false)));
            cases.extend(wanted.failures.then(|| case(None, true)));
        }
        cases
    }

    /// Beside whom, and with which journal, for people.
    pub fn beside(&self) -> String {
        let beside = match self.companion {
            _ if self.failures => "failures",
            Some(companion) => companion.as_str(),
            None => "alone",
        };
        self.journal.map_or(beside.to_owned(), |journal| format!("{beside}, {}", journal.as_str()))
    }

    /// What is expected to be found.
    pub fn expected(&self) -> Vec<&Expect> {
        let mut expected = match self.failures {
            true => self.subject.settings.expected_of_failures(),
            false => self.subject.settings.expected(self.companion),
        };
        expected.retain(|expect| expect.journal.is_none() || expect.journal == self.journal);
        expected
    }
}
