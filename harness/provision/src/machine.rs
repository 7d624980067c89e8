//! What a database answers when its machine fails it, whatever the statement: no verdict can rest on that.

/// PostgreSQL's SQLSTATEs: disk_full, out_of_memory, io_error, data_corrupted, index_corrupted.
const SQLSTATES: [(&str, &str); 5] = [
    ("53100", FULL),
    ("53200", "the server has no memory left"),
    ("58030", "the server could not read or write its files"),
    ("XX001", "the server's files are damaged"),
    ("XX002", "an index of the server's is damaged"),
];

/// SQLite's primary result codes: SQLITE_NOMEM, SQLITE_IOERR, SQLITE_CORRUPT, SQLITE_FULL.
const RESULT_CODES: [(u32, &str); 4] = [
    (7, "SQLite has no memory left"),
    (10, "SQLite could not read or write its file"),
    (11, "SQLite's file is damaged"),
    (13, FULL),
];

const FULL: &str = "the disk is full";

/// What has failed the database, if an error of this code says that its machine has: PostgreSQL's SQLSTATE, or SQLite's
/// result code in digits (an extended one, too).
///
/// ```
/// use driftlock_provision::machine_failure;
///
/// assert_eq!(machine_failure("53100"), Some("the disk is full"));
/// assert_eq!(machine_failure("13"), Some("the disk is full"));
/// // SQLITE_IOERR_WRITE is SQLITE_IOERR with more said.
/// assert_eq!(machine_failure("778"), Some("SQLite could not read or write its file"));
/// assert_eq!(machine_failure("40001"), None);
/// ```
pub fn machine_failure(code: &str) -> Option<&'static str> {
    if code.len() == 5 {
        return SQLSTATES.iter().find(|(known, _)| *known == code).map(|(_, why)| *why);
    }
    // The primary code is the lowest byte: https://www.sqlite.org/rescode.html
    let primary = code.parse::<u32>().ok()? & 0xff;
    RESULT_CODES.iter().find(|(known, _)| *known == primary).map(|(_, why)| *why)
}

/// Whether an error of this code says that the disk is full.
pub(crate) fn is_full(code: &str) -> bool {
    machine_failure(code) == Some(FULL)
}
