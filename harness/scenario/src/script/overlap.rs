//! Which steps of a script are to run at the same time.

use std::ops::Range;

use toml::Spanned;

use super::ScriptActor;
use crate::problem::Problem;
use crate::read::Section;
use crate::value::{integer, text};

/// The most executions in which two steps are to run at the same time.
pub const TRIES_MAX: u64 = 1_000_000;
/// In how many executions two steps are to run at the same time, if nothing else is said.
pub const TRIES: u64 = 500;

/// Two steps of different actors that are to run at the same time, many times over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The numbers of each one's actor and step.
    pub steps: [(usize, usize); 2],
    /// In how many executions.
    pub tries: u64,
}

/// What the file says, by names.
pub(super) struct Named {
    names: Vec<String>,
    at: Range<usize>,
    tries: u64,
}

/// Reads an `[[overlap]]`.
pub(super) fn read(section: &mut Section<'_>) -> Option<(Named, ())> {
    let steps = section.required_list("steps", text);
    let tries = section.or("tries", TRIES, integer(1..=TRIES_MAX)).map(Spanned::into_inner);
    let steps = steps?;
    let at = steps.span();
    let names = steps.into_inner().into_iter().map(Spanned::into_inner).collect();
    Some((Named { names, at, tries: tries? }, ()))
}

impl Named {
    /// The steps that are meant.
    pub(super) fn resolve(&self, actors: &[ScriptActor]) -> Result<Overlap, Problem> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        overlap(actors, &names, self.tries).map_err(|message| Problem::new(self.at.clone(), message))
    }
}

/// The steps that are meant by `ACTOR.STEP`, twice.
pub(super) fn overlap(actors: &[ScriptActor], names: &[&str], tries: u64) -> Result<Overlap, String> {
    let find = |name: &str| {
        let known = || {
            let names = |actor: &ScriptActor| {
                let names = actor.steps.iter().map(|step| format!("{}.{}", actor.name, step.name));
                names.collect::<Vec<_>>().join(", ")
            };
            actors.iter().map(names).collect::<Vec<_>>().join(", ")
        };
        let (actor, step) = name.split_once('.').unwrap_or_default();
        let number = actors.iter().position(|one| one.name == actor);
        let found =
            number.and_then(|number| Some((number, actors[number].steps.iter().position(|one| one.name == step)?)));
        found.ok_or_else(|| format!("there is no step `{name}`; the steps are {}", known()))
    };
    let [first, second] = names[..] else {
        return Err(format!("two steps overlap, as in [\"ACTOR.STEP\", \"ACTOR.STEP\"], and not {}", names.len()));
    };
    let (first, second) = (find(first)?, find(second)?);
    if first.0 == second.0 {
        let name = &actors[first.0].name;
        return Err(format!("two steps of {name} cannot overlap: an actor does one after the other"));
    }
    Ok(Overlap { steps: [first, second], tries })
}
