//! The mutants: protocols with a defence removed, where they exist, and what provokes them.
//!
//! Defences that cover for one another are removed together: under the lock a unique violation never
//! fires, so the mutant that catches one runs without a lock. Each names the scenario in which it
//! must be killed; that the unmutated protocol passes the same scenario is shown in the same run.

pub mod recorded;

use std::fmt::Write as _;

use drift_engine::lock::{Backend, LockStrategy};

use crate::check::CheckName;
use crate::lens::mutant::Rewrite;

/// What is done to the schema before the tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaChange {
    /// The unique constraint of the events is dropped.
    DropConstraint,
}

/// What a mutant is on one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stance {
    /// It runs.
    Runs {
        /// The scenario that provokes it.
        scenario: &'static str,
        /// The strategy that is broken.
        strategy: LockStrategy,
        /// What is done to the schema.
        schema: Option<SchemaChange>,
        /// The check that must notice; others may notice too.
        by: CheckName,
    },
    /// It does not exist here, or is harmless.
    NotApplicable {
        /// Why, as one sentence.
        reason: &'static str,
    },
}

/// A protocol with a defence removed.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// The name used in reports.
    pub name: &'static str,
    /// What is wrong with it, as one sentence.
    pub summary: &'static str,
    /// How the operations are rewritten.
    pub rewrite: Rewrite,
    /// What it is on PostgreSQL.
    pub postgres: Stance,
    /// What it is on SQLite.
    pub sqlite: Stance,
}

impl Mutant {
    /// What it is on a backend.
    pub fn on(&self, backend: Backend) -> Stance {
        match backend {
            Backend::Postgres => self.postgres,
            Backend::Sqlite => self.sqlite,
        }
    }
}

const fn locked(scenario: &'static str, by: CheckName) -> Stance {
    Stance::Runs { scenario, strategy: LockStrategy::RowNoKey, schema: None, by }
}

const fn immediate(scenario: &'static str, by: CheckName) -> Stance {
    Stance::Runs { scenario, strategy: LockStrategy::Immediate, schema: None, by }
}

const fn unlocked(scenario: &'static str, schema: Option<SchemaChange>, by: CheckName) -> Stance {
    Stance::Runs { scenario, strategy: LockStrategy::Constraint, schema, by }
}

const fn not_here(reason: &'static str) -> Stance {
    Stance::NotApplicable { reason }
}

const NO_ROW_LOCKS: Stance = not_here("SQLite has no row locks; its lock is BEGIN IMMEDIATE, see begin-deferred");
const NO_ADVISORY: Stance = not_here("SQLite has no advisory locks");

