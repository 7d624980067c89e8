//! What every execution of an application is held to: its invariants, the exit codes or answers that are expected, that
//! what was committed remains, that nobody waits for ever, and, where it is asked for, that it comes to what some serial
//! order comes to. Of an actor for which something was let fail the exit code, or the answer, is nobody's fault.

mod places;
mod serial;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{AppWorld, transcript};
use crate::explore::course::Names;
use crate::explore::judge::{Found, Rules, run};
use crate::explore::repeated::repeated;
use crate::explore::rules::violated;
use crate::explore::search::{Execution, orders};
use crate::explore::volatile::Volatile;
use crate::explore::world::{Choice, Ended, Event, Lost, Rows, What, shown};
use crate::scenario::application::{AppActor, Application, Job};
use crate::scenario::script::{COMMITTED, REPEATED, SERIAL, STUCK, Script, ScriptCase};

/// The name under which it is reported that an actor ended otherwise than is expected.
pub const EXITS: &str = "exits";
/// Of how many actors all serial orders are run: there are 120 of five.
const SERIAL_ACTORS_MAX: usize = 5;
/// Up to how many orders are visited as they come.
const ORDERS_FEW: f64 = 1_000.0;
/// How often programs that stay may take another course, until they have done what they do once only.
const WARM_UPS_MAX: u32 = 6;
/// How many executions making a violation smaller may take: programs have to be started for each.
const SHRINKS_MAX: u32 = 30;
/// The most rows of a state that are shown.
const ROWS_SHOWN: usize = 6;

/// The rules of an application.
pub struct AppRules {
    app: Arc<Application>,
    /// What the answers after those of the invariants are about.
    tables: Vec<String>,
    queries: Vec<String>,
    volatile: Volatile,
    /// Of how many actors outcomes are compared with serial orders.
    serial_actors_max: usize,
    /// How these actors end one after the other, in every order of them.
    serial: BTreeMap<BTreeSet<usize>, Vec<Ended>>,
    /// Things are let fail.
    faults: bool,
    /// What was sent where nothing failed, by actor and number: each shape with one text.
    units: BTreeMap<(usize, usize), BTreeMap<String, String>>,
    /// The most steps that each actor took.
    steps: Vec<usize>,
    /// The steps that were refused, by SQLSTATE, each with how many executions had it.
    refused: BTreeMap<(usize, usize, String), u64>,
}

impl AppRules {
    /// Of this application in its world.
    pub fn new(app: &Arc<Application>, world: &AppWorld) -> Self {
        let differences = if app.serial { world.differences() } else { &[] };
        let invariants = app.invariants.iter().map(|query| query.sql.clone());
        let queries = invariants.chain(differences.iter().map(|query| query.sql.clone())).collect();
        Self {
            app: app.clone(),
            tables: differences.iter().map(|query| query.name.clone()).collect(),
            queries,
            volatile: Volatile::default(),
            serial_actors_max: SERIAL_ACTORS_MAX,
            serial: BTreeMap::new(),
            steps: vec![0; app.actors.len()],
            refused: BTreeMap::new(),
            faults: false,
            units: BTreeMap::new(),
        }
    }

    /// Things are let fail in this world. What a lost answer was about, done again, is seen by the rows of all tables.
    #[must_use]
    pub fn with_faults(self, world: &AppWorld) -> Self {
        let invariants = self.app.invariants.iter().map(|query| query.sql.clone());
        let queries = invariants.chain(world.differences().iter().map(|query| query.sql.clone())).collect();
        let tables = world.differences().iter().map(|query| query.name.clone()).collect();
        Self { queries, tables, faults: true, ..self }
    }

    /// Compares outcomes with serial orders only of so many actors.
    #[must_use]
    pub fn comparing(self, actors_max: usize) -> Self {
        Self { serial_actors_max: actors_max, ..self }
    }

    /// The refusals, by step and code, each with how many executions had it.
    pub fn refusals(&self) -> Vec<(String, String, u64)> {
        let name = |actor: usize, step: usize| format!("{}.{}", self.app.actors[actor].name, step + 1);
        self.refused.iter().map(|((actor, step, code), times)| (name(*actor, *step), code.clone(), *times)).collect()
    }

    /// What actors, steps and queries are called.
    pub fn names(&self) -> Names {
        let invariants = self.app.invariants.iter().map(|query| query.name.clone());
        let tables = self.tables.iter().map(|table| format!("changes of {table}"));
        Names {
            actors: self.app.actors.iter().map(|actor| actor.name.clone()).collect(),
            steps: Vec::new(),
            queries: invariants.chain(tables).chain(["how actors ended".to_owned()]).collect(),
        }
    }

