//! Rounds of a script: its actors run freely at the same time, many times over, and each end is judged. Those of an
//! application are [`super::applications`], and come to the same.
//!
//! Nobody holds anybody back, so what comes of a round is the database's doing, and chance. A
//! violation is real; its absence is what was seen, and an expected one that did not come is no answer:
//! `explore` visits the orders.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::try_join_all;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::actor::script::{Pass, Ran, Session, run as run_actor};
use crate::clock::Clock;
use crate::explore::application::rules::Shown;
use crate::explore::captured::Types;
use crate::explore::footprint::Footprint;
use crate::explore::judge::Rules as _;
use crate::explore::rules::{ScriptRules, permutations, queries};
use crate::explore::search::Execution;
use crate::explore::world::{Event, Lost, Taken, What, World, machine_held};
use crate::outcome::VerdictKind;
use crate::scenario::script::{Script, ScriptCase, fill_queries};

/// The longest pause before a step.
const PAUSE_MAX: Duration = Duration::from_millis(3);

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many rounds.
    pub rounds: u64,
    /// The seed of the first round's pauses; each further round has the next one.
    pub seed: u64,
}

/// What came of the rounds.
#[derive(Clone, Debug)]
pub struct Rounds {
    /// How many there were.
    pub rounds: u64,
    /// In how many two actors were under way at the same time for certain.
    pub overlapped: u64,
    /// In how many of these that was arranged: an actor was held before its COMMIT until the others had come as far as
    /// they could. Nothing where that is not tried.
    pub arranged: Option<u64>,
    /// In how many a step was seen to wait for another actor, by the server's word.
    pub waited: u64,
    /// In how many a step was refused.
    pub refused: u64,
    /// How many different outcomes there were.
    pub outcomes: usize,
    /// What is not compared with serial orders, for it differs by itself.
    pub not_compared: Vec<String>,
    /// Why finding nothing would say nothing, if so.
    pub says_nothing: Option<String>,
    /// The violations, one a check; the expected one first.
    pub found: Vec<FoundRound>,
    /// How long it took.
    pub took: Duration,
}

/// A violation, and the round that came to it.
#[derive(Clone, Debug)]
pub struct FoundRound {
    /// What was violated.
    pub check: String,
    /// How, in a sentence.
    pub sentence: String,
    /// The round's number, from 1.
    pub number: u64,
    /// The seed of its pauses.
    pub seed: u64,
    /// Every step, in the order in which they were sent.
    pub history: Vec<Moved>,
    /// The steps as a script, where no file says them: those of programs.
    pub script: Option<Script>,
    /// What the programs have printed.
    pub outputs: Vec<(String, String)>,
    /// The same violation, where programs come to it again when their steps go in that order, one at a time.
    pub again: Option<Box<Shown>>,
}

/// One actor's step.
#[derive(Clone, Debug)]
pub struct Moved {
    /// Whose.
    pub actor: usize,
    /// What it did.
    pub ran: Ran,
    /// For which actors it was seen to wait, as far as the server says; none at all if it was not.
    pub waited: Option<Vec<usize>>,
}

impl Rounds {
    /// No rounds yet.
    pub(super) fn none() -> Self {
        Self {
            rounds: 0,
            overlapped: 0,
            arranged: None,
            waited: 0,
            refused: 0,
            outcomes: 0,
            not_compared: Vec::new(),
            says_nothing: None,
            found: Vec::new(),
            took: Duration::ZERO,
        }
    }

    /// The verdict, and the sentence that shows it; `violates` is the check that is expected to be violated.
    pub fn verdict(&self, violates: Option<&str>) -> (VerdictKind, String) {
        if let Some(found) = self.found.first() {
            return (VerdictKind::Violation, format!("{}: {}, in round {}", found.check, found.sentence, found.number));
        }
        let evidence = self.evidence();
        if self.overlapped == 0 {
            return (
                VerdictKind::Inconclusive,
                format!("no two actors were ever under way at the same time ({evidence})"),
            );
        }
        match violates {
            Some(check) => {
                let why = format!(
                    "{check} was not violated, which proves nothing: a free run visits the orders that come; `driftlock explore` visits all that matter"
                );
                (VerdictKind::Inconclusive, format!("{why} ({evidence})"))
            }
            None => match &self.says_nothing {
                Some(why) => (VerdictKind::Inconclusive, format!("{why} ({evidence})")),
                None => (VerdictKind::Pass, evidence),
            },
        }
    }