/// Every mutant.
pub const ALL: &[Mutant] = &[
    Mutant {
        name: "no-lock",
        summary: "the lock is not taken",
        rewrite: Rewrite::NoLock,
        postgres: locked("arrivals", CheckName::LockHeld),
        sqlite: NO_ROW_LOCKS,
    },
    Mutant {
        name: "lock-after-read",
        summary: "the lock is taken after the claims have been read",
        rewrite: Rewrite::LockAfterRead,
        postgres: locked("arrivals", CheckName::LockHeld),
        sqlite: not_here("SQLite's lock is the beginning of the transaction; a later one is begin-deferred"),
    },
    Mutant {
        name: "commit-between",
        summary: "COMMIT comes between reading the claims and writing the events",
        rewrite: Rewrite::CommitBetween,
        postgres: locked("arrivals", CheckName::LockHeld),
        sqlite: immediate("arrivals", CheckName::LockHeld),
    },
    Mutant {
        name: "for-share",
        summary: "FOR SHARE, which does not exclude its like",
        rewrite: Rewrite::ShareLock,
        postgres: locked("waiting-room", CheckName::Exclusion),
        sqlite: NO_ROW_LOCKS,
    },
    Mutant {
        name: "for-update",
        summary: "FOR UPDATE, which blocks the inserts of claims",
        rewrite: Rewrite::UpdateLock,
        postgres: locked("arrivals", CheckName::BystandersFree),
        sqlite: NO_ROW_LOCKS,
    },
    Mutant {
        name: "wrong-row",
        summary: "each task locks the row of another customer",
        rewrite: Rewrite::WrongRow,
        postgres: locked("many-customers", CheckName::LockHeld),
        sqlite: NO_ROW_LOCKS,
    },
    Mutant {
        name: "global-lock",
        summary: "one lock for all customers",
        rewrite: Rewrite::GlobalLock,
        postgres: locked("many-customers", CheckName::KeysIndependent),
        sqlite: not_here("SQLite has one writer for the whole file anyway"),
    },
    Mutant {
        name: "early-snapshot",
        summary: "REPEATABLE READ: the snapshot is taken before the wait for the lock",
        rewrite: Rewrite::EarlySnapshot,
        postgres: locked("arrivals", CheckName::Freshness),
        sqlite: not_here("BEGIN IMMEDIATE takes its snapshot after it has the lock"),
    },
    Mutant {
        name: "caught-violation",
        summary: "no lock, and the unique violation is caught in a transaction that it has aborted",
        rewrite: Rewrite::CaughtViolation,
        postgres: unlocked("failed-run", None, CheckName::Accounted),
        sqlite: not_here(
            "harmless: with one writer at a time nothing is violated, and SQLite's transaction would survive it",
        ),
    },
    Mutant {
        name: "no-constraint",
        summary: "no lock, no unique constraint, no conflict clause",
        rewrite: Rewrite::NoConflictClause,
        postgres: unlocked("failed-run", Some(SchemaChange::DropConstraint), CheckName::NoDuplicates),
        sqlite: not_here("harmless: one writer at a time, and a stale one is refused (SQLITE_BUSY_SNAPSHOT)"),
    },
    Mutant {
        name: "keep-stale",
        summary: "ON CONFLICT DO NOTHING: events are not brought up to date",
        rewrite: Rewrite::KeepStale,
        postgres: locked("arrivals", CheckName::SerialOracle),
        sqlite: immediate("arrivals", CheckName::SerialOracle),
    },
    Mutant {
        name: "delete-on-failure",
        summary: "a failed task deletes the events of the run, which are those of the tasks that succeeded",
        rewrite: Rewrite::DeleteOnFailure,
        postgres: locked("failing-task", CheckName::Accounted),
        sqlite: immediate("failing-task", CheckName::Accounted),
    },
    Mutant {
        name: "forget-failure",
        summary: "a task's failure is not recorded in its run",
        rewrite: Rewrite::ForgetFailure,
        postgres: locked("failure-recorded", CheckName::Accounted),
        sqlite: immediate("failure-recorded", CheckName::Accounted),
    },
    Mutant {
        name: "fresh-run",
        summary: "each task opens a run of its own, and the unique constraint sees nothing",
        rewrite: Rewrite::FreshRun,
        postgres: locked("same-window", CheckName::NoDuplicates),
        sqlite: immediate("same-window", CheckName::NoDuplicates),
    },
    Mutant {
        name: "skip-locked",
        summary: "SKIP LOCKED: a task that finds the lock taken is dropped and reported as done",
        rewrite: Rewrite::SkipLocked,
        postgres: locked("same-run", CheckName::Accounted),
        sqlite: NO_ROW_LOCKS,
    },
    Mutant {
        name: "early-unlock",
        summary: "a session-level advisory lock is given back before COMMIT",
        rewrite: Rewrite::EarlyUnlock,
        postgres: locked("same-run", CheckName::LockHeld),
        sqlite: NO_ADVISORY,
    },
    Mutant {
        name: "no-retry",
        summary: "a lock timeout is final",
        rewrite: Rewrite::NoRetry,
        postgres: locked("lock-timeouts", CheckName::RetriesBounded),
        sqlite: immediate("lock-timeouts", CheckName::RetriesBounded),
    },
    Mutant {
        name: "begin-deferred",
        summary: "BEGIN DEFERRED: the lock is taken at the first write, after the claims have been read",
        rewrite: Rewrite::BeginDeferred,
        postgres: not_here("PostgreSQL has no BEGIN IMMEDIATE"),
        sqlite: immediate("arrivals", CheckName::LockHeld),
    },
];

/// A change that must not be reported: the duplicate is caught inside a savepoint.
pub const SOUND: Mutant = Mutant {
    name: "caught-in-savepoint",
    summary: "no lock, and the unique violation is caught inside a savepoint, which is sound",
    rewrite: Rewrite::CaughtInSavepoint,
    postgres: unlocked("failed-run", None, CheckName::Accounted),
    sqlite: not_here("the same as caught-violation"),
};

/// The mutants as a Markdown table: what is wrong with each, which check must notice it where, and what
/// was recorded under loom.
pub fn table() -> String {
    let mut table =
        "| mutant | what is wrong | PostgreSQL | SQLite | loom |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for mutant in ALL {
        let cell = |backend| match mutant.on(backend) {
            Stance::Runs { scenario, by, .. } => format!("killed by `{by}` in `{scenario}`"),
            Stance::NotApplicable { reason } => reason.to_owned(),
        };
        let (postgres, sqlite) = (cell(Backend::Postgres), cell(Backend::Sqlite));
        let _ =
            writeln!(table, "| `{}` | {} | {postgres} | {sqlite} | {} |", mutant.name, mutant.summary, loom(mutant));
    }
    table
}

/// What was recorded of a mutant under loom, on the model of each database.
fn loom(mutant: &Mutant) -> String {
    let on = |(backend, name)| Some(format!("{name}: {}", recorded::of(mutant.name, backend)?.cell()));
    let backends = [(Backend::Postgres, "PostgreSQL"), (Backend::Sqlite, "SQLite")];
    backends.into_iter().filter_map(on).collect::<Vec<_>>().join("; ")
}
