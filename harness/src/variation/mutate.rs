//! Takes each defence of a script away, and explores what is left: does any check notice?

use std::collections::BTreeSet;
use std::sync::Arc;

use super::defences::{Defence, defences, without};
use super::{Explorer, Refused, Seen, Serially, Variation, with_rows};
use crate::explore::case::Options;
use crate::explore::judge::Found;
use crate::explore::search::Coverage;
use crate::outcome::VerdictKind;
use crate::scenario::script::{ERRORS, NamedQuery, SERIAL, Script, ScriptCase};

/// The most pairs of defences that are taken away together.
const PAIRS_MAX: usize = 28;

/// What becomes of a script without one of its defences.
#[derive(Clone, Debug)]
pub enum Fate {
    /// A check is violated.
    Killed(Found),
    /// No check is violated, but one is as soon as this one is taken away too: each covers for the other.
    Covered {
        /// The other one.
        by: String,
        /// What is violated without both.
        found: Found,
    },
    /// It is not needed here: without it, too, every order comes to what some serial order comes to, and nobody is
    /// refused who was not before.
    Harmless,
    /// No check notices.
    Survived {
        /// What happens, that a check could have noticed, where that is known.
        why: String,
        /// The order that shows it.
        found: Option<Found>,
    },
    /// There is no answer.
    Undecided(String),
}

/// A script without one of its defences, and what became of it.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The script.
    pub variation: Variation,
    /// What became of it.
    pub fate: Fate,
    /// How often what was changed was run, over all executions.
    pub executed: u64,
    /// Complete executions.
    pub executions: u64,
}

/// What came of a script's mutants.
#[derive(Clone, Debug)]
pub enum Mutated {
    /// The script as it is does not pass, so nothing can be learned by breaking it.
    Unfit {
        /// Its own verdict.
        verdict: VerdictKind,
        /// What it says.
        evidence: String,
        /// What is violated.
        found: Vec<Found>,
    },
    /// Each defence, taken away.
    Mutants {
        /// What is said of the script as it is.
        evidence: String,
        /// The mutants; none, where no defence was found.
        mutants: Vec<Mutant>,
    },
}

/// Takes each defence of a script away, alone, then in pairs where no check noticed.
///
/// Cancellation: the explorer must then be dropped.
///
/// # Errors
/// The database is lost.
pub async fn mutate<E: Explorer>(
    explorer: &mut E,
    script: &Arc<Script>,
    case: &ScriptCase,
    options: &Options,
) -> Result<Result<Mutated, Refused>, E::Error> {
    let whole = match explorer.explore(script, case, options).await? {
        Ok(whole) => whole,
        Err(refused) => return Ok(Err(refused)),
    };
    let (verdict, evidence) = whole.explored.verdict(None, script.actors.len(), options.strategy);
    if verdict != VerdictKind::Pass {
        let found = whole.explored.found;
        return Ok(Ok(Mutated::Unfit { verdict, evidence, found }));
    }
    let catalog = match explorer.catalog(script, case).await? {
        Ok(catalog) => catalog,
        Err(refused) => return Ok(Err(refused)),
    };
    let defences = defences(script, case, &catalog);
    let mut mutants = Vec::new();
    for defence in &defences {
        mutants.push(taken_away(explorer, without(script, case, &[defence]), options).await?);
    }
    pairs(explorer, script, case, options, &defences, &mut mutants).await?;
    let mut compared = Compared { script, case, options, rows: &catalog.rows, whole: &whole, by_itself: None };
    for mutant in &mut mutants {
        if let Fate::Survived { .. } = mutant.fate {
            mutant.fate = compared.judge(explorer, &mutant.variation).await?;
        }
    }
    Ok(Ok(Mutated::Mutants { evidence, mutants }))
}

async fn taken_away<E: Explorer>(
    explorer: &mut E,
    variation: Variation,
    options: &Options,
) -> Result<Mutant, E::Error> {
    let seen = match explorer.explore(&variation.script, &variation.case, options).await? {
        Ok(seen) => seen,
        Err(Refused(why)) => {
            let fate = Fate::Undecided(format!("it cannot be taken away by itself: {why}"));
            return Ok(Mutant { variation, fate, executed: 0, executions: 0 });
        }
    };
    let executions = seen.explored.searched.executions;
    let executed = match variation.altered[..] {
        [] => executions,
        _ => variation.altered.iter().filter_map(|step| seen.ran.get(step)).sum(),
    };
    let fate = match seen.explored.found.first() {
        Some(found) if cannot_run(found) => {
            Fate::Undecided(format!("it cannot be taken away by itself: {}", found.sentence))
        }
        Some(found) => Fate::Killed(found.clone()),
        None if executed == 0 => Fate::Undecided("what was changed never ran".to_owned()),
        None => match &seen.explored.searched.coverage {
            Coverage::Exhausted | Coverage::Bounded(_) => Fate::Survived { why: String::new(), found: None },
            Coverage::Stopped(why) => Fate::Undecided(format!("stopped {why}, before all orders were visited")),
            Coverage::Diverged(how) => Fate::Undecided(format!("diverged: {how}")),
        },
    };
    Ok(Mutant { variation, fate, executed, executions })
}

/// Whether a statement was refused for what it says, and not for what it met: that is no check that notices.
fn cannot_run(found: &Found) -> bool {
    let codes = ["42P10", "42601", "42703", "42883", "42P01", "0A000"];
    found.check == ERRORS && codes.iter().any(|code| found.sentence.ends_with(&format!("({code})")))
}

