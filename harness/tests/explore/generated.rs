//! Small scripts from a seed: a few actors, a few rows, every kind of statement.

mod postgres;
mod sqlite;

use std::collections::BTreeMap;

use drift_engine::lock::Backend;
use driftlock::scenario::script::{
    Condition, Instruction, NamedQuery, OnError, Script, ScriptActor, ScriptCase, ScriptStep,
};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use rand::seq::{IndexedRandom, SliceRandom};

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
        all.push(ScriptActor {
            name: format!("a{number}"),
            steps,
            goes_on: rng.random_bool(0.2),
            ..ScriptActor::default()
        });
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
        cases: vec![ScriptCase {
            name: backend.as_str().to_owned(),
            backend,
            begin,
            violates: None,
            set: BTreeMap::new(),
        }],
        ..Script::default()
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

/// The numbers of the steps of two actors: 70 orders at most.
const SHAPES_OF_TWO: [&[usize]; 11] =
    [&[4, 4], &[4, 4], &[3, 4], &[3, 4], &[5, 3], &[5, 3], &[5, 2], &[6, 2], &[3, 3], &[4, 2], &[2, 2]];
/// The numbers of the steps of three actors: 90 orders at most.
const SHAPES_OF_THREE: [&[usize]; 7] =
    [&[2, 2, 2], &[1, 2, 3], &[1, 2, 3], &[1, 1, 4], &[1, 1, 3], &[1, 2, 2], &[1, 1, 5]];

/// Statements that have to do with one thing: `#r` is a row that is there, `#n` one that may be, and `#a`
/// the actor's own number.
type Theme = &'static [&'static str];

/// What the rich scripts of a backend are made of.
struct Dialect {
    /// How a transaction begins: each as often as it is listed.
    begins: Theme,
    /// How it ends.
    ends: Theme,
    /// All that can be drawn in any script.
    themes: &'static [Theme],
    /// What changes the schema, which makes executions slow: one of these, in some scripts.
    schema: &'static [Theme],
    /// What is asked at the end, by name.
    serial: &'static [(&'static str, &'static str)],
    /// The set-up for steps with this text.
    setup: fn(&str, &mut ChaCha8Rng) -> String,
}

/// A script on a backend, of all that the backend can do.
pub fn rich(backend: Backend, rng: &mut ChaCha8Rng) -> Script {
    let dialect = match backend {
        Backend::Postgres => &postgres::DIALECT,
        Backend::Sqlite => &sqlite::DIALECT,
    };
    let source = Source::drawn(dialect, rng);
    let shapes: &[&[usize]] = if rng.random_bool(0.25) { &SHAPES_OF_THREE } else { &SHAPES_OF_TWO };
    let shape = *shapes.choose(rng).unwrap();
    let mut all: Vec<Vec<String>> =
        shape.iter().enumerate().map(|(actor, steps)| source.steps(actor, *steps, rng)).collect();
    all.shuffle(rng);
    let setup = (dialect.setup)(&all.concat().join("\n"), rng);
    let actor = |(number, steps): (usize, Vec<String>)| ScriptActor {
        name: format!("a{number}"),
        steps: (1..).zip(steps).map(|(number, sql)| step(number, sql)).collect(),
        goes_on: rng.random_bool(0.25),
        retries: u32::from(rng.random_bool(0.1)),
        ..ScriptActor::default()
    };
    let mut actors: Vec<ScriptActor> = all.into_iter().enumerate().map(actor).collect();
    for actor in &mut actors {
        if rng.random_bool(0.3) {
            branch(actor, rng);
        }
    }
    let ask = |(name, sql): &(&str, &str)| NamedQuery { name: (*name).to_owned(), sql: (*sql).to_owned() };
    let case = ScriptCase {
        name: backend.as_str().to_owned(),
        backend,
        begin: "BEGIN".to_owned(),
        violates: None,
        set: BTreeMap::new(),
    };
    Script {
        name: "generated".to_owned(),
        summary: "generated".to_owned(),
        setup,
        actors,
        invariants: Vec::new(),
        serial: dialect.serial.iter().map(ask).collect(),
        cases: vec![case],
        ..Script::default()
    }
}

