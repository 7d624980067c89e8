//! Whether an outcome is that of a serial order. Of whom something has failed the work may be wholly done or wholly missing;
//! but who says that it is done is held to that.

use std::collections::BTreeSet;

use super::{AppRules, AppWorld, some};
use crate::explore::judge::run_serially;
use crate::explore::rules::{permutations, violated};
use crate::explore::search::Execution;
use crate::explore::world::{Ended, Lost, World};
use crate::scenario::application::Job;

/// How the end of an actor for which something has failed is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// Nothing has failed: all ends are compared.
    Compared,
    /// By its exit code or its status; for what it answers may tell of the failure.
    Code(usize),
    /// Not at all.
    LeftOut(usize),
}

impl AppRules {
    /// How what an actor came to is compared, for which something has failed in an execution, if for any. An exit code of 0,
    /// or a status below 400, says that its work is done.
    pub(super) fn own(&self, world: &AppWorld, execution: &Execution) -> Own {
        let Some(actor) = execution.fault().map(|fault| fault.actor) else { return Own::Compared };
        let says_done = world.outcome(actor).is_some_and(|outcome| match self.app.actors[actor].job {
            Job::Run { .. } | Job::Worker { .. } | Job::Code(_) => outcome.code == 0,
            Job::Http(_) => outcome.met && outcome.code < 400,
        });
        if says_done { Own::Code(actor) } else { Own::LeftOut(actor) }
    }

    /// The final state and the answers, as they are compared with those of serial orders.
    fn state(&self, ended: &Ended, own: Own) -> Result<String, Lost> {
        let first = self.app.invariants.len();
        let mut state = Vec::new();
        for (number, answer) in ended.answers.iter().enumerate().skip(first) {
            let name = self.tables.get(number - first).map_or("answers", String::as_str);
            let is_table = number - first < self.tables.len();
            let mut answer = answer.as_ref().map(|rows| self.volatile.of_query(number, rows));
            if let (false, Ok(rows), Own::Code(actor) | Own::LeftOut(actor)) = (is_table, &mut answer, own) {
                let name = &self.app.actors[actor].name;
                rows.retain(|row| own != Own::LeftOut(actor) || row[0] != *name);
                rows.iter_mut().filter(|row| row[0] == *name).for_each(|row| row[2].clear());
            }
            match answer {
                Ok(rows) if rows.is_empty() => {}
                // Whoever has just ended, as is usual, needs no mention.
                Ok(rows) if !is_table && rows.iter().all(|row| row[1] == "0" && row[2].is_empty()) => {}
                Ok(rows) => state.push(format!("{name}: {}", some(&rows))),
                Err(error) => return Err(Lost::new(format!("failed to compare {name} with its beginning: {error}"))),
            }
        }
        Ok(if state.is_empty() { "nothing has changed".to_owned() } else { state.join("; ") })
    }

    /// The states to which serial orders of all actors come, of which at most so many are run. What differs by itself was
    /// left out before.
    ///
    /// # Errors
    /// The database is lost, or an actor makes no sense even by itself.
    pub async fn serial_states(&mut self, world: &mut AppWorld, most: usize) -> Result<BTreeSet<String>, Lost> {
        Ok(self.serial_runs(world, most).await?.into_iter().map(|(_, state)| state).collect())
    }

    /// As [`Self::serial_states`], a run each: the invariants that it violates, and the state to which it comes.
    ///
    /// # Errors
    /// The database is lost, or an actor makes no sense even by itself.
    pub async fn serial_runs(
        &mut self,
        world: &mut AppWorld,
        most: usize,
    ) -> Result<Vec<(Vec<(String, String)>, String)>, Lost> {
        let all: Vec<usize> = (0..self.app.actors.len()).collect();
        let mut runs = Vec::new();
        for order in permutations(&all).into_iter().take(most) {
            let ended = run_serially(world, &order, &self.queries).await?.ended;
            runs.push((violated(&self.app.invariants, &ended, some)?, self.state(&ended, Own::Compared)?));
        }
        Ok(runs)
    }

    /// What these actors come to one after the other, in every order of them.
    async fn serial(
        &mut self,
        world: &mut AppWorld,
        actors: BTreeSet<usize>,
        own: Own,
    ) -> Result<BTreeSet<String>, Lost> {
        if !self.serial.contains_key(&actors) {
            let mut ends = Vec::new();
            let all: Vec<usize> = actors.iter().copied().collect();
            // What is compared with is what comes of it where nothing fails.
            let fault = world.inject(None);
            for order in permutations(&all) {
                ends.push(run_serially(world, &order, &self.queries).await?.ended);
            }
            world.inject(fault);
            self.serial.insert(actors.clone(), ends);
        }
        self.serial[&actors].iter().map(|ended| self.state(ended, own)).collect()
    }

    /// How the outcome differs from that of every serial order of all who took part.
    pub(super) async fn differs(
        &mut self,
        world: &mut AppWorld,
        execution: &Execution,
        own: Own,
    ) -> Result<Option<String>, Lost> {
        if !execution.ended.stuck.is_empty() {
            return Ok(None);
        }
        let actors: BTreeSet<usize> = execution.taken.iter().map(|taken| taken.actor).collect();
        let most = self.serial_actors_max;
        if actors.len() > most {
            world.bounds.insert(format!("of more than {most} actors outcomes are not compared with serial orders"));
            return Ok(None);
        }
        let state = self.state(&execution.ended, own)?;
        let serial = self.serial(world, actors.clone(), own).await?;
        if serial.contains(&state) {
            return Ok(None);
        }
        let come_to =
            |serial: &BTreeSet<String>| serial.iter().map(String::as_str).collect::<Vec<_>>().join(", or to ");
        let mut sentence = format!("the outcome is {state}; one after the other they come to {}", come_to(&serial));
        if let (Own::Code(actor) | Own::LeftOut(actor), Some(fault)) = (own, execution.fault()) {
            let others: BTreeSet<usize> = actors.into_iter().filter(|other| *other != actor).collect();
            let without = self.serial(world, others, Own::LeftOut(actor)).await?;
            let is_missing = without.contains(&self.state(&execution.ended, Own::LeftOut(actor))?);
            let (name, step) = (&self.app.actors[actor].name, fault.step + 1);
            match own {
                Own::LeftOut(_) if is_missing => return Ok(None),
                Own::Code(_) if is_missing => {
                    let what = fault.kind;
                    sentence = format!(
                        "{name} says that it is done, and nothing of its work remains: it has given up after {what} at its \
                         step {step}, and nobody is told; {sentence}"
                    );
                }
                _ => sentence.push_str(&format!("; without {name} to {}", come_to(&without))),
            }
        }
        Ok(Some(sentence))
    }
}