/// Takes two defences away where no check noticed that either was missing.
async fn pairs<E: Explorer>(
    explorer: &mut E,
    script: &Script,
    case: &ScriptCase,
    options: &Options,
    defences: &[Defence],
    mutants: &mut [Mutant],
) -> Result<(), E::Error> {
    let survived = |mutant: &Mutant| matches!(mutant.fate, Fate::Survived { .. });
    let all: Vec<usize> = (0..mutants.len()).filter(|number| survived(&mutants[*number])).collect();
    let pairs =
        all.iter().flat_map(|one| all.iter().filter(move |other| one < *other).map(move |other| (*one, *other)));
    for (one, other) in pairs.take(PAIRS_MAX) {
        if !survived(&mutants[one]) && !survived(&mutants[other]) {
            continue;
        }
        let both = taken_away(explorer, without(script, case, &[&defences[one], &defences[other]]), options).await?;
        if let Fate::Killed(found) = both.fate {
            for (number, by) in [(one, other), (other, one)] {
                if survived(&mutants[number]) {
                    mutants[number].fate = Fate::Covered { by: defences[by].name.clone(), found: found.clone() };
                }
            }
        }
    }
    Ok(())
}

/// What is known of a script, to tell whether something is missing without one of its defences.
struct Compared<'a> {
    script: &'a Arc<Script>,
    case: &'a ScriptCase,
    options: &'a Options,
    /// What is compared.
    rows: &'a [NamedQuery],
    whole: &'a Seen,
    /// What the script as it is comes to with nothing concurrent, if every order comes to one of these; if not, how that
    /// is known. It is looked for when the first mutant needs it.
    by_itself: Option<Result<BTreeSet<String>, String>>,
}

impl Compared<'_> {
    /// What the script as it is comes to; see [`Self::by_itself`].
    async fn by_itself<E: Explorer>(&mut self, explorer: &mut E) -> Result<Result<BTreeSet<String>, String>, E::Error> {
        if let Some(known) = &self.by_itself {
            return Ok(known.clone());
        }
        let seen = explorer.explore(&with_rows(self.script, self.rows), self.case, self.options).await?;
        let is_serial = seen.map_err(|Refused(why)| why).and_then(|seen| match seen.explored.found.first() {
            Some(found) => Err(found.sentence.clone()),
            None => is_exhausted(&seen).then_some(()).ok_or_else(|| "not all orders were visited".to_owned()),
        });
        let known = match is_serial {
            Ok(()) => {
                let runs = explorer.serially(self.script, self.case, self.rows).await?;
                runs.map(|runs| states(&runs)).map_err(|Refused(why)| why)
            }
            Err(why) => Err(why),
        };
        Ok(self.by_itself.insert(known).clone())
    }

    /// Whether a mutant that no check notices differs from what the script is, in anything that could be noticed.
    async fn judge<E: Explorer>(&mut self, explorer: &mut E, variation: &Variation) -> Result<Fate, E::Error> {
        let survived = |why: String, found| Fate::Survived { why, found };
        let before = match self.by_itself(explorer).await? {
            Ok(states) => states,
            // What is no serial order's even so says nothing of what is missing.
            Err(why) => {
                let why =
                    format!("nor do serial orders tell, for the script as it is does not always come to one's: {why}");
                return Ok(survived(why, None));
            }
        };
        let script = with_rows(&variation.script, self.rows);
        let seen = match explorer.explore(&script, &variation.case, self.options).await? {
            Ok(seen) => seen,
            Err(Refused(why)) => return Ok(Fate::Undecided(why)),
        };
        if let Some(found) = seen.explored.found.iter().find(|found| found.check == SERIAL) {
            let why = format!("no check notices that {}", found.sentence);
            return Ok(survived(why, Some(found.clone())));
        }
        // What it comes to by itself must be what it came to before.
        let after = match explorer.serially(&variation.script, &variation.case, self.rows).await? {
            Ok(after) => states(&after),
            Err(Refused(why)) => return Ok(Fate::Undecided(why)),
        };
        if let Some(state) = after.difference(&before).next() {
            let why =
                format!("no check notices that with nothing concurrent it comes to {state}, as it never did before");
            return Ok(survived(why, None));
        }
        // Whoever no longer begins anew gives up.
        let gives_up =
            self.script.actors.iter().zip(&variation.script.actors).any(|(was, is)| is.retries < was.retries);
        if let Some((step, code, _)) = seen.explored.refused.first().filter(|_| gives_up) {
            return Ok(survived(
                format!("no check notices that whoever is refused ({step}: {code}) now gives up"),
                None,
            ));
        }
        let names = |seen: &Seen| -> Vec<(String, String)> {
            seen.explored.refused.iter().map(|(step, code, _)| (step.clone(), code.clone())).collect()
        };
        let before = names(self.whole);
        if let Some((step, code)) = names(&seen).into_iter().find(|refusal| !before.contains(refusal)) {
            return Ok(survived(format!("no check notices that {step} is now refused with {code}"), None));
        }
        if !is_exhausted(&seen) {
            let why = "not all orders were visited, so whether it is needed cannot be said";
            return Ok(survived(why.to_owned(), None));
        }
        Ok(Fate::Harmless)
    }
}

/// What runs came to, each once.
pub(super) fn states(runs: &[Serially]) -> BTreeSet<String> {
    runs.iter().map(|run| run.state.clone()).collect()
}

fn is_exhausted(seen: &Seen) -> bool {
    seen.explored.searched.coverage == Coverage::Exhausted
}
