//! A script or an application with one thing changed, explored again: what it is worth to be protected, and what would
//! mend it.
//!
//! [`defences`] finds what a script protects itself with, [`applications`] what an application does, and [`mutate`] takes
//! each away; [`repairs`] proposes what
//! engineers would try where something is violated, and [`repair`] tries each to the end. Both change the script's own
//! steps, what a program sends, or what the set-up makes; nothing here touches a database but through an [`Explorer`] or
//! what makes worlds of applications.

pub mod applications;
mod case;
pub mod catalog;
mod course;
pub mod defences;
pub mod mutate;
pub mod repair;
pub mod repairs;
mod rule;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use self::catalog::Catalog;
use self::course::new_step;
use self::rule::TextRule;
use crate::explore::case::{Explored, Options, compare_serial_runs, explore};
use crate::explore::judge::{Rules, run_serially};
use crate::explore::rules::{ScriptRules, permutations};
use crate::explore::world::{Lost, World};
use crate::scenario::script::{NamedQuery, Script, ScriptActor, ScriptCase, ScriptStep};

/// A script with something changed.
#[derive(Clone, Debug)]
pub struct Variation {
    /// What was changed, in a few words.
    pub name: String,
    /// The script.
    pub script: Arc<Script>,
    /// Its case.
    pub case: ScriptCase,
    /// The steps that were changed or are new; none, where it is the set-up.
    pub altered: Vec<(usize, usize)>,
    /// What was changed, as it reads now: where it stands, and the SQL.
    pub statements: Vec<(String, String)>,
    /// How the same is done to what programs send.
    on_wire: OnWire,
}

/// What is changed of an application that is not touched.
#[derive(Clone, Debug, Default)]
struct OnWire {
    /// It is an application that is changed.
    is_all: bool,
    /// What becomes of texts.
    rules: Vec<TextRule>,
    /// Texts that stay as they are.
    stays: BTreeSet<String>,
    /// What is run as the first thing in each transaction.
    first: Option<String>,
    /// What follows the set-up.
    after_setup: Vec<String>,
}

impl Variation {
    /// Nothing is changed yet.
    fn of(script: &Script, case: &ScriptCase) -> Draft {
        let mut script = script.clone();
        // Pairs of steps are named by numbers, and what is changed are whole orders.
        script.overlaps.clear();
        let case = ScriptCase { violates: None, ..case.clone() };
        Draft { script, case, altered: BTreeSet::new(), statements: Vec::new(), on_wire: OnWire::default() }
    }

    /// From now on its steps are those that were seen to be sent: any of them may be altered.
    fn shows(&mut self, script: Arc<Script>) {
        let steps = |(actor, of): (usize, &ScriptActor)| (0..of.steps.len()).map(move |step| (actor, step));
        self.altered = script.actors.iter().enumerate().flat_map(steps).collect();
        self.script = script;
    }
}

/// A variation that is being made.
#[derive(Clone, Debug)]
struct Draft {
    script: Script,
    case: ScriptCase,
    /// By the actor's number and the step's name: numbers of steps change as others are put in.
    altered: BTreeSet<(usize, String)>,
    statements: Vec<(String, String)>,
    on_wire: OnWire,
}

impl Draft {
    fn rewrite(&mut self, at: (usize, usize), sql: String) {
        self.script.actors[at.0].steps[at.1].sql = sql;
        self.alters(at);
    }

    /// Does to a step what a rule says; whether it says anything.
    fn applies(&mut self, rule: &TextRule, at: (usize, usize)) -> bool {
        let anew = rule.anew(&self.script.actors[at.0].steps[at.1].sql);
        let changes = anew.is_some();
        anew.into_iter().for_each(|sql| self.rewrite(at, sql));
        changes
    }

    /// Notes that a step is new, or reads otherwise.
    fn alters(&mut self, (actor, step): (usize, usize)) {
        self.altered.insert((actor, self.script.actors[actor].steps[step].name.clone()));
    }

    /// A step more for an actor.
    fn new_step(&self, actor: usize, name: &str, sql: String) -> ScriptStep {
        new_step(&self.script.actors[actor], name, sql)
    }

    /// Runs one statement more at the end of the set-up.
    fn set_up(&mut self, sql: &str) {
        self.script.setup.push_str(&format!("\n;\n{sql};"));
        self.on_wire.after_setup.push(sql.to_owned());
        self.statements.push(("set-up".to_owned(), sql.to_owned()));
    }

