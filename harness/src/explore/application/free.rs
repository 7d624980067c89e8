//! Actors that run freely. They begin together, and one of them is held once: whoever is the first to come to its COMMIT
//! in a transaction that has written or locked, by the server's word; or to its second one, or third. It goes on as soon
//! as the others wait, have ended, or do nothing more. From then on nobody is held.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use driftlock_wire::{Answer, ConnectionId, Unit};
use tokio::time::Instant;

use super::settle::{LOOK_EVERY, Moved};
use super::{ANSWER_MAX, AppWorld, transcript};
use crate::explore::postgres::question::Said;
use crate::explore::postgres::said as failed;
use crate::explore::world::{Ended, Lost, What, World};
use crate::scenario::script::Script;

/// How long a COMMIT is held, at most.
const HOLD_MAX: Duration = Duration::from_secs(10);
/// How long all actors together may take, at least; more where the file lets them be silent for longer.
const RUN_MAX: Duration = Duration::from_secs(300);
/// How many times the silence that the file allows.
const SILENCES_MAX: u32 = 10;
/// The most units of one run: whoever sends more goes round in circles.
const UNITS_MAX: usize = 20_000;
/// How soon the server is asked who waits, after something has happened; and how often while nothing does.
const ASK_AFTER: Duration = Duration::from_millis(1);
const ASK_EVERY: Duration = Duration::from_millis(8);

/// Whether a session has written, has locked rows (both give its transaction a number), or has locked a table or a
/// number by name.
const HAS_WRITTEN_OR_LOCKED: &str = "\
    SELECT a.backend_xid IS NOT NULL OR EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.pid = $1 AND l.granted \
        AND (l.locktype = 'advisory' OR l.locktype = 'relation' AND l.relation >= 16384 \
             AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock'))) \
    FROM pg_catalog.pg_stat_get_activity($1) AS a";

/// A unit that an actor has sent, and what came of it.
#[derive(Clone, Debug)]
pub struct Passed {
    /// Whose.
    pub actor: usize,
    /// Which of its units, from 0.
    pub step: usize,
    /// When it went to the server, since the actors began.
    pub begun: Duration,
    /// When it was answered, if it was.
    pub ended: Option<Duration>,
    /// What came of it. The values of rows are left out, for they may differ by themselves.
    pub what: What,
    /// The first rows that came of it.
    pub rows: Vec<Vec<String>>,
    /// The actors for which the server said that it waits.
    pub waited_for: BTreeSet<usize>,
    /// How long it was held before.
    pub held: Option<Duration>,
}

/// How a run begins.
#[derive(Clone, Debug)]
pub struct Opening {
    /// How long each actor is kept back before its next units.
    pub pauses: Vec<VecDeque<Duration>>,
    /// Who is let go first.
    pub first: usize,
    /// Which COMMIT of an actor is held, of those with something to keep, from 0.
    pub commit: usize,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct FreeRun {
    /// Every unit, in the order in which they went to the server.
    pub units: Vec<Passed>,
    /// The same as a script's steps.
    pub script: Script,
    /// Somebody was held before its COMMIT, and meanwhile another actor waited, or sent something.
    pub arranged: bool,
    /// Somebody was seen to change a row, or to hold a lock.
    pub wrote: bool,
    /// How it ended.
    pub ended: Ended,
    /// When, since the actors began.
    pub took: Duration,
    /// What each actor has printed.
    pub outputs: Vec<(String, String)>,
}

/// A run under way.
#[derive(Debug)]
pub(super) struct Free {
    since: Instant,
    passed: Vec<Passed>,
    /// Where in that list a step is.
    at: BTreeMap<(usize, usize), usize>,
    /// Which COMMIT of an actor is held, and to how many each has come.
    commit: usize,
    commits: BTreeMap<usize, usize>,
    /// Whose COMMIT is held, and since when.
    held: Option<(ConnectionId, usize, Instant)>,
    /// Who was held and is not any more, and for how long.
    was_held: Option<(ConnectionId, Duration)>,
    arranged: bool,
    /// An answer told of rows that were changed.
    changed: bool,
    /// The unit that was held is in the list.
    is_told: bool,
}

impl Free {
    fn new(commit: usize) -> Self {
        Self {
            commit,
            commits: BTreeMap::new(),
            since: Instant::now(),
            passed: Vec::new(),
            at: BTreeMap::new(),
            held: None,
            was_held: None,
            arranged: false,
            changed: false,
            is_told: false,
        }
    }

