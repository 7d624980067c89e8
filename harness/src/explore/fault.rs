//! A failure that is let happen once in an execution: where, of which kind, and where a kind can come at all.

use std::collections::BTreeSet;

use super::search::Execution;
use super::statement::{Does, message, words};
use super::world::{Event, What};
use crate::app::units::takes_back;
use crate::scenario::script::{FaultKind, Progress, Script, ScriptCase, unfilled};
use crate::sql::split;

/// A failure: the first time that this actor is about to send this step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Whose.
    pub actor: usize,
    /// Which of its steps, from 0.
    pub step: usize,
    /// What fails.
    pub kind: FaultKind,
}

/// What a fault has brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected {
    /// What failed.
    pub kind: FaultKind,
    /// The step was carried out, and what its transaction did is committed. The client does not know.
    pub kept: bool,
}

/// A fault of an execution that is yet to come, or has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Armed {
    pub fault: Fault,
    /// Its place has been reached in this execution.
    spent: bool,
}

impl Armed {
    pub fn new(fault: Fault) -> Self {
        Self { fault, spent: false }
    }

    /// For a new execution.
    pub fn again(&mut self) {
        self.spent = false;
    }

    /// What is to fail now that this step is about to be sent, if anything: once.
    pub fn strikes(&mut self, actor: usize, step: usize) -> Option<FaultKind> {
        let strikes = !self.spent && (self.fault.actor, self.fault.step) == (actor, step);
        self.spent |= strikes;
        strikes.then_some(self.fault.kind)
    }
}

impl Injected {
    /// What became of the step, in words.
    pub fn told(&self) -> &'static str {
        match (self.kind, self.kept) {
            (FaultKind::LostBefore, _) => "connection lost before the server got it",
            (FaultKind::LostAfter, true) => "done and committed; connection lost before the answer was read",
            (FaultKind::LostAfter, false) => "connection lost after the server carried it out",
            (FaultKind::Serialization, _) => "refused with 40001 (injected)",
            (FaultKind::Deadlock, _) => "refused with 40P01 (injected)",
            (FaultKind::LockNotAvailable, _) => "refused with 55P03 (injected)",
            (FaultKind::Cancelled, _) => "cancelled with 57014 (injected)",
            (FaultKind::TooMany, _) => "no connection, for there are too many: 53300",
            (FaultKind::Terminated, _) => "session terminated before the server got it (57P01)",
            (FaultKind::Killed, _) => "client killed before it sent this",
            (FaultKind::Restarted, _) => "the server was restarted before it got it (57P01)",
            (FaultKind::Busy, _) => "refused with SQLITE_BUSY (injected)",
        }
    }

    /// The refusal that the client sees.
    pub fn refusal(&self) -> What {
        What::Failed { code: self.kind.code().to_owned(), message: self.told().to_owned() }
    }
}

impl Execution {
    /// The actors that something was let fail for: several, where the server was restarted.
    pub fn struck(&self) -> BTreeSet<usize> {
        self.events().filter(|event| event.fault.is_some()).map(|event| event.actor).collect()
    }

    /// What failed in it first because it was let, if anything did.
    pub fn fault(&self) -> Option<Fault> {
        let of =
            |event: &Event| event.fault.map(|fault| Fault { actor: event.actor, step: event.step, kind: fault.kind });
        self.events().find_map(of)
    }
}

/// What PostgreSQL says with a code.
pub(super) fn server_says(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Serialization => "could not serialize access due to concurrent update",
        FaultKind::Deadlock => "deadlock detected",
        FaultKind::LockNotAvailable => "canceling statement due to lock timeout",
        FaultKind::TooMany => "sorry, too many clients already",
        _ => "canceling statement due to user request",
    }
}

