//! The databases as a pure state machine: what the locking protocol relies on, and no more.
//!
//! A [`Model`] takes the engine's operations from several sessions and says of each whether it is
//! done or waits. It does no input or output, knows no time and draws nothing: the same calls give
//! the same answers. Its rules are listed in [`rule`], and `tests/conformance` holds it against
//! PostgreSQL and SQLite.
//!
//! A statement is a sequence of row actions. [`Model::start`] and [`Model::advance`] carry out one at
//! a time, so that whoever drives the model can interleave statements that run at the same time;
//! [`Model::submit`] and [`Model::poll`] carry out as many as can be. Nothing is chosen for the
//! caller: whose row action comes next, who of a deadlock's circle is its victim
//! ([`Model::deadlock`]), and in which order a scan finds its rows ([`Model::set_scan`]).
//!
//! ```
//! use drift_engine::claim::CustomerId;
//! use drift_engine::lock::LockStrategy;
//! use drift_engine::session::SessionId;
//! use driftlock_model::rule::Rules;
//! use driftlock_model::{Model, Progress};
//!
//! let strategy = LockStrategy::Immediate;
//! let mut model = Model::new(drift_engine::lock::Backend::Sqlite, Rules::default(), [CustomerId(1)]);
//! // Who begins with the write lock in hand keeps the others out.
//! assert!(matches!(model.submit(SessionId(1), &strategy.begin()), Progress::Done(Ok(_))));
//! assert_eq!(model.submit(SessionId(2), &strategy.begin()), Progress::Waits);
//! ```
//!
//! # What is not modelled
//!
//! Each is answered with code 0A000, or left out where it says so; the conformance excludes it by
//! construction.
//! - SERIALIZABLE: its aborts depend on predicate locks, whose granularity the manual leaves open.
//! - BEGIN inside a transaction, and SAVEPOINT outside one.
//! - PostgreSQL: COMMIT or ROLLBACK outside a transaction is taken for the nothing that it is, without its warning.
//! - Row locks of `customers` by anything but the engine: customers are never updated or deleted.
//! - Lock timeouts, statement timeouts, and the busy timeout: nobody waits too long.
//! - SQLite: rollback-journal mode, checkpoints, `SQLITE_BUSY_RECOVERY`; advisory locks, which it has not.
//! - Two signals with one business key in one write: PostgreSQL refuses it (21000).
//! - Events of one run for several customers, which no caller writes.
//! - Texts of errors: class and code are compared.

pub mod data;
pub mod postgres;
pub mod rule;
pub mod sqlite;

use std::collections::BTreeSet;

use drift_engine::claim::CustomerId;
use drift_engine::lock::Backend;
use drift_engine::op::{Op, Reply};
use drift_engine::session::{DbError, ErrorClass, Kind, SessionId};

use self::data::{EventRow, RunRow};
use self::postgres::PgModel;
use self::rule::Rules;
use self::sqlite::SqliteModel;

/// What became of an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// It has ended.
    Done(Result<Reply, DbError>),
    /// It waits for another session.
    Waits,
}

/// What became of one action of an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The operation has ended.
    Done(Result<Reply, DbError>),
    /// It waits for another session.
    Waits,
    /// There is more to do.
    More,
}

/// The order in which a statement finds the rows that it updates or deletes: the planner's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scan {
    /// Older rows first.
    #[default]
    Forward,
    /// Newer rows first.
    Backward,
}

/// What is left in a database.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// Every run, ordered by name.
    pub runs: Vec<RunRow>,
    /// Every event, ordered by run and business key.
    pub events: Vec<EventRow>,
    /// How many claims each customer has, of those that have any.
    pub claims: Vec<(CustomerId, u64)>,
}

/// One database, of either kind, and the sessions on it.
#[derive(Clone, Debug, PartialEq)]
pub enum Model {
    /// PostgreSQL.
    Postgres(PgModel),
    /// SQLite.
    Sqlite(SqliteModel),
}

macro_rules! either {
    ($model:expr, $inner:ident => $call:expr) => {
        match $model {
            Model::Postgres($inner) => $call,
            Model::Sqlite($inner) => $call,
        }
    };
}

impl Model {
    /// A database with these customers and nothing else. Sessions need not be opened.
    pub fn new(backend: Backend, rules: Rules, customers: impl IntoIterator<Item = CustomerId>) -> Self {
        let customers = customers.into_iter().collect();
        match backend {
            Backend::Postgres => Self::Postgres(PgModel::new(rules, &customers)),
            Backend::Sqlite => Self::Sqlite(SqliteModel::new(rules, customers)),
        }
    }

    /// Sends an operation, and carries it as far as it comes without the others.
    ///
    /// # Panics
    /// The session's last operation has not ended.
    pub fn submit(&mut self, session: SessionId, op: &Op) -> Progress {
        self.start(session, op);
        self.poll(session)
    }

    /// Carries a session's operation on as far as it comes without the others. Whoever waits is to
    /// ask again after any other session's operation has ended or gone on.
    ///
    /// # Panics
    /// The session has no operation under way.
    pub fn poll(&mut self, session: SessionId) -> Progress {
        loop {
            match self.advance(session) {
                Step::Done(result) => return Progress::Done(result),
                Step::Waits => return Progress::Waits,
                Step::More => {}
            }
        }
    }

    /// Sends an operation, and does nothing of it yet.
    ///
    /// # Panics
    /// The session's last operation has not ended.
    pub fn start(&mut self, session: SessionId, op: &Op) {
        either!(self, model => model.start(session, op));
    }

    /// Carries out the next action of a session's operation.
    ///
    /// # Panics
    /// The session has no operation under way.
    pub fn advance(&mut self, session: SessionId) -> Step {
        either!(self, model => model.advance(session))
    }