    /// What was seen, in numbers.
    fn evidence(&self) -> String {
        let Self { rounds, overlapped, waited, refused, outcomes, .. } = self;
        let arranged = self.arranged.map_or(String::new(), |arranged| {
            format!(" (arranged in {arranged}, by luck in {})", overlapped.saturating_sub(arranged))
        });
        let not_compared = match &self.not_compared[..] {
            [] => String::new(),
            parts => format!("; not compared, for it differs by itself: {}", parts.join(", ")),
        };
        format!(
            "{rounds} rounds; in {overlapped} of them actors were under way at the same time{arranged}, in {waited} a \
             step waited for another actor, in {refused} one was refused; outcomes: {outcomes}{not_compared}"
        )
    }

    /// Whether it is what is expected.
    pub fn is_met(&self, violates: Option<&str>) -> bool {
        match violates {
            Some(check) => self.found.iter().any(|found| found.check == check),
            None => self.verdict(None).0 == VerdictKind::Pass,
        }
    }

    /// Adds a violation, unless one of its check is known.
    pub(super) fn add(&mut self, found: FoundRound) {
        if !self.found.iter().any(|known| known.check == found.check) {
            self.found.push(found);
        }
    }
}

/// Runs rounds, until one shows the expected violation, or any if none is expected. The world puts the
/// rows back and asks for the end; the sessions, one an actor, are its database's.
///
/// Cancellation: world and sessions must then be dropped.
///
/// # Errors
/// The database is lost, a step does not come to an end, or a query of the script fails.
pub async fn run<W: World, S: Session>(
    world: &mut W,
    sessions: &mut [S],
    script: &Script,
    case: &ScriptCase,
    options: Options,
) -> Result<Rounds, Lost> {
    let (clock, asked, mut made) = (Clock::start(), queries(script), world.made());
    let (expected, types) = (case.violates.as_deref(), world.types());
    let mut rules = ScriptRules::new(script, case);
    let mut outcomes = BTreeMap::new();
    let mut all = Rounds::none();
    while all.rounds < options.rounds {
        let seed = options.seed.wrapping_add(all.rounds);
        all.rounds += 1;
        reset(world, sessions, &mut made).await?;
        let passes = round(sessions, (script, case, &types), seed, &clock).await?;
        let history = history(sessions, &passes);
        let ended = world.finish(&filled(&asked, script, &passes)).await?;
        machine_held(history.iter().map(|moved| &moved.ran.answer.what))?;
        let execution = Execution { taken: history.iter().map(taken).collect(), ended };
        let waited = history.iter().any(|moved| moved.waited.is_some());
        let overlaps = |(at, pass): (usize, &Pass)| passes[..at].iter().any(|other| pass.overlaps(other));
        all.overlapped += u64::from(waited || passes.iter().enumerate().any(overlaps));
        all.waited += u64::from(waited);
        all.refused += u64::from(history.iter().any(|moved| matches!(moved.ran.answer.what, What::Failed { .. })));
        *outcomes.entry(execution.outcome(&rules.volatile)).or_insert(0_u64) += 1;
        for actors in rules.unknown(&execution) {
            let mut states = BTreeSet::new();
            for order in permutations(&actors.iter().copied().collect::<Vec<_>>()) {
                reset(world, sessions, &mut made).await?;
                let mut passes: Vec<Pass> = script.actors.iter().map(|_| Pass::default()).collect();
                for actor in order {
                    passes[actor] = once(&mut sessions[actor], (script, case, &types), actor, &[], &clock).await?;
                }
                states.insert(rules.state(&world.finish(&filled(&asked, script, &passes)).await?)?);
            }
            rules.learn(actors, states);
        }
        rules.effects.see(script, &execution);
        let wrong = rules.wrong(world, &execution).await?;
        let ends = wrong.iter().any(|(check, _)| expected.is_none_or(|expected| expected == check));
        for (check, sentence) in wrong {
            let (number, history) = (all.rounds, history.clone());
            all.add(FoundRound {
                check,
                sentence,
                number,
                seed,
                history,
                script: None,
                outputs: Vec::new(),
                again: None,
            });
        }
        if ends {
            break;
        }
    }
    all.found.sort_by_key(|found| Some(found.check.as_str()) != expected);
    all.says_nothing = rules.nothing_said();
    (all.outcomes, all.took) = (outcomes.len(), clock.elapsed());
    Ok(all)
}

