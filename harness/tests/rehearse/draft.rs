//! `driftlock init --traffic`: a script that is drafted from a schema runs as traffic, as it is.

use crate::{driftlock, found, holding, rehearse};

const MAKE: &str = "CREATE TYPE mood AS ENUM ('glad', 'sad');\n\
    CREATE TABLE customers (id uuid PRIMARY KEY, name varchar(12) NOT NULL UNIQUE, mood mood NOT NULL, tags text[]);\n\
    CREATE TABLE \"Order Lines\" (id bigserial PRIMARY KEY, customer uuid NOT NULL REFERENCES customers, \n\
        amount numeric(6, 2) NOT NULL, sent jsonb, doubled numeric GENERATED ALWAYS AS (amount * 2) STORED);\n\
    CREATE INDEX ON \"Order Lines\" (customer);\n\
    CREATE TABLE untouched (a int);\n\
    CREATE TABLE points (id int PRIMARY KEY, place point NOT NULL);";

/// Comments exclude nobody: the three tables are touched in one transaction without a deadlock.
const UP: &str =
    "COMMENT ON TABLE points IS 'p';\nCOMMENT ON TABLE \"Order Lines\" IS 'o';\nALTER TABLE customers ADD note text;";
const DOWN: &str =
    "ALTER TABLE customers DROP note;\nCOMMENT ON TABLE \"Order Lines\" IS NULL;\nCOMMENT ON TABLE points IS NULL;";

#[test]
fn traffic_is_drafted_for_the_tables_that_the_migrations_touch_and_runs_as_it_is() {
    let at = holding(&[("1_make.sql", MAKE), ("2_next.up.sql", UP), ("2_next.down.sql", DOWN)]);
    let arguments = ["init", "--traffic", "m", "--postgres", "local", "traffic.toml"];
    let called = driftlock(at.path(), &arguments).ends_with(0);
    assert!(called.out.contains("left out: points is not filled: a column has a type for which no value is known"));
    assert!(
        called.out.contains("traffic on customers, \"Order Lines\", points; try: driftlock rehearse 'm'"),
        "{}",
        called.out
    );
    let text = std::fs::read_to_string(at.path().join("traffic.toml")).unwrap();
    for said in ["insert-customers", "update-customers", "read-customers", "customers-are-kept", "'glad'::mood"] {
        assert!(text.contains(said), "{text}");
    }
    assert!(!text.contains("untouched"), "{text}");
    // It is there already.
    assert!(driftlock(at.path(), &arguments).ends_with(2).err.contains("traffic.toml exists already"));
    let arguments = ["m", "--traffic", "traffic.toml", "--postgres", "local", "--format", "json"];
    let row = rehearse(at.path(), &arguments).ends_with(0).json()["results"][0].clone();
    assert!(found(&row).is_empty() && row["errors"].as_object().unwrap().is_empty(), "{row:#}");
}

#[test]
fn what_cannot_be_drafted_is_said() {
    let at = holding(&[("1_a.sql", "CREATE TABLE t (a int)")]);
    let called = driftlock(at.path(), &["init", "--traffic", "m", "--postgres", "local"]).ends_with(2);
    assert!(called.err.contains("touch no table that is there before them"), "{}", called.err);
    let at = holding(&[("1_a.sql", "CREATE TABLE t (a INTEGER PRIMARY KEY AUTOINCREMENT)")]);
    let called = driftlock(at.path(), &["init", "--traffic", "m"]).ends_with(2);
    assert!(called.err.contains("m is for SQLite"), "{}", called.err);
    assert!(driftlock(at.path(), &["init", "--traffic", "nowhere"]).ends_with(2).err.contains("nowhere"));
    assert!(!at.path().join("driftlock-traffic.toml").exists());
}

