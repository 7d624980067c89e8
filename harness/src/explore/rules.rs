//! What a script asks of every execution: its invariants, its serial orders, its steps' errors, and
//! that nobody waits for ever.

use std::collections::{BTreeMap, BTreeSet};

use super::effects::Effects;
use super::judge::{Rules, run_serially};
use super::repeated::repeated;
use super::search::Execution;
use super::volatile::Volatile;
use super::world::{self, Ended, Event, Lost, Rows, What, World};
use crate::scenario::script::{
    COMMITTED, ERRORS, FaultKind, NamedQuery, OnError, REPEATED, SERIAL, STUCK, Script, ScriptActor, ScriptCase,
};

/// The rules of a script.
pub struct ScriptRules<'s> {
    pub(super) script: &'s Script,
    pub(super) case: &'s ScriptCase,
    /// What is not compared.
    pub volatile: Volatile,
    /// What the actors came to.
    pub effects: Effects,
    /// Whether things are let fail.
    faults: bool,
    /// Where the script has no queries for it, the rows of these tables are compared with those of serial orders: where
    /// what a lost answer was about was done again.
    tables: Vec<NamedQuery>,
    /// The final states that serial orders of these actors give.
    serial: BTreeMap<BTreeSet<usize>, BTreeSet<String>>,
}

/// The queries that are asked at the end of each execution.
pub fn queries(script: &Script) -> Vec<String> {
    script.invariants.iter().chain(&script.serial).map(|query| query.sql.clone()).collect()
}

impl<'s> ScriptRules<'s> {
    /// Of this script.
    pub fn new(script: &'s Script, case: &'s ScriptCase) -> Self {
        let (volatile, effects) = (Volatile::default(), Effects::default());
        Self { script, case, volatile, effects, faults: false, tables: Vec::new(), serial: BTreeMap::new() }
    }

    /// Of a script with which things are let fail; these are queries for the rows of its tables.
    #[must_use]
    pub fn with_faults(self, tables: Vec<NamedQuery>) -> Self {
        let tables = if self.script.serial.is_empty() { tables } else { Vec::new() };
        Self { faults: true, tables, ..self }
    }

    /// Every query that is asked at the end, in order.
    pub fn asked(&self) -> impl Iterator<Item = &NamedQuery> {
        self.script.invariants.iter().chain(&self.script.serial).chain(&self.tables)
    }

    /// The queries by which a final state is compared with that of serial orders.
    fn compared(&self) -> &[NamedQuery] {
        if self.script.serial.is_empty() { &self.tables } else { &self.script.serial }
    }

    /// How the final state differs from that of every serial order: of those that did not roll back,
    /// or of all.
    async fn differs<W: World>(&mut self, world: &mut W, execution: &Execution) -> Result<Option<String>, Lost> {
        if self.compared().is_empty() {
            return Ok(None);
        }
        let state = self.state(&execution.ended)?;
        let takers = takers(self.script, execution);
        for actors in &takers {
            if !self.serial.contains_key(actors) {
                let states = self.serial_states(world, actors).await?;
                self.serial.insert(actors.clone(), states);
            }
            if self.serial[actors].contains(&state) {
                return Ok(None);
            }
        }
        let serial: Vec<&str> = self.serial[&takers[0]].iter().map(String::as_str).collect();
        Ok(Some(format!("the final state is {state}; serial orders give {}", serial.join(" or "))))
    }

    /// Those actors of an execution whose serial orders it is compared with, and are not known yet.
    pub fn unknown(&self, execution: &Execution) -> Vec<BTreeSet<usize>> {
        let mut sets = if self.compared().is_empty() { Vec::new() } else { takers(self.script, execution) };
        sets.retain(|actors| !self.serial.contains_key(actors));
        sets
    }

    /// Takes the states of the serial orders of these actors from whoever has run them in another way.
    pub fn learn(&mut self, actors: BTreeSet<usize>, states: BTreeSet<String>) {
        self.serial.insert(actors, states);
    }

