//! Adds up what a program did: sessions, transactions, statements, errors, locks and waits. Pure: time enters as an
//! argument, since the beginning.

use std::collections::BTreeMap;
use std::time::Duration;

use driftlock_wire::{Answer, ConnectionId, Report, Transaction, Unit};
use serde::{Deserialize, Serialize};

use super::sessions::{Ending, Sessions};
use crate::app::units::{keeps, plain, rows_of_tag, unquoted};
use crate::outcome::{BackendUsed, SCHEMA_VERSION};

/// The most different statements that are told apart; the others are counted together.
const STATEMENTS_MAX: usize = 2_000;
/// The longest text of a statement that is kept, in characters.
const TEXT_CHARS_MAX: usize = 400;
/// What stands for statements beyond the bound.
const OTHERS: &str = "(other statements)";

/// A syntax error quotes what it is near to, a literal say.
const SYNTAX_ERROR: &str = "42601";

/// What stands for whoever had let go before the server was asked who it was.
const LET_GO: &str = "(somebody who had let go meanwhile)";

/// What was recorded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// The version of the report's form.
    pub schema_version: u32,
    /// `record`.
    pub command: String,
    /// The program that was run; its arguments may hold a password, and are not kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program: String,
    /// How the server treats the disk.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub profile: String,
    /// The databases that were used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<BackendUsed>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The sessions that were opened.
    pub sessions: u64,
    /// The most at the same time.
    pub sessions_at_once: u64,
    /// Its transactions.
    pub transactions: Transactions,
    /// Statements, those first that kept transactions open for longest.
    pub statements: Vec<StatementRow>,
    /// What was refused, most often first.
    pub errors: Vec<ErrorRow>,
    /// Who waited for whom, longest first.
    pub waits: Vec<WaitRow>,
    /// The relations that committed transactions had locked, by mode, with how many had.
    pub locks: Vec<LockRow>,
    /// What each session did when; not under load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_time: Option<Sessions>,
}

/// Transactions, by how they ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transactions {
    /// COMMIT, and so answered.
    pub committed: u64,
    /// ROLLBACK was asked for.
    pub rolled_back: u64,
    /// COMMIT was asked for and answered with ROLLBACK: the program may believe that its work is kept.
    pub commits_rolled_back: u64,
    /// The connection ended, and nobody had said how the transaction is to end.
    pub left_open: u64,
    /// Statements that were a transaction by themselves.
    pub of_one_statement: u64,
    /// Those that began as one before had, which had failed with 40001 or 40P01.
    pub retries: u64,
    /// The isolation that was asked for, with how many transactions.
    pub isolation: BTreeMap<String, u64>,
    /// The longest one, in milliseconds.
    pub longest_ms: u64,
}

/// A statement; literals, digits and comments are left out of its text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatementRow {
    /// Its text.
    pub text: String,
    /// How often it was sent.
    pub times: u64,
    /// How often it was refused.
    pub errors: u64,
    /// The rows that it returned or changed.
    pub rows: u64,
    /// How long the server took for all of them, in milliseconds; waits are part of it.
    pub server_ms: f64,
    /// How long transactions stayed open after it, until the next statement, in milliseconds: the program's own time.
    pub open_after_ms: f64,
    /// How long it was seen to wait for locks, in milliseconds.
    pub waited_ms: f64,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRow {
    /// The SQLSTATE.
    pub code: String,
    /// What the server said the first time, without the values that it quotes.
    pub message: String,
    /// The statement.
    pub statement: String,
    /// How often.
    pub times: u64,
}

/// A wait for a lock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitRow {
    /// The statement that waited.
    pub statement: String,
    /// The last statement of whoever had the lock.
    pub waits_for: String,
    /// How long, in milliseconds, added up over all looks.
    pub ms: f64,
}

/// A lock of relations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRow {
    /// The relation, with its schema.
    pub relation: String,
    /// The mode, as the server calls it.
    pub mode: String,
    /// How many transactions had it when they came to COMMIT.
    pub transactions: u64,
}

