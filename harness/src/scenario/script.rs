//! Scripts: a team's own locking protocol, as SQL. What `explore` interleaves.
//!
//! A [`Script`] comes from a TOML file and holds its invariants; like a scenario's, its mistakes are
//! reported all at once, each with its place.

use std::collections::BTreeSet;
use std::path::Path;

use drift_engine::lock::Backend;
use toml::de::DeValue;

use super::file::{LoadError, content, document, parse_with};
use super::problem::{Problem, Problems};
use super::read::{Read, Section};
use super::value::{self, Wrong, mistyped};

/// The most actors of a script.
pub const ACTORS_MAX: usize = 8;
/// The most steps of one actor.
pub const STEPS_MAX: usize = 64;
/// The longest SQL of a step, a set-up or a query, in bytes.
const SQL_BYTES_MAX: usize = 64 * 1024;

/// A script: actors, what they start from, and what must be true at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Where and how it is run: one at least, with different names.
    pub cases: Vec<ScriptCase>,
}

/// One session of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptActor {
    /// Its name.
    pub name: String,
    /// Its steps, in order.
    pub steps: Vec<ScriptStep>,
    /// Whether it goes on after an error, as a program that ignores errors does. Otherwise it rolls
    /// back and has ended.
    pub goes_on: bool,
}

/// One step: one message to the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptStep {
    /// Its name, which no other step of the actor has.
    pub name: String,
    /// Its SQL. `{begin}` stands for the case's; `{name}` for a captured value, as a literal.
    pub sql: String,
    /// Keeps the first value of the first row under this name.
    pub capture: Option<String>,
    /// SQLSTATEs or SQLite result codes that it may fail with, beside those of concurrency.
    pub errors: Vec<String>,
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
}

/// The name under which differing from every serial order is reported.
pub const SERIAL: &str = "serial";
/// The name under which an error is reported that is nobody's to expect.
pub const ERRORS: &str = "errors";
/// The name under which it is reported that actors wait for ever.
pub const STUCK: &str = "stuck";

impl Script {
    /// Reads a script file.
    ///
    /// # Errors
    /// The file cannot be read, or makes no sense.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        Self::parse(path, &content(path)?).map_err(LoadError::Wrong)
    }

    /// Reads the content of a script file that is, or could be, at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Box<Problems>> {
        parse_with(path, bytes, |text, _| read(text))
    }
}

fn read(text: &str) -> Result<Script, Vec<Problem>> {
    let (script, problems) = document(text, draft)?;
    match script {
        Some(script) if problems.is_empty() => {
            let wrong = contradictions(&script);
            if wrong.is_empty() { Ok(script) } else { Err(wrong) }
        }
        _ => Err(problems),
    }
}

fn plain<T>(read: Read<T>) -> Option<T> {
    read.map(toml::Spanned::into_inner)
}

