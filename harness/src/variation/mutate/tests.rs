//! What becomes of a mutant, by what was seen of it.

use std::convert::Infallible;
use std::time::Duration;

use drift_engine::lock::Backend;

use super::*;
use crate::explore::case::Explored;
use crate::explore::search::{Searched, Strategy};

/// A job that every check passes, whatever is taken away of its one defence.
struct Passing {
    /// What could not be changed, and only once outcomes are compared if so.
    left: Option<(&'static str, bool)>,
}

impl Subject for Passing {
    type Error = Infallible;
    type Defence = String;

    fn name<'d>(&self, defence: &'d String) -> &'d str {
        defence
    }

    fn actors(&self) -> usize {
        2
    }

    fn without(&self, _: &[&String]) -> Variation {
        let (backend, script) = (Backend::Postgres, Arc::default());
        let (name, begin, violates, set) = (String::new(), String::new(), None, Default::default());
        let case = ScriptCase { name: name.clone(), backend, begin, violates, set };
        Variation { name, script, case, altered: Vec::new(), statements: Vec::new(), on_wire: OnWire::default() }
    }

    fn gives_up(&self, _: &Variation) -> bool {
        false
    }

    async fn explore(
        &mut self,
        without: &[&String],
        compared: bool,
        _: &Options,
    ) -> Result<Result<Looked, Refused>, Infallible> {
        let searched = Searched { coverage: Coverage::Exhausted, executions: 2, ..Searched::diverged(String::new()) };
        let explored = Explored {
            searched,
            orders: 2.0,
            outcomes: Vec::new(),
            waited: 0,
            found: Vec::new(),
            overlaps: Vec::new(),
            faulted: None,
            took: Duration::ZERO,
            says_nothing: None,
            refused: Vec::new(),
            not_compared: Vec::new(),
        };
        let left = self.left.filter(|(_, late)| !without.is_empty() && (compared || !late));
        let left = left.map(|(why, _)| why.to_owned());
        let seen = Seen { explored, ran: Default::default() };
        Ok(Ok(Looked { seen, executed: 2, script: None, cannot_run: None, left }))
    }

    async fn serially(&mut self, _: &[&String]) -> Result<Result<BTreeSet<String>, Refused>, Infallible> {
        Ok(Ok(["1".to_owned()].into()))
    }

    async fn defences(&mut self) -> Result<Result<Vec<String>, Refused>, Infallible> {
        Ok(Ok(vec!["FOR UPDATE".to_owned()]))
    }
}

async fn fate(left: Option<(&'static str, bool)>) -> Fate {
    let (strategy, executions) = (Strategy::Exhaustive, Arc::default());
    let options = Options { strategy, seed: 1, limit: None, all: false, executions };
    let Ok(mutated) = mutate_subject(&mut Passing { left }, &options).await;
    match mutated {
        Ok(Mutated::Mutants { mutants, .. }) => mutants[0].fate.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_was_not_taken_away_everywhere_is_not_called_harmless() {
    assert!(matches!(fate(None).await, Fate::Harmless));
    for late in [false, true] {
        let fate = fate(Some(("a WITH has no place", late))).await;
        let Fate::Undecided(why) = &fate else { panic!("{fate:?}") };
        assert_eq!(why, "it was not taken away everywhere: a WITH has no place");
    }
}
