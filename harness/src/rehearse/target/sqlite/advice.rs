//! What to do instead, on SQLite, and what its numbers are called.

use crate::rehearse::finding::{Finding, Kind};
use crate::rehearse::migrations::Migrations;
use crate::rehearse::migrations::layout::RUNNER;

/// Gives findings the advice that fits a SQLite file, in the words of the tool that applies it, and their codes the names
/// that its manual has for them.
pub fn give(findings: &mut [Finding], migrations: &Migrations) {
    let layout = migrations.list.first().map_or(&RUNNER, |first| first.up.layout);
    for finding in findings {
        if let Some((code, name)) = finding.code.as_deref().and_then(|code| Some((code, name(code)?))) {
            // Every sentence that has a code has it after one of these.
            for before in [": ", "saw "] {
                let (plain, named) = (format!("{before}{code} "), format!("{before}{name} ({code}) "));
                finding.sentence = finding.sentence.replace(&plain, &named);
            }
        }
        if let Some(better) = of(finding.kind, finding.code.as_deref(), &finding.sentence) {
            finding.advice = better.replace("{outside}", layout.outside);
        }
    }
}

/// What a result code is called (sqlite.org/rescode.html).
fn name(code: &str) -> Option<&'static str> {
    Some(match code {
        "1" => "SQLITE_ERROR",
        "5" => "SQLITE_BUSY",
        "6" => "SQLITE_LOCKED",
        "8" => "SQLITE_READONLY",
        "9" => "SQLITE_INTERRUPT",
        "11" => "SQLITE_CORRUPT",
        "13" => "SQLITE_FULL",
        "261" => "SQLITE_BUSY_RECOVERY",
        "275" => "SQLITE_CONSTRAINT_CHECK",
        "517" => "SQLITE_BUSY_SNAPSHOT",
        "787" => "SQLITE_CONSTRAINT_FOREIGNKEY",
        "1299" => "SQLITE_CONSTRAINT_NOTNULL",
        "1555" => "SQLITE_CONSTRAINT_PRIMARYKEY",
        "2067" => "SQLITE_CONSTRAINT_UNIQUE",
        _ => return None,
    })
}

fn of(kind: Kind, code: Option<&str>, sentence: &str) -> Option<&'static str> {
    // The primary code is the low byte.
    let primary = code.and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff);
    Some(match (kind, code, primary) {
        (Kind::BlocksWriters, ..) => {
            "SQLite has one writer, and builds nothing beside it: every writer of the file waits from BEGIN IMMEDIATE to \
             COMMIT. Do it while nobody writes, or in parts that each fit the budget (a new table that is filled in \
             batches, each in a transaction of its own, and then renamed)."
        }
        (Kind::BlocksReaders, ..) => {
            "Use WAL mode (PRAGMA journal_mode = WAL), in which readers go on: with a rollback journal whoever commits, or \
             writes more than the page cache holds, keeps every reader out."
        }
        (Kind::Queue, ..) => {
            "In rollback-journal mode a commit waits for every reader, and new readers wait for the commit: use WAL mode, \
             or end long read transactions before the deploy."
        }
        (Kind::Refused | Kind::DownRefused, _, Some(5)) => {
            "Somebody else had the file's lock for longer than the busy timeout. Nothing was changed: give the migration a \
             longer busy timeout, end long transactions first, and repeat the file."
        }
        (Kind::Refused, Some("2067" | "1555"), _) => {
            "There are duplicates: fold them in the same transaction, before the index. Nobody writes in between, and so \
             none can arrive."
        }
        (Kind::Refused | Kind::DownRefused, Some("787"), _) => {
            "DROP TABLE deletes the table's rows first, and PRAGMA foreign_keys means nothing within a transaction. To \
             rebuild a table: PRAGMA foreign_keys = OFF, BEGIN IMMEDIATE, the work, COMMIT, and PRAGMA foreign_keys = ON, in \
             {outside}."
        }
        (Kind::ApplicationError, _, Some(5)) => {
            "The application's busy timeout is shorter than the file's lock was held: give it a longer one, and let it \
             begin what will write with BEGIN IMMEDIATE, or make the migration shorter."
        }
        (Kind::ApplicationError, Some("1"), _) if sentence.contains("ON CONFLICT") => {
            "ON CONFLICT needs its unique index: deploy the code that says it after the migration that builds it, and \
             withdraw the code before undoing that."
        }
        (Kind::LeftBehind, ..) if sentence.contains(" refer to rows of ") => {
            "Foreign keys were off meanwhile: before COMMIT let PRAGMA foreign_key_check find nothing."
        }
        (Kind::LeftBehind | Kind::NotRecovered, ..) => {
            "Let the file run in a transaction: in SQLite that holds DDL too, and a file that is refused then leaves nothing. \
             VACUUM and the like, which need no transaction, go into {outside}."
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_names_and_no_advice_of_postgresqls_is_left() {
        let finding = |kind: Kind, code: Option<&str>, sentence: &str| Finding {
            kind,
            file: "m/1_a.sql".into(),
            line: 1,
            column: 1,
            statement: "x".into(),
            pass: "up".into(),
            code: code.map(str::to_owned),
            sentence: sentence.into(),
            advice: kind.advice().to_owned(),
        };
        let mut found = [
            finding(Kind::Refused, Some("5"), "the database refused it: 5 database is locked"),
            finding(Kind::ApplicationError, Some("517"), "the application (plain) saw 517 5 times within 5 ms"),
            finding(Kind::Refused, Some("4242"), "the database refused it: 4242 unheard of"),
            finding(Kind::BlocksWriters, None, "4 writes were blocked"),
            finding(Kind::BlocksReaders, None, "2 reads were blocked"),
            finding(Kind::Queue, None, "it waited for the traffic's own transactions"),
            finding(Kind::LeftBehind, None, "it was refused, and a part of it is there: + table t"),
        ];
        give(&mut found, &Migrations::none());
        assert_eq!(found[0].sentence, "the database refused it: SQLITE_BUSY (5) database is locked");
        assert_eq!(found[1].sentence, "the application (plain) saw SQLITE_BUSY_SNAPSHOT (517) 5 times within 5 ms");
        assert_eq!(found[2].sentence, "the database refused it: 4242 unheard of");
        for finding in &found {
            assert!(
                ["CONCURRENTLY", "lock_timeout", "{outside}", "-- no-transaction"]
                    .iter()
                    .all(|word| !finding.advice.contains(word)),
                "{finding:?}"
            );
        }
    }
}
