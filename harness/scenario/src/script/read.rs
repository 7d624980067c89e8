//! Reads an actor's steps from a script file: SQL, a table, or several in a condition or a repetition.

use toml::de::{DeTable, DeValue};

use super::condition::Condition;
use super::flow::{ANY_CODE, Handler, Node};
use super::{SQL_BYTES_MAX, ScriptStep, codes, holes, sql, word};
use crate::value::{self, Wrong, mistyped};

/// How deep steps may be nested.
const DEPTH_MAX: usize = 8;
/// How often steps may be repeated, all repetitions around them together.
const REPEATED_MAX: u64 = 100;

impl Node {
    /// How many steps it has.
    pub(super) fn steps(&self) -> usize {
        let all = |nodes: &[Self]| nodes.iter().map(Self::steps).sum::<usize>();
        match self {
            Self::Step { on_error, .. } => {
                let handled = |(_, handler): &(String, Handler)| match handler {
                    Handler::Steps(nodes) => all(nodes),
                    Handler::Retry | Handler::End => 0,
                };
                1 + on_error.iter().map(handled).sum::<usize>()
            }
            Self::If { then, otherwise, .. } => all(then) + all(otherwise),
            Self::Repeat { body, .. } => all(body),
        }
    }
}

/// A step, or several with what decides about them.
pub(super) fn node(value: &DeValue<'_>) -> Result<Node, Wrong> {
    inner(value, DEPTH_MAX, REPEATED_MAX)
}

/// `depth`: how much deeper it may go; `times`: how often steps in it may be repeated.
fn inner(value: &DeValue<'_>, depth: usize, times: u64) -> Result<Node, Wrong> {
    let Some(table) = value.as_table() else {
        let step = Box::new(ScriptStep { sql: sql(value)?, ..ScriptStep::default() });
        return Ok(Node::Step { step, on_error: Vec::new(), ends: false });
    };
    if depth == 0 {
        return Err(Wrong::new(format!("has steps that are nested more than {DEPTH_MAX} times")));
    }
    match (table.contains_key("repeat"), table.contains_key("steps")) {
        (true, _) => repeat(table, depth - 1, times),
        (false, true) => branch(table, depth - 1, times),
        (false, false) => step(table, depth - 1, times),
    }
}

fn nodes(value: &DeValue<'_>, depth: usize, times: u64) -> Result<Vec<Node>, Wrong> {
    let items = value.as_array().ok_or_else(|| mistyped("a list of steps", value))?;
    if items.is_empty() {
        return Err(Wrong::new("must have a step"));
    }
    items.iter().map(|item| inner(item.get_ref(), depth, times)).collect()
}

