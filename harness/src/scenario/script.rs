//! Scripts: a team's own locking protocol, as SQL. What `explore` interleaves.
//!
//! A [`Script`] comes from a TOML file and holds its invariants; like a scenario's, its mistakes are
//! reported all at once, each with its place.

mod condition;
mod flow;
mod holes;
mod overlap;
mod progress;
mod read;
mod variant;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use drift_engine::lock::Backend;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use self::condition::Condition;
use self::flow::Node;
pub use self::flow::{Instruction, OnError};
pub use self::holes::{answers, holes};
pub use self::overlap::{Overlap, TRIES, TRIES_MAX};
pub use self::progress::{ActorState, AfterError, Progress, Returned, Value, fill_queries, unfilled};
pub use self::variant::{CONCURRENCY, Refusals, is_retryable};
use super::file::{LoadError, content, document, parse_with};
use super::problem::{Problem, Problems};
use super::read::{Read, Section};
use super::value::{self, Wrong, mistyped};

/// The most actors of a script.
pub const ACTORS_MAX: usize = 32;
/// The most steps of one actor.
pub const STEPS_MAX: usize = 64;
/// How often an actor may begin anew.
const RETRIES_MAX: u64 = 10;
/// The longest SQL of a step, a set-up or a query, in bytes.
const SQL_BYTES_MAX: usize = 64 * 1024;

/// A script: actors, what they start from, and what must be true at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// Lower-case words and digits, joined by single hyphens.
    pub name: String,
    /// What it shows, in one line.
    pub summary: String,
    /// What is run once before anything else, as one message.
    pub setup: String,
    /// One at least, each with a step.
    pub actors: Vec<ScriptActor>,
    /// Queries that must return no row at the end.
    pub invariants: Vec<NamedQuery>,
    /// Queries whose answers together must be those of some serial order of the actors.
    pub serial: Vec<NamedQuery>,
    /// Steps that `explore` also lets run at the same time.
    pub overlaps: Vec<Overlap>,
    /// Whether it is a program's, and judged as one: what it commits is to remain, what never happens is told.
    /// PostgreSQL's specifications are none.
    pub is_program: bool,
    /// What actors may be refused with.
    pub refusals: Refusals,
    /// An actor may come to nothing in every order: that is meant.
    pub allows_no_effect: bool,
    /// Waits never time out, whatever the sessions' settings are.
    pub never_times_out: bool,
    /// Where and how it is run: one at least, with different names.
    pub cases: Vec<ScriptCase>,
}

/// One session of a script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptActor {
    /// Its name.
    pub name: String,
    /// Its steps, in the order in which they stand in the file.
    pub steps: Vec<ScriptStep>,
    /// In which order they are sent; one after the other, if it is empty.
    pub flow: Vec<Instruction>,
    /// Whether it goes on after an error, as a program that ignores errors does. Otherwise it rolls
    /// back and has ended.
    pub goes_on: bool,
    /// How often it begins anew, from its first step, after it was refused for the sake of concurrency and has
    /// rolled back: a serialization failure, a deadlock, SQLite's lock.
    pub retries: u32,
    /// It begins when all others have ended.
    pub is_last: bool,
}

/// One step: one message to the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptStep {
    /// Its name, which no other step of the actor has.
    pub name: String,
    /// Its SQL. `{begin}` stands for the case's; `{name}` for a captured value, as a literal.
    pub sql: String,
    /// Keeps the values of the first row's first columns under these names; NULL where there is no row.
    pub capture: Vec<String>,
    /// Keeps the first column of all rows under this name, as a list for `IN ({name})`.
    pub rows: Option<String>,
    /// Keeps the number of rows that were returned or changed under this name.
    pub affected: Option<String>,
    /// What refusals lead to, by code.
    pub on_error: Vec<(String, OnError)>,
    /// SQLSTATEs or SQLite result codes that it may fail with, beside those of concurrency.
    pub errors: Vec<String>,
    /// Whether its answer means that the actor has the lock by which it protects itself.
    pub locks: bool,
    /// Where it is in its file: line and column, from 1; 0 if it is in none.
    pub place: (u32, u32),
    /// The cases that have it; all, if none is named.
    pub only: Vec<String>,
}