    fn of(&mut self, step: (usize, usize)) -> Option<&mut Passed> {
        self.at.get(&step).and_then(|at| self.passed.get_mut(*at))
    }

    /// A unit has gone to the server.
    fn sent(&mut self, actor: usize, step: usize, at: Instant) {
        self.at.insert((actor, step), self.passed.len());
        let (begun, what) = (at.duration_since(self.since), What::Waits { by: Vec::new() });
        let (ended, rows, waited_for, held) = (None, Vec::new(), BTreeSet::new(), None);
        self.passed.push(Passed { actor, step, begun, ended, what, rows, waited_for, held });
    }

    /// A unit was answered.
    pub fn answered(&mut self, step: (usize, usize), at: Instant, what: What, answer: &Answer) {
        self.changed |= answer.outcomes.iter().any(|outcome| transcript::changes(&outcome.tag));
        self.ended(step, at, what);
    }

    /// A unit was answered, or its connection has ended.
    pub fn ended(&mut self, step: (usize, usize), at: Instant, what: What) {
        let since = self.since;
        if let Some(passed) = self.of(step) {
            (passed.ended, passed.what) = (Some(at.duration_since(since)), what);
        }
    }

    /// Whether somebody else has waited or sent something since an actor was held.
    fn has_met(&self, holder: usize, since: Instant) -> bool {
        let since = since.duration_since(self.since);
        let mut others = self.passed.iter().filter(|passed| passed.actor != holder);
        others.any(|passed| {
            passed.begun >= since || passed.waited_for.contains(&holder) && passed.ended.is_none_or(|at| at > since)
        })
    }
}

impl AppWorld {
    /// Puts the beginning back and has every actor do its job, all at the same time.
    ///
    /// Cancellation: the world must then be dropped.
    ///
    /// # Errors
    /// The database is lost, or a program neither goes on nor ends.
    pub async fn run_freely(&mut self, opening: Opening, queries: &[String]) -> Result<FreeRun, Lost> {
        // All are at their first unit then, so that none is late by its start.
        self.reset().await?;
        let (begin, Opening { pauses, first, commit }) = (Instant::now(), opening);
        self.free = Some(Free::new(commit));
        self.gate.run_freely(pauses, first);
        self.go_on().await?;
        let took = begin.elapsed();
        let ended = self.finish(queries).await?;
        self.gate.close();
        let Free { mut passed, arranged, was_held, changed, .. } = self.free.take().expect("it was put there above");
        let wrote = changed || was_held.is_some() || passed.iter().any(|unit| !unit.waited_for.is_empty());
        let (outputs, transcript) = (self.outputs(), std::mem::take(&mut self.transcript));
        for unit in &mut passed {
            if let Some(shown) = transcript.get(&(unit.actor, unit.step)) {
                unit.rows.clone_from(&shown.rows);
            }
        }
        let script = transcript::script(&self.app, &transcript);
        Ok(FreeRun { units: passed, script, arranged, wrote, ended, took, outputs })
    }

    /// The most transactions with changed rows that an actor has committed in one execution so far.
    pub fn commits_max(&self) -> usize {
        self.commits_max
    }

