//! What to do instead of a certain statement.

use super::super::finding::Kind;
use crate::sql::Statement;

/// Better advice than the kind's own, where the statement's words allow it.
pub(super) fn of(kind: Kind, statement: &Statement) -> Option<&'static str> {
    let blocks = matches!(kind, Kind::AccessExclusive | Kind::BlocksReaders | Kind::BlocksWriters);
    let alters = statement.begins(&["ALTER", "TABLE"]);
    let adds = alters && statement.has("ADD");
    let builds = statement.begins(&["CREATE"]) && statement.has("INDEX");
    if blocks && adds && (statement.has("UNIQUE") || statement.has("PRIMARY")) && !statement.has("USING") {
        return Some(
            "Build the index first, in a file of its own that begins with -- no-transaction: CREATE UNIQUE INDEX \
             CONCURRENTLY; then ALTER TABLE … ADD CONSTRAINT … UNIQUE USING INDEX, which takes an instant.",
        );
    }
    if blocks && adds && (statement.has("CHECK") || statement.has("FOREIGN") || statement.has("REFERENCES")) {
        return Some("Add it NOT VALID, and VALIDATE CONSTRAINT in a later transaction, which blocks nobody.");
    }
    if blocks && builds && !statement.has("CONCURRENTLY") {
        return Some("CREATE INDEX CONCURRENTLY, alone in a file that begins with -- no-transaction.");
    }
    if blocks && statement.begins(&["DROP", "INDEX"]) && !statement.has("CONCURRENTLY") {
        return Some("DROP INDEX CONCURRENTLY, alone in a file that begins with -- no-transaction.");
    }
    None
}

/// What to do about a refusal, where its code and the statement say it.
pub(super) fn of_refusal(code: &str, statement: &Statement, in_transaction: bool) -> Option<&'static str> {
    let concurrently = statement.has("CONCURRENTLY");
    match code {
        "25001" if concurrently && in_transaction => {
            Some("Make -- no-transaction the file's first bytes: CONCURRENTLY cannot run in a transaction.")
        }
        "55P03" if concurrently => Some(
            "Let a concurrent build wait without lock_timeout: its waits block nobody, and cut short it leaves an \
             INVALID index.",
        ),
        "40P01" if concurrently => Some(
            "Let replicas ask pg_try_advisory_lock again and again instead of waiting in pg_advisory_lock, whose \
             snapshot the build waits for; and build one index of a table at a time.",
        ),
        "42P07" => Some(
            "A second run meets what the first one left. Drop an INVALID index before the build: DROP INDEX \
             CONCURRENTLY IF EXISTS.",
        ),
        "42704" => Some(
            "DROP CONSTRAINT takes the constraint's index with it: undo in the reverse order, and say IF EXISTS where a \
             later file's undoing has removed it already.",
        ),
        "2BP01" => Some("The index belongs to a constraint: ALTER TABLE … DROP CONSTRAINT removes both."),
        "23505" => Some(
            "Duplicates arrive until the index is there: remove them and build again, a bounded number of times, or \
             first make the application stop writing them.",
        ),
        "55000" => Some("The index is INVALID: drop it concurrently, build it again, and then attach it."),
        _ => None,
    }
}
