//! Steps that run at the same time, many times over: races inside two statements, which no order of
//! whole statements shows. However often nothing comes of it, that is a bound and no proof.

use std::sync::atomic::Ordering;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::case::Options;
use super::judge::{Found, Judge, Rules as _};
use super::postgres::PgWorld;
use super::postgres::overlap::{Flight, Together};
use super::rules::{ScriptRules, queries};
use super::search::{Execution, Visitor, choices};
use super::world::{Lost, Taken, World};
use crate::scenario::script::{Overlap, Script};

/// How often a pair is to have met, if more tries can bring that about: this many times those that it has.
const MET_MIN: u64 = 10;
const MORE: u64 = 10;

/// What came of a pair of steps.
#[derive(Clone, Debug)]
pub struct Overlapped {
    /// Which pair: ACTOR.STEP.
    pub names: [String; 2],
    /// In how many executions both were to run at the same time.
    pub tries: u64,
    /// In how many both were sent together: neither waited for the other before.
    pub together: u64,
    /// In how many of these the server worked on both at once, by its own clock.
    pub in_flight: u64,
    /// What ended it before all tries, if anything did.
    pub stopped: Option<String>,
    /// The violations, one a check.
    pub found: Vec<FoundTogether>,
}

/// A violation in whose execution two steps were sent together.
#[derive(Clone, Debug)]
pub struct FoundTogether {
    /// The violation.
    pub found: Found,
    /// Which of the steps taken were sent together: this one and the next.
    pub at: usize,
    /// When the server worked on each.
    pub flights: [Flight; 2],
    /// In which try, from 1.
    pub number: u64,
}

impl Overlapped {
    /// The pair, and how often it was seen.
    pub fn evidence(&self) -> String {
        let [first, second] = &self.names;
        let stopped = self.stopped.as_ref().map(|why| format!(", stopped {why}")).unwrap_or_default();
        format!(
            "{first} and {second} were sent together in {} of {} executions, and the server worked on both at once in \
             {}{stopped}",
            self.together, self.tries, self.in_flight
        )
    }
}

/// Runs each pair at the same time, as often as it says; whatever comes before and after is in an order
/// drawn anew each time.
///
/// # Errors
/// The server is lost, or a query of the script fails.
pub async fn overlap(
    world: &mut PgWorld,
    rules: ScriptRules<'_>,
    script: &Script,
    expected: Option<&str>,
    pairs: &[Overlap],
    options: &Options,
) -> Result<Vec<Overlapped>, Lost> {
    let mut judge = Judge::new(rules, options.limit, options.all, expected);
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut all = Vec::new();
    for pair in pairs {
        let mut of = Overlapped {
            names: pair.steps.map(|step| script.name_of(step)),
            tries: 0,
            together: 0,
            in_flight: 0,
            stopped: None,
            found: Vec::new(),
        };
        while of.tries < pair.tries || wants_more(&of, pair) {
            of.stopped = Visitor::<PgWorld>::is_over(&judge, of.tries);
            if of.stopped.is_some() {
                break;
            }
            of.tries += 1;
            options.executions.fetch_add(1, Ordering::Relaxed);
            let (execution, together) = attempt(world, script, pair, &mut rng).await?;
            let Some((at, together)) = together else { continue };
            of.together += 1;
            of.in_flight += u64::from(together.in_flight());
            let wrong = judge.rules.wrong(world, &execution).await?;
            let ends = wrong.iter().any(|(check, _)| expected.is_none_or(|expected| expected == check));
            for (check, sentence) in wrong {
                if !of.found.iter().any(|known| known.found.check == check) {
                    let found = Found { check, sentence, execution: execution.clone(), serial: None };
                    of.found.push(FoundTogether { found, at, flights: together.flights, number: of.tries });
                }
            }
            if ends && !options.all {
                break;
            }
        }
        of.found.sort_by_key(|found| Some(found.found.check.as_str()) != expected);
        all.push(of);
    }
    Ok(all)
}

/// Whether the pair has hardly met, and may in more tries than it was to have: on a busy machine one is
/// often done before the other is begun.
fn wants_more(of: &Overlapped, pair: &Overlap) -> bool {
    of.together > 0 && of.in_flight < MET_MIN.min(pair.tries) && of.tries < pair.tries.saturating_mul(MORE)
}

/// One execution in which the pair is sent together, if neither has to wait for the other before.
async fn attempt(
    world: &mut PgWorld,
    script: &Script,
    pair: &Overlap,
    rng: &mut ChaCha8Rng,
) -> Result<(Execution, Option<(usize, Together)>), Lost> {
    world.reset().await?;
    let mut taken: Vec<Taken> = Vec::new();
    let mut together = None;
    let mut actors = pair.steps.map(|(actor, _)| actor);
    actors.shuffle(rng);
    loop {
        let enabled = choices(world, &taken);
        let next = |actor: usize| taken.iter().filter(|taken| taken.actor == actor).count();
        let stands = |actor: &usize| together.is_none() && pair.steps.contains(&(*actor, next(*actor)));
        if actors.iter().all(|actor| enabled.contains(actor) && stands(actor)) {
            let both = world.take_together(actors).await?;
            let at = taken.len();
            taken.extend(both.taken.clone());
            together = Some((at, both));
            continue;
        }
        // Whoever has come to its step waits for the other as long as somebody else can go on.
        let others: Vec<usize> = enabled.iter().copied().filter(|actor| !stands(actor)).collect();
        let Some(actor) = others.choose(rng).or_else(|| enabled.choose(rng)).copied() else { break };
        taken.push(world.step(actor.into(), None).await?);
    }
    let ended = world.finish(&queries(script)).await?;
    Ok((Execution { taken, ended }, together))
}