/// A transaction that is open.
#[derive(Clone, Debug)]
struct Open {
    since: Duration,
    isolation: String,
    /// Its first statement after BEGIN.
    first: Option<String>,
    /// Why it failed, if it has.
    failed: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Session {
    pid: Option<i32>,
    /// Its number among the sessions over time, if it is kept.
    number: Option<usize>,
    open: Option<Open>,
    /// The isolation that the session's transactions have from now on, as far as it said so.
    isolation: Option<String>,
    /// The unit under way, and since when.
    sent: Option<(String, Duration)>,
    /// The last statement, and when it was answered.
    last: Option<(String, Duration)>,
    /// The first statement of a transaction that has failed for concurrency.
    may_retry: Option<String>,
}

/// Adds up.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Since when it counts.
    since: Duration,
    sessions: BTreeMap<ConnectionId, Session>,
    recorded: Recorded,
    statements: BTreeMap<String, StatementRow>,
    errors: BTreeMap<(String, String), ErrorRow>,
    waits: BTreeMap<(String, String), f64>,
    locks: BTreeMap<(String, String), u64>,
    over_time: Option<Sessions>,
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// The text of a unit, without literals.
fn text(unit: &Unit) -> String {
    let texts: Vec<String> = unit.statements().map(plain).collect();
    let text = if texts.is_empty() { "(protocol only)".to_owned() } else { texts.join("; ") };
    text.trim().chars().take(TEXT_CHARS_MAX).collect()
}

/// What the server said, without values. What it quotes of a constraint, an object, or a privilege is a name, which the
/// statement's text shows too; anything else may be a value.
fn said(error: &Report) -> String {
    let quotes_names =
        error.sqlstate != SYNTAX_ERROR && ["23", "42", "55"].contains(&error.sqlstate.get(..2).unwrap_or(""));
    let message = if quotes_names { error.message.to_string() } else { unquoted(&error.message.to_string()) };
    message.chars().take(TEXT_CHARS_MAX).collect()
}

/// The isolation that a text asks for, and whether for the whole session.
fn isolation(text: &str) -> Option<(String, bool)> {
    let upper = text.to_ascii_uppercase();
    let level = ["SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED", "READ UNCOMMITTED"];
    let level = level.into_iter().find(|level| upper.contains(level))?;
    let names = upper.contains("ISOLATION");
    names
        .then(|| (level.to_owned(), upper.contains("SESSION CHARACTERISTICS") || upper.contains("DEFAULT_TRANSACTION")))
}

impl Transactions {
    /// One has ended, in whatever way.
    fn end(&mut self, isolation: String, took: Duration) {
        *self.isolation.entry(isolation).or_default() += 1;
        self.longest_ms = self.longest_ms.max(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    }
}

/// The row of a statement; beyond the bound that of all others.
fn row(statements: &mut BTreeMap<String, StatementRow>, text: String) -> &mut StatementRow {
    let full = statements.len() >= STATEMENTS_MAX && !statements.contains_key(&text);
    let text = if full { OTHERS.to_owned() } else { text };
    statements.entry(text.clone()).or_insert_with(|| StatementRow { text, ..StatementRow::default() })
}

impl Account {
    /// One that also keeps what each session did when.
    pub fn over_time() -> Self {
        Self { over_time: Some(Sessions::default()), ..Self::default() }
    }

    /// Forgets what was counted; sessions that are open stay known.
    pub fn count_anew(&mut self, now: Duration) {
        let sessions = std::mem::take(&mut self.sessions);
        let open = sessions.len() as u64;
        let recorded = Recorded { sessions: open, sessions_at_once: open, ..Recorded::default() };
        *self = Self { since: now, sessions, recorded, ..Self::default() };
    }

    /// A session was opened.
    pub fn connected(&mut self, connection: ConnectionId, pid: Option<i32>, now: Duration) {
        let number = self.over_time.as_mut().and_then(|all| all.opened(now.saturating_sub(self.since)));
        self.sessions.insert(connection, Session { pid, number, ..Session::default() });
        self.recorded.sessions += 1;
        self.recorded.sessions_at_once = self.recorded.sessions_at_once.max(self.sessions.len() as u64);
    }

    /// A unit is sent; the process of its session, if it is in a transaction.
    pub fn arrived(&mut self, connection: ConnectionId, unit: &Unit, now: Duration) -> Option<i32> {
        let session = self.sessions.get_mut(&connection)?;
        if let (Some((before, answered)), Some(_)) = (&session.last, &session.open)
            && let Some(row) = self.statements.get_mut(before)
        {
            row.open_after_ms += ms(now - *answered);
        }
        session.sent = Some((text(unit), now));
        session.pid.filter(|_| session.open.is_some())
    }

