//! Which operations of the traffic a file blocked, for how long, and which of its statements is to blame.
//!
//! How long is the client's own time. That it was the file's doing is the server's word: a sample, taken while the
//! operation was under way, in which its session waited for the migrating one, directly or behind others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::apply::Ran;
use super::course::{FileRun, Record};
use super::modes::Mode;
use super::operation::{Class, Operation};
use super::sampler::{Sample, Waiting};
use crate::history::{ActorId, Tick};

/// An operation that a file blocked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Its number in the history.
    pub entry: usize,
    /// What sort it is.
    pub class: Class,
    /// How long it took, from the file's beginning at the earliest.
    pub took: Duration,
    /// The statement to blame, by its number in the file.
    pub statement: usize,
    /// The sessions from the operation's to the migrating one.
    pub chain: Vec<i64>,
    /// Where the migrating session itself was waiting: the sessions that it waited for.
    pub queued_behind: Option<Vec<i64>>,
}

/// What one file did to the traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blame {
    /// The operations, longest first.
    pub blocked: Vec<Blocked>,
    /// How many sessions waited at the worst moment.
    pub queue_peak: usize,
    /// How many operations were under way while the file was being applied.
    pub overlapped: usize,
    /// The longest time that the migrating session was seen to wait, by statement: how long and for whom.
    pub waited: BTreeMap<usize, (Duration, Vec<i64>)>,
    /// The circles of waiters in which the migrating session stood together with an operation.
    pub circles: BTreeSet<Circle>,
}

/// A circle of waiters: the migrating session waited for an operation's session, and that one for the migrating one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Circle {
    /// The statement that waited.
    pub statement: usize,
    /// The statement that had taken the lock for which the operation waited.
    pub holder: usize,
    /// The operation, by its number in the history.
    pub entry: usize,
}

impl Blame {
    /// The longest block of a class, queued or not.
    pub fn longest(&self, class: Class, queued: bool) -> Option<&Blocked> {
        self.blocked.iter().find(|blocked| blocked.class == class && blocked.queued_behind.is_some() == queued)
    }
}

/// The entries of each actor, in order.
pub struct ByActor<'h> {
    entries: &'h [Operation],
    of: BTreeMap<ActorId, Vec<usize>>,
}

impl<'h> ByActor<'h> {
    /// Sorts the entries of a history, which are ordered by invocation.
    pub fn new(entries: &'h [Operation]) -> Self {
        let mut of: BTreeMap<ActorId, Vec<usize>> = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            of.entry(entry.actor).or_default().push(index);
        }
        Self { entries, of }
    }

    /// The operation that an actor had under way during the whole of a sample.
    fn under_way(&self, actor: ActorId, sample: &Sample) -> Option<usize> {
        let own = self.of.get(&actor)?;
        let next = own.partition_point(|index| self.entries[*index].invoked <= sample.from);
        let index = *own.get(next.checked_sub(1)?)?;
        (self.entries[index].returned >= sample.until).then_some(index)
    }
}

/// The samples that were taken while a file was being applied.
pub fn during<'r>(record: &'r Record<'_>, file: &FileRun<'_>) -> &'r [Sample] {
    let (from, until) = (file.applied.from, file.applied.until);
    let begin = record.samples.partition_point(|sample| sample.from < from);
    let end = record.samples.partition_point(|sample| sample.until <= until);
    record.samples.get(begin..end).unwrap_or_default()
}

/// The time between two ticks.
pub fn between(from: Tick, until: Tick) -> Duration {
    Duration::from_nanos(until.0.saturating_sub(from.0))
}

