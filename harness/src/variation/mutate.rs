//! Takes each defence of a job away, and explores what is left: does any check notice?

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use super::case::OfScript;
use super::defences::{Defence, defences, without};
use super::{Explorer, OnWire, Refused, Seen, Serially, Variation, with_rows};
use crate::explore::case::Options;
use crate::explore::judge::Found;
use crate::explore::search::Coverage;
use crate::outcome::VerdictKind;
use crate::scenario::script::{ERRORS, SERIAL, Script, ScriptCase};

/// The most pairs of defences that are taken away together.
const PAIRS_MAX: usize = 28;

/// What becomes of a job without one of its defences.
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

/// A job without one of its defences, and what became of it.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The job; of an application, what it has sent.
    pub variation: Variation,
    /// What became of it.
    pub fate: Fate,
    /// How often what was changed was run, over all executions.
    pub executed: u64,
    /// Complete executions.
    pub executions: u64,
}

/// What came of a job's mutants.
#[derive(Clone, Debug)]
pub enum Mutated {
    /// The job as it is does not pass, so nothing can be learned by breaking it.
    Unfit {
        /// Its own verdict.
        verdict: VerdictKind,
        /// What it says.
        evidence: String,
        /// What is violated.
        found: Vec<Found>,
        /// What was sent, as a script's steps, where that was not known beforehand.
        script: Option<Arc<Script>>,
    },
    /// Each defence, taken away.
    Mutants {
        /// What is said of the job as it is.
        evidence: String,
        /// The mutants; none, where no defence was found.
        mutants: Vec<Mutant>,
    },
}

/// A job of which defences can be taken away.
pub trait Subject: Send {
    /// Why a database cannot be used.
    type Error: Send;
    /// One of its defences.
    type Defence: Send + Sync;

    /// What a defence is called.
    fn name<'d>(&self, defence: &'d Self::Defence) -> &'d str;

    /// How many act in it.
    fn actors(&self) -> usize;

    /// What it is without these defences.
    fn without(&self, defences: &[&Self::Defence]) -> Variation;

    /// Whether somebody gives up in a variation who began anew before.
    fn gives_up(&self, variation: &Variation) -> bool;

    /// Explores it without these defences, or as it is; with `compared`, the rows of all tables are compared with those of
    /// serial orders.
    fn explore(
        &mut self,
        without: &[&Self::Defence],
        compared: bool,
        options: &Options,
    ) -> impl Future<Output = Result<Result<Looked, Refused>, Self::Error>> + Send;

    /// The states to which every serial order of it comes without these defences, up to a bound.
    fn serially(
        &mut self,
        without: &[&Self::Defence],
    ) -> impl Future<Output = Result<Result<BTreeSet<String>, Refused>, Self::Error>> + Send;

    /// All its defences. It has been explored as it is.
    fn defences(&mut self) -> impl Future<Output = Result<Result<Vec<Self::Defence>, Refused>, Self::Error>> + Send;
}

/// What was seen of a job.
#[derive(Clone, Debug)]
pub struct Looked {
    /// What came of it.
    pub seen: Seen,
    /// How often what was changed was run.
    pub executed: u64,
    /// What was sent, as a script's steps, where that was not known beforehand.
    pub script: Option<Arc<Script>>,
    /// What the database refused for what it says, and not for what it met.
    pub cannot_run: Option<String>,
    /// What should have been changed and could not be.
    pub left: Option<String>,
}

/// Codes with which a statement is refused for what it says.
const CANNOT_RUN: [&str; 9] = ["42P10", "42601", "42703", "42704", "42883", "42P01", "0A000", "42P18", "08P01"];

/// Whether a code means that a statement is refused for what it says, and not for what it met.
pub(super) fn cannot_run(code: &str) -> bool {
    CANNOT_RUN.contains(&code)
}

/// Takes each defence of a job away, alone, then in pairs where no check noticed.
///
/// Cancellation: the subject must then be dropped.
///
/// # Errors
/// The database is lost.
pub async fn mutate_subject<S: Subject>(
    subject: &mut S,
    options: &Options,
) -> Result<Result<Mutated, Refused>, S::Error> {
    let whole = match subject.explore(&[], false, options).await? {
        Ok(whole) => whole,
        Err(refused) => return Ok(Err(refused)),
    };
    let (verdict, evidence) = whole.seen.explored.verdict(None, subject.actors(), options.strategy);
    if verdict != VerdictKind::Pass {
        let (found, script) = (whole.seen.explored.found, whole.script);
        return Ok(Ok(Mutated::Unfit { verdict, evidence, found, script }));
    }
    let defences = match subject.defences().await? {
        Ok(defences) => defences,
        Err(refused) => return Ok(Err(refused)),
    };
    let mut mutants = Vec::new();
    for defence in &defences {
        mutants.push(taken_away(subject, &[defence], options).await?);
    }
    pairs(subject, options, &defences, &mut mutants).await?;
    let mut compared = Compared { options, whole: &whole.seen, by_itself: None };
    for (mutant, defence) in mutants.iter_mut().zip(&defences) {
        if let Fate::Survived { .. } = mutant.fate {
            mutant.fate = compared.judge(subject, defence, &mut mutant.variation).await?;
        }
    }
    Ok(Ok(Mutated::Mutants { evidence, mutants }))
}

