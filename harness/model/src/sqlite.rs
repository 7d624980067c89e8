//! SQLite in WAL mode: one file, one writer, and readers that keep their snapshot.
//!
//! An operation is a few statements (`engine/src/sqlite.rs`); outside a transaction each of them is a
//! transaction of its own.

mod statement;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use drift_engine::claim::{Claim, CustomerId};
use drift_engine::op::{Changes, Isolation, Op, Reply};
use drift_engine::session::{DbError, ErrorClass, Kind, Operation, SessionId};

use self::statement::Statement;
use super::data::{EventRow, RunRow};
use super::rule::{Rule, Rules};
use super::{Committed, NOT_MODELLED, Step, failure, refused, rescode};

const BUSY: i32 = 5;
const BUSY_SNAPSHOT: i32 = 517;
const ERROR: i32 = 1;

/// The id of an event, by which it is withdrawn.
type EventId = u64;

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq)]
struct Tables {
    customers: BTreeSet<CustomerId>,
    runs: Vec<RunRow>,
    events: BTreeMap<EventId, EventRow>,
    next_event: EventId,
    /// How often a row was written: with the same values too, which changes a page all the same.
    rewritten: u64,
    claims: Vec<(CustomerId, Arc<Claim>)>,
}

/// What a transaction has read, and written.
#[derive(Clone, Debug, PartialEq)]
struct View {
    /// The number of commits before it.
    commits: u32,
    before: Arc<Tables>,
    now: Arc<Tables>,
    /// Whether a page was ever changed, even if it was changed back: it is written to the log all the same.
    is_dirty: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Transaction {
    /// `None` until the first statement.
    view: Option<View>,
    /// What each savepoint saw, if it saw anything yet.
    savepoints: Vec<Option<Arc<Tables>>>,
}

/// An operation under way.
#[derive(Clone, Debug, PartialEq)]
struct Running {
    kind: Kind,
    op: Option<Op>,
    statements: VecDeque<Statement>,
    waits: bool,
    changes: Changes,
    reply: Reply,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    transaction: Option<Transaction>,
    running: Option<Running>,
}

/// One SQLite file, and the sessions on it.
#[derive(Clone, Debug, PartialEq)]
pub struct SqliteModel {
    rules: Rules,
    commits: u32,
    committed: Arc<Tables>,
    writer: Option<SessionId>,
    sessions: BTreeMap<SessionId, State>,
}

/// What came of becoming the writer.
enum Writing {
    Yes,
    Waits,
}

impl SqliteModel {
    /// A file with these customers.
    pub(super) fn new(rules: Rules, customers: BTreeSet<CustomerId>) -> Self {
        let committed = Arc::new(Tables { customers, ..Tables::default() });
        Self { rules, commits: 0, committed, writer: None, sessions: BTreeMap::new() }
    }

    fn state(&mut self, session: SessionId) -> &mut State {
        self.sessions.entry(session).or_default()
    }

    pub(super) fn start(&mut self, session: SessionId, op: &Op) {
        let state = self.state(session);
        assert!(state.running.is_none(), "session {session} has an operation under way");
        state.running = Some(Running {
            kind: op.kind(),
            op: Some(op.clone()),
            statements: VecDeque::new(),
            waits: false,
            changes: Changes::default(),
            reply: Reply::Done,
        });
    }

    pub(super) fn can_advance(&self, session: SessionId) -> bool {
        let running = self.sessions.get(&session).and_then(|state| state.running.as_ref());
        running.is_some_and(|running| !running.waits || self.writer.is_none())
    }

    pub(super) fn advance(&mut self, session: SessionId) -> Step {
        let mut running = self.state(session).running.take().expect("the session has an operation under way");
        if running.waits && self.writer.is_some() {
            self.state(session).running = Some(running);
            return Step::Waits;
        }
        running.waits = false;
        let step = self.carry_on(session, &mut running).unwrap_or_else(|error| Step::Done(Err(error)));
        if !matches!(step, Step::Done(_)) {
            running.waits = step == Step::Waits;
            self.state(session).running = Some(running);
        } else if matches!(step, Step::Done(Err(_))) && !self.rules.holds(Rule::ErrorKeepsTransaction) {
            self.roll_back(session);
        }
        step
    }

