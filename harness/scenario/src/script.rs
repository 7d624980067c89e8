//! Scripts: a team's own locking protocol, as SQL. What `explore` interleaves.
//!
//! A [`Script`] comes from a TOML file and holds its invariants; like a scenario's, its mistakes are
//! reported all at once, each with its place.

mod condition;
mod contradictions;
mod edit;
mod fault;
mod flow;
mod holes;
mod overlap;
mod progress;
mod read;
mod schema;
mod variant;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use drift_engine::lock::Backend;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use self::condition::Condition;
pub(super) use self::fault::faults;
pub use self::fault::{FaultKind, LOST};
use self::flow::Node;
pub use self::flow::{Instruction, OnError};
pub use self::holes::{answers, fill, fill_some, holes};
pub use self::overlap::{Overlap, TRIES, TRIES_MAX};
pub use self::progress::{ActorState, AfterError, Progress, Returned, Value, fill_queries, unfilled};
pub use self::schema::SCHEMA;
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
/// How long a step may take if the file does not say.
const STEP_MAX: Duration = Duration::from_secs(30);
/// The most seconds that a file may say.
const STEP_SECONDS_MAX: u64 = 3_600;
/// The longest SQL of a step, a set-up or a query, in bytes.
const SQL_BYTES_MAX: usize = 64 * 1024;

/// A script: actors, what they start from, and what must be true at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// Lower-case words and digits, joined by single hyphens.
    pub name: String,
    /// What it shows, in one line.
    pub summary: String,
    /// What is run once before anything else, as one message; empty, where the tables are there already.
    pub setup: String,
    /// Where the set-up's text begins in its file: line and column, from 1; 0 if it is in none.
    pub setup_place: (u32, u32),
    /// How long a step may take, in seconds, where the file says it.
    pub step_seconds: Option<u32>,
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
    /// The failures that `explore` lets happen where its command line names none.
    pub faults: Vec<FaultKind>,
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
    /// rolled back: a serialization failure, a deadlock, SQLite's lock; or what `retries_on` names.
    pub retries: u32,
    /// The codes after which it begins anew, instead of those; none is the usual ones.
    pub retries_on: Vec<String>,
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
    /// What is sent after it, if it is `COPY … FROM STDIN`.
    pub stdin: Option<String>,
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
/// The name under which it is reported that what was done, its answer lost, was done again, where the file has no
/// `[[serial]]` by which that would be seen.
pub const REPEATED: &str = "repeated";