/// Queries with what the actors of a round have captured.
fn filled(queries: &[String], script: &Script, passes: &[Pass]) -> Vec<String> {
    fill_queries(queries, script, &passes.iter().map(|pass| &pass.progress).collect::<Vec<_>>())
}

/// Puts the state of the beginning back. Sessions on a database that was made anew for it are opened again.
async fn reset<W: World, S: Session>(world: &mut W, sessions: &mut [S], made: &mut u64) -> Result<(), Lost> {
    for session in &mut *sessions {
        session.renew().await?;
    }
    world.reset().await?;
    if world.made() != *made {
        *made = world.made();
        for session in sessions {
            session.reopen().await?;
        }
    }
    Ok(())
}

/// One actor runs once, and leaves nothing that could keep others waiting, as a program that ends does.
async fn once<S: Session>(
    session: &mut S,
    of: (&Script, &ScriptCase, &Types),
    actor: usize,
    pauses: &[Duration],
    clock: &Clock,
) -> Result<Pass, Lost> {
    let pass = run_actor(session, of, actor, pauses, clock).await?;
    session.renew().await?;
    Ok(pass)
}

/// One round: every actor runs once.
async fn round<S: Session>(
    sessions: &mut [S],
    of: (&Script, &ScriptCase, &Types),
    seed: u64,
    clock: &Clock,
) -> Result<Vec<Pass>, Lost> {
    let script = of.0;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let pauses: Vec<Vec<Duration>> =
        script.actors.iter().map(|actor| actor.steps.iter().map(|_| pause(&mut rng)).collect()).collect();
    let mut passes: Vec<Option<Pass>> = script.actors.iter().map(|_| None).collect();
    for last in [false, true] {
        let runs = sessions.iter_mut().enumerate().zip(&pauses);
        let runs = runs.filter(|((actor, _), _)| script.actors[*actor].is_last == last);
        let runs = runs.map(|((actor, session), pauses)| async move {
            Ok::<_, Lost>((actor, once(session, of, actor, pauses, clock).await?))
        });
        for (actor, pass) in try_join_all(runs).await? {
            passes[actor] = Some(pass);
        }
    }
    Ok(passes.into_iter().flatten().collect())
}

/// Mostly none, so that actors meet.
pub(super) fn pause(rng: &mut ChaCha8Rng) -> Duration {
    if rng.random_bool(0.75) { Duration::ZERO } else { rng.random_range(Duration::ZERO..=PAUSE_MAX) }
}

/// Every step of a round, in the order in which they were sent.
fn history<S: Session>(sessions: &[S], passes: &[Pass]) -> Vec<Moved> {
    let numbers: Vec<Option<i32>> = sessions.iter().map(Session::number).collect();
    let moved = |actor: usize, ran: &Ran| {
        let waited = ran.answer.waited.as_ref().and_then(|by| {
            let is_named = |at: &usize| numbers[*at].is_some_and(|number| by.contains(&number));
            let named: Vec<usize> = (0..numbers.len()).filter(|at| *at != actor && is_named(at)).collect();
            // Where the server names those who are waited for, one of them is an actor.
            (by.is_empty() || !named.is_empty()).then_some(named)
        });
        Moved { actor, ran: ran.clone(), waited }
    };
    let all = passes.iter().enumerate();
    let mut history: Vec<Moved> =
        all.flat_map(|(actor, pass)| pass.ran.iter().map(|ran| moved(actor, ran)).collect::<Vec<_>>()).collect();
    history.sort_by_key(|moved| (moved.ran.begun, moved.actor, moved.ran.step));
    history
}

/// A step as `explore` knows it, to be judged in the same way.
pub(super) fn taken(moved: &Moved) -> Taken {
    let (actor, step) = (moved.actor, moved.ran.step);
    let events = vec![Event::new(actor, step, moved.ran.answer.what.clone())];
    let sql = moved.ran.sql.clone();
    Taken { sql, ..Taken::new(actor.into(), step, events, Footprint::everything(), false) }
}