    /// The final state, as serial orders are compared by it.
    ///
    /// # Errors
    /// A query of the script fails.
    pub fn state(&self, ended: &Ended) -> Result<String, Lost> {
        let first = self.script.invariants.len();
        let mut state = Vec::new();
        for (number, (query, answer)) in self.compared().iter().zip(&ended.answers[first..]).enumerate() {
            match answer.as_ref().map(|rows| self.volatile.of_query(first + number, rows)) {
                Ok(rows) => state.push(format!("{} = {}", query.name, shown(&rows))),
                Err(error) => return Err(Lost::by_script(format!("failed to ask {}: {error}", query.name))),
            }
        }
        Ok(state.join(", "))
    }

    /// Why executions in which nothing was violated say nothing, if so.
    pub fn nothing_said(&self) -> Option<String> {
        let asked = self.script.invariants.len()..queries(self.script).len();
        let is_blind = || !self.script.allows_no_effect && self.effects.are_left_out(asked, &self.volatile);
        let blind = || {
            "no column of what `serial` asks for is compared, for each differs by itself: ask for columns that do not, \
             and if that is meant, say `allows-no-effect = true`"
        };
        self.effects.say_nothing(self.script, self.case, self.faults).or_else(|| is_blind().then(|| blind().to_owned()))
    }

    async fn serial_states<W: World>(&self, world: &mut W, actors: &BTreeSet<usize>) -> Result<BTreeSet<String>, Lost> {
        let mut states = BTreeSet::new();
        let queries: Vec<String> = self.asked().map(|query| query.sql.clone()).collect();
        // What is compared with is what comes of it where nothing fails.
        let fault = world.inject(None);
        for order in permutations(&actors.iter().copied().collect::<Vec<_>>()) {
            let execution = run_serially(world, &order, &queries).await?;
            states.insert(self.state(&execution.ended)?);
        }
        world.inject(fault);
        Ok(states)
    }
}