/// Finds what a file did.
pub fn blame(record: &Record<'_>, by_actor: &ByActor<'_>, file: &FileRun<'_>) -> Blame {
    let mut found: BTreeMap<usize, Vec<Sighting>> = BTreeMap::new();
    let mut blame = Blame::default();
    for sample in during(record, file) {
        let own = sample.waiting.iter().find(|waiting| file.applied.sessions.contains(&waiting.pid));
        if let Some((own, (statement, from))) = own.zip(running(file, sample)) {
            let longest = blame.waited.entry(statement).or_default();
            *longest = (longest.0.max(between(from, sample.until)), own.behind.clone());
        }
        let mut queue = 0;
        for waiting in &sample.waiting {
            let Some(actor) = record.sessions.get(&waiting.pid) else { continue };
            let Some(chain) = sample.chain(waiting.pid, &file.applied.sessions) else { continue };
            queue += 1;
            let Some(index) = by_actor.under_way(*actor, sample) else { continue };
            let last = chain.len().checked_sub(2).and_then(|at| chain.get(at));
            let wanted = sample.waiting.iter().find(|waiting| Some(&waiting.pid) == last);
            let wanted = wanted.and_then(|waiting| Some((waiting.table?, waiting.mode?)));
            let statement = match (own, wanted.and_then(|wanted| holder(file, wanted, sample))) {
                (None, Some(statement)) => statement,
                _ => running(file, sample).map_or(0, |(statement, _)| statement),
            };
            let waits_for = |own: &Waiting| sample.chain(own.pid, &[waiting.pid]).is_some();
            if let Some((waits, _)) = own.filter(|own| waits_for(own)).and_then(|_| running(file, sample)) {
                let holder = wanted.and_then(|wanted| holder(file, wanted, sample)).unwrap_or(waits);
                blame.circles.insert(Circle { statement: waits, holder, entry: index });
            }
            let queued_behind = own.map(|own| own.behind.clone());
            found.entry(index).or_default().push(Sighting { statement, chain, queued_behind });
        }
        blame.queue_peak = blame.queue_peak.max(queue);
    }
    let blocked = found.into_iter().filter_map(|(index, sightings)| {
        let entry = &by_actor.entries[index];
        let sighting = Sighting::prevailing(sightings)?;
        Some(Blocked {
            entry: index,
            class: entry.class?,
            took: between(entry.invoked.max(file.applied.granted.unwrap_or(file.applied.from)), entry.returned),
            statement: sighting.statement,
            chain: sighting.chain,
            queued_behind: sighting.queued_behind,
        })
    });
    blame.blocked = blocked.collect();
    blame.blocked.sort_by_key(|blocked| std::cmp::Reverse(blocked.took));
    let overlaps = |entry: &&Operation| entry.invoked < file.applied.until && entry.returned > file.applied.from;
    blame.overlapped = by_actor.entries.iter().filter(overlaps).filter(|entry| entry.class.is_some()).count();
    blame
}

/// An operation, seen to wait once.
struct Sighting {
    statement: usize,
    chain: Vec<i64>,
    queued_behind: Option<Vec<i64>>,
}

impl Sighting {
    /// Of the sort that there are more of, queued behind a waiter or blocked by a holder, the first sighting of the
    /// statement that was seen most often.
    fn prevailing(mut sightings: Vec<Self>) -> Option<Self> {
        let queued = sightings.iter().filter(|sighting| sighting.queued_behind.is_some()).count();
        let mostly_queued = 2 * queued > sightings.len();
        sightings.retain(|sighting| sighting.queued_behind.is_some() == mostly_queued);
        let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
        for sighting in &sightings {
            *seen.entry(sighting.statement).or_default() += 1;
        }
        let (most, _) = seen.into_iter().max_by_key(|(statement, times)| (*times, std::cmp::Reverse(*statement)))?;
        sightings.into_iter().find(|sighting| sighting.statement == most)
    }
}

/// The statement that was being carried out when a sample was taken, or the last one before it, and its beginning.
fn running(file: &FileRun<'_>, sample: &Sample) -> Option<(usize, Tick)> {
    let ran = file.applied.ran.iter().rev().find(|ran| ran.from <= sample.until).or(file.applied.ran.first())?;
    Some((ran.statement, ran.from))
}

/// The statement that had taken a lock which excludes what is wanted.
fn holder(file: &FileRun<'_>, (table, wanted): (i64, Mode), sample: &Sample) -> Option<usize> {
    let ran = file.applied.ran.iter().filter(|ran| ran.from <= sample.until && let_go(file, ran) >= sample.from);
    let mut took = ran.filter(|ran| ran.took.iter().any(|(on, mode)| *on == table && mode.excludes(wanted)));
    took.next().map(|ran| ran.statement)
}

