//! What can be seen of a statement in its text. Only ever used to be careful: what is not recognised
//! counts as touching everything.

use crate::app::units::commits;
use crate::sql::{Statement, split};

/// What a message does to its transaction, by its text alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Begins a transaction, and nothing else; on SQLite, without taking a lock.
    Begin,
    /// Ends a transaction, and nothing else.
    End,
    /// A single SELECT without a word that could write or lock.
    Select,
    /// Anything else.
    Other,
}

/// Words that change what a later execution finds, beyond the rows of tables.
const CHANGES_SCHEMA: [&str; 12] = [
    "ALTER", "CREATE", "DROP", "TRUNCATE", "GRANT", "REVOKE", "COMMENT", "REINDEX", "VACUUM", "CLUSTER", "REFRESH",
    "IMPORT",
];

/// Words that leave something in the session, beyond its transaction.
const LEAVES_IN_SESSION: [&str; 10] =
    ["SET", "RESET", "PREPARE", "LISTEN", "DECLARE", "TEMP", "TEMPORARY", "LOAD", "PRAGMA", "ATTACH"];

/// The commands that are run without a snapshot.
///
/// Exactly those of `PlannedStmtRequiresSnapshot` (src/backend/tcop/pquery.c), as far as they do not end a transaction.
const WITHOUT_SNAPSHOT: [&str; 15] = [
    "SET",
    "RESET",
    "SHOW",
    "LOCK",
    "SAVEPOINT",
    "RELEASE",
    "ROLLBACK",
    "BEGIN",
    "START",
    "FETCH",
    "MOVE",
    "LISTEN",
    "NOTIFY",
    "UNLISTEN",
    "CHECKPOINT",
];

/// The commands that change rows, and whose answer says how many.
pub const CHANGES_ROWS: [&str; 5] = ["INSERT", "UPDATE", "DELETE", "MERGE", "COPY"];

/// The words of SQL, upper case, outside of texts, quoted names and comments; `;` counts as one, between two
/// statements. Of what is no SQL for a server there are none.
pub fn words(sql: &str) -> Vec<String> {
    let mut words = Vec::new();
    for statement in split(sql).unwrap_or_default() {
        if !words.is_empty() {
            words.push(";".to_owned());
        }
        words.extend(statement.words);
    }
    words
}

/// What the message of a step does to its session, by its text alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it does to its transaction.
    pub does: Does,
    /// How many utility statements the server finds in it if no function runs one.
    pub utilities: usize,
    /// How many statements it has.
    pub statements: usize,
    /// It calls a procedure.
    pub calls: bool,
    /// It locks tables by name: perhaps more strongly some that its transaction had touched before. Nothing is printed of
    /// that.
    pub locks: bool,
    /// What it begins with is run without a snapshot, so that the one of its transaction may be taken later.
    pub begins_without_snapshot: bool,
    /// Beginning without a snapshot is not all that it does: code of a function may be run, by what follows or by what
    /// was deferred.
    pub goes_on: bool,
    /// What it begins with is to keep what its transaction did, whatever follows.
    pub keeps: bool,
    /// Whether it leaves a transaction open, where its text begins or ends one.
    pub leaves_open: Option<bool>,
}

/// What a message does to its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// Begins a transaction, and nothing else.
    Begin,
    /// Ends it in order to keep what it did, and nothing else.
    Commit,
    /// Ends it in order to take it back, and nothing else.
    RollBack,
    /// Takes back a part of it.
    TakesBack,
    /// Sets a savepoint or a setting: what only the session knows.
    Session,
    /// Runs what may end transactions of its own, where it is in none: `DO`, `CALL`.
    Code,
    /// One or more statements that neither begin nor end a transaction.
    Works,
    /// Several statements of which some begin or end one.
    Mixed,
}