    /// What is not compared, for it differs between two runs of the same serial order.
    pub fn not_compared(&self) -> Vec<String> {
        let (_, queries) = self.volatile.parts();
        let first = self.app.invariants.len();
        queries
            .map(|(query, column)| match query.checked_sub(first) {
                None => format!("column {} of {}", column + 1, self.app.invariants[*query].name),
                // The first column says whether a row was added or removed.
                Some(table) if table < self.tables.len() => format!("column {column} of {}", self.tables[table]),
                Some(_) => {
                    ["the names", "the exit codes", "the answers"].get(*column).copied().unwrap_or("").to_owned()
                }
            })
            .collect()
    }
}

/// The first rows.
fn some(rows: &Rows) -> String {
    let more = rows.len().saturating_sub(ROWS_SHOWN);
    let rows = shown(&rows[..rows.len().min(ROWS_SHOWN)].to_vec());
    if more > 0 { format!("{rows} and {more} more") } else { rows }
}

/// What is expected of an actor's end, and what has come instead.
fn unexpected(actor: &AppActor, world: &AppWorld, number: usize) -> Option<String> {
    let outcome = world.outcome(number).filter(|outcome| !outcome.met)?;
    let (name, code) = (&actor.name, outcome.code);
    let list = |codes: &[u32]| codes.iter().map(u32::to_string).collect::<Vec<_>>().join(" or ");
    let mut sentence = match &actor.job {
        Job::Http(_) if outcome.gone => format!("the request of {name} was not answered"),
        Job::Http(request) => {
            format!("the request of {name} was answered with {code}, where {} is expected", list(&request.expect))
        }
        Job::Run { exits, .. } | Job::Worker { exits, .. } => {
            format!("{name} ended with exit code {code}, where {} is expected", list(exits))
        }
        Job::Code(_) => format!("{name} failed"),
    };
    // Where there is no real code, what it printed says more than why.
    match (outcome.why.as_str(), world.last_lines(number)) {
        ("", last) if last.is_empty() => {}
        ("", last) => sentence.push_str(&format!(": {last}")),
        (why, last) if last.is_empty() => sentence.push_str(&format!(": {why}")),
        (why, last) => sentence.push_str(&format!(": {why}; it printed: {last}")),
    }
    Some(sentence)
}

impl Rules<AppWorld> for AppRules {
    fn queries(&self) -> Vec<String> {
        self.queries.clone()
    }

    async fn wrong(&mut self, world: &mut AppWorld, execution: &Execution) -> Result<Vec<(String, String)>, Lost> {
        let app = self.app.clone();
        let mut wrong = violated(&app.invariants, &execution.ended, some)?;
        let stuck = &execution.ended.stuck;
        if !stuck.is_empty() {
            let names: Vec<&str> = stuck.iter().map(|actor| app.actors[*actor].name.as_str()).collect();
            let what = match stuck[..] {
                [only] if world.is_struck(only) => "neither ends nor gets on",
                _ => "would wait for ever",
            };
            wrong.push((STUCK.to_owned(), format!("{} {what}", names.join(" and "))));
        }
        let (fault, struck) = (execution.fault(), execution.struck());
        for (number, actor) in app.actors.iter().enumerate() {
            // How it ends that something has failed is for its own to say.
            if struck.contains(&number) {
                continue;
            }
            if let Some(sentence) = unexpected(actor, world, number).filter(|_| !stuck.contains(&number)) {
                wrong.push((EXITS.to_owned(), sentence));
                break;
            }
        }
        if let Some((actor, _)) = world.lost.first() {
            let name = &app.actors[*actor].name;
            let sentence = format!(
                "the COMMIT of {name} was answered with ROLLBACK: its transaction had failed, and nothing of it remains"
            );
            wrong.push((COMMITTED.to_owned(), sentence));
        }
        // Of whom it was not expected that they end so, the outcome is no serial order's anyway.
        let has_failed = wrong.iter().any(|(check, _)| check == EXITS || check == COMMITTED);
        let own = self.own(world, execution);
        let repeated = fault.and_then(|_| repeated(&transcript::plain(&app, &world.transcript), execution));
        // Rows that nobody has asked to compare are compared for a repetition alone.
        let compares = app.serial || repeated.is_some();
        if !has_failed
            && compares
            && let Some(sentence) = self.differs(world, execution, own).await?
        {
            wrong.push((if app.serial { SERIAL } else { REPEATED }.to_owned(), sentence));
        }
        if let Some(repeated) = repeated {
            let is_of_rows = |check: &str| ![STUCK, EXITS, COMMITTED].contains(&check);
            for (_, sentence) in wrong.iter_mut().filter(|(check, _)| is_of_rows(check)) {
                *sentence = format!("{repeated}: {sentence}");
            }
        }
        Ok(wrong)
    }

