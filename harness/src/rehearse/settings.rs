//! `rehearse.toml`, beside the migrations: what they are rehearsed on, and what is expected to be found.

use drift_engine::lock::Backend;
use serde::Deserialize;

use super::application::Application;
use super::budget::Budget;
use super::companion::{Companion, ReplicaLock};
use super::finding::{Finding, Kind};
use super::migrations::Version;
use crate::provision::Journal;

/// The file's name.
pub const FILE: &str = "rehearse.toml";
/// How many events the archive has, unless said otherwise.
pub const EVENTS: u32 = 100_000;
/// The most that it may have.
pub const EVENTS_MAX: u32 = 5_000_000;

/// The longest time for which a migrating session may wait for SQLite's write lock, in milliseconds.
const BUSY_TIMEOUT_MAX_MS: u64 = 60_000;

/// What the file says; everything may be left out.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Settings {
    /// What is to be seen, in a sentence.
    pub summary: Option<String>,
    /// What they are written for; without it, PostgreSQL.
    pub backend: Option<Backend>,
    /// How a SQLite file keeps what is unfinished; without it, both ways are rehearsed.
    pub journal: Option<Journal>,
    /// How long the migrating session waits for SQLite's write lock, in milliseconds; without it, 5 s.
    pub busy_timeout_ms: Option<u64>,
    /// Whether the migrating session looks after foreign keys on SQLite; without it, as its tool has them.
    pub foreign_keys: Option<bool>,
    /// Driftlock's own migrations up to this version come before these: they make the traffic's tables.
    pub base_version: i64,
    /// The version to begin at; without it, the one before the last.
    pub from: Option<Version>,
    /// The version to go to; without it, the last.
    pub to: Option<Version>,
    /// Which code is deployed; without it, the newest that fits the version at the start.
    pub application: Option<Application>,
    /// Who else is there.
    pub companion: Option<Companion>,
    /// How replicas exclude each other.
    pub replica_lock: ReplicaLock,
    /// How many events the archive has.
    pub events: Option<u32>,
    /// What the migrations may cost.
    pub budget: Budget,
    /// What is expected to be found, and nothing else; without any, nothing.
    pub expect: Vec<Expect>,
}

/// A finding that is expected.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Expect {
    /// What sort.
    pub finding: Kind,
    /// In which file, by its name, or by its path within the directory.
    pub file: String,
    /// On which line, if that matters.
    pub line: Option<u32>,
    /// With which SQLSTATE, if that matters.
    pub code: Option<String>,
    /// Whether it may be found, and need not.
    #[serde(default)]
    pub may: bool,
    /// Whether it is what `--failures` finds.
    #[serde(default)]
    pub failures: bool,
    /// With which journal only, on SQLite.
    pub journal: Option<Journal>,
    /// Beside which companion only; without it, with the one of the settings, or with none.
    pub companion: Option<Companion>,
}

impl Expect {
    /// Whether it speaks of this finding.
    pub fn means(&self, finding: &Finding) -> bool {
        self.finding == finding.kind
            && self.is_in(&finding.file)
            && self.line.is_none_or(|line| line == finding.line)
            && self.code.as_ref().is_none_or(|code| finding.code.as_ref() == Some(code))
    }

    /// Whether it speaks of this file.
    pub fn is_in(&self, file: &str) -> bool {
        file.strip_suffix(self.file.as_str()).is_some_and(|before| before.is_empty() || before.ends_with('/'))
    }
}