/// When the locks that a statement took were let go.
pub fn let_go(file: &FileRun<'_>, ran: &Ran) -> Tick {
    if file.script.is_one_transaction() {
        return file.applied.until;
    }
    let last = file.script.lets_go(ran.statement);
    let end = file.applied.ran.iter().find(|one| one.statement == last).map(|one| one.until);
    end.unwrap_or(file.applied.until)
}

/// A lock that a file had on something that others used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// On what.
    pub table: String,
    /// How strongly.
    pub mode: Mode,
    /// From the grant to the end of the transaction.
    pub held: Duration,
    /// The statement that took it.
    pub statement: usize,
}

/// The locks of a file on tables and indexes that there were before it, strongest first.
pub fn holds(record: &Record<'_>, file: &FileRun<'_>) -> Vec<Hold> {
    let (applied, samples) = (&file.applied, during(record, file));
    let name = |table: &i64| applied.tables.get(table).cloned();
    let mut holds = Vec::new();
    for ran in &applied.ran {
        for (table, mode) in &ran.took {
            let within = || samples.iter().filter(|sample| sample.from >= ran.from && sample.until <= ran.until);
            let has = within().find(|sample| sample.has.contains(&(*table, *mode))).map(|sample| sample.from);
            // What no sample shows came after the last one in which the session was still waiting for something.
            let waits = |sample: &&Sample| sample.waiting.iter().any(|one| applied.sessions.contains(&one.pid));
            let waited = || within().filter(waits).map(|sample| sample.until).next_back();
            let granted = has.or_else(waited).unwrap_or(ran.from);
            if let Some(table) = name(table) {
                let held = between(granted, let_go(file, ran));
                holds.push(Hold { table, mode: *mode, held, statement: ran.statement });
            }
        }
    }
    // Where nothing could be asked within the session, the samples are all there is.
    let asked = applied.ran.iter().any(|ran| !ran.took.is_empty());
    let unasked = |ran: &&Ran| ran.took.is_empty() && !(asked && file.script.is_one_transaction());
    for ran in applied.ran.iter().filter(unasked) {
        let mut seen: BTreeMap<(i64, Mode), Stretches> = BTreeMap::new();
        for sample in samples.iter().filter(|sample| sample.from >= ran.from && sample.until <= ran.until) {
            for lock in &sample.has {
                seen.entry(*lock).or_default().see(sample);
            }
        }
        for ((table, mode), stretches) in seen {
            if let Some(table) = name(&table) {
                holds.push(Hold { table, mode, held: stretches.longest(), statement: ran.statement });
            }
        }
    }
    for (table, mode) in &applied.noted {
        if let Some((table, ran)) = name(table).zip(applied.ran.first())
            && holds.iter().all(|hold| (&hold.table, hold.mode) != (&table, *mode))
        {
            holds.push(Hold { table, mode: *mode, held: Duration::ZERO, statement: ran.statement });
        }
    }
    holds.sort_by_key(|hold| std::cmp::Reverse((hold.mode, hold.held)));
    holds
}

/// The first and the last sample that showed a lock.
#[derive(Default)]
struct Stretches {
    first: Option<Tick>,
    last: Tick,
}

impl Stretches {
    fn see(&mut self, sample: &Sample) {
        self.first.get_or_insert(sample.from);
        self.last = sample.until;
    }

    fn longest(&self) -> Duration {
        self.first.map_or(Duration::ZERO, |first| between(first, self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_that_was_seen_most_often_is_to_blame_among_the_sightings_of_the_prevailing_sort() {
        let seen =
            |statement, queued: bool| Sighting { statement, chain: Vec::new(), queued_behind: queued.then(Vec::new) };
        let blamed = |sightings: &[(usize, bool)]| {
            let prevailing = Sighting::prevailing(sightings.iter().map(|(one, queued)| seen(*one, *queued)).collect());
            prevailing.map(|one| (one.statement, one.queued_behind.is_some()))
        };
        assert_eq!(blamed(&[(0, false), (1, false), (1, false)]), Some((1, false)));
        assert_eq!(blamed(&[(0, false), (1, false)]), Some((0, false)));
        assert_eq!(blamed(&[(1, true), (2, true), (2, true), (0, false), (0, false)]), Some((2, true)));
        assert_eq!(blamed(&[]), None);
    }
}
