//! PostgreSQL's isolation-test specifications as scripts, and scripts' orders as specifications.

use std::fmt::Write as _;

use drift_engine::lock::Backend;

use super::search::Execution;
use super::world::{Event, What};
use crate::isolation::Spec;
use crate::scenario::script::{NamedQuery, Script, ScriptActor, ScriptCase, ScriptStep, holes};

/// The script that does what a specification's sessions do, in any order. A session's set-up is its
/// first step. Nothing is asked of the end but that nobody waits for ever.
pub fn script_of(name: &str, spec: &Spec) -> Script {
    let step = |name: &str, sql: &str| ScriptStep {
        name: name.to_owned(),
        sql: sql.to_owned(),
        capture: None,
        errors: Vec::new(),
    };
    let actor = |(number, session): (usize, &crate::isolation::SessionSpec)| {
        let setup = session.setup.iter().map(|sql| step("setup", sql));
        let own = spec.steps.iter().filter(|one| one.session == number).map(|one| step(&one.name, &one.sql));
        ScriptActor { name: session.name.clone(), steps: setup.chain(own).collect(), goes_on: true }
    };
    let case = ScriptCase {
        name: "postgres".to_owned(),
        backend: Backend::Postgres,
        begin: "BEGIN".to_owned(),
        violates: None,
    };
    Script {
        name: name.to_owned(),
        summary: format!("all orders of {name}"),
        setup: spec.setups.join(";\n"),
        actors: spec.sessions.iter().enumerate().map(actor).collect(),
        invariants: Vec::new(),
        serial: Vec::new(),
        cases: vec![case],
    }
}

/// Why an order cannot be written as a specification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// isolationtester keeps no values.
    #[error("step {step} of {actor} uses a captured value, which a specification cannot")]
    Captures {
        /// Whose step.
        actor: String,
        /// Which one.
        step: String,
    },
    /// isolationtester's braces hold SQL as it is.
    #[error("the {what} has a brace that a specification cannot hold")]
    Brace {
        /// What holds it.
        what: String,
    },
    /// Specifications are PostgreSQL's.
    #[error("specifications are for PostgreSQL")]
    Backend,
}

/// Writes an execution's order as a specification with one permutation. The queries of the script are
/// the last session's steps, so that the output shows the end.
///
/// # Errors
/// See [`ExportError`].
pub fn export(script: &Script, case: &ScriptCase, execution: &Execution) -> Result<String, ExportError> {
    if case.backend != Backend::Postgres {
        return Err(ExportError::Backend);
    }
    let mut text = format!("# {}: {}\n# case {}\n\n", script.name, script.summary, case.name);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "setup\n{{\n{}\n}}\n", braced("set-up", &script.setup)?);
    let _ = writeln!(text, "teardown\n{{\nDROP SCHEMA public CASCADE; CREATE SCHEMA public;\n}}");
    let gives_up = |event: &Event| matches!(event.what, What::Failed { .. }) && !script.actors[event.actor].goes_on;
    for (number, actor) in script.actors.iter().enumerate() {
        if !execution.taken.iter().any(|taken| taken.actor == number) {
            continue;
        }
        let _ = writeln!(text, "\nsession {}", quoted(&actor.name));
        for step in &actor.steps {
            if holes(&step.sql).iter().any(|hole| *hole != "begin") {
                return Err(ExportError::Captures { actor: actor.name.clone(), step: step.name.clone() });
            }
            let sql = step.sql.replace("{begin}", &case.begin);
            let name = quoted(&format!("{}_{}", actor.name, step.name));
            let _ = writeln!(text, "step {name} {{ {}; }}", braced("step", sql.trim_end_matches(';'))?);
        }
        let mut events = execution.taken.iter().flat_map(|taken| &taken.events);
        if events.any(|event| event.actor == number && gives_up(event)) {
            let _ = writeln!(text, "step {} {{ ROLLBACK; }}", quoted(&format!("{}_gives_up", actor.name)));
        }
    }
    let asked: Vec<&NamedQuery> = script.invariants.iter().chain(&script.serial).collect();
    if !asked.is_empty() {
        let _ = writeln!(text, "\nsession driftlock_end");
        for query in &asked {
            let sql = braced("query", query.sql.trim_end_matches(';'))?;
            let _ = writeln!(text, "step {} {{ {sql}; }}", quoted(&format!("end_{}", query.name)));
        }
    }
    let mut order = Vec::new();
    for taken in &execution.taken {
        let actor = &script.actors[taken.actor];
        order.push(quoted(&format!("{}_{}", actor.name, actor.steps[taken.step].name)));
        for event in taken.events.iter().filter(|event| gives_up(event)) {
            order.push(quoted(&format!("{}_gives_up", script.actors[event.actor].name)));
        }
    }
    order.extend(asked.iter().map(|query| quoted(&format!("end_{}", query.name))));
    let _ = writeln!(text, "\npermutation {}", order.join(" "));
    Ok(text)
}

fn braced<'s>(what: &str, sql: &'s str) -> Result<&'s str, ExportError> {
    if sql.contains('}') { Err(ExportError::Brace { what: what.to_owned() }) } else { Ok(sql) }
}

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}
