//! Runs one program on the model and on a real database, and compares after every operation.

use std::collections::BTreeSet;

use drift_engine::lock::Backend;
use drift_engine::op::{Op, Scope};
use drift_engine::session::SessionId;
use driftlock::model::Model;
use driftlock::model::rule::Rules;

use crate::explore::{Ended, Possible, agree, possible};
use crate::program::{Act, Keys, Program};
use crate::real::{Address, Real};
use crate::table::{Line, on_one_line, table};

/// Where programs run one after another.
pub struct Lane {
    address: Address,
    backend: Backend,
    rules: Rules,
    real: Option<Real>,
    next: i64,
    /// What the programs so far have come to.
    pub tally: Tally,
}

/// How much was compared, so that nobody takes idle programs for evidence.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub programs: u64,
    pub operations: u64,
    pub waits: u64,
    pub errors: u64,
    pub deadlocks: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.programs += other.programs;
        self.operations += other.operations;
        self.waits += other.waits;
        self.errors += other.errors;
        self.deadlocks += other.deadlocks;
    }
}

/// One program under way.
struct Course<'a> {
    real: &'a mut Real,
    keys: Keys,
    ids: Vec<SessionId>,
    /// The states that the model may be in, by what the database has answered so far.
    models: Vec<Model>,
    waiting: BTreeSet<usize>,
    lines: Vec<Line>,
}

impl Lane {
    pub fn new(address: Address, rules: Rules) -> Self {
        let backend = match address {
            Address::Postgres(_) => Backend::Postgres,
            Address::Sqlite(_) => Backend::Sqlite,
        };
        Self { address, backend, rules, real: None, next: 0, tally: Tally::default() }
    }

    /// Runs a program.
    ///
    /// # Errors
    /// How the two disagree, for people.
    pub async fn run(&mut self, program: &Program) -> Result<(), String> {
        if self.real.is_none() {
            let real = Real::connect(&self.address).await;
            self.next = real.first_number();
            self.real = Some(real);
        }
        let real = self.real.as_mut().expect("it is connected");
        let keys = Keys { number: self.next };
        self.next += 1;
        real.prepare(keys).await;
        let model = Model::new(self.backend, self.rules, keys.customers());
        let ids = (0..program.sessions.len()).map(|session| real.id(session)).collect();
        let mut course = Course { real, keys, ids, models: vec![model], waiting: BTreeSet::new(), lines: Vec::new() };
        let result = course.run(program).await;
        if result.is_err() {
            course.clear(program).await;
        }
        self.tally += tally(&course.lines);
        result
    }

    /// Ends the sessions.
    pub async fn close(self) {
        if let Some(real) = self.real {
            real.close().await;
        }
    }
}

