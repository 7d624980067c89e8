//! The rules of the model, one by one, each with the page of the manual that it stands for.
//!
//! A rule can be broken on purpose ([`Rules::without`]): conformance must notice each of them.

use drift_engine::lock::Backend;

/// Defines [`Rule`], the list of all and the page of each.
macro_rules! rules {
    ($($(#[doc = $text:literal])+ $name:ident: $backend:ident, $source:literal;)+) => {
        /// One thing that the model holds to be true of a database.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $($(#[doc = $text])+ #[doc = concat!("\n\nSource: ", $source, ".")] $name,)+
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The database that it is about.
            pub fn backend(self) -> Backend {
                match self { $(Self::$name => Backend::$backend,)+ }
            }

            /// The page of the manual that it stands for.
            pub fn source(self) -> &'static str {
                match self { $(Self::$name => $source,)+ }
            }
        }
    };
}

rules! {
    /// `FOR KEY SHARE` and `FOR UPDATE` of one row exclude each other.
    KeyShareExcludesUpdate: Postgres, "PostgreSQL, explicit-locking, table 13.3";
    /// `FOR KEY SHARE` and `FOR NO KEY UPDATE` do not.
    KeyShareAllowsNoKeyUpdate: Postgres, "PostgreSQL, explicit-locking, table 13.3";
    /// `FOR SHARE` lets its like pass.
    ShareAllowsShare: Postgres, "PostgreSQL, explicit-locking, table 13.3";
    /// `FOR SHARE` and `FOR NO KEY UPDATE` exclude each other.
    ShareExcludesNoKeyUpdate: Postgres, "PostgreSQL, explicit-locking, table 13.3";
    /// `FOR NO KEY UPDATE` excludes its like.
    NoKeyUpdateExcludesItself: Postgres, "PostgreSQL, explicit-locking, table 13.3";
    /// Who waits for a row first has it first: later requests that conflict with a waiter's queue behind it.
    RowsAreQueuedFor: Postgres, "PostgreSQL, src/backend/access/heap/README.tuplock, \"Locking tuples\"";
    /// A request that those who hold the row allow is granted at once, past those who wait.
    AllowedRequestsPassTheQueue: Postgres, "PostgreSQL, src/backend/access/heap/README.tuplock, \"Locking tuples\"";
    /// `NOWAIT` fails where it would wait (55P03).
    NoWaitFails: Postgres, "PostgreSQL, sql-select, \"The Locking Clause\"";
    /// `SKIP LOCKED` returns no row where it would wait.
    SkipLockedSkips: Postgres, "PostgreSQL, sql-select, \"The Locking Clause\"";
    /// An insert of a child takes `FOR KEY SHARE` on its parent.
    ForeignKeyLocksParent: Postgres, "PostgreSQL, explicit-locking, 13.3.2, FOR KEY SHARE";
    /// A child needs its parent (23503).
    ForeignKeyNeedsParent: Postgres, "PostgreSQL, ddl-constraints, 5.4.5";
    /// An update checks the foreign key again when this transaction made the version that it replaces.
    OwnRowIsCheckedAgain: Postgres, "PostgreSQL, src/backend/utils/adt/ri_triggers.c, RI_FKey_fk_upd_check_required";
    /// An insert of a key that another transaction is inserting waits for that transaction's end.
    InsertWaitsForInsert: Postgres, "PostgreSQL, index-unique-checks, 64.5";
    /// An insert of a key whose row another transaction is updating or deleting waits too, also under
    /// `ON CONFLICT DO NOTHING`.
    InsertWaitsForUpdate: Postgres, "PostgreSQL, index-unique-checks, 64.5";
    /// `ON CONFLICT` looks for conflicts in one unique index after another, in the order in which they were
    /// made. After a wait it goes on at the index at which it waited: a key of an earlier index that has
    /// been taken meanwhile is found only if the insert itself comes to be.
    ConflictGoesOnWhereItWaited: Postgres, "PostgreSQL, src/backend/executor/execIndexing.c, ExecCheckIndexConstraints";
    /// A key that is there is a unique violation (23505).
    UniqueViolationFails: Postgres, "PostgreSQL, index-unique-checks, 64.5";
    /// `ON CONFLICT DO UPDATE` locks the row, also when its WHERE leaves it as it is.
    ConflictLocksUnchangedRow: Postgres, "PostgreSQL, sql-insert, \"ON CONFLICT Clause\"";
    /// READ COMMITTED: each statement sees what was committed before it began.
    StatementSnapshot: Postgres, "PostgreSQL, transaction-iso, 13.2.1";
    /// One statement sees one snapshot, taken before it waits.
    SnapshotBeforeWaiting: Postgres, "PostgreSQL, transaction-iso, 13.2.1";
    /// READ COMMITTED: who waited for a row looks at the new version, and whether it still qualifies.
    RecheckAfterWait: Postgres, "PostgreSQL, transaction-iso, 13.2.1";
    /// REPEATABLE READ: every statement sees one snapshot.
    TransactionSnapshot: Postgres, "PostgreSQL, transaction-iso, 13.2.2";
    /// REPEATABLE READ: the snapshot is taken by the first statement, not by BEGIN.
    SnapshotAtFirstStatement: Postgres, "PostgreSQL, transaction-iso, 13.2.2";
    /// REPEATABLE READ: a row that was changed since cannot be changed (40001).
    ConcurrentUpdateFails: Postgres, "PostgreSQL, transaction-iso, 13.2.2";
    /// REPEATABLE READ: nor can `ON CONFLICT` step around a row that the snapshot does not show (40001).
    UnseenConflictFails: Postgres, "PostgreSQL, src/backend/executor/nodeModifyTable.c, ExecCheckTupleVisible";
    /// An error aborts the transaction: every later statement is 25P02.
    ErrorAborts: Postgres, "PostgreSQL, tutorial-transactions, 3.4";
    /// An error inside a savepoint lets go only of what came after it.
    ErrorKeepsOuterLocks: Postgres, "PostgreSQL, explicit-locking, 13.3.2";
    /// An error lets go of row locks at once, not at the ROLLBACK.
    ErrorReleasesLocks: Postgres, "PostgreSQL, src/backend/access/transam/README, \"Transaction and Subtransaction\"";
    /// `ROLLBACK TO` lets go of the locks that came after the savepoint.
    RollbackToReleasesLocks: Postgres, "PostgreSQL, explicit-locking, 13.3.2";
    /// `ROLLBACK TO` undoes what came after the savepoint.
    RollbackToUndoes: Postgres, "PostgreSQL, sql-rollback-to";
    /// `ROLLBACK TO` leaves the savepoint in place, and can be repeated.
    SavepointStays: Postgres, "PostgreSQL, sql-rollback-to";
    /// COMMIT of an aborted transaction rolls back, and says so.
    CommitOfAbortedRollsBack: Postgres, "PostgreSQL, sql-commit, and protocol-message-formats, CommandComplete";
    /// An advisory lock excludes every other session.
    AdvisoryExcludes: Postgres, "PostgreSQL, explicit-locking, 13.3.5";
    /// A transaction-level advisory lock is kept until the transaction's end.
    AdvisoryEndsWithTransaction: Postgres, "PostgreSQL, explicit-locking, 13.3.5";
    /// A session-level advisory lock survives the transaction's end, COMMIT and ROLLBACK alike.
    SessionAdvisorySurvives: Postgres, "PostgreSQL, explicit-locking, 13.3.5";
    /// A session-level advisory lock taken twice must be given back twice.
    SessionAdvisoryCounts: Postgres, "PostgreSQL, explicit-locking, 13.3.5";

    /// There is one writer at a time.
    OneWriter: Sqlite, "sqlite.org/wal.html, 2.2 \"Concurrency\"";
    /// `BEGIN IMMEDIATE` becomes the writer at once.
    ImmediateWritesAtOnce: Sqlite, "sqlite.org/lang_transaction.html, 2.2";
    /// `BEGIN DEFERRED` takes nothing.
    DeferredTakesNothing: Sqlite, "sqlite.org/lang_transaction.html, 2.2";
    /// A reader does not wait for the writer.
    ReadersDoNotWait: Sqlite, "sqlite.org/wal.html, 2.2 \"Concurrency\"";
    /// A transaction reads what was committed before its first read.
    ReaderKeepsSnapshot: Sqlite, "sqlite.org/isolation.html";
    /// A first write waits for the writer, by the busy handler.
    FirstWriteWaits: Sqlite, "sqlite.org/c3ref/busy_handler.html";
    /// A write after a read does not: it is SQLITE_BUSY at once.
    UpgradeDoesNotWait: Sqlite, "sqlite.org/lang_transaction.html, 2.1";
    /// A write after a read that others have made stale is SQLITE_BUSY_SNAPSHOT.
    StaleReaderCannotWrite: Sqlite, "sqlite.org/rescode.html#busy_snapshot";
    /// A statement that changes nothing becomes the writer all the same.
    IdleWriteStillWrites: Sqlite, "sqlite.org/opcode.html, Transaction";
    /// An error leaves the transaction as it was before the statement.
    ErrorKeepsTransaction: Sqlite, "sqlite.org/lang_conflict.html, ABORT";
    /// A child needs its parent (SQLITE_CONSTRAINT_FOREIGNKEY).
    ChildNeedsParent: Sqlite, "sqlite.org/foreignkeys.html";
    /// A key that is there is a unique violation (SQLITE_CONSTRAINT_UNIQUE).
    DuplicateFails: Sqlite, "sqlite.org/rescode.html#constraint_unique";
    /// `ROLLBACK TO` undoes what came after the savepoint.
    SavepointUndoes: Sqlite, "sqlite.org/lang_savepoint.html";
    /// `ROLLBACK TO` does not end the transaction: the writer stays the writer.
    SavepointKeepsWriter: Sqlite, "sqlite.org/lang_savepoint.html";
    /// A transaction that is rolled back leaves nothing.
    RollbackLeavesNothing: Sqlite, "sqlite.org/lang_transaction.html";
}

/// The rules, all of them or all but one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    broken: Option<Rule>,
}

impl Rules {
    /// Every rule but this one, which is taken for its opposite: for tests of the conformance.
    pub fn without(rule: Rule) -> Self {
        Self { broken: Some(rule) }
    }

    /// Whether a rule holds.
    pub fn holds(self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }
}