    /// Whether a session has an operation under way that does not wait, or no longer needs to.
    pub fn can_advance(&self, session: SessionId) -> bool {
        either!(self, model => model.can_advance(session))
    }

    /// Who waits in a circle: one of them is going to be the victim. Empty if nobody does.
    pub fn deadlock(&self) -> BTreeSet<SessionId> {
        match self {
            Self::Postgres(model) => model.deadlock(),
            // Who waits for the writer holds nothing that the writer could wait for.
            Self::Sqlite(_) => BTreeSet::new(),
        }
    }

    /// Makes a session the victim of the deadlock that it waits in: its operation ends with the error
    /// that is returned.
    ///
    /// # Panics
    /// It does not wait in a deadlock.
    pub fn abort_victim(&mut self, session: SessionId) -> DbError {
        assert!(self.deadlock().contains(&session), "session {session} is in no deadlock");
        match self {
            Self::Postgres(model) => model.abort_victim(session),
            Self::Sqlite(_) => unreachable!("SQLite has no deadlocks"),
        }
    }

    /// Says in which order the statements from here on find their rows.
    pub fn set_scan(&mut self, scan: Scan) {
        if let Self::Postgres(model) = self {
            model.scan = scan;
        }
    }

    /// What is committed.
    pub fn committed(&self) -> Committed {
        either!(self, model => model.committed())
    }
}

/// The code of what the model has no rule for.
const NOT_MODELLED: &str = "0A000";

fn failure(class: ErrorClass, code: &str, during: Kind) -> DbError {
    DbError { class, code: Some(code.into()), message: format!("the model refuses with code {code}"), during }
}

/// What the engine's session refuses by itself: nothing is sent.
fn refused(during: Kind) -> DbError {
    let message = "the session does not send this to its database".into();
    DbError { class: ErrorClass::Other, code: None, message, during }
}

fn sqlstate(code: &str, during: Kind) -> DbError {
    failure(ErrorClass::of_sqlstate(code), code, during)
}

fn rescode(code: i32, during: Kind) -> DbError {
    failure(ErrorClass::of_sqlite(code), &code.to_string(), during)
}

#[cfg(test)]
mod tests {
    use drift_engine::op::{Isolation, Lock, Strength, Wait};

    use super::*;

    const ONE: SessionId = SessionId(1);
    const TWO: SessionId = SessionId(2);
    const CUSTOMERS: [CustomerId; 2] = [CustomerId(1), CustomerId(2)];

    fn begin(immediate: bool) -> Op {
        Op::Begin { isolation: Isolation::ReadCommitted, immediate }
    }

    fn lock(customer: CustomerId) -> Op {
        Op::Lock(Lock::Row { customer, strength: Strength::Update, wait: Wait::Block })
    }

    fn is_done(progress: &Progress) -> bool {
        matches!(progress, Progress::Done(Ok(_)))
    }

    #[test]
    fn who_waits_for_a_row_has_it_after_the_commit() {
        let mut model = Model::new(Backend::Postgres, Rules::default(), CUSTOMERS);
        assert!(is_done(&model.submit(ONE, &begin(false))));
        assert!(is_done(&model.submit(ONE, &lock(CUSTOMERS[0]))));
        assert_eq!(model.submit(TWO, &lock(CUSTOMERS[0])), Progress::Waits);
        assert!(!model.can_advance(TWO));
        assert_eq!(model.submit(ONE, &Op::Commit), Progress::Done(Ok(Reply::Committed)));
        assert_eq!(model.poll(TWO), Progress::Done(Ok(Reply::Locked(true))));
    }

    #[test]
    fn who_waits_first_is_served_first_unless_that_rule_is_broken() {
        for (rules, is_first) in [(Rules::default(), true), (Rules::without(rule::Rule::RowsAreQueuedFor), false)] {
            let mut model = Model::new(Backend::Postgres, rules, CUSTOMERS);
            let sessions = [ONE, TWO, SessionId(3)];
            for session in sessions {
                model.submit(session, &begin(false));
            }
            for session in sessions {
                model.submit(session, &lock(CUSTOMERS[0]));
            }
            model.submit(ONE, &Op::Commit);
            assert_eq!(is_done(&model.poll(TWO)), is_first);
            assert_eq!(is_done(&model.poll(SessionId(3))), !is_first);
        }
    }

    #[test]
    fn a_deadlock_has_a_circle_and_its_victim_frees_the_others() {
        let mut model = Model::new(Backend::Postgres, Rules::default(), CUSTOMERS);
        for (session, customer) in [ONE, TWO].into_iter().zip(CUSTOMERS) {
            model.submit(session, &begin(false));
            assert!(is_done(&model.submit(session, &lock(customer))));
        }
        assert_eq!(model.submit(ONE, &lock(CUSTOMERS[1])), Progress::Waits);
        assert_eq!(model.deadlock(), BTreeSet::new());
        assert_eq!(model.submit(TWO, &lock(CUSTOMERS[0])), Progress::Waits);
        assert_eq!(model.deadlock(), BTreeSet::from([ONE, TWO]));
        assert_eq!(model.abort_victim(TWO).class, ErrorClass::Deadlock);
        assert_eq!(model.poll(ONE), Progress::Done(Ok(Reply::Locked(true))));
    }

    #[test]
    fn a_second_writer_of_sqlite_waits_for_the_first() {
        let mut model = Model::new(Backend::Sqlite, Rules::default(), CUSTOMERS);
        assert!(is_done(&model.submit(ONE, &begin(true))));
        assert_eq!(model.submit(TWO, &begin(true)), Progress::Waits);
        assert!(is_done(&model.submit(ONE, &Op::Rollback)));
        assert!(is_done(&model.poll(TWO)));
    }
}