    /// A unit was answered.
    pub fn answered(&mut self, connection: ConnectionId, unit: &Unit, answer: &Answer, now: Duration) {
        let Some(session) = self.sessions.get_mut(&connection) else { return };
        let Some((text, since)) = session.sent.take() else { return };
        let row = row(&mut self.statements, text);
        let key = row.text.clone();
        row.times += 1;
        row.server_ms += ms(now - since);
        row.rows +=
            answer.outcomes.iter().map(|outcome| rows_of_tag(&outcome.tag).unwrap_or(0).max(outcome.rows)).sum::<u64>();
        if let Some(error) = &answer.error {
            row.errors += 1;
            let known = self.errors.entry((error.sqlstate.clone(), key.clone()));
            known
                .or_insert_with(|| ErrorRow {
                    code: error.sqlstate.clone(),
                    message: said(error),
                    statement: key.clone(),
                    times: 0,
                })
                .times += 1;
        }
        let over_time = self.over_time.as_mut().zip(session.number);
        if let Some((all, number)) = over_time {
            let error = answer.error.as_ref().map(|error| format!("{} ({})", said(error), error.sqlstate));
            all.statement(number, since.saturating_sub(self.since), now.saturating_sub(self.since), &key, error);
        }
        let asked = unit.statements().find_map(isolation);
        if let Some((level, true)) = &asked {
            session.isolation = Some(level.clone());
        }
        let now_open = matches!(answer.transaction, Some(Transaction::Open | Transaction::Failed));
        match (&mut session.open, now_open) {
            (None, true) => {
                let level = asked.map(|(level, _)| level).or_else(|| session.isolation.clone());
                let isolation = level.unwrap_or_else(|| "the default".to_owned());
                session.open = Some(Open { since, isolation, first: None, failed: None });
            }
            (Some(open), _) => {
                if let Some((level, false)) = asked {
                    open.isolation = level;
                }
                if open.first.is_none() && !keeps(unit) {
                    open.first = Some(key.clone());
                    if session.may_retry.take().is_some_and(|first| first == key) {
                        self.recorded.transactions.retries += 1;
                    }
                }
            }
            (None, false) => {
                self.recorded.transactions.of_one_statement += u64::from(unit.statements().next().is_some());
            }
        }
        if let (Some(open), Some(error)) = (&mut session.open, &answer.error) {
            open.failed.get_or_insert_with(|| error.sqlstate.clone());
        }
        if answer.transaction == Some(Transaction::Idle)
            && let Some(open) = session.open.take()
        {
            let all = &mut self.recorded.transactions;
            let was_rolled_back = answer.outcomes.iter().any(|outcome| outcome.tag == "ROLLBACK");
            let (count, ending) = match (keeps(unit), was_rolled_back || answer.error.is_some()) {
                (true, false) => (&mut all.committed, Ending::Committed),
                (true, true) => (&mut all.commits_rolled_back, Ending::CommitRolledBack),
                (false, _) => (&mut all.rolled_back, Ending::RolledBack),
            };
            *count += 1;
            if let Some((all, number)) = self.over_time.as_mut().zip(session.number) {
                let (from, to) = (open.since.saturating_sub(self.since), now.saturating_sub(self.since));
                all.transaction(number, from, to, ending, &open.isolation);
            }
            let retries = open.failed.is_some_and(|code| code == "40001" || code == "40P01");
            session.may_retry = open.first.filter(|_| retries);
            all.end(open.isolation, now - open.since);
        }
        session.last = Some((key, now));
    }

    /// A session has ended.
    pub fn closed(&mut self, connection: ConnectionId, now: Duration) {
        let Some(session) = self.sessions.remove(&connection) else { return };
        let now_since = now.saturating_sub(self.since);
        if let Some((all, number)) = self.over_time.as_mut().zip(session.number) {
            all.closed(number, now_since);
            if let Some(open) = &session.open {
                let from = open.since.saturating_sub(self.since);
                all.transaction(number, from, now_since, Ending::LeftOpen, &open.isolation);
            }
        }
        let Some(open) = session.open else { return };
        let all = &mut self.recorded.transactions;
        all.left_open += 1;
        all.end(open.isolation, now - open.since);
    }