impl ScriptActor {
    /// Whether one of its steps captures something under this name.
    pub fn captures(&self, name: &str) -> bool {
        self.steps.iter().any(|step| step.captured().any(|captured| captured == name))
    }
}

impl ScriptStep {
    /// The names under which it captures something.
    pub fn captured(&self) -> impl Iterator<Item = &str> {
        self.capture.iter().chain(&self.rows).chain(&self.affected).map(String::as_str)
    }
}

/// A query with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedQuery {
    /// What it is called in a verdict.
    pub name: String,
    /// The query.
    pub sql: String,
}

/// One way to run a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptCase {
    /// What it is called.
    pub name: String,
    /// On which database.
    pub backend: Backend,
    /// What `{begin}` stands for.
    pub begin: String,
    /// Whether a violation is expected, and of what: nothing for a pass.
    pub violates: Option<String>,
    /// What stands for further names in braces, anywhere in the script's SQL.
    pub set: BTreeMap<String, String>,
}

/// The name under which differing from every serial order is reported.
pub const SERIAL: &str = "serial";
/// The name under which an error is reported that is nobody's to expect.
pub const ERRORS: &str = "errors";
/// The name under which it is reported that actors wait for ever.
pub const STUCK: &str = "stuck";
/// The name under which it is reported that a COMMIT was answered with ROLLBACK.
pub const COMMITTED: &str = "committed";

impl Script {
    /// Reads a script file.
    ///
    /// # Errors
    /// The file cannot be read, or makes no sense.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        Self::parse(path, &content(path)?).map_err(LoadError::Wrong)
    }

    /// A step's name, with its actor's: `ACTOR.STEP`.
    pub fn name_of(&self, (actor, step): (usize, usize)) -> String {
        let actor = &self.actors[actor];
        format!("{}.{}", actor.name, actor.steps[step].name)
    }

    /// Two steps that are to run at the same time, by their names.
    ///
    /// # Errors
    /// There is no such step, or both are one actor's.
    pub fn overlap(&self, names: &[&str], tries: u64) -> Result<Overlap, String> {
        overlap::overlap(&self.actors, names, tries)
    }

    /// Reads the content of a script file that is, or could be, at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Box<Problems>> {
        parse_with(path, bytes, |text, _| read(text))
    }
}

/// Whether a file's content is meant as a script, and not as a scenario: it has actors.
pub fn is_script(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let (table, _) = DeTable::parse_recoverable(text);
    table.get_ref().contains_key("actor")
}

/// Whether there is a script at a path, as far as can be seen.
pub fn is_script_at(path: &Path) -> bool {
    content(path).is_ok_and(|bytes| is_script(&bytes))
}

fn read(text: &str) -> Result<Script, Vec<Problem>> {
    let (script, problems) = document(text, draft)?;
    match script {
        Some((mut script, places)) if problems.is_empty() => {
            for (actor, places) in script.actors.iter_mut().zip(&places.actors) {
                for (step, at) in actor.steps.iter_mut().zip(&places.steps) {
                    step.place = crate::sql::place(text, at.start);
                }
            }
            let mut wrong = contradictions(&script, &places);
            for named in &places.overlaps {
                match named.resolve(&script.actors) {
                    Ok(overlap) => script.overlaps.push(overlap),
                    Err(problem) => wrong.push(problem),
                }
            }
            if wrong.is_empty() { Ok(script) } else { Err(wrong) }
        }
        _ => Err(problems),
    }
}

/// Where the parts of a script are in its file.
struct Places {
    actors: Vec<ActorPlaces>,
    /// The names of the queries, invariants first.
    queries: Vec<Range<usize>>,
    cases: Vec<CasePlaces>,
    /// Not yet by the numbers of their steps.
    overlaps: Vec<overlap::Named>,
}

struct ActorPlaces {
    name: Range<usize>,
    steps: Vec<Range<usize>>,
}

