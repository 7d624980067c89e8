//! Cases that differ in more than what they begin with: values of their own, and steps that only some of them have.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::holes::{fill_some, holes};
use super::{Script, ScriptCase, ScriptStep, codes, sql};
use crate::value::{Wrong, mistyped};

/// Codes with which a database refuses for the sake of concurrency: what a program must be ready for.
///
/// Serialization failure, deadlock, lock not available, query cancelled, what follows in a failed transaction;
/// and what somebody else has put there first: a unique key, an exclusion, a table.
pub const CONCURRENCY: [&str; 8] = ["40001", "40P01", "55P03", "57014", "25P02", "23505", "23P01", "42P07"];

/// Which refusals are no violation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Refusals {
    /// Those of concurrency: [`CONCURRENCY`], and SQLite's for a lock that is taken and for a unique key.
    #[default]
    OfConcurrency,
    /// These alone; none, if there is none.
    Only(Vec<String>),
}

impl Refusals {
    /// Whether a refusal with this code is no violation.
    pub fn tolerate(&self, code: &str) -> bool {
        match self {
            Self::OfConcurrency => CONCURRENCY.contains(&code) || is_busy(code),
            Self::Only(codes) => codes.iter().any(|known| known == code),
        }
    }
}

/// Whether a code is SQLite's for a lock that is taken: SQLITE_BUSY, SQLITE_LOCKED, and SQLITE_CONSTRAINT
/// for a unique key.
fn is_busy(code: &str) -> bool {
    code.parse::<i32>().is_ok_and(|code| code < 10_000 && (matches!(code & 0xff, 5 | 6) || matches!(code, 1555 | 2067)))
}

/// Whether whoever is refused with this code may try the same again: a serialization failure, a deadlock,
/// SQLite's lock.
pub fn is_retryable(code: &str) -> bool {
    matches!(code, "40001" | "40P01")
        || code.parse::<i32>().is_ok_and(|code| code < 10_000 && matches!(code & 0xff, 5 | 6))
}

/// Reads `refusals`: `"none"`, `"concurrency"`, or a list of codes.
pub(super) fn refusals(value: &DeValue<'_>) -> Result<Refusals, Wrong> {
    match value.as_str() {
        Some("none") => Ok(Refusals::Only(Vec::new())),
        Some("concurrency") => Ok(Refusals::OfConcurrency),
        Some(_) => Err(Wrong::new("must be \"none\", \"concurrency\", or a list of codes")),
        None => codes(value).map(Refusals::Only),
    }
}

/// Reads a case's `set`.
pub(super) fn set(value: &DeValue<'_>) -> Result<BTreeMap<String, String>, Wrong> {
    let table = value.as_table().ok_or_else(|| mistyped("a table of names and SQL", value))?;
    let mut set = BTreeMap::new();
    for (key, value) in table {
        let name = &**key.get_ref();
        if holes(&format!("{{{name}}}")).is_empty() || name == "begin" {
            return Err(Wrong::new("must set names of lower-case letters, digits and _, other than `begin`"));
        }
        // Nothing is a value, too: FOR UPDATE, or not. Spaces are kept, for words may touch what is around.
        let text = value.get_ref().as_str().ok_or_else(|| mistyped("SQL", value.get_ref()))?;
        if !text.is_empty() {
            sql(value.get_ref()).map_err(|wrong| wrong.inside(name))?;
        }
        set.insert(name.to_owned(), text.to_owned());
    }
    Ok(set)
}

impl ScriptCase {
    /// A step's SQL with what `{begin}` stands for.
    pub fn begun(&self, sql: &str) -> String {
        sql.replace("{begin}", &self.begin)
    }
}

impl ScriptStep {
    /// Whether a case has it.
    pub fn is_in(&self, case: &ScriptCase) -> bool {
        self.only.is_empty() || self.only.contains(&case.name)
    }
}

impl Script {
    /// Whether an actor can begin: the last ones do when all others have ended.
    pub fn may_begin(&self, actor: usize, ended: impl Fn(usize) -> bool) -> bool {
        !self.actors[actor].is_last || (0..self.actors.len()).all(|other| self.actors[other].is_last || ended(other))
    }

    /// The script as one of its cases has it: with its steps only, and its values put in.
    pub fn of_case(&self, case: &ScriptCase) -> Self {
        let mut script = self.clone();
        let put = |sql: &mut String| *sql = fill_some(sql, |name| case.set.get(name).cloned());
        put(&mut script.setup);
        for actor in &mut script.actors {
            actor.retain(|step| step.is_in(case));
            actor.steps.iter_mut().for_each(|step| put(&mut step.sql));
        }
        script.actors.retain(|actor| !actor.steps.is_empty());
        script.invariants.iter_mut().chain(&mut script.serial).for_each(|query| put(&mut query.sql));
        script
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_told_from_other_codes() {
        assert!(is_busy("5") && is_busy("517") && is_busy("261") && is_busy("2067"));
        assert!(!is_busy("1") && !is_busy("787") && !is_busy("42601"));
        assert!(is_retryable("40001") && is_retryable("517") && !is_retryable("2067") && !is_retryable("23505"));
    }

    #[test]
    fn refusals_are_those_of_concurrency_unless_they_are_named() {
        assert!(Refusals::default().tolerate("23P01") && !Refusals::default().tolerate("22012"));
        assert!(!Refusals::Only(Vec::new()).tolerate("40001"));
        assert!(Refusals::Only(vec!["22012".to_owned()]).tolerate("22012"));
    }
}
