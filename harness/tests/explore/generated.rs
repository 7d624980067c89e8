//! Small scripts from a seed: a few actors, a few rows, every kind of statement.

use drift_engine::lock::Backend;
use driftlock::scenario::script::{NamedQuery, Script, ScriptActor, ScriptCase, ScriptStep};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use rand::seq::IndexedRandom;

const LEVELS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

/// A script on a backend.
pub fn script(backend: Backend, rng: &mut ChaCha8Rng) -> Script {
    let actors = if rng.random_bool(0.3) { 3 } else { 2 };
    let statements = if actors == 3 { 1 } else { 2 };
    let mut all = Vec::new();
    for number in 0..actors {
        let mut steps = Vec::new();
        let transaction = rng.random_bool(if actors == 3 { 0.3 } else { 0.85 });
        if transaction {
            steps.push(match backend {
                Backend::Postgres => format!("BEGIN ISOLATION LEVEL {}", LEVELS.choose(rng).unwrap()),
                Backend::Sqlite => (*["BEGIN", "BEGIN", "BEGIN IMMEDIATE"].choose(rng).unwrap()).to_owned(),
            });
        }
        steps.extend((0..statements).map(|_| statement(backend, number, rng)));
        if transaction {
            steps.push((*["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"].choose(rng).unwrap()).to_owned());
        }
        let steps = (1..).zip(steps).map(|(number, sql)| step(number, sql)).collect();
        all.push(ScriptActor { name: format!("a{number}"), steps, goes_on: rng.random_bool(0.2) });
    }
    let begin = "BEGIN".to_owned();
    Script {
        name: "generated".to_owned(),
        summary: "generated".to_owned(),
        setup: "CREATE TABLE a (id integer PRIMARY KEY, v integer NOT NULL); \
                CREATE TABLE b (id integer PRIMARY KEY, a integer NOT NULL REFERENCES a (id)); \
                INSERT INTO a VALUES (1, 10), (2, 20); INSERT INTO b VALUES (1, 1);"
            .to_owned(),
        actors: all,
        invariants: Vec::new(),
        serial: vec![
            NamedQuery { name: "a".to_owned(), sql: "SELECT * FROM a".to_owned() },
            NamedQuery { name: "b".to_owned(), sql: "SELECT * FROM b".to_owned() },
        ],
        overlaps: Vec::new(),
        cases: vec![ScriptCase { name: backend.as_str().to_owned(), backend, begin, violates: None }],
    }
}

/// A step that captures nothing.
pub fn step(number: usize, sql: String) -> ScriptStep {
    ScriptStep { name: number.to_string(), sql, ..ScriptStep::default() }
}

fn statement(backend: Backend, actor: usize, rng: &mut ChaCha8Rng) -> String {
    let row = if rng.random_bool(0.8) { 1 } else { 2 };
    let both = [
        format!("SELECT v FROM a WHERE id = {row}"),
        "SELECT sum(v) FROM a".to_owned(),
        format!("UPDATE a SET v = v + {} WHERE id = {row}", actor + 1),
        "UPDATE a SET v = v * 2".to_owned(),
        format!("INSERT INTO b VALUES ({}, {row})", rng.random_range(2..=3)),
        format!("DELETE FROM b WHERE id = {row}"),
        "INSERT INTO b SELECT count(*) + 5, 1 FROM b".to_owned(),
        format!("INSERT INTO a SELECT 3, sum(v) + {actor} FROM a"),
    ];
    let of_postgres = [
        format!("SELECT v FROM a WHERE id = {row} FOR UPDATE"),
        format!("SELECT v FROM a WHERE id = {row} FOR SHARE"),
        format!("SELECT v FROM a WHERE id = {row} FOR NO KEY UPDATE NOWAIT"),
        "SELECT id FROM a ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1".to_owned(),
        format!("SELECT pg_advisory_xact_lock({row})"),
        format!("SELECT pg_try_advisory_xact_lock({row})"),
        "LOCK TABLE b IN SHARE MODE".to_owned(),
        format!("INSERT INTO b VALUES (2, {row}) ON CONFLICT DO NOTHING"),
    ];
    let any = rng.random_range(0..if backend == Backend::Postgres { 16 } else { 8 });
    both.iter().chain(&of_postgres).nth(any).unwrap().clone()
}