impl Script {
    /// Reads a script file.
    ///
    /// # Errors
    /// The file cannot be read, or makes no sense.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        Self::parse(path, &content(path)?).map_err(LoadError::Wrong)
    }

    /// The text of a script's file.
    ///
    /// # Errors
    /// It cannot be read, or is no text.
    pub fn text_of(path: &Path) -> Result<String, LoadError> {
        let bytes = content(path)?;
        String::from_utf8(bytes).map_err(|error| match Self::parse(path, error.as_bytes()) {
            Err(problems) => LoadError::Wrong(problems),
            Ok(_) => unreachable!("what is no UTF-8 is no script"),
        })
    }

    /// Whether something can be violated under this name.
    pub fn knows_check(&self, name: &str) -> bool {
        [SERIAL, ERRORS, STUCK, COMMITTED, REPEATED].contains(&name)
            || self.invariants.iter().any(|one| one.name == name)
    }

    /// How long a step may go on without either ending or waiting for another actor.
    pub fn step_max(&self) -> Duration {
        self.step_seconds.map_or(STEP_MAX, |seconds| Duration::from_secs(u64::from(seconds)))
    }

    /// A place in the set-up as a place in the file, if it is in one.
    pub fn in_set_up(&self, line: u32, column: u32) -> Option<(u32, u32)> {
        let (first, indent) = self.setup_place;
        (first > 0).then_some(if line == 1 { (first, indent + column - 1) } else { (first + line - 1, column) })
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
    if super::application::is_application(text.as_bytes()) {
        let why = "this is an application, whose actors are programs: `driftlock explore`, `driftlock verify` and `driftlock bench` take it";
        return Err(vec![Problem::new(0..0, why)]);
    }
    let (script, problems) = document(text, draft)?;
    match script {
        Some((mut script, places)) if problems.is_empty() => {
            for (actor, places) in script.actors.iter_mut().zip(&places.actors) {
                for (step, at) in actor.steps.iter_mut().zip(&places.steps) {
                    step.place = driftlock_sql::place(text, at.start);
                }
            }
            if !script.setup.is_empty() {
                script.setup_place = inside_quotes(text, places.setup.clone());
            }
            let mut wrong = contradictions::of(&script, &places);
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

/// Where the text of a quoted value begins, its leading white space aside.
fn inside_quotes(text: &str, value: Range<usize>) -> (u32, u32) {
    let quoted = &text[value.clone()];
    let inside = quoted.trim_start_matches(['"', '\'']).trim_start();
    driftlock_sql::place(text, value.start + quoted.len() - inside.len())
}

/// Where the parts of a script are in its file.
struct Places {
    setup: Range<usize>,
    faults: Range<usize>,
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
    let setup = section.or("setup", String::new(), set_up);
    let step_seconds = section.optional("step-seconds", value::integer(1..=STEP_SECONDS_MAX));
    let step_seconds = step_seconds.map_known(|seconds| u32::try_from(seconds).ok(), None);
    let actors = section.sections("actor", |actor| {
        let name = actor.required("name", word);
        let nodes = plain(actor.required_list("steps", read::node));
        let goes_on = plain(actor.or("goes-on", false, value::boolean));
        let retries = plain(actor.or("retry", 0, value::integer(0..=RETRIES_MAX)));
        let retries_on = plain(actor.or("retry-on", Vec::new(), codes));
        let is_last = plain(actor.or("last", false, value::boolean));
        let (name, nodes) = (name?, nodes?);
        // Steps that stand inside another one are told by its place.
        let place = |node: &Spanned<Node>| std::iter::repeat_n(node.span(), node.get_ref().steps());
        let places = ActorPlaces { name: name.span(), steps: nodes.iter().flat_map(place).collect() };
        let (steps, flow) = flow::flatten(nodes.into_iter().map(Spanned::into_inner).collect());
        let retries = u32::try_from(retries?).unwrap_or(u32::MAX);
        let (name, steps) = (name.into_inner(), numbered(steps));
        let (goes_on, retries_on, is_last) = (goes_on?, retries_on?, is_last?);
        Some((ScriptActor { name, steps, flow, goes_on, retries, retries_on, is_last }, places))
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
    let faults = section.or("faults", Vec::new(), fault::faults);
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
    let (setup, faults) = (setup?, faults?);
    let (set_up, faults_at) = (setup.span(), faults.span());
    let ((actors, actor_places), (invariants, mut queries), (serial, more)) =
        (all(actors)?, all(invariants)?, all(serial)?);
    queries.extend(more);
    let script = Script {
        name: name?,
        summary: summary?,
        setup_place: (0, 0),
        setup: setup.into_inner(),
        step_seconds: step_seconds?,
        actors,
        invariants,
        serial,
        overlaps: Vec::new(),
        is_program: true,
        refusals: refusals?,
        allows_no_effect: allows_no_effect?,
        never_times_out: timeouts?,
        faults: faults.into_inner(),
        cases,
    };
    let (overlaps, _) = all(overlaps)?;
    let (actors, cases) = (actor_places, case_places);
    Some((script, Places { setup: set_up, faults: faults_at, actors, queries, cases, overlaps }))
}

/// Gives the steps that have no name their number.
fn numbered(steps: Vec<ScriptStep>) -> Vec<ScriptStep> {
    let name = |(number, step): (usize, ScriptStep)| match step.name.is_empty() {
        true => ScriptStep { name: (number + 1).to_string(), ..step },
        false => step,
    };
    steps.into_iter().enumerate().map(name).collect()
}

/// SQL of bounded length.
pub(super) fn sql(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = value.as_str().ok_or_else(|| mistyped("SQL", value))?;
    if text.trim().is_empty() || text.len() > SQL_BYTES_MAX || text.contains('\0') {
        return Err(Wrong::new(format!("must be SQL of 1 to {SQL_BYTES_MAX} bytes without NUL")));
    }
    Ok(text.trim().to_owned())
}

/// SQL, or nothing: what the actors need may be there already.
fn set_up(value: &DeValue<'_>) -> Result<String, Wrong> {
    if value.as_str().is_some_and(|text| text.trim().is_empty()) { Ok(String::new()) } else { sql(value) }
}

/// A short word, for a name.
pub(super) fn word(value: &DeValue<'_>) -> Result<String, Wrong> {
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
