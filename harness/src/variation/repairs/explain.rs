//! Why a repair that people try first did not help.

use super::{Kind, Proposal};
use crate::explore::application::rules::EXITS;
use crate::explore::judge::Found;
use crate::explore::statement::words;
use crate::explore::world::{Done, Event, What};
use crate::scenario::script::{COMMITTED, ERRORS, STUCK, ScriptActor, is_retryable};
use crate::syntax::Tree;

/// Why something is violated in spite of a repair, where that can be seen in the order that was found.
pub fn explain(proposal: &Proposal, found: &Found) -> Option<String> {
    if let Some(why) = on_wire(proposal, found) {
        return Some(why);
    }
    let variation = &proposal.variation;
    let events: Vec<&Event> = found.execution.events().collect();
    let rows = |event: &&Event| match &event.what {
        What::Done(Done { rows, .. }) => Some(rows.len()),
        _ => None,
    };
    // What is refused, or waits for ever, is another matter than what was read too early.
    let is_of_rows = ![ERRORS, EXITS, COMMITTED, STUCK].contains(&found.check.as_str());
    let of_changed = |event: &&&Event| variation.altered.contains(&(event.actor, event.step));
    match proposal.kind {
        Kind::Transaction if is_of_rows => {
            Some("under READ COMMITTED a transaction keeps nobody from changing what it has read".to_owned())
        }
        Kind::RowLock | Kind::CountedRows | Kind::SkipLocked => {
            let locking = |event: &&&Event| {
                let sql = &variation.script.actors[event.actor].steps[event.step].sql;
                Tree::of(sql).is_some_and(|tree| !tree.locking_clauses().is_empty())
            };
            let locked: Vec<usize> = events.iter().filter(of_changed).filter(locking).filter_map(rows).collect();
            if !locked.is_empty() && locked.iter().all(|rows| *rows == 0) {
                return Some("there was no row that it could have locked: rows that are not there yet cannot be".to_owned());
            }
            let deadlock = events.iter().any(|event| matches!(&event.what, What::Failed { code, .. } if code == "40P01"));
            deadlock.then(|| "the rows are locked in opposite orders, and that is a deadlock".to_owned())
        }
        Kind::Unique => {
            let at_end = found.execution.ended.answers.iter().flatten().flatten();
            let has_null = at_end.flatten().any(|value| value == "NULL");
            has_null.then(|| "for a unique index NULLs all differ from each other".to_owned())
        }
        Kind::RepeatableRead if is_of_rows => Some(
            "under REPEATABLE READ each works on what it saw at its beginning, and is refused only where both change the \
             same row (write skew)"
                .to_owned(),
        ),
        _ => None,
    }
}

/// Why a repair that is made on the wire did not help, where only the program could have done what it lacks.
fn on_wire(proposal: &Proposal, found: &Found) -> Option<String> {
    let variation = &proposal.variation;
    if !variation.on_wire.is_all {
        return None;
    }
    let is_stricter = matches!(proposal.kind, Kind::RepeatableRead | Kind::Serializable);
    let is_refusal = |event: &Event| matches!(&event.what, What::Failed { code, .. } if is_retryable(code));
    if is_stricter && found.check == EXITS && found.execution.events().any(is_refusal) {
        return Some("its program does not begin anew after 40001, and only the program can".to_owned());
    }
    let begins = |word: &String| matches!(word.as_str(), "BEGIN" | "START");
    let is_outside = |actor: &&ScriptActor| {
        !actor.steps.is_empty() && !actor.steps.iter().any(|step| words(&step.sql).iter().any(begins))
    };
    let name = &variation.script.actors.iter().find(is_outside)?.name;
    match proposal.kind {
        Kind::RowLock | Kind::SkipLocked => {
            Some(format!("{name} begins no transaction, so that it lets go of its lock as soon as it has it"))
        }
        Kind::AdvisoryLock => Some(format!("{name} begins no transaction, so that it takes no lock")),
        Kind::RepeatableRead | Kind::Serializable => {
            Some(format!("{name} begins no transaction, so that none of its own is stricter"))
        }
        _ => None,
    }
}

/// What has to be known of a repair that holds.
pub fn reserve(proposal: &Proposal, refused: u64) -> Option<&'static str> {
    let is_stricter = matches!(proposal.kind, Kind::RepeatableRead | Kind::Serializable);
    (proposal.variation.on_wire.is_all && is_stricter && refused > 0).then_some(
        "whoever is refused begins anew by itself, or gives up as its file lets it: that is the program's own doing",
    )
}