/// Has an actor's course depend on what it reads and on what it is refused with: each step keeps a value and the number
/// of its rows; some later ones are sent only if these are such; some refusals are ignored, or end it.
fn branch(actor: &mut ScriptActor, rng: &mut ChaCha8Rng) {
    let conditions = ["{n} > 0", "{n} = 0", "{x} IS NULL", "{x} > 10", "NOT {x} = 20", "{x} IS NOT NULL AND {n} = 1"];
    for step in 0..actor.steps.len() {
        // The first one has nothing to go by, and whoever passes over the last one leaves its transaction open.
        if step > 0 && rng.random_bool(0.3) {
            let condition = Condition::parse(conditions.choose(rng).unwrap()).unwrap();
            actor.flow.push(Instruction::Unless(condition, actor.flow.len() + 2));
        }
        actor.flow.push(Instruction::Send(step));
        let after = actor.flow.len();
        let one = &mut actor.steps[step];
        (one.capture, one.affected) = (vec!["x".to_owned()], Some("n".to_owned()));
        if rng.random_bool(0.3) {
            let way = *[OnError::Go(after), OnError::Go(after), OnError::Retry, OnError::End].choose(rng).unwrap();
            one.on_error = vec![("*".to_owned(), way)];
        }
    }
}

/// Where a script's statements come from.
struct Source {
    dialect: &'static Dialect,
    /// The script's own themes, so that the actors meet.
    own: Vec<Theme>,
    /// All that it may draw from.
    all: Vec<Theme>,
}

impl Source {
    fn drawn(dialect: &'static Dialect, rng: &mut ChaCha8Rng) -> Self {
        let mut all = dialect.themes.to_vec();
        let themes = rng.random_range(1..=2);
        let mut own: Vec<Theme> = (0..themes).map(|_| *all.choose(rng).unwrap()).collect();
        if rng.random_bool(0.15) {
            let schema = *dialect.schema.choose(rng).unwrap();
            own.push(schema);
            all.push(schema);
        }
        Self { dialect, own, all }
    }

    /// An actor's steps, so many: a transaction, or each on its own.
    fn steps(&self, actor: usize, number: usize, rng: &mut ChaCha8Rng) -> Vec<String> {
        if number < 3 || rng.random_bool(0.15) {
            return (0..number).map(|_| self.alone(actor, rng)).collect();
        }
        let end = rng.random_bool(0.95).then(|| pick(self.dialect.ends, rng));
        let mut steps = vec![pick(self.dialect.begins, rng)];
        steps.extend(self.inside(actor, number - 1 - usize::from(end.is_some()), rng));
        steps.extend(end);
        steps
    }

    /// A step outside of a transaction, or with one of its own.
    fn alone(&self, actor: usize, rng: &mut ChaCha8Rng) -> String {
        let statement = self.statement(actor, rng);
        match rng.random_bool(0.1) {
            true => format!("{}; {statement}; {}", pick(self.dialect.begins, rng), pick(self.dialect.ends, rng)),
            false => statement,
        }
    }

    /// The steps between a transaction's beginning and its end, often with a savepoint where there is room.
    fn inside(&self, actor: usize, number: usize, rng: &mut ChaCha8Rng) -> Vec<String> {
        let mut steps: Vec<String> = (0..number).map(|_| self.statement(actor, rng)).collect();
        if number < 2 || !rng.random_bool(if number == 2 { 0.15 } else { 0.5 }) {
            return steps;
        }
        let (first, last) = (0, number - 1);
        steps[first] = match rng.random_range(0..4) {
            0 => format!("{}; SAVEPOINT s", steps[first]),
            1 | 2 if number > 2 => "SAVEPOINT s".to_owned(),
            _ => format!("SAVEPOINT s; {}", steps[first]),
        };
        steps[last] = match rng.random_range(0..5) {
            0 => format!("ROLLBACK TO s; {}", steps[last]),
            1 => "RELEASE s".to_owned(),
            // If it fails, what was done before the savepoint is there until the end.
            2 => return steps,
            _ => "ROLLBACK TO s".to_owned(),
        };
        steps
    }

    fn statement(&self, actor: usize, rng: &mut ChaCha8Rng) -> String {
        let themes = if rng.random_bool(0.9) { &self.own } else { &self.all };
        let theme = *themes.choose(rng).unwrap();
        let row = if rng.random_bool(0.8) { 1 } else { 2 };
        let maybe = rng.random_range(2..=3);
        let filled = [("#r", row), ("#n", maybe), ("#a", actor + 1)];
        filled.iter().fold(pick(theme, rng), |sql, (hole, number)| sql.replace(hole, &number.to_string()))
    }
}

fn pick(list: &[&str], rng: &mut ChaCha8Rng) -> String {
    (*list.choose(rng).unwrap()).to_owned()
}