async fn taken_away<S: Subject>(
    subject: &mut S,
    defences: &[&S::Defence],
    options: &Options,
) -> Result<Mutant, S::Error> {
    let mut variation = subject.without(defences);
    let Looked { seen, executed, script, cannot_run, left } = match subject.explore(defences, false, options).await? {
        Ok(looked) => looked,
        Err(Refused(why)) => {
            let fate = Fate::Undecided(format!("it cannot be taken away by itself: {why}"));
            return Ok(Mutant { variation, fate, executed: 0, executions: 0 });
        }
    };
    variation.script = script.unwrap_or(variation.script);
    let executions = seen.explored.searched.executions;
    let fate = match seen.explored.found.first() {
        _ if let Some(why) = cannot_run => Fate::Undecided(format!("it cannot be taken away by itself: {why}")),
        Some(found) => Fate::Killed(found.clone()),
        None if let Some(left) = left => Fate::Undecided(partly(&left)),
        None if executed == 0 => Fate::Undecided("what was changed never ran".to_owned()),
        None => match &seen.explored.searched.coverage {
            Coverage::Exhausted | Coverage::Bounded(_) => Fate::Survived { why: String::new(), found: None },
            Coverage::Stopped(why) => Fate::Undecided(format!("stopped {why}, before all orders were visited")),
            Coverage::Diverged(how) => Fate::Undecided(format!("diverged: {how}")),
        },
    };
    Ok(Mutant { variation, fate, executed, executions })
}

/// Takes two defences away where no check noticed that either was missing.
async fn pairs<S: Subject>(
    subject: &mut S,
    options: &Options,
    defences: &[S::Defence],
    mutants: &mut [Mutant],
) -> Result<(), S::Error> {
    let survived = |mutant: &Mutant| matches!(mutant.fate, Fate::Survived { .. });
    let all: Vec<usize> = (0..mutants.len()).filter(|number| survived(&mutants[*number])).collect();
    let pairs =
        all.iter().flat_map(|one| all.iter().filter(move |other| one < *other).map(move |other| (*one, *other)));
    for (one, other) in pairs.take(PAIRS_MAX) {
        if !survived(&mutants[one]) && !survived(&mutants[other]) {
            continue;
        }
        let both = taken_away(subject, &[&defences[one], &defences[other]], options).await?;
        if let Fate::Killed(found) = both.fate {
            for (number, by) in [(one, other), (other, one)] {
                if survived(&mutants[number]) {
                    let by = subject.name(&defences[by]).to_owned();
                    mutants[number].fate = Fate::Covered { by, found: found.clone() };
                }
            }
        }
    }
    Ok(())
}

/// What is known of a job, to tell whether something is missing without one of its defences.
struct Compared<'a> {
    options: &'a Options,
    whole: &'a Seen,
    /// What the job as it is comes to with nothing concurrent, if every order comes to one of these; if not, how that is
    /// known. It is looked for when the first mutant needs it.
    by_itself: Option<Result<BTreeSet<String>, String>>,
}