impl Course<'_> {
    async fn run(&mut self, program: &Program) -> Result<(), String> {
        for act in program.prologue() {
            self.step(0, act).await?;
        }
        let mut steps = program.steps();
        steps.extend(epilogue(program));
        self.take_turns(steps).await?;
        self.compare_what_is_left().await
    }

    /// Ends what a program that went another way has left open, without asking the model.
    async fn clear(&mut self, program: &Program) {
        let mut steps = epilogue(program);
        while let Some(at) = steps.iter().position(|(session, _)| !self.waiting.contains(session)) {
            let (session, act) = steps.remove(at);
            self.send(session, self.keys.op(act)).await;
        }
    }

    /// Sends the operations in order; those of a session that waits are held back.
    async fn take_turns(&mut self, mut steps: Vec<(usize, Act)>) -> Result<(), String> {
        while let Some(at) = steps.iter().position(|(session, _)| !self.waiting.contains(session)) {
            let (session, act) = steps.remove(at);
            self.step(session, act).await?;
        }
        assert!(steps.is_empty(), "the sessions {:?} wait for each other, and nobody was chosen", self.waiting);
        Ok(())
    }

    async fn send(&mut self, session: usize, op: Op) -> Ended {
        let ended = self.real.step(session, op).await;
        self.waiting.insert(session);
        self.waiting.retain(|session| !ended.contains_key(&self.ids[*session]));
        ended
    }

    async fn step(&mut self, session: usize, act: Act) -> Result<(), String> {
        let op = self.keys.op(act);
        let under_way: BTreeSet<SessionId> = self.waiting.iter().map(|session| self.ids[*session]).collect();
        let possible = possible(&self.models, self.ids[session], &op, &under_way);
        let ended = self.send(session, op.clone()).await;
        self.lines.push(Line { session, act, op, ended: ended.clone() });
        let (agreeing, others): (Vec<Possible>, Vec<Possible>) =
            possible.into_iter().partition(|possible| agree(&possible.ended, &ended));
        if agreeing.is_empty() {
            return Err(self.disagreement(&ended, &others));
        }
        self.models = agreeing.into_iter().map(|possible| possible.model).collect();
        self.models.dedup();
        Ok(())
    }

    fn disagreement(&self, ended: &Ended, others: &[Possible]) -> String {
        let mut said: Vec<String> = others.iter().map(|other| on_one_line(&other.ended, &self.ids)).collect();
        said.sort();
        said.dedup();
        format!(
            "the model disagrees with the database at the last line\n\n{}\ndatabase: {}\nmodel:    {}\n",
            table(&self.lines, &self.ids),
            on_one_line(ended, &self.ids),
            said.join("\n   or:    "),
        )
    }

    async fn compare_what_is_left(&mut self) -> Result<(), String> {
        let left = self.real.left(self.keys).await;
        let modelled: BTreeSet<Vec<String>> = self.models.iter().map(lines_of).collect();
        if modelled.contains(&left) {
            return Ok(());
        }
        Err(format!(
            "the model disagrees with the database on what is left\n\n{}\ndatabase: {left:?}\nmodel:    {modelled:?}\n",
            table(&self.lines, &self.ids),
        ))
    }
}

/// Everybody ends what is open and gives back what is kept. Whoever waits gets its turn when those
/// that it waits for have had theirs.
fn epilogue(program: &Program) -> Vec<(usize, Act)> {
    let mut steps = Vec::new();
    for (session, acts) in program.sessions.iter().enumerate() {
        steps.push((session, Act::Rollback));
        steps.extend(acts.iter().filter_map(|act| match act {
            Act::LockAdvisory { customer, scope: Scope::Session } => {
                Some((session, Act::Unlock { customer: *customer }))
            }
            _ => None,
        }));
    }
    steps
}

/// What is left in the model, as [`Real::left`] has it.
fn lines_of(model: &Model) -> Vec<String> {
    let left = model.committed();
    let runs = left.runs.iter().map(|run| {
        let failure = run.failure.as_deref().unwrap_or("-");
        format!("run {} of {} {} {failure}", run.id, run.identity.customer, run.status.as_str())
    });
    let events = left.events.iter().map(|event| {
        let signal = &event.signal;
        format!("event {} of {} {} {}", event.run, event.customer, signal.payer, signal.delta * 8.0)
    });
    let claims =
        left.claims.iter().flat_map(|(customer, claims)| (0..*claims).map(move |_| format!("claim of {customer}")));
    let mut lines: Vec<String> = runs.chain(events).chain(claims).collect();
    lines.sort();
    lines
}

fn tally(lines: &[Line]) -> Tally {
    let ended = || lines.iter().flat_map(|line| line.ended.values());
    let is_deadlock = |error: &&drift_engine::session::DbError| error.code.as_deref() == Some("40P01");
    let count = |many: usize| many as u64;
    Tally {
        programs: 1,
        operations: count(lines.len()),
        waits: count(lines.iter().filter(|line| line.ended.len() != 1).count()),
        errors: count(ended().filter(|result| result.is_err()).count()),
        deadlocks: count(ended().filter_map(|result| result.as_ref().err()).filter(is_deadlock).count()),
    }
}
