//! What the twins of the checks share: assertions, and the sound history that most of them start from.

use std::sync::Arc;

use drift_engine::drift::Cell;
use drift_engine::lock::LockStrategy;

use super::{Check, CheckName};
use crate::history::build::Build;
use crate::history::view::View;
use crate::history::{ActorId, History, Seen, TaskId};
use crate::verdict::Verdict;

pub(super) fn verdict(name: CheckName, history: &History) -> Verdict {
    Check::named(name).verdict(&View::of(history))
}

#[track_caller]
pub(super) fn assert_pass(name: CheckName, history: &History) {
    let verdict = verdict(name, history);
    assert_eq!(verdict.word(), "pass", "{name}: {}", verdict.sentence());
    assert!(verdict.sentence().contains(|c: char| c.is_ascii_digit()), "no number in: {}", verdict.sentence());
}

#[track_caller]
pub(super) fn assert_violation(name: CheckName, history: &History, says: &str) {
    match verdict(name, history) {
        Verdict::Violation { counterexample } => {
            assert!(counterexample.sentence.contains(says), "{name}: {}", counterexample.sentence);
            assert!(counterexample.entries.len() <= 8, "{:?}", counterexample.entries);
            assert!(counterexample.entries.iter().all(|&entry| entry < history.entries.len()));
            assert!(counterexample.entries.is_sorted());
        }
        other => panic!("{name} should have been violated: {}: {}", other.word(), other.sentence()),
    }
}

#[track_caller]
pub(super) fn assert_inconclusive(name: CheckName, history: &History, says: &str) {
    let verdict = verdict(name, history);
    assert_eq!(verdict.word(), "inconclusive", "{name}: {}", verdict.sentence());
    assert!(verdict.sentence().contains(says), "{name}: {}", verdict.sentence());
}

/// A sound run: one task is held before COMMIT while two others of its customer wait, one of
/// another customer commits and claims arrive; then all run free.
pub(super) fn contended(strategy: LockStrategy) -> Build {
    opening(strategy, |_, _| {})
}

/// The same, with something more at the moment when the first task, of the three, is held.
pub(super) fn opening(strategy: LockStrategy, meanwhile: impl FnOnce(&mut Build, [TaskId; 3])) -> Build {
    let mut b = Build::new(strategy, 4, 2);
    let [first, second, third] = [b.task(0, 1), b.task(1, 1), b.task(2, 1)];
    b.enter(first);
    b.insert(0, 1);
    b.work(first);
    let from = b.tick();
    let one_writer = strategy == LockStrategy::Immediate;
    let asked = [b.ask(second), b.ask(third)];
    if !one_writer {
        let other = b.task(3, 2);
        b.run(other);
        b.insert(1, 1);
        b.insert(0, 1);
    }
    match one_writer {
        true => b.see_waits(&[(1, &[]), (2, &[])]),
        false if asked[0].is_some() => b.see_waits(&[(1, &[0]), (2, &[1])]),
        false => {}
    }
    let (probed, answered) = (b.tick(), b.tick());
    let (key, holder) = (b.customer(first), ActorId(0));
    b.see(Seen::Probe { from: probed, until: answered, key, holder, held: true });
    meanwhile(&mut b, [first, second, third]);
    b.see_hold(first, from);
    b.commit(first);
    for (task, asked) in [second, third].into_iter().zip(asked) {
        b.grant(asked);
        b.work(task);
        b.commit(task);
    }
    b
}

/// One claim less in the last cell.
pub(super) fn one_less(cells: &[Cell]) -> Arc<[Cell]> {
    let mut cells = cells.to_vec();
    cells.last_mut().expect("a cell").count -= 1;
    cells.into()
}
