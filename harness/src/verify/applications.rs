//! Rounds of an application: its programs run freely at the same time, many times over, and each end is judged by the
//! rules of `explore`.
//!
//! Each round begins with an arranged contention ([`AppWorld::run_freely`]): whoever is the first about to commit what it
//! has written or locked is held until the others wait, or have come as far as they can. Where programs commit several
//! times, each of these COMMITs has its turn. A program that commits each
//! statement by itself cannot be held in that way; its rounds meet by luck.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use super::rounds::{FoundRound, Moved, Options, Rounds, pause, taken};
use crate::actor::script::{Answer, Pass, Ran};
use crate::clock::Clock;
use crate::explore::application::rules::{AppRules, Shown, confirm};
use crate::explore::application::{AppWorld, FreeRun, Opening, Passed};
use crate::explore::case::compare_serial_runs;
use crate::explore::judge::Rules as _;
use crate::explore::search::Execution;
use crate::explore::world::{Choice, Lost, What, machine_held};
use crate::scenario::application::Application;
use crate::scenario::script::{Progress, Returned};

/// Of how many actors outcomes are compared with serial orders: there are six of three, each a run of all programs.
const SERIAL_ACTORS_MAX: usize = 3;
/// How many pauses are drawn for an actor; its units after these have none.
const PAUSES: usize = 256;

/// Runs rounds, until one shows the expected violation, or any if none is expected. `counted` is told how many there were.
///
/// Cancellation: the world must then be dropped.
///
/// # Errors
/// The database is lost, a program makes no sense even by itself, or neither goes on nor ends.
pub async fn run(
    world: &mut AppWorld,
    app: &Arc<Application>,
    options: Options,
    counted: &AtomicU64,
) -> Result<Rounds, Lost> {
    let (clock, expected) = (Clock::start(), app.violates.as_deref());
    let mut rules = AppRules::new(app, world).comparing(SERIAL_ACTORS_MAX);
    // What a program does by itself, and which values differ by themselves. That the same order may take another course
    // is no matter here: only ends are compared.
    let _ = compare_serial_runs(world, &mut rules, expected).await?;
    let queries = rules.queries();
    let (mut outcomes, mut wrote) = (BTreeSet::new(), false);
    let mut all = Rounds { arranged: Some(0), ..Rounds::none() };
    while all.rounds < options.rounds {
        let seed = options.seed.wrapping_add(all.rounds);
        all.rounds += 1;
        let run = world.run_freely(opening(app, seed, world.commits_max()), &queries).await?;
        let history = history(&run);
        machine_held(history.iter().map(|moved| &moved.ran.answer.what))?;
        let execution = Execution { taken: history.iter().map(taken).collect(), ended: run.ended.clone() };
        let waited = history.iter().any(|moved| moved.waited.is_some());
        all.arranged = all.arranged.map(|rounds| rounds + u64::from(run.arranged));
        all.overlapped += u64::from(waited || run.arranged || has_overlapped(app, &history));
        all.waited += u64::from(waited);
        wrote |= run.wrote;
        all.refused += u64::from(history.iter().any(|moved| matches!(moved.ran.answer.what, What::Failed { .. })));
        outcomes.insert(execution.outcome(&rules.left_out()));
        rules.see(&execution);
        let wrong = rules.wrong(world, &execution).await?;
        let ends = wrong.iter().any(|(check, _)| expected.is_none_or(|expected| expected == check));
        for (check, sentence) in wrong {
            let history = with_rows(&history, &run.units);
            let (number, script, outputs) = (all.rounds, Some(run.script.clone()), run.outputs.clone());
            all.add(FoundRound { check, sentence, number, seed, history, script, outputs, again: None });
        }
        counted.store(all.rounds, Ordering::Relaxed);
        if ends {
            break;
        }
    }
    all.found.sort_by_key(|found| Some(found.check.as_str()) != expected);
    for found in &mut all.found {
        found.again = again(world, &mut rules, found).await.map(Box::new);
    }
    let is_compared = app.serial && app.actors.len() <= SERIAL_ACTORS_MAX;
    all.not_compared = if is_compared { rules.not_compared() } else { Vec::new() };
    let idle = (!wrote).then(|| "no actor was seen to change a row or to hold a lock".to_owned());
    all.says_nothing = rules.says_nothing().or(idle).or_else(|| not_judged(app));
    (all.outcomes, all.took) = (outcomes.len(), clock.elapsed());
    Ok(all)
}