    fn carry_on(&mut self, session: SessionId, running: &mut Running) -> Result<Step, DbError> {
        if let Some(op) = running.op.take() {
            match self.command(session, &op)? {
                Some(Step::Waits) => {
                    running.op = Some(op);
                    return Ok(Step::Waits);
                }
                Some(step) => return Ok(step),
                None => running.statements = statement::of(&op),
            }
        }
        let Some(statement) = running.statements.pop_front() else {
            return Ok(Step::Done(Ok(running.answer())));
        };
        if !statement.writes() {
            let is_taken = self.writer.is_some_and(|writer| writer != session);
            if is_taken && !self.rules.holds(Rule::ReadersDoNotWait) {
                running.statements.push_front(statement);
                return Ok(Step::Waits);
            }
            let tables = self.read(session);
            statement.read(&tables, running);
            return Ok(self.more(running));
        }
        if let Writing::Waits = self.write(session, running.kind)? {
            running.statements.push_front(statement);
            return Ok(Step::Waits);
        }
        self.apply(session, &statement, running)?;
        Ok(self.more(running))
    }

    /// An operation's last statement ends it; between two of its statements others may come.
    fn more(&self, running: &Running) -> Step {
        if running.statements.is_empty() { Step::Done(Ok(running.answer())) } else { Step::More }
    }

    fn command(&mut self, session: SessionId, op: &Op) -> Result<Option<Step>, DbError> {
        let (kind, rules) = (op.kind(), self.rules);
        let is_open = self.state(session).transaction.is_some();
        let reply = match op {
            Op::Begin { isolation: Isolation::Serializable, .. } => {
                return Err(failure(ErrorClass::Other, NOT_MODELLED, kind));
            }
            Op::Begin { .. } if is_open => return Err(rescode(ERROR, kind)),
            Op::Begin { immediate, .. } => {
                let writes =
                    *immediate && rules.holds(Rule::ImmediateWritesAtOnce) || !rules.holds(Rule::DeferredTakesNothing);
                if writes && let Writing::Waits = self.write(session, kind)? {
                    return Ok(Some(Step::Waits));
                }
                let view = (self.writer == Some(session)).then(|| self.fresh_view());
                self.state(session).transaction = Some(Transaction { view, savepoints: Vec::new() });
                Reply::Done
            }
            Op::Commit if !is_open => return Err(rescode(ERROR, kind)),
            Op::Commit => {
                self.commit(session);
                Reply::Committed
            }
            Op::Rollback => {
                if rules.holds(Rule::RollbackLeavesNothing) {
                    self.roll_back(session);
                } else {
                    self.commit(session);
                }
                Reply::RolledBack
            }
            Op::Savepoint if !is_open => return Err(failure(ErrorClass::Other, NOT_MODELLED, kind)),
            Op::Savepoint => {
                let transaction = self.state(session).transaction.as_mut().expect("it is open");
                let seen = transaction.view.as_ref().map(|view| view.now.clone());
                transaction.savepoints.push(seen);
                Reply::Done
            }
            Op::RollbackTo => {
                self.roll_back_to(session, kind)?;
                Reply::Done
            }
            Op::Lock(_) | Op::Unlock { .. } => return Err(refused(kind)),
            Op::Pause(_) => Reply::Done,
            _ => return Ok(None),
        };
        Ok(Some(Step::Done(Ok(reply))))
    }

    fn fresh_view(&self) -> View {
        View { commits: self.commits, before: self.committed.clone(), now: self.committed.clone(), is_dirty: false }
    }

    /// What a read sees.
    fn read(&mut self, session: SessionId) -> Arc<Tables> {
        let (fresh, keeps) = (self.fresh_view(), self.rules.holds(Rule::ReaderKeepsSnapshot));
        let is_writer = self.writer == Some(session);
        match &mut self.state(session).transaction {
            None => fresh.now,
            Some(transaction) => {
                if !keeps && !is_writer {
                    transaction.view = None;
                }
                transaction.view.get_or_insert(fresh).now.clone()
            }
        }
    }

