//! What the actors of a script have come to, over all executions: a search in which an actor never did anything
//! says nothing about it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::rules::is_refused;
use super::search::Execution;
use super::statement::{CHANGES_ROWS, command, message};
use super::volatile::Volatile;
use super::world::What;
use crate::scenario::script::{Script, ScriptCase};

/// What was seen of a script's actors.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    executions: u64,
    /// Steps that were sent.
    sent: BTreeSet<(usize, usize)>,
    /// Steps that have changed a row.
    changed: BTreeSet<(usize, usize)>,
    /// Actors that came to their end without being refused.
    through: BTreeSet<usize>,
    /// How many columns each query had that was asked at the end.
    columns: BTreeMap<usize, usize>,
    /// How often each step was answered.
    ran: BTreeMap<(usize, usize), u64>,
    /// How many executions refused a step, and with what.
    refused: BTreeMap<(usize, usize, String), u64>,
}

impl Effects {
    /// Looks at an execution.
    pub fn see(&mut self, script: &Script, execution: &Execution) {
        self.executions += 1;
        self.sent.extend(execution.taken.iter().map(|taken| (taken.actor, taken.step)));
        for event in execution.events() {
            let at = (event.actor, event.step);
            if !matches!(event.what, What::Waits { .. }) {
                *self.ran.entry(at).or_default() += 1;
            }
            match &event.what {
                What::Done(done) if done.affected.is_some_and(|rows| rows > 0) => {
                    self.changed.insert(at);
                }
                What::Failed { code, .. } if event.fault.is_none() => {
                    *self.refused.entry((at.0, at.1, code.clone())).or_default() += 1;
                }
                What::Done(_) | What::Failed { .. } | What::Waits { .. } => {}
            }
        }
        for (query, rows) in execution.ended.answers.iter().enumerate() {
            let columns = rows.iter().flatten().map(Vec::len).max().unwrap_or(0);
            let known = self.columns.entry(query).or_default();
            *known = (*known).max(columns);
        }
        let took_part: BTreeSet<usize> = execution.taken.iter().map(|taken| taken.actor).collect();
        let is_meant = |actor: usize| {
            let mut codes =
                execution.events().filter(|event| event.actor == actor).filter_map(|event| match &event.what {
                    What::Failed { code, .. } => Some((event.step, code)),
                    _ => None,
                });
            codes.all(|(step, code)| script.actors[actor].steps[step].errors.contains(code))
        };
        let is_through = |actor: &usize| !is_refused(script, execution, *actor) || is_meant(*actor);
        self.through.extend(took_part.into_iter().filter(is_through));
    }

    /// How often each step was answered, over all executions.
    pub fn ran(&self) -> &BTreeMap<(usize, usize), u64> {
        &self.ran
    }

