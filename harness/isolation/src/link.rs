//! Finds what the names of a specification refer to.

use std::collections::BTreeMap;

use super::parser::{Draft, DraftBegin, DraftBlocker, Mistake, Named};
use super::spec::{Begin, Blocker, Permutation, SessionSpec, Spec, Step};

/// Makes a specification of what was written.
pub(super) fn link(draft: Draft) -> Result<Spec, Vec<Mistake>> {
    let mut linker = Linker::default();
    let mut sessions = Vec::new();
    for (session, written) in draft.sessions.into_iter().enumerate() {
        for (name, sql) in written.steps {
            linker.step(session, name, sql);
        }
        sessions.push(SessionSpec { name: written.name, setup: written.setup, teardown: written.teardown });
    }
    let permutations = draft.permutations.iter().map(|order| linker.permutation(order)).collect();
    if !linker.mistakes.is_empty() {
        linker.mistakes.sort_by_key(|mistake| mistake.at.start);
        return Err(linker.mistakes);
    }
    Ok(Spec { setups: draft.setups, teardown: draft.teardown, sessions, steps: linker.steps, permutations })
}

#[derive(Default)]
struct Linker {
    steps: Vec<Step>,
    numbers: BTreeMap<String, usize>,
    mistakes: Vec<Mistake>,
}

impl Linker {
    fn step(&mut self, session: usize, name: Named, sql: String) {
        if self.numbers.insert(name.name.clone(), self.steps.len()).is_some() {
            self.mistake(&name, format!("there is a step {} already", name.name));
        }
        self.steps.push(Step { name: name.name, sql, session });
    }

    fn permutation(&mut self, order: &[DraftBegin]) -> Permutation {
        let mut steps = Vec::new();
        for begin in order {
            let Some(&step) = self.numbers.get(&begin.step.name) else {
                self.mistake(&begin.step, format!("there is no step {}", begin.step.name));
                continue;
            };
            let blockers = begin.blockers.iter().filter_map(|blocker| self.blocker(order, step, blocker)).collect();
            steps.push(Begin { step, blockers });
        }
        Permutation { steps }
    }

    fn blocker(&mut self, order: &[DraftBegin], step: usize, blocker: &DraftBlocker) -> Option<Blocker> {
        match blocker {
            DraftBlocker::Once => Some(Blocker::Once),
            DraftBlocker::Step(by) => self.other(order, step, by).map(Blocker::Step),
            DraftBlocker::Notices(by, count) => {
                self.other(order, step, by).map(|step| Blocker::Notices { step, count: *count })
            }
        }
    }

    /// The step that another one waits for: one of the same permutation, of another session.
    fn other(&mut self, order: &[DraftBegin], step: usize, by: &Named) -> Option<usize> {
        let waiter = self.steps[step].name.clone();
        let begun = order.iter().any(|begin| begin.step.name == by.name);
        let Some(&other) = self.numbers.get(&by.name).filter(|_| begun) else {
            self.mistake(by, format!("this permutation has no step {} that {waiter} could wait for", by.name));
            return None;
        };
        if self.steps[other].session == self.steps[step].session {
            self.mistake(by, format!("{waiter} cannot wait for {}, a step of its own session", by.name));
        }
        Some(other)
    }

    fn mistake(&mut self, at: &Named, message: String) {
        self.mistakes.push(Mistake { at: at.at.clone(), message });
    }
}