    fn steps(&self) -> Vec<usize> {
        self.steps.clone()
    }

    fn expect(&mut self, execution: &Execution) {
        for event in execution.events() {
            self.steps[event.actor] = self.steps[event.actor].max(event.step + 1);
        }
    }

    fn looks_first(&self) -> bool {
        orders(&self.steps) > ORDERS_FEW
    }

    fn warm_ups(&self) -> u32 {
        WARM_UPS_MAX
    }

    fn shrinks_max(&self) -> u32 {
        SHRINKS_MAX
    }

    fn needs_all(&self, check: &str) -> bool {
        ![COMMITTED, STUCK, EXITS].contains(&check)
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
        self.expect(execution);
        self.note_units(execution);
        for event in execution.events() {
            match &event.what {
                What::Failed { code, .. } if event.fault.is_none() => {
                    *self.refused.entry((event.actor, event.step, code.clone())).or_default() += 1;
                }
                _ => {}
            }
        }
    }

    fn says_nothing(&self) -> Option<String> {
        match &self.app.actors[..] {
            [only] if !self.faults => {
                Some(format!("{} is the only actor, so nothing runs concurrently with it", only.name))
            }
            _ => None,
        }
    }

    fn mistake(&self, world: &AppWorld, execution: &Execution) -> Option<(usize, Lost)> {
        let spoke = |number: usize| execution.taken.iter().any(|taken| taken.actor == number);
        let taking_part = (0..self.app.actors.len()).filter(|number| world.takes_part(*number));
        taking_part.into_iter().find_map(|number| {
            let name = &self.app.actors[number].name;
            let why = match (world.outcome(number), unexpected(&self.app.actors[number], world, number)) {
                (None, _) => format!("{name} does not end, although nothing runs concurrently with it"),
                (_, Some(sentence)) => {
                    return Some((
                        number,
                        Lost::by_script(format!("{sentence} (in a run in which nothing runs concurrently with it)")),
                    ));
                }
                (Some(_), None) if !spoke(number) => {
                    format!("{name} ended and never connected to driftlock's URL: it was given DATABASE_URL and PG*")
                }
                _ => return None,
            };
            Some((number, Lost::by_script(why + &world.said(number))))
        })
    }
}

/// A violation that was run once more, with what is needed to show it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The units that were sent, as a script's steps.
    pub script: Script,
    /// A case for it.
    pub case: ScriptCase,
    /// The violation; its steps are told by counts, so that two runs can be compared.
    pub found: Found,
    /// The same with the rows that were read.
    pub with_rows: Execution,
    /// What the programs have printed.
    pub outputs: Vec<(String, String)>,
}

/// Runs an order again: a violation of `check`, or else of another check, or else [`Found::nothing`].
///
/// # Errors
/// The database is lost.
pub async fn confirm(world: &mut AppWorld, rules: &mut AppRules, order: &[Choice], check: &str) -> Result<Shown, Lost> {
    let execution = run(world, order, &rules.queries.clone()).await?;
    let outputs = world.outputs();
    let transcript = world.transcript.clone();
    let mut wrong = rules.wrong(world, &execution).await?;
    wrong.sort_by_key(|(violated, _)| violated != check);
    let script = transcript::script(&rules.app, &transcript);
    let case = script.cases[0].clone();
    let mut with_rows = execution.clone();
    for Event { actor, step, what, .. } in with_rows.taken.iter_mut().flat_map(|taken| &mut taken.events) {
        if let (What::Done(done), Some(shown)) = (what, transcript.get(&(*actor, *step))) {
            done.rows.clone_from(&shown.rows);
        }
    }
    let found = match wrong.into_iter().next() {
        Some((check, sentence)) => Found { check, sentence, execution, serial: None },
        None => Found::nothing(execution),
    };
    Ok(Shown { script, case, found, with_rows, outputs })
}
