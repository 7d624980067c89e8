//! Makes a violating order smaller: fewer actors first, then fewer changes between them. Each try is
//! run; what is kept violates the same check.

use super::judge::{Found, Rules, run};
use super::world::{Lost, World};

/// The most executions that making one smaller may take.
const TRIES_MAX: u32 = 300;

/// Makes what was found smaller, and runs the result once more.
///
/// # Errors
/// The database is lost.
pub async fn shrink<W: World, R: Rules<W>>(world: &mut W, rules: &mut R, found: Found) -> Result<Found, Lost> {
    let (mut best, queries) = (found, rules.queries());
    let mut tries = 0;
    loop {
        let order = best.execution.order();
        let mut smaller = None;
        for candidate in candidates(&order) {
            tries += 1;
            if tries > TRIES_MAX {
                return Ok(best);
            }
            let execution = run(world, &candidate, &queries).await?;
            let wrong = rules.wrong(world, &execution).await?;
            // A step that could not be sent where it was wanted makes it another order.
            let taken = execution.order();
            if size(&taken) < size(&order)
                && let Some((check, sentence)) = wrong.into_iter().find(|(check, _)| *check == best.check)
            {
                smaller = Some(Found { check, sentence, execution });
                break;
            }
        }
        match smaller {
            Some(found) => best = found,
            None => return Ok(best),
        }
    }
}

/// What is to be small, the most important first: actors, steps, changes.
fn size(order: &[usize]) -> (usize, usize, usize) {
    let mut actors = order.to_vec();
    actors.sort_unstable();
    actors.dedup();
    (actors.len(), order.len(), changes(order))
}

/// How often another actor goes on than the one before.
pub fn changes(order: &[usize]) -> usize {
    order.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

/// Smaller orders that are worth a try, the smallest first.
fn candidates(order: &[usize]) -> Vec<Vec<usize>> {
    let mut actors = order.to_vec();
    actors.sort_unstable();
    actors.dedup();
    let mut all: Vec<Vec<usize>> = Vec::new();
    if actors.len() > 1 {
        all.extend(actors.iter().map(|actor| order.iter().copied().filter(|one| one != actor).collect()));
    }
    // A block of steps is moved up to, or behind, another block of its actor.
    let blocks: Vec<(usize, usize)> = order.iter().fold(Vec::new(), |mut blocks, actor| {
        match blocks.last_mut() {
            Some((last, steps)) if last == actor => *steps += 1,
            _ => blocks.push((*actor, 1)),
        }
        blocks
    });
    for at in 0..blocks.len() {
        for to in (0..blocks.len()).filter(|to| *to != at && blocks[*to].0 == blocks[at].0) {
            let mut moved = blocks.clone();
            let block = moved.remove(at);
            let to = if to > at { to - 1 } else { to };
            moved[to].1 += block.1;
            let candidate: Vec<usize> =
                moved.into_iter().flat_map(|(actor, steps)| std::iter::repeat_n(actor, steps)).collect();
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
        let order = [0, 1, 0, 2, 1, 0];
        let all = candidates(&order);
        assert!(!all.is_empty());
        for candidate in all {
            assert!(size(&candidate) < size(&order), "{candidate:?}");
            for actor in 0..3 {
                let count = |of: &[usize]| of.iter().filter(|one| **one == actor).count();
                assert!([0, count(&order)].contains(&count(&candidate)), "{candidate:?}");
            }
        }
        assert!(candidates(&[0, 0, 1, 1]).iter().all(|candidate| candidate.len() == 2));
    }
}