/// What a message does.
pub fn message(sql: &str) -> Message {
    let statements = split(sql).unwrap_or_default();
    let all: Vec<(Does, usize)> = statements.iter().map(does).collect();
    let any = |word: &str| statements.iter().any(|statement| statement.begins(&[word]));
    let does = match all[..] {
        [] => Does::Mixed,
        [(does, _)] => does,
        _ if all.iter().all(|(does, _)| *does == Does::Works) => Does::Works,
        _ => Does::Mixed,
    };
    let utilities = all.iter().map(|(_, utilities)| utilities).sum();
    let first = statements.first().and_then(|statement| statement.words.first());
    let begins_without_snapshot = first.is_some_and(|word| WITHOUT_SNAPSHOT.contains(&word.as_str()));
    let leaves_open = statements.iter().zip(&all).fold(None, |open, (statement, (does, _))| match does {
        Does::Begin => Some(true),
        Does::Commit | Does::RollBack => Some(false),
        // What is chained to has done nothing yet.
        Does::Mixed if statement.has("CHAIN") || statement.begins(&["PREPARE", "TRANSACTION"]) => Some(false),
        _ => open,
    });
    Message {
        does,
        utilities,
        statements: all.len(),
        calls: any("CALL"),
        locks: any("LOCK"),
        begins_without_snapshot,
        goes_on: all.len() > 1 || statements.first().is_some_and(|first| first.begins(&["SET", "CONSTRAINTS"])),
        keeps: statements.first().is_some_and(keeps),
        leaves_open,
    }
}

/// Whether a statement is to keep what its transaction did: the server answers it with success in one that has failed,
/// and takes all back.
fn keeps(statement: &Statement) -> bool {
    commits(statement) || statement.begins(&["PREPARE", "TRANSACTION"])
}

fn does(statement: &Statement) -> (Does, usize) {
    let does = match statement.words.first().map(String::as_str) {
        Some("BEGIN") => Does::Begin,
        Some("START") if statement.begins(&["START", "TRANSACTION"]) => Does::Begin,
        Some("COMMIT" | "END") if !statement.has("PREPARED") && !statement.has("CHAIN") => Does::Commit,
        Some("ROLLBACK") if statement.has("TO") => Does::TakesBack,
        Some("ROLLBACK" | "ABORT") if !statement.has("PREPARED") && !statement.has("CHAIN") => Does::RollBack,
        Some("COMMIT" | "END" | "ROLLBACK" | "ABORT" | "PREPARE") => Does::Mixed,
        // It checks what was deferred.
        Some("SET") if statement.begins(&["SET", "CONSTRAINTS"]) => return (Does::Works, 1),
        Some("SAVEPOINT" | "RELEASE" | "SET" | "RESET" | "SHOW") => Does::Session,
        Some("DO" | "CALL") => Does::Code,
        Some("LOCK") => return (Does::Works, 1),
        _ => return (Does::Works, 0),
    };
    (does, 1)
}

/// The first word of a message with a single statement: what a database calls the command.
pub fn command(sql: &str) -> Option<String> {
    match &split(sql).ok()?[..] {
        [statement] => statement.words.first().cloned(),
        _ => None,
    }
}

/// What a message does, by its text.
pub fn class(sql: &str) -> Class {
    let mut words = words(sql);
    while words.last().is_some_and(|word| word == ";") {
        words.pop();
    }
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
    // A backtick quotes a name on SQLite only.
    if has(&[";"]) || sql.contains('`') {
        return Class::Other;
    }
    match words.first().map(String::as_str) {
        Some("BEGIN") if !has(&["IMMEDIATE", "EXCLUSIVE"]) => Class::Begin,
        Some("START") if words.get(1).is_some_and(|word| word == "TRANSACTION") => Class::Begin,
        Some("COMMIT" | "END" | "ABORT") if !has(&["PREPARED", "CHAIN"]) => Class::End,
        Some("ROLLBACK") if !has(&["TO", "PREPARED", "CHAIN"]) => Class::End,
        Some("SELECT" | "VALUES") if !has(&["INTO", "FOR", "INSERT", "UPDATE", "DELETE"]) => Class::Select,
        _ => Class::Other,
    }
}

/// Whether the SQL may change more than rows.
pub fn changes_schema(sql: &str) -> bool {
    words(sql).iter().any(|word| CHANGES_SCHEMA.contains(&word.as_str()))
}