fn draft(section: &mut Section<'_>) -> Option<Script> {
    let name = plain(section.required("name", super::draft::name));
    let summary = plain(section.required("summary", value::text));
    let setup = plain(section.required("setup", sql));
    let actors = section.sections("actor", |actor| {
        let name = plain(actor.required("name", word));
        let steps = plain(actor.required_list("steps", step));
        let goes_on = plain(actor.or("goes-on", false, value::boolean));
        let steps = steps.map(|steps| steps.into_iter().map(toml::Spanned::into_inner).collect());
        Some(ScriptActor { name: name?, steps: numbered(steps?), goes_on: goes_on? })
    });
    let query = |query: &mut Section<'_>| {
        let (name, sql) = (plain(query.required("name", word)), plain(query.required("sql", sql)));
        Some(NamedQuery { name: name?, sql: sql? })
    };
    let (invariants, serial) = (section.sections("invariant", query), section.sections("serial", query));
    let cases = section.sections("case", |case| {
        let backends = [("postgres", Backend::Postgres), ("sqlite", Backend::Sqlite)];
        let backend = plain(case.required("backend", value::word(backends)));
        let begin = plain(case.or("begin", "BEGIN".to_owned(), sql));
        let name = case.optional("name", word);
        let violates = case.optional("violates", value::text);
        let (backend, begin) = (backend?, begin?);
        let name = name.known(backend.as_str().to_owned())?;
        Some(ScriptCase { name, backend, begin, violates: violates.map_known(Some, None)? })
    });
    fn all<T>(list: Vec<toml::Spanned<Option<T>>>) -> Option<Vec<T>> {
        list.into_iter().map(toml::Spanned::into_inner).collect()
    }
    let mut cases = all(cases)?;
    if cases.is_empty() {
        cases = Backend::ALL
            .map(|backend| ScriptCase {
                name: backend.as_str().to_owned(),
                backend,
                begin: "BEGIN".to_owned(),
                violates: None,
            })
            .into();
    }
    let (actors, invariants, serial) = (all(actors)?, all(invariants)?, all(serial)?);
    Some(Script { name: name?, summary: summary?, setup: setup?, actors, invariants, serial, cases })
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
fn contradictions(script: &Script) -> Vec<Problem> {
    let mut wrong = Vec::new();
    let mut refuse = |message: String| wrong.push(Problem::new(0..0, message));
    if !(1..=ACTORS_MAX).contains(&script.actors.len()) {
        refuse(format!("a script has 1 to {ACTORS_MAX} actors, each beginning with `[[actor]]`"));
    }
    let unique = |names: Vec<&str>| names.iter().collect::<BTreeSet<_>>().len() == names.len();
    if !unique(script.actors.iter().map(|actor| actor.name.as_str()).collect()) {
        refuse("two actors have the same name".into());
    }
    if !unique(script.cases.iter().map(|case| case.name.as_str()).collect()) {
        refuse("two cases have the same name".into());
    }
    let queries = script.invariants.iter().chain(&script.serial);
    if !unique(queries.map(|query| query.name.as_str()).collect()) {
        refuse("two invariants have the same name".into());
    }
    if script.invariants.is_empty() && script.serial.is_empty() {
        refuse("nothing is asked of the end: there is neither an `[[invariant]]` nor a `[[serial]]`".into());
    }
    for actor in &script.actors {
        if !(1..=STEPS_MAX).contains(&actor.steps.len()) {
            refuse(format!("actor {} must have 1 to {STEPS_MAX} steps", actor.name));
        }
        if !unique(actor.steps.iter().map(|step| step.name.as_str()).collect()) {
            refuse(format!("two steps of actor {} have the same name", actor.name));
        }
        let mut known = BTreeSet::from(["begin"]);
        for step in &actor.steps {
            for name in holes(&step.sql).into_iter().filter(|name| !known.contains(name)) {
                refuse(format!(
                    "step {} of actor {} uses {{{name}}}, which no earlier step captures",
                    step.name, actor.name
                ));
            }
            known.extend(step.capture.as_deref());
        }
    }
    let checks = || script.invariants.iter().map(|query| query.name.as_str()).chain([SERIAL, ERRORS, STUCK]);
    for case in &script.cases {
        if let Some(violated) = &case.violates
            && !checks().any(|check| check == violated)
        {
            let known: Vec<&str> = checks().collect();
            refuse(format!("case {} violates `{violated}`, which is not one of {}", case.name, known.join(", ")));
        }
    }
    wrong
}

/// The names in braces in a step's SQL: words only, so that JSON and arrays are left alone.
pub fn holes(sql: &str) -> Vec<&str> {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    let parts = sql.split('{').skip(1).filter_map(|part| part.split_once('}').map(|(name, _)| name));
    parts.filter(|name| is_name(name)).collect()
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

/// A step: its SQL, or a table.
fn step(value: &DeValue<'_>) -> Result<ScriptStep, Wrong> {
    let Some(table) = value.as_table() else {
        let sql = sql(value)?;
        return Ok(ScriptStep { name: String::new(), sql, capture: None, errors: Vec::new() });
    };
    let mut step = ScriptStep { name: String::new(), sql: String::new(), capture: None, errors: Vec::new() };
    for (key, value) in table {
        let (key, value) = (&**key.get_ref(), value.get_ref());
        match key {
            "sql" => step.sql = sql(value)?,
            "name" => step.name = word(value)?,
            "capture" => step.capture = Some(capture(value)?),
            "errors" => {
                let codes = value.as_array().ok_or_else(|| mistyped("a list of codes", value))?;
                step.errors = codes.iter().map(|code| word(code.get_ref())).collect::<Result<_, _>>()?;
            }
            other => {
                return Err(Wrong::new(format!("has an unknown key `{}`", value::shown(other)))
                    .help("Known keys: sql, name, capture, errors."));
            }
        }
    }
    if step.sql.is_empty() { Err(Wrong::new("has a step without `sql`")) } else { Ok(step) }
}

fn capture(value: &DeValue<'_>) -> Result<String, Wrong> {
    let name = word(value)?;
    let braced = format!("{{{name}}}");
    match holes(&braced)[..] {
        [_] if name != "begin" => Ok(name),
        _ => Err(Wrong::new("must capture under lower-case letters, digits and _, and not under `begin`")),
    }
}
