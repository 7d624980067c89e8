//! How a failure is brought about on SQLite: a step is refused with SQLITE_BUSY where a real refusal could come, and who is
//! killed has its connection closed, which rolls its transaction back.

use super::{Actor, SqliteWorld, close, file, roll_back};
use crate::explore::fault::Injected;
use crate::explore::footprint::{Footprint, Touch};
use crate::explore::world::{Choice, Event, Lost, Taken};
use crate::scenario::script::{ActorState, AfterError, FaultKind};
use crate::sql::{Statement, split};

/// Which lock of the file a connection has, as far as its statements say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Lock {
    #[default]
    None,
    Read,
    Write,
}

/// What a connection's transaction has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    open: bool,
    lock: Lock,
}

impl Held {
    /// After a message that was carried out.
    pub fn after(mut self, sql: &str) -> Self {
        for statement in split(sql).unwrap_or_default() {
            self = self.then(&statement);
        }
        self
    }

    fn then(self, statement: &Statement) -> Self {
        match statement.words.first().map(String::as_str) {
            Some("COMMIT" | "END" | "ROLLBACK") if !statement.has("TO") => Self::default(),
            Some("BEGIN" | "SAVEPOINT") => Self { open: true, lock: self.lock.max(needs(statement)) },
            _ if self.open => Self { open: true, lock: self.lock.max(needs(statement)) },
            _ => self,
        }
    }

    /// Whether SQLite may refuse a message because of what another connection has.
    fn may_be_refused(mut self, sql: &str, wal: bool) -> bool {
        for statement in split(sql).unwrap_or_default() {
            let needed = needs(&statement);
            let commits = matches!(statement.words.first().map(String::as_str), Some("COMMIT" | "END"));
            // With a write-ahead log nobody waits in order to read, nor who has written in order to commit.
            let waits = match wal {
                true => needed == Lock::Write && self.lock < Lock::Write,
                false => needed > self.lock || commits && self.lock == Lock::Write,
            };
            if waits {
                return true;
            }
            self = self.then(&statement);
        }
        false
    }
}

/// Which lock a statement takes.
fn needs(statement: &Statement) -> Lock {
    let has = |words: &[&str]| words.iter().any(|word| statement.has(word));
    match statement.words.first().map(String::as_str) {
        Some("BEGIN") if has(&["IMMEDIATE", "EXCLUSIVE"]) => Lock::Write,
        Some("INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "CREATE" | "DROP" | "ALTER" | "REINDEX") => Lock::Write,
        Some("WITH") if has(&["INSERT", "UPDATE", "DELETE", "REPLACE"]) => Lock::Write,
        Some("SELECT" | "VALUES" | "WITH") => Lock::Read,
        _ => Lock::None,
    }
}

impl SqliteWorld {
    /// Has a failure come in place of a step that is about to be sent. Nothing, if this one cannot come as things are.
    pub(super) async fn suffer(&mut self, choice: Choice, kind: FaultKind, sql: &str) -> Result<Option<Taken>, Lost> {
        let actor = choice.actor;
        let (script, wal) = (self.script.clone(), self.wal);
        let one: &mut Actor = &mut self.actors[actor];
        if kind == FaultKind::Busy && !one.held.may_be_refused(sql, wal) {
            return Ok(None);
        }
        let (step, open) = (one.progress.next, one.held.open);
        let injected = Injected { kind, kept: false };
        let ends = if kind == FaultKind::Killed {
            if let Some(connection) = one.connection.take() {
                close(connection).await?;
            }
            one.progress.gone();
            true
        } else {
            let after = one.progress.refused(&script.actors[actor], kind.code());
            if after == AfterError::RollsBack
                && let Some(connection) = &mut one.connection
            {
                roll_back(connection).await;
            }
            after == AfterError::RollsBack
        };
        if ends {
            one.held = Held::default();
        }
        let touched = if ends && open { file(Touch::Write, true) } else { Footprint::default() };
        for other in &mut self.actors {
            other.may_try |= other.progress.state == ActorState::Waiting;
        }
        let events = vec![Event::failed(actor, step, injected)];
        Ok(Some(Taken { sql: sql.to_owned(), ..Taken::new(choice, step, events, touched, false) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_refusal_comes_where_a_lock_is_needed_that_another_may_have() {
        let of = |before: &[&str], sql: &str| {
            let held = before.iter().fold(Held::default(), |held, sql| held.after(sql));
            [true, false].map(|wal| held.may_be_refused(sql, wal))
        };
        assert_eq!(of(&[], "BEGIN"), [false, false]);
        assert_eq!(of(&[], "BEGIN IMMEDIATE"), [true, true]);
        assert_eq!(of(&[], "UPDATE t SET v = 1"), [true, true]);
        assert_eq!(of(&[], "SELECT v FROM t"), [false, true]);
        assert_eq!(of(&["BEGIN", "SELECT v FROM t"], "SELECT v FROM t"), [false, false]);
        assert_eq!(of(&["BEGIN", "SELECT v FROM t"], "UPDATE t SET v = 1"), [true, true]);
        assert_eq!(of(&["BEGIN IMMEDIATE"], "UPDATE t SET v = 1"), [false, false]);
        assert_eq!(of(&["BEGIN", "UPDATE t SET v = 1"], "COMMIT"), [false, true]);
        assert_eq!(of(&["BEGIN", "UPDATE t SET v = 1", "COMMIT"], "UPDATE t SET v = 1"), [true, true]);
        assert_eq!(of(&["BEGIN", "UPDATE t SET v = 1", "ROLLBACK TO s"], "INSERT INTO t SELECT 1"), [false, false]);
    }
}
