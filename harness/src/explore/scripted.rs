//! A script, explored: its orders, then its pairs of steps at the same time, or its orders with something that fails.

use std::sync::Arc;

use drift_engine::lock::Backend;
use tokio::time::Instant;

use super::case::{Explored, Options, explore};
use super::faulted::explore_faults;
use super::hosts::{HostError, Hosts};
use super::overlap::overlap;
use super::rules::ScriptRules;
use super::world::{Lost, World};
use crate::scenario::script::{FaultKind, Overlap, Script, ScriptCase};

/// What is asked of a script beside its orders.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// Steps that are run at the same time, many times over; on PostgreSQL alone.
    pub pairs: &'a [Overlap],
    /// What is to fail, at each place.
    pub faults: &'a [FaultKind],
}

/// Explores a case of a script in a database of its own. The backend must have been made [ready](Hosts::ready).
///
/// Cancellation: the database goes with the hosts.
///
/// # Errors
/// There is no database, the set-up fails, or a query of the script does.
pub async fn explore_script(
    hosts: &mut Hosts,
    script: &Arc<Script>,
    case: &ScriptCase,
    asked: &Asked<'_>,
    options: &Options,
) -> Result<Explored, HostError> {
    let violates = case.violates.as_deref();
    match case.backend {
        Backend::Postgres => {
            let mut world = hosts.postgres(script.clone(), case).await?;
            let (mut explored, rules) = explored(&mut world, script, case, asked.faults, options).await?;
            if let Some(rules) = rules
                && (options.all || !explored.has_found(violates))
            {
                explored.overlaps = overlap(&mut world, rules, script, violates, asked.pairs, options).await?;
            }
            world.close().await?;
            Ok(explored)
        }
        // Nothing runs beside a writer there.
        Backend::Sqlite => {
            let mut world = hosts.sqlite(script.clone(), case).await?;
            Ok(explored(&mut world, script, case, asked.faults, options).await?.0)
        }
    }
}

/// The orders, then those with something that fails, if anything is to; else the rules are handed back.
async fn explored<'s, W: World>(
    world: &mut W,
    script: &'s Script,
    case: &'s ScriptCase,
    kinds: &[FaultKind],
    options: &Options,
) -> Result<(Explored, Option<ScriptRules<'s>>), Lost> {
    let (begun, mut rules) = (Instant::now(), ScriptRules::new(script, case));
    if !kinds.is_empty() {
        let wants = kinds.contains(&FaultKind::LostAfter) && script.serial.is_empty();
        rules = rules.with_faults(if wants { world.tables().await? } else { Vec::new() });
    }
    let (mut explored, rules) = explore(world, rules, case.violates.as_deref(), options).await?;
    explored.tell(script, &rules);
    if kinds.is_empty() {
        return Ok((explored, Some(rules)));
    }
    explore_faults(world, rules, case.violates.as_deref(), kinds, &mut explored, options, begun).await?;
    Ok((explored, None))
}