impl<W: World> Rules<W> for ScriptRules<'_> {
    fn queries(&self) -> Vec<String> {
        self.asked().map(|query| query.sql.clone()).collect()
    }

    async fn wrong(&mut self, world: &mut W, execution: &Execution) -> Result<Vec<(String, String)>, Lost> {
        let mut wrong = Vec::new();
        let script = self.script;
        let events: Vec<&Event> = execution.events().collect();
        for (at, event) in events.iter().enumerate() {
            let actor = &script.actors[event.actor];
            let step = &actor.steps[event.step];
            if let What::Failed { code, message } = &event.what
                && event.fault.is_none()
                && !script.refusals.tolerate(code)
                && !step.errors.contains(code)
                && !is_handled(actor, event.step, code, || goes_on_after(&events, at))
            {
                let sentence = format!("step {} of {} failed: {message} ({code})", step.name, actor.name);
                wrong.push((ERRORS.to_owned(), sentence));
            }
        }
        wrong.extend(script.is_program.then(|| undone(script, execution)).flatten());
        if !execution.ended.stuck.is_empty() {
            let names: Vec<&str> =
                execution.ended.stuck.iter().map(|actor| script.actors[*actor].name.as_str()).collect();
            wrong.push((
                STUCK.to_owned(),
                format!("{} would wait for ever: whoever has the lock has ended", names.join(", ")),
            ));
        }
        wrong.extend(violated(&script.invariants, &execution.ended, shown)?);
        let repeated = repeated(script, execution);
        let by_tables = script.serial.is_empty();
        // Rows of tables that nobody has named are compared for this alone.
        if (!by_tables || repeated.is_some())
            && let Some(sentence) = self.differs(world, execution).await?
        {
            wrong.push((if by_tables { REPEATED } else { SERIAL }.to_owned(), sentence));
        }
        if let Some(repeated) = repeated {
            let names: BTreeSet<&str> = script.invariants.iter().map(|query| query.name.as_str()).collect();
            let is_of_rows = |check: &str| names.contains(check) || [SERIAL, REPEATED].contains(&check);
            for (_, sentence) in wrong.iter_mut().filter(|(check, _)| is_of_rows(check)) {
                *sentence = format!("{repeated}: {sentence}");
            }
        }
        Ok(wrong)
    }

    fn steps(&self) -> Vec<usize> {
        self.script.actors.iter().map(|actor| actor.steps.len()).collect()
    }

    fn needs_all(&self, check: &str) -> bool {
        ![ERRORS, COMMITTED, STUCK].contains(&check)
    }

    fn compares(&self) -> bool {
        true
    }

    fn leave_out(&mut self, volatile: Volatile) {
        self.volatile.add(volatile);
    }

    fn left_out(&self) -> Volatile {
        self.volatile.clone()
    }

    fn see(&mut self, execution: &Execution) {
        self.effects.see(self.script, execution);
    }

    fn says_nothing(&self) -> Option<String> {
        self.nothing_said()
    }

    fn mistake(&self, _: &W, execution: &Execution) -> Option<(usize, Lost)> {
        if !self.script.is_program {
            return None;
        }
        execution.taken.iter().flat_map(|taken| &taken.events).find_map(|event| {
            let actor = &self.script.actors[event.actor];
            let step = &actor.steps[event.step];
            let What::Failed { code, message } = &event.what else { return None };
            // A statement that makes no sense, or names what is not there; SQLite has one code for both.
            let is_mistake = matches!(code.as_str(), "42601" | "42P01" | "42P02" | "42703" | "42883" | "1");
            let at = (step.place.0 > 0).then_some(step.place);
            let why = format!("step {} of {} cannot be run: {message} ({code})", step.name, actor.name);
            let lost = Lost { at, ..Lost::by_script(why) };
            // A statement that cannot be run at all is not meant by "every error".
            let is_meant = step.errors.contains(code) || step.on_error.iter().any(|(named, _)| named == code);
            (is_mistake && !is_meant).then_some((event.actor, lost))
        })
    }
}

/// The invariants that return rows at the end, each with a sentence in which these are `shown`.
///
/// # Errors
/// One cannot be asked.
pub(super) fn violated(
    invariants: &[NamedQuery],
    ended: &Ended,
    shown: impl Fn(&Rows) -> String,
) -> Result<Vec<(String, String)>, Lost> {
    let mut violated = Vec::new();
    for (query, answer) in invariants.iter().zip(&ended.answers) {
        match answer {
            Ok(rows) if rows.is_empty() => {}
            Ok(rows) => {
                violated.push((query.name.clone(), format!("at the end {} returns {}", query.name, shown(rows))))
            }
            Err(error) => return Err(Lost::by_script(format!("failed to ask invariant {}: {error}", query.name))),
        }
    }
    Ok(violated)
}

/// A COMMIT that was answered with ROLLBACK: nothing remains of what the actor took for committed.
fn undone(script: &Script, execution: &Execution) -> Option<(String, String)> {
    let events = || execution.taken.iter().flat_map(|taken| &taken.events);
    let undone = events().find(|event| matches!(&event.what, What::Done(done) if done.rolled_back))?;
    let actor = &script.actors[undone.actor];
    let failed = events().filter(|event| event.actor == undone.actor && event.step < undone.step);
    let failed = failed.rev().find_map(|event| match &event.what {
        What::Failed { code, .. } if code != "25P02" => {
            Some(format!(" at step {} ({code})", actor.steps[event.step].name))
        }
        _ => None,
    });
    let sentence = format!(
        "the COMMIT of {} was answered with ROLLBACK: its transaction had failed{}, and nothing of it remains",
        actor.name,
        failed.unwrap_or_default()
    );
    Some((COMMITTED.to_owned(), sentence))
}

