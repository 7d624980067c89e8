//! An actor's steps as trees, and the transaction around them.

use crate::explore::statement::{Does, message};
use crate::scenario::script::{Instruction, ScriptActor, ScriptCase, ScriptStep};
use crate::syntax::{Change, Read, Tree};

/// A step, and what it reads or changes.
pub(super) struct Looked {
    /// Its number.
    pub step: usize,
    /// What it does to its transaction.
    pub does: Does,
    /// What it reads, if it is a single SELECT from tables.
    pub read: Option<Read>,
    /// What it changes, if it is a single statement that does.
    pub change: Option<Change>,
}

/// All steps of an actor, in order.
pub(super) fn look(actor: &ScriptActor, case: &ScriptCase) -> Vec<Looked> {
    let one = |(step, of): (usize, &ScriptStep)| {
        let tree = Tree::of(&of.sql);
        Looked {
            step,
            does: message(&case.begun(&of.sql)).does,
            read: tree.as_ref().and_then(Tree::read),
            change: tree.as_ref().and_then(Tree::change),
        }
    };
    actor.steps.iter().enumerate().map(one).collect()
}

/// The actor with one transaction around everything that it reads and changes, and the step that begins it. None where
/// that cannot be said of it, or cannot be done without changing what it means.
pub(super) fn in_one_transaction(actor: &ScriptActor, case: &ScriptCase) -> Option<(ScriptActor, usize)> {
    let looked = look(actor, case);
    let course = actor.main_course();
    let begins: Vec<usize> = course.iter().copied().filter(|step| looked[*step].does == Does::Begin).collect();
    let works = |step: &usize| looked[*step].read.is_some() || looked[*step].change.is_some();
    let position = |step: usize| course.iter().position(|one| *one == step);
    if let [begin] = begins[..]
        && let (Some(begun), Some(first)) = (position(begin), course.iter().position(works))
        && begun < first
    {
        let ends = course.iter().position(|step| matches!(looked[*step].does, Does::Commit | Does::RollBack));
        let last = course.iter().rposition(works);
        if ends.is_none_or(|end| last.is_none_or(|last| last < end)) {
            return Some((actor.clone(), begin));
        }
    }
    // Whoever ends early, or goes elsewhere after a refusal, would leave it open.
    let leaves = actor.flow.contains(&Instruction::End) || actor.steps.iter().any(|step| !step.on_error.is_empty());
    let is_simple =
        actor.is_straight() || !leaves && !looked.iter().any(|one| matches!(one.does, Does::Begin | Does::Commit));
    if !is_simple || looked.iter().any(|one| matches!(one.does, Does::Mixed | Does::Code | Does::TakesBack)) {
        return None;
    }
    // What its first transaction is begun with is kept.
    let begun = looked.iter().find(|one| one.does == Does::Begin).map(|one| actor.steps[one.step].sql.clone());
    let mut whole = actor.clone();
    for one in looked.iter().rev() {
        if matches!(one.does, Does::Begin | Does::Commit) {
            whole.remove(one.step);
        }
    }
    if whole.steps.is_empty() {
        return None;
    }
    whole.insert_before(0, new_step(actor, "begin", begun.unwrap_or_else(|| "BEGIN".to_owned())));
    whole.append(new_step(actor, "commit", "COMMIT".to_owned()));
    Some((whole, 0))
}

/// A step more for an actor, with a name that none of its steps has, where its other steps are.
pub(super) fn new_step(actor: &ScriptActor, name: &str, sql: String) -> ScriptStep {
    let place = actor.steps.first().map_or((0, 0), |step| step.place);
    ScriptStep { name: free_name(actor, name), sql, place, ..ScriptStep::default() }
}

/// A name that no step of the actor has yet.
fn free_name(actor: &ScriptActor, wanted: &str) -> String {
    let is_taken = |name: &str| actor.steps.iter().any(|step| step.name == name);
    let further = (2..).map(|number| format!("{wanted}-{number}"));
    std::iter::once(wanted.to_owned()).chain(further).find(|name| !is_taken(name)).unwrap_or_else(|| wanted.to_owned())
}