    /// Becomes the writer (`sqlite3BtreeBeginTrans`): the busy handler is asked only where no read is held.
    fn write(&mut self, session: SessionId, kind: Kind) -> Result<Writing, DbError> {
        let (fresh, rules, commits) = (self.fresh_view(), self.rules, self.commits);
        if self.writer == Some(session) {
            return Ok(Writing::Yes);
        }
        let is_taken = self.writer.is_some() && rules.holds(Rule::OneWriter);
        let view = self.state(session).transaction.as_mut().map(|transaction| &mut transaction.view);
        let reads = view.as_ref().is_some_and(|view| view.is_some());
        if is_taken {
            let waits = if reads { !rules.holds(Rule::UpgradeDoesNotWait) } else { rules.holds(Rule::FirstWriteWaits) };
            return if waits { Ok(Writing::Waits) } else { Err(rescode(BUSY, kind)) };
        }
        if let Some(view) = view {
            let held = view.get_or_insert(fresh);
            if held.commits != commits && rules.holds(Rule::StaleReaderCannotWrite) {
                return Err(rescode(BUSY_SNAPSHOT, kind));
            }
        }
        self.writer = Some(session);
        Ok(Writing::Yes)
    }

    /// Carries a write out, all of it or nothing.
    fn apply(&mut self, session: SessionId, statement: &Statement, running: &mut Running) -> Result<(), DbError> {
        let (rules, own) = (self.rules, self.fresh_view());
        let state = self.sessions.entry(session).or_default();
        let view =
            state.transaction.as_mut().map(|transaction| transaction.view.as_mut().expect("a writer has a view"));
        let before = view.as_ref().map_or(&own.now, |view| &view.now);
        let mut now = (**before).clone();
        let result = statement.write(&mut now, running, rules).map_err(|code| rescode(code, running.kind));
        let is_dirty = now != **before;
        match view {
            Some(view) => {
                view.is_dirty |= is_dirty;
                if result.is_ok() {
                    view.now = Arc::new(now);
                }
                if !is_dirty && !rules.holds(Rule::IdleWriteStillWrites) {
                    self.writer = None;
                }
            }
            None => {
                self.writer = None;
                if result.is_ok() {
                    self.commits += u32::from(is_dirty);
                    self.committed = Arc::new(now);
                }
            }
        }
        result
    }

    fn commit(&mut self, session: SessionId) {
        let transaction = self.state(session).transaction.take();
        if self.writer == Some(session) {
            let view = transaction.and_then(|transaction| transaction.view).expect("a writer has a view");
            self.commits += u32::from(view.is_dirty);
            self.committed = view.now;
            self.writer = None;
        }
    }

    fn roll_back(&mut self, session: SessionId) {
        self.state(session).transaction = None;
        if self.writer == Some(session) {
            self.writer = None;
        }
    }

    fn roll_back_to(&mut self, session: SessionId, kind: Kind) -> Result<(), DbError> {
        let rules = self.rules;
        let transaction = self.state(session).transaction.as_mut();
        let Some((transaction, saved)) = transaction.and_then(|t| t.savepoints.last().cloned().map(|saved| (t, saved)))
        else {
            return Err(rescode(ERROR, kind));
        };
        if let Some(view) = &mut transaction.view
            && rules.holds(Rule::SavepointUndoes)
        {
            view.now = saved.unwrap_or_else(|| view.before.clone());
        }
        if !rules.holds(Rule::SavepointKeepsWriter) && self.writer == Some(session) {
            self.writer = None;
        }
        Ok(())
    }

    pub(super) fn committed(&self) -> Committed {
        let Tables { runs, events, claims, .. } = &*self.committed;
        let (mut runs, mut events) = (runs.clone(), events.values().cloned().collect::<Vec<_>>());
        runs.sort_by(|a, b| a.id.cmp(&b.id));
        events.sort_by_key(|event| (event.run.clone(), event.signal.key()));
        let mut counts: BTreeMap<CustomerId, u64> = BTreeMap::new();
        for (customer, _) in claims {
            *counts.entry(*customer).or_default() += 1;
        }
        Committed { runs, events, claims: counts.into_iter().collect() }
    }
}

impl Running {
    fn answer(&self) -> Reply {
        match &self.reply {
            Reply::Written(_) => Reply::Written(self.changes),
            other => other.clone(),
        }
    }
}
