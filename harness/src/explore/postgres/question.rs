//! What the server is asked of a session: whether it waits, and what its transaction has locked.

use tokio::time::Instant;
use tokio_postgres::{Client, Statement};

use super::{STEP_MAX, said};
use crate::database::waiting::blockers_if;
use crate::explore::footprint::{Footprint, Touch};
use crate::explore::world::{Lost, Note, Settings};

macro_rules! question {
    ($more:literal) => {
        concat!(
            "SELECT p.pid, a.state, \
           ARRAY(SELECT pg_catalog.concat(c.relkind, ' ', l.mode, ' ', n.nspname, '.', c.relname) \
                 FROM pg_catalog.pg_locks l \
                 LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = l.relation \
                 LEFT JOIN pg_catalog.pg_class c ON c.oid = COALESCE( \
                     pg_catalog.pg_partition_root(COALESCE(i.indrelid, l.relation)), i.indrelid, l.relation) \
                 LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE l.pid = p.pid AND l.locktype = 'relation' AND l.relation >= 16384 \
                   AND c.relpersistence IS DISTINCT FROM 't'), \
           EXISTS(SELECT FROM pg_catalog.pg_locks l WHERE l.pid = p.pid AND l.locktype = 'advisory'), ",
            blockers_if!("a.state = 'active'", "p.pid"),
            ", CASE WHEN a.state = 'active' THEN pg_catalog.pg_safe_snapshot_blocking_pids(p.pid) ELSE '{}' END, \
               CASE WHEN a.state = 'idle in transaction (aborted)' \
                 THEN EXISTS(SELECT FROM pg_catalog.pg_locks l WHERE l.pid = p.pid AND l.locktype = 'virtualxid') \
                 ELSE a.state LIKE 'idle in transaction%' END",
            $more,
            " FROM pg_catalog.unnest($1::pg_catalog.int4[]) AS p(pid), pg_catalog.pg_stat_get_activity(p.pid) AS a"
        )
    };
}

/// Of each session: whether it is in a transaction, the relations that it has locked and how, whether
/// it has an advisory lock, whom it waits for (for a lock, and for a snapshot: the server knows no other wait for somebody's
/// transaction), and whether a transaction of it is still there that has not failed as a whole: what was begun before a
/// savepoint keeps its virtual number.
///
/// What nobody else can see yet, a table that was made a moment ago, has neither kind nor name.
pub(in crate::explore) const QUESTION: &str = question!("");

/// The same, and what isolation its transaction is seen to have: an idle session holds a snapshot only where its
/// transaction, or a cursor, sees one state throughout; predicate locks are those of SERIALIZABLE.
pub(in crate::explore) const QUESTION_WITH_ISOLATION: &str = question!(
    ", a.backend_xmin IS NOT NULL AND a.state <> 'active', \
     EXISTS(SELECT FROM pg_catalog.pg_locks l WHERE l.pid = p.pid AND l.mode = 'SIReadLock')"
);

/// Of each relation: its number, kind and name, as in [`QUESTION`].
pub(super) const NAMES: &str = "\
    SELECT r.oid, pg_catalog.concat(c.relkind), pg_catalog.concat(n.nspname, '.', c.relname), \
           c.relpersistence IS NOT DISTINCT FROM 't' \
    FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS r(oid) \
    LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = r.oid \
    LEFT JOIN pg_catalog.pg_class c ON c.oid = COALESCE( \
        pg_catalog.pg_partition_root(COALESCE(i.indrelid, r.oid)), i.indrelid, r.oid) \
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace";

/// How many of these functions are written in a language whose statements are planned, or do nothing but compute.
pub(super) const SEEN: &str = "\
    SELECT pg_catalog.count(*) FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
    WHERE p.oid = ANY($1::pg_catalog.oid[]) AND p.prokind <> 'a' \
      AND (l.lanname IN ('sql', 'plpgsql') OR p.provolatile = 'i')";

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
    /// Something of its transaction is still to be ended. Of one that has failed that is what was done before a savepoint.
    pub is_kept: bool,
    /// It is no lock that it waits for, but a snapshot (SERIALIZABLE READ ONLY DEFERRABLE): of such a wait neither the
    /// look for deadlocks nor `lock_timeout` knows.
    pub for_snapshot: bool,
    /// It holds a snapshot while it does nothing, as far as that was asked.
    pub snapshot: bool,
    /// It holds predicate locks, as far as that was asked.
    pub serializable: bool,
}

