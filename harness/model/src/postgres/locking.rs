//! Who waits for whom: row locks, the queue for a row, advisory locks, deadlocks.
//!
//! The way to a row lock is that of `heap_lock_tuple`: a compatible request passes at once; one that
//! must wait first takes its place in the queue for the row (a heavyweight lock on the tuple), then
//! waits for the transactions in its way, one after another in the order of their numbers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use drift_engine::claim::CustomerId;
use drift_engine::op::{Strength, Wait};
use drift_engine::session::SessionId;

use super::PgModel;
use super::store::{At, VersionId};
use super::transaction::Xid;
use crate::rule::{Rule, Rules};

/// A version of a row that can be queued for.
pub(super) type Place = (At, VersionId);

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// A transaction's, or a savepoint's, end.
    For(Xid),
    /// Its turn at a row.
    InQueue(Place),
    /// An advisory lock.
    Advisory(CustomerId),
}

/// The queue for a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Queue {
    /// Whose turn it is.
    first: Vec<(SessionId, Strength)>,
    waiting: VecDeque<(SessionId, Strength)>,
}

impl Queue {
    /// Whether nobody in it stands in the way of a session that is not.
    fn admits(&self, rules: Rules, session: SessionId, strength: Strength) -> bool {
        let mut ahead = self.first.iter().chain(&self.waiting);
        ahead.all(|(other, theirs)| *other == session || !exclude(rules, *theirs, strength))
    }
}

/// An advisory lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Advisory {
    holder: Option<SessionId>,
    waiting: VecDeque<SessionId>,
}

/// What came of asking for a row lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Granted,
    Waits(Waiting),
    /// It would wait, and must not.
    Refused,
    /// Another version has taken the place of this one.
    Replaced,
}

/// A request for a row lock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub at: At,
    pub version: VersionId,
    pub strength: Strength,
    pub wait: Wait,
    /// Whether it waits in the queue; who follows a row to a newer version does not, while that is being made.
    pub queues: bool,
}

/// Whether two row locks exclude each other (table 13.3 of the manual).
pub(super) fn exclude(rules: Rules, one: Strength, other: Strength) -> bool {
    let (weak, strong) = (one.min(other), one.max(other));
    match (weak, strong) {
        (Strength::KeyShare, Strength::Update) => rules.holds(Rule::KeyShareExcludesUpdate),
        (Strength::KeyShare, Strength::NoKeyUpdate) => !rules.holds(Rule::KeyShareAllowsNoKeyUpdate),
        (Strength::KeyShare, _) => false,
        (Strength::Share, Strength::Share) => !rules.holds(Rule::ShareAllowsShare),
        (Strength::Share, Strength::NoKeyUpdate) => rules.holds(Rule::ShareExcludesNoKeyUpdate),
        (Strength::NoKeyUpdate, Strength::NoKeyUpdate) => rules.holds(Rule::NoKeyUpdateExcludesItself),
        _ => true,
    }
}

impl PgModel {
    /// Asks for a lock on a version of a row.
    pub(super) fn lock(&mut self, session: SessionId, request: Request) -> Asked {
        let Request { at, version, strength, .. } = request;
        let chain = self.store.chain(at);
        // Who is in the list already does not queue: whoever is first there may be waiting for it.
        let is_member = chain.is_list && chain.lockers.iter().any(|(xid, _)| self.is_mine(session, *xid));
        if let Some(next) = self.store.chain(at).successor(version)
            && (strength != Strength::KeyShare || !next.live)
        {
            if !self.is_others(session, next.made_by) {
                self.leave_queue(session, (at, version));
                return Asked::Replaced;
            }
            return self.stand_and_wait(session, request, Some(next.made_by), is_member);
        }
        let chain = self.store.chain(at);
        let mut mine = chain.lockers.iter().filter(|(xid, _)| self.is_mine(session, *xid));
        if mine.any(|(_, held)| *held >= strength) {
            return Asked::Granted;
        }
        let passes = self.rules.holds(Rule::AllowedRequestsPassTheQueue)
            || self.queues.get(&(at, version)).is_none_or(|queue| queue.admits(self.rules, session, strength));
        if self.must_wait(session, at, strength) || !passes {
            let mut others = chain
                .lockers
                .iter()
                .filter(|(xid, held)| self.is_others(session, *xid) && exclude(self.rules, *held, strength));
            let blocker = others.next().map(|(xid, _)| *xid);
            let asked = self.stand_and_wait(session, request, blocker, is_member);
            if asked != Asked::Granted {
                return asked;
            }
        }
        let xid = self.xid(session);
        let fates = &self.fates;
        let is_running = |xid: Xid| fates[xid as usize].1 == super::transaction::Fate::Running;
        self.store.chain_mut(at).add(xid, strength, is_running);
        self.leave_queue(session, (at, version));
        Asked::Granted
    }

