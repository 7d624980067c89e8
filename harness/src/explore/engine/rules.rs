//! What is asked of every execution of the engine: every check, of the history that it leaves.

use std::collections::BTreeMap;

use drift_engine::lock::Backend;
use drift_engine::op::Op;

use super::EngineWorld;
use super::state::QUERIES;
use crate::check::{self, Answer, CheckName};
use crate::explore::case::{Explored, Options, explore};
use crate::explore::course::{Course, Names};
use crate::explore::judge::{Found, Rules, run};
use crate::explore::schedule::ENGINE;
use crate::explore::search::Execution;
use crate::explore::world::{Choice, Event, Lost, What};
use crate::history::{ActorId, Entry, History, Role};
use crate::outcome;
use crate::scenario::script::{STUCK, Script, ScriptActor, ScriptCase, ScriptStep};
use crate::verdict::Verdict;

/// How often each check had what answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// It passed.
    pub passed: u64,
    /// It did not see what it is about.
    pub unanswered: u64,
}

/// Each check that is violated, and the entries that show it.
type Violated = Vec<(CheckName, Vec<usize>)>;

/// Every check, put to every execution.
#[derive(Debug, Default)]
pub struct EngineRules {
    /// How often each check that applies had what answer.
    pub tallies: BTreeMap<CheckName, Tally>,
    /// The operations of each actor in the first execution, in which nobody is in another's way.
    steps: Vec<usize>,
    /// Of the last execution.
    last: Option<(History, Violated)>,
}

impl EngineRules {
    /// What the checks answered, in a sentence.
    pub fn told(&self) -> String {
        let one = |(check, tally): (&CheckName, &Tally)| match tally.passed {
            0 => None,
            passed => Some(format!("{check} {passed}")),
        };
        let told: Vec<String> = self.tallies.iter().filter_map(one).collect();
        match told.is_empty() {
            true => "no check passed".to_owned(),
            false => format!("executions that a check passed: {}", told.join(", ")),
        }
    }
}

impl Rules<EngineWorld> for EngineRules {
    fn queries(&self) -> Vec<String> {
        Vec::new()
    }

    async fn wrong(&mut self, world: &mut EngineWorld, execution: &Execution) -> Result<Vec<(String, String)>, Lost> {
        self.last = None;
        let Some(history) = world.history.take() else {
            let stuck: Vec<String> = execution.ended.stuck.iter().map(|actor| format!("actor {actor}")).collect();
            let sentence = format!("{} would wait for ever: whoever has the lock has ended", stuck.join(", "));
            return Ok(vec![(STUCK.to_owned(), sentence)]);
        };
        if self.steps.is_empty() {
            self.steps = history.meta.actors.keys().map(|actor| operations(&history, *actor).count()).collect();
        }
        let (mut wrong, mut entries) = (Vec::new(), Vec::new());
        for (check, answer) in check::judge(&history, &CheckName::ALL, None) {
            let Answer::Judged(verdict) = answer else { continue };
            let tally = self.tallies.entry(check).or_default();
            match verdict {
                Verdict::Pass { .. } => tally.passed += 1,
                Verdict::Inconclusive { .. } => tally.unanswered += 1,
                Verdict::Violation { counterexample: found } => {
                    wrong.push((check.to_string(), found.sentence));
                    entries.push((check, found.entries));
                }
            }
        }
        self.last = Some((history, entries));
        Ok(wrong)
    }

    fn steps(&self) -> Vec<usize> {
        self.steps.clone()
    }
}

/// A violation that was made smaller, and run once more.
#[derive(Clone, Debug)]
pub struct Confirmed {
    /// What the actors did, as a script: to be shown and written like one.
    pub script: Script,
    /// The script's only case.
    pub case: ScriptCase,
    /// The violation.
    pub found: Found,
    /// How many of its operations show it; those that follow only end what was begun.
    pub until: usize,
    /// The same actors one after the other, where that does not violate it.
    pub serial: Option<Course>,
}

/// Explores what a world is about, and runs what is found once more.
///
/// Cancellation: the world must then be dropped.
///
/// # Errors
/// The database is lost, or a violation is not there any more when its order is run again.
pub async fn explore_engine(
    world: &mut EngineWorld,
    name: &str,
    violates: Option<CheckName>,
    options: &Options,
) -> Result<(Explored, EngineRules, Vec<Confirmed>), Lost> {
    let violates = violates.map(|check| check.to_string());
    let (explored, mut rules) = explore(world, EngineRules::default(), violates.as_deref(), options).await?;
    let mut confirmed = Vec::new();
    for found in &explored.found {
        let again = confirm(world, &mut rules, name, &found.execution.order(), &found.check).await?;
        if again.found.check != found.check {
            let why = format!("{} is not violated any more when the same order is run again", found.check);
            return Err(Lost::new(why));
        }
        let serial = match &found.serial {
            Some(serial) => Some(confirm(world, &mut rules, name, &serial.order(), &found.check).await?),
            None => None,
        };
        let serial = serial.filter(|serial| serial.found.check != found.check);
        let course = |of: &Confirmed| {
            let names = Names { queries: QUERIES.map(str::to_owned).into(), ..Names::of(&of.script) };
            Course::new(&names, &of.found.execution)
        };
        confirmed.push(Confirmed { serial: serial.as_ref().map(course), ..again });
    }
    Ok((explored, rules, confirmed))
}

