//! What a rehearsal may find, each kind with what to do instead.

use serde::{Deserialize, Serialize};

/// The kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Reads were blocked for longer than the budget allows.
    BlocksReaders,
    /// Writes were blocked for longer than the budget allows.
    BlocksWriters,
    /// ACCESS EXCLUSIVE was held for longer than the budget allows.
    AccessExclusive,
    /// A statement waited for a lock, and the traffic queued behind it.
    Queue,
    /// A statement and an operation of the traffic waited for each other.
    Deadlock,
    /// The database refused a statement.
    Refused,
    /// Several statements in one message are one transaction, whatever the file says.
    OneMessage,
    /// A refused statement left an INVALID index.
    InvalidIndex,
    /// A statement reported success, and its index is INVALID.
    SilentInvalid,
    /// A check of the migration's own refused what would have succeeded.
    FalseAlarm,
    /// Cut off and run again, it does not come to what a clean run comes to.
    NotRecovered,
    /// The database refused a statement on the way down.
    DownRefused,
    /// After going down the schema is not what it was.
    DownDiffers,
    /// After going up again the schema is not what it was the first time.
    UpDiffers,
    /// Something was left that should not be.
    LeftBehind,
    /// Replicas that wanted to migrate at once got in each other's way.
    Replicas,
    /// The application saw an error that the budget does not allow.
    ApplicationError,
    /// The code of the version before does not work on the new version.
    OldApplication,
    /// The traffic's results are wrong.
    WrongResult,
    /// The traffic lost more of its throughput than the budget allows.
    Throughput,
    /// A statement keeps others out for a time that grows with a table.
    GrowsWithTable,
    /// It took longer than the budget allows.
    TotalTime,
}

impl Kind {
    /// Every kind, in the order of reports.
    pub const ALL: [Self; 22] = [
        Self::WrongResult,
        Self::ApplicationError,
        Self::OldApplication,
        Self::SilentInvalid,
        Self::InvalidIndex,
        Self::FalseAlarm,
        Self::OneMessage,
        Self::Refused,
        Self::Deadlock,
        Self::Replicas,
        Self::NotRecovered,
        Self::DownRefused,
        Self::DownDiffers,
        Self::UpDiffers,
        Self::LeftBehind,
        Self::Queue,
        Self::AccessExclusive,
        Self::BlocksReaders,
        Self::BlocksWriters,
        Self::GrowsWithTable,
        Self::Throughput,
        Self::TotalTime,
    ];