    /// What was changed, as it reads now.
    fn named(mut self, name: impl Into<String>) -> Variation {
        let (script, case) = (&self.script, &self.case);
        let number = |(actor, name): &(usize, String)| {
            Some((*actor, script.actors[*actor].steps.iter().position(|step| step.name == *name)?))
        };
        let mut altered: Vec<(usize, usize)> = self.altered.iter().filter_map(number).collect();
        altered.sort_unstable();
        let of_step = |at: &(usize, usize)| (script.name_of(*at), case.begun(&script.actors[at.0].steps[at.1].sql));
        self.statements.extend(altered.iter().map(of_step));
        Variation {
            name: name.into(),
            script: Arc::new(self.script),
            case: self.case,
            altered,
            statements: self.statements,
            on_wire: self.on_wire,
        }
    }
}

/// What came of exploring a script.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What the search found.
    pub explored: Explored,
    /// How often each step was answered, over all executions.
    pub ran: BTreeMap<(usize, usize), u64>,
}

/// One run in which nothing was concurrent.
#[derive(Clone, Debug)]
pub struct Serially {
    /// What is wrong with it, by check.
    pub wrong: Vec<(String, String)>,
    /// The rows of all tables at its end, as far as they are compared.
    pub state: String,
}

/// Why something could not be run: what the database says of the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

/// Explores scripts, each in a database of its own.
pub trait Explorer: Send {
    /// Why a database cannot be used.
    type Error: Send;

    /// Explores a script, or says why it cannot be run.
    fn explore(
        &mut self,
        script: &Arc<Script>,
        case: &ScriptCase,
        options: &Options,
    ) -> impl Future<Output = Result<Result<Seen, Refused>, Self::Error>> + Send;

    /// Runs every serial order of a script's actors, up to a bound, and compares these rows.
    fn serially(
        &mut self,
        script: &Arc<Script>,
        case: &ScriptCase,
        rows: &[NamedQuery],
    ) -> impl Future<Output = Result<Result<Vec<Serially>, Refused>, Self::Error>> + Send;

    /// What a script's set-up makes.
    fn catalog(
        &mut self,
        script: &Arc<Script>,
        case: &ScriptCase,
    ) -> impl Future<Output = Result<Result<Catalog, Refused>, Self::Error>> + Send;
}

impl Refused {
    /// A loss as a refusal, where the file is to blame.
    ///
    /// # Errors
    /// It is not.
    pub fn of(lost: Lost) -> Result<Self, Lost> {
        if lost.by_script { Ok(Self(lost.why)) } else { Err(lost) }
    }
}

/// The same of what came, if it is a loss.
///
/// # Errors
/// The database is lost.
pub fn refused<T>(result: Result<T, Lost>) -> Result<Result<T, Refused>, Lost> {
    result.map(Ok).or_else(|lost| Refused::of(lost).map(Err))
}

/// Explores a script in a world that was made for it.
///
/// # Errors
/// The database is lost, or the script cannot be run.
pub async fn see<W: World>(world: &mut W, script: &Script, case: &ScriptCase, options: &Options) -> Result<Seen, Lost> {
    let rules = ScriptRules::new(script, case);
    let (mut explored, rules) = explore(world, rules, None, options).await?;
    explored.tell(script, &rules);
    Ok(Seen { explored, ran: rules.effects.ran().clone() })
}

/// The most serial orders that are compared.
const SERIAL_MAX: usize = 120;

/// Runs the serial orders of a script in a world that was made for [`with_rows`] of it.
///
/// # Errors
/// See [`see`].
pub async fn serial_runs<W: World>(world: &mut W, script: &Script, case: &ScriptCase) -> Result<Vec<Serially>, Lost> {
    let mut rules = ScriptRules::new(script, case);
    compare_serial_runs(world, &mut rules, None).await?;
    let (all, queries): (Vec<usize>, _) = ((0..script.actors.len()).collect(), Rules::<W>::queries(&rules));
    let mut runs = Vec::new();
    for order in permutations(&all).into_iter().take(SERIAL_MAX) {
        let execution = run_serially(world, &order, &queries).await?;
        let wrong = rules.wrong(world, &execution).await?;
        runs.push(Serially { wrong, state: rules.state(&execution.ended)? });
    }
    Ok(runs)
}

/// The script, with these rows compared to those of serial orders.
pub fn with_rows(script: &Script, rows: &[NamedQuery]) -> Arc<Script> {
    Arc::new(Script { serial: rows.to_vec(), ..script.clone() })
}
