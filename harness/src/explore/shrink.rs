//! Makes a violating order smaller: fewer actors first, then fewer changes between them. Each try is
//! run; what is kept violates the same check in the same way. Fewer actors count only if some serial order of
//! them does not violate it: an actor that is missing is no counterexample.

use std::collections::{BTreeMap, BTreeSet};

use super::judge::{Found, Rules, run, run_serially};
use super::rules::permutations;
use super::search::Execution;
use super::world::{Choice, Lost, World};
use crate::scenario::script::ERRORS;

/// Makes what was found smaller, and runs the result once more.
///
/// # Errors
/// The database is lost.
pub async fn shrink<W: World, R: Rules<W>>(world: &mut W, rules: &mut R, found: Found) -> Result<Found, Lost> {
    let (mut best, queries) = (found, rules.queries());
    let mut tries = 0;
    let mut serial = Serial { way: way(&best.check, &best.sentence), clean: BTreeMap::new() };
    let all = actors(&best.execution.order());
    // Where every serial order violates it too, it is not an order that is to blame.
    let by_order = serial.is_clean(world, rules, &all).await?;
    'smaller: loop {
        let order = best.execution.order();
        let mut smaller = None;
        for candidate in candidates(&order) {
            tries += 1;
            if tries > rules.shrinks_max() {
                break 'smaller;
            }
            let fewer = actors(&candidate);
            if fewer.len() < actors(&order).len() {
                let counts =
                    if by_order { serial.is_clean(world, rules, &fewer).await? } else { !rules.needs_all(&best.check) };
                if !counts {
                    continue;
                }
            }
            let execution = run(world, &candidate, &queries).await?;
            let wrong = rules.wrong(world, &execution).await?;
            // A step that could not be sent where it was wanted makes it another order.
            let taken = execution.order();
            if size(&taken) < size(&order)
                && let Some((check, sentence)) = wrong.into_iter().find(|(check, why)| way(check, why) == serial.way)
            {
                smaller = Some(Found { check, sentence, execution, serial: None });
                break;
            }
        }
        match smaller {
            Some(found) => best = found,
            None => break,
        }
    }
    // Fewer actors were run one after the other already, where that could tell anything.
    best.serial = serial.clean.remove(&actors(&best.execution.order())).flatten();
    Ok(best)
}

/// The same actors one after the other, in the first order that does not violate what was found, if there is one.
///
/// # Errors
/// The database is lost.
pub async fn serial_without<W: World, R: Rules<W>>(
    world: &mut W,
    rules: &mut R,
    found: &Found,
) -> Result<Option<Execution>, Lost> {
    let mut serial = Serial { way: way(&found.check, &found.sentence), clean: BTreeMap::new() };
    let all = actors(&found.execution.order());
    serial.is_clean(world, rules, &all).await?;
    Ok(serial.clean.remove(&all).flatten())
}

/// In which way something is violated: by which check, and with which code where there is one.
fn way(check: &str, sentence: &str) -> (String, Option<String>) {
    let code = sentence.strip_suffix(')').and_then(|text| text.rsplit_once('(')).map(|(_, code)| code.to_owned());
    (check.to_owned(), code.filter(|_| check == ERRORS))
}

fn actors(order: &[Choice]) -> BTreeSet<usize> {
    order.iter().map(|choice| choice.actor).collect()
}

/// Which actors can run one after the other without violating what was found.
struct Serial {
    way: (String, Option<String>),
    /// By actors, with the execution that shows it.
    clean: BTreeMap<BTreeSet<usize>, Option<Execution>>,
}

/// The most serial orders that are tried of the same actors.
const SERIAL_MAX: usize = 6;

impl Serial {
    async fn is_clean<W: World, R: Rules<W>>(
        &mut self,
        world: &mut W,
        rules: &mut R,
        actors: &BTreeSet<usize>,
    ) -> Result<bool, Lost> {
        if let Some(known) = self.clean.get(actors) {
            return Ok(known.is_some());
        }
        let queries = rules.queries();
        let mut clean = None;
        // A fault is to blame for what it brings about in a serial order too.
        let fault = world.inject(None);
        for serial in permutations(&actors.iter().copied().collect::<Vec<_>>()).into_iter().take(SERIAL_MAX) {
            let execution = run_serially(world, &serial, &queries).await?;
            let wrong = rules.wrong(world, &execution).await?;
            if !wrong.iter().any(|(check, sentence)| way(check, sentence) == self.way) {
                clean = Some(execution);
                break;
            }
        }
        world.inject(fault);
        let is_clean = clean.is_some();
        self.clean.insert(actors.clone(), clean);
        Ok(is_clean)
    }
}

/// What is to be small, the most important first: actors, steps, changes.
fn size(order: &[Choice]) -> (usize, usize, usize) {
    (actors(order).len(), order.len(), changes(order))
}

/// How often another actor goes on than the one before.
pub fn changes(order: &[Choice]) -> usize {
    order.windows(2).filter(|pair| pair[0].actor != pair[1].actor).count()
}

/// Smaller orders that are worth a try, the smallest first.
fn candidates(order: &[Choice]) -> Vec<Vec<Choice>> {
    let actors = actors(order);
    let mut all: Vec<Vec<Choice>> = Vec::new();
    if actors.len() > 1 {
        all.extend(actors.iter().map(|actor| order.iter().copied().filter(|one| one.actor != *actor).collect()));
    }
    // A block of steps is moved up to, or behind, another block of its actor.
    let blocks: Vec<&[Choice]> = order.chunk_by(|one, other| one.actor == other.actor).collect();
    for at in 0..blocks.len() {
        for to in (0..blocks.len()).filter(|to| *to != at && blocks[*to][0].actor == blocks[at][0].actor) {
            let mut moved: Vec<Vec<Choice>> = blocks.iter().map(|block| block.to_vec()).collect();
            let block = std::mem::take(&mut moved[at]);
            match to > at {
                true => drop(moved[to].splice(0..0, block)),
                false => moved[to].extend(block),
            }
            let candidate = moved.concat();
            if changes(&candidate) < changes(order) {
                all.push(candidate);
            }
        }
    }
    all.sort_by_key(|candidate| size(candidate));
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_smaller_and_keep_each_actors_steps() {
        let order = [0, 1, 0, 2, 1, 0].map(Choice::from);
        let all = candidates(&order);
        assert!(!all.is_empty());
        for candidate in all {
            assert!(size(&candidate) < size(&order), "{candidate:?}");
            for actor in 0..3 {
                let count = |of: &[Choice]| of.iter().filter(|one| one.actor == actor).count();
                assert!([0, count(&order)].contains(&count(&candidate)), "{candidate:?}");
            }
        }
        assert!(candidates(&[0, 0, 1, 1].map(Choice::from)).iter().all(|candidate| candidate.len() == 2));
    }
}