/// Reads a table key by key. `read` answers whether it knows the key.
fn each(
    table: &DeTable<'_>,
    known: &str,
    mut read: impl FnMut(&str, &DeValue<'_>) -> Result<bool, Wrong>,
) -> Result<(), Wrong> {
    for (key, value) in table {
        let key = &**key.get_ref();
        if !read(key, value.get_ref()).map_err(|wrong| wrong.inside(key))? {
            return Err(
                Wrong::new(format!("has an unknown key `{}`", value::shown(key))).help(format!("Known keys: {known}."))
            );
        }
    }
    Ok(())
}

fn branch(table: &DeTable<'_>, depth: usize, times: u64) -> Result<Node, Wrong> {
    let (mut when, mut then, mut otherwise) = (None, Vec::new(), Vec::new());
    each(table, "if, steps, else", |key, value| {
        match key {
            "if" => when = Some(condition(value)?),
            "steps" => then = nodes(value, depth, times)?,
            "else" => otherwise = nodes(value, depth, times)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let condition = when.ok_or_else(|| Wrong::new("has `steps` without an `if` or a `repeat`"))?;
    Ok(Node::If { condition, then, otherwise })
}

fn repeat(table: &DeTable<'_>, depth: usize, most: u64) -> Result<Node, Wrong> {
    let (mut times, mut until) = (1, None);
    each(table, "repeat, until, steps", |key, value| {
        match key {
            "repeat" => times = value::integer(1..=most)(value)?,
            "until" => until = Some(condition(value)?),
            "steps" => {}
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    // What is inside may be repeated as often as is left, so it is read when that is known.
    let body = table.get("steps").ok_or_else(|| Wrong::new("has a `repeat` without `steps`"))?;
    let body = nodes(body.get_ref(), depth, most / times).map_err(|wrong| wrong.inside("steps"))?;
    Ok(Node::Repeat { times, until, body })
}

fn step(table: &DeTable<'_>, depth: usize, times: u64) -> Result<Node, Wrong> {
    let (mut step, mut when, mut ends, mut on_error) = (ScriptStep::default(), None, false, Vec::new());
    let known = "sql, name, capture, rows, affected, stdin, errors, on-error, if, end, only, lock; or if, steps, else; \
                 or repeat, until, steps";
    each(table, known, |key, value| {
        match key {
            "sql" => step.sql = sql(value)?,
            "name" => step.name = word(value)?,
            "capture" => step.capture = captures(value)?,
            "rows" => step.rows = Some(capture(value)?),
            "affected" => step.affected = Some(capture(value)?),
            "stdin" => step.stdin = Some(data(value)?),
            "errors" => step.errors = codes(value)?,
            "on-error" => on_error = handlers(value, depth, times)?,
            "if" => when = Some(condition(value)?),
            "end" => ends = value::boolean(value)?,
            "only" => step.only = codes(value)?,
            "lock" => step.locks = value::boolean(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if step.sql.is_empty() {
        return Err(Wrong::new("has a step without `sql`"));
    }
    let node = Node::Step { step: Box::new(step), on_error, ends };
    Ok(match when {
        Some(condition) => Node::If { condition, then: vec![node], otherwise: Vec::new() },
        None => node,
    })
}

fn condition(value: &DeValue<'_>) -> Result<Condition, Wrong> {
    let text = value.as_str().ok_or_else(|| mistyped("a condition", value))?;
    if text.len() > 1_000 {
        return Err(Wrong::new("must be a condition of at most 1000 bytes"));
    }
    Condition::parse(text).map_err(Wrong::new)
}

/// What refusals lead to: by code, `"go-on"`, `"retry"`, `"end"`, or steps.
fn handlers(value: &DeValue<'_>, depth: usize, times: u64) -> Result<Vec<(String, Handler)>, Wrong> {
    let table = value.as_table().ok_or_else(|| mistyped("a table of codes", value))?;
    let mut handlers = Vec::new();
    for (code, value) in table {
        let code = &**code.get_ref();
        let is_code = code.len() <= 8 && !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if code != ANY_CODE && !is_code {
            return Err(Wrong::new(format!("has `{}`, which is no SQLSTATE or result code", value::shown(code)))
                .help("As in { \"23505\" = [\"ROLLBACK\"] }; \"*\" stands for every code."));
        }
        let handler = match value.get_ref().as_str() {
            Some("go-on") => Handler::Steps(Vec::new()),
            Some("retry") => Handler::Retry,
            Some("end") => Handler::End,
            Some(_) => return Err(Wrong::new("must be \"go-on\", \"retry\", \"end\", or a list of steps").inside(code)),
            None => Handler::Steps(nodes(value.get_ref(), depth, times).map_err(|wrong| wrong.inside(code))?),
        };
        handlers.push((code.to_owned(), handler));
    }
    Ok(handlers)
}

/// What is copied into a table.
fn data(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = value.as_str().ok_or_else(|| mistyped("a text", value))?;
    if text.len() > SQL_BYTES_MAX {
        return Err(Wrong::new(format!("must have at most {SQL_BYTES_MAX} bytes")));
    }
    Ok(text.to_owned())
}

fn captures(value: &DeValue<'_>) -> Result<Vec<String>, Wrong> {
    match value.as_array() {
        Some(names) => names.iter().map(|name| capture(name.get_ref())).collect(),
        None => capture(value).map(|name| vec![name]),
    }
}

fn capture(value: &DeValue<'_>) -> Result<String, Wrong> {
    let name = word(value)?;
    let braced = format!("{{{name}}}");
    match holes(&braced)[..] {
        [_] if name != "begin" => Ok(name),
        _ => Err(Wrong::new("must capture under lower-case letters, digits and _, and not under `begin`")),
    }
}
