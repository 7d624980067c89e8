//! The statements of the engine's SQLite session, and what each does.

use std::collections::VecDeque;
use std::sync::Arc;

use drift_engine::claim::{Claim, CustomerId};
use drift_engine::drift::{self, Signal};
use drift_engine::op::{Changes, OnConflict, Op, Reply};
use drift_engine::policy::Windows;
use drift_engine::run::{RunId, Status};

use super::{EventId, Running, Tables};
use crate::data::{EventRow, RunRow, found, sorted};
use crate::rule::{Rule, Rules};

const CONSTRAINT_UNIQUE: i32 = 2067;
const CONSTRAINT_FOREIGN_KEY: i32 = 787;

/// One statement of an operation.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Statement {
    ReadClaims(CustomerId, Windows),
    ReadEvents(RunId),
    CreateRun(RunRow),
    FindRun(RunRow),
    CloseRun(RunId),
    FailRun(RunRow),
    InsertClaim(CustomerId, Arc<Claim>),
    /// Compares with what is there, and decides what is to be written.
    Compare(Vec<EventRow>, RunId, OnConflict),
    Withdraw(Vec<EventId>),
    Insert(Vec<EventRow>, OnConflict),
    /// Brings events up to date, by their ids.
    Update(Vec<(EventId, Signal)>),
}

/// The statements of an operation.
pub(super) fn of(op: &Op) -> VecDeque<Statement> {
    let run = |identity: &drift_engine::run::Identity, id: &RunId, fresh: bool, status, failure| RunRow {
        id: id.clone(),
        identity: *identity,
        fresh,
        status,
        failure,
    };
    match op {
        Op::OpenRun { identity, id, fresh } => {
            let run = run(identity, id, *fresh, Status::Running, None);
            [Statement::CreateRun(run.clone()), Statement::FindRun(run)].into()
        }
        Op::FailRun { identity, id, fresh, reason } => {
            let run = run(identity, id, *fresh, Status::Failed, Some(reason.clone()));
            [Statement::CreateRun(run.clone()), Statement::FailRun(run)].into()
        }
        Op::ReadClaims { customer, windows } => [Statement::ReadClaims(*customer, *windows)].into(),
        Op::ReadEvents { run } => [Statement::ReadEvents(run.clone())].into(),
        Op::CloseRun { run } => [Statement::CloseRun(run.clone())].into(),
        Op::InsertClaim { customer, claim } => [Statement::InsertClaim(*customer, claim.clone())].into(),
        Op::WriteEvents { customer, run, signals, on_conflict, .. } => {
            let event = |signal: &Signal| EventRow { customer: *customer, run: run.clone(), signal: signal.clone() };
            [Statement::Compare(signals.iter().map(event).collect(), run.clone(), *on_conflict)].into()
        }
        _ => unreachable!("a command is no statement"),
    }
}

impl Statement {
    pub fn writes(&self) -> bool {
        match self {
            Self::ReadClaims(..) | Self::ReadEvents(_) | Self::FindRun(_) | Self::Compare(..) => false,
            Self::CreateRun(_)
            | Self::CloseRun(_)
            | Self::FailRun(_)
            | Self::InsertClaim(..)
            | Self::Withdraw(_)
            | Self::Insert(..)
            | Self::Update(_) => true,
        }
    }

    pub fn read(self, tables: &Tables, running: &mut Running) {
        running.reply = match self {
            Self::ReadClaims(customer, windows) => {
                let claims = tables.claims.iter().filter(|(owner, _)| *owner == customer);
                Reply::Claims(drift::aggregate(claims.map(|(_, claim)| &**claim), &windows).into())
            }
            Self::ReadEvents(run) => {
                let events = tables.events.values().filter(|event| event.run == run);
                Reply::Events(sorted(events.map(|event| event.signal.clone()).collect()))
            }
            Self::FindRun(run) => Reply::Opened(found(tables.runs.iter(), &run)),
            Self::Compare(incoming, run, on_conflict) => {
                running.statements.extend(compare(incoming, &run, on_conflict, tables, &mut running.changes));
                Reply::Written(running.changes)
            }
            _ => unreachable!("it does not read"),
        };
    }