/// Adds a touch of a relation of this kind. A relation that cannot be seen may be any. A sequence is no table:
/// whatever is done to it, everybody sees at once.
pub(super) fn touch(footprint: &mut Footprint, kind: &str, name: &str, touch: Touch) {
    match kind {
        "" => footprint.everything = true,
        "S" => footprint.touch(name, touch.max(Touch::Lock)),
        _ => footprint.touch(name, touch),
    }
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
            let mut parts = lock.splitn(3, ' ');
            let [kind, mode, name] = [(); 3].map(|()| parts.next().unwrap_or_default());
            touch(&mut locks, kind, name, Touch::of_mode(mode));
        }
        let in_transaction = state.is_some_and(|state| state.starts_with("idle in transaction"));
        let aborted = state == Some("idle in transaction (aborted)");
        let active = state == Some("active");
        let is_kept = row.get::<_, Option<bool>>(6).unwrap_or(false);
        let (snapshot, serializable) = if row.len() > 7 { (row.get(7), row.get(8)) } else { (false, false) };
        let (mut waits_for, for_its_snapshot): (Vec<i32>, Vec<i32>) = (row.get(4), row.get(5));
        let for_snapshot = !for_its_snapshot.is_empty();
        waits_for.extend(for_its_snapshot);
        all[at] =
            Said { active, in_transaction, aborted, locks, waits_for, is_kept, for_snapshot, snapshot, serializable };
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

/// What the server calls the owner of a lock that a prepared transaction holds: no session.
const PREPARED: i32 = 0;

/// Whether each of these sessions waits for a known one, and not in a circle: of a circle of locks one will be freed.
///
/// A prepared transaction is known: it is the script's, for it locks what is in the script's database, and no session
/// but the script's can end it.
pub(in crate::explore) fn all_wait(pending: &[i32], said: &[Said], known: &[i32]) -> bool {
    let waits_for = |pid: i32| {
        let at = pending.iter().position(|one| *one == pid)?;
        (!said[at].for_snapshot).then_some(&said[at].waits_for)
    };
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
    said.iter().all(|said| said.waits_for.iter().any(|by| *by == PREPARED || known.contains(by)))
        && pending.iter().all(|pid| !in_circle(*pid))
}

/// What a step that has ended did to its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::explore) enum Sort {
    /// Began it, and nothing else.
    Begin,
    /// Ended it, and nothing else.
    End,
    /// Took back a part of it, and nothing else.
    TakesBack,
    /// Changed what only the session knows: a savepoint, a setting.
    Session,
    /// Anything else.
    Other,
    /// The server refused it.
    Failed,
}

/// What a step did, by its kind and by what the server printed.
#[derive(Clone, Debug)]
pub(in crate::explore) struct Did {
    pub sort: Sort,
    /// What its own statements touched; nothing if that was not looked at: it may then have touched again
    /// whatever its transaction has touched before.
    pub own: Option<Footprint>,
    /// What the session's transactions are like.
    pub settings: Settings,
}

/// What statements touched by themselves, where some of them lock tables by name: any lock that the transaction has may
/// have become stronger by that; and by itself such a statement has let it go already.
pub(in crate::explore) fn with_locks_by_name(own: Option<Footprint>, said: &Said) -> Option<Footprint> {
    own.filter(|_| said.in_transaction).map(|mut own| {
        own.add(&said.locks);
        own
    })
}

/// What a step touched that has just ended; `note` is what was known of its transaction.
pub(in crate::explore) fn observe(note: &mut Note, said: Said, did: Did) -> Footprint {
    let (before, was_aborted) = (note.in_transaction, note.aborted);
    note.in_transaction = said.in_transaction;
    // The server's word: ROLLBACK TO a savepoint lets a failed transaction go on.
    note.aborted = said.aborted;
    match (before, said.in_transaction, did.sort) {
        // Nothing is done in an aborted transaction.
        _ if was_aborted && said.aborted && did.sort != Sort::Other => Footprint::default(),
        // What its error has left is ended: nothing, or what was done before a savepoint.
        _ if was_aborted && !said.in_transaction && did.sort != Sort::Other => {
            let touched = std::mem::take(&mut note.touched);
            Footprint { ends: touched.writes() || touched.advisory, ..touched }
        }
        (.., Sort::Failed) => {
            note.touched = kept(std::mem::take(&mut note.touched), &said);
            Footprint::everything()
        }
        (false, true, Sort::Begin) | (false, false, Sort::End | Sort::TakesBack) => Footprint::default(),
        (true, true, Sort::Session) => did.own.unwrap_or_else(Footprint::everything),
        (_, true, _) => {
            // Locks of subtransactions that were rolled back are gone, what they touched is not.
            let new = said.locks.beyond(&note.touched);
            note.touched.add(&said.locks);
            note.touched.add(did.own.as_ref().unwrap_or(&Footprint::default()));
            let touched = match did.own {
                Some(mut own) if did.sort != Sort::TakesBack => {
                    own.add(&new);
                    own
                }
                _ => note.touched.clone(),
            };
            let touched = with_settings(touched, did.settings);
            note.touched = with_settings(std::mem::take(&mut note.touched), did.settings);
            touched
        }
        (true, false, Sort::End) => {
            let mut touched = std::mem::take(&mut note.touched);
            touched.add(did.own.as_ref().unwrap_or(&Footprint::default()));
            Footprint { ends: touched.writes() || touched.advisory, ..touched }
        }
        (false, false, Sort::Other | Sort::Session) => match did.own {
            Some(mut own) => {
                own.add(&said.locks);
                own.ends = own.writes() || own.advisory;
                own.serializable |= did.settings.serializable;
                own
            }
            None => Footprint::everything(),
        },
        _ => {
            note.touched = Footprint::default();
            Footprint::everything()
        }
    }
}