    /// Whether a request cannot pass at once: by what the row remembers, members that have ended included.
    fn must_wait(&self, session: SessionId, at: At, strength: Strength) -> bool {
        let chain = self.store.chain(at);
        let running = |(xid, _): &&(Xid, Strength)| self.is_running(*xid);
        if !chain.lockers.iter().any(|locker| running(&locker)) {
            return false;
        }
        if !chain.is_list && chain.lockers.iter().all(|(xid, _)| self.is_mine(session, *xid)) {
            return false;
        }
        let remembered = chain.strongest().is_some_and(|held| exclude(self.rules, held, strength));
        match strength {
            Strength::KeyShare | Strength::Share => remembered,
            Strength::NoKeyUpdate if chain.is_list => chain
                .lockers
                .iter()
                .any(|(xid, held)| self.is_others(session, *xid) && exclude(self.rules, *held, strength)),
            Strength::NoKeyUpdate => remembered,
            Strength::Update => remembered || chain.is_list,
        }
    }

    /// Takes a place in the queue, then waits for `blocker`, if there is one.
    fn stand_and_wait(&mut self, session: SessionId, request: Request, blocker: Option<Xid>, is_member: bool) -> Asked {
        let place = (request.at, request.version);
        let queues = request.queues && !is_member;
        if queues && !self.take_turn(session, place, request.strength) {
            return self.or_refuse(session, place, request.wait, Waiting::InQueue(place));
        }
        match blocker {
            Some(xid) => self.or_refuse(session, place, request.wait, Waiting::For(xid)),
            None => Asked::Granted,
        }
    }

    fn or_refuse(&mut self, session: SessionId, place: Place, wait: Wait, waiting: Waiting) -> Asked {
        let waits = match wait {
            Wait::Block => true,
            Wait::NoWait => !self.rules.holds(Rule::NoWaitFails),
            Wait::SkipLocked => !self.rules.holds(Rule::SkipLockedSkips),
        };
        if waits {
            return Asked::Waits(waiting);
        }
        self.leave_queue(session, place);
        Asked::Refused
    }

    /// Whether it is the session's turn at a row; it takes its place at the end of the queue if not.
    fn take_turn(&mut self, session: SessionId, place: Place, strength: Strength) -> bool {
        let rules = self.rules;
        let queue = self.queues.entry(place).or_default();
        if queue.first.iter().any(|(first, _)| *first == session) {
            return true;
        }
        if queue.waiting.iter().any(|(waiting, _)| *waiting == session) {
            return false;
        }
        let ahead = queue.first.iter().chain(&queue.waiting);
        let is_free = ahead.clone().all(|(_, theirs)| !exclude(rules, *theirs, strength));
        if is_free {
            queue.first.push((session, strength));
        } else if rules.holds(Rule::RowsAreQueuedFor) {
            queue.waiting.push_back((session, strength));
        } else {
            let displaced = std::mem::replace(&mut queue.first, vec![(session, strength)]);
            queue.waiting.extend(displaced.iter().copied());
            for (other, _) in displaced {
                if let Some(running) = &mut self.state(other).running {
                    running.waiting = Some(Waiting::InQueue(place));
                }
            }
            return true;
        }
        is_free
    }

    fn leave_queue(&mut self, session: SessionId, place: Place) {
        let rules = self.rules;
        let Some(queue) = self.queues.get_mut(&place) else { return };
        queue.first.retain(|(first, _)| *first != session);
        queue.waiting.retain(|(waiting, _)| *waiting != session);
        let mut still = VecDeque::new();
        for (waiting, strength) in std::mem::take(&mut queue.waiting) {
            let mut ahead = queue.first.iter().chain(&still);
            if ahead.all(|(_, theirs)| !exclude(rules, *theirs, strength)) {
                queue.first.push((waiting, strength));
            } else {
                still.push_back((waiting, strength));
            }
        }
        queue.waiting = still;
        if queue.first.is_empty() {
            self.queues.remove(&place);
        }
    }

