//! Failures that `explore` can let happen, once in an execution: their kinds, and how they are named.

use std::fmt;

use drift_engine::lock::Backend;
use toml::de::DeValue;

use crate::value::{Wrong, mistyped};

/// The code of a connection that was lost.
pub const LOST: &str = "08006";

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The connection is lost before the server has got the step.
    LostBefore,
    /// The connection is lost after the server has carried the step out; its answer is not read.
    LostAfter,
    /// The server refuses the step with 40001: a serialization failure.
    Serialization,
    /// With 40P01: a deadlock.
    Deadlock,
    /// With 55P03: a lock is not available.
    LockNotAvailable,
    /// With 57014: the statement was cancelled.
    Cancelled,
    /// With 53300: the server takes no more connections.
    TooMany,
    /// The server ends the session: 57P01.
    Terminated,
    /// The client is gone. No handler of it runs, and it tries nothing again.
    Killed,
    /// SQLite refuses the step with 5: SQLITE_BUSY.
    Busy,
    /// The server is restarted: every session ends with 57P01. Only a server of our own is.
    Restarted,
}

/// What stands for every kind but the server's restart.
const ALL: &str = "all";
/// What stands for none, where a file names some.
const NONE: &str = "none";

impl FaultKind {
    /// Those that `all` stands for: all but [`FaultKind::Restarted`], which costs a start of the server in each execution.
    pub const ALL: [Self; 10] = [
        Self::LostBefore,
        Self::LostAfter,
        Self::Serialization,
        Self::Deadlock,
        Self::LockNotAvailable,
        Self::Cancelled,
        Self::TooMany,
        Self::Terminated,
        Self::Killed,
        Self::Busy,
    ];

    /// All of them.
    pub fn every() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().chain([Self::Restarted])
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LostBefore => "lost-before",
            Self::LostAfter => "lost-after",
            Self::Serialization => "40001",
            Self::Deadlock => "40P01",
            Self::LockNotAvailable => "55P03",
            Self::Cancelled => "57014",
            Self::TooMany => "53300",
            Self::Terminated => "terminated",
            Self::Killed => "killed",
            Self::Busy => "busy",
            Self::Restarted => "restarted",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::every().find(|kind| kind.as_str() == name)
    }

    /// The code that the client sees. Whoever is killed sees none.
    pub fn code(self) -> &'static str {
        match self {
            Self::LostBefore | Self::LostAfter => LOST,
            Self::Terminated | Self::Restarted => "57P01",
            Self::Busy => "5",
            _ => self.as_str(),
        }
    }

    /// Whether it exists on a database.
    pub fn is_on(self, backend: Backend) -> bool {
        match self {
            Self::Killed => true,
            Self::Busy => backend == Backend::Sqlite,
            _ => backend == Backend::Postgres,
        }
    }

    /// Those of a database, as they are written.
    pub fn names_on(backend: Backend) -> String {
        let names: Vec<&str> = Self::every().filter(|kind| kind.is_on(backend)).map(Self::as_str).collect();
        names.join(", ")
    }

    /// Whether the client's session ends with it.
    pub fn ends_session(self) -> bool {
        matches!(self, Self::LostBefore | Self::LostAfter | Self::Terminated | Self::Killed | Self::Restarted)
    }

    /// Reads names that are separated by commas; `all` is [`FaultKind::ALL`], `none` alone is none.
    ///
    /// # Errors
    /// A name is unknown: what there is.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        if text.trim() == NONE {
            return Ok(Vec::new());
        }
        named(text.split(',').map(str::trim))
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn named<'n>(names: impl Iterator<Item = &'n str>) -> Result<Vec<FaultKind>, String> {
    let mut kinds = Vec::new();
    for name in names {
        match FaultKind::named(name) {
            Some(kind) => kinds.push(kind),
            None if name == ALL => kinds.extend(FaultKind::ALL),
            None => {
                let [postgres, sqlite] = Backend::ALL.map(FaultKind::names_on);
                return Err(format!(
                    "there is no fault `{}`; on PostgreSQL there are {postgres}; on SQLite {sqlite}; `all` is every \
                     one but restarted, `none` is none",
                    crate::value::shown(name)
                ));
            }
        }
    }
    kinds.sort_unstable();
    kinds.dedup();
    Ok(kinds)
}

/// Reads a file's `faults`: `"all"`, `"none"`, or a list of kinds.
pub fn faults(value: &DeValue<'_>) -> Result<Vec<FaultKind>, Wrong> {
    let list = match (value.as_str(), value.as_array()) {
        (Some(NONE), _) => Ok(Vec::new()),
        (Some(text), _) => named(std::iter::once(text)),
        (None, Some(items)) => {
            let names: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            named(names.ok_or_else(|| mistyped("a list of faults", value))?.into_iter())
        }
        (None, None) => return Err(mistyped("\"all\", or a list of faults", value)),
    };
    list.map_err(|why| Wrong::new(format!("names what does not exist: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_and_what_there_is_is_told() {
        assert_eq!(FaultKind::parse_list("all").unwrap(), FaultKind::ALL);
        assert_eq!(FaultKind::parse_list("all,restarted").unwrap(), FaultKind::every().collect::<Vec<_>>());
        assert_eq!(FaultKind::parse_list("none").unwrap(), []);
        let two = FaultKind::parse_list("lost-after, 40001,40001").unwrap();
        assert_eq!(two, [FaultKind::LostAfter, FaultKind::Serialization]);
        for wrong in ["", "lost", "40001,", "ALL", "none,40001"] {
            let why = FaultKind::parse_list(wrong).unwrap_err();
            assert!(why.contains("lost-before") && why.contains("on SQLite killed, busy"), "{why}");
        }
    }

    #[test]
    fn each_fault_has_a_name_of_its_own_and_a_database() {
        for kind in FaultKind::every() {
            assert_eq!(FaultKind::named(kind.as_str()), Some(kind));
            assert!(Backend::ALL.into_iter().any(|backend| kind.is_on(backend)), "{kind}");
        }
        assert!(!FaultKind::Busy.is_on(Backend::Postgres) && FaultKind::Killed.is_on(Backend::Postgres));
        assert_eq!((FaultKind::LostAfter.code(), FaultKind::Terminated.code()), ("08006", "57P01"));
    }
}
