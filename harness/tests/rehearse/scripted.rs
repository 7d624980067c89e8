//! A schema of the user's own, with traffic from a script.

use std::path::Path;

use serde_json::Value;

use crate::{Called, found, holding, rehearse};

const SCRIPT: &str = r#"
name = "orders"
summary = "Orders are taken, and counted in a second table."
setup = "INSERT INTO orders SELECT n FROM generate_series(1, 300000) AS n; CREATE TABLE taken (amount int);"

[[actor]]
name = "shop"
steps = ["{begin}", "INSERT INTO orders VALUES (1)", "INSERT INTO taken VALUES (1)", "COMMIT"]

[[actor]]
name = "other"
steps = ["{begin}", "INSERT INTO orders VALUES (2)", "INSERT INTO taken VALUES (2)", "COMMIT"]

[[actor]]
name = "page"
steps = [{ sql = "SELECT max(amount) FROM taken", name = "look", capture = "most" }, "SELECT {most}::text"]

[[invariant]]
name = "every-order-is-kept"
sql = "SELECT 1 WHERE (SELECT count(*) FROM orders) <> (SELECT count(*) FROM taken) + 300000"
"#;

/// So that some operation of the traffic is under way meanwhile.
const LONG_ENOUGH: &str = "SELECT pg_sleep(0.2)";

fn orders(up: &str, down: &str) -> tempfile::TempDir {
    let at = holding(&[
        ("1_orders.up.sql", "CREATE TABLE orders (amount int)"),
        ("1_orders.down.sql", "DROP TABLE orders"),
        ("2_next.up.sql", up),
        ("2_next.down.sql", down),
    ]);
    std::fs::write(at.path().join("orders.toml"), SCRIPT).unwrap();
    at
}

fn under_traffic(at: &Path, more: &[&str]) -> Called {
    let arguments = ["m", "--traffic", "orders.toml", "--postgres", "local", "--format", "json"];
    rehearse(at, &[&arguments[..], more].concat())
}

fn row(called: &Called) -> Value {
    called.json()["results"][0].clone()
}

#[test]
fn a_rewrite_of_a_users_own_table_blocks_its_own_traffic() {
    let at = orders("ALTER TABLE orders ALTER amount TYPE bigint", "ALTER TABLE orders ALTER amount TYPE int");
    let called = under_traffic(at.path(), &["--access-exclusive", "20", "--write-block", "20"]).ends_with(1);
    let found = found(&row(&called));
    for expected in ["access-exclusive 2_next.up.sql:1 -", "blocks-writers 2_next.up.sql:1 -"] {
        assert!(found.contains(&expected.to_owned()), "{found:?}");
    }
    // Harmless, and judged to be so.
    let [up, down] = ["ADD note text", "DROP note"].map(|what| format!("ALTER TABLE orders {what};\n{LONG_ENOUGH}"));
    let at = orders(&up, &down);
    let called = under_traffic(at.path(), &[]).ends_with(0);
    let evidence = row(&called)["evidence"].as_str().unwrap().to_owned();
    assert!(evidence.contains("rounds of the script its 1 invariants held"), "{evidence}");
}

#[test]
fn a_copy_that_loses_what_is_written_meanwhile_is_noticed_by_the_invariant() {
    let copy = "CREATE TABLE copied AS SELECT * FROM orders;\nSELECT pg_sleep(0.3);\n\
                DROP TABLE orders;\nALTER TABLE copied RENAME TO orders;";
    let locked = format!("LOCK TABLE orders IN SHARE MODE;\n{copy}");
    let at = orders(copy, LONG_ENOUGH);
    // How long a busy machine takes to let go of a dropped table is another question.
    let called = under_traffic(at.path(), &["--access-exclusive", "5000"]).ends_with(1);
    assert_eq!(found(&row(&called)), ["wrong-result 2_next.up.sql:1 -"]);
    let at = orders(&locked, LONG_ENOUGH);
    // The copy keeps writers out for as long as it reads: within the budget of so many rows.
    under_traffic(at.path(), &["--rows", "orders=300000", "--access-exclusive", "5000"]).ends_with(0);
}