    /// The name used in reports and settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BlocksReaders => "blocks-readers",
            Self::BlocksWriters => "blocks-writers",
            Self::AccessExclusive => "access-exclusive",
            Self::Queue => "queue",
            Self::Deadlock => "deadlock",
            Self::GrowsWithTable => "grows-with-table",
            Self::Refused => "refused",
            Self::OneMessage => "one-message",
            Self::InvalidIndex => "invalid-index",
            Self::SilentInvalid => "silent-invalid",
            Self::FalseAlarm => "false-alarm",
            Self::NotRecovered => "not-recovered",
            Self::DownRefused => "down-refused",
            Self::DownDiffers => "down-differs",
            Self::UpDiffers => "up-differs",
            Self::LeftBehind => "left-behind",
            Self::Replicas => "replicas",
            Self::ApplicationError => "application-error",
            Self::OldApplication => "old-application",
            Self::WrongResult => "wrong-result",
            Self::Throughput => "throughput",
            Self::TotalTime => "total-time",
        }
    }

    /// What it means, in a few words.
    pub fn title(self) -> &'static str {
        match self {
            Self::BlocksReaders => "reads were blocked for longer than the budget allows",
            Self::BlocksWriters => "writes were blocked for longer than the budget allows",
            Self::AccessExclusive => "ACCESS EXCLUSIVE was held for longer than the budget allows",
            Self::Queue => "a statement waited for a lock, and the traffic queued behind it",
            Self::Deadlock => "a statement and an operation of the traffic waited for each other",
            Self::GrowsWithTable => "a statement keeps others out for a time that grows with a table",
            Self::Refused => "the database refused a statement",
            Self::OneMessage => "several statements in one message are one transaction",
            Self::InvalidIndex => "a refused statement left an INVALID index",
            Self::SilentInvalid => "a statement reported success, and its index is INVALID",
            Self::FalseAlarm => "a check refused what would have succeeded",
            Self::NotRecovered => "cut off and run again, it does not come to what a clean run comes to",
            Self::DownRefused => "the database refused a statement on the way down",
            Self::DownDiffers => "after going down the schema is not what it was",
            Self::UpDiffers => "after going up again the schema is not what it was",
            Self::LeftBehind => "something was left that should not be",
            Self::Replicas => "replicas that wanted to migrate at once got in each other's way",
            Self::ApplicationError => "the application saw an error",
            Self::OldApplication => "the code of the version before does not work on the new version",
            Self::WrongResult => "the traffic's results are wrong",
            Self::Throughput => "the traffic lost too much of its throughput",
            Self::TotalTime => "it took too long",
        }
    }

    /// What to do instead, where the statement's words do not say it better.
    pub fn advice(self) -> &'static str {
        match self {
            Self::BlocksReaders | Self::AccessExclusive => {
                "Do the long work under a weaker lock first (CREATE INDEX CONCURRENTLY, NOT VALID and then VALIDATE), \
                 so that ACCESS EXCLUSIVE is held for an instant only."
            }
            Self::BlocksWriters => {
                "Do the work in batches, or in a way that lets writers go on (CREATE INDEX CONCURRENTLY, NOT VALID and \
                 then VALIDATE)."
            }
            Self::Queue => {
                "Give up early and try again: a lock_timeout that is shorter than what the traffic can bear, and a \
                 deploy that repeats the file."
            }
            Self::Deadlock => {
                "Take locks in the order in which the application takes them, or one table in each transaction; and give up \
                 early (a lock_timeout that is shorter than deadlock_timeout) in a deploy that repeats the file."
            }
            Self::GrowsWithTable => {
                "Do the long work under a lock that lets writers go on: CREATE INDEX CONCURRENTLY, NOT VALID and then \
                 VALIDATE CONSTRAINT in a later transaction, a new column that is filled in batches."
            }
            Self::Refused => "Make the file fit for the data and for a second run.",
            Self::OneMessage => {
                "One statement a file: a file without a transaction is sent whole, and the server makes one \
                 transaction of several statements. Settings belong into the session, or into a file of their own."
            }
            Self::InvalidIndex => {
                "Before the build, drop an INVALID index of that name (DROP INDEX CONCURRENTLY IF EXISTS), and let the \
                 build wait without a lock_timeout: its waits block nobody."
            }
            Self::SilentInvalid => {
                "IF NOT EXISTS looks at the name only. Drop an INVALID index first (DROP INDEX CONCURRENTLY IF EXISTS), \
                 and check pg_index.indisvalid after the build."
            }
            Self::FalseAlarm => {
                "A unique index takes NULL for different from NULL; GROUP BY does not. Leave rows with a NULL among the \
                 index's columns out of the check."
            }
            Self::NotRecovered => {
                "Make the file fit for a second run: what runs outside of a transaction leaves a part of itself behind. \
                 Drop an INVALID index before its build (DROP INDEX CONCURRENTLY IF EXISTS)."
            }
            Self::DownRefused => "Undo exactly what the file up did, in the reverse order, and rehearse it.",
            Self::DownDiffers => "Undo everything that the file up did.",
            Self::UpDiffers => "Let the file down undo everything, so that a second way up begins where the first did.",
            Self::LeftBehind => "Clean up in the same migration, or in the next one.",
            Self::Replicas => {
                "Let replicas ask pg_try_advisory_lock again and again: whoever waits in pg_advisory_lock has a \
                 snapshot, which a concurrent build waits for."
            }
            Self::ApplicationError => {
                "Deploy in an order in which every version of the code fits every schema that it meets."
            }
            Self::OldApplication => {
                "Expand, then contract: first add what the new code needs, nullable or with a default, so that both \
                 versions of the code work; remove or rename what the old one needs in a later deploy."
            }
            Self::WrongResult => "Do not deploy it: look at the operations in the run directory.",
            Self::Throughput => "Do the work in smaller parts, with pauses.",
            Self::TotalTime => "Do the work outside of the deploy.",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What sort of thing.
    pub kind: Kind,
    /// The migration file, as it was named.
    pub file: String,
    /// The line and the column of the statement, from 1.
    pub line: u32,
    /// See `line`.
    pub column: u32,
    /// The statement, shortened.
    pub statement: String,
    /// In which part of the course: `up`, `down`, `up again`.
    pub pass: String,
    /// The SQLSTATE, if the database refused something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What happened, in a sentence.
    pub sentence: String,
    /// What to do instead.
    pub advice: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_listed_once_under_the_name_that_it_is_read_by() {
        let names: std::collections::BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            assert_eq!(serde_json::from_value::<Kind>(kind.as_str().into()).unwrap(), kind);
            assert!(kind.advice().ends_with('.') && !kind.title().ends_with('.'));
        }
    }
}