/// What a transaction has touched and not let go, after an error in it. An error takes back the innermost subtransaction
/// and no more: what was done before a savepoint stays, and stays locked, until ROLLBACK.
pub(in crate::explore) fn kept(mut touched: Footprint, said: &Said) -> Footprint {
    if !said.is_kept {
        return Footprint::default();
    }
    touched.add(&said.locks);
    touched
}

/// The footprint of a session whose transactions are of this sort.
pub(in crate::explore) fn with_settings(footprint: Footprint, settings: Settings) -> Footprint {
    Footprint {
        snapshot: footprint.snapshot || settings.snapshot,
        serializable: footprint.serializable || settings.serializable,
        ..footprint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrote(relation: &str) -> Footprint {
        let mut footprint = Footprint::of_statement();
        footprint.touch(relation, Touch::Write);
        footprint
    }

    fn did(sort: Sort, own: Option<Footprint>) -> Did {
        Did { sort, own, settings: Settings::default() }
    }

    fn idle(in_transaction: bool) -> Said {
        Said { in_transaction, ..Said::default() }
    }

    #[test]
    fn a_statement_is_known_by_itself_and_its_transactions_end_by_all_of_it() {
        let mut note = Note::default();
        assert!(observe(&mut note, idle(true), did(Sort::Begin, None)).is_empty());
        assert_eq!(observe(&mut note, idle(true), did(Sort::Other, Some(wrote("a")))), wrote("a"));
        assert_eq!(observe(&mut note, idle(true), did(Sort::Other, Some(wrote("b")))), wrote("b"));
        let end = observe(&mut note, idle(false), did(Sort::End, Some(Footprint::of_statement())));
        assert!(end.ends && end.relations.len() == 2);
        // By itself it is all of its transaction.
        let alone = observe(&mut note, idle(false), did(Sort::Other, Some(wrote("a"))));
        assert_eq!(alone, Footprint { ends: true, ..wrote("a") });
        assert!(observe(&mut note, idle(false), did(Sort::Other, None)).everything);
    }

    #[test]
    fn what_was_not_looked_at_may_be_all_that_was_touched_before() {
        let mut note = Note { in_transaction: true, touched: wrote("a"), ..Note::default() };
        let said = Said { locks: wrote("b"), ..idle(true) };
        assert_eq!(observe(&mut note, said, did(Sort::Other, None)).relations.len(), 2);
        assert_eq!(observe(&mut note, idle(true), did(Sort::TakesBack, Some(Footprint::default()))).relations.len(), 2);
    }

    #[test]
    fn a_wait_lasts_if_it_is_for_somebody_known_and_no_lock_in_a_circle() {
        let waits = |by: i32| Said { active: true, waits_for: vec![by], ..Said::default() };
        assert!(all_wait(&[1], &[waits(2)], &[1, 2]) && !all_wait(&[1], &[waits(9)], &[1, 2]));
        assert!(!all_wait(&[1], &[Said { active: true, ..Said::default() }], &[1, 2]));
        assert!(all_wait(&[1], &[waits(PREPARED)], &[1, 2]));
        assert!(!all_wait(&[1, 2], &[waits(2), waits(1)], &[1, 2]));
        // The look for deadlocks does not find that one.
        let snapshot = Said { for_snapshot: true, ..waits(1) };
        assert!(all_wait(&[1, 2], &[waits(2), snapshot], &[1, 2]));
    }

    #[test]
    fn nothing_is_done_in_a_failed_transaction() {
        let mut note = Note { in_transaction: true, touched: wrote("a"), ..Note::default() };
        let failed = Said { aborted: true, ..idle(true) };
        assert!(observe(&mut note, failed, did(Sort::Failed, None)).everything);
        assert!(observe(&mut note, idle(false), did(Sort::End, None)).is_empty());
    }

    #[test]
    fn what_was_done_before_a_savepoint_is_ended_by_the_rollback_of_a_failed_transaction() {
        let mut note = Note { in_transaction: true, touched: wrote("a"), ..Note::default() };
        note.touched.everything = true;
        let failed = Said { aborted: true, is_kept: true, ..idle(true) };
        assert!(observe(&mut note, failed.clone(), did(Sort::Failed, None)).everything);
        // It is refused, and nothing of it is forgotten.
        assert!(observe(&mut note, failed, did(Sort::Failed, None)).is_empty());
        let end = observe(&mut note, idle(false), did(Sort::End, None));
        assert_eq!(end, Footprint { ends: true, everything: true, ..wrote("a") });
        assert!(note.touched.is_empty());
    }
}
