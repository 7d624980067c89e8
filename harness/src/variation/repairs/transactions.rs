//! Repairs of transactions: one around it all, a stricter one, beginning anew.

use super::{Job, RETRIES};
use crate::explore::statement::{Does, message};
use crate::scenario::script::{OnError, is_retryable};
use crate::syntax::Tree;
use crate::variation::{Draft, Variation};

impl Job<'_> {
    /// A transaction around what was none.
    pub(super) fn transaction(&self) -> Option<Variation> {
        let (draft, _) = self.in_transactions()?;
        (!draft.altered.is_empty()).then(|| draft.named("one transaction around it all"))
    }

    /// Beginning anew where somebody was refused for the sake of concurrency.
    pub(super) fn retry(&self) -> Option<Variation> {
        let refused = self.refusals().iter().any(|(.., code)| is_retryable(code));
        let (mut draft, _) = self.in_transactions().filter(|_| refused && !self.handles_refusals())?;
        let changed = begin_anew(&mut draft);
        changed.then(|| draft.named("begin anew after 40001 and 40P01"))
    }

    /// A stricter isolation level, and beginning anew where it refuses.
    pub(super) fn isolation(&self, level: &str) -> Option<Variation> {
        let (mut draft, begins) = self.in_transactions().filter(|_| !self.handles_refusals())?;
        let begin = format!("BEGIN ISOLATION LEVEL {level}");
        for (actor, step) in begins.into_iter().enumerate() {
            let sql = &draft.script.actors[actor].steps[step].sql;
            // A BEGIN that says more than that is not ours to rewrite.
            if message(&draft.case.begun(sql)).statements != 1 {
                return None;
            }
            draft.rewrite((actor, step), begin.clone());
        }
        begin_anew(&mut draft);
        Some(draft.named(format!("{level}, begin anew after 40001")))
    }

    /// Whether an actor does something of its own where it is refused for the sake of concurrency.
    fn handles_refusals(&self) -> bool {
        let ways = self.script.actors.iter().flat_map(|actor| &actor.steps).flat_map(|step| &step.on_error);
        ways.into_iter().any(|(code, way)| *way != OnError::Retry && (code == "*" || is_retryable(code)))
    }

    /// SQLite's BEGIN IMMEDIATE, and beginning anew where the lock is taken.
    pub(super) fn immediate(&self) -> Option<Variation> {
        let (mut draft, begins) = self.in_transactions()?;
        for (actor, step) in begins.into_iter().enumerate() {
            draft.rewrite((actor, step), "BEGIN IMMEDIATE".to_owned());
        }
        begin_anew(&mut draft);
        Some(draft.named("BEGIN IMMEDIATE, begin anew while it is locked"))
    }

    /// The advisory locks of the session, taken by the transaction and kept until its end.
    pub(super) fn kept_until_commit(&self) -> Option<Variation> {
        let (mut draft, _) = self.in_transactions()?;
        let mut changed = false;
        for actor in 0..draft.script.actors.len() {
            for step in 0..draft.script.actors[actor].steps.len() {
                let sql = draft.script.actors[actor].steps[step].sql.clone();
                let Some(tree) = Tree::of(&sql) else { continue };
                let of_session = tree.advisory_calls().into_iter().filter(|call| !call.name.contains("xact"));
                let parts: Vec<_> = of_session
                    .map(|call| {
                        let text = match call.name.contains("unlock") {
                            true => "true".to_owned(),
                            false => {
                                format!("{}({})", call.name.replace("advisory_", "advisory_xact_"), call.arguments)
                            }
                        };
                        (call.range, text)
                    })
                    .collect();
                if !parts.is_empty() {
                    changed = true;
                    draft.rewrite((actor, step), tree.with(parts));
                }
            }
        }
        changed.then(|| draft.named("the advisory lock kept until COMMIT"))
    }
}

/// What is refused for the sake of concurrency, and may be tried again: on PostgreSQL and on SQLite.
const RETRIED: [&str; 3] = ["40001", "40P01", "5"];

/// Has every actor begin anew where it is refused for the sake of concurrency; whether that is new.
fn begin_anew(draft: &mut Draft) -> bool {
    let mut changed = false;
    for actor in &mut draft.script.actors {
        // What names its own codes is to begin anew after these too.
        if !actor.retries_on.is_empty() && !actor.retries_on.iter().any(|code| is_retryable(code)) {
            actor.retries_on.extend(RETRIED.map(str::to_owned));
            changed = true;
            draft.statements.push((actor.name.clone(), format!("retry-on = {:?}", actor.retries_on)));
        }
        let begins = actor.steps.iter().any(|step| message(&draft.case.begun(&step.sql)).does == Does::Begin);
        if begins && (actor.retries < RETRIES || actor.goes_on) {
            (actor.retries, actor.goes_on, changed) = (RETRIES, false, true);
            draft.statements.push((actor.name.clone(), format!("retry = {RETRIES}")));
        }
    }
    changed
}
