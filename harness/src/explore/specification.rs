//! PostgreSQL's isolation-test specifications as scripts, and scripts' orders as specifications.

use std::fmt::Write as _;

use drift_engine::lock::Backend;

use super::postgres::KILLED;
use super::search::Execution;
use super::world::{Event, Taken, What};
use crate::isolation::Spec;
use crate::scenario::script::{NamedQuery, OnError, Script, ScriptActor, ScriptCase, ScriptStep};
use crate::sql::quoted_name;

/// The script that does what a specification's sessions do, in any order. A session's set-up is its
/// first step. Nothing is asked of the end but that nobody waits for ever.
pub fn script_of(name: &str, spec: &Spec) -> Script {
    let step =
        |name: &str, sql: &str| ScriptStep { name: name.to_owned(), sql: sql.to_owned(), ..ScriptStep::default() };
    let actor = |(number, session): (usize, &crate::isolation::SessionSpec)| {
        let setup = session.setup.iter().map(|sql| step("setup", sql));
        let own = spec.steps.iter().filter(|one| one.session == number).map(|one| step(&one.name, &one.sql));
        ScriptActor {
            name: session.name.clone(),
            steps: setup.chain(own).collect(),
            goes_on: true,
            ..ScriptActor::default()
        }
    };
    let case = ScriptCase {
        name: "postgres".to_owned(),
        backend: Backend::Postgres,
        begin: "BEGIN".to_owned(),
        violates: None,
        set: std::collections::BTreeMap::new(),
    };
    Script {
        name: name.to_owned(),
        summary: format!("all orders of {name}"),
        setup: spec.setups.join(";\n"),
        actors: spec.sessions.iter().enumerate().map(actor).collect(),
        cases: vec![case],
        ..Script::default()
    }
}

/// Why an order cannot be written as a specification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// isolationtester's braces hold SQL as it is.
    #[error("the {what} has a brace that a specification cannot hold")]
    Brace {
        /// What holds it.
        what: String,
    },
    /// isolationtester would wait for ever too.
    #[error("somebody waits for ever")]
    Stuck,
    /// A permutation names each step once, and no time.
    #[error("a step is sent again, or a wait times out at a chosen moment")]
    Again,
    /// A specification has statements alone, and its sessions other names.
    #[error("data is copied, or a session is ended")]
    Beside,
    /// A specification cannot have anything fail.
    #[error("something is let fail in it")]
    Fault,
    /// Specifications are PostgreSQL's.
    #[error("specifications are for PostgreSQL")]
    Backend,
}

/// Writes an execution's order as a specification with one permutation. The queries of the script are
/// the last session's steps, so that the output shows the end; captured values are literals.
///
/// # Errors
/// See [`ExportError`].
pub fn export(script: &Script, case: &ScriptCase, execution: &Execution) -> Result<String, ExportError> {
    if case.backend != Backend::Postgres {
        return Err(ExportError::Backend);
    }
    if !execution.ended.stuck.is_empty() {
        return Err(ExportError::Stuck);
    }
    if execution.fault().is_some() {
        return Err(ExportError::Fault);
    }
    let mut sent = std::collections::BTreeSet::new();
    if execution.taken.iter().any(|taken| taken.times_out || !sent.insert((taken.actor, taken.step))) {
        return Err(ExportError::Again);
    }
    let copies = |taken: &Taken| script.actors[taken.actor].steps[taken.step].stdin.is_some();
    let is_ended = |event: &Event| matches!(&event.what, What::Failed { code, .. } if code == KILLED);
    if execution.taken.iter().any(copies) || execution.events().any(is_ended) {
        return Err(ExportError::Beside);
    }
    let mut text = format!("# {}: {}\n# case {}\n\n", script.name, script.summary, case.name);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "setup\n{{\n{}\n}}\n", braced("set-up", &script.setup)?);
    let _ = writeln!(text, "teardown\n{{\nDROP SCHEMA public CASCADE; CREATE SCHEMA public;\n}}");
    for number in (0..script.actors.len()).filter(|number| execution.taken.iter().any(|taken| taken.actor == *number)) {
        write_session(&mut text, script, execution, number)?;
    }
    let asked: Vec<&NamedQuery> = script.invariants.iter().chain(&script.serial).collect();
    if !asked.is_empty() {
        let _ = writeln!(text, "\nsession {}", quoted_name(END));
        for query in &asked {
            let sql = braced("query", query.sql.trim_end_matches(';'))?;
            let _ = writeln!(text, "step {} {{ {sql}; }}", quoted_name(&format!("{END} {}", query.name)));
        }
    }
    let mut order = Vec::new();
    for taken in &execution.taken {
        let markers = markers(script, execution, taken);
        order.push(step_name(&script.actors[taken.actor], taken.step) + &markers);
        let given_up = taken.events.iter().filter(|event| gives_up(script, event));
        order.extend(given_up.map(|event| gives_up_name(&script.actors[event.actor])));
    }
    order.extend(asked.iter().map(|query| quoted_name(&format!("{END} {}", query.name))));
    let _ = writeln!(text, "\npermutation {}", order.join(" "));
    Ok(text)
}