/// The part of a message that is sent before what is refused, and whether that is a COMMIT; nothing where the server has
/// nothing to refuse.
pub(super) fn refused_part(sql: &str) -> Option<(String, bool)> {
    let mut before = Vec::new();
    for statement in split(sql).ok()? {
        match message(&statement.text).does {
            Does::Works | Does::Code => return Some((before.join("; "), false)),
            Does::Commit => return Some((before.join("; "), true)),
            // What is prepared or chained leaves the server in a state that cannot be brought about in another way.
            Does::Mixed => return None,
            Does::Begin | Does::RollBack | Does::TakesBack | Does::Session => before.push(statement.text),
        }
    }
    None
}

/// Whether a message that has ended its transaction may have kept what that did.
pub(super) fn keeps(sql: &str) -> bool {
    !split(sql).unwrap_or_default().iter().any(takes_back)
}

/// Whether a kind of failure can come at a step, as far as its text says.
pub fn can_come(script: &Script, case: &ScriptCase, Fault { actor, step, kind }: Fault) -> bool {
    let of = &script.actors[actor];
    let sql = unfilled(case, &of.steps[step]);
    match kind {
        FaultKind::LostBefore
        | FaultKind::LostAfter
        | FaultKind::Terminated
        | FaultKind::Killed
        | FaultKind::Restarted => true,
        FaultKind::TooMany => Progress::of(of).next == step,
        // These can come at any statement that works, and where the transaction is to be committed.
        FaultKind::Serialization | FaultKind::Cancelled => refused_part(&sql).is_some(),
        // At COMMIT nothing waits for a lock but what was deferred.
        FaultKind::Deadlock | FaultKind::LockNotAvailable => {
            refused_part(&sql).is_some_and(|(_, commits)| !commits || defers(script))
        }
        FaultKind::Busy => !matches!(
            words(&sql).iter().map(String::as_str).collect::<Vec<_>>()[..],
            [] | ["BEGIN"]
                | ["BEGIN", "DEFERRED" | "TRANSACTION"]
                | ["BEGIN", "DEFERRED", "TRANSACTION"]
                | ["ROLLBACK", ..]
        ),
    }
}

/// Whether something of the script may be checked at COMMIT alone.
fn defers(script: &Script) -> bool {
    let steps = script.actors.iter().flat_map(|actor| &actor.steps).map(|step| step.sql.as_str());
    steps.chain([script.setup.as_str()]).any(|sql| sql.to_ascii_uppercase().contains("DEFERRABLE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_once_in_an_execution() {
        let mut armed = Armed::new(Fault { actor: 1, step: 2, kind: FaultKind::Killed });
        assert_eq!((armed.strikes(0, 2), armed.strikes(1, 1)), (None, None));
        assert_eq!(armed.strikes(1, 2), Some(FaultKind::Killed));
        assert_eq!(armed.strikes(1, 2), None);
        armed.again();
        assert_eq!(armed.strikes(1, 2), Some(FaultKind::Killed));
    }

    #[test]
    fn who_goes_back_to_a_savepoint_keeps_the_rest() {
        assert!(keeps("COMMIT") && keeps("ROLLBACK TO SAVEPOINT s; INSERT INTO t VALUES (1); COMMIT"));
        assert!(!keeps("ROLLBACK") && !keeps("INSERT INTO t VALUES (1); ABORT"));
    }

    #[test]
    fn what_the_server_cannot_refuse_is_sent_before_what_it_can() {
        let of = |sql: &str| refused_part(sql);
        assert_eq!(of("UPDATE t SET v = 1"), Some((String::new(), false)));
        assert_eq!(of("BEGIN; SET LOCAL x.y = 1; UPDATE t SET v = 1; COMMIT").unwrap().0, "BEGIN; SET LOCAL x.y = 1");
        assert_eq!(of("COMMIT"), Some((String::new(), true)));
        assert_eq!(of("DO $$BEGIN END$$"), Some((String::new(), false)));
        for sql in
            ["BEGIN", "ROLLBACK", "SAVEPOINT s", "SET x.y = 1", "COMMIT AND CHAIN", "PREPARE TRANSACTION 'x'", ""]
        {
            assert_eq!(of(sql), None, "{sql}");
        }
    }
}