struct CasePlaces {
    begin: Range<usize>,
    name: Range<usize>,
    violates: Range<usize>,
}

fn plain<T>(read: Read<T>) -> Option<T> {
    read.map(Spanned::into_inner)
}

/// The parts and their places, if all could be read.
fn all<T, P>(list: Vec<Spanned<Option<(T, P)>>>) -> Option<(Vec<T>, Vec<P>)> {
    list.into_iter().map(Spanned::into_inner).collect()
}

fn draft(section: &mut Section<'_>) -> Option<(Script, Places)> {
    let name = plain(section.required("name", super::draft::name));
    let summary = plain(section.required("summary", value::text));
    let setup = plain(section.required("setup", sql));
    let actors = section.sections("actor", |actor| {
        let name = actor.required("name", word);
        let nodes = plain(actor.required_list("steps", read::node));
        let goes_on = plain(actor.or("goes-on", false, value::boolean));
        let retries = plain(actor.or("retry", 0, value::integer(0..=RETRIES_MAX)));
        let is_last = plain(actor.or("last", false, value::boolean));
        let (name, nodes) = (name?, nodes?);
        // Steps that stand inside another one are told by its place.
        let place = |node: &Spanned<Node>| std::iter::repeat_n(node.span(), node.get_ref().steps());
        let places = ActorPlaces { name: name.span(), steps: nodes.iter().flat_map(place).collect() };
        let (steps, flow) = flow::flatten(nodes.into_iter().map(Spanned::into_inner).collect());
        let retries = u32::try_from(retries?).unwrap_or(u32::MAX);
        let (name, steps) = (name.into_inner(), numbered(steps));
        Some((ScriptActor { name, steps, flow, goes_on: goes_on?, retries, is_last: is_last? }, places))
    });
    let query = |query: &mut Section<'_>| {
        let (name, sql) = (query.required("name", word), plain(query.required("sql", sql)));
        let name = name?;
        let at = name.span();
        Some((NamedQuery { name: name.into_inner(), sql: sql? }, at))
    };
    let (invariants, serial) = (section.sections("invariant", query), section.sections("serial", query));
    let refusals = plain(section.or("refusals", Refusals::default(), variant::refusals));
    let allows_no_effect = plain(section.or("allows-no-effect", false, value::boolean));
    let timeouts = plain(section.or("timeouts", false, value::word([("any", false), ("never", true)])));
    let overlaps = section.sections("overlap", overlap::read);
    let cases = section.sections("case", |case| {
        let backends = [("postgres", Backend::Postgres), ("sqlite", Backend::Sqlite)];
        let backend = case.required("backend", value::word(backends));
        let begin = case.or("begin", "BEGIN".to_owned(), sql);
        let name = case.optional("name", word);
        let violates = case.optional("violates", value::text);
        let set = case.optional("set", variant::set);
        let (backend, begin) = (backend?, begin?);
        let place = |given: Option<Range<usize>>| given.unwrap_or_else(|| backend.span());
        let places = CasePlaces {
            begin: begin.span(),
            name: place(name.given().map(Spanned::span)),
            violates: place(violates.given().map(Spanned::span)),
        };
        let backend = *backend.get_ref();
        let name = name.known(backend.as_str().to_owned())?;
        let begin = begin.into_inner();
        let set = set.map_known(|set| set, BTreeMap::new())?;
        Some((ScriptCase { name, backend, begin, violates: violates.map_known(Some, None)?, set }, places))
    });
    let (mut cases, case_places) = all(cases)?;
    if cases.is_empty() {
        cases = Backend::ALL
            .map(|backend| ScriptCase {
                name: backend.as_str().to_owned(),
                backend,
                begin: "BEGIN".to_owned(),
                violates: None,
                set: BTreeMap::new(),
            })
            .into();
    }
    let ((actors, actor_places), (invariants, mut queries), (serial, more)) =
        (all(actors)?, all(invariants)?, all(serial)?);
    queries.extend(more);
    let script = Script {
        name: name?,
        summary: summary?,
        setup: setup?,
        actors,
        invariants,
        serial,
        overlaps: Vec::new(),
        is_program: true,
        refusals: refusals?,
        allows_no_effect: allows_no_effect?,
        never_times_out: timeouts?,
        cases,
    };
    let (overlaps, _) = all(overlaps)?;
    Some((script, Places { actors: actor_places, queries, cases: case_places, overlaps }))
}

