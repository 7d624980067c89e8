//! What each session did when: its transactions, statements and waits, each with its beginning and its end. Bounded; what
//! comes after the bound is counted and not kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The most sessions that are kept.
pub const SESSIONS_MAX: usize = 64;
/// The most transactions, statements and waits that are kept, of all sessions.
pub const PIECES_MAX: usize = 2_000;
/// Looks at who waits that are not further apart than this see one wait, in milliseconds.
const ONE_WAIT_WITHIN_MS: f64 = 50.0;

/// All sessions over time. Times are in milliseconds since the recording began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sessions {
    /// The sessions, in the order in which they were opened.
    pub sessions: Vec<SessionRow>,
    /// How many sessions came after these.
    pub sessions_left_out: u64,
    /// How many transactions, statements and waits came after those that are kept.
    pub left_out: u64,
    /// How many are kept.
    kept: usize,
}

/// A session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionRow {
    /// When it was opened.
    pub from_ms: f64,
    /// When it ended; `None` if it never did.
    pub to_ms: Option<f64>,
    /// Its transactions of more than one statement.
    pub transactions: Vec<TransactionSpan>,
    /// What it sent.
    pub statements: Vec<StatementSpan>,
    /// When it waited.
    pub waits: Vec<WaitSpan>,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// COMMIT, and so answered.
    Committed,
    /// ROLLBACK was asked for.
    RolledBack,
    /// COMMIT was asked for and answered with ROLLBACK.
    CommitRolledBack,
    /// Its connection ended, or the program did.
    LeftOpen,
}

/// A transaction, from the statement that began it to the answer that ended it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransactionSpan {
    /// When it began.
    pub from_ms: f64,
    /// When it ended.
    pub to_ms: f64,
    /// How.
    pub ending: Ending,
    /// The isolation that was asked for.
    pub isolation: String,
}

/// A statement, from its question to its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatementSpan {
    /// When it was sent.
    pub from_ms: f64,
    /// When it was answered.
    pub to_ms: f64,
    /// Its text, without literals, digits and comments.
    pub text: String,
    /// What the server refused it with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A wait for a lock, as far as looks at it saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitSpan {
    /// From when on.
    pub from_ms: f64,
    /// Until when.
    pub to_ms: f64,
    /// For which sessions, from 0; those that are not kept or not recorded are not named.
    pub waits_for: Vec<usize>,
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

impl Sessions {
    /// A session was opened; its number, if it is kept.
    pub fn opened(&mut self, now: Duration) -> Option<usize> {
        if self.sessions.len() >= SESSIONS_MAX {
            self.sessions_left_out += 1;
            return None;
        }
        self.sessions.push(SessionRow { from_ms: ms(now), ..SessionRow::default() });
        Some(self.sessions.len() - 1)
    }

    /// A session has ended.
    pub fn closed(&mut self, session: usize, now: Duration) {
        if let Some(session) = self.sessions.get_mut(session) {
            session.to_ms = Some(ms(now));
        }
    }

    /// The session, if there is room for one thing more.
    fn room(&mut self, session: usize) -> Option<&mut SessionRow> {
        if self.kept >= PIECES_MAX {
            self.left_out += 1;
            return None;
        }
        let session = self.sessions.get_mut(session)?;
        self.kept += 1;
        Some(session)
    }

    /// A statement was answered.
    pub fn statement(&mut self, session: usize, from: Duration, now: Duration, text: &str, error: Option<String>) {
        if let Some(session) = self.room(session) {
            let (from_ms, to_ms) = (ms(from), ms(now));
            session.statements.push(StatementSpan { from_ms, to_ms, text: text.to_owned(), error });
        }
    }

    /// A transaction has ended.
    pub fn transaction(&mut self, session: usize, from: Duration, now: Duration, ending: Ending, isolation: &str) {
        if let Some(session) = self.room(session) {
            let (from_ms, to_ms) = (ms(from), ms(now));
            session.transactions.push(TransactionSpan { from_ms, to_ms, ending, isolation: isolation.to_owned() });
        }
    }

    /// A session waits now, and has for so long since the last look; its statement was sent at `sent`.
    pub fn waits(&mut self, session: usize, waits_for: Vec<usize>, sent: Duration, time: Duration, now: Duration) {
        let (from_ms, to_ms) = (ms(now.saturating_sub(time).max(sent)), ms(now));
        let last = self.sessions.get_mut(session).and_then(|session| session.waits.last_mut());
        // Another statement's wait is another wait, however soon it comes.
        if let Some(last) = last
            && last.from_ms >= ms(sent)
            && from_ms - last.to_ms <= ONE_WAIT_WITHIN_MS
            && (last.waits_for == waits_for || waits_for.is_empty())
        {
            last.to_ms = to_ms;
            return;
        }
        if let Some(session) = self.room(session) {
            session.waits.push(WaitSpan { from_ms, to_ms, waits_for });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn looks_that_follow_each_other_see_one_wait_and_another_statement_or_holder_has_its_own() {
        let mut all = Sessions::default();
        let (waiter, holder) = (all.opened(at(0)).unwrap(), all.opened(at(1)).unwrap());
        for now in [12, 17, 22] {
            all.waits(waiter, vec![holder], at(10), at(5), at(now));
        }
        // The server may no longer know for whom.
        all.waits(waiter, Vec::new(), at(10), at(5), at(27));
        all.waits(waiter, vec![], at(30), at(5), at(32));
        all.waits(waiter, vec![holder], at(30), at(5), at(37));
        let spans: Vec<_> = all.sessions[0].waits.iter().map(|of| (of.from_ms, of.to_ms, of.waits_for.len())).collect();
        assert_eq!(spans, [(10.0, 27.0, 1), (30.0, 32.0, 0), (32.0, 37.0, 1)]);
    }

    #[test]
    fn what_comes_after_the_bounds_is_counted() {
        let mut all = Sessions::default();
        for _ in 0..SESSIONS_MAX + 3 {
            all.opened(at(0));
        }
        for _ in 0..PIECES_MAX + 5 {
            all.statement(0, at(1), at(2), "SELECT", None);
        }
        all.transaction(0, at(0), at(3), Ending::Committed, "the default");
        assert_eq!((all.sessions.len(), all.sessions_left_out), (SESSIONS_MAX, 3));
        assert_eq!((all.sessions[0].statements.len(), all.left_out), (PIECES_MAX, 6));
        assert!(all.sessions[0].transactions.is_empty());
    }
}
