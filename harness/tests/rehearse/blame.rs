//! What is blamed for what: the statement that did it, and nothing that it did not do.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::{Called, found, holding, rehearse};

/// A directory `m` with these files, and traffic of these actors in `traffic.toml`.
fn under(files: &[(&str, &str)], setup: &str, actors: &[(&str, &str)]) -> TempDir {
    let at = holding(files);
    let actors: String =
        actors.iter().map(|(name, steps)| format!("[[actor]]\nname = \"{name}\"\nsteps = [{steps}]\n")).collect();
    let script = format!(
        "name = \"traffic\"\nsummary = \"The traffic of a test.\"\nsetup = \"{setup}\"\n{actors}[[invariant]]\n\
         name = \"nothing\"\nsql = \"SELECT 1 WHERE false\"\n"
    );
    std::fs::write(at.path().join("traffic.toml"), script).unwrap();
    at
}

fn held(at: &Path, more: &[&str]) -> Called {
    let arguments = ["m", "--traffic", "traffic.toml", "--postgres", "local", "--format", "json"];
    rehearse(at, &[&arguments[..], more].concat())
}

fn row(called: &Called) -> Value {
    called.json()["results"][0].clone()
}

/// The first finding of a kind.
fn finding<'r>(row: &'r Value, kind: &str) -> &'r Value {
    let all = row["findings"].as_array().unwrap();
    all.iter().find(|one| one["kind"] == kind).unwrap_or_else(|| panic!("no {kind}: {row:#}"))
}

const ORDERS: [(&str, &str); 2] = [
    ("1_orders.up.sql", "CREATE TABLE orders (id int PRIMARY KEY, amount int)"),
    ("1_orders.down.sql", "DROP TABLE orders"),
];
const FILLED: &str = "INSERT INTO orders SELECT n, n FROM generate_series(1, 1000) AS n";
const WRITER: (&str, &str) = ("writer", "\"UPDATE orders SET amount = amount + 1 WHERE id = 7\"");
const READER: (&str, &str) = ("reader", "\"SELECT count(*) FROM orders WHERE id = 5\"");

#[test]
fn traffic_that_fails_before_the_first_file_ends_the_rehearsal_and_no_file_is_blamed() {
    let more = [("2_other.up.sql", "CREATE TABLE other (a int)"), ("2_other.down.sql", "DROP TABLE other")];
    let files = [&ORDERS[..], &more].concat();
    let at = under(&files, FILLED, &[READER, ("broken", "\"INSERT INTO nowhere VALUES (1)\"")]);
    let row = row(&held(at.path(), &[]).ends_with(3));
    assert_eq!((found(&row).len(), row["files"].as_array().unwrap().len()), (0, 0));
    let why = row["inconclusive"][0].as_str().unwrap();
    assert!(why.starts_with("the traffic itself fails, before any migration: "), "{why}");
    assert!(why.contains("42P01, first at broken, step 1: relation \"nowhere\" does not exist"), "{why}");
    assert_eq!(row["inconclusive"].as_array().unwrap().len(), 1, "{why}");
    // What it may see is no failure.
    let row = crate::blame::row(&held(at.path(), &["--allow-error", "42P01"]));
    assert!(found(&row).is_empty() && row["files"].as_array().unwrap().len() == 3, "{row:#}");
}

#[test]
fn an_error_of_the_application_and_a_difference_belong_to_the_statement_that_brought_them_about() {
    let rename = "CREATE TABLE other (a int);\nCREATE INDEX ON other (a);\nALTER TABLE orders RENAME amount TO price;\n\
                  SELECT 1;";
    let files = [
        &ORDERS[..],
        &[
            ("2_rename.up.sql", rename),
            ("2_rename.down.sql", "ALTER TABLE orders RENAME price TO amount;\nDROP TABLE other;"),
            ("3_note.up.sql", "CREATE TABLE third (a int);\nALTER TABLE orders ADD note text;"),
            ("3_note.down.sql", "SELECT 1;\nDROP TABLE third;"),
        ],
    ]
    .concat();
    let at = under(&files, FILLED, &[READER, WRITER]);
    let row = row(&held(at.path(), &["--from", "1"]).ends_with(1));
    let found = found(&row);
    for expected in ["application-error 2_rename.up.sql:3 42703", "down-differs 3_note.down.sql:2 -"] {
        assert!(found.contains(&expected.to_owned()), "{found:?}");
    }
    let sentence = finding(&row, "down-differs")["sentence"].as_str().unwrap();
    assert!(
        sentence.ends_with("+ column orders.note text; m/3_note.up.sql:2 brought that about, and it is not undone")
    );
}

