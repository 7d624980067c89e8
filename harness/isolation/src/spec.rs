//! A specification: what every session can do, and in which orders it is to be done.
//!
//! A [`Spec`] has been checked: whatever a permutation names is there. Steps are known by their
//! number, in the order in which they stand in the file.

/// A specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// What is run before each permutation, each as one message.
    pub setups: Vec<String>,
    /// What is run after each permutation.
    pub teardown: Option<String>,
    /// The sessions: one at least.
    pub sessions: Vec<SessionSpec>,
    /// All steps of all sessions.
    pub steps: Vec<Step>,
    /// The orders to run; all possible ones if there is none.
    pub permutations: Vec<Permutation>,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSpec {
    /// Its name.
    pub name: String,
    /// What it runs before each permutation.
    pub setup: Option<String>,
    /// What it runs after each permutation.
    pub teardown: Option<String>,
}

/// A step of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name, which no other step has.
    pub name: String,
    /// What it runs: one message, of any number of statements.
    pub sql: String,
    /// The number of its session.
    pub session: usize,
}

/// An order in which steps are begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permutation {
    /// The steps; one may occur several times.
    pub steps: Vec<Begin>,
}

/// The begin of a step within a permutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// The number of the step.
    pub step: usize,
    /// What its end must wait for, before it is reported.
    pub blockers: Vec<Blocker>,
}

/// A blocking marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocker {
    /// `(*)`: the step is reported as waiting, however fast it was.
    Once,
    /// `(step)`: it is not reported as complete while that step has not been.
    Step(usize),
    /// `(step notices n)`: nor before that step's session has sent this many notices since its begin.
    Notices {
        /// The step that names the session.
        step: usize,
        /// How many notices.
        count: u32,
    },
}

impl Spec {
    /// The names of the steps that no permutation uses, sorted; none if there are no permutations.
    pub fn unused(&self) -> Vec<&str> {
        if self.permutations.is_empty() {
            return Vec::new();
        }
        let begun = |step| self.permutations.iter().any(|order| order.steps.iter().any(|begin| begin.step == step));
        let mut names: Vec<&str> =
            (0..self.steps.len()).filter(|step| !begun(*step)).map(|step| self.steps[step].name.as_str()).collect();
        names.sort_unstable();
        names
    }
}
