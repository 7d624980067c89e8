//! An application, explored: without failures, then with those that are asked for; and what was found is run once more, so that
//! the units that were sent can be shown.

use std::sync::Arc;

use tokio::time::Instant;

use super::AppWorld;
use super::rules::{AppRules, Shown, confirm};
use crate::explore::case::{Explored, Options, explore};
use crate::explore::course::{Course, Names};
use crate::explore::faulted::explore_faults;
use crate::explore::judge::Found;
use crate::explore::search::Coverage;
use crate::explore::world::{Lost, World};
use crate::scenario::application::Application;
use crate::scenario::script::FaultKind;

/// A violation that came about again when its order was run again.
#[derive(Debug)]
pub struct Reproduced {
    /// The run in which it did.
    pub shown: Shown,
    /// The same actors one after the other, where that does not violate it.
    pub serial: Option<Course>,
}

impl Reproduced {
    /// The violation with the rows that were read.
    pub fn with_rows(&self) -> Found {
        Found { execution: self.shown.with_rows.clone(), ..self.shown.found.clone() }
    }
}

/// Runs the order of a violation again. If it does not come to it then, the search has diverged, and nothing was found.
///
/// # Errors
/// The database is lost.
pub async fn reproduce(
    world: &mut AppWorld,
    rules: &mut AppRules,
    of: &Found,
    explored: &mut Explored,
) -> Result<Option<Shown>, Lost> {
    world.inject(of.execution.fault());
    let shown = confirm(world, rules, &of.execution.order(), &of.check).await?;
    world.inject(None);
    if shown.found.check == of.check {
        return Ok(Some(shown));
    }
    // Something decides that is not in the order.
    let how = format!("{} ({}), which is not so when the same order is run again", of.check, of.sentence);
    explored.searched.coverage = Coverage::Diverged(how);
    explored.found.clear();
    Ok(None)
}

/// Explores an application. The rules are handed back, for what they know of names.
///
/// Cancellation: the world must then be dropped.
///
/// # Errors
/// The database is lost, a program makes no sense even by itself, or neither goes on nor ends.
pub async fn explore_application(
    world: &mut AppWorld,
    app: &Arc<Application>,
    kinds: &[FaultKind],
    options: &Options,
) -> Result<(Explored, AppRules, Vec<Reproduced>), Lost> {
    let (begun, violates) = (Instant::now(), app.violates.as_deref());
    let mut rules = AppRules::new(app, world);
    if !kinds.is_empty() {
        rules = rules.with_faults(world);
    }
    let (mut explored, mut rules) = explore(world, rules, violates, options).await?;
    (explored.refused, explored.not_compared) = (rules.refusals(), rules.not_compared());
    if !kinds.is_empty() {
        rules = explore_faults(world, rules, violates, kinds, &mut explored, options, begun).await?;
    }
    let mut all = Vec::new();
    for of in explored.found.clone() {
        let Some(shown) = reproduce(world, &mut rules, &of, &mut explored).await? else {
            all.clear();
            break;
        };
        let serial = match &of.serial {
            Some(serial) => {
                let serial = confirm(world, &mut rules, &serial.order(), &of.check).await?;
                let names = Names { queries: rules.names().queries, ..Names::of(&serial.script) };
                (serial.found.check != of.check).then(|| Course::new(&names, &serial.with_rows))
            }
            None => None,
        };
        all.push(Reproduced { shown, serial });
    }
    Ok((explored, rules, all))
}