/// Runs the units of a round once more in the order in which they were sent, one at a time: the violation, if that is all
/// it takes. Where even that cannot be done, what was found stands all the same.
async fn again(world: &mut AppWorld, rules: &mut AppRules, found: &FoundRound) -> Option<Shown> {
    let order: Vec<Choice> = found.history.iter().map(|moved| moved.actor.into()).collect();
    let shown = confirm(world, rules, &order, &found.check).await.ok()?;
    (shown.found.check == found.check).then_some(shown)
}

/// Why there is nothing that an outcome was held against, if so.
fn not_judged(app: &Application) -> Option<String> {
    (app.serial && app.actors.len() > SERIAL_ACTORS_MAX).then(|| {
        let asked = if app.invariants.is_empty() { "there is no invariant" } else { "`serial = true` is asked for" };
        format!("{asked}, and of more than {SERIAL_ACTORS_MAX} actors outcomes are not compared with serial orders")
    })
}

/// How the round of a seed begins: who goes first takes turns, then which of `commits` is held.
fn opening(app: &Application, seed: u64, commits: usize) -> Opening {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let pauses = app.actors.iter().map(|_| (0..PAUSES).map(|_| pause(&mut rng)).collect()).collect();
    let turn = |of: u64, among: usize| usize::try_from(of % among.max(1) as u64).unwrap_or_default();
    let actors = app.actors.len();
    Opening { pauses, first: turn(seed, actors), commit: turn(seed / actors.max(1) as u64, commits) }
}

/// Every unit of a round, in the order in which they went to the server.
fn history(run: &FreeRun) -> Vec<Moved> {
    let moved = |unit: &Passed| {
        let Passed { actor, step, begun, ended, what, waited_for, held, .. } = unit;
        let held = held
            .filter(|held| held.as_millis() > 0)
            .map(|held| format!("driftlock held it for {} ms before", held.as_millis()));
        let notices = held.into_iter().collect();
        let answer = Answer { what: what.clone(), returned: Returned::default(), notices, waited: None };
        let sql = run.script.actors[*actor].steps[*step].sql.clone();
        let ran = Ran { step: *step, sql, begun: *begun, ended: ended.unwrap_or(run.took), answer };
        let waited = (!waited_for.is_empty()).then(|| waited_for.iter().copied().collect());
        Moved { actor: *actor, ran, waited }
    };
    run.units.iter().map(moved).collect()
}

/// The same with the first rows of each answer, for people.
fn with_rows(history: &[Moved], units: &[Passed]) -> Vec<Moved> {
    let mut history = history.to_vec();
    for (moved, unit) in history.iter_mut().zip(units) {
        if let What::Done(done) = &mut moved.ran.answer.what {
            done.rows.clone_from(&unit.rows);
        }
    }
    history
}

/// Whether two actors were under way at the same time for certain: both had an answer, and were still to send something.
fn has_overlapped(app: &Application, history: &[Moved]) -> bool {
    let ran = |actor: usize| history.iter().filter(move |moved| moved.actor == actor).map(|moved| moved.ran.clone());
    let pass = |actor: usize| Pass { ran: ran(actor).collect(), flight: None, progress: Progress::default() };
    let passes: Vec<Pass> = (0..app.actors.len()).map(pass).collect();
    let mut pairs = passes.iter().enumerate().flat_map(|(at, one)| passes[..at].iter().map(move |other| (one, other)));
    pairs.any(|(one, other)| one.overlaps(other))
}