/// The actors of an execution that came to their end, and all that took part. Whoever a fault has ended is in both, or
/// in neither: what it was about may have been done.
fn takers(script: &Script, execution: &Execution) -> Vec<BTreeSet<usize>> {
    let all: BTreeSet<usize> = execution.taken.iter().map(|taken| taken.actor).collect();
    let failed = |actor: &usize| is_refused(script, execution, *actor);
    let survived: BTreeSet<usize> = all.iter().copied().filter(|actor| !failed(actor)).collect();
    let mut takers = vec![survived.clone(), all.clone()];
    // Of several each may be in or out by itself.
    let struck: Vec<usize> = execution.struck().into_iter().filter(failed).collect();
    for some in subsets(&struck).into_iter().filter(|some| !some.is_empty()) {
        takers.push(survived.union(&some).copied().collect());
        takers.push(all.difference(&some).copied().collect());
    }
    takers
}

/// Every selection of these actors, none of them first.
pub(super) fn subsets(of: &[usize]) -> Vec<BTreeSet<usize>> {
    let mut all = vec![BTreeSet::new()];
    for one in of {
        let with = |some: &BTreeSet<usize>| some.iter().copied().chain([*one]).collect();
        all.extend(all.iter().map(with).collect::<Vec<_>>());
    }
    all
}

/// Whether an actor does something after one of these events.
fn goes_on_after(events: &[&Event], at: usize) -> bool {
    events[at + 1..].iter().any(|event| event.actor == events[at].actor)
}

/// Whether the file says what a refusal leads to, and the actor does that. Whoever begins anew is not refused, unless it
/// has done so too often.
fn is_handled(actor: &ScriptActor, step: usize, code: &str, goes_on: impl Fn() -> bool) -> bool {
    match actor.on_error(step, code) {
        Some(OnError::Go(_) | OnError::End) => true,
        Some(OnError::Retry) => goes_on(),
        None => !actor.goes_on && goes_on(),
    }
}

/// Whether an actor was refused in the end. Whoever begins anew is not, nor who does what its file says then; of one
/// that ignores errors each counts that its step does not allow. Whoever does something else after a fault may have given
/// up what it was about.
pub(super) fn is_refused(script: &Script, execution: &Execution, actor: usize) -> bool {
    let of = &script.actors[actor];
    let events: Vec<&Event> = execution.events().collect();
    let mut own = events.iter().enumerate().filter(|(_, event)| event.actor == actor);
    own.any(|(at, event)| match &event.what {
        What::Failed { .. } if event.fault.is_some_and(|fault| fault.kind == FaultKind::Killed) => true,
        What::Failed { code, .. } => match of.on_error(event.step, code) {
            Some(OnError::Go(_)) => event.fault.is_some(),
            Some(OnError::End) => true,
            Some(OnError::Retry) => !goes_on_after(&events, at),
            None => of.goes_on || !goes_on_after(&events, at),
        },
        _ => false,
    })
}

/// The most serial orders that are tried: those of six actors.
const SERIAL_MAX: usize = 720;

/// The orders of these actors, up to that many.
pub fn permutations(of: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for one in of {
        let insert = |order: Vec<usize>| {
            (0..=order.len()).map(move |at| {
                let mut longer = order.clone();
                longer.insert(at, *one);
                longer
            })
        };
        all = all.into_iter().flat_map(insert).take(SERIAL_MAX).collect();
    }
    all
}

fn shown(rows: &Rows) -> String {
    const MAX: usize = 8;
    let more = if rows.len() > MAX { format!(", … ({} rows)", rows.len()) } else { String::new() };
    format!("[{}{more}]", world::shown(&rows[..rows.len().min(MAX)].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_are_all_and_different() {
        let all: BTreeSet<Vec<usize>> = permutations(&[0, 1, 2, 3]).into_iter().collect();
        assert_eq!(all.len(), 24);
        assert_eq!(permutations(&[]), [Vec::<usize>::new()]);
        assert_eq!(subsets(&[3, 5]), [BTreeSet::new(), [3].into(), [5].into(), [3, 5].into()]);
    }
}
