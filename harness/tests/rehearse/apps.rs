//! Old and new application: which version's code works on which version of the schema.

use std::path::Path;

use serde_json::Value;

use crate::{Called, found, holding, rehearse};

/// The application as it was, and as it is from version 2 on.
fn shop(columns: &str, values: &str) -> String {
    format!(
        "name = \"shop\"\nsummary = \"Orders are taken.\"\n\
         setup = \"INSERT INTO orders (amount) SELECT n FROM generate_series(1, 100) AS n\"\n\
         [[actor]]\nname = \"shop\"\nsteps = [\"{{begin}}\", {{ sql = \"INSERT INTO orders ({columns}) VALUES ({values})\", \
         name = \"take\" }}, \"COMMIT\"]\n\
         [[invariant]]\nname = \"no-order-is-free\"\nsql = \"SELECT 1 FROM orders WHERE amount = 0\"\n"
    )
}

fn orders(up: &str, down: &str) -> tempfile::TempDir {
    let at = holding(&[
        ("1_orders.up.sql", "CREATE TABLE orders (amount int NOT NULL)"),
        ("1_orders.down.sql", "DROP TABLE orders"),
        ("2_next.up.sql", up),
        ("2_next.down.sql", down),
    ]);
    std::fs::write(at.path().join("old.toml"), shop("amount", "1")).unwrap();
    std::fs::write(at.path().join("new.toml"), shop("amount, note", "1, 'x'")).unwrap();
    at
}

fn deployed(at: &Path, apps: &[&str]) -> Called {
    let apps = apps.iter().flat_map(|app| ["--app", app]);
    let arguments = ["m", "--postgres", "local", "--format", "json", "--output", "run"];
    rehearse(at, &arguments.into_iter().chain(apps).collect::<Vec<_>>())
}

fn row(called: &Called) -> Value {
    called.json()["results"][0].clone()
}

/// The table, as `version: outcome or code on each version`.
fn table(row: &Value) -> Vec<String> {
    let on = |on: &Value| on["code"].as_str().or(on["outcome"].as_str()).unwrap().to_owned();
    let line = |line: &Value| {
        let on: Vec<String> = line["on"].as_array().unwrap().iter().map(on).collect();
        format!("{}: {}", line["version"], on.join(" "))
    };
    row["applications"].as_array().unwrap().iter().map(line).collect()
}

#[test]
fn what_only_adds_lets_the_old_code_go_on_and_new_code_must_wait_for_it() {
    let at = orders("ALTER TABLE orders ADD note text", "ALTER TABLE orders DROP note");
    let called = deployed(at.path(), &["1=old.toml", "2=new.toml"]).ends_with(0);
    let row = row(&called);
    assert_eq!(table(&row), ["1: works works", "2: 42703 works"]);
    assert_eq!(row["traffic"], "1 actors of the script shop");
    let notes = row["notes"].to_string();
    assert!(notes.contains("does not work on version 1 yet: deploy it after the migration"), "{notes}");
    assert!(notes.contains("on each of 1 versions the application of the version before it still works"), "{notes}");
    let markdown = std::fs::read_to_string(at.path().join("run/report.md")).unwrap();
    assert!(markdown.contains("| of version 1: old.toml | works | works |"), "{markdown}");
    assert!(markdown.contains("| of version 2: new.toml | 42703 in shop, step take | works |"), "{markdown}");
    let printed = crate::driftlock(at.path(), &["report", "run"]).ends_with(0).out;
    assert!(printed.contains("on version 1") && printed.contains("of version 2: new.toml"), "{printed}");
}

#[test]
fn what_breaks_the_old_code_is_found_at_its_line() {
    let backfill = "ALTER TABLE orders ADD note text;\nUPDATE orders SET note = '';\n\
                    ALTER TABLE orders ALTER note SET NOT NULL;\nSELECT pg_sleep(0.1);";
    for (up, down, line, code, on_new) in [
        (backfill, "ALTER TABLE orders DROP note", 3, "23502", "42703 works"),
        (
            "SELECT 1;\nALTER TABLE orders RENAME amount TO total",
            "ALTER TABLE orders RENAME total TO amount",
            2,
            "42703",
            "",
        ),
    ] {
        let at = orders(up, down);
        let apps: &[&str] = if on_new.is_empty() { &["1=old.toml"] } else { &["1=old.toml", "2=new.toml"] };
        let called = deployed(at.path(), apps).ends_with(1);
        let row = row(&called);
        assert_eq!(table(&row)[0], format!("1: works {code}"));
        let finding = format!("old-application 2_next.up.sql:{line} {code}");
        assert!(found(&row).contains(&finding), "{:?}", found(&row));
        let one = row["findings"].as_array().unwrap().iter().find(|one| one["kind"] == "old-application").unwrap();
        let sentence = one["sentence"].as_str().unwrap();
        assert!(sentence.contains("shop, step take (INSERT INTO orders (amount) VALUES (1)): "), "{sentence}");
        assert_eq!(sentence.contains("no order is safe"), !on_new.is_empty(), "{sentence}");
        assert!(one["advice"].as_str().unwrap().starts_with("Expand, then contract"));
    }
}

#[test]
fn what_the_old_code_gets_wrong_is_found_by_its_invariant() {
    let trigger = "CREATE FUNCTION free() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.amount = 0; RETURN NEW; END $$;\n\
                   CREATE TRIGGER free BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION free();";
    let at = orders(trigger, "DROP TRIGGER free ON orders;\nDROP FUNCTION free;");
    let called = deployed(at.path(), &["1=old.toml"]).ends_with(1);
    let found = found(&row(&called));
    assert!(found.contains(&"old-application 2_next.up.sql:2 -".to_owned()), "{found:?}");
}

#[test]
fn an_application_that_does_not_fit_its_own_version_shows_nothing() {
    let at = orders("ALTER TABLE orders ADD note text", "ALTER TABLE orders DROP note");
    let called = deployed(at.path(), &["1=new.toml"]);
    let why = row(&called)["inconclusive"].to_string();
    assert!(why.contains("(new.toml) does not work on version 1 itself: shop, step take"), "{why}");
    for (apps, said) in [
        (&["2=new.toml"][..], "no application is older than version 2"),
        (&["1=old.toml", "1=new.toml"], "version 1 has two applications"),
        (&["7=old.toml"], "has no version 7"),
        (&["1=nothing.toml"], "nothing.toml"),
        (&["old.toml"], "an application is VERSION=SCENARIO"),
        (&["1=plain"], "plain needs driftlock's tables"),
    ] {
        let called = deployed(at.path(), apps).ends_with(2);
        assert!(called.err.contains(said), "{}", called.err);
    }
}

#[test]
fn the_engines_own_code_is_tried_too_and_what_it_cannot_read_any_more_is_no_fault_of_the_surroundings() {
    let rename = "SELECT 1;\nALTER TABLE drift_events RENAME severity TO strength";
    let at = holding(&[
        ("1_rename.up.sql", rename),
        ("1_rename.down.sql", "ALTER TABLE drift_events RENAME strength TO severity"),
        ("rehearse.toml", "base-version = 4\nevents = 1000\n"),
    ]);
    let called = deployed(at.path(), &["0=on-conflict"]).ends_with(1);
    let row = row(&called);
    assert_eq!(table(&row), ["0: works 42703"]);
    let found = found(&row);
    for expected in ["application-error 1_rename.up.sql:2 42703", "old-application 1_rename.up.sql:2 42703"] {
        assert!(found.contains(&expected.to_owned()), "{found:?}");
    }
    assert!(row["inconclusive"].to_string().contains("cannot be read any more"), "{row:#}");
}
