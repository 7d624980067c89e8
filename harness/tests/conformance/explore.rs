//! What the model allows: everything that may have happened by the time all is still.
//!
//! Whoever can go on does so, one row action at a time, in every order; a deadlock has every victim
//! of its circle; a scan goes either way.

use std::collections::{BTreeMap, BTreeSet};

use drift_engine::op::{Op, Reply};
use drift_engine::session::{DbError, SessionId};
use driftlock::model::{Model, Scan, Step};

/// How operations ended, by session.
pub type Ended = BTreeMap<SessionId, Result<Reply, DbError>>;

/// The most states that are looked at; no program of this size comes near.
const STATES_MAX: usize = 100_000;

/// One thing that may have happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Possible {
    pub model: Model,
    pub ended: Ended,
}

/// Everything that may have happened after `session` sends `op` in one of these states.
pub fn possible(models: &[Model], session: SessionId, op: &Op, under_way: &BTreeSet<SessionId>) -> Vec<Possible> {
    let mut begun = Vec::new();
    for model in models {
        // Nothing else changes more than one row.
        let scans = if matches!(op, Op::WriteEvents { .. }) { 2 } else { 1 };
        for scan in [Scan::Forward, Scan::Backward].into_iter().take(scans) {
            let mut model = model.clone();
            model.set_scan(scan);
            model.start(session, op);
            let mut next = Possible { model, ended: Ended::new() };
            advance(&mut next, session);
            next.model.set_scan(Scan::Forward);
            push(&mut begun, next);
        }
    }
    let mut sessions = under_way.clone();
    sessions.insert(session);
    settle(begun, &sessions)
}

fn settle(begun: Vec<Possible>, sessions: &BTreeSet<SessionId>) -> Vec<Possible> {
    let (mut layer, mut still, mut seen) = (begun, Vec::new(), 0);
    while !layer.is_empty() {
        seen += layer.len();
        assert!(seen < STATES_MAX, "a program of a few operations has more than {STATES_MAX} states");
        let mut next = Vec::new();
        for state in layer {
            let able = sessions.iter().filter(|session| state.model.can_advance(**session));
            let able: Vec<SessionId> = able.copied().collect();
            for session in &able {
                let mut state = state.clone();
                advance(&mut state, *session);
                push(&mut next, state);
            }
            if !able.is_empty() {
                continue;
            }
            let circle = state.model.deadlock();
            for victim in &circle {
                let mut state = state.clone();
                let error = state.model.abort_victim(*victim);
                state.ended.insert(*victim, Err(error));
                push(&mut next, state);
            }
            if circle.is_empty() {
                push(&mut still, state);
            }
        }
        layer = next;
    }
    still
}

fn advance(state: &mut Possible, session: SessionId) {
    if let Step::Done(result) = state.model.advance(session) {
        state.ended.insert(session, result);
    }
}

fn push(states: &mut Vec<Possible>, state: Possible) {
    if !states.contains(&state) {
        states.push(state);
    }
}

/// What is compared of an answer: an error's class and code, and counts in any order.
pub fn comparable(result: &Result<Reply, DbError>) -> Result<Reply, String> {
    match result {
        Ok(Reply::Claims(cells)) => {
            let mut cells = cells.to_vec();
            cells.sort();
            Ok(Reply::Claims(cells.into()))
        }
        Ok(reply) => Ok(reply.clone()),
        Err(error) => Err(format!("{} {}", error.class, error.code.as_deref().unwrap_or("without a code"))),
    }
}

/// Whether the same operations have ended, in the same way.
pub fn agree(one: &Ended, other: &Ended) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .all(|(session, result)| other.get(session).is_some_and(|theirs| comparable(result) == comparable(theirs)))
}