    /// A unit has gone to the server, and nobody has chosen it.
    pub(super) fn passed(
        &mut self,
        actor: usize,
        connection: ConnectionId,
        unit: &Unit,
        at: Instant,
    ) -> Result<(), Lost> {
        self.spoke(actor);
        let Some(session) = self.sessions.get_mut(&connection) else { return Ok(()) };
        session.note_isolation(unit);
        let of = &mut self.actors[actor];
        let step = of.step;
        of.step += 1;
        session.step = Some(step);
        let (sql, shape) = (transcript::shown(unit), transcript::shape(unit));
        of.leftover.sent(&sql, &shape);
        self.transcript.insert((actor, step), super::Shown { sql, rows: Vec::new() });
        let Some(free) = &mut self.free else { return Ok(()) };
        free.sent(actor, step, at);
        // The first unit after the hold is the one that was held.
        if let Some((_, held)) = free.was_held.filter(|(of, _)| *of == connection && !free.is_told) {
            (free.is_told, free.passed.last_mut().expect("it was added above").held) = (true, Some(held));
        }
        if free.passed.len() > UNITS_MAX {
            let name = &self.actors[actor].name;
            let why = format!("the actors sent more than {UNITS_MAX} units in one round, the last one by {name}");
            return Err(Lost::by_script(why));
        }
        Ok(())
    }

    /// Waits until every actor has ended, or none can go on.
    async fn go_on(&mut self) -> Result<(), Lost> {
        let (begin, mut patience, mut looked) = (Instant::now(), ASK_AFTER, Instant::now());
        let most = RUN_MAX.max(self.app.silent_max * SILENCES_MAX);
        loop {
            self.hear(&mut Moved::default()).await?;
            self.choose_whom_to_hold().await?;
            let (computing, sent) = (self.computing(), self.sent());
            if self.gate.has_news() {
                continue;
            }
            if looked.elapsed() >= LOOK_EVERY {
                computing.iter().try_for_each(|actor| self.look_at(*actor))?;
                looked = Instant::now();
            }
            let before = self.steps(&sent);
            let said = if sent.is_empty() { Vec::new() } else { self.ask(&sent).await? };
            let is_stale = self.gate.has_news();
            if is_stale {
                self.hear(&mut Moved::default()).await?;
            }
            // Of what was under way before the question and after it, the answer is about that and nothing else.
            self.note_who_waits(&sent, &before, &said)?;
            if is_stale {
                continue;
            }
            let rests = computing.is_empty() && self.all_wait(&sent, &said) && !self.awaits_outsiders()?;
            let free = self.free.as_ref().expect("it lasts as long as the run");
            let is_held_too_long = free.held.is_some_and(|(.., since)| since.elapsed() > HOLD_MAX);
            if (rests || is_held_too_long) && self.let_go() {
                continue;
            }
            if rests {
                return Ok(());
            }
            if begin.elapsed() > most {
                let going: Vec<&str> = self.actors.iter().filter(|a| a.outcome.is_none()).map(|a| &*a.name).collect();
                let (names, seconds) = (going.join(" and "), most.as_secs());
                let number = self.actors.iter().position(|actor| actor.outcome.is_none()).unwrap_or_default();
                let why = format!("{names} did not end within {seconds} s of one round (`silent-seconds`)");
                return Err(Lost::by_script(why + &self.said(number)));
            }
            let is_quiet = tokio::time::timeout(patience, self.gate.changes()).await.is_err();
            patience = if is_quiet { (patience * 2).min(ASK_EVERY) } else { ASK_AFTER };
        }
    }

