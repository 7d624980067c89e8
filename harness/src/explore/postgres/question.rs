//! What the server is asked of a session: whether it waits, and what its transaction has locked.

use tokio::time::Instant;
use tokio_postgres::{Client, Statement};

use super::{STEP_MAX, said};
use crate::explore::footprint::{Footprint, Touch};
use crate::explore::world::{Lost, Note};

/// Of each session: whether it is in a transaction, the relations that it has locked and how, whether
/// it has an advisory lock, and whom it waits for.
pub(in crate::explore) const QUESTION: &str = "\
    SELECT p.pid, a.state, \
           ARRAY(SELECT l.relation::pg_catalog.text || ' ' || l.mode FROM pg_catalog.pg_locks l \
                 WHERE l.pid = p.pid AND l.locktype = 'relation' AND l.relation >= 16384), \
           EXISTS(SELECT FROM pg_catalog.pg_locks l WHERE l.pid = p.pid AND l.locktype = 'advisory'), \
           CASE WHEN a.state = 'active' THEN pg_catalog.pg_blocking_pids(p.pid) ELSE '{}' END \
    FROM pg_catalog.unnest($1::pg_catalog.int4[]) AS p(pid), pg_catalog.pg_stat_get_activity(p.pid) AS a";

/// What the server says of a session.
#[derive(Clone, Debug, Default)]
pub(in crate::explore) struct Said {
    /// It is at work: its last message has not been answered to the end.
    pub active: bool,
    pub in_transaction: bool,
    /// It has failed, and waits for ROLLBACK.
    pub aborted: bool,
    pub locks: Footprint,
    pub waits_for: Vec<i32>,
}

/// Asks the server about some sessions.
pub(in crate::explore) async fn ask(control: &Client, question: &Statement, pids: Vec<i32>) -> Result<Vec<Said>, Lost> {
    let rows = tokio::time::timeout(STEP_MAX, control.query(question, &[&pids])).await;
    let rows = rows.map_err(|_| Lost::during("ask the server who waits", "no answer"))?;
    let rows = rows.map_err(|error| said("ask the server who waits", &error))?;
    let mut all = vec![Said::default(); pids.len()];
    for row in rows {
        let pid: i32 = row.get(0);
        let state: Option<&str> = row.get(1);
        let at = pids.iter().position(|asked| *asked == pid).expect("only these were asked about");
        let mut locks = Footprint { advisory: row.get(3), ..Footprint::default() };
        for lock in row.get::<_, Vec<String>>(2) {
            let Some((relation, mode)) = lock.split_once(' ') else { continue };
            let relation = relation.parse().unwrap_or(0);
            locks.add(&Footprint { relations: [(relation, Touch::of_mode(mode))].into(), ..Footprint::default() });
        }
        let in_transaction = state.is_some_and(|state| state.starts_with("idle in transaction"));
        let aborted = state == Some("idle in transaction (aborted)");
        let active = state == Some("active");
        all[at] = Said { active, in_transaction, aborted, locks, waits_for: row.get(4) };
    }
    Ok(all)
}

/// Asks the server about a session whose step has ended. An error is told before the transaction is
/// aborted and its locks are let go, so that is waited for.
pub(in crate::explore) async fn ask_ended(control: &Client, question: &Statement, pid: i32) -> Result<Said, Lost> {
    let begin = Instant::now();
    loop {
        let said = ask(control, question, vec![pid]).await?.remove(0);
        if !said.active {
            return Ok(said);
        }
        if begin.elapsed() > STEP_MAX {
            return Err(Lost::new(format!("a session is still at work {} s after its answer", STEP_MAX.as_secs())));
        }
    }
}

/// Whether each of these sessions waits for a known one, and not in a circle: of a circle one will be freed.
pub(in crate::explore) fn all_wait(pending: &[i32], said: &[Said], known: &[i32]) -> bool {
    let waits_for = |pid: i32| pending.iter().position(|one| *one == pid).map(|at| &said[at].waits_for);
    let in_circle = |start: i32| {
        let (mut open, mut seen) = (vec![start], Vec::new());
        while let Some(pid) = open.pop() {
            for by in waits_for(pid).into_iter().flatten() {
                if *by == start {
                    return true;
                }
                if !seen.contains(by) {
                    seen.push(*by);
                    open.push(*by);
                }
            }
        }
        false
    };
    said.iter().all(|said| said.waits_for.iter().any(|by| known.contains(by)))
        && pending.iter().all(|pid| !in_circle(*pid))
}

/// What a step that has ended did to its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::explore) enum Sort {
    /// Began it, and nothing else.
    Begin,
    /// Ended it, and nothing else.
    End,
    /// Anything else.
    Other,
    /// The server refused it.
    Failed,
}

/// What a step touched that has just ended; `note` is what was known of its transaction.
pub(in crate::explore) fn observe(note: &mut Note, said: Said, sort: Sort, flags: &Footprint) -> Footprint {
    let (before, was_aborted) = (note.in_transaction, note.aborted);
    note.in_transaction = said.in_transaction;
    // The server's word: ROLLBACK TO a savepoint lets a failed transaction go on.
    note.aborted = said.aborted;
    match (before, said.in_transaction, sort) {
        // Nothing is done in an aborted transaction, and nothing is left to be ended.
        _ if was_aborted && (said.aborted || !said.in_transaction) => Footprint::default(),
        (.., Sort::Failed) => {
            note.touched = Footprint::default();
            Footprint::everything()
        }
        (false, true, Sort::Begin) => Footprint::default(),
        (_, true, _) => {
            // Locks of subtransactions that were rolled back are gone, what they touched is not.
            note.touched.add(&said.locks);
            with_flags(note.touched.clone(), flags)
        }
        (true, false, Sort::End) => {
            let touched = std::mem::take(&mut note.touched);
            let ended = Footprint { ends: touched.writes() || touched.advisory, ..touched };
            if ended.is_empty() { ended } else { with_flags(ended, flags) }
        }
        _ => {
            note.touched = Footprint::default();
            Footprint::everything()
        }
    }
}

/// The footprint of a session whose transactions are of this sort.
pub(in crate::explore) fn with_flags(footprint: Footprint, flags: &Footprint) -> Footprint {
    Footprint { snapshot: flags.snapshot, serializable: flags.serializable, ..footprint }
}
