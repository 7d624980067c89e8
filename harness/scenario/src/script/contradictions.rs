//! What in a script contradicts itself: names that are there twice, or not at all, and numbers of parts.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::{
    ACTORS_MAX, ActorPlaces, COMMITTED, ERRORS, Instruction, OnError, Places, REPEATED, SERIAL, STEPS_MAX, STUCK,
    Script, ScriptActor, answers, holes,
};
use crate::problem::Problem;

/// What no single value of the file is to blame for.
pub(super) fn of(script: &Script, places: &Places) -> Vec<Problem> {
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
    let own = [SERIAL, ERRORS, STUCK, COMMITTED, REPEATED];
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
    let exists = |case: &super::ScriptCase| script.faults.iter().any(|kind| kind.is_on(case.backend));
    if !script.faults.is_empty() && !script.cases.iter().any(exists) {
        let message = "none of these faults exists on the database of any case";
        wrong.push(Problem::new(places.faults.clone(), message));
    }
    if alters_system(&script.setup) {
        wrong.push(Problem::new(places.setup.clone(), ALTERS_SYSTEM));
    }
    for (actor, place) in script.actors.iter().zip(&places.actors) {
        wrong.extend(of_actor(script, actor, place));
        let altering = actor.steps.iter().zip(&place.steps).filter(|(step, _)| alters_system(&step.sql));
        wrong.extend(altering.map(|(_, at)| Problem::new(at.clone(), ALTERS_SYSTEM)));
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

const ALTERS_SYSTEM: &str = "ALTER SYSTEM changes the whole server, with all that comes after: a script has SET, and in its `setup` ALTER DATABASE … SET";

/// Whether a statement of this text changes the server itself. No function can run that one.
fn alters_system(sql: &str) -> bool {
    let statements = driftlock_sql::split(sql).unwrap_or_default();
    statements.iter().any(|statement| statement.begins(&["ALTER", "SYSTEM"]))
}

fn of_actor(script: &Script, actor: &ScriptActor, place: &ActorPlaces) -> Vec<Problem> {
    let mut wrong = Vec::new();
    if !(1..=STEPS_MAX).contains(&actor.steps.len()) {
        let at = place.steps.get(STEPS_MAX).unwrap_or(&place.name);
        let (name, number) = (&actor.name, actor.steps.len());
        let message = format!("actor {name} must have 1 to {STEPS_MAX} steps; it has {number}");
        wrong.push(Problem::new(at.clone(), message));
    }
    if !actor.retries_on.is_empty() && actor.retries == 0 {
        let message = format!("actor {} has `retry-on`, and no `retry`: it never begins anew", actor.name);
        wrong.push(Problem::new(place.name.clone(), message));
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