#[test]
fn a_deadlock_with_the_traffic_is_told_with_both_statements_and_the_victim_and_is_no_queue() {
    let files = [
        ("1_two.up.sql", "CREATE TABLE a (id int PRIMARY KEY, v int);\nCREATE TABLE b (id int PRIMARY KEY, v int);"),
        ("1_two.down.sql", "DROP TABLE a; DROP TABLE b;"),
        ("2_both.up.sql", "ALTER TABLE b ADD x int;\nSELECT pg_sleep(0.4);\nALTER TABLE a ADD x int;"),
        ("2_both.down.sql", "ALTER TABLE a DROP x;\nALTER TABLE b DROP x;"),
    ];
    let setup = "INSERT INTO a VALUES (1, 1), (2, 2); INSERT INTO b VALUES (1, 1), (2, 2);";
    let update = |table: &str| format!("\"UPDATE {table} SET v = v + 1 WHERE id = 1\"");
    let steps = format!("\"{{begin}}\", {}, {}, \"COMMIT\"", update("a"), update("b"));
    let at = under(&files, setup, &[("shop", &steps)]);
    let row = row(&held(at.path(), &[]).ends_with(1));
    let found = found(&row);
    assert!(found.contains(&"deadlock 2_both.up.sql:3 40P01".to_owned()), "{found:?}");
    assert!(!found.iter().any(|one| one.starts_with("queue") || one.starts_with("refused")), "{found:?}");
    let sentence = finding(&row, "deadlock")["sentence"].as_str().unwrap();
    for said in ["shop, step 3: UPDATE b SET v = v + 1", "what line 1 has locked", " was the victim"] {
        assert!(sentence.contains(said), "{sentence}");
    }
}

#[test]
fn a_short_lock_in_a_file_without_a_transaction_is_read_on_every_way() {
    let [up, down] =
        ["ADD note text", "DROP note"].map(|what| format!("-- no-transaction\nALTER TABLE orders {what};"));
    let files = [&ORDERS[..], &[("2_note.up.sql", up.as_str()), ("2_note.down.sql", down.as_str())]].concat();
    let at = under(&files, FILLED, &[READER, WRITER]);
    let row = row(&held(at.path(), &[]).ends_with(0));
    let files = row["files"].as_array().unwrap();
    let strongest = |file: &Value| file["statements"][0]["locks"][0].to_string();
    assert_eq!(files.len(), 3);
    assert!(files.iter().all(|file| strongest(file).contains("ACCESS EXCLUSIVE")), "{row:#}");
    assert!(files.iter().all(|file| strongest(file).contains("\"on\":\"orders\"")), "{row:#}");
}

#[test]
fn in_a_message_of_several_statements_the_one_that_was_refused_is_told_with_what_depends_on_it() {
    let make = "CREATE TABLE a (id int, v int);\nCREATE VIEW shown AS SELECT v FROM a;";
    for (next, expected, advice) in [
        ("SELECT 1;\nBEGIN;\nSELECT 2;\nALTER TABLE a DROP v;\nCOMMIT;", "refused 2_b.up.sql:4 2BP01", "view shown"),
        ("BEGIN;\nSELECT 1;\nALTER TABLE a DROP v;\nCOMMIT;", "refused 2_b.up.sql:3 2BP01", "view shown"),
        ("SELECT 1;\nSELECT 2;\nSELEC 3;", "refused 2_b.up.sql:3 42601", ""),
        (
            "ALTER TABLE a ADD w int;\nCREATE INDEX i ON a (w);\nALTER TABLE a DROP COLUMN w;\nDROP INDEX i;",
            "refused 2_b.up.sql:4 42704",
            "Line 3 has dropped it already",
        ),
    ] {
        let at = holding(&[("1_a.up.sql", make), ("2_b.up.sql", next)]);
        let arguments = ["m", "--layout", "golang-migrate", "--postgres", "local", "--format", "json"];
        let row = row(&rehearse(at.path(), &arguments).ends_with(1));
        assert_eq!(found(&row), [expected]);
        let said = row["findings"][0]["advice"].as_str().unwrap();
        assert!(said.contains(advice), "{said}");
    }
}