    /// The refusals, each with how many executions had it.
    pub fn refusals<'s>(&self, script: &'s Script) -> impl Iterator<Item = (String, String, u64)> + use<'_, 's> {
        self.refused.iter().map(|((actor, step, code), times)| (script.name_of((*actor, *step)), code.clone(), *times))
    }

    /// Every step that was sent, in whatever execution: actor and step.
    pub fn sent(&self) -> &BTreeSet<(usize, usize)> {
        &self.sent
    }

    /// Whether nothing that these queries were ever answered is compared, but the number of their rows.
    pub fn are_left_out(&self, queries: Range<usize>, volatile: &Volatile) -> bool {
        let is_left_out = |query| volatile.leaves_out(query, self.columns.get(&query).copied().unwrap_or(0));
        !queries.is_empty() && queries.into_iter().all(is_left_out)
    }

    /// Why a search in which nothing was violated says nothing, if so; `faults`: things were let fail, too.
    pub fn say_nothing(&self, script: &Script, case: &ScriptCase, faults: bool) -> Option<String> {
        if !script.is_program || script.allows_no_effect || self.executions == 0 {
            return None;
        }
        let hint = "if that is meant, say `allows-no-effect = true`";
        if let [only] = &script.actors[..]
            && !faults
        {
            return Some(format!("{} is the only actor, so nothing runs concurrently with it; {hint}", only.name));
        }
        for (number, actor) in script.actors.iter().enumerate() {
            let name = &actor.name;
            let sql = |step: usize| case.begun(&actor.steps[step].sql);
            // Of each message what it leaves counts, not whether it is one statement.
            let left = actor.main_course().into_iter().filter_map(|step| message(&sql(step)).leaves_open).next_back();
            if left == Some(true) {
                return Some(format!(
                    "{name} begins a transaction and never ends it, so nothing of it is kept; {hint}"
                ));
            }
            if !self.through.contains(&number) {
                let why = self.refused.iter().find(|((actor, ..), _)| *actor == number);
                let why = why.map(|((_, step, code), _)| format!(" (step {}: {code})", actor.steps[*step].name));
                return Some(format!("{name} was refused in every order{}; {hint}", why.unwrap_or_default()));
            }
            let writes = |step: &usize| command(&sql(*step)).is_some_and(|c| CHANGES_ROWS.contains(&c.as_str()));
            let mut writes = (0..actor.steps.len()).filter(writes).peekable();
            if writes.peek().is_some() && !writes.any(|step| self.changed.contains(&(number, step))) {
                return Some(format!("no step of {name} changed a row in any order; {hint}"));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::footprint::Footprint;
    use crate::explore::world::{Done, Ended, Event, Taken};
    use crate::scenario::script::{ScriptActor, ScriptStep};

    fn script(steps: &[&str]) -> (Script, ScriptCase) {
        let step = |sql: &&str| ScriptStep { name: "1".to_owned(), sql: (*sql).to_owned(), ..ScriptStep::default() };
        let actor = |name: &str| ScriptActor {
            name: name.to_owned(),
            steps: steps.iter().map(step).collect(),
            ..ScriptActor::default()
        };
        let case = ScriptCase {
            name: "p".to_owned(),
            backend: drift_engine::lock::Backend::Postgres,
            begin: "BEGIN".to_owned(),
            violates: None,
            set: BTreeMap::new(),
        };
        (Script { is_program: true, actors: vec![actor("a"), actor("b")], ..Script::default() }, case)
    }

    fn seen(script: &Script, whats: &[(usize, usize, What)]) -> Effects {
        let taken = |(actor, step, what): &(usize, usize, What)| {
            let events = vec![Event::new(*actor, *step, what.clone())];
            Taken::new((*actor).into(), *step, events, Footprint::default(), false)
        };
        let ended = Ended { stuck: Vec::new(), answers: Vec::new() };
        let mut effects = Effects::default();
        effects.see(script, &Execution { taken: whats.iter().map(taken).collect(), ended });
        effects
    }

    fn changed(rows: u64) -> What {
        What::Done(Done { affected: Some(rows), ..Done::default() })
    }

    #[test]
    fn what_did_nothing_in_any_order_is_told_and_what_did_something_is_not() {
        let (script_of, case) = script(&["UPDATE t SET v = 1"]);
        let both = seen(&script_of, &[(0, 0, changed(1)), (1, 0, changed(1))]);
        assert_eq!(both.say_nothing(&script_of, &case, false), None);
        let one = seen(&script_of, &[(0, 0, changed(1)), (1, 0, changed(0))]);
        assert!(one.say_nothing(&script_of, &case, false).unwrap().starts_with("no step of b changed a row"));
        let failed = What::Failed { code: "42501".to_owned(), message: String::new() };
        let refused = seen(&script_of, &[(0, 0, changed(1)), (1, 0, failed)]);
        let why = refused.say_nothing(&script_of, &case, false).unwrap();
        assert!(why.starts_with("b was refused in every order (step 1: 42501)"), "{why}");
        let allowed = Script { allows_no_effect: true, ..script_of };
        assert_eq!(refused.say_nothing(&allowed, &case, false), None);
    }

    #[test]
    fn a_transaction_that_is_never_ended_and_an_actor_alone_are_told() {
        let (open, case) = script(&["BEGIN", "UPDATE t SET v = 1"]);
        let steps = [(0, 0, changed(0)), (0, 1, changed(1)), (1, 0, changed(0)), (1, 1, changed(1))];
        assert!(seen(&open, &steps).say_nothing(&open, &case, false).unwrap().contains("never ends it"));
        let (at_once, case_of) = script(&["BEGIN; UPDATE t SET v = 1"]);
        let one = [(0, 0, changed(1)), (1, 0, changed(1))];
        assert!(seen(&at_once, &one).say_nothing(&at_once, &case_of, false).unwrap().contains("never ends it"));
        let (ended, _) = script(&["BEGIN; UPDATE t SET v = 1", "UPDATE t SET v = 2; COMMIT"]);
        assert_eq!(
            seen(&ended, &[one, [(0, 1, changed(1)), (1, 1, changed(1))]].concat())
                .say_nothing(&ended, &case_of, false),
            None
        );
        let alone = Script { actors: open.actors[..1].to_vec(), ..open };
        assert!(seen(&alone, &steps[..2]).say_nothing(&alone, &case, false).unwrap().contains("only actor"));
        // With faults one actor alone has something to show.
        assert!(seen(&alone, &steps[..2]).say_nothing(&alone, &case, true).unwrap().contains("never ends it"));
    }
}