impl Settings {
    /// Reads the file's text.
    ///
    /// # Errors
    /// What is wrong with it, with its place, for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let settings: Self = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        if settings.events.is_some_and(|events| !(1..=EVENTS_MAX).contains(&events)) {
            return Err(format!("events is a number from 1 to {EVENTS_MAX}"));
        }
        if settings.busy_timeout_ms.is_some_and(|timeout| !(1..=BUSY_TIMEOUT_MAX_MS).contains(&timeout)) {
            return Err(format!("busy-timeout-ms is a number from 1 to {BUSY_TIMEOUT_MAX_MS}"));
        }
        if !(0.0..=1.0).contains(&settings.budget.throughput_dip) {
            return Err("throughput-dip is a share from 0 to 1".to_owned());
        }
        Ok(settings)
    }

    /// What is expected beside a companion, or alone.
    pub fn expected(&self, companion: Option<Companion>) -> Vec<&Expect> {
        let meant = |expect: &&Expect| !expect.failures && expect.companion.or(self.companion) == companion;
        self.expect.iter().filter(meant).collect()
    }

    /// What they are written for.
    pub fn backend(&self) -> Backend {
        self.backend.unwrap_or(Backend::Postgres)
    }

    /// What is expected of being cut off.
    pub fn expected_of_failures(&self) -> Vec<&Expect> {
        self.expect.iter().filter(|expect| expect.failures).collect()
    }
}

/// Whether exactly what was expected was found: all of it that must be, and nothing in any other file.
pub fn is_as_expected(expected: &[&Expect], findings: &[Finding]) -> bool {
    let found = |expect: &&Expect| expect.may || findings.iter().any(|finding| expect.means(finding));
    let meant = |finding: &Finding| expected.iter().any(|expect| expect.is_in(&finding.file));
    expected.iter().all(found) && findings.iter().all(meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: Kind, file: &str, code: Option<&str>) -> Finding {
        Finding {
            kind,
            file: format!("some/where/{file}"),
            line: 2,
            column: 1,
            statement: "x".into(),
            pass: "up".into(),
            code: code.map(str::to_owned),
            sentence: "x".into(),
            advice: "x".into(),
        }
    }

    #[test]
    fn all_that_is_expected_must_be_found_and_nothing_elsewhere() {
        let settings =
            Settings::parse("[[expect]]\nfinding = 'refused'\nfile = 'a.sql'\nline = 2\ncode = '23505'").unwrap();
        let expected = settings.expected(None);
        let sound = finding(Kind::Refused, "a.sql", Some("23505"));
        assert!(is_as_expected(&expected, std::slice::from_ref(&sound)));
        assert!(is_as_expected(&expected, &[sound.clone(), finding(Kind::Queue, "a.sql", None)]));
        for wrong in [
            vec![],
            vec![finding(Kind::Refused, "a.sql", Some("42P07"))],
            vec![finding(Kind::Refused, "b.sql", Some("23505"))],
            vec![finding(Kind::DownRefused, "a.sql", Some("23505"))],
            vec![sound.clone(), finding(Kind::Queue, "b.sql", None)],
        ] {
            assert!(!is_as_expected(&expected, &wrong), "{wrong:?}");
        }
        assert!(is_as_expected(&[], &[]) && !is_as_expected(&[], &[sound]));
        let may = Settings::parse("[[expect]]\nfinding = 'refused'\nfile = 'a.sql'\nmay = true").unwrap();
        assert!(is_as_expected(&may.expected(None), &[]));
        assert!(!is_as_expected(&may.expected(None), &[finding(Kind::Refused, "b.sql", None)]));
    }

    #[test]
    fn a_companions_expectations_are_its_own() {
        let text = "[[expect]]\nfinding = 'queue'\nfile = 'a.sql'\ncompanion = 'idle-reader'";
        let settings = Settings::parse(text).unwrap();
        assert_eq!(settings.expected(Some(Companion::IdleReader)).len(), 1);
        assert!(settings.expected(None).is_empty() && settings.expected(Some(Companion::Dump)).is_empty());
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_place() {
        for (text, said) in [
            ("form = 1", "unknown field `form`"),
            ("[budget]\nread-block = 1", "line 2, column 1"),
            ("[[expect]]\nfinding = 'x'\nfile = 'a'", "unknown variant `x`"),
            ("events = 0", "events is a number"),
            ("[budget]\nthroughput-dip = 2.0", "throughput-dip is a share"),
            ("companion = 'nobody'", "unknown variant `nobody`"),
        ] {
            let error = Settings::parse(text).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
