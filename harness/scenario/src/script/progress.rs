//! How far an actor is, on whatever database and whoever runs it: what its steps mean is said here, once.

use std::collections::BTreeMap;

use super::flow::{Instruction, OnError};
use super::holes::{fill, fill_answers};
use super::{FaultKind, LOST, Script, ScriptActor, ScriptCase, ScriptStep};

/// Where an actor is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ActorState {
    /// Its next step can be sent.
    #[default]
    Ready,
    /// Its step waits.
    Waiting,
    /// It has no step left, or has rolled back.
    Ended,
}

/// What an answer returned, as far as it can be captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Returned {
    /// The values of the first row; none where no row came.
    pub first: Vec<Value>,
    /// The first value of each row.
    pub column: Vec<Value>,
    /// How many rows were returned or changed, where the database says.
    pub affected: Option<u64>,
}

/// A value that was returned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    /// As text; `None` is NULL.
    pub text: Option<String>,
    /// As a literal, where the value itself says of which type it is.
    pub literal: Option<String>,
}

/// What an actor does after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterError {
    /// It goes on, in the transaction as it is.
    GoesOn,
    /// It rolls back; then it has ended, or begins anew: see [`Progress::state`].
    RollsBack,
}

/// How far an actor is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Where it is.
    pub state: ActorState,
    /// The number of its next step, or of the one that waits.
    pub next: usize,
    /// The instruction that sends it.
    at: usize,
    /// How often it has begun anew.
    attempts: u32,
    /// How often each repetition was run, by its instruction.
    repeated: BTreeMap<usize, u64>,
    captured: BTreeMap<String, Captured>,
    /// What was captured until its last COMMIT: what remains where it is refused later.
    committed: BTreeMap<String, Captured>,
    /// It has begun a transaction, by its text.
    in_transaction: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Captured {
    text: Option<String>,
    literal: String,
}

/// What stands for a value that was not captured.
const NULL: &str = "NULL";

/// A step's SQL before anything was captured.
pub fn unfilled(case: &ScriptCase, step: &ScriptStep) -> String {
    Progress::default().sql(case, step)
}

/// Queries with what actors have captured put in, where `{actor.name}` stands.
pub fn fill_queries(queries: &[String], script: &Script, actors: &[&Progress]) -> Vec<String> {
    let literal = |actor: &str, name: &str| {
        let at = script.actors.iter().position(|one| one.name == actor)?;
        script.actors[at].captures(name).then(|| actors.get(at).map_or(NULL, |one| one.literal(name)).to_owned())
    };
    queries.iter().map(|query| fill_answers(query, literal)).collect()
}

impl Progress {
    /// Of an actor before its first step.
    pub fn of(actor: &ScriptActor) -> Self {
        let mut progress = Self::default();
        progress.go(actor, 0);
        progress
    }

    /// The SQL of a step, with its holes filled, each once: a brace in a value is no hole.
    pub fn sql(&self, case: &ScriptCase, step: &ScriptStep) -> String {
        fill(&step.sql, |name| match name {
            "begin" => case.begin.clone(),
            _ => self.literal(name).to_owned(),
        })
    }

    fn literal(&self, name: &str) -> &str {
        self.captured.get(name).map_or(NULL, |captured| &captured.literal)
    }