/// Runs an order: a violation of `check`, or else of another check, or else [`Found::nothing`].
///
/// # Errors
/// The database is lost.
pub async fn confirm(
    world: &mut EngineWorld,
    rules: &mut EngineRules,
    name: &str,
    order: &[Choice],
    check: &str,
) -> Result<Confirmed, Lost> {
    let execution = run(world, order, &[]).await?;
    let mut wrong = rules.wrong(world, &execution).await?;
    wrong.sort_by_key(|(violated, _)| violated != check);
    let backend = world.backend();
    let wrong = wrong.into_iter().next();
    let (script, execution, until) = match rules.last.take() {
        Some((history, entries)) => {
            let of_check = |(violated, _): &&(CheckName, Vec<usize>)| {
                wrong.as_ref().is_some_and(|(check, _)| *check == violated.to_string())
            };
            let entries = entries.iter().find(of_check).map(|(_, entries)| &entries[..]).unwrap_or_default();
            let until = until(&execution, &history, entries);
            (as_script(name, backend, &history), told(execution, &history), until)
        }
        None => (nameless(name, backend, &execution), execution.clone(), execution.taken.len()),
    };
    let case = script.cases[0].clone();
    let found = match wrong {
        Some((check, sentence)) => Found { check, sentence, execution, serial: None },
        None => Found::nothing(execution),
    };
    Ok(Confirmed { script, case, found, until, serial: None })
}

/// After how many steps of an execution the last of these entries has been answered; without one that is
/// any step's, after all.
fn until(execution: &Execution, history: &History, entries: &[usize]) -> usize {
    let shows = |event: &Event| {
        let id = history.meta.actors.keys().nth(event.actor);
        let entry = id.and_then(|id| operations(history, *id).nth(event.step));
        let of_entry =
            |index: &usize| entry.is_some_and(|entry| std::ptr::eq(entry, &raw const history.entries[*index]));
        entries.iter().any(of_entry)
    };
    let last = execution.taken.iter().rposition(|taken| taken.events.iter().any(shows));
    last.map_or(execution.taken.len(), |last| last + 1)
}

/// What an actor sent: a step each. Pauses are none.
fn operations(history: &History, actor: ActorId) -> impl Iterator<Item = &Entry> {
    history.entries.iter().filter(move |entry| entry.actor == actor && !matches!(entry.op, Op::Pause(_)))
}

/// What the actors did, as a script.
fn as_script(name: &str, backend: Backend, history: &History) -> Script {
    let actor = |(id, role): (&ActorId, &Role)| {
        let step = |(number, entry): (usize, &Entry)| step(number, entry.op.to_string());
        let steps = operations(history, *id).enumerate().map(step).collect();
        ScriptActor { name: actor_name(*id, *role), steps, goes_on: true, ..ScriptActor::default() }
    };
    script(name, backend, history.meta.actors.iter().map(actor).collect())
}

/// What an actor is called.
pub fn actor_name(id: ActorId, role: Role) -> String {
    let word = match role {
        Role::Worker => "task",
        Role::Bystander => "bystander",
        Role::Antagonist => "antagonist",
    };
    format!("{word} {id}")
}

/// The same of an execution that did not come to its end, and left no history.
fn nameless(name: &str, backend: Backend, execution: &Execution) -> Script {
    let mut steps: BTreeMap<usize, usize> = BTreeMap::new();
    for event in execution.taken.iter().flat_map(|taken| &taken.events) {
        let known = steps.entry(event.actor).or_default();
        *known = (*known).max(event.step + 1);
    }
    let actors = 0..steps.keys().max().map_or(0, |last| last + 1);
    let actor = |actor: usize| {
        let count = steps.get(&actor).copied().unwrap_or(0);
        let steps = (0..count).map(|number| step(number, format!("operation {}", number + 1))).collect();
        ScriptActor { name: format!("actor {actor}"), steps, goes_on: true, ..ScriptActor::default() }
    };
    script(name, backend, actors.map(actor).collect())
}

fn step(number: usize, sql: String) -> ScriptStep {
    ScriptStep { name: (number + 1).to_string(), sql, ..ScriptStep::default() }
}

fn script(name: &str, backend: Backend, actors: Vec<ScriptActor>) -> Script {
    let case =
        ScriptCase { name: name.to_owned(), backend, begin: "BEGIN".to_owned(), violates: None, set: BTreeMap::new() };
    Script {
        name: ENGINE.to_owned(),
        summary: "what the engine did".to_owned(),
        setup: String::new(),
        actors,
        cases: vec![case],
        ..Script::default()
    }
}

/// The execution, with what each operation was answered.
fn told(mut execution: Execution, history: &History) -> Execution {
    let ids: Vec<ActorId> = history.meta.actors.keys().copied().collect();
    for Event { actor, step, what, .. } in execution.taken.iter_mut().flat_map(|taken| &mut taken.events) {
        if let What::Done(done) = what
            && let Some(entry) = operations(history, ids[*actor]).nth(*step)
        {
            done.rows = vec![vec![outcome::outcome(&entry.outcome)]];
        }
    }
    execution
}
