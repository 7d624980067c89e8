//! What to do instead of a certain statement.

use super::super::finding::Kind;
use super::super::migrations::Script;
use super::super::migrations::layout::Layout;
use super::super::twin::GONE;
use crate::sql::Statement;

/// Better advice than the kind's own, where the statement's words allow it.
pub(super) fn of(kind: Kind, statement: &Statement, layout: &Layout) -> Option<String> {
    let outside = layout.outside;
    let blocks =
        matches!(kind, Kind::AccessExclusive | Kind::BlocksReaders | Kind::BlocksWriters | Kind::GrowsWithTable);
    let alters = statement.begins(&["ALTER", "TABLE"]);
    let adds = alters && statement.has("ADD");
    let builds = statement.begins(&["CREATE"]) && statement.has("INDEX");
    if blocks && adds && (statement.has("UNIQUE") || statement.has("PRIMARY")) && !statement.has("USING") {
        return Some(format!(
            "Build the index first, with CREATE UNIQUE INDEX CONCURRENTLY in {outside}; then ALTER TABLE … ADD CONSTRAINT \
             … UNIQUE USING INDEX, which takes an instant."
        ));
    }
    if blocks && adds && (statement.has("CHECK") || statement.has("FOREIGN") || statement.has("REFERENCES")) {
        let validate = "Add it NOT VALID, and VALIDATE CONSTRAINT in a later transaction, which blocks nobody.";
        return Some(validate.to_owned());
    }
    if blocks && alters && statement.has("SET") && statement.has("NULL") {
        let proved = "Add CHECK (… IS NOT NULL) NOT VALID, VALIDATE CONSTRAINT in a later transaction, and then SET NOT NULL: \
                      the server trusts the check, and reads no row.";
        return Some(proved.to_owned());
    }
    if blocks && alters && statement.has("TYPE") {
        let column = "Add a column of the new type, fill it in batches while a trigger keeps it up to date, and let the code \
                      change over to it.";
        return Some(column.to_owned());
    }
    if blocks && builds && !statement.has("CONCURRENTLY") {
        return Some(format!("CREATE INDEX CONCURRENTLY, in {outside}."));
    }
    if blocks && statement.begins(&["DROP", "INDEX"]) && !statement.has("CONCURRENTLY") {
        return Some(format!("DROP INDEX CONCURRENTLY, in {outside}."));
    }
    None
}

/// What to do where the time went by in a later statement than the one that took the lock.
pub(super) fn late(line: u32) -> String {
    format!(
        "The time went by at line {line}, not at this statement: put that in a migration of its own, before this one or \
         after it, so that this statement's lock is not held meanwhile."
    )
}

/// The same, seen from the statement that takes the time.
pub(super) fn elsewhere(holder: u32) -> String {
    format!("Put it in a migration of its own, so that the lock that line {holder} took is not held meanwhile.")
}

/// What still depends on what is to be dropped: the objects that the server's detail names.
fn dependents(message: &str) -> Vec<&str> {
    let detail = message.split_once("depend on it: ").map_or("", |(_, detail)| detail);
    detail.split("; ").filter_map(|one| Some(one.split_once(" depends on ")?.0)).collect()
}

/// The statement before this one in the same file that took more with it than it names.
fn taker<'s>(statement: &Statement, script: &'s Script) -> Option<&'s Statement> {
    let before =
        script.statements.iter().rev().filter(|one| (one.line, one.column) < (statement.line, statement.column));
    let mut takers =
        before.filter(|one| one.has("DROP") && ["COLUMN", "CONSTRAINT", "TABLE"].iter().any(|word| one.has(word)));
    takers.next()
}

/// What to do about a refusal, where its code and the statement say it.
/// `known` is the statement that was seen to drop what is not there.
pub(super) fn of_refusal(
    code: &str,
    message: &str,
    statement: &Statement,
    (script, known): (&Script, Option<&Statement>),
) -> Option<String> {
    let concurrently = statement.has("CONCURRENTLY");
    if code == "25001" && script.in_transaction() {
        let first = statement.words.first().map_or("it", String::as_str);
        let what = if concurrently { "CONCURRENTLY" } else { first };
        return Some(format!("{what} cannot run in a transaction: put it in {}.", script.layout.outside));
    }
    if code == "2BP01" && !dependents(message).is_empty() {
        return Some(format!(
            "First drop or change {}, by name and in the same migration; CASCADE would drop all of it unseen.",
            dependents(message).join(", ")
        ));
    }
    let lacks = code == GONE && statement.has("DROP");
    if let Some(taker) = known.or_else(|| taker(statement, script)).filter(|_| lacks) {
        let has = if known.is_some() { "has" } else { "may have" };
        return Some(format!(
            "Line {} {has} dropped it already ({}): a column takes its indexes and constraints with it, a constraint its index. \
             Then leave this statement out, or put it first.",
            taker.line,
            taker.in_short(60)
        ));
    }
    let fixed = match code {
        "55P03" if concurrently => {
            "Let a concurrent build wait without lock_timeout: its waits block nobody, and cut short it leaves an INVALID \
             index."
        }
        "40P01" if concurrently => {
            "Let replicas ask pg_try_advisory_lock again and again instead of waiting in pg_advisory_lock, whose snapshot \
             the build waits for; and build one index of a table at a time."
        }
        "42P07" if statement.has("INDEX") => {
            "A second run meets what the first one left. Drop an INVALID index before the build: DROP INDEX CONCURRENTLY \
             IF EXISTS."
        }
        "42P07" => {
            "The relation is there already, from an earlier file or a first run that left it: give it another name, or say \
             IF NOT EXISTS where what is there is what is meant."
        }
        "42704" if statement.has("CONSTRAINT") || statement.has("INDEX") => {
            "DROP CONSTRAINT takes the constraint's index with it, and DROP COLUMN what was built on the column: undo in \
             the reverse order, and say IF EXISTS where a later file's undoing has removed it already."
        }
        "42704" => {
            "It is not there at this point: create it in an earlier file, or say IF EXISTS where it may be gone."
        }
        "2BP01" if message.contains("constraint") && statement.has("INDEX") => {
            "The index belongs to a constraint: ALTER TABLE … DROP CONSTRAINT removes both."
        }
        "2BP01" => "Drop what depends on it first, by name; CASCADE would drop all of it unseen.",
        "55P04" => "A new value of an enum cannot be used in the transaction that adds it: use it in a later file.",
        "23505" => {
            "Duplicates arrive until the index is there: remove them and build again, a bounded number of times, or first \
             make the application stop writing them."
        }
        "55000" if statement.has("INDEX") || statement.has("ATTACH") => {
            "The index is INVALID: drop it concurrently, build it again, and then attach it."
        }
        _ => return None,
    };
    Some(fixed.to_owned())
}