    /// Notes that its step was answered, keeps what is to be captured, and goes on. `literal` writes a value of a
    /// column, by its number from 0.
    pub fn answered(&mut self, actor: &ScriptActor, returned: &Returned, literal: impl Fn(usize, &Value) -> String) {
        let step = &actor.steps[self.next];
        let null = Value::default();
        for (column, name) in step.capture.iter().enumerate() {
            let value = returned.first.get(column).unwrap_or(&null);
            self.keep(name, value.text.clone(), literal(column, value));
        }
        if let Some(name) = &step.rows {
            let literals: Vec<String> = returned.column.iter().map(|value| literal(0, value)).collect();
            let texts = returned.column.iter().map(|value| value.text.as_deref().unwrap_or(NULL));
            let (text, list) = match literals.is_empty() {
                // A list of nothing, in which and in whose complement nothing unknown is.
                true => (None, format!("SELECT {} WHERE 1 = 0", literal(0, &null))),
                false => (Some(texts.collect::<Vec<_>>().join(", ")), literals.join(", ")),
            };
            self.keep(name, text, list);
        }
        if let Some(name) = &step.affected {
            let affected = returned.affected.map(|rows| rows.to_string());
            self.keep(name, affected.clone(), affected.unwrap_or_else(|| NULL.to_owned()));
        }
        // Where nothing is captured nothing has to be looked at, and a load's rounds are many.
        if actor.steps.iter().any(|step| step.captured().next().is_some()) {
            self.in_transaction = is_open_after(&step.sql, self.in_transaction);
            if !self.in_transaction {
                self.committed.clone_from(&self.captured);
            }
        }
        self.go(actor, self.at + 1);
    }

    fn keep(&mut self, name: &str, text: Option<String>, literal: String) {
        self.captured.insert(name.to_owned(), Captured { text, literal });
    }

    /// Notes that its step was refused with this code, and goes on as the file says.
    pub fn refused(&mut self, actor: &ScriptActor, code: &str) -> AfterError {
        let step = &actor.steps[self.next];
        let names = step.capture.iter().chain(&step.rows).chain(&step.affected);
        for name in names {
            self.captured.remove(name);
        }
        // Of a session that is gone nothing is open.
        self.in_transaction &= ![LOST, FaultKind::Terminated.code()].contains(&code);
        let again = match actor.on_error(self.next, code) {
            Some(OnError::Go(to)) => {
                self.go(actor, to);
                return AfterError::GoesOn;
            }
            Some(OnError::Retry) => true,
            Some(OnError::End) => false,
            None if actor.goes_on => {
                self.go(actor, self.at + 1);
                return AfterError::GoesOn;
            }
            None => actor.retries_after(code),
        };
        let attempts = self.attempts;
        let committed = std::mem::take(&mut self.committed);
        // What it has read in the transaction that is rolled back it tells nobody.
        *self = Self { captured: committed.clone(), committed, ..Self::default() };
        if again && attempts < actor.retries {
            self.attempts = attempts + 1;
            self.go(actor, 0);
        } else {
            self.state = ActorState::Ended;
        }
        AfterError::RollsBack
    }

    /// Notes that it is gone: it does nothing any more, whatever the file says.
    pub fn gone(&mut self) {
        let committed = std::mem::take(&mut self.committed);
        *self = Self { captured: committed.clone(), committed, state: ActorState::Ended, ..Self::default() };
    }