/// Gives the steps that have no name their number.
fn numbered(steps: Vec<ScriptStep>) -> Vec<ScriptStep> {
    let name = |(number, step): (usize, ScriptStep)| match step.name.is_empty() {
        true => ScriptStep { name: (number + 1).to_string(), ..step },
        false => step,
    };
    steps.into_iter().enumerate().map(name).collect()
}

/// What no single value of the file is to blame for.
fn contradictions(script: &Script, places: &Places) -> Vec<Problem> {
    let mut wrong = Vec::new();
    if !(1..=ACTORS_MAX).contains(&script.actors.len()) {
        let at = places.actors.get(ACTORS_MAX).map_or(0..0, |place| place.name.clone());
        let message = format!("a script has 1 to {ACTORS_MAX} actors, each beginning with `[[actor]]`");
        wrong.push(Problem::new(at, message));
    }
    let names = script.actors.iter().map(|actor| actor.name.as_str());
    wrong.extend(doubled("actors", names.zip(places.actors.iter().map(|place| &place.name))));
    let names = script.cases.iter().map(|case| case.name.as_str());
    wrong.extend(doubled("cases", names.zip(places.cases.iter().map(|place| &place.name))));
    let queries = || script.invariants.iter().chain(&script.serial);
    let names = queries().map(|query| query.name.as_str());
    wrong.extend(doubled("invariants", names.zip(&places.queries)));
    let own = [SERIAL, ERRORS, STUCK, COMMITTED];
    for (query, at) in queries().zip(&places.queries).take(script.invariants.len()) {
        if own.contains(&query.name.as_str()) {
            wrong.push(Problem::new(
                at.clone(),
                format!("an invariant is not named `{}`: that has a meaning", query.name),
            ));
        }
    }
    for (query, at) in queries().zip(&places.queries) {
        for (of, name) in answers(&query.sql) {
            let Some(actor) = script.actors.iter().find(|actor| actor.name == of) else {
                let message = format!("query {} has {{{of}.{name}}} in it, and there is no actor {of}", query.name);
                wrong.push(Problem::new(at.clone(), message));
                continue;
            };
            if !actor.captures(name) {
                let message = format!("query {} has {{{of}.{name}}} in it, and {of} captures no {name}", query.name);
                wrong.push(Problem::new(at.clone(), message));
            }
        }
    }
    if queries().next().is_none() {
        let message = "nothing is asked of the end: there is neither an `[[invariant]]` nor a `[[serial]]`";
        wrong.push(Problem::new(0..0, message));
    }
    for (actor, place) in script.actors.iter().zip(&places.actors) {
        wrong.extend(contradictions_of(script, actor, place));
    }
    let checks = || script.invariants.iter().map(|query| query.name.as_str()).chain(own);
    let uses_begin =
        script.actors.iter().flat_map(|actor| &actor.steps).any(|step| holes(&step.sql).contains(&"begin"));
    for (case, place) in script.cases.iter().zip(&places.cases) {
        if !uses_begin && case.begin != "BEGIN" {
            let message = format!("case {} says what to begin with, and no step has {{begin}} in it", case.name);
            wrong.push(Problem::new(place.begin.clone(), message).label("this would be ignored"));
        }
        let Some(violated) = &case.violates else { continue };
        if !checks().any(|check| check == violated) {
            let known: Vec<&str> = checks().collect();
            let message = format!("case {} violates `{violated}`, which is not one of {}", case.name, known.join(", "));
            wrong.push(Problem::new(place.violates.clone(), message));
        } else if violated == SERIAL && script.serial.is_empty() {
            let message = format!("case {} violates `{violated}`, and there is no `[[serial]]`", case.name);
            wrong.push(Problem::new(place.violates.clone(), message));
        }
    }
    wrong
}