/// Whether the SQL may leave something in its session. `UPDATE … SET` is not meant.
pub fn leaves_in_session(sql: &str) -> bool {
    let words = words(sql);
    let updates = words.iter().any(|word| word == "UPDATE");
    let left = |word: &&String| LEAVES_IN_SESSION.contains(&word.as_str()) && !(updates && *word == "SET");
    words.iter().any(|word| left(&word) || word.contains("ADVISORY"))
}

/// Whether the SQL may leave in its session what DISCARD ALL does not take back: a setting of a name that the server did
/// not know before is '' from then on, where it was NULL; a library stays loaded; random() goes on from its seed.
///
/// The text is taken as a whole, with the bodies of functions and the texts that they run.
pub fn outlives_discard(sql: &str) -> bool {
    let sql = sql.to_ascii_lowercase();
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    // A name with a dot, or one that is put in when it runs.
    let names_own = |rest: &str| {
        let rest = rest.trim_start();
        let scope = ["local", "session"].into_iter().find_map(|scope| rest.strip_prefix(scope));
        let rest = scope.filter(|rest| rest.starts_with(char::is_whitespace)).unwrap_or(rest).trim_start();
        let name = rest.split(|c: char| c.is_whitespace() || c == '=').next().unwrap_or_default();
        name.contains('.') || name.is_empty() || name.starts_with(['\'', '%', '{'])
    };
    let sets = sql.match_indices("set").any(|(at, word)| {
        let (before, after) = (&sql[..at], &sql[at + word.len()..]);
        !before.ends_with(is_of_word) && !after.starts_with(is_of_word) && names_own(after)
    });
    sets || ["set_config", "setseed", "load "].iter().any(|word| sql.contains(word))
}