    /// Of those that are held, the first one that has written or locked stays so, if it is at the COMMIT that is to be
    /// held; the others go on.
    async fn choose_whom_to_hold(&mut self) -> Result<(), Lost> {
        for connection in self.gate.held() {
            let free = self.free.as_ref().expect("it lasts as long as the run");
            if free.held.is_some_and(|(held, ..)| held == connection) {
                continue;
            }
            let is_first = free.held.is_none() && free.was_held.is_none();
            let keeps = is_first && self.has_written_or_locked(connection).await?;
            let actor = self.sessions.get(&connection).map_or(0, |session| session.actor);
            let free = self.free.as_mut().expect("as above");
            let before = free.commits.entry(actor).or_default();
            if keeps && *before == free.commit {
                free.held = Some((connection, actor, Instant::now()));
                self.gate.hold_no_commits();
                continue;
            }
            *before += usize::from(keeps);
            self.gate.pass(connection);
        }
        Ok(())
    }

    async fn has_written_or_locked(&self, connection: ConnectionId) -> Result<bool, Lost> {
        let during = "ask whether a transaction has written";
        let Some(pid) = self.sessions.get(&connection).and_then(|session| session.pid) else { return Ok(false) };
        let of: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&pid];
        let asked = self.control.client.query_opt(HAS_WRITTEN_OR_LOCKED, &of);
        let asked = tokio::time::timeout(ANSWER_MAX, asked).await.map_err(|_| Lost::during(during, "no answer"))?;
        Ok(asked.map_err(|error| failed(during, &error))?.is_some_and(|row| row.get(0)))
    }

    /// Lets whoever is held go on; whether somebody was.
    fn let_go(&mut self) -> bool {
        let Some(free) = &mut self.free else { return false };
        let Some((connection, actor, since)) = free.held.take() else { return false };
        (free.was_held, free.arranged) = (Some((connection, since.elapsed())), free.has_met(actor, since));
        self.gate.pass(connection);
        true
    }

    /// Which step is under way in each of these connections.
    fn steps(&self, connections: &[ConnectionId]) -> Vec<Option<usize>> {
        connections.iter().map(|id| self.sessions.get(id).and_then(|session| session.step)).collect()
    }

    /// Notes who waits for whom, by the server's word; `before` is what was under way when the server was asked.
    fn note_who_waits(&mut self, sent: &[ConnectionId], before: &[Option<usize>], said: &[Said]) -> Result<(), Lost> {
        if sent.len() != said.len() {
            // Somebody has no number: nobody knows whose answers these are.
            return Ok(());
        }
        let most = self.app.silent_max.max(ANSWER_MAX);
        for ((connection, before), said) in sent.iter().zip(before).zip(said) {
            let Some(session) = self.sessions.get(connection).filter(|session| session.step == *before) else {
                continue;
            };
            let by = |other: &&super::Session| other.pid.is_some_and(|pid| said.waits_for.contains(&pid));
            let by = self.sessions.values().filter(by).map(|other| other.actor).filter(|by| *by != session.actor);
            let Some(free) = &mut self.free else { return Ok(()) };
            let since = free.since;
            let Some(passed) = session.step.and_then(|step| free.of((session.actor, step))) else { continue };
            passed.waited_for.extend(by);
            if said.waits_for.is_empty() && since.elapsed().saturating_sub(passed.begun) > most {
                let name = &self.actors[session.actor].name;
                return Err(Lost::new(format!("the server neither answered {name} nor reported a wait")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_held_has_met_another_only_if_that_one_spoke_or_waited_meanwhile() {
        let mut free = Free::new(0);
        let at = |ms: u64| free.since + Duration::from_millis(ms);
        let [early, held, late] = [at(1), at(5), at(9)];
        free.sent(0, 0, early);
        free.sent(1, 0, early);
        assert!(!free.has_met(0, held));
        // It waited, but was through before.
        free.passed[1].waited_for.insert(0);
        free.ended((1, 0), early, What::Waits { by: Vec::new() });
        assert!(!free.has_met(0, held));
        free.passed[1].ended = None;
        assert!(free.has_met(0, held));
        free.ended((1, 0), early, What::Waits { by: Vec::new() });
        free.sent(1, 1, late);
        assert!(free.has_met(0, held) && !free.has_met(1, held));
    }
}
