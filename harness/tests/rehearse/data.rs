//! Rehearsals on a dump of the user's own.

use crate::ground::{Ground, send};
use crate::{found, holding, rehearse};

/// A shop that counts what it began with.
const SHOP: &str = r#"
name = "shop"
summary = "Orders are taken."
setup = "SELECT 1"
[[actor]]
name = "shop"
steps = [{ sql = "INSERT INTO orders (amount) VALUES (1)", name = "take" }]
[[invariant]]
name = "all-of-the-dump-is-there"
sql = "SELECT count(*) FROM orders WHERE note LIKE 'it''s; %' HAVING count(*) <> 2000"
"#;
const TABLE: &str = "CREATE TABLE orders (id bigserial PRIMARY KEY, amount int NOT NULL, note text)";

fn orders(dump: &str) -> tempfile::TempDir {
    let at = holding(&[
        ("1_orders.up.sql", TABLE),
        ("1_orders.down.sql", "DROP TABLE orders"),
        ("2_next.up.sql", "ALTER TABLE orders ADD paid boolean"),
        ("2_next.down.sql", "ALTER TABLE orders DROP paid"),
    ]);
    std::fs::write(at.path().join("shop.toml"), SHOP).unwrap();
    std::fs::write(at.path().join("dump.sql"), dump).unwrap();
    at
}

/// What pg_dump writes, with each of these options, of a database in which these statements were carried out.
fn dumps_of(name: &str, statements: &[&str], options: &[&[&str]]) -> Vec<String> {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let ground = Ground::start(name).await;
        let mut session = ground.session().await;
        for sql in statements {
            send(&mut session, sql).await.unwrap();
        }
        let dumps = options.iter().map(|options| ground.dump(options)).collect();
        ground.stop().await;
        dumps
    })
}

const ARGUMENTS: [&str; 9] =
    ["m", "--data", "dump.sql", "--traffic", "shop.toml", "--postgres", "local", "--format", "json"];

#[test]
fn a_dump_of_pg_dumps_is_loaded_whole_or_as_data_alone() {
    let fill = "INSERT INTO orders (amount, note) SELECT n, E'it''s; \\\\.\\n' || n FROM generate_series(1, 2000) AS n";
    // What is only in a whole dump: a function with a body of statements, and a view.
    let more = "CREATE FUNCTION most() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT max(amount) FROM orders; END;
                CREATE VIEW dear AS SELECT * FROM orders WHERE amount > 10";
    let dumps = [&[][..], &["--data-only"], &["--data-only", "--inserts"], &["--inserts", "--rows-per-insert", "7"]];
    let dumps = dumps_of("dump", &[TABLE, fill, more], &dumps);
    let called: Vec<_> = dumps
        .iter()
        .map(|dump| {
            let at = orders(dump);
            std::thread::spawn(move || rehearse(at.path(), &ARGUMENTS))
        })
        .collect();
    for called in called {
        // A whole dump has the table already, which version 1 would make.
        let called = called.join().unwrap().ends_with(0);
        let row = &called.json()["results"][0];
        assert!(row["evidence"].as_str().unwrap().contains("rounds of the script its 1 invariants held"), "{row:#}");
        assert!(row["replay"].as_str().unwrap().contains(" --data 'dump.sql'"), "{row:#}");
    }
    // The invariant is what notices that something is missing.
    let missing = dumps[1].lines().filter(|line| !line.starts_with("77\t")).collect::<Vec<_>>().join("\n");
    let at = orders(&missing);
    let called = rehearse(at.path(), &ARGUMENTS).ends_with(1);
    assert!(found(&called.json()["results"][0])[0].starts_with("wrong-result"), "{}", called.out);
}

#[test]
fn what_is_wrong_with_a_dump_is_said_with_its_line_and_code() {
    let copy = "COPY orders (id, amount) FROM stdin;\n1\t1\n2\tmany\n\\.\n";
    for (dump, said) in [
        (copy.to_owned(), "dump.sql:3: 22P02 invalid input syntax"),
        (format!("SELECT 1;\n\n{TABLE};\n{copy}"), "dump.sql:6: 22P02 invalid input syntax"),
        (format!("{TABLE};\nALTER TABLE orders OWNER TO nobody_here;"), "--no-owner --no-privileges"),
        ("INSERT INTO orders\nVALUES (1, 1);\nINSERT INTO sold VALUES (1);".to_owned(), "dump.sql:3: 42P01 relation"),
        ("SELECT 1;\n\\connect other".to_owned(), "dump.sql:2: \\connect is a command of psql's"),
        (String::new(), "dump.sql: it has no statement"),
    ] {
        let at = orders(&dump);
        let called = rehearse(at.path(), &ARGUMENTS).ends_with(2);
        // The message may be broken into lines.
        let err: String = called.err.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(err.contains(said), "{err}");
    }
}

#[test]
fn the_engines_traffic_goes_on_beside_the_rows_of_a_dump() {
    let base = include_str!("../../../migrations/postgres/0001_base.up.sql");
    let rows = "INSERT INTO customers (id, name) VALUES (3, 'three'), (2000, 'many');
                INSERT INTO claims (customer_id, payer, cpt_group, outcome, submitted_on, decided_on)
                SELECT CASE WHEN n % 2 = 0 THEN 3 ELSE 2000 END, 'payer-1', 'imaging',
                    CASE WHEN n % 3 = 0 THEN 'DENIED' ELSE 'PAID' END, DATE '2026-04-14' - n % 100, DATE '2026-04-15'
                FROM generate_series(1, 4000) AS n";
    let dump = dumps_of("engine", &[base, rows], &[&[]]).remove(0);
    let add = [("1_a.up.sql", "ALTER TABLE claims ADD note text"), ("1_a.down.sql", "ALTER TABLE claims DROP note")];
    let at = holding(&add);
    std::fs::write(at.path().join("dump.sql"), dump).unwrap();
    let arguments = ["m", "--data", "dump.sql", "--postgres", "local", "--format", "json"];
    let row = &rehearse(at.path(), &arguments).ends_with(0).json()["results"][0];
    let checks = row["checks"].as_array().unwrap();
    let oracle = checks.iter().find(|check| check["name"] == "serial-oracle").unwrap();
    assert_eq!(oracle["verdict"], "pass", "what the dump has is counted: {row:#}");
}
