//! What the server is asked of a session: whether it waits, and what its transaction has locked.

use tokio_postgres::{Client, Statement};

use super::{STEP_MAX, said};
use crate::explore::footprint::{Footprint, Touch};
use crate::explore::world::Lost;

/// Of each session: whether it is in a transaction, the relations that it has locked and how, whether
/// it has an advisory lock, and whom it waits for.
pub(super) const QUESTION: &str = "\
    SELECT p.pid, a.state, \
           ARRAY(SELECT l.relation::pg_catalog.text || ' ' || l.mode FROM pg_catalog.pg_locks l \
                 WHERE l.pid = p.pid AND l.locktype = 'relation' AND l.relation >= 16384), \
           EXISTS(SELECT FROM pg_catalog.pg_locks l WHERE l.pid = p.pid AND l.locktype = 'advisory'), \
           CASE WHEN a.state = 'active' THEN pg_catalog.pg_blocking_pids(p.pid) ELSE '{}' END \
    FROM pg_catalog.unnest($1::pg_catalog.int4[]) AS p(pid), pg_catalog.pg_stat_get_activity(p.pid) AS a";

/// What the server says of a session.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub in_transaction: bool,
    /// It has failed, and waits for ROLLBACK.
    pub aborted: bool,
    pub locks: Footprint,
    pub waits_for: Vec<i32>,
}

/// Asks the server about some sessions.
pub(super) async fn ask(control: &Client, question: &Statement, pids: Vec<i32>) -> Result<Vec<Said>, Lost> {
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
        all[at] = Said { in_transaction, aborted, locks, waits_for: row.get(4) };
    }
    Ok(all)
}