fn contradictions_of(script: &Script, actor: &ScriptActor, place: &ActorPlaces) -> Vec<Problem> {
    let mut wrong = Vec::new();
    if !(1..=STEPS_MAX).contains(&actor.steps.len()) {
        let at = place.steps.get(STEPS_MAX).unwrap_or(&place.name);
        let (name, number) = (&actor.name, actor.steps.len());
        let message = format!("actor {name} must have 1 to {STEPS_MAX} steps; it has {number}");
        wrong.push(Problem::new(at.clone(), message));
    }
    let names = actor.steps.iter().map(|step| step.name.as_str());
    wrong.extend(doubled(&format!("steps of actor {}", actor.name), names.zip(&place.steps)));
    let mut known = BTreeSet::from(["begin"]);
    for (step, at) in actor.steps.iter().zip(&place.steps) {
        let cases = || script.cases.iter().filter(|case| step.is_in(case));
        for name in holes(&step.sql).into_iter().filter(|name| !known.contains(name)) {
            let Some(without) = cases().find(|case| !case.set.contains_key(name)) else { continue };
            let (step, actor) = (&step.name, &actor.name);
            let among = if without.set.is_empty() { "" } else { ", nor is it set in every case" };
            let message =
                format!("step {step} of actor {actor} uses {{{name}}}, which no earlier step captures{among}");
            wrong.push(Problem::new(at.clone(), message));
        }
        for name in step.only.iter().filter(|name| !script.cases.iter().any(|case| case.name == **name)) {
            let message = format!("step {} of actor {} is for case {name}, and there is none", step.name, actor.name);
            wrong.push(Problem::new(at.clone(), message));
        }
        if step.on_error.iter().any(|(_, way)| *way == OnError::Retry) && actor.retries == 0 {
            let (step, actor) = (&step.name, &actor.name);
            let message = format!("step {step} of actor {actor} is to begin anew, and the actor has no `retry`");
            wrong.push(Problem::new(at.clone(), message));
        }
        known.extend(step.captured());
    }
    let conditions = actor.flow.iter().filter_map(|one| match one {
        Instruction::Unless(condition, _) | Instruction::Repeat { until: Some(condition), .. } => Some(condition),
        _ => None,
    });
    for condition in conditions {
        for name in condition.names().into_iter().filter(|name| !actor.captures(name)) {
            let message = format!("a condition of actor {} has {{{name}}}, which no step captures", actor.name);
            wrong.push(Problem::new(place.name.clone(), message));
        }
    }
    wrong
}

/// Every name that has been there before.
fn doubled<'a>(what: &str, names: impl Iterator<Item = (&'a str, &'a Range<usize>)>) -> Vec<Problem> {
    let (mut seen, mut wrong) = (BTreeMap::new(), Vec::new());
    for (name, at) in names {
        if let Some(first) = seen.insert(name, at) {
            let problem = Problem::new(at.clone(), format!("two {what} have the same name, {name}"));
            wrong.push(problem.label("the second").also(first.clone(), "the first"));
        }
    }
    wrong
}

/// SQL of bounded length.
fn sql(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = value.as_str().ok_or_else(|| mistyped("SQL", value))?;
    if text.trim().is_empty() || text.len() > SQL_BYTES_MAX || text.contains('\0') {
        return Err(Wrong::new(format!("must be SQL of 1 to {SQL_BYTES_MAX} bytes without NUL")));
    }
    Ok(text.trim().to_owned())
}

/// A short word, for a name.
fn word(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = value.as_str().ok_or_else(|| mistyped("a word", value))?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || text.len() > 64 || !text.chars().all(fits) {
        return Err(Wrong::new("must be 1 to 64 letters, digits, - and _"));
    }
    Ok(text.to_owned())
}

fn codes(value: &DeValue<'_>) -> Result<Vec<String>, Wrong> {
    let codes = value.as_array().ok_or_else(|| mistyped("a list of codes", value))?;
    codes.iter().map(|code| word(code.get_ref())).collect()
}

#[cfg(test)]
mod tests;