    /// Goes on from an instruction to the next step.
    fn go(&mut self, actor: &ScriptActor, to: usize) {
        let mut at = to;
        loop {
            at = match actor.instruction(at) {
                Instruction::Send(step) => {
                    (self.at, self.next, self.state) = (at, step, ActorState::Ready);
                    return;
                }
                Instruction::End => {
                    (self.at, self.state) = (at, ActorState::Ended);
                    return;
                }
                Instruction::Nothing => at + 1,
                Instruction::Go(to) => to,
                Instruction::Unless(condition, to) => {
                    if condition.holds(|name| self.text(name)) {
                        at + 1
                    } else {
                        to
                    }
                }
                Instruction::Repeat { start, times, until } => {
                    let is_over = until.is_some_and(|until| until.holds(|name| self.text(name)));
                    let run = self.repeated.entry(at).or_default();
                    *run += 1;
                    if is_over || *run >= times {
                        self.repeated.remove(&at);
                        at + 1
                    } else {
                        start
                    }
                }
            };
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.captured.get(name)?.text.as_deref()
    }
}

/// Whether a transaction is open after a message, by its words; `before`: whether one was. `{begin}` begins one.
fn is_open_after(sql: &str, before: bool) -> bool {
    let statements = driftlock_sql::split(&sql.replace("{begin}", "BEGIN")).unwrap_or_default();
    statements.iter().fold(before, |open, statement| {
        let chains = statement.has("CHAIN") && !statement.has("NO");
        match statement.words.first().map(String::as_str) {
            Some("BEGIN" | "START") => true,
            Some("COMMIT" | "END" | "ROLLBACK" | "ABORT") if !statement.has("TO") => chains,
            _ => open,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A script whose only actor has these steps.
    fn actor(steps: &str, further: &str) -> ScriptActor {
        let text = format!(
            "name = \"x\"\nsummary = \"x\"\nsetup = \"SELECT 1\"\n[[actor]]\nname = \"one\"\n{further}\nsteps = [{steps}]\n\
             [[invariant]]\nname = \"none\"\nsql = \"SELECT 1 WHERE false\"\n"
        );
        let script = Script::parse(Path::new("x.toml"), text.as_bytes());
        script.unwrap_or_else(|problems| panic!("{problems:?}")).actors.remove(0)
    }

    /// The steps that are sent, where each is answered with the next of these: rows of a column, or a code.
    fn sent(actor: &ScriptActor, answers: &[Result<&[&str], &str>]) -> (Vec<String>, Vec<AfterError>) {
        let (mut progress, mut sent, mut after) = (Progress::of(actor), Vec::new(), Vec::new());
        let mut answers = answers.iter();
        while progress.state == ActorState::Ready {
            sent.push(actor.steps[progress.next].name.clone());
            match answers.next() {
                Some(Err(code)) => after.push(progress.refused(actor, code)),
                rows => {
                    let rows = rows.and_then(|rows| rows.ok()).unwrap_or_default();
                    let value = |text: &&str| Value { text: Some((*text).to_owned()), literal: None };
                    let column: Vec<Value> = rows.iter().map(value).collect();
                    let affected = Some(rows.len() as u64);
                    let returned = Returned { first: column.first().cloned().into_iter().collect(), column, affected };
                    progress.answered(actor, &returned, |_, value| value.text.clone().unwrap_or_else(|| NULL.into()));
                }
            }
            assert!(sent.len() < 100, "{sent:?}");
        }
        (sent, after)
    }

    fn names(of: (Vec<String>, Vec<AfterError>)) -> String {
        of.0.join(" ")
    }

    #[test]
    fn a_condition_decides_between_steps() {
        let of = actor(
            "{ sql = \"SELECT 1\", name = \"a\", capture = \"n\" }, \
             { if = \"{n} = 1\", steps = [{ sql = \"x\", name = \"yes\" }, { sql = \"x\", name = \"too\" }], \
               else = [{ sql = \"x\", name = \"no\" }] }, { sql = \"x\", name = \"z\", if = \"{n} > 1\" }",
            "",
        );
        assert_eq!(names(sent(&of, &[Ok(&["1"])])), "a yes too");
        assert_eq!(names(sent(&of, &[Ok(&["2"])])), "a no z");
        assert_eq!(names(sent(&of, &[Ok(&[])])), "a no", "no row is NULL");
        assert!(!of.is_straight());
    }

    #[test]
    fn a_refusal_leads_where_the_file_says() {
        let of = actor(
            "\"BEGIN\", { sql = \"x\", name = \"insert\", on-error = { \"23505\" = [{ sql = \"x\", name = \"back\" }, \
             { sql = \"x\", name = \"select\" }], \"55P03\" = \"retry\", \"42501\" = \"end\" } }, \"COMMIT\"",
            "retry = 1",
        );
        assert_eq!(names(sent(&of, &[])), "1 insert 5");
        let caught = sent(&of, &[Ok(&[]), Err("23505")]);
        assert_eq!((caught.0.join(" "), caught.1), ("1 insert back select 5".to_owned(), vec![AfterError::GoesOn]));
        let retried = sent(&of, &[Ok(&[]), Err("55P03"), Ok(&[]), Err("55P03")]);
        assert_eq!((retried.0.join(" "), retried.1), ("1 insert 1 insert".to_owned(), vec![AfterError::RollsBack; 2]));
        assert_eq!(names(sent(&of, &[Ok(&[]), Err("42501")])), "1 insert");
        assert_eq!(names(sent(&of, &[Ok(&[]), Err("40001")])), "1 insert 1 insert 5");
        assert_eq!(names(sent(&of, &[Ok(&[]), Err("22012")])), "1 insert");
    }

    #[test]
    fn what_is_repeated_ends_by_its_condition_or_its_bound() {
        let of = actor(
            "{ repeat = 3, until = \"{id} is not null\", steps = [{ sql = \"x\", name = \"poll\", capture = \"id\" }] }, \
             { sql = \"x {id}\", name = \"done\" }",
            "",
        );
        assert_eq!(names(sent(&of, &[])), "poll poll poll done");
        assert_eq!(names(sent(&of, &[Ok(&[]), Ok(&["7"])])), "poll poll done");
    }

    #[test]
    fn a_step_can_be_the_end() {
        let of = actor(
            "{ sql = \"x\", name = \"try\", capture = \"got\" }, \
             { if = \"not {got}\", steps = [{ sql = \"ROLLBACK\", name = \"off\", end = true }] }, { sql = \"x\", name = \"on\" }",
            "",
        );
        assert_eq!(names(sent(&of, &[Ok(&["f"])])), "try off");
        assert_eq!(names(sent(&of, &[Ok(&["t"])])), "try on");
    }

    #[test]
    fn transactions_are_told_by_their_words() {
        for (sql, before, after) in [
            ("{begin}", false, true),
            ("START TRANSACTION; SELECT 1", false, true),
            ("BEGIN; UPDATE t SET v = 1; COMMIT", false, false),
            ("ROLLBACK TO SAVEPOINT s", true, true),
            ("COMMIT AND CHAIN", true, true),
            ("COMMIT AND NO CHAIN", true, false),
            ("SELECT 'COMMIT'", true, true),
            ("end", true, false),
        ] {
            assert_eq!(is_open_after(sql, before), after, "{sql}");
        }
    }

    #[test]
    fn rows_and_numbers_of_rows_are_captured_and_what_was_refused_is_null() {
        let of = actor(
            "{ sql = \"x\", capture = [\"a\", \"b\"], rows = \"all\", affected = \"n\" }, \
             \"SELECT {a}, {b}, {n} WHERE v IN ({all})\"",
            "goes-on = true",
        );
        let case = ScriptCase {
            name: String::new(),
            backend: drift_engine::lock::Backend::Postgres,
            begin: String::new(),
            violates: None,
            set: BTreeMap::new(),
        };
        let value = |text: &str| Value { text: Some(text.to_owned()), literal: None };
        let literal = |column: usize, value: &Value| format!("<{column}:{}>", value.text.as_deref().unwrap_or("NULL"));
        let mut progress = Progress::of(&of);
        let returned =
            Returned { first: vec![value("1"), value("2")], column: vec![value("1"), value("3")], affected: Some(2) };
        progress.answered(&of, &returned, literal);
        assert_eq!(progress.sql(&case, &of.steps[1]), "SELECT <0:1>, <1:2>, 2 WHERE v IN (<0:1>, <0:3>)");
        let mut none = Progress::of(&of);
        none.answered(&of, &Returned { affected: Some(0), ..Returned::default() }, literal);
        assert_eq!(
            none.sql(&case, &of.steps[1]),
            "SELECT <0:NULL>, <1:NULL>, 0 WHERE v IN (SELECT <0:NULL> WHERE 1 = 0)"
        );
        let mut refused = Progress::of(&of);
        assert_eq!(refused.refused(&of, "22012"), AfterError::GoesOn);
        assert_eq!(refused.sql(&case, &of.steps[1]), "SELECT NULL, NULL, NULL WHERE v IN (NULL)");
    }
}
