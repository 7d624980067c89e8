//! Lets loom find every order of operations within a bound, and puts the checks to each.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};

use driftlock::check::{self, Answer, CheckName};
use driftlock::history::History;
use driftlock::outcome::{self, Shown};
use driftlock::verdict::Verdict;

use super::execution::{Performed, perform, spawn};
use super::world::World;
use driftlock::setting::Setting;

/// The most points at which one execution may change from one actor to another.
pub const BRANCHES_MAX: usize = 1_000;
/// The most threads of one execution: the actors, loom's first one, and the one that judges.
pub const THREADS_MAX: usize = 5;
/// The number of executions after which an exploration is given up.
pub const EXECUTIONS_MAX: u64 = 300_000;
/// The bounds on preemptions within which the least execution is searched, one after another.
pub const PREEMPTIONS: [usize; 4] = [0, 1, 2, 3];

/// How far an exploration goes.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// How often an actor that could go on is passed over; none: as often as there is.
    pub preemptions: Option<usize>,
    /// The checks whose violation ends it; none: any.
    pub targets: &'static [CheckName],
}

/// How an exploration ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Every order within the bound was tried.
    Exhausted,
    /// The violation that was looked for was found.
    Found,
    /// There are more executions than [`EXECUTIONS_MAX`].
    GivenUp,
    /// Loom itself objected: nobody could go on, say.
    Objection(String),
}

/// How the executions answered one check.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub passed: u64,
    pub inconclusive: u64,
}

/// What came of an exploration.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    pub executions: u64,
    /// Of each check that applies.
    pub tallies: BTreeMap<CheckName, Tally>,
    /// How many operations the mutant altered.
    pub altered: u64,
    /// The violations of the last execution, if it is what was looked for; that one comes first.
    pub violations: Vec<Shown>,
}

/// Ends an exploration from inside.
struct Stop;

/// Explores a setting.
pub fn explore(setting: &Setting, bound: Bound) -> (Explored, End) {
    let world = Arc::new(World::of(setting));
    let setting = Arc::new(setting.clone());
    let explored = Arc::new(Mutex::new(Explored::default()));
    let mut builder = loom::model::Builder::new();
    builder.max_threads = THREADS_MAX;
    builder.max_branches = BRANCHES_MAX;
    builder.preemption_bound = bound.preemptions;
    builder.max_permutations = None;
    builder.max_duration = None;
    builder.log = false;
    builder.location = false;
    let shared = explored.clone();
    let ended = catch_unwind(AssertUnwindSafe(|| {
        builder.check(move || {
            let performed = perform(&world, &setting);
            let (world, setting, shared) = (world.clone(), setting.clone(), shared.clone());
            // Loom's first thread has a small stack. Whoever judges is alone: the actors have ended.
            let judge = spawn(move || {
                shared.lock().expect("a panic ends the exploration").judge(performed, &world, &setting, bound)
            });
            if !judge.join().expect("a panic ends the exploration") {
                resume_unwind(Box::new(Stop));
            }
        });
    }));
    let explored = explored.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    let end = match ended {
        Ok(()) => End::Exhausted,
        Err(panic) if panic.is::<Stop>() && explored.violations.is_empty() => End::GivenUp,
        Err(panic) if panic.is::<Stop>() => End::Found,
        Err(panic) => End::Objection(words(&*panic)),
    };
    (explored, end)
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

impl Explored {
    /// Judges one execution, and says whether to go on.
    fn judge(&mut self, performed: Performed, world: &World, setting: &Setting, bound: Bound) -> bool {
        self.executions += 1;
        self.altered += performed.altered();
        let mut violations = self.note(&performed.into_history(world, setting));
        let is_target = |shown: &Shown| bound.targets.is_empty() || bound.targets.contains(&shown.check);
        if violations.iter().any(is_target) {
            violations.sort_by_key(|shown| !is_target(shown));
            self.violations = violations;
        }
        self.violations.is_empty() && self.executions < EXECUTIONS_MAX
    }

    /// Puts every check to an execution, and returns the violations.
    fn note(&mut self, history: &History) -> Vec<Shown> {
        let mut violations = Vec::new();
        for (check, answer) in check::judge(history, &CheckName::ALL, None) {
            let Answer::Judged(verdict) = answer else { continue };
            let tally = self.tallies.entry(check).or_default();
            match verdict {
                Verdict::Pass { .. } => tally.passed += 1,
                Verdict::Inconclusive { .. } => tally.inconclusive += 1,
                Verdict::Violation { counterexample: found } => {
                    let steps = outcome::steps(history, &found.entries);
                    violations.push(Shown { check, sentence: found.sentence, steps });
                }
            }
        }
        violations
    }
}

/// The least execution in which one of some checks fails.
#[derive(Clone, Debug)]
pub struct Least {
    pub setting: Setting,
    /// The bound within which it was found.
    pub preemptions: usize,
    /// How many executions it took, over all bounds.
    pub executions: u64,
    /// What was looked for comes first.
    pub violations: Vec<Shown>,
    /// How many operations the mutant altered, over all executions.
    pub altered: u64,
}

/// Searches the settings in order, each within growing bounds; without success, says how many
/// executions there were.
///
/// # Panics
/// Loom objects to an execution.
pub fn least(settings: &[Setting], targets: &'static [CheckName]) -> Result<Least, u64> {
    let (mut executions, mut altered) = (0, 0);
    for setting in settings {
        for preemptions in PREEMPTIONS {
            let (explored, end) = explore(setting, Bound { preemptions: Some(preemptions), targets });
            executions += explored.executions;
            altered += explored.altered;
            match end {
                End::Found => {
                    let (setting, violations) = (setting.clone(), explored.violations);
                    return Ok(Least { setting, preemptions, executions, violations, altered });
                }
                End::Objection(what) => panic!("{} with {:?}: {what}", setting.name, setting.rewrite),
                End::Exhausted | End::GivenUp => {}
            }
        }
    }
    Err(executions)
}