    /// A session was seen to wait for others, and for so long since the last look.
    pub fn waits(&mut self, pid: i32, waits_for: &[i32], time: Duration, now: Duration) {
        let find = |pid: i32| self.sessions.values().find(|session| session.pid == Some(pid));
        let Some(session) = find(pid) else { return };
        let Some((statement, sent)) = session.sent.clone() else { return };
        if let Some((all, number)) = self.over_time.as_mut().zip(session.number) {
            let others = waits_for.iter().filter_map(|pid| find(*pid)?.number).collect();
            all.waits(number, others, sent.saturating_sub(self.since), time, now.saturating_sub(self.since));
        }
        let other = waits_for.iter().find_map(|pid| find(*pid));
        let other =
            other.and_then(|session| session.sent.as_ref().or(session.last.as_ref())).map(|(text, _)| text.clone());
        // The server is asked for whom, of those that it has just said to wait: between the two, somebody may let go.
        let unknown = if waits_for.is_empty() { LET_GO } else { "(a session that was not recorded)" };
        let other = other.unwrap_or_else(|| unknown.to_owned());
        let is_known = |text: &String| self.statements.contains_key(text);
        let full = self.statements.len() >= STATEMENTS_MAX || self.waits.len() >= STATEMENTS_MAX;
        let (statement, other) = match full {
            true if !is_known(&statement) || !is_known(&other) => (OTHERS.to_owned(), OTHERS.to_owned()),
            _ => (statement, other),
        };
        row(&mut self.statements, statement.clone()).waited_ms += ms(time);
        *self.waits.entry((statement, other)).or_default() += ms(time);
    }

    /// A transaction has locked these when it comes to COMMIT.
    pub fn locks(&mut self, locks: impl Iterator<Item = (String, String)>) {
        locks.for_each(|lock| *self.locks.entry(lock).or_default() += 1);
    }

    /// What was recorded, of programs that have ended: transactions that are open now stay so.
    pub fn recorded(&self, now: Duration) -> Recorded {
        let mut recorded = self.so_far(now);
        for (session, open) in self.sessions.values().filter_map(|session| Some((session, session.open.as_ref()?))) {
            recorded.transactions.left_open += 1;
            if let Some((all, number)) = recorded.over_time.as_mut().zip(session.number) {
                let from = open.since.saturating_sub(self.since);
                all.transaction(number, from, now.saturating_sub(self.since), Ending::LeftOpen, &open.isolation);
            }
        }
        recorded
    }

    /// What was recorded so far, of programs that go on: the transactions that are open now are not counted.
    pub fn so_far(&self, now: Duration) -> Recorded {
        let mut recorded = self.recorded.clone();
        (recorded.schema_version, recorded.command) = (SCHEMA_VERSION, "record".to_owned());
        recorded.seconds = now.saturating_sub(self.since).as_secs_f64();
        recorded.over_time.clone_from(&self.over_time);
        recorded.statements = self.statements.values().cloned().collect();
        recorded.statements.sort_by(|a, b| (b.server_ms + b.open_after_ms).total_cmp(&(a.server_ms + a.open_after_ms)));
        recorded.errors = self.errors.values().cloned().collect();
        recorded.errors.sort_by_key(|row| std::cmp::Reverse(row.times));
        let wait = |((statement, waits_for), ms): (&(String, String), &f64)| WaitRow {
            statement: statement.clone(),
            waits_for: waits_for.clone(),
            ms: *ms,
        };
        recorded.waits = self.waits.iter().map(wait).collect();
        recorded.waits.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        let lock = |((relation, mode), transactions): (&(String, String), &u64)| LockRow {
            relation: relation.clone(),
            mode: mode.clone(),
            transactions: *transactions,
        };
        recorded.locks = self.locks.iter().map(lock).collect();
        recorded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_is_shown_without_values_and_bounded() {
        let of = |sqlstate: &str, message: &str| {
            let message = driftlock_wire::Text { text: message.into(), cut: false };
            said(&Report { severity: "ERROR".to_owned(), sqlstate: sqlstate.to_owned(), message })
        };
        assert_eq!(of("22P02", "invalid syntax: \"41-11\""), "invalid syntax: \"?\"");
        assert_eq!(of("42601", "syntax error at or near \"41\""), "syntax error at or near \"?\"");
        assert_eq!(of("23505", "violates \"t_pkey1\""), "violates \"t_pkey1\"");
        assert_eq!(of("P0001", &"x".repeat(1_000)).len(), TEXT_CHARS_MAX);
    }

    #[test]
    fn an_isolation_is_read_where_it_is_asked_for() {
        assert_eq!(isolation("BEGIN ISOLATION LEVEL SERIALIZABLE"), Some(("SERIALIZABLE".to_owned(), false)));
        let session = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ";
        assert_eq!(isolation(session), Some(("REPEATABLE READ".to_owned(), true)));
        assert_eq!(isolation("SELECT 'serializable'"), None);
        assert_eq!(["INSERT 0 3", "SELECT 2", "BEGIN"].map(rows_of_tag), [Some(3), Some(2), None]);
    }
}
