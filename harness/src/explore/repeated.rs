//! What was done, its answer lost, and done again: a COMMIT of unknown outcome that is repeated blindly.

use super::search::Execution;
use super::statement::{CHANGES_ROWS, Does, message};
use super::world::{Event, What};
use crate::scenario::script::{Script, ScriptActor};
use crate::sql::split;
use crate::syntax::Tree;

/// Whether a fault took the answer of what was kept, and its actor did the same again and kept that too: in a sentence.
pub(super) fn repeated(script: &Script, execution: &Execution) -> Option<String> {
    let events: Vec<&Event> = execution.events().collect();
    let at = events.iter().position(|event| event.fault.is_some_and(|fault| fault.kept))?;
    let lost = events[at];
    let actor = &script.actors[lost.actor];
    let own = |events: &[&Event]| events.iter().copied().filter(|one| one.actor == lost.actor).cloned().collect();
    let (before, after): (Vec<Event>, Vec<Event>) = (own(&events[..at]), own(&events[at + 1..]));
    // What was refused before was rolled back, or was nothing; but for what a savepoint has saved.
    let is_undone = |number: usize| {
        let goes_back = before.get(number + 1).is_some_and(|next| does(actor, next.step) == Does::TakesBack);
        matches!(before[number].what, What::Failed { .. }) && !goes_back
    };
    let since = (0..before.len()).rev().find(|number| is_undone(*number)).map_or(0, |last| last + 1);
    let sql = |step: usize| actor.steps[step].sql.as_str();
    let changed: Vec<&str> =
        before[since..].iter().filter(|event| has_changed(actor, event)).map(|event| sql(event.step)).collect();
    // A handler may send the same once more.
    let is_again = |event: &Event| {
        has_changed(actor, event) && (sql(event.step) == sql(lost.step) || changed.contains(&sql(event.step)))
    };
    let again = after.iter().position(is_again)?;
    let rest = &after[again..];
    // What is sent as it comes has no number of its own: who sends the same text sends it again.
    let is_alone = sql(rest[0].step) == sql(lost.step) && does(actor, lost.step) != Does::Commit;
    let commits = |event: &Event| {
        does(actor, event.step) == Does::Commit && matches!(&event.what, What::Done(done) if !done.rolled_back)
    };
    let until = rest.iter().position(|event| matches!(event.what, What::Failed { .. })).unwrap_or(rest.len());
    if !is_alone && !rest[..until].iter().any(commits) {
        return None;
    }
    let what = match does(actor, lost.step) {
        Does::Commit => "COMMIT".to_owned(),
        _ => format!("step {}", actor.steps[lost.step].name),
    };
    Some(format!("the answer of {what} was lost, its work had been done, and {} did it again", actor.name))
}

fn does(actor: &ScriptActor, step: usize) -> Does {
    message(&actor.steps[step].sql).does
}

/// Whether a step has changed rows, as far as the database says; or may have, where that cannot be seen: it calls
/// something, or has several statements. What it really came to is for the tables to say.
fn has_changed(actor: &ScriptActor, event: &Event) -> bool {
    let What::Done(done) = &event.what else { return false };
    let sql = &actor.steps[event.step].sql;
    let may_write = matches!(message(sql).does, Does::Code | Does::Works);
    if may_write && Tree::of(sql).is_none_or(|tree| tree.is_opaque()) {
        return true;
    }
    let statements = split(&actor.steps[event.step].sql).unwrap_or_default();
    let changes = |word: &str| statements.iter().any(|statement| statement.has(word));
    CHANGES_ROWS.iter().any(|word| changes(word)) && (statements.len() > 1 || done.affected != Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::fault::Injected;
    use crate::explore::footprint::Footprint;
    use crate::explore::world::{Done, Ended, Taken};
    use crate::scenario::script::{FaultKind, ScriptStep};

    fn script(steps: &[&str]) -> Script {
        let step = |sql: &&str| ScriptStep { name: "x".to_owned(), sql: (*sql).to_owned(), ..ScriptStep::default() };
        let (name, steps) = ("bob".to_owned(), steps.iter().map(step).collect());
        Script { actors: vec![ScriptActor { name, steps, ..ScriptActor::default() }], ..Script::default() }
    }

    /// An execution of one actor: each step with how many rows it changed, or a lost answer.
    fn execution(events: &[(usize, Result<u64, bool>)]) -> Execution {
        let event = |(step, came): &(usize, Result<u64, bool>)| match came {
            Ok(rows) => Event::new(0, *step, What::Done(Done { affected: Some(*rows), ..Done::default() })),
            Err(kept) => Event::failed(0, *step, Injected { kind: FaultKind::LostAfter, kept: *kept }),
        };
        let taken =
            |of: &(usize, Result<u64, bool>)| Taken::new(0.into(), of.0, vec![event(of)], Footprint::default(), false);
        let ended = Ended { stuck: Vec::new(), answers: Vec::new() };
        Execution { taken: events.iter().map(taken).collect(), ended }
    }

    #[test]
    fn what_is_committed_and_done_again_is_told_in_these_words() {
        let script = script(&["BEGIN", "UPDATE t SET v = v + 1", "COMMIT"]);
        let again = [(0, Ok(0)), (1, Ok(1)), (2, Err(true)), (0, Ok(0)), (1, Ok(1)), (2, Ok(0))];
        let said = repeated(&script, &execution(&again)).unwrap();
        assert_eq!(said, "the answer of COMMIT was lost, its work had been done, and bob did it again");
        // What a function does cannot be seen; the tables say whether it was anything.
        let calls = self::script(&["BEGIN", "SELECT pay(1)", "COMMIT"]);
        assert!(repeated(&calls, &execution(&again)).is_some());
        // What was not kept is rightly done again.
        let mut undone = again;
        undone[2] = (2, Err(false));
        assert_eq!(repeated(&script, &execution(&undone)), None);
        // What changes nothing the second time is no repetition, nor what is never committed, nor who ends.
        let mut guarded = again;
        guarded[4] = (1, Ok(0));
        assert_eq!(repeated(&script, &execution(&guarded)), None);
        assert_eq!(repeated(&script, &execution(&again[..5])), None);
        assert_eq!(repeated(&script, &execution(&again[..3])), None);
    }

    #[test]
    fn a_statement_by_itself_is_told_by_its_name() {
        let script = script(&["INSERT INTO t VALUES (1)"]);
        let said = repeated(&script, &execution(&[(0, Err(true)), (0, Ok(1))])).unwrap();
        assert_eq!(said, "the answer of step x was lost, its work had been done, and bob did it again");
    }
}