#[test]
fn what_keeps_writers_out_for_longer_the_more_rows_there_are_is_found_however_fast_it_was_here() {
    let index = [("2_index.up.sql", "CREATE INDEX i ON orders (amount)"), ("2_index.down.sql", "DROP INDEX i")];
    let files = [&ORDERS[..], &index].concat();
    let filled = FILLED.replace("1000", "20000");
    let at = under(&files, &filled, &[READER, WRITER]);
    let row = row(&held(at.path(), &[]).ends_with(1));
    assert_eq!(found(&row), ["grows-with-table 2_index.up.sql:1 -"]);
    let said = &finding(&row, "grows-with-table");
    assert!(
        said["sentence"]
            .as_str()
            .unwrap()
            .contains("builds an index of all rows of orders under SHARE, which keeps writers out")
    );
    assert!(said["advice"].as_str().unwrap().starts_with("CREATE INDEX CONCURRENTLY"), "{said}");
    // Of as many rows as there are here it is within the budget; of many more it is not.
    let pass = crate::blame::row(&held(at.path(), &["--rows", "orders=20000"]).ends_with(0));
    let evidence = pass["evidence"].as_str().unwrap();
    for said in ["on orders with 20000 rows", "(500 are allowed)", "% of the throughput was lost"] {
        assert!(evidence.contains(said), "{evidence}");
    }
    held(at.path(), &["--rows", "orders=2_000_000_000"]).ends_with(1);
    assert!(held(at.path(), &["--rows", "orders"]).ends_with(2).err.contains("such as orders=5000000"));
    // A column without a default is added in an instant, whatever the table's size.
    let add =
        [("2_note.up.sql", "ALTER TABLE orders ADD note text"), ("2_note.down.sql", "ALTER TABLE orders DROP note")];
    let at = under(&[&ORDERS[..], &add].concat(), &filled, &[READER, WRITER]);
    held(at.path(), &[]).ends_with(0);
}

#[test]
fn foreign_keys_on_sqlite_are_as_the_tool_has_them_or_as_the_settings_say() {
    let make = "CREATE TABLE parent (id INTEGER PRIMARY KEY);\nCREATE TABLE child (p int REFERENCES parent (id));";
    let files = [("1_a.up.sql", make), ("2_b.up.sql", "SELECT 1;\nINSERT INTO child VALUES (7);")];
    let of = |layout: &str, settings: &str| {
        let at = holding(&[&files[..], &[("rehearse.toml", settings)]].concat());
        let arguments = ["m", "--layout", layout, "--backend", "sqlite", "--journal", "wal", "--format", "json"];
        let row = row(&rehearse(at.path(), &arguments));
        (found(&row), row["notes"].to_string().contains("foreign keys are off in the migrating session"))
    };
    let refused = || vec!["refused 2_b.up.sql:2 787".to_owned()];
    assert_eq!(of("sqlx", ""), (refused(), false));
    assert_eq!(of("golang-migrate", ""), (Vec::new(), true));
    assert_eq!(of("golang-migrate", "foreign-keys = true"), (refused(), false));
    assert_eq!(of("sqlx", "foreign-keys = false"), (Vec::new(), true));
}

#[test]
fn a_refusal_that_ends_the_transaction_on_sqlite_leaves_what_was_measured() {
    let make = "CREATE TABLE other (a int);\n\
                CREATE TRIGGER no BEFORE INSERT ON t WHEN new.a > 5 BEGIN SELECT RAISE(ROLLBACK, 'no'); END;\n\
                CREATE TABLE third (a int);";
    let files = [
        ("1_a.up.sql", "CREATE TABLE t (id INTEGER PRIMARY KEY, a int)"),
        ("1_a.down.sql", "DROP TABLE t"),
        ("2_b.up.sql", make),
        ("2_b.down.sql", "DROP TABLE third;\nDROP TRIGGER no;\nDROP TABLE other;"),
    ];
    let at = under(&files, "", &[("writer", "\"INSERT INTO t (a) VALUES (7)\"")]);
    let arguments = ["m", "--traffic", "traffic.toml", "--backend", "sqlite", "--journal", "wal", "--format", "json"];
    let row = row(&rehearse(at.path(), &arguments).ends_with(1));
    assert!(found(&row).contains(&"application-error 2_b.up.sql:2 1811".to_owned()), "{row:#}");
}

#[test]
fn what_is_tried_on_the_twin_is_not_the_next_statements_work() {
    let make =
        "-- +goose Up\nCREATE TABLE orders (id int PRIMARY KEY, amount int);\n-- +goose Down\nDROP TABLE orders;";
    let next = "-- +goose NO TRANSACTION\n-- +goose Up\nSELECT 1;\nBEGIN;\nALTER TABLE orders ADD x int;\n\
                ALTER TABLE orders ADD y int;\nALTER TABLE orders RENAME amount TO price;\nCOMMIT;\n-- +goose Down\n\
                SELECT 1;\nBEGIN;\nALTER TABLE orders RENAME price TO amount;\nALTER TABLE orders DROP y, DROP x;\nCOMMIT;";
    let files = [("00001_orders.sql", make), ("00002_b.sql", next)];
    let at = under(&files, &FILLED.replace("1000", "2000"), &[("reader", "\"SELECT sum(amount) FROM orders\"")]);
    let row = row(&held(at.path(), &[]).ends_with(1));
    let found = found(&row);
    assert!(found.contains(&"application-error 00002_b.sql:7 42703".to_owned()), "{found:?}");
    assert!(!found.iter().any(|one| one.starts_with("grows-with-table")), "{found:?}");
}
