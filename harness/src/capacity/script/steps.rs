//! What a script's steps came to under load: how often each was sent, how many rows it returned and changed, how often it was
//! refused and with what. And what rounds changed before, so that it is seen where they do nothing any more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// The rows of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Those that were returned.
    pub returned: u64,
    /// Those that were inserted, updated, deleted or copied, as the database says.
    pub changed: u64,
}

/// What a step came to in the time that is recorded, over all tries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRow {
    /// `ACTOR.STEP`.
    pub step: String,
    /// How often it was sent.
    pub times: u64,
    /// The rows that it returned.
    pub returned: u64,
    /// The rows that it changed. What its transaction then rolled back is among them.
    pub changed: u64,
    /// How often it was refused, by code.
    pub refused: BTreeMap<String, u64>,
    /// The rows that it had changed before: in rounds alone, and in the warm-up.
    pub changed_before: u64,
}

impl StepRow {
    /// Adds what it came to under another generator.
    pub fn merge(&mut self, other: &Self) {
        self.times += other.times;
        self.returned += other.returned;
        self.changed += other.changed;
        self.changed_before += other.changed_before;
        for (code, times) in &other.refused {
            *self.refused.entry(code.clone()).or_default() += times;
        }
    }
}

/// Why rounds that change nothing any more say nothing, if they did change something once.
pub fn do_nothing(steps: &[StepRow]) -> Option<String> {
    let sum = |of: fn(&StepRow) -> u64| steps.iter().map(of).sum::<u64>();
    let (before, times) = (sum(|row| row.changed_before), sum(|row| row.times));
    (before > 0 && times > 0 && sum(|row| row.changed) == 0).then(|| {
        format!(
            "no round changed a row in the time that is recorded, and those before it changed {before}: what is measured \
             is rounds that find nothing left to do; let each one make, or put back, what it uses up"
        )
    })
}

#[derive(Debug, Default)]
struct Counter {
    times: AtomicU64,
    returned: AtomicU64,
    changed: AtomicU64,
    changed_before: AtomicU64,
    /// Only a refusal waits here.
    refused: Mutex<BTreeMap<String, u64>>,
}

/// Counts. To count an answer allocates nothing, and waits for nobody.
#[derive(Debug)]
pub struct Steps {
    actors: Vec<Vec<Counter>>,
}

impl Steps {
    /// For actors with so many steps each.
    pub fn new(actors: impl Iterator<Item = usize>) -> Self {
        Self { actors: actors.map(|steps| (0..steps).map(|_| Counter::default()).collect()).collect() }
    }

    /// A step was answered.
    pub fn answered(&self, (actor, step): (usize, usize), rows: Rows, is_recorded: bool) {
        let Some(counter) = self.counter(actor, step) else { return };
        let add = |to: &AtomicU64, number: u64| {
            to.fetch_add(number, Ordering::Relaxed);
        };
        if is_recorded {
            add(&counter.times, 1);
            add(&counter.returned, rows.returned);
            add(&counter.changed, rows.changed);
        } else {
            add(&counter.changed_before, rows.changed);
        }
    }

    /// A step was refused, in the time that is recorded.
    pub fn refused(&self, (actor, step): (usize, usize), code: &str) {
        let Some(counter) = self.counter(actor, step) else { return };
        counter.times.fetch_add(1, Ordering::Relaxed);
        let mut refused = counter.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match refused.get_mut(code) {
            Some(times) => *times += 1,
            None => drop(refused.insert(code.to_owned(), 1)),
        }
    }

    fn counter(&self, actor: usize, step: usize) -> Option<&Counter> {
        self.actors.get(actor).and_then(|steps| steps.get(step))
    }

    /// What was counted, under these names.
    pub fn rows(&self, names: &[Vec<String>]) -> Vec<StepRow> {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = self.actors.iter().flatten().zip(names.iter().flatten());
        let row = |(counter, name): (&Counter, &String)| StepRow {
            step: name.clone(),
            times: of(&counter.times),
            returned: of(&counter.returned),
            changed: of(&counter.changed),
            refused: counter.refused.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            changed_before: of(&counter.changed_before),
        };
        counters.map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_that_change_nothing_any_more_are_doubted_and_those_that_never_did_are_not() {
        let steps = Steps::new([2, 1].into_iter());
        let names = vec![vec!["a.1".to_owned(), "a.2".to_owned()], vec!["b.1".to_owned()]];
        let (none, one) = (Rows::default(), Rows { returned: 0, changed: 1 });
        steps.answered((0, 1), none, true);
        assert_eq!(do_nothing(&steps.rows(&names)), None, "it reads");
        steps.answered((0, 1), one, false);
        assert!(do_nothing(&steps.rows(&names)).is_some_and(|why| why.contains("changed 1")));
        steps.answered((1, 0), one, true);
        steps.refused((1, 0), "23505");
        let rows = steps.rows(&names);
        assert_eq!(do_nothing(&rows), None);
        assert_eq!((rows[2].times, rows[2].changed, rows[2].refused["23505"]), (2, 1, 1));
        let mut both = rows[2].clone();
        both.merge(&rows[2]);
        assert_eq!((both.times, both.refused["23505"]), (4, 2));
    }
}