/// Whether the SQL may set a timeout.
pub fn sets_timeout(sql: &str) -> bool {
    let sql = sql.to_ascii_lowercase();
    ["lock_timeout", "statement_timeout", "session_timeout", "transaction_timeout"]
        .iter()
        .any(|name| sql.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_names_and_comments_are_no_words() {
        let sql = "SELECT 'a;UPDATE', \"FOR\" -- INTO\n, /* FOR */ $x$ ; INSERT $x$, $1 FROM t";
        assert_eq!(words(sql), ["SELECT", "FROM", "T"]);
        assert_eq!(class(sql), Class::Select);
        assert_eq!(words(r"SELECT E'\'; DROP' /* /* */ ; */ FROM t"), ["SELECT", "FROM", "T"]);
    }

    #[test]
    fn a_message_says_what_it_does_to_its_transaction() {
        for (sql, does, utilities) in [
            ("BEGIN ISOLATION LEVEL SERIALIZABLE", Does::Begin, 1),
            ("commit", Does::Commit, 1),
            ("END;", Does::Commit, 1),
            ("ROLLBACK", Does::RollBack, 1),
            ("ROLLBACK TO SAVEPOINT s", Does::TakesBack, 1),
            ("SET LOCAL x.y = 1", Does::Session, 1),
            ("SET CONSTRAINTS ALL IMMEDIATE", Does::Works, 1),
            ("LOCK TABLE t", Does::Works, 1),
            ("DO $$BEGIN COMMIT; END$$", Does::Code, 1),
            ("COMMIT AND CHAIN", Does::Mixed, 1),
            ("PREPARE TRANSACTION 'x'", Does::Mixed, 1),
            ("UPDATE t SET v = 1; UPDATE u SET v = 1", Does::Works, 0),
            ("UPDATE t SET v = 1; COMMIT", Does::Mixed, 1),
            ("CREATE TABLE commit ()", Does::Works, 0),
            ("", Does::Mixed, 0),
        ] {
            let found = message(sql);
            assert_eq!((found.does, found.utilities), (does, utilities), "{sql}");
            assert_eq!((found.locks, found.calls), (sql.starts_with("LOCK"), false), "{sql}");
        }
        let two = message("CALL p(); UPDATE t SET v = 1");
        assert_eq!((two.statements, two.calls, two.does), (2, true, Does::Mixed));
        assert_eq!(command("update t set v = 1").as_deref(), Some("UPDATE"));
        assert_eq!(command("SELECT 1; SELECT 2"), None);
    }

    #[test]
    fn a_message_says_what_it_begins_with_and_what_it_leaves() {
        for (sql, without_snapshot, goes_on, keeps, leaves_open) in [
            ("LISTEN x", true, false, false, None),
            ("notify x, 'y'", true, false, false, None),
            ("FETCH 1 FROM k", true, false, false, None),
            ("CLOSE k", false, false, false, None),
            ("SET CONSTRAINTS ALL IMMEDIATE", true, true, false, None),
            ("SET LOCAL x.y = 1", true, false, false, None),
            ("LOCK t; SELECT f()", true, true, false, None),
            ("BEGIN; UPDATE t SET v = 1", true, true, false, Some(true)),
            ("BEGIN; UPDATE t SET v = 1; COMMIT", true, true, false, Some(false)),
            ("COMMIT; BEGIN", false, true, true, Some(true)),
            ("COMMIT AND CHAIN", false, false, true, Some(false)),
            ("END", false, false, true, Some(false)),
            ("PREPARE TRANSACTION 'x'", false, false, true, Some(false)),
            ("PREPARE q AS SELECT 1", false, false, false, None),
            ("COMMIT PREPARED 'x'", false, false, false, None),
            ("ROLLBACK AND CHAIN", true, false, false, Some(false)),
        ] {
            let found = message(sql);
            assert_eq!((found.begins_without_snapshot, found.goes_on), (without_snapshot, goes_on), "{sql}");
            assert_eq!((found.keeps, found.leaves_open), (keeps, leaves_open), "{sql}");
        }
    }

    #[test]
    fn what_is_not_recognised_is_other() {
        for (sql, expected) in [
            ("begin isolation level serializable;", Class::Begin),
            ("BEGIN IMMEDIATE", Class::Other),
            ("start transaction", Class::Begin),
            ("COMMIT;", Class::End),
            ("ROLLBACK TO s", Class::Other),
            ("COMMIT AND CHAIN", Class::Other),
            ("COMMIT; BEGIN", Class::Other),
            ("SELECT 1 FROM t FOR UPDATE", Class::Other),
            ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", Class::Other),
            ("", Class::Other),
        ] {
            assert_eq!(class(sql), expected, "{sql}");
        }
    }

    #[test]
    fn unterminated_quotes_end_with_the_text() {
        for sql in ["'abc", "\"", "/* x", "$a$ b", "-- x", "$", "ä'"] {
            let _ = words(sql);
        }
    }

    #[test]
    fn set_in_an_update_stays_in_the_transaction() {
        assert!(!leaves_in_session("UPDATE t SET x = 1"));
        assert!(leaves_in_session("SET lock_timeout = 1"));
        assert!(leaves_in_session("SELECT pg_advisory_lock(1)"));
        assert!(changes_schema("CREATE TABLE t()"));
    }

    #[test]
    fn what_discard_all_does_not_take_back_is_seen_in_texts_of_whatever_depth() {
        for sql in [
            "SET app.tenant = '1'",
            "set local \"app.tenant\" to 1",
            "SELECT set_config('app.' || 'x', '1', false)",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET a.b = 1 AS 'SELECT 1'",
            "DO $$BEGIN EXECUTE 'SET ' || 'a.b = 1'; EXECUTE format('SET SESSION %I = 1', 'a.b'); END$$",
            "SET {name} = 1",
            "SELECT setseed(0.5)",
            "LOAD 'auto_explain'",
        ] {
            assert!(outlives_discard(sql), "{sql}");
        }
        for sql in
            ["UPDATE t SET v = v + 1", "SET LOCAL lock_timeout = '1s'", "SELECT offset_of, v FROM reset", "SET ROLE r"]
        {
            assert!(!outlives_discard(sql), "{sql}");
        }
    }
}