impl Compared<'_> {
    /// What the job as it is comes to; see [`Self::by_itself`].
    async fn by_itself<S: Subject>(&mut self, subject: &mut S) -> Result<Result<BTreeSet<String>, String>, S::Error> {
        if let Some(known) = &self.by_itself {
            return Ok(known.clone());
        }
        let looked = subject.explore(&[], true, self.options).await?;
        let is_serial =
            looked.map_err(|Refused(why)| why).and_then(|Looked { seen, .. }| match seen.explored.found.first() {
                Some(found) => Err(found.sentence.clone()),
                None => is_exhausted(&seen).then_some(()).ok_or_else(|| "not all orders were visited".to_owned()),
            });
        let known = match is_serial {
            Ok(()) => subject.serially(&[]).await?.map_err(|Refused(why)| why),
            Err(why) => Err(why),
        };
        Ok(self.by_itself.insert(known).clone())
    }

    /// Whether a mutant that no check notices differs from what the job is, in anything that could be noticed.
    async fn judge<S: Subject>(
        &mut self,
        subject: &mut S,
        defence: &S::Defence,
        variation: &mut Variation,
    ) -> Result<Fate, S::Error> {
        let survived = |why: String, found| Fate::Survived { why, found };
        let before = match self.by_itself(subject).await? {
            Ok(states) => states,
            // What is no serial order's even so says nothing of what is missing.
            Err(why) => {
                let why =
                    format!("nor do serial orders tell, for the job as it is does not always come to one's: {why}");
                return Ok(survived(why, None));
            }
        };
        let Looked { seen, script, left, .. } = match subject.explore(&[defence], true, self.options).await? {
            Ok(looked) => looked,
            Err(Refused(why)) => return Ok(Fate::Undecided(why)),
        };
        if let Some(found) = seen.explored.found.iter().find(|found| found.check == SERIAL) {
            if let Some(script) = script {
                variation.script = script;
            }
            let why = format!("no check notices that {}", found.sentence);
            return Ok(survived(why, Some(found.clone())));
        }
        // Other orders may be tried than before, so that something else may be met.
        if let Some(left) = left {
            return Ok(Fate::Undecided(partly(&left)));
        }
        // What it comes to by itself must be what it came to before.
        let after = match subject.serially(&[defence]).await? {
            Ok(after) => after,
            Err(Refused(why)) => return Ok(Fate::Undecided(why)),
        };
        if let Some(state) = after.difference(&before).next() {
            let why =
                format!("no check notices that with nothing concurrent it comes to {state}, as it never did before");
            return Ok(survived(why, None));
        }
        // Whoever no longer begins anew gives up.
        let gives_up = subject.gives_up(variation);
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

/// That something was still there when nothing was found.
fn partly(left: &str) -> String {
    format!("it was not taken away everywhere: {left}")
}

/// What runs came to, each once.
pub(super) fn states(runs: &[Serially]) -> BTreeSet<String> {
    runs.iter().map(|run| run.state.clone()).collect()
}

fn is_exhausted(seen: &Seen) -> bool {
    seen.explored.searched.coverage == Coverage::Exhausted
}

impl<E: Explorer> OfScript<'_, E> {
    /// The script and its case without these defences; as it is, where there are none.
    fn lacking(&self, without: &[&Defence]) -> Variation {
        let whole = || Variation {
            name: String::new(),
            script: self.script.clone(),
            case: self.case.clone(),
            altered: Vec::new(),
            statements: Vec::new(),
            on_wire: OnWire::default(),
        };
        if without.is_empty() { whole() } else { self.without(without) }
    }
}

impl<E: Explorer> Subject for OfScript<'_, E> {
    type Error = E::Error;
    type Defence = Defence;

    fn name<'d>(&self, defence: &'d Defence) -> &'d str {
        &defence.name
    }

    fn actors(&self) -> usize {
        self.script.actors.len()
    }

    fn without(&self, without_these: &[&Defence]) -> Variation {
        without(self.script, self.case, without_these)
    }

    fn gives_up(&self, variation: &Variation) -> bool {
        self.script.actors.iter().zip(&variation.script.actors).any(|(was, is)| is.retries < was.retries)
    }

    async fn explore(
        &mut self,
        without: &[&Defence],
        compared: bool,
        options: &Options,
    ) -> Result<Result<Looked, Refused>, E::Error> {
        let variation = self.lacking(without);
        let mut script = variation.script.clone();
        if compared {
            let catalog = match self.catalog().await? {
                Ok(catalog) => catalog,
                Err(refused) => return Ok(Err(refused)),
            };
            script = with_rows(&script, &catalog.rows);
        }
        let seen = match self.explorer.explore(&script, &variation.case, options).await? {
            Ok(seen) => seen,
            Err(refused) => return Ok(Err(refused)),
        };
        let executed = match variation.altered[..] {
            [] => seen.explored.searched.executions,
            _ => variation.altered.iter().filter_map(|step| seen.ran.get(step)).sum(),
        };
        let refused = seen.explored.found.first().filter(|found| {
            found.check == ERRORS && CANNOT_RUN.iter().any(|code| found.sentence.ends_with(&format!("({code})")))
        });
        let cannot_run = refused.map(|found| found.sentence.clone());
        Ok(Ok(Looked { seen, executed, script: None, cannot_run, left: None }))
    }

    async fn serially(&mut self, without: &[&Defence]) -> Result<Result<BTreeSet<String>, Refused>, E::Error> {
        let variation = self.lacking(without);
        let catalog = match self.catalog().await? {
            Ok(catalog) => catalog,
            Err(refused) => return Ok(Err(refused)),
        };
        let runs = self.explorer.serially(&variation.script, &variation.case, &catalog.rows).await?;
        Ok(runs.map(|runs| states(&runs)))
    }

    async fn defences(&mut self) -> Result<Result<Vec<Defence>, Refused>, E::Error> {
        let catalog = self.catalog().await?;
        Ok(catalog.map(|catalog| defences(self.script, self.case, &catalog)))
    }
}

/// Takes each defence of a script away: see [`mutate_subject`].
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
    mutate_subject(&mut OfScript::new(explorer, script, case), options).await
}

#[cfg(test)]
mod tests;