    /// Changes the tables, or says with which code it is refused.
    pub fn write(&self, tables: &mut Tables, running: &mut Running, rules: Rules) -> Result<(), i32> {
        let needs_parent = rules.holds(Rule::ChildNeedsParent);
        match self {
            Self::CreateRun(run) => {
                if tables.runs.iter().any(|other| other.id == run.id || other.shares_identity(run)) {
                    return Ok(());
                }
                if needs_parent && !tables.customers.contains(&run.identity.customer) {
                    return Err(CONSTRAINT_FOREIGN_KEY);
                }
                tables.runs.push(run.clone());
            }
            Self::CloseRun(id) => {
                for run in tables.runs.iter_mut().filter(|run| run.id == *id && run.status != Status::Succeeded) {
                    (run.status, run.failure) = (Status::Succeeded, None);
                }
            }
            Self::FailRun(failed) => {
                for run in tables.runs.iter_mut().filter(|run| run.takes_failure_of(failed)) {
                    (run.status, run.failure) = (Status::Failed, failed.failure.clone());
                    tables.rewritten += 1;
                }
            }
            Self::InsertClaim(customer, claim) => {
                if needs_parent && !tables.customers.contains(customer) {
                    return Err(CONSTRAINT_FOREIGN_KEY);
                }
                tables.claims.push((*customer, claim.clone()));
            }
            Self::Withdraw(stale) => {
                let before = tables.events.len();
                tables.events.retain(|id, _| !stale.contains(id));
                running.changes.withdrawn += (before - tables.events.len()) as u64;
            }
            Self::Insert(events, on_conflict) => {
                let lacks_parent = |event: &EventRow| {
                    !tables.customers.contains(&event.customer) || !tables.runs.iter().any(|run| run.id == event.run)
                };
                let is_refused = needs_parent && events.iter().any(lacks_parent);
                // A single row is checked before it is written (fkey.c, fkLookupParent), several are
                // checked in the end: the first leaves no trace in the log, the others do.
                if is_refused && events.len() == 1 {
                    return Err(CONSTRAINT_FOREIGN_KEY);
                }
                for event in events {
                    insert(tables, event, *on_conflict, rules)?;
                }
                if is_refused {
                    return Err(CONSTRAINT_FOREIGN_KEY);
                }
            }
            Self::Update(changed) => {
                for (id, signal) in changed {
                    if let Some(event) = tables.events.get_mut(id) {
                        event.signal = signal.clone();
                        tables.rewritten += 1;
                    }
                }
            }
            _ => unreachable!("it does not write"),
        }
        Ok(())
    }
}

/// What differs between what comes in and what is there, as statements; counts it.
fn compare(
    incoming: Vec<EventRow>,
    run: &RunId,
    on_conflict: OnConflict,
    tables: &Tables,
    changes: &mut Changes,
) -> Vec<Statement> {
    let stored = tables.events.iter().filter(|(_, event)| event.run == *run);
    let is_stale = |(_, old): &(&EventId, &EventRow)| !incoming.iter().any(|new| new.same_key(old));
    let stale: Vec<EventId> = stored.clone().filter(is_stale).map(|(id, _)| *id).collect();
    let (mut inserts, mut updates) = (Vec::new(), Vec::new());
    for event in incoming {
        match stored.clone().find(|(_, old)| old.same_key(&event)) {
            None => inserts.push(event),
            Some((id, old)) if *old != event && on_conflict != OnConflict::Nothing => updates.push((*id, event.signal)),
            Some(_) => {}
        }
    }
    (changes.inserted, changes.updated) = (inserts.len() as u64, updates.len() as u64);
    let withdraw = (!stale.is_empty()).then_some(Statement::Withdraw(stale));
    let insert = (!inserts.is_empty()).then_some(Statement::Insert(inserts, on_conflict));
    let update = (!updates.is_empty()).then_some(Statement::Update(updates));
    withdraw.into_iter().chain(insert).chain(update).collect()
}

fn insert(tables: &mut Tables, event: &EventRow, on_conflict: OnConflict, rules: Rules) -> Result<(), i32> {
    let same = tables.events.values_mut().find(|old| old.same_key(event));
    match (same, on_conflict) {
        (Some(_), OnConflict::Error) if rules.holds(Rule::DuplicateFails) => return Err(CONSTRAINT_UNIQUE),
        (Some(_), OnConflict::Nothing) => {}
        (Some(old), OnConflict::Update) => old.signal = event.signal.clone(),
        (Some(_) | None, _) => drop(tables.events.insert(tables.next_event, event.clone())),
    }
    // An id is used up also where the row turns out to be there already (AUTOINCREMENT).
    tables.next_event += 1;
    Ok(())
}