#[test]
fn traffic_may_have_no_set_up() {
    for setup in ["", "setup = \"\"\n"] {
        let at = holding(&[
            ("1_a.sql", "CREATE TABLE t (a int);\nINSERT INTO t VALUES (1);"),
            ("2_b.up.sql", "ALTER TABLE t ADD b int"),
            ("2_b.down.sql", "ALTER TABLE t DROP b"),
        ]);
        let script = format!(
            "name = \"x\"\nsummary = \"x\"\n{setup}[[actor]]\nname = \"r\"\nsteps = [\"SELECT a FROM t\"]\n\
             [[invariant]]\nname = \"one\"\nsql = \"SELECT 1 WHERE (SELECT count(*) FROM t) <> 1\"\n"
        );
        std::fs::write(at.path().join("x.toml"), script).unwrap();
        rehearse(at.path(), &["m", "--traffic", "x.toml", "--postgres", "local"]).ends_with(0);
    }
}

/// Names that come to the same word, a control character in one, checks that wait for the end of a transaction, a table
/// that is only reached through its index, and one through its enum type.
const ODD: &str = "CREATE SCHEMA app; CREATE SCHEMA audit;\nCREATE TYPE mood AS ENUM ('glad', 'sad');\n\
    CREATE TABLE app.orders (id int PRIMARY KEY, place point, mood mood, amount int, other int UNIQUE);\n\
    CREATE TABLE audit.orders (id int PRIMARY KEY, note text);\n\
    CREATE TABLE \"ä\tö\" (id int PRIMARY KEY, a int);\nCREATE TABLE \"ß\" (id int PRIMARY KEY, a int);\n\
    CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'never so'; END $$;\n\
    CREATE TABLE late (id int PRIMARY KEY, a int);\n\
    CREATE CONSTRAINT TRIGGER late_no AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW \n\
        EXECUTE FUNCTION no();\n\
    CREATE TABLE kids (id int PRIMARY KEY, a int, b int, c int, d int);\nCREATE INDEX kids_a ON kids (a);\n\
    CREATE INDEX ON kids (b);\nCREATE INDEX ON kids (c);\nCREATE INDEX ON kids (d);";
const ODD_NEXT: &str = "ALTER TYPE mood ADD VALUE 'bad';\nCOMMENT ON TABLE audit.orders IS 'x';\n\
    COMMENT ON TABLE \"ä\tö\" IS 'x';\nCOMMENT ON TABLE \"ß\" IS 'x';\nCOMMENT ON TABLE late IS 'x';\n\
    ALTER INDEX kids_a RENAME TO kids_z;";

#[test]
fn a_draft_of_odd_names_and_late_checks_can_be_read_and_names_what_it_leaves_out() {
    let at = holding(&[("1_make.sql", ODD), ("2_next.sql", ODD_NEXT)]);
    let called = driftlock(at.path(), &["init", "--traffic", "m", "--postgres", "local", "traffic.toml"]).ends_with(0);
    for said in [
        "left out: late is not filled: never so",
        "left out: kids: no updates: there is no column of a known type outside of all indexes",
        "left out: kids: no reads by d: only 3 indexes of a table are read by",
    ] {
        assert!(called.out.contains(said), "{said}: {}", called.out);
    }
    let text = std::fs::read_to_string(at.path().join("traffic.toml")).unwrap();
    for said in [
        "\"insert-orders\"",
        "\"insert-orders-2\"",
        "\"read-table\"",
        "\"read-table-2\"",
        "UPDATE app.orders SET mood",
        "read-kids",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn a_draft_without_rows_has_a_question_all_the_same_and_one_without_actors_says_why() {
    let make = |columns: &str| format!("CREATE TABLE points ({columns});");
    let (some, none) = (make("id int PRIMARY KEY, p point NOT NULL"), make("p point NOT NULL"));
    let next = ("2_next.sql", "COMMENT ON TABLE points IS 'x';");
    let at = holding(&[("1_make.sql", &some), next]);
    let arguments = ["init", "--traffic", "m", "--postgres", "local", "traffic.toml"];
    driftlock(at.path(), &arguments).ends_with(0);
    assert!(std::fs::read_to_string(at.path().join("traffic.toml")).unwrap().contains("nothing-is-known"));
    let at = holding(&[("1_make.sql", &none), next]);
    let called = driftlock(at.path(), &arguments).ends_with(2);
    assert!(
        called.err.contains("points is not filled: a column has a type for which no value is known"),
        "{}",
        called.err
    );
    assert!(!at.path().join("traffic.toml").exists());
}