/// What the session that asks at the end is called. No actor of a script can be: it has a space.
const END: &str = "the end";

/// Writes the steps that an actor took.
fn write_session(text: &mut String, script: &Script, execution: &Execution, number: usize) -> Result<(), ExportError> {
    let actor = &script.actors[number];
    let events = || execution.taken.iter().flat_map(|taken| &taken.events).filter(|event| event.actor == number);
    let _ = writeln!(text, "\nsession {}", quoted_name(&actor.name));
    if execution.taken.iter().any(Taken::deadlocked) {
        // The same victim: whoever closes the circle finds it before the others look.
        let victim = events().any(|event| matches!(&event.what, What::Failed { code, .. } if code == "40P01"));
        let patience = if victim { "10ms" } else { "100s" };
        let _ = writeln!(text, "setup {{ SET deadlock_timeout = '{patience}'; }}");
    }
    for taken in execution.taken.iter().filter(|taken| taken.actor == number) {
        let sql = braced("step", taken.sql.trim_end_matches(';'))?;
        let _ = writeln!(text, "step {} {{ {sql}; }}", step_name(actor, taken.step));
    }
    if events().any(|event| gives_up(script, event)) {
        let _ = writeln!(text, "step {} {{ ROLLBACK; }}", gives_up_name(actor));
    }
    let open = execution.taken.last().and_then(|last| last.notes.get(number)).is_some_and(|note| note.in_transaction);
    if open {
        // Its locks would hold up the end.
        let _ = writeln!(text, "teardown {{ ROLLBACK; }}");
    }
    Ok(())
}

/// What says when isolationtester may report a step, where the server alone would leave it open: a
/// deadlock's victim shows that it waited, and those that one step sets free are reported in order.
fn markers(script: &Script, execution: &Execution, of: &Taken) -> String {
    if of.deadlocked() && !of.waits() {
        return "(*)".to_owned();
    }
    let ends = |event: &&Event| !matches!(event.what, What::Waits { .. });
    let is_of = |event: &&Event| (event.actor, event.step) == (of.actor, of.step);
    let ended = execution.taken.iter().find(|taken| taken.events.iter().filter(ends).any(|event| is_of(&event)));
    let Some(ended) = ended.filter(|ended| (ended.actor, ended.step) != (of.actor, of.step)) else {
        return String::new();
    };
    let sent =
        |event: &Event| execution.taken.iter().position(|taken| (taken.actor, taken.step) == (event.actor, event.step));
    let mut before: Vec<&Event> = ended.events.iter().filter(ends).collect();
    // What set them free comes first, then whoever was sent first.
    before.sort_by_key(|event| (event.actor != ended.actor, sent(event)));
    let own = before.iter().position(is_of).unwrap_or_default();
    match before[..own].last() {
        Some(event) if event.actor != ended.actor || ended.deadlocked() => {
            format!("({})", step_name(&script.actors[event.actor], event.step))
        }
        _ => String::new(),
    }
}

/// Whether an actor rolled back after this.
fn gives_up(script: &Script, event: &Event) -> bool {
    let actor = &script.actors[event.actor];
    match &event.what {
        What::Failed { code, .. } => match actor.on_error(event.step, code) {
            Some(OnError::Go(_)) => false,
            Some(OnError::Retry | OnError::End) => true,
            None => !actor.goes_on,
        },
        _ => false,
    }
}

fn step_name(actor: &ScriptActor, step: usize) -> String {
    quoted_name(&format!("{}.{}", actor.name, actor.steps[step].name))
}

fn gives_up_name(actor: &ScriptActor) -> String {
    quoted_name(&format!("{} gives up", actor.name))
}

fn braced<'s>(what: &str, sql: &'s str) -> Result<&'s str, ExportError> {
    if sql.contains('}') { Err(ExportError::Brace { what: what.to_owned() }) } else { Ok(sql) }
}