    /// Leaves every queue: the statement has failed.
    pub(super) fn leave_queues(&mut self, session: SessionId) {
        for place in self.queues.keys().copied().collect::<Vec<_>>() {
            self.leave_queue(session, place);
        }
        for lock in self.advisory.values_mut() {
            lock.waiting.retain(|waiting| *waiting != session);
        }
    }

    /// Whether the session has an advisory lock now; it queues if not.
    pub(super) fn take_advisory(&mut self, session: SessionId, customer: CustomerId) -> bool {
        if !self.rules.holds(Rule::AdvisoryExcludes) {
            return true;
        }
        let lock = self.advisory.entry(customer).or_default();
        if lock.holder.is_none() {
            lock.holder = Some(session);
        }
        let is_held = lock.holder == Some(session);
        if !is_held && !lock.waiting.contains(&session) {
            lock.waiting.push_back(session);
        }
        is_held
    }

    /// Hands advisory locks over that the session does not hold any more, in any way.
    pub(super) fn free_advisory(&mut self, session: SessionId, customers: &BTreeSet<CustomerId>) {
        for customer in customers {
            let state = self.state(session);
            let mut held = state.levels.iter().map(|level| &level.advisory).chain([&state.advisory]);
            let is_kept = held.any(|locks| locks.contains_key(customer));
            drop(held);
            if !is_kept
                && let Some(lock) = self.advisory.get_mut(customer)
                && lock.holder == Some(session)
            {
                lock.holder = lock.waiting.pop_front();
            }
        }
    }

    /// Whether what a session waits for has come.
    pub(super) fn is_over(&self, session: SessionId, waiting: Waiting) -> bool {
        match waiting {
            Waiting::For(xid) => !self.is_running(xid),
            Waiting::InQueue(place) => {
                self.queues.get(&place).is_some_and(|queue| queue.first.iter().any(|(first, _)| *first == session))
            }
            Waiting::Advisory(customer) => self.advisory.get(&customer).is_some_and(|l| l.holder == Some(session)),
        }
    }

    /// Whom a session waits for: first those that must act, then those that are only ahead of it.
    fn waits_for(&self, session: SessionId) -> [Vec<SessionId>; 2] {
        let none = [Vec::new(), Vec::new()];
        let running = self.sessions.get(&session).and_then(|state| state.running.as_ref());
        let Some(waiting) = running.and_then(|running| running.waiting) else { return none };
        if self.is_over(session, waiting) {
            return none;
        }
        match waiting {
            Waiting::For(xid) => [vec![self.owner(xid)], Vec::new()],
            Waiting::InQueue(place) => self.queues.get(&place).map_or(none, |queue| {
                let ahead = queue.waiting.iter().take_while(|(ahead, _)| *ahead != session);
                [queue.first.iter().map(|(s, _)| *s).collect(), ahead.map(|(s, _)| *s).collect()]
            }),
            Waiting::Advisory(customer) => self.advisory.get(&customer).map_or(none, |lock| {
                let ahead = lock.waiting.iter().take_while(|ahead| **ahead != session);
                [lock.holder.into_iter().collect(), ahead.copied().collect()]
            }),
        }
    }

    /// Everybody in a circle of waiting sessions: PostgreSQL's victim is whoever of them looks first.
    pub(crate) fn deadlock(&self) -> BTreeSet<SessionId> {
        let waits: BTreeMap<SessionId, [Vec<SessionId>; 2]> =
            self.sessions.keys().map(|session| (*session, self.waits_for(*session))).collect();
        let reach = |from: SessionId, kinds: usize| {
            let (mut reached, mut to_do) = (BTreeSet::new(), vec![from]);
            while let Some(next) = to_do.pop() {
                for other in waits.get(&next).into_iter().flat_map(|waits| waits[..kinds].iter().flatten()) {
                    if reached.insert(*other) {
                        to_do.push(*other);
                    }
                }
            }
            reached
        };
        let circle: BTreeSet<_> = waits.keys().copied().filter(|s| reach(*s, 1).contains(s)).collect();
        let is_in = |s: &SessionId| {
            let reached = reach(*s, 2);
            circle.iter().any(|c| reached.contains(c) && (c == s || reach(*c, 2).contains(s)))
        };
        waits.keys().copied().filter(is_in).collect()
    }
}
